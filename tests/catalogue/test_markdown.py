"""A README as a page shows it: readable, and harmless whatever stands in it."""

import hashlib
import time
from html.parser import HTMLParser

import pytest

from catalogue import markdown
from catalogue.models.package import RENDERER

MARKUP = """# Pump

Some **bold** text, `code`, and ~~old~~.

## How to use it

1. One
2. Two

| a | b |
|--:|:-:|
| 1 | 2 |

```js
let a = "<b>";
```
"""
LINKS = "\n3. [a](https://a.example/) ![b](https://a.example/b.png) [c](#pump) <script>d</script>\n> e\n"


def test_it_renders_what_readmes_are_made_of() -> None:
    html = markdown.html(MARKUP)
    for part in ("<strong>bold</strong>", "<code>code</code>", "<s>old</s>", "<li>One</li>", "&lt;b&gt;"):
        assert part in html


def test_its_headings_leave_the_pages_own_alone() -> None:
    html = markdown.html("# One\n## Two\n### Three\n#### Four\n##### Five\n###### Six\nSeven\n===\n")
    assert "<h1" not in html and "<h2" not in html
    assert '<h3 id="readme-one">One</h3>' in html
    assert '<h4 id="readme-two">Two</h4>' in html
    assert '<h6 id="readme-six">Six</h6>' in html
    assert '<h3 id="readme-seven">Seven</h3>' in html


def test_a_table_scrolls_by_itself_and_has_no_style_of_its_own() -> None:
    html = markdown.html(MARKUP)
    assert '<div class="scroll"><table>' in html
    assert '<td class="at-right">1</td>' in html
    assert '<td class="at-center">2</td>' in html
    assert "style" not in html


@pytest.mark.parametrize("address", ["https://a.example/b?c=d", "http://a.example/", "mailto:a@a.example"])
def test_a_link_leads_out_without_a_word_of_where_it_was(address: str) -> None:
    expected = f'<p><a href="{address}" rel="nofollow noopener noreferrer">here</a></p>\n'
    assert markdown.html(f"[here]({address})") == expected


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "&#106;avascript:alert(1)",
        "java\nscript:alert(1)",
        "<java\tscript:alert(1)>",
        "\x01javascript:alert(1)",
        "vbscript:a",
        "data:text/html,<script>alert(1)</script>",
        "data:image/png;base64,aaaa",
        "file:///etc/passwd",
        "//evil.example/",
        "/admin/",
        "./docs/more.md",
        "docs/more.md",
        "blob:a",
        "https://",
        "#",
    ],
)
def test_no_link_leads_anywhere_else(address: str) -> None:
    for text in (f"[here]({address})", f"<{address}>", f"![here]({address})", f"[here][1]\n\n[1]: {address}"):
        assert "<a" not in markdown.html(text)
        assert "href" not in markdown.html(text)


def test_a_link_within_the_readme_finds_its_heading() -> None:
    html = markdown.html("[there](#how-to-use-it) [Über](#Über-uns)\n\n## How to *use* it\n\n## Über uns!\n")
    assert '<a href="#readme-how-to-use-it">there</a>' in html
    assert '<h4 id="readme-how-to-use-it">' in html
    assert '<a href="#readme-%C3%BCber-uns">' in html
    assert '<h4 id="readme-über-uns">' in html


def test_headings_of_the_same_name_have_anchors_of_their_own() -> None:
    html = markdown.html("# A\n# A\n# A\n")
    assert [f'id="readme-a{number}"' in html for number in ("", "-1", "-2", "-3")] == [True] * 3 + [False]


def test_an_image_is_a_link_that_says_what_it_shows() -> None:
    html = markdown.html("![a *pump*](https://a.example/p.png) ![](https://a.example/q.png)")
    assert "<img" not in html
    assert 'href="https://a.example/p.png" rel="nofollow noopener noreferrer">a *pump*</a>' in html
    assert ">image</a>" in html


def test_an_image_inside_a_link_is_its_text() -> None:
    html = markdown.html("[![build](https://a.example/b.svg)](https://ci.example/)")
    expected = '<a href="https://ci.example/" rel="nofollow noopener noreferrer">build</a>'
    assert html == f"<p>{expected}</p>\n"


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "a <img src=x onerror=alert(1)> b",
        "<style>body{display:none}</style>",
        '<a href="javascript:alert(1)">x</a>',
        "<!-- --><iframe src=https://evil.example>",
        "<svg/onload=alert(1)>",
        '<form action="/account/tokens/">',
        '[a](https://a.example/"onmouseover="alert(1))',
        '[a](https://a.example/ "x\\" onmouseover=\\"alert(1)")',
        '![" onerror="alert(1)](https://a.example/b)',
        '```"><script>alert(1)</script>\ncode\n```',
        '# "><script>alert(1)</script>',
        "`<script>`",
        "    <script>alert(1)</script>",
        "| <script>a</script> |\n|---|\n| <img src=x onerror=a> |",
    ],
)
def test_html_in_it_is_shown_and_never_works(text: str) -> None:
    assert_harmless(markdown.html(text))


