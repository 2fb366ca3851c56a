"""An extension that breaks its contract ends one tunnel with 1011 on both sides, and says whose fault it was."""

import pytest

from tests.extensions.faulty import NAME, OF_DECODERS, OF_ENCODERS, FaultyAgreed
from tests.protocol.chains import bzip2
from tests.protocol.joined import Joined
from tests.protocol.test_lane import frame
from wsproxy.errors import ExtensionFault, Side
from wsproxy.extensions.base import RSV1, RSV2, RSV3, Agreed, End, Events, MessageDecoder, MessageEncoder
from wsproxy.extensions.bzip2 import NAME as BZIP2
from wsproxy.extensions.chain import Chain, Link
from wsproxy.protocol.ending import Ending
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
    assert detail.startswith("RuntimeError: read, as it was told to at ")
    assert "faulty.py:" in detail and "\n" not in detail


@pytest.mark.parametrize(
    "how, told",
    [
        ("read gives too much", "it gave 65537 where at most 65536 bytes were asked for"),
        ("read gives text", "it gave str where at most 65536 bytes were asked for"),
        ("read gives nothing for ever", "it gave nothing in 1000 calls, and says that there is more"),
        ("read blames with 1000", "it blames the sender with 1000"),
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
