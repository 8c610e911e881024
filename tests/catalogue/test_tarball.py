"""What is read out of a package's tarball, and what hostile ones cannot do."""

import contextlib
import gzip
import io
import json
import random
import tarfile
import tracemalloc
import zlib
from typing import Any

import pytest

from catalogue.tarball import BrokenTarball, Contents, Limits, read

MEBIBYTE = 1024 * 1024
LIMITS = Limits()
END = bytes(2 * tarfile.BLOCKSIZE)

pytestmark = pytest.mark.timeout(60)


def entry(
    name: str,
    content: bytes | str = b"",
    kind: bytes = tarfile.REGTYPE,
    size: int | None = None,
    linkname: str = "",
) -> bytes:
    """A header and its data, padded. ``size``: what the header claims, if not the truth."""
    content = content.encode() if isinstance(content, str) else content
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    info.size = len(content) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return entry("PaxHeader", records, kind)


def record(keyword: str, value: str) -> bytes:
    length = len(f" {keyword}={value}\n".encode())
    length = next(n for n in range(length, length + 9) if n == length + len(str(n)))
    return f"{length} {keyword}={value}\n".encode()


def tgz(*entries: bytes, end: bytes = END) -> bytes:
    return gzip.compress(b"".join(entries) + end, compresslevel=1)


def manifest(nodes: Any = None, **others: Any) -> str:
    return json.dumps({"name": "node-red-contrib-kettle", "node-red": {"nodes": nodes or {}}, **others})


def package(nodes: Any, *html: tuple[str, str], limits: Limits = LIMITS) -> Contents:
    """What is read from a package with these ``nodes`` and HTML files."""
    files = [entry(f"package/{path}", content) for path, content in html]
    return read(tgz(entry("package/package.json", manifest(nodes)), *files), limits)


def types(html: str) -> tuple[str, ...]:
    """Those that the HTML of the node ``key`` names."""
    return package({"key": "a.js"}, ("a.html", html)).node_types


def template(*names: str) -> str:
    return "".join(
        f'<script type="text/html" data-template-name="{name}"><b>x</b></script>\n' for name in names
    )


def refused(tarball: bytes, *words: str, limits: Limits = LIMITS) -> None:
    """It is, with one sentence in which ``words`` are."""
    with pytest.raises(BrokenTarball) as caught:
        read(tarball, limits)
    sentence = str(caught.value)
    assert sentence[0].isupper() and sentence.endswith(".") and "\n" not in sentence
    assert all(word in sentence for word in words), sentence


def with_manifest(content: bytes | str) -> bytes:
    return tgz(entry("package/package.json", content))