class Elements(HTMLParser):
    """What a browser makes of it: the elements with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def assert_harmless(html: str) -> None:
    for tag, attributes in Elements(html).found:
        assert tag not in ("script", "img", "style", "iframe", "svg", "form", "input", "button", "h1", "h2")
        assert not attributes.keys() - {"id", "class", "href", "rel", "start"}
        assert str(attributes.get("href", "#readme-")).startswith(
            ("https://", "http://", "mailto:", "#readme-")
        )
        assert str(attributes.get("id", "readme-")).startswith("readme-")


@pytest.mark.parametrize(
    "made",
    [
        "<script>alert(1)</script>",
        '<p onclick="alert(1)" style="display:none" hx-get="/">a</p>',
        '<a href="javascript:alert(1)">a</a> <a href="/admin/">b</a> <a href="#content">c</a>',
        '<img src="x" onerror="alert(1)">',
        '<div class="message warning">Type in your password:</div><input name="password">',
        '<h2 id="content">Install</h2><h3 id="command-name">a</h3>',
        '<code class="language-js copied">a</code>',
    ],
)
def test_a_hole_in_the_renderer_would_not_be_one_in_the_page(made: str) -> None:
    """The second barrier alone, given HTML that the first one never makes."""
    cleaned = markdown.clean(made)
    assert_harmless(cleaned)
    assert "message" not in cleaned and "copied" not in cleaned


def test_the_second_wall_changes_nothing_of_what_is_meant_to_be_there() -> None:
    parts = {(tag, *sorted(attributes)) for tag, attributes in Elements(markdown.html(MARKUP)).found}
    assert parts >= {("h3", "id"), ("td", "class"), ("div", "class"), ("code", "class"), ("ol",), ("strong",)}


def test_another_result_has_another_number() -> None:
    """Otherwise stored packages would keep the HTML of the earlier renderer."""
    given = {1: "918fd6ca9ed3aef4"}
    made = hashlib.sha256(markdown.html(f"{MARKUP}{LINKS}").encode()).hexdigest()[:16]
    assert given.get(RENDERER) == made, "Raise RENDERER, and note here what it makes."


@pytest.mark.parametrize(
    "readme", ["", "  \n ", "ERROR: No README data found!", "ERROR: No README data found!\n"]
)
def test_it_is_empty_where_there_is_none(readme: str) -> None:
    assert markdown.html(readme) == ""


def test_it_is_read_up_to_its_limit() -> None:
    assert markdown.html("word " * 60_000).count("word") == markdown.LONGEST // 5


REPEATED = (
    *(
        "[",
        "![",
        "[](",
        "[a](<",
        "[a][",
        "[a]: b\n",
        "(",
        "*a_ ",
        "**",
        "_*_",
        "~~a",
        "`",
        "<a@",
        "<!--",
        "<b>",
    ),
    *(
        "> ",
        ">\n",
        "- ",
        "- a\n",
        "1. ",
        "> - ",
        "|a",
        "```\n",
        "a\n-\n",
        "# a\n",
        "&#",
        "\\",
        "\t",
        " ",
        "\n",
    ),
)


@pytest.mark.parametrize("piece", REPEATED)
def test_it_ends_whatever_is_repeated(piece: str) -> None:
    began = time.monotonic()
    markdown.html((piece * markdown.LONGEST)[: markdown.LONGEST])
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("piece", ["[", "![[]()", "*a_ ", "[a](b", "`a``b"])
def test_it_ends_where_long_paragraphs_follow_each_other(piece: str) -> None:
    began = time.monotonic()
    paragraph = (piece * markdown.LONGEST_TEXT)[: markdown.LONGEST_TEXT - 2]
    markdown.html(f"{paragraph}\n\n" * 6)
    assert time.monotonic() - began < 60


def test_a_table_that_becomes_much_longer_than_its_text_is_shown_as_text() -> None:
    table = "|" + "a|" * 3_000 + "\n|" + "-|" * 3_000 + "\n" + "|b\n" * 16
    html = markdown.html(table)
    assert len(html) < markdown.LONGEST_HTML
    assert "<table" not in html


def test_a_paragraph_that_is_too_long_to_be_taken_apart_is_shown_as_it_is() -> None:
    html = markdown.html("**a** " * markdown.LONGEST_TEXT)
    assert html.startswith("<p>**a** **a** ")


def test_what_is_nested_deeply_ends() -> None:
    markdown.html("\n".join("  " * depth + "- a" for depth in range(500)))
    markdown.html("> " * 5_000 + "a")
    markdown.html("[" * 5_000 + "a" + "](https://a.example)" * 5_000)
