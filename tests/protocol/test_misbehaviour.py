"""An extension that breaks its contract ends one tunnel with 1011 on both sides, and says whose fault it was."""

import re
import zlib
from typing import cast

import pytest

from tests.extensions.faulty import NAME, OF_DECODERS, OF_ENCODERS, FaultyAgreed, Untold
from tests.protocol.chains import bzip2
from tests.protocol.joined import KEPT, RESET, Joined
from tests.protocol.test_lane import frame
from wsproxy.errors import ExtensionFault, Side
from wsproxy.extensions.base import RSV1, RSV2, RSV3, Agreed, End, Events, MessageDecoder, MessageEncoder
from wsproxy.extensions.bzip2 import NAME as BZIP2
from wsproxy.extensions.chain import Chain, Link
from wsproxy.extensions.engines import Compressor, Engine
from wsproxy.extensions.guard import describe
from wsproxy.extensions.permessage_deflate import NAME as DEFLATE
from wsproxy.extensions.permessage_deflate import Agreement
from wsproxy.protocol.ending import Ending
from wsproxy.protocol.flow import READS_A_TURN
from wsproxy.protocol.limits import Limits


def faulty(how: str) -> Chain:
    return Chain((Link(NAME, RSV3, FaultyAgreed(how), Events()),))


def ended(joined: Joined, leg: Side, operation: str) -> str:
    """Hold the tunnel to its end; what was wrong."""
    for side in Side:
        assert joined.closed_with(side) == (1011, f"extension {NAME} failed")
        assert joined.relay.take(side) == b""
    assert joined.relay.ending == Ending("proxy", 1011, f"extension {NAME} failed")
    assert joined.relay.fault is not None
    found, fault = joined.relay.fault
    assert (found, fault.extension, fault.operation) == (leg, NAME, operation)
    return fault.detail


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("how", OF_DECODERS)
def test_a_decoder(how: str, side: Side) -> None:
    agreements = (faulty(how), None) if side is Side.CLIENT else (None, faulty(how))
    joined = Joined(*agreements)
    for _ in range(3):
        joined.send_raw(side, frame(0x92, b"something", side is Side.CLIENT))
    joined.run()
    assert ended(joined, side, "decode")
    assert not [each for each in joined.received[side.other] if each.data == b"something"]


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("how", OF_ENCODERS)
def test_an_encoder(how: str, side: Side) -> None:
    agreements = (faulty(how), None) if side is Side.CLIENT else (None, faulty(how))
    joined = Joined(*agreements)
    for _ in range(3):
        joined.send_raw(side.other, frame(0x82, b"something", side is Side.UPSTREAM))
    joined.run()
    assert ended(joined, side, "encode")


def test_what_was_wrong_is_told_in_one_line_with_its_place() -> None:
    joined = Joined(faulty("read raises"), None)
    joined.send_raw(Side.CLIENT, frame(0x92, b"x", True))
    joined.run()
    detail = ended(joined, Side.CLIENT, "decode")
    assert re.fullmatch(r"RuntimeError at \S+faulty\.py:\d+: read, as it was told to", detail)


def test_whatever_is_raised_is_told_in_one_line() -> None:
    class Long(Exception):
        def __str__(self) -> str:
            return "two\nlines, and more " * 10_000

    for error, told in ((Long(), "Long: two lines, and more two"), (Untold(), "Untold: (it has no text)")):
        assert describe(error).startswith(told)
        assert "\n" not in describe(error) and len(describe(error)) < 300


@pytest.mark.parametrize(
    "how, told",
    [
        ("read gives too much", "it gave 65537 where at most 65536 bytes were asked for"),
        ("read gives text", "it gave str where at most 65536 bytes were asked for"),
        ("read gives nothing for ever", "it gave nothing in 1000 calls, and says that there is more"),
        ("read blames with 1000", "it blames the sender with 1000"),
        ("read blames without a code", "it blames the sender with no code"),
        ("begin gives a number", "asked whether it transforms a message, it says 112"),
        ("encode gives too much", "it made 10000000 bytes of 1"),
        ("encode gives text", "it gave str, and no bytes"),
    ],
)
def test_details(how: str, told: str) -> None:
    decodes = how in OF_DECODERS
    joined = Joined(faulty(how), None) if decodes else Joined(None, faulty(how))
    joined.send_raw(Side.CLIENT, frame(0x92 if decodes else 0x82, b"x", True))
    joined.run()
    assert ended(joined, Side.CLIENT if decodes else Side.UPSTREAM, "decode" if decodes else "encode") == told


