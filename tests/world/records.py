"""The recorded offers and answers of `recorded.toml`, read and checked. Must never import wsproxy."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.world.agreements import Sender, Settled

_TABLE = Path(__file__).with_name("recorded.toml")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What must come of a record.

    :ivar settled: None if it is declined, or fails.
    :ivar answer: to an offer; empty if it is declined.
    :ivar fails: part of the error's text; empty if it does not fail.
    """

    settled: Settled | None
    answer: str
    fails: str

    @classmethod
    def read(cls, table: dict[str, Any]) -> "Outcome":
        left = dict(table)
        declined, fails = left.pop("declined", False), left.pop("fails", "")
        if declined or fails:
            assert not left, table
            return cls(None, "", fails)
        settled = Settled(Sender.read(left.pop("server")), Sender.read(left.pop("client")))
        outcome = cls(settled, left.pop("answer", ""), "")
        assert not left, table
        return outcome


@dataclass(frozen=True, slots=True)
class RecordedOffer:
    """What a client sends. ``sent_by``: a make of client that the tests can run; empty where there is none."""

    who: str
    source: str
    header: str
    default: Outcome
    wide: Outcome
    sent_by: str = ""


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """What a server sends. ``to``: a policy of ours; or else ``offer``: what it was asked.

    :ivar sent_by: make and variant of an upstream that the tests can run; empty where there is none.
    :ivar lenient: what must come of it for a lenient leg, where that differs.
    """

    who: str
    source: str
    header: str
    strict: Outcome
    lenient: Outcome
    to: str = ""
    offer: str = ""
    sent_by: str = ""


def offers() -> list[RecordedOffer]:
    """Every recorded offer."""
    return [
        RecordedOffer(
            **{**entry, "default": Outcome.read(entry["default"]), "wide": Outcome.read(entry["wide"])},
        )
        for entry in tomllib.loads(_TABLE.read_text())["offer"]
    ]


def answers() -> list[RecordedAnswer]:
    """Every recorded answer."""
    return [
        RecordedAnswer(
            **{
                **entry,
                "strict": Outcome.read(entry["strict"]),
                "lenient": Outcome.read(entry.get("lenient", entry["strict"])),
            }
        )
        for entry in tomllib.loads(_TABLE.read_text())["answer"]
    ]