def bomb(gibibytes: float, before: bytes = b"") -> bytes:
    """A gzip member that unpacks to ``before`` and many zeros, made without packing them all."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    head = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(MEBIBYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08" + bytes(7) + head + zeros * int(1024 * gibibytes)


# What is in an ordinary package


def test_it_reads_the_manifest_and_the_types_of_a_package() -> None:
    contents = package(
        {"kettle": "nodes/kettle.js"}, ("nodes/kettle.html", template("kettle", "kettle-config"))
    )
    assert contents.manifest["name"] == "node-red-contrib-kettle"
    assert contents.node_types == ("kettle", "kettle-config")


def test_it_reads_a_tarball_that_tarfile_made() -> None:
    file = io.BytesIO()
    long = "/".join(["päckage", *(["folder" * 10] * 5)])
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, content in {
            f"{long}/a.html": template("kettle"),
            "päckage/package.json": manifest({"key": f"{long.partition('/')[2]}/a.js"}),
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content.encode()))
    assert read(file.getvalue()).node_types == ("kettle",)


def test_it_finds_the_manifest_behind_the_html() -> None:
    files = [
        entry("package/a.html", template("kettle")),
        entry("package/package.json", manifest({"k": "a.js"})),
    ]
    assert read(tgz(*files)).node_types == ("kettle",)


@pytest.mark.parametrize("folder", ["package", "kettle-1.0.0", "päckage", ".", "package.json"])
def test_it_takes_off_the_first_folder_whatever_it_is_called(folder: str) -> None:
    files = [
        entry(f"{folder}/package.json", manifest({"k": "a.js"})),
        entry(f"{folder}/a.html", template("kettle")),
    ]
    assert read(tgz(*files)).node_types == ("kettle",)


@pytest.mark.parametrize("name", ["package//package.json", "package/./package.json"])
def test_it_normalises_the_names_of_files(name: str) -> None:
    assert read(tgz(entry(name, manifest()))).manifest["name"] == "node-red-contrib-kettle"


@pytest.mark.parametrize(
    "name",
    [
        "package.json",
        "/package.json",
        "/package/package.json",
        "../package.json",
        "package/../package.json",
        "package/../../package.json",
        "package/..",
        "package/lib/package.json",
        "package/package.json/",
        "package/package.json/x",
        "package/Package.json",
        "package\\package.json",
        "package/.\\package.json",
    ],
)
def test_it_mistakes_no_other_name_for_the_manifest(name: str) -> None:
    content = "" if name.endswith("/") else manifest(version="hostile")
    refused(tgz(entry(name, content)), "no package.json")
    files = [entry("package/package.json", manifest()), entry(name, content)]
    assert "version" not in read(tgz(*files)).manifest


def test_it_takes_the_last_of_several_manifests_as_npm_does() -> None:
    """npm unpacks one over the other."""
    names = ["package/package.json", "other/package.json", "package//package.json"]
    files = [entry(name, manifest(version=str(number))) for number, name in enumerate(names)]
    assert read(tgz(*files)).manifest["version"] == "2"


def test_it_takes_the_last_of_several_files_with_the_same_html() -> None:
    html = [("a.html", template("old")), ("a.html", template("new"))]
    assert package({"key": "a.js"}, *html).node_types == ("new",)


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE])
def test_it_reads_regular_files_of_every_kind(kind: bytes) -> None:
    assert read(tgz(entry("package/package.json", manifest(), kind))).node_types == ()


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
        tarfile.GNUTYPE_SPARSE,
        b"Z",
    ],
)
def test_it_ignores_what_is_no_regular_file(kind: bytes) -> None:
    other = entry("package/package.json", kind=kind, linkname="package/hostile.json")
    files = [entry("package/hostile.json", manifest(version="hostile")), other]
    refused(tgz(*files), "no package.json")
    assert "version" not in read(tgz(entry("package/package.json", manifest()), *files)).manifest


def test_it_ignores_the_data_of_what_is_no_regular_file() -> None:
    links = entry("package/package.json", manifest(version="hostile"), tarfile.LNKTYPE)
    sparse = entry("package/package.json", manifest(version="hostile"), tarfile.GNUTYPE_SPARSE)
    files = [entry("package/package.json", manifest()), links, sparse, entry("package/README.md", "x")]
    assert "version" not in read(tgz(*files)).manifest


def test_it_ignores_the_size_of_a_folder() -> None:
    folders = [entry("package", size=4096, kind=tarfile.DIRTYPE), entry("package/lib/", size=4096)]
    assert read(tgz(*folders, entry("package/package.json", manifest()))).node_types == ()


def test_it_does_not_take_a_sparse_file_for_the_manifest() -> None:
    records = record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0")
    records += record("GNU.sparse.name", "package/package.json") + record("GNU.sparse.realsize", "9" * 18)
    sparse = pax(records) + entry("package/GNUSparseFile.1/package.json", "9999999\n1\n")
    assert read(tgz(sparse, entry("package/package.json", manifest()))).node_types == ()
    refused(tgz(sparse), "no package.json")


def test_it_reads_a_tar_without_an_end_and_with_one_that_is_followed_by_padding() -> None:
    file = entry("package/package.json", manifest())
    for end in (b"", END[:512], END, bytes(10240)):
        assert read(tgz(file, end=end)).node_types == ()
    assert read(tgz(file) + bytes(1000)).node_types == ()


def test_it_passes_a_single_block_of_zeros_as_npm_does() -> None:
    assert read(tgz(END[:512], entry("package/package.json", manifest()))).node_types == ()


def test_it_reads_nothing_behind_the_end_of_the_tar() -> None:
    files = [entry("package/package.json", manifest()), END, entry("package/package.json", "{}")]
    assert read(tgz(*files)).manifest["name"] == "node-red-contrib-kettle"


def test_it_reads_an_archive_of_several_gzip_members() -> None:
    tar = entry("package/package.json", manifest({"key": "a.js"})) + END
    parts = [gzip.compress(tar[start : start + 100]) for start in range(0, len(tar), 100)]
    assert read(b"".join(parts)).node_types == ("key",)


def test_it_takes_names_and_sizes_from_extended_headers() -> None:
    """The name from a GNU header and from both pax ones, the size from pax."""
    content = manifest()
    padded = content.encode() + bytes(-len(content) % 512)
    size = record("size", str(len(content)))
    for before in (
        entry("long", "package/package.json\0", tarfile.GNUTYPE_LONGNAME),
        pax(record("comment", "a\nb=c") + record("path", "package/package.json")),
        pax(record("path", "package/package.json"), tarfile.SOLARIS_XHDTYPE),
        pax(record("path", "package/package.json")) + entry("link", "x" * 200, tarfile.GNUTYPE_LONGLINK),
    ):
        assert read(tgz(before, entry("package/x", content))).node_types == ()
    assert read(tgz(pax(size), entry("package/package.json"), padded)).node_types == ()


def test_it_extends_only_the_next_entry() -> None:
    files = [pax(record("path", "package/a")), entry("package/x"), entry("package/package.json", manifest())]
    assert read(tgz(*files)).node_types == ()


def test_it_takes_no_name_from_a_global_header() -> None:
    header = pax(record("comment", "a commit") + record("path", "package/package.json"), tarfile.XGLTYPE)
    assert (
        read(tgz(header, entry("package/package.json", manifest()), entry("package/x", "{}"))).manifest != {}
    )


# The types


def test_it_finds_the_types_as_the_loader_of_node_red_does() -> None:
    assert types("<script type='text/html' data-template-name='a'>") == ("a",)
    assert types('<SCRIPT DATA-TEMPLATE-NAME \n = "a b"\ntype="text/x-red"></SCRIPT>') == ("a b",)
    assert types('<script\tdata-template-name="a">') == ("key",)
    assert types('<div data-template-name="a">') == ("key",)
    assert types("<script>\"data-template-name='a'\"</script>") == ("key",)
    assert types('<script data-template-name="a" data-template-name="b">') == ("b",)
    assert types('<script data-template-name="a" data-template-name=b data-template-name="c') == ("a",)
    assert types('<script data-template-name="a"') == ("a",)
    assert types('<script <script data-template-name="a"><script data-help-name="b">') == ("a",)
    assert types("<script data-template-name=\"x>y<script data-template-name='z'>") == ("key",)
    assert types(template("zwölf", "水")) == ("zwölf", "水")


def test_it_finds_what_the_html_registers() -> None:
    html = """<script>RED.nodes.registerType('b',{}); RED.nodes.registerType ( "c" , {})</script>"""
    assert types(html + template("a", "b")) == ("b", "c", "a")
    assert types("<script>RED.nodes.registerType(name, {})</script>") == ("key",)


def test_it_orders_types_by_the_manifest_and_then_by_the_html() -> None:
    nodes = {"z": "z.js", "none": "none.js", "a": "a.js"}
    html = [("a.html", template("a2", "a1", "z1")), ("z.html", template("z2", "z1"))]
    assert package(nodes, *html).node_types == ("z2", "z1", "none", "a2", "a1")


def test_it_counts_the_key_where_the_html_is_missing_or_names_no_type() -> None:
    nodes = {"a": "a.js", "b": "b.js", "c": "c.ts", "d": "d.js"}
    html = [("b.html", "<p>Nothing</p>"), ("c.html", template("x")), ("d.html", template("<i>", ""))]
    assert package(nodes, *html).node_types == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    "path",
    [
        "nodes/a.js",
        "./nodes/a.js",
        "nodes//a.js",
        "/nodes/a.js",
        "x/../nodes/a.js",
        "nodes/a.cjs",
        "nodes/a.mjs",
    ],
)
def test_it_finds_the_html_beside_the_script(path: str) -> None:
    assert package({"key": path}, ("nodes/a.html", template("kettle"))).node_types == ("kettle",)


@pytest.mark.parametrize(
    "path", ["../a.js", "nodes/../../a.js", "..", "./..", "/../a.js", 1, None, ["a.js"], {}]
)
def test_it_ignores_what_is_no_path_within_the_package(path: Any) -> None:
    assert package({"key": path}, ("a.html", template("kettle"))).node_types == ()


@pytest.mark.parametrize(
    "path", ["", ".", "/", "a", ".js", "a.js/b", "a.js\n", "a\0.js", "a.JS", "\\..\\a.js"]
)
def test_it_counts_the_key_where_the_path_leads_to_no_html(path: str) -> None:
    assert package({"key": path}, ("a.html", template("kettle"))).node_types == ("key",)


@pytest.mark.parametrize("nodes", [["a.js"], "a.js", 1, True, None])
def test_it_finds_no_types_where_nodes_is_no_object(nodes: Any) -> None:
    assert package(nodes).node_types == ()


@pytest.mark.parametrize(
    "node_red", [None, [], "x", {}, {"version": ">=4"}, {"plugins": {"theme": "theme.js"}}]
)
def test_it_finds_no_types_in_a_package_without_nodes(node_red: Any) -> None:
    content = json.dumps({"name": "a-theme", "node-red": node_red})
    theme = entry("package/theme.html", template("theme"))
    assert read(tgz(entry("package/package.json", content), theme)).node_types == ()
    assert read(with_manifest("{}")) == Contents({}, ())


@pytest.mark.parametrize(
    "name", ["", "a\0b", "a\nb", "a\x7f", "\x85", "<b>", "a>b", "a\u202eb", "\ufeff", "x" * 201]
)
def test_it_drops_names_that_no_node_should_have(name: str) -> None:
    html = f"{template(name)}<script>RED.nodes.registerType('{name}')</script>{template('kettle')}"
    assert package({name: "b.js", "key": "a.js"}, ("a.html", html)).node_types == ("kettle",)


def test_it_reads_html_that_is_no_utf_8() -> None:
    html = entry("package/a.html", template("kettle").encode() + b"\xff\xfe\xe9")
    assert read(tgz(entry("package/package.json", manifest({"key": "a.js"})), html)).node_types == ("kettle",)


# Limits


def test_it_leaves_types_out_beyond_its_limits() -> None:
    nodes = {"a": "a.js", "b": "b.js", "c": "c.js"}
    html = [("c.html", template("c1")), ("b.html", template("b1", "b2")), ("a.html", template("a1", "a" * 9))]
    assert package(nodes, *html, limits=Limits(types=2)).node_types == ("a1", "a" * 9)
    assert package(nodes, *html, limits=Limits(html_files=2)).node_types == ("a1", "a" * 9, "b1", "b2", "c")
    assert package(nodes, *html, limits=Limits(name_length=2)).node_types == ("a1", "b1", "b2", "c1")
    most = len(template("c1"))
    assert package(nodes, *html, limits=Limits(html_bytes_in_all=most)).node_types == ("a", "b", "c1")
    assert package(nodes, *html, limits=Limits(html_bytes=most)).node_types == ("a", "b", "c1")


def test_it_reads_no_older_html_where_the_last_one_is_too_large() -> None:
    html = [("a.html", template("a")), ("a.html", template("b") + " " * 100)]
    assert package({"key": "a.js"}, *html, limits=Limits(html_bytes=100)).node_types == ("key",)


def test_it_refuses_more_than_its_limits() -> None:
    file = entry("package/package.json", manifest())
    tarball = tgz(file, entry("package/x", bytes(10_000)))
    size = len(file) + 512 + 10_240 + len(END)
    enough = Limits(unpacked_bytes=size, entries=2, manifest_bytes=len(manifest()))
    assert read(tarball, enough).node_types == ()
    refused(tarball, "more than", f"{size - 1:,} bytes", limits=Limits(unpacked_bytes=size - 1))
    refused(tarball, "more than 1 files", limits=Limits(entries=1))
    refused(tarball, "package.json", "10 bytes", limits=Limits(manifest_bytes=10))


def test_it_counts_headers_of_names_as_entries() -> None:
    chain = entry("long", "package/x", tarfile.GNUTYPE_LONGNAME) * 2_000
    refused(tgz(chain), "1,000 files", limits=Limits(entries=1_000))


# Bombs


def traced(tarball: bytes, *words: str) -> int:
    """The most bytes that were in use while it was refused."""
    tracemalloc.start()
    try:
        refused(tarball, *words)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "before",
    [
        entry("package/x", size=2**30),
        entry("package/package.json", size=2**30),
        entry("package/package.json", size=150 * MEBIBYTE),
        entry("long", size=2**30, kind=tarfile.GNUTYPE_LONGNAME),
        entry("long", size=150 * MEBIBYTE, kind=tarfile.GNUTYPE_LONGNAME),
        entry("long", size=150 * MEBIBYTE, kind=tarfile.GNUTYPE_LONGLINK),
        entry("pax", size=150 * MEBIBYTE, kind=tarfile.XHDTYPE),
        entry("pax", size=150 * MEBIBYTE, kind=tarfile.XGLTYPE),
        entry("package/package.json", manifest()) + END,
    ],
    ids=[
        "file",
        "manifest",
        "smaller-manifest",
        "name",
        "smaller-name",
        "link",
        "pax",
        "global",
        "behind-the-end",
    ],
)
def test_it_stops_at_a_bomb_in_little_memory(before: bytes) -> None:
    assert traced(bomb(1, before)) < 16 * MEBIBYTE


def test_it_stops_at_a_bomb_of_many_gzip_members_in_little_memory() -> None:
    member = gzip.compress(bytes(8 * MEBIBYTE))
    first = gzip.compress(entry("package/package.json", manifest()) + END)
    assert traced(first + member * 128, "209,715,200 bytes") < 16 * MEBIBYTE


def test_it_stops_at_very_many_gzip_members() -> None:
    tarball = with_manifest(manifest())
    assert traced(tarball + gzip.compress(b"") * 100_000, "follows") < 16 * MEBIBYTE


def test_it_reads_a_large_package_in_little_memory() -> None:
    html = entry("package/a.html", template("kettle") + " " * MEBIBYTE)
    tarball = tgz(
        entry("package/package.json", manifest({"key": "a.js"})), html, entry("package/x", bytes(2**25))
    )
    tracemalloc.start()
    try:
        assert read(tarball).node_types == ("kettle",)
        assert tracemalloc.get_traced_memory()[1] < 16 * MEBIBYTE
    finally:
        tracemalloc.stop()


# Damage


def test_it_refuses_what_is_no_gzip() -> None:
    tarball = with_manifest(manifest())
    refused(b"", "not complete")
    refused(b"\x1f", "not complete")
    refused(b"<html>Not found</html>", "gzip")
    refused(gzip.decompress(tarball), "gzip")
    refused(zlib.compress(gzip.decompress(tarball)), "gzip")
    refused(bytes(10_000), "gzip")


def test_it_refuses_a_truncated_archive_wherever_it_ends() -> None:
    tarball = tgz(
        entry("package/package.json", manifest()), entry("package/x", random.Random(1).randbytes(2000))
    )
    for length in range(0, len(tarball), 7):
        refused(tarball[:length], "not complete")
    refused(tarball[:-1], "not complete")


def test_it_refuses_a_tar_that_ends_too_early() -> None:
    file = entry("package/package.json", manifest())
    refused(tgz(file[:-1], end=b""), "ends in the middle")
    refused(tgz(file[:600], end=b""), "ends in the middle")
    refused(tgz(file, file[:300], end=b""), "damaged")
    refused(tgz(end=b""), "no package.json")
    refused(tgz(), "no package.json")


def test_it_refuses_garbage_behind_the_archive() -> None:
    refused(with_manifest(manifest()) + b"garbage", "gzip")
    refused(with_manifest(manifest()) + b"\0\0garbage", "follows")
    refused(with_manifest(manifest()) + gzip.compress(b"more")[:-1], "not complete")


def test_it_refuses_a_wrong_checksum_of_the_archive() -> None:
    tarball = bytearray(with_manifest(manifest()))
    tarball[-8] ^= 1
    refused(bytes(tarball), "damaged")


def test_it_refuses_a_wrong_checksum_of_a_header() -> None:
    damaged = bytearray(entry("package/package.json", manifest()))
    damaged[0] ^= 1
    refused(tgz(bytes(damaged)), "tar archive is damaged")
    refused(tgz(entry("package/package.json", manifest()), bytes(damaged)), "tar archive is damaged")
    refused(tgz(b"\xff" * 512), "tar archive is damaged")


@pytest.mark.parametrize("size", [-1, -512, -(2**40), 2**31, 2**63, 2**80])
@pytest.mark.parametrize(
    "kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SYMTYPE]
)
def test_it_refuses_impossible_sizes(size: int, kind: bytes) -> None:
    refused(tgz(entry("package/package.json", size=size, kind=kind)), f"{size:,} bytes")


@pytest.mark.parametrize(
    "records",
    [
        record("size", "-1"),
        record("size", "x"),
        record("size", ""),
        record("size", "9" * 5000),
        record("size", "1e3"),
        b"0 path=x\n",
        b"5 path=x\n",
        b"999 path=x\n",
        b"9 path=x",
    ],
)
def test_it_refuses_damaged_pax_headers(records: bytes) -> None:
    refused(tgz(pax(records), entry("package/package.json", manifest())), "tar archive is damaged")


@pytest.mark.parametrize("piece", [b"1", b"1 ", b"9 a=bcde\n", b"=", b" hdrcharset=", b"\xff"])
def test_it_gets_through_a_long_header_in_linear_time(piece: bytes) -> None:
    records = piece * (MEBIBYTE // len(piece))
    assert read(tgz(pax(records), entry("package/package.json", manifest()))).node_types == ()


def test_it_only_raises_its_own_error_whatever_is_changed() -> None:
    nodes = manifest({"key": "a.js"})
    files = [
        pax(record("path", "package/a.html")),
        entry("x", template("kettle")),
        entry("package/package.json", nodes),
    ]
    tar = b"".join([entry("long" * 30, "x"), *files, END])
    chance = random.Random(1)
    for _ in range(500):
        changed = bytearray(tar)
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(len(tar))] = chance.choice([0, 0x80, 0xFF, 0x2F, chance.randrange(256)])
        for start in range(0, len(tar), 512):  # of what may be a header
            block = changed[start : start + 512]
            changed[start + 148 : start + 156] = b"%06o\0 " % (sum(block[:148] + block[156:]) + 256)
        with contextlib.suppress(BrokenTarball):
            read(gzip.compress(changed, compresslevel=0))


# package.json


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{} {}",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 100_000 + b"}",
        b'{"a": "\\ud800"}',
        b'{"a": "\n"}',
        "{}".encode("utf-16"),
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b"\xff\xfe",
    ],
)
def test_it_refuses_a_manifest_that_is_no_json(content: bytes) -> None:
    refused(with_manifest(content), "package.json is not valid JSON")


@pytest.mark.parametrize("content", ["[]", '"x"', "1", "null", "true"])
def test_it_refuses_a_manifest_that_is_no_object(content: str) -> None:
    refused(with_manifest(content), "package.json is not an object")


@pytest.mark.parametrize("depth", [101, 500, 5_000, 150_000])
@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_it_refuses_a_manifest_that_is_nested_too_deeply(depth: int, opened: str, closed: str) -> None:
    refused(with_manifest('{"a":' + opened * depth + "1" + closed * depth + "}"), "nested too deeply")
    refused(with_manifest('{"a":' + opened * depth), "package.json")


def test_it_reads_a_manifest_that_is_nested_a_little() -> None:
    assert read(with_manifest('{"a":' + "[" * 90 + "]" * 90 + "}")).node_types == ()


def test_it_reads_a_manifest_as_npm_does() -> None:
    """With a byte order mark, with what is no UTF-8 replaced, with the last of equal keys."""
    assert read(with_manifest(b'\xef\xbb\xbf{"name": "kettle"}')).manifest == {"name": "kettle"}
    assert read(with_manifest(b'{"author": "Ren\xe9"}')).manifest == {"author": "Ren\ufffd"}
    assert read(with_manifest('{"a": 1, "b": 2, "a": 3}')).manifest == {"a": 3, "b": 2}
    assert read(with_manifest('{"a": 9007199254740993}')).manifest == {"a": 9007199254740993}
    assert read(with_manifest('{"a": 1e300, "b": 123456789012345678901}')).manifest == {
        "a": 1e300,
        "b": 1.2345678901234568e20,
    }


def test_it_reads_a_manifest_with_a_great_many_nodes() -> None:
    nodes = {str(number): "a.js" for number in range(10_000)}
    html = template(*(f"type-{number}" for number in range(400)))
    assert len(package(nodes, ("a.html", html)).node_types) == 400


# HTML that takes a careless expression for ever


@pytest.mark.parametrize(
    "piece",
    [
        "<script ",
        "<script data-template-name=",
        'data-template-name="x" ',
        "RED.nodes.registerType('",
        "RED.nodes.registerType('<script data-template-name='",
        "<>",
        " ",
    ],
)
@pytest.mark.parametrize("before", ["", "<script data-template-name="])
def test_it_gets_through_hostile_html_in_linear_time(before: str, piece: str) -> None:
    assert len(types((before + piece * (2 * MEBIBYTE))[: 2 * MEBIBYTE])) <= 500
