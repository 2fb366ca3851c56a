"""Negotiation: the truth table row by row, and against another implementation for everything it can say."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import NegotiationError as TheirNegotiationError
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory

from wsproxy.extensions.base import NegotiationError
from wsproxy.extensions.header import ExtensionItem, format_extension, parse_extensions
from wsproxy.extensions.permessage_deflate import (
    NAME,
    Agreement,
    Policy,
    Window,
    accept,
    confirm,
    mirror,
    offer,
)

WIDE = Policy(server_max_window_bits=15, client_max_window_bits=15)
DEFAULT = Policy()
RESET = Policy(server_no_context_takeover=True, client_no_context_takeover=True)


def read(text: str) -> tuple[ExtensionItem, ...]:
    """Items from a shorthand: ``s``, ``c`` are the takeover flags, ``S``, ``C`` the window parameters."""
    long = {
        "s": "server_no_context_takeover",
        "c": "client_no_context_takeover",
        "S": "server_max_window_bits",
        "C": "client_max_window_bits",
    }
    found = parse_extensions([text.replace("pmd", NAME).encode()])
    return tuple(
        ExtensionItem(item.name, tuple((long.get(key, key), value) for key, value in item.parameters)) for item in found
    )


def one(text: str) -> ExtensionItem:
    (item,) = read(text)
    return item


def windows(server: int, client: int) -> Agreement:
    """Both windows in bits; a negative number says that the window is not kept."""
    return Agreement(Window(abs(server), server > 0), Window(abs(client), client > 0))


@pytest.mark.parametrize(
    ("offered", "policy", "agreement", "answer"),
    [
        # what browsers and libraries send
        ("pmd; C", DEFAULT, windows(12, 12), "pmd; C=12"),
        ("pmd; C", WIDE, windows(15, 15), "pmd"),
        ("pmd", DEFAULT, windows(12, 15), "pmd"),
        ("pmd; s; c", DEFAULT, windows(-12, -15), "pmd; s; c"),
        # takeover flags
        ("pmd; s", WIDE, windows(-15, 15), "pmd; s"),
        ("pmd; c", WIDE, windows(15, -15), "pmd; c"),
        ("pmd", RESET, windows(-12, -15), "pmd; s; c"),
        ("pmd; s; c; C", RESET, windows(-12, -12), "pmd; s; c; C=12"),
        # the server's window
        ("pmd; S=15", DEFAULT, windows(12, 15), "pmd; S=12"),
        ("pmd; S=10", DEFAULT, windows(10, 15), "pmd; S=10"),
        ("pmd; S=15", WIDE, windows(15, 15), "pmd; S=15"),
        ("pmd; S=9", WIDE, windows(9, 15), "pmd; S=9"),
        # the client's window
        ("pmd; C=15", WIDE, windows(15, 15), "pmd; C=15"),
        ("pmd; C=10", DEFAULT, windows(12, 10), "pmd; C=10"),
        ("pmd; C=15", DEFAULT, windows(12, 12), "pmd; C=12"),
        ("pmd; C=8", DEFAULT, windows(12, 8), "pmd; C=8"),
        # quoted, in any order, among others
        ('pmd; C="10"; s', DEFAULT, windows(-12, 10), "pmd; s; C=10"),
        ("x-webkit-deflate-frame, pmd; C", DEFAULT, windows(12, 12), "pmd; C=12"),
        # the first workable offer wins
        ("pmd; S=10; C, pmd; C", WIDE, windows(10, 15), "pmd; S=10"),
        ("pmd; S=8, pmd; C", WIDE, windows(15, 15), "pmd"),
        ("pmd; S, pmd; s", WIDE, windows(-15, 15), "pmd; s"),
        ("pmd; unknown, pmd; C=9", WIDE, windows(15, 9), "pmd; C=9"),
    ],
)
def test_accepts(offered: str, policy: Policy, agreement: Agreement, answer: str) -> None:
    assert accept(read(offered), policy) == (agreement, one(answer))


ILLEGAL_ANYWHERE = [
    *(f"pmd; {name}={bits}" for name in "SC" for bits in ("0", "7", "16", "09", "010", "abc", "-9", "1", "99999999")),
    "pmd; S",
    "pmd; s=1",
    "pmd; c=true",
    "pmd; s; s",
    "pmd; c; c",
    "pmd; S=10; S=10",
    "pmd; C=10; C=11",
    "pmd; level=9",
    "pmd; Server_No_Context_Takeover",
]


@pytest.mark.parametrize(
    "offered", [*ILLEGAL_ANYWHERE, "pmd; S=8", "pmd; C; C", "", "permessage-bzip2", "permessage-deflate2"]
)
def test_declines(offered: str) -> None:
    assert accept(read(offered), WIDE) is None
    assert mirror(read(offered), WIDE) is None


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (WIDE, "pmd; C"),
        (DEFAULT, "pmd; S=12; C=12"),
        (RESET, "pmd; s; c; S=12; C=12"),
        (Policy(9, 15), "pmd; S=9; C"),
        (Policy(15, 9, client_no_context_takeover=True), "pmd; c; C=9"),
    ],
)
def test_offers(policy: Policy, expected: str) -> None:
    assert offer(policy) == one(expected)


@pytest.mark.parametrize(
    ("offered", "answer", "agreement"),
    [
        ("pmd", "", None),
        ("pmd", "pmd", windows(15, 15)),
        ("pmd", "pmd; s", windows(-15, 15)),
        ("pmd; s", "pmd; s", windows(-15, 15)),
        ("pmd", "pmd; c", windows(15, -15)),
        ("pmd; c", "pmd", windows(15, -15)),
        ("pmd; c", "pmd; c", windows(15, -15)),
        ("pmd", "pmd; S=8", windows(8, 15)),
        ("pmd", 'pmd; S="10"', windows(10, 15)),
        ("pmd; S=12", "pmd; S=12", windows(12, 15)),
        ("pmd; S=12", "pmd; S=9", windows(9, 15)),
        ("pmd; C", "pmd", windows(15, 15)),
        ("pmd; C", "pmd; C=9", windows(15, 9)),
        ("pmd; C", "pmd; C=15", windows(15, 15)),
        ("pmd; C=12", "pmd", windows(15, 12)),
        ("pmd; C=12", "pmd; C=12", windows(15, 12)),
        ("pmd; C=12", "pmd; C=9", windows(15, 9)),
    ],
)
@pytest.mark.parametrize("lenient", [False, True])
def test_confirms(offered: str, answer: str, agreement: Agreement | None, lenient: bool) -> None:
    assert confirm(one(offered), read(answer), lenient) == agreement


@pytest.mark.parametrize(
    ("offered", "answer"),
    [
        *(("pmd; S=15; C", answer) for answer in ILLEGAL_ANYWHERE),
        ("pmd; C", "pmd; C"),
        ("pmd", "pmd; C=15"),
        ("pmd; C", "pmd; C=8"),
        ("pmd", "pmd, pmd"),
        ("pmd", "permessage-bzip2"),
        ("pmd", "pmd, permessage-bzip2"),
    ],
)
@pytest.mark.parametrize("lenient", [False, True])
def test_fails_an_answer(offered: str, answer: str, lenient: bool) -> None:
    with pytest.raises(NegotiationError):
        confirm(one(offered), read(answer), lenient)


@pytest.mark.parametrize(
    ("offered", "answer", "agreement"),
    [
        ("pmd; s", "pmd", windows(15, 15)),
        ("pmd; S=12", "pmd", windows(15, 15)),
        ("pmd; S=12", "pmd; S=13", windows(13, 15)),
        ("pmd; S=8", "pmd; S=9", windows(9, 15)),  # as uWebSockets answers
        ("pmd; S=12; C=12", "pmd; s; c", windows(-15, -12)),  # as gorilla's server answers anyone
        ("pmd; C=12", "pmd; C=13", windows(15, 12)),
    ],
)
def test_only_the_lenient_put_up_with_it(offered: str, answer: str, agreement: Agreement) -> None:
    with pytest.raises(NegotiationError):
        confirm(one(offered), read(answer))
    assert confirm(one(offered), read(answer), lenient=True) == agreement


@pytest.mark.parametrize(
    ("offered", "policy", "expected"),
    [
        ("pmd; C", WIDE, "pmd; C"),
        ("pmd", WIDE, "pmd"),
        ("pmd; C", DEFAULT, "pmd; S=12; C=12"),
        ("pmd", DEFAULT, "pmd; S=12"),
        ("pmd; S=10; C=10", DEFAULT, "pmd; S=10; C=10"),
        ("pmd; C=8", WIDE, "pmd; C=9"),
        ("pmd; s; c", WIDE, "pmd; s; c"),
        ("pmd; s; C", RESET, "pmd; s; c; S=12; C=12"),
        ("pmd; S=8, pmd; s", WIDE, "pmd; s"),
    ],
)
def test_mirrors(offered: str, policy: Policy, expected: str) -> None:
    assert mirror(read(offered), policy) == one(expected)


@pytest.mark.parametrize(
    ("offered", "policy", "match", "agreement", "answer"),
    [
        # wide enough for what the upstream sends, which the policy alone would not be; if that makes it pass
        ("pmd; C", DEFAULT, windows(15, 15), windows(15, 12), "pmd; C=12"),
        ("pmd; S=13", DEFAULT, windows(15, 15), windows(12, 15), "pmd; S=12"),
        ("pmd; s", DEFAULT, windows(15, 15), windows(-12, 15), "pmd; s"),
        ("pmd; C", DEFAULT, windows(9, 15), windows(12, 12), "pmd; C=12"),
        # a client narrow enough for what the upstream takes
        ("pmd; C", DEFAULT, windows(12, 10), windows(12, 10), "pmd; C=10"),
        ("pmd; C=9", DEFAULT, windows(12, 10), windows(12, 9), "pmd; C=9"),
        ("pmd", DEFAULT, windows(12, 10), windows(12, 15), "pmd"),
        # the client's window spans messages only if the upstream's does; ours if the policy has it so
        ("pmd; C", RESET, windows(12, 12), windows(-12, -12), "pmd; s; c; C=12"),
        ("pmd; C", RESET, windows(-12, 12), windows(-12, -12), "pmd; s; c; C=12"),
        ("pmd; C", WIDE, windows(15, -15), windows(15, -15), "pmd; c"),
        ("pmd; s; C", WIDE, windows(15, 15), windows(-15, 15), "pmd; s"),
    ],
)
def test_matches_the_other_leg(
    offered: str, policy: Policy, match: Agreement, agreement: Agreement, answer: str
) -> None:
    assert accept(read(offered), policy, match) == (agreement, one(answer))


BITS = [None, *range(9, 16)]
FLAGS = [False, True]


def may_pass(sender: Window, receiver: Window) -> bool:
    return receiver.bits >= sender.bits and (receiver.takeover or not sender.takeover)


@pytest.mark.parametrize("policy", [WIDE, DEFAULT, RESET, Policy(9, 15)])
def test_websockets_clients_agree(policy: Policy) -> None:
    """Whatever their client offers, it takes the answer, and for the same windows."""
    client_bits: list[int | bool | None] = [*BITS, True]
    for server_resets, client_resets, server_bits, bits in product(FLAGS, FLAGS, BITS, client_bits):
        theirs = ClientPerMessageDeflateFactory(server_resets, client_resets, server_bits, bits)
        accepted = accept([ExtensionItem(NAME, tuple(theirs.get_request_params()))], policy)
        assert accepted is not None
        agreement, answer = accepted
        extension = theirs.process_response_params(answer.parameters, [])
        assert extension.remote_no_context_takeover is not agreement.server.takeover
        assert extension.local_no_context_takeover is not agreement.client.takeover
        assert extension.local_max_window_bits == agreement.client.bits
        assert extension.remote_max_window_bits >= agreement.server.bits


@pytest.mark.parametrize("policy", [WIDE, DEFAULT, RESET, Policy(9, 15)])
def test_websockets_servers_agree(policy: Policy) -> None:
    """Whatever their server is set to, its answer is taken, and for the same windows."""
    for server_resets, client_resets, server_bits, bits in product(FLAGS, FLAGS, BITS, BITS):
        offered = offer(policy)
        theirs = ServerPerMessageDeflateFactory(server_resets, client_resets, server_bits, bits)
        answer, extension = theirs.process_request_params(offered.parameters, [])
        agreement = confirm(offered, [ExtensionItem(NAME, tuple(answer))])
        assert agreement == Agreement(
            Window(extension.local_max_window_bits, not extension.local_no_context_takeover),
            Window(extension.remote_max_window_bits, not extension.remote_no_context_takeover),
        )


@given(
    offered=st.tuples(st.booleans(), st.booleans(), st.sampled_from(BITS), st.sampled_from([*range(9, 16), True])),
    upstream=st.tuples(st.booleans(), st.booleans(), st.sampled_from(BITS), st.sampled_from(BITS)),
    policy=st.builds(Policy, st.integers(9, 15), st.integers(9, 15), st.booleans(), st.booleans()),
)
def test_two_legs_are_made_to_pass(
    offered: tuple[bool, bool, int | None, int], upstream: tuple[bool, bool, int | None, int | None], policy: Policy
) -> None:
    """A client that lets its window be limited gets two agreements through which everything may pass."""
    client = ClientPerMessageDeflateFactory(*offered)
    items = [ExtensionItem(NAME, tuple(client.get_request_params()))]
    asked = mirror(items, policy)
    assert asked is not None
    try:
        answer, _ = ServerPerMessageDeflateFactory(*upstream).process_request_params(asked.parameters, [])
    except TheirNegotiationError:
        return
    match = confirm(asked, [ExtensionItem(NAME, tuple(answer))])
    assert match is not None
    accepted = accept(items, policy, match)
    assert accepted is not None
    agreement, reply = accepted
    client.process_response_params(reply.parameters, [])
    assert may_pass(match.server, agreement.server)
    assert may_pass(agreement.client, match.client)


def test_an_answer_is_one_line() -> None:
    accepted = accept(read("pmd; C"), DEFAULT)
    assert accepted is not None
    assert format_extension(accepted[1]) == b"permessage-deflate; client_max_window_bits=12"
