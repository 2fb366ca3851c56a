"""The extensions of a route's legs, made ready for the negotiation of each of its tunnels.

Owns: instances for one configuration, and the counters of extensions, which outlive it. Must never import trio.
Invariant: counters of the same route, leg and extension are the same ones in every generation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wsproxy.errors import BadUsage, Side
from wsproxy.extensions.base import RSV1, Events
from wsproxy.extensions.guard import text_of
from wsproxy.extensions.negotiation import Candidate, Deflate
from wsproxy.extensions.permessage_deflate import NAME as DEFLATE
from wsproxy.extensions.registry import ExtensionUnavailable, find
from wsproxy.settings.tree import NamedExtension, Route, Settings


class EventBook:
    """The counters of one worker's extensions, by route, leg and extension."""

    def __init__(self) -> None:
        self._events: dict[tuple[str, str, str], Events] = {}

    def of(self, route: str, side: Side, extension: str, names: Sequence[str] = ()) -> Events:
        """Those of one extension, made when first asked for; later ``names`` are added."""
        events = self._events.setdefault((route, side.label, extension), Events(names))
        for name in names:
            events.counts.setdefault(name, 0)
        return events

    def told(self) -> list[tuple[tuple[str, str, str, str], int]]:
        """Every counter with its labels: route, leg, extension, event."""
        return [
            ((*key, event), count)
            for key, events in list(self._events.items())
            for event, count in list(events.counts.items())
        ]


@dataclass(frozen=True, slots=True)
class LegExtensions:
    """What one leg runs besides permessage-deflate, best first.

    :ivar before: comes before permessage-deflate; ``after`` after it.
    :ivar deflate_events: for permessage-deflate itself, where it is one of several.
    """

    before: tuple[Candidate, ...]
    after: tuple[Candidate, ...]
    deflate_events: Events

    def with_deflate(self, deflate: Deflate | None) -> list[Candidate]:
        """All that the leg is willing to run in one tunnel."""
        own = [] if deflate is None else [Candidate(DEFLATE, RSV1, deflate, self.deflate_events)]
        return [*self.before, *own, *self.after]


RouteLegs = tuple[LegExtensions, LegExtensions]
"""Indexed by `Side`."""


def make_extensions(settings: Settings, book: EventBook) -> Mapping[str, RouteLegs]:
    """By route name. Raises BadUsage for an extension that cannot be made any more."""
    return {route.name: _of_route(route, book) for route in settings.routes}


def _of_route(route: Route, book: EventBook) -> RouteLegs:
    return (
        _of_leg(route, Side.CLIENT, route.extensions.client, book),
        _of_leg(route, Side.UPSTREAM, route.extensions.upstream, book),
    )


def _of_leg(route: Route, side: Side, named: Sequence[NamedExtension], book: EventBook) -> LegExtensions:
    names = [each.name for each in named]
    place = names.index(DEFLATE) if DEFLATE in names else 0
    made = [None if each.name == DEFLATE else _candidate(route, side, each, book) for each in named]
    return LegExtensions(
        before=tuple(each for each in made[:place] if each is not None),
        after=tuple(each for each in made[place:] if each is not None),
        deflate_events=book.of(route.name, side, DEFLATE) if named else Events(),
    )


def _candidate(route: Route, side: Side, named: NamedExtension, book: EventBook) -> Candidate:
    where = f"route {route.name}: extensions.{side.label}: {named.name}"
    try:
        definition = find(named.name)
        events = book.of(route.name, side, named.name, definition.events)
        return Candidate(named.name, definition.rsv, definition.build(named.settings, events), events)
    except ExtensionUnavailable as error:
        raise BadUsage([f"{where}: {error}"]) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise BadUsage([f"{where}: {type(error).__name__}: {text_of(error)}"]) from error
