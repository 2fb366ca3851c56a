"""The kit for authors: it passes what is right, and finds each fault that was planted in what is wrong."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from tests.extensions.example import wsproxy_rot
from tests.extensions.example.wsproxy_rot import NAME, Rot, RotAgreed, RotDecoder, RotEncoder, RotSettings, table
from tests.extensions.faulty import DEFINITION as FAULTY
from tests.extensions.faulty import IN_AGREEMENTS, IN_NEGOTIATION, OF_DECODERS, OF_ENCODERS, FaultySettings
from wsproxy.extensions import bzip2
from wsproxy.extensions.base import (
    RSV1,
    RSV2,
    Agreed,
    Definition,
    End,
    Events,
    Extension,
    ExtensionItem,
    MessageDecoder,
    MessageEncoder,
)
from wsproxy.extensions.deflate import DeflateOptions
from wsproxy.extensions.negotiation import Deflate
from wsproxy.extensions.permessage_deflate import NAME as DEFLATE
from wsproxy.extensions.permessage_deflate import Policy, offer
from wsproxy.extensions.testing import (
    CHECKS,
    Check,
    Subject,
    check_any_answer,
    check_any_bytes,
    check_any_offer,
    check_conversations,
    check_definition,
    check_handshake,
    check_memory,
    check_passing,
)


@dataclass(frozen=True, slots=True)
class DeflateSettings:
    """permessage-deflate by the same contract."""

    bits: int = field(default=12, metadata={"doc": "Of both windows.", "minimum": 9, "maximum": 15})
    resets: bool = field(default=False, metadata={"doc": "Neither end keeps its window."})


def deflate(settings: DeflateSettings, events: Events) -> Extension:
    policy = Policy(settings.bits, settings.bits, settings.resets, settings.resets)
    return Deflate(policy, DeflateOptions(), asking=offer(policy))


DEFLATE_DEFINITION = Definition(DEFLATE, RSV1, DeflateSettings, deflate)
RIGHT = {
    "x-rot": Subject(wsproxy_rot.DEFINITION, RotSettings()),
    "x-rot by 255": Subject(wsproxy_rot.DEFINITION, RotSettings(by=255)),
    "permessage-bzip2": Subject(bzip2.DEFINITION, bzip2.Bzip2Settings()),
    "permessage-bzip2 of small blocks": Subject(bzip2.DEFINITION, bzip2.Bzip2Settings(1, 2, 0)),
    "permessage-deflate": Subject(DEFLATE_DEFINITION, DeflateSettings()),
    "permessage-deflate without takeover": Subject(
        DEFLATE_DEFINITION,
        DeflateSettings(9, True),
    ),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("subject", RIGHT.values(), ids=RIGHT)
def test_what_is_right_passes(subject: Subject, check: Check) -> None:
    check(subject)


class ForgetsFragments(RotEncoder):
    """Encodes the first piece of a message only."""

    def begin(self, opcode: int, head: bytes, whole: bool) -> bool:
        self._first = True
        return super().begin(opcode, head, whole)

    def encode(self, payload: bytes, fin: bool) -> bytes:
        first, self._first = self._first, False
        return super().encode(payload, fin) if first else payload


class LosesTheRest(RotDecoder):
    """Gives one read's worth of what it was fed."""

    def read(self, max_output: int) -> bytes:
        plain = super().read(max_output)
        self._left = b""
        return plain


class GivesAll(RotDecoder):
    """Gives what it has, however much was asked for."""

    def read(self, max_output: int) -> bytes:
        return super().read(1 << 30)


class WrongForOneByte(RotEncoder):
    """Its table is wrong in one place of 256."""

    def __init__(self, by: int, events: Events) -> None:
        super().__init__(by, events)
        wrong = bytearray(table(by))
        wrong[0x7F] ^= 1
        self._table = bytes(wrong)


class RemembersTheLast(RotEncoder):
    """Drops a message that is the same as the last one."""

    _last = b""

    def encode(self, payload: bytes, fin: bool) -> bytes:
        same, self._last = payload == self._last, payload
        return b"" if same else super().encode(payload, fin)


class NeverDone(RotDecoder):
    """Says that there is more when there is not."""

    @property
    def pending(self) -> bool:
        return True


class OwesMemory(RotEncoder):
    @property
    def memory(self) -> int:
        return -1


@dataclass(frozen=True, slots=True)
class WrongAgreed(RotAgreed):
    encoder_type: type[RotEncoder] = RotEncoder
    decoder_type: type[RotDecoder] = RotDecoder
    name: str = NAME
    apart: bool = False

    @property
    def label(self) -> str:
        return self.name

    def encoder(self, sender: End) -> MessageEncoder:
        return self.encoder_type(self.by, self.events)

    def decoder(self, sender: End) -> MessageDecoder:
        # `apart`: one end takes the number for the other direction's.
        return self.decoder_type(-self.by - (self.apart and sender == "server"))


