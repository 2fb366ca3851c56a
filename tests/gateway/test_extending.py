"""Extensions of a configuration, made ready: permessage-deflate's place, and counters that outlive a reload."""

import pytest

from wsproxy.errors import BadUsage, Side
from wsproxy.extensions import registry
from wsproxy.extensions.base import RSV1, Definition, Events, Extension
from wsproxy.extensions.bzip2 import NAME as BZIP2
from wsproxy.extensions.bzip2 import Bzip2Settings
from wsproxy.extensions.deflate import DeflateOptions
from wsproxy.extensions.negotiation import Deflate
from wsproxy.extensions.permessage_deflate import NAME as DEFLATE
from wsproxy.extensions.permessage_deflate import Policy
from wsproxy.gateway.extending import EventBook, make_extensions
from wsproxy.gateway.generation import Generation
from wsproxy.settings.load import load
from wsproxy.settings.tree import Settings


def settings(*named: str) -> Settings:
    tables = "".join(f'[[routes.extensions.client]]\nname = "{name}"\n' for name in named)
    return load(f'[upstreams.b]\nendpoints = ["ws://c"]\n[[routes]]\nname = "a"\nupstream = "b"\n{tables}', {})


@pytest.mark.parametrize(
    "named, order",
    [
        ((), [DEFLATE]),
        ((BZIP2,), [DEFLATE, BZIP2]),
        ((BZIP2, DEFLATE), [BZIP2, DEFLATE]),
        ((DEFLATE, BZIP2), [DEFLATE, BZIP2]),
    ],
)
def test_the_place_of_permessage_deflate(named: tuple[str, ...], order: list[str]) -> None:
    legs = make_extensions(settings(*named), EventBook())["a"]
    deflate = Deflate(Policy(), DeflateOptions())
    assert [each.name for each in legs[Side.CLIENT].with_deflate(deflate)] == order
    assert [each.name for each in legs[Side.CLIENT].with_deflate(None)] == [each for each in order if each != DEFLATE]
    assert [each.name for each in legs[Side.UPSTREAM].with_deflate(deflate)] == [DEFLATE]


def test_counters_outlive_a_reload() -> None:
    book = EventBook()
    first = Generation(settings(BZIP2), book=book)
    (candidate,) = first.extensions["a"][Side.CLIENT].with_deflate(None)
    candidate.events.add("fault")
    Generation(settings(), book=book)
    again = Generation(settings(BZIP2), book=book)
    (candidate,) = again.extensions["a"][Side.CLIENT].with_deflate(None)
    candidate.events.add("fault")
    told = dict(book.told())
    assert told["a", "client", BZIP2, "fault"] == 2


def test_a_package_that_went_away_refuses_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> registry.AnyDefinition:
        raise registry.ExtensionUnavailable(f"there is no extension {name!r}")

    found = settings(BZIP2)
    monkeypatch.setattr("wsproxy.gateway.extending.find", gone)
    with pytest.raises(BadUsage, match=r"route a: extensions\.client: permessage-bzip2: there is no extension"):
        make_extensions(found, EventBook())


def test_one_that_cannot_be_made_any_more_refuses_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it does instead, a reload is refused and the worker lives."""

    def exits(settings: Bzip2Settings, events: Events) -> Extension:
        raise SystemExit("as it was told to")

    found = settings(BZIP2)
    broken = Definition(BZIP2, RSV1, Bzip2Settings, exits)
    monkeypatch.setattr("wsproxy.gateway.extending.find", lambda name: broken)
    with pytest.raises(BadUsage, match="route a: extensions\\.client: permessage-bzip2: SystemExit: as it was told to"):
        make_extensions(found, EventBook())
