"""The header grammar, against tables and against another implementation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.headers import build_extension, parse_extension
from websockets.typing import ExtensionName, ExtensionParameter

from wsproxy.extensions.header import ExtensionHeaderError, ExtensionItem, format_extension, parse_extensions

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
tokens = st.text(TOKEN_CHARACTERS, min_size=1, max_size=12)
items = st.builds(
    ExtensionItem,
    tokens,
    st.lists(st.tuples(tokens, st.none() | tokens), max_size=4).map(tuple),
)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([b""], []),
        ([b" , ,\t,"], []),
        ([b"permessage-deflate"], [("permessage-deflate",)]),
        ([b"a;b"], [("a", ("b", None))]),
        ([b"a ; b = c ;\td"], [("a", ("b", "c"), ("d", None))]),
        ([b'a; b="c"'], [("a", ("b", "c"))]),
        ([b'a; b="1\\0"'], [("a", ("b", "10"))]),
        ([b'a; b="c"; d, e'], [("a", ("b", "c"), ("d", None)), ("e",)]),
        ([b"a, a; b, a; c"], [("a",), ("a", ("b", None)), ("a", ("c", None))]),
        ([b"a", b"b, c"], [("a",), ("b",), ("c",)]),
        ([b",a,,b,"], [("a",), ("b",)]),
        ([b"a; b; b=1; b=2"], [("a", ("b", None), ("b", "1"), ("b", "2"))]),
    ],
)
def test_reads(values: list[bytes], expected: list[tuple[str, *tuple[tuple[str, str | None], ...]]]) -> None:
    assert parse_extensions(values) == tuple(ExtensionItem(name, tuple(rest)) for name, *rest in expected)


@pytest.mark.parametrize(
    "value",
    [
        b";",
        b"a;",
        b"a; ;b",
        b"a; b=",
        b"a; =b",
        b"a b",
        b"a; b c",
        b"a=b",
        b'"a"',
        b'a; b=""',
        b'a; b="c',
        b'a; b="c" d',
        b'a; b="c"d',
        b'a; b="c\\"',
        b'a; b="c,permessage-deflate"',
        b'a; b="c d"',
        b"a; b=c=d",
        b"a\n",
        b"a\x00",
        b"a; b=\xff",
        b"permessage-deflate, (",
    ],
)
def test_refuses(value: bytes) -> None:
    with pytest.raises(ExtensionHeaderError):
        parse_extensions([value])


def test_refuses_a_field_for_one_bad_line() -> None:
    with pytest.raises(ExtensionHeaderError):
        parse_extensions([b"permessage-deflate", b"a;"])


def test_a_quoted_string_does_not_go_on_in_the_next_line() -> None:
    with pytest.raises(ExtensionHeaderError):
        parse_extensions([b'a; b="c', b'd"'])


# Each is so long that anything quadratic would not come back.
@pytest.mark.parametrize(
    "value",
    [
        b'a; b="' + b"c" * 1_000_000,
        b'a; b="' + b"\\c" * 500_000,
        b'a; b="' + b"\\" * 1_000_000,
        b"a" + b" " * 1_000_000 + b"b",
        b"a;" + b" " * 1_000_000 + b"=",
        b'a; b="c"; d' * 100_000 + b'="',
        b"a," * 200_000 + b";",
        b", " * 500_000 + b";",
    ],
    ids=["unclosed", "escapes", "backslashes", "blanks", "blank parameter", "parameters", "items", "empty elements"],
)
def test_is_linear(value: bytes) -> None:
    with pytest.raises(ExtensionHeaderError):
        parse_extensions([value])


@given(st.lists(items, max_size=5))
def test_what_is_written_is_read(written: list[ExtensionItem]) -> None:
    assert parse_extensions([b", ".join(map(format_extension, written))]) == tuple(written)
    assert parse_extensions(map(format_extension, written)) == tuple(written)


@given(st.lists(items, min_size=1, max_size=5))
def test_reads_and_writes_as_websockets_does(written: list[ExtensionItem]) -> None:
    theirs: list[tuple[ExtensionName, list[ExtensionParameter]]] = [
        (ExtensionName(item.name), list(item.parameters)) for item in written
    ]
    text = build_extension(theirs)
    assert parse_extensions([text.encode()]) == tuple(written)
    assert parse_extension(", ".join(format_extension(item).decode() for item in written)) == theirs


@given(st.lists(st.text('ab;,=" \\\t', max_size=20).map(str.encode), max_size=2))
def test_anything_is_read_or_refused(values: list[bytes]) -> None:
    try:
        found = parse_extensions(values)
    except ExtensionHeaderError:
        return
    assert parse_extensions(map(format_extension, found)) == found