def test_messages_before_the_fault_have_arrived() -> None:
    joined = Joined(faulty("read raises"), None)
    joined.send_raw(Side.CLIENT, frame(0x82, b"before", True) + frame(0x92, b"x", True) + frame(0x82, b"after", True))
    joined.run()
    assert [message for _, message in joined.messages(Side.UPSTREAM)] == [b"before"]


@pytest.mark.parametrize("side", Side)
def test_an_agreement_that_is_none(side: Side) -> None:
    """What `accept` and `confirm` give is not looked at before it is needed: then it is the extension's fault."""
    nothing = Chain((Link(NAME, RSV3, cast(Agreed, None), Events()),))
    assert nothing.label == NAME
    told: list[ExtensionFault] = []
    assert not nothing.may_pass(nothing, "client", told.append)
    assert [fault.operation for fault in told] == ["may_pass"]
    joined = Joined(*((nothing, None) if side is Side.CLIENT else (None, nothing)))
    joined.send_raw(Side.CLIENT, frame(0x92 if side is Side.CLIENT else 0x82, b"x", True))
    joined.run()
    ended(joined, side, "decode" if side is Side.CLIENT else "encode")


class Dribbles(MessageDecoder):
    """Gives a byte for each thousand calls, which is within its rights."""

    calls = 0

    def feed(self, payload: bytes, fin: bool) -> None:
        self._left = payload

    @property
    def pending(self) -> bool:
        return bool(self._left)

    def read(self, max_output: int) -> bytes:
        Dribbles.calls += 1
        if Dribbles.calls % 900:
            return b""
        plain, self._left = self._left[:1], self._left[1:]
        return plain


def test_one_that_gives_little_by_little_holds_nobody_up() -> None:
    class Agrees(Swallowing):
        def decoder(self, sender: End) -> MessageDecoder:
            return Dribbles()

    joined = Joined(Chain((Link(NAME, RSV3, Agrees(), Events()),)), None)
    joined.relay.receive(Side.CLIENT, frame(0x92, b"slowly", True), 0.0)
    turns = 1
    assert Dribbles.calls <= READS_A_TURN
    while joined.relay.backlog(Side.CLIENT):
        before = Dribbles.calls
        joined.relay.resume(Side.CLIENT, 0.0)
        assert Dribbles.calls - before <= READS_A_TURN
        turns += 1
    assert turns >= 6 * 900 // READS_A_TURN
    joined.run()
    assert [message for _, message in joined.messages(Side.UPSTREAM)] == [b"slowly"]


@pytest.mark.parametrize("held", [-1, 1 << 60, 10**400, float("inf"), "much"])
def test_an_estimate_that_is_none_is_nothing(held: object) -> None:
    class Holds(Swallows):
        memory = held  # type: ignore[assignment]

    class Agrees(Swallowing):
        def decoder(self, sender: End) -> MessageDecoder:
            return Holds()

    link = Link(NAME, RSV3, Agrees(), Events())
    joined = Joined(Chain((link,)), None)
    joined.send_raw(Side.CLIENT, frame(0x92, b"x", True))
    assert [codec.memory for codec in joined.relay._flows[Side.CLIENT].codecs()] == [0]
    assert link.events.counts["fault"] == 1


@pytest.mark.parametrize("event, amount", [("other", 1), ("done", -1), ("done", 0.5), ("done", 10**400), ("done", "1")])
def test_what_cannot_be_counted_is_a_fault(event: str, amount: object) -> None:
    events = Events(("done",))
    with pytest.raises(ValueError, match="is no counter, or"):
        events.add(event, amount)  # type: ignore[arg-type]
    assert set(events.counts.values()) == {0}


def test_the_memory_of_a_broken_estimate_is_nothing() -> None:
    joined = Joined(faulty("memory raises"), None)
    joined.send_raw(Side.CLIENT, frame(0x92, b"x", True))
    joined.run()
    assert [codec.memory for codec in joined.relay._flows[Side.CLIENT].codecs()] == [0]
    assert [message for _, message in joined.messages(Side.UPSTREAM)] == [b"x"]


def test_a_label_that_raises_is_the_name() -> None:
    chain = faulty("label raises")
    assert chain.label == NAME
    assert chain.links[0].events.counts["fault"] == 1


def test_a_plan_is_never_pass_where_the_question_fails() -> None:
    told: list[ExtensionFault] = []
    assert not faulty("may_pass raises").may_pass(faulty(""), "client", told.append)
    assert [fault.operation for fault in told] == ["may_pass"]
    assert faulty("").may_pass(faulty(""), "client", told.append)


