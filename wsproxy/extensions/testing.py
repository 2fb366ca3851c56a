"""Ready-made property tests for authors of extensions, for any test runner. Needs hypothesis, which wsproxy does not.

In a test file of the extension's own package::

    from wsproxy.extensions.testing import CHECKS, Subject

    SUBJECT = Subject(DEFINITION, RotSettings(by=13))

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check(SUBJECT)

Owns: the checks and the ways to try things. Never imported by the proxy. What they cannot find: two ends that are wrong
in the same way, so try yours against another implementation too.
Invariant: a check fails with AssertionError, or with what the extension raised, and a smallest example.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsproxy.errors import Violation
from wsproxy.extensions.base import Agreed, End, Events, Extension, ExtensionItem, NegotiationError
from wsproxy.extensions.chain import GROWTH, SLACK, Chain, ChainDecoder, ChainEncoder, Link
from wsproxy.extensions.header import format_extension, parse_extensions
from wsproxy.extensions.negotiation import MOST_ITEM_BYTES, MOST_OFFERS
from wsproxy.extensions.registry import AnyDefinition, problem_of

_ENDS: tuple[End, End] = ("client", "server")
_MOST = 1 << 24
_careful = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True, slots=True)
class Subject:
    """What is tried: an extension with the settings of each of two legs' ends, which must agree with each other.

    :ivar settings: an instance of the definition's settings, for both roles.
    """

    definition: AnyDefinition
    settings: object

    def make(self) -> Extension:
        return self.definition.build(self.settings, Events(self.definition.events))

    def agreement(self) -> tuple[Agreed, Agreed]:
        """What our client's role and our server's role make of a handshake with each other."""
        client, server = self.make(), self.make()
        offered = _offers(client)
        accepted = server.accept(offered)
        assert accepted is not None, f"our server declines what our client offers: {offered}"
        return client.confirm(offered, accepted[1]), accepted[0]

    def chain(self, agreed: Agreed) -> Chain:
        """The agreement as the proxy runs it, guards and all."""
        events = Events(self.definition.events)
        return Chain((Link(self.definition.name, self.definition.rsv, agreed, events),))


Check = Callable[[Subject], None]

_words = st.sampled_from([b"", b"price", "żółw €".encode(), b'{"id": 12345, "px": 1.5}', bytes(300), b"\xff\x00\x7f"])
_payloads = st.one_of(
    st.binary(max_size=400),
    st.lists(_words, max_size=40).map(b"".join),
    st.binary(min_size=1, max_size=8).map(lambda part: part * 9000),
)
_cuts = st.lists(st.integers(0, 2000), max_size=5)
_tokens = st.text("abcxyz019-_.!", min_size=1, max_size=12)
_numbers = st.sampled_from(["0", "1", "7", "9", "13", "255", "256", "-1", "09", "1" * 40, "²", "x"])


def check_definition(subject: Subject) -> None:
    """It can be registered, and its items are its own and fit into a header."""
    problem = problem_of(subject.definition)
    assert problem is None, problem
    for item in _offers(subject.make()):
        assert item.name == subject.definition.name
        written = format_extension(item)
        assert parse_extensions([written]) == (item,), f"{item} cannot stand in a header"
        assert len(written) <= MOST_ITEM_BYTES, f"an item of {len(written)} bytes"


def check_handshake(subject: Subject) -> None:
    """Its two roles agree with each other, and offering is repeatable."""
    extension = subject.make()
    assert _offers(extension) == _offers(extension)
    for agreed in subject.agreement():
        assert agreed.label.partition(";")[0] == subject.definition.name, f"the label is {agreed.label!r}"


def check_any_offer(subject: Subject) -> None:
    """Whatever a client offers is accepted or declined, with nothing but NegotiationError, and answered legally."""
    extension = subject.make()

    @given(st.lists(_items(subject), min_size=1, max_size=4))
    @_careful
    def accept(offered: list[ExtensionItem]) -> None:
        try:
            accepted = extension.accept(offered)
        except NegotiationError:
            return
        if accepted is not None:
            agreed, item = accepted
            assert item.name == subject.definition.name
            assert parse_extensions([format_extension(item)]) == (item,), f"{item} cannot stand in a header"
            _converse(subject, agreed, agreed, "server", [(2, b"agreed", ())], 1000)

    accept()


def check_any_answer(subject: Subject) -> None:
    """Whatever an upstream answers is legal or NegotiationError."""
    extension = subject.make()
    offered = _offers(extension)

    @given(_items(subject))
    @_careful
    def confirm(answered: ExtensionItem) -> None:
        try:
            agreed = extension.confirm(offered, answered)
        except NegotiationError:
            return
        assert agreed.label

    confirm()


def check_conversations(subject: Subject) -> None:
    """Any messages, cut into any fragments and reads, arrive as they were: from either end to the other."""
    client, server = subject.agreement()

    @given(
        st.sampled_from(_ENDS),
        st.lists(st.tuples(st.sampled_from([1, 2]), _payloads, _cuts.map(tuple)), max_size=5),
        st.one_of(st.integers(1, 64), st.just(65_536)),
    )
    @_careful
    def converse(sender: End, messages: list[tuple[int, bytes, tuple[int, ...]]], step: int) -> None:
        out, back = (client, server) if sender == "client" else (server, client)
        # The last one twice: what is kept between messages shows where they are alike.
        _converse(subject, out, back, sender, [*messages, *messages[-1:]], step)

    converse()


def check_any_bytes(subject: Subject) -> None:
    """Whatever arrives is decoded, or refused with Undecodable, within the calls that are allowed."""
    client, server = subject.agreement()

    @given(st.sampled_from(_ENDS), st.binary(max_size=300), _cuts)
    @_careful
    def decode(sender: End, wire: bytes, cuts: list[int]) -> None:
        agreed = server if sender == "client" else client
        decoder = ChainDecoder(subject.chain(agreed), sender, _MOST)
        try:
            decoder.begin(subject.definition.rsv)
            _decoded(decoder, list(_split(wire, tuple(cuts))), 65_536)
        except Violation:
            return

    decode()


def check_passing(subject: Subject) -> None:
    """What `may_pass` lets through can be read at the other leg as it travelled on the first one."""
    client, server = subject.agreement()
    for sender, out, back in (("client", client, server), ("server", server, client)):
        end: End = "client" if sender == "client" else "server"
        if out.may_pass(back, end):
            _converse(
                subject, out, back, end, [(2, b"twice", ()), (2, b"twice", ()), (1, b"in parts " * 50, (7,))], 100
            )


def check_memory(subject: Subject) -> None:
    """Its estimates are numbers of bytes."""
    for agreed in subject.agreement():
        for end in _ENDS:
            assert agreed.encoder(end).memory >= 0
            assert agreed.decoder(end).memory >= 0


CHECKS: tuple[Check, ...] = (
    check_definition,
    check_handshake,
    check_any_offer,
    check_any_answer,
    check_conversations,
    check_any_bytes,
    check_passing,
    check_memory,
)


def _offers(extension: Extension) -> list[ExtensionItem]:
    """What it offers, if that comes to an end."""
    items = list(islice(extension.offer(), MOST_OFFERS + 1))
    assert items, "it offers nothing"
    assert len(items) <= MOST_OFFERS, f"it offers more than {MOST_OFFERS} items"
    return items


def _items(subject: Subject) -> st.SearchStrategy[ExtensionItem]:
    """Items of its name: those that it makes itself, bent in every way, and others."""
    extension = subject.make()
    offered = _offers(extension)
    accepted = extension.accept(offered)
    known = [*offered, *([accepted[1]] if accepted is not None else [])]
    names = sorted({name for item in known for name, _ in item.parameters}) or ["by"]
    values = [value for item in known for _, value in item.parameters]
    value = st.one_of(st.none(), _numbers, _tokens, st.sampled_from([*values, "1"]))
    parameter = st.tuples(st.one_of(st.sampled_from(names), _tokens), value)
    bent = st.lists(parameter, max_size=4).map(lambda found: ExtensionItem(subject.definition.name, tuple(found)))
    return st.one_of(st.sampled_from(known), bent)


def _converse(
    subject: Subject,
    out: Agreed,
    back: Agreed,
    sender: End,
    messages: list[tuple[int, bytes, tuple[int, ...]]],
    step: int,
) -> None:
    encoder = ChainEncoder(subject.chain(out), sender)
    decoder = ChainDecoder(subject.chain(back), sender, _MOST)
    for opcode, payload, cuts in messages:
        encoder.begin(opcode)
        pieces = list(_split(payload, cuts))
        wire = [encoder.piece(piece, True, number == len(pieces)) for number, piece in enumerate(pieces, 1)]
        assert sum(map(len, wire)) <= GROWTH * len(payload) + SLACK
        arrived = _decoded(decoder, wire, step) if decoder.begin(encoder.bits) else b"".join(wire)
        # Not compared in the assertion itself: a difference in 72 KB is slow to print.
        same = arrived == payload
        assert same, f"{_short(payload)} became {_short(arrived)}"


def _decoded(decoder: ChainDecoder, wire: list[bytes], step: int) -> bytes:
    plain = b""
    for number, piece in enumerate(wire, 1):
        decoder.feed(piece, number == len(wire))
        while decoder.pending:
            plain += decoder.read(step)
    return plain


def _split(data: bytes, cuts: tuple[int, ...]) -> Iterator[bytes]:
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return (data[start:end] for start, end in pairwise(places))


def _short(data: bytes) -> str:
    return repr(data) if len(data) <= 80 else f"{data[:80]!r}... ({len(data)} bytes)"
