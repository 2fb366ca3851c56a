"""Trace Context: what is passed on as it came, and what is begun anew."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.protocol.trace import trace_id_of, traced

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01".encode()

VALID = [
    GOOD,
    f"00-{TRACE}-{SPAN}-00".encode(),
    f"00-{TRACE}-{SPAN}-ff".encode(),
    f"01-{TRACE}-{SPAN}-01".encode(),
    f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like".encode(),
]
INVALID = [
    b"",
    b"00",
    GOOD.upper(),
    GOOD + b" ",
    b" " + GOOD,
    GOOD + b"-more",
    GOOD[:-1],
    GOOD + b"0",
    GOOD.replace(b"-", b"_"),
    f"ff-{TRACE}-{SPAN}-01".encode(),
    f"01-{TRACE}-{SPAN}-01more".encode(),
    f"00-{'0' * 32}-{SPAN}-01".encode(),
    f"00-{TRACE}-{'0' * 16}-01".encode(),
    f"00-{TRACE[:-1]}g-{SPAN}-01".encode(),
    f"00-{TRACE}-{SPAN}-0x".encode(),
    GOOD + b"," + GOOD,
    GOOD + b"\n",
]


@pytest.mark.parametrize("value", VALID)
def test_a_valid_one_crosses_as_it_came(value: bytes) -> None:
    headers = ((b"Cookie", b"a=b"), (b"TraceParent", value), (b"tracestate", b"vendor=1"))
    assert traced(headers) == (headers, TRACE)


@pytest.mark.parametrize("value", INVALID)
def test_an_invalid_one_is_replaced_and_its_state_dropped(value: bytes) -> None:
    headers = ((b"Traceparent", value), (b"cookie", b"a=b"), (b"Tracestate", b"vendor=1"))
    crossing, trace_id = traced(headers)
    assert [name for name, _ in crossing] == [b"cookie", b"traceparent"]
    assert trace_id_of([crossing[1][1]]) == trace_id != TRACE


def test_two_are_none() -> None:
    crossing, trace_id = traced(((b"traceparent", GOOD), (b"traceparent", GOOD)))
    assert len(crossing) == 1
    assert trace_id != TRACE


def test_each_trace_that_begins_is_its_own() -> None:
    assert len({traced(())[1] for _ in range(100)}) == 100


@given(st.lists(st.binary(max_size=70), max_size=3))
def test_what_crosses_is_always_valid(values: list[bytes]) -> None:
    crossing, trace_id = traced(tuple((b"traceparent", value) for value in values))
    assert re.fullmatch("[0-9a-f]{32}", trace_id)
    (only,) = [value for name, value in crossing if name == b"traceparent"]
    assert trace_id_of([only]) == trace_id