class Swallows(MessageDecoder):
    """Takes everything and gives nothing, which is its right."""

    def feed(self, payload: bytes, fin: bool) -> None: ...
    @property
    def pending(self) -> bool:
        return False

    def read(self, max_output: int) -> bytes:
        return b""


class Swallowing:
    label = "x-swallow"

    def encoder(self, sender: End) -> MessageEncoder:
        raise NotImplementedError

    def decoder(self, sender: End) -> MessageDecoder:
        return Swallows()

    def may_pass(self, onward: Agreed, sender: End) -> bool:
        return False


def test_what_passes_between_two_extensions_is_bounded_too() -> None:
    """The outer coding grows by a hundred thousand, and of the inner one nothing ever comes out."""
    chain = Chain((Link("x-swallow", RSV2, Swallowing(), Events()), Link(BZIP2, RSV1, bzip2(), Events())))
    joined = Joined(chain, None, limits=Limits(max_message_bytes=1_000_000, max_expansion=1_000_000))
    joined.send_raw(Side.CLIENT, frame(0xE2, bzip2_of_zeros(), True))
    joined.run()
    assert joined.closed_with(Side.CLIENT) == (1009, "message too large between two extensions")


def bzip2_of_zeros() -> bytes:
    encoder = bzip2().encoder("client")
    return encoder.encode(bytes(50_000_000), True)


def test_an_extension_without_bits_transforms_everything_or_fails() -> None:
    class Declines(MessageEncoder):
        def begin(self, opcode: int, head: bytes, whole: bool) -> bool:
            return False

        def encode(self, payload: bytes, fin: bool) -> bytes:
            return payload

    class Silent(Swallowing):
        label = NAME

        def encoder(self, sender: End) -> MessageEncoder:
            return Declines()

    joined = Joined(None, Chain((Link(NAME, 0, Silent(), Events()),)))
    joined.send_raw(Side.CLIENT, frame(0x82, b"x", True))
    joined.run()
    assert ended(joined, Side.UPSTREAM, "encode") == "asked whether it transforms a message, it says False"


class Breaking:
    """A compressor that takes two messages, and breaks at what comes then."""

    def __init__(self, how: str, stream: Compressor) -> None:
        self._how = how
        self._stream = stream
        self._taken = 0

    def compress(self, data: bytes | memoryview, /) -> bytes:
        self._taken += 1
        if self._taken > 2 and self._how == "raises":
            raise zlib.error("broken, as it was told to")
        if self._taken > 2 and self._how == "has no memory":
            raise MemoryError
        return self._stream.compress(data)

    def flush(self, mode: int, /) -> bytes:
        return b"" if self._taken > 2 and self._how == "does not flush" else self._stream.flush(mode)


@pytest.mark.parametrize("how", ["raises", "has no memory", "does not flush"])
@pytest.mark.parametrize("client", [None, RESET], ids=["deflate", "recode"])
@pytest.mark.parametrize("way", ["one by one", "together", "in fragments", "without the lane"])
def test_an_engine_that_fails_ends_a_tunnel_of_permessage_deflate_alone_in_the_same_way(
    monkeypatch: pytest.MonkeyPatch, way: str, client: Agreement | None, how: str
) -> None:
    made = Engine.compressor

    def compressor(self: Engine, level: int, bits: int, mem_level: int, strategy: int) -> Compressor:
        return Breaking(how, made(self, level, bits, mem_level, strategy))

    monkeypatch.setattr(Engine, "compressor", compressor)
    joined = Joined(client, KEPT, mode="recompress", engine="zlib", fast_lane=way != "without the lane")
    if way == "in fragments":
        chunks = [frame(0x01, b"in ", True) + frame(0x80, b"parts", True)] * 3
    else:
        chunks = [frame(0x81, f"message {number}".encode(), True) for number in range(5)]
    for chunk in [b"".join(chunks)] if way == "together" else chunks:
        joined.send_raw(Side.CLIENT, chunk)
    joined.run()
    for side in Side:
        assert joined.closed_with(side) == (1011, f"extension {DEFLATE} failed")
    assert joined.relay.fault is not None
    leg, fault = joined.relay.fault
    assert (leg, fault.extension, fault.operation) == (Side.UPSTREAM, DEFLATE, "encode")
    if how == "raises":
        assert re.fullmatch(r"zlib: error at \S+:\d+: broken, as it was told to", fault.detail)
    if way == "one by one":
        assert [message for _, message in joined.messages(Side.UPSTREAM)] == [b"message 0", b"message 1"]
