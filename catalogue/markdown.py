"""Turn a README into HTML that can do no harm. Pure, but it can take minutes: see ``readmes``.

The publisher of the package wrote it. Raw HTML in it is shown as text, addresses lead to the web, to mail
or within the README, and images, which the pages' policy keeps from being loaded, are links. nh3 then lets
through only what this renderer makes: a second barrier, should the first one have a hole.

When the output of ``html`` changes, raise ``RENDERER`` in ``models.package``.
"""

import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any
from urllib.parse import quote, unquote

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

LONGEST = 60_000  # characters; what follows is left out
LONGEST_HTML = 500_000  # characters; a table can become ten times as long as its text
LONGEST_TEXT = 10_000  # characters of one paragraph, cell or heading; a longer one is shown as it is
NESTING = 20  # quotes in lists in quotes
ANCHOR = "readme-"
_HEADINGS = 2  # the page has one h1, and an h2 above the README
_ABSOLUTE = re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE)
_NO_README = "ERROR: No README data found!"  # what npm publishes in place of one
_TOO_COMPLEX = "This README is too complex to be shown with its formatting."
_BARE = (
    "p",
    "strong",
    "em",
    "s",
    "pre",
    "ul",
    "li",
    "blockquote",
    "hr",
    "br",
    "table",
    "thead",
    "tbody",
    "tr",
)
_ATTRIBUTES = {
    **{f"h{level}": {"id"} for level in range(1 + _HEADINGS, 7)},
    **{tag: {"class"} for tag in ("code", "div", "th", "td")},
    "a": {"href", "rel"},
    "ol": {"start"},
}
_OWN_ID = re.compile(rf"{ANCHOR}[^\s\"<>]*\Z")
_OWN_CLASS = re.compile(r"(?:scroll|at-(?:left|center|right)|language-\S+)\Z")
_OWN_ADDRESS = re.compile(rf"(?:https?://|mailto:|#{ANCHOR})", re.IGNORECASE)


def html(readme: str) -> str:
    """Return the HTML for the page; empty where there is nothing to show."""
    text = _shown(readme)
    if not text:
        return ""
    rendered = _MARKDOWN.render(text)
    return clean(rendered) if len(rendered) <= LONGEST_HTML else plain(readme)


def plain(readme: str) -> str:
    """Return a README as escaped text, for one that is too costly to render."""
    return f"<p>{_TOO_COMPLEX}</p>\n<pre>{escape(_shown(readme))}</pre>\n"


def clean(rendered: str) -> str:
    """Return only those elements, attributes and addresses that this renderer makes."""
    return nh3.clean(
        rendered,
        tags={*_ATTRIBUTES, *_BARE},
        attributes=_ATTRIBUTES,
        attribute_filter=_checked,
        url_schemes={"http", "https", "mailto"},
        link_rel=None,  # the renderer sets it, on links that lead outside
    )


def _shown(readme: str) -> str:
    text = readme[:LONGEST].strip()
    return "" if text == _NO_README else text


def _checked(tag: str, attribute: str, value: str) -> str | None:
    """Keep names within the README's own, so that it cannot imitate parts of the page."""
    pattern = {"id": _OWN_ID, "class": _OWN_CLASS, "href": _OWN_ADDRESS}.get(attribute)
    return value if pattern is None or pattern.match(value) else None


def _tame(state: StateCore) -> None:
    """After the text was taken apart: what is not to be in a page of ours is put in another way."""
    seen: dict[str, int] = {}
    for position, token in enumerate(state.tokens):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + _HEADINGS, 6)}"
        if token.type == "heading_open":
            token.attrSet("id", _anchor(state.tokens[position + 1], seen))
        elif token.type in ("th_open", "td_open"):
            # markdown-it aligns by a style attribute, which the pages' policy forbids.
            if alignment := str(token.attrs.pop("style", "")).removeprefix("text-align:"):
                token.attrSet("class", f"at-{alignment}")
        elif token.type == "inline":
            token.children = list(_tamed(token.children or []))


def _tamed(tokens: Sequence[Token]) -> Iterator[Token]:
    """No link inside of another one, none that leads nowhere, and no image."""
    open_links: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            address = _address(token.attrGet("href"))
            open_links.append(bool(address))
            if address:
                yield _link(address)
        elif token.type == "link_close":
            if open_links.pop():
                yield token
        elif token.type == "image":
            yield from _instead_of_image(token, inside_link=any(open_links))
        else:
            yield token


def _instead_of_image(image: Token, *, inside_link: bool) -> Iterator[Token]:
    text = Token("text", "", 0, content=image.content.strip() or "image")
    address = "" if inside_link else _address(image.attrGet("src"))
    yield from [_link(address), text, Token("link_close", "a", -1)] if address else [text]


def _link(address: str) -> Token:
    outside = {} if address.startswith("#") else {"rel": "nofollow noopener noreferrer"}
    return Token("link_open", "a", 1, attrs={"href": address, **outside})


def _address(given: Any) -> str:
    """Where a link may lead; empty for nowhere: addresses of other kinds, and files of the package."""
    address = str(given or "")
    if address.startswith("#"):
        return f"#{ANCHOR}{quote(unquote(address[1:]).lower())}" if address[1:] else ""
    return address if _ABSOLUTE.match(address) else ""


def _anchor(heading: Token, seen: dict[str, int]) -> str:
    """As GitHub names it, which is what authors link to; apart from the page's own."""
    words = "".join(
        token.content for token in heading.children or [] if token.type in ("text", "code_inline")
    )
    name = re.sub(r"[^\w\- ]", "", words[:200].lower()).strip().replace(" ", "-")
    number = seen[name] = seen.get(name, -1) + 1
    return f"{ANCHOR}{name}-{number}" if number else f"{ANCHOR}{name}"


def _table_open(*_: Any) -> str:
    return '<div class="scroll"><table>\n'


def _table_close(*_: Any) -> str:
    return "</table></div>\n"


def _inline(state: StateCore) -> None:
    """As markdown-it's own rule, but for texts so long that taking them apart would take minutes."""
    for token in state.tokens:
        if token.type != "inline":
            continue
        if len(token.content) > LONGEST_TEXT:
            token.children = [Token("text", "", 0, content=token.content)]
        else:
            token.children = []
            state.md.inline.parse(token.content, state.md, state.env, token.children)


def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "maxNesting": NESTING}, renderer_cls=RendererHTML)
    markdown.enable(["table", "strikethrough"])
    markdown.core.ruler.at("inline", _inline)
    markdown.core.ruler.push("tame", _tame)
    markdown.add_render_rule("table_open", _table_open)
    markdown.add_render_rule("table_close", _table_close)
    return markdown


_MARKDOWN = _markdown()
