"""The settings of extensions other than permessage-deflate: which ones each leg of a route runs, best first.

Owns: their tables. What else stands in one belongs to the extension that it names. Must never import trio, socket or
logging.
"""

from dataclasses import dataclass, field

from wsproxy.settings.about import about


@dataclass(frozen=True, slots=True)
class NamedExtension:
    """One extension: its name, and its own settings as an instance of the dataclass that it brings along.

    permessage-deflate has no settings here: its name only gives it its place, and ``routes.compression`` the rest.
    """

    name: str = field(metadata=about("As in Sec-WebSocket-Extensions."))
    settings: object = None


@dataclass(frozen=True, slots=True)
class RouteExtensions:
    """Arrays of tables, `[[routes.extensions.client]]` and `[[routes.extensions.upstream]]`, each with the `name` of an
    extension and that extension's own keys. permessage-deflate, which has its tables in `routes.compression`, comes
    before them unless it has a place among them.
    """

    client: tuple[NamedExtension, ...] = field(
        default=(), metadata=about("Extensions of the leg to the client, best first: see docs/extensions.md.")
    )
    upstream: tuple[NamedExtension, ...] = field(
        default=(), metadata=about("Extensions of the leg to the upstream, best first.")
    )