def wrong(**how: object) -> Subject:
    """x-rot with something wrong in what comes of the agreement."""

    class Wrong(Rot):
        def accept(self, offered: Sequence[ExtensionItem]) -> tuple[Agreed, ExtensionItem] | None:
            accepted = super().accept(offered)
            if accepted is None:
                return None
            assert isinstance(accepted[0], RotAgreed)
            return WrongAgreed(accepted[0].by, self._events, **how), accepted[1]  # type: ignore[arg-type]

        def confirm(self, offered: Sequence[ExtensionItem], answered: ExtensionItem) -> Agreed:
            super().confirm(offered, answered)
            return WrongAgreed(self._settings.by, self._events, **how)  # type: ignore[arg-type]

    return negotiates(Wrong)


def negotiates(kind: type[Rot], name: str = NAME, rsv: int = RSV2) -> Subject:
    definition = Definition(name, rsv, RotSettings, kind, ("rotated",))
    return Subject(definition, RotSettings())


class TakesAnyNumber(Rot):
    """Trusts what it is offered."""

    def accept(self, offered: Sequence[ExtensionItem]) -> tuple[Agreed, ExtensionItem] | None:
        value = offered[0].parameters[0][1]
        assert value is not None
        return RotAgreed(int(value), self._events), offered[0]


class TrustsTheAnswer(Rot):
    def confirm(self, offered: Sequence[ExtensionItem], answered: ExtensionItem) -> Agreed:
        return RotAgreed(int(dict(answered.parameters)["by"] or 0), self._events)


class DeclinesItself(Rot):
    def accept(self, offered: Sequence[ExtensionItem]) -> tuple[Agreed, ExtensionItem] | None:
        return None


@dataclass(frozen=True, slots=True)
class Untold:
    """Settings that say nothing of themselves."""

    by: int = 13


@pytest.mark.parametrize(
    "check, subject",
    [
        (check_conversations, wrong(encoder_type=ForgetsFragments)),
        (check_conversations, wrong(encoder_type=WrongForOneByte)),
        (check_conversations, wrong(encoder_type=RemembersTheLast)),
        (check_conversations, wrong(decoder_type=LosesTheRest)),
        (check_conversations, wrong(decoder_type=GivesAll)),
        (check_conversations, wrong(decoder_type=NeverDone)),
        (check_conversations, wrong(apart=True)),
        (check_passing, wrong(encoder_type=RemembersTheLast)),
        (check_memory, wrong(encoder_type=OwesMemory)),
        (check_any_bytes, wrong(decoder_type=NeverDone)),
        (check_handshake, wrong(name="x-other")),
        (check_handshake, negotiates(DeclinesItself)),
        (check_any_offer, negotiates(TakesAnyNumber)),
        (check_any_answer, negotiates(TrustsTheAnswer)),
        (check_definition, negotiates(Rot, rsv=0x80)),
        (check_definition, Subject(replace(wsproxy_rot.DEFINITION, events="rotated"), RotSettings())),  # type: ignore[arg-type]
        (check_definition, Subject(replace(wsproxy_rot.DEFINITION, settings=Untold), RotSettings())),  # type: ignore[arg-type]
        (check_definition, negotiates(Rot, "x rot")),
        (check_definition, negotiates(Rot, "x-other")),
    ],
)
def test_what_is_wrong_is_found(check: Check, subject: Subject) -> None:
    with pytest.raises(Exception):  # noqa: B017 — an assertion, what the extension raised, or a group of both
        check(subject)


@pytest.mark.parametrize(
    "how",
    [*OF_DECODERS, *OF_ENCODERS, *IN_NEGOTIATION, *IN_AGREEMENTS, "confirm raises", "label raises", "memory raises"],
)
def test_every_way_to_misbehave_is_found(how: str) -> None:
    with pytest.raises(BaseException):  # noqa: B017 — an assertion, or what it raised, which may be to exit
        for check in CHECKS:
            check(Subject(FAULTY, FaultySettings(how)))


def test_one_that_behaves_passes_every_check() -> None:
    """Guards the test above: what is found there is the fault."""
    for check in CHECKS:
        check(Subject(FAULTY, FaultySettings()))


def test_the_proxy_does_not_import_it() -> None:
    code = "import sys, wsproxy.cli.main, wsproxy.service.lifecycle; assert 'hypothesis' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
