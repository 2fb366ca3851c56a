"""What must fit together in a settings tree although each value is right on its own.

Owns: the cross checks. Must never import trio, socket or logging.
Invariant: an empty value stands in for one that was refused already, and is not complained about again.
"""

import re

from wsproxy.extensions.engines import level_problem, strategy_problem
from wsproxy.extensions.permessage_deflate import NAME as DEFLATE
from wsproxy.settings.addresses import Address, TcpAddress, parse_address
from wsproxy.settings.endpoints import parse_endpoint
from wsproxy.settings.problems import Problems, did_you_mean, join
from wsproxy.settings.tree import LegCompression, Listener, Route, Settings, Upstream

_EVERYWHERE = frozenset({"0.0.0.0", "::"})
_CONNECTION_FIELDS = frozenset(
    {
        *("connection", "upgrade", "te", "trailer", "transfer-encoding", "content-length", "keep-alive"),
        *("proxy-connection", "sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions"),
        *("sec-websocket-accept", "sec-websocket-protocol"),
    }
)
"""What frames a message, belongs to one connection or is negotiated is the proxy's own (RFC 9110 §7.6.1)."""
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def cross_check(settings: Settings, problems: Problems) -> None:
    """Note everything in ``settings`` that does not fit together."""
    for name in ("listeners", "routes", "upstreams"):
        if not getattr(settings, name):
            problems.add(name, "at least one is needed")
    _refuse_duplicates("listeners", ".name", [listener.name for listener in settings.listeners], problems)
    _refuse_duplicates("routes", ".name", [route.name for route in settings.routes], problems)
    _check_binds(settings, problems)
    for index, listener in enumerate(settings.listeners):
        _check_listener(f"listeners[{index}]", listener, problems)
    for index, route in enumerate(settings.routes):
        _check_route(f"routes[{index}]", route, settings, problems)
    for name, upstream in settings.upstreams.items():
        _check_upstream(join("upstreams", name), upstream, problems)
    _refuse_loops(settings, problems)


def _refuse_duplicates(array: str, member: str, values: list[str], problems: Problems) -> None:
    first: dict[str, int] = {}
    for index, value in enumerate(values):
        if value and first.setdefault(value, index) != index:
            problems.add(f"{array}[{index}]{member}", f"{value!r} is already {array}[{first[value]}]{member}")


def _check_binds(settings: Settings, problems: Problems) -> None:
    taken: list[tuple[str, Address]] = []
    binds = [(f"listeners[{index}].bind", listener.bind) for index, listener in enumerate(settings.listeners)]
    control = f"unix:{settings.control.socket}" if settings.control.socket else ""
    for path, bind in [*binds, ("metrics.listen", settings.metrics.listen), ("control.socket", control)]:
        if not bind:
            continue
        address = parse_address(bind)
        if isinstance(address, TcpAddress) and address.port == 0:
            continue
        for other, before in taken:
            if address == before:
                problems.add(path, f"{bind!r} is already {other}")
            elif _overlap(address, before):
                problems.add(path, f"{bind!r} overlaps with {other}, '{before}'")
        taken.append((path, address))


def _overlap(one: Address, other: Address) -> bool:
    """A system gives an address and port to one socket, and `0.0.0.0` and `::` stand for all of their family."""
    if not (isinstance(one, TcpAddress) and isinstance(other, TcpAddress)) or one.port != other.port:
        return False
    return any(
        each.host in _EVERYWHERE and (rest.host == "localhost" or _family(each.host) == _family(rest.host))
        for each, rest in ((one, other), (other, one))
    )


def _family(host: str) -> int:
    """4 or 6 for an IP literal; 0 for a name, of which nothing is known here."""
    return 6 if ":" in host else 4 if re.fullmatch(r"[0-9.]+", host) else 0


def _refuse_loops(settings: Settings, problems: Problems) -> None:
    """An endpoint that is one of our own listeners would connect to itself until no descriptor is left."""
    for index, listener in enumerate(settings.listeners):
        address = parse_address(listener.bind) if listener.bind else None
        if not isinstance(address, TcpAddress) or address.port == 0:
            continue
        hosts = _LOOPBACK | {address.host} if address.host in _EVERYWHERE else {address.host}
        for name, upstream in settings.upstreams.items():
            for number, url in enumerate(each.url for each in upstream.endpoints):
                endpoint = parse_endpoint(url) if url else None
                if endpoint is None:
                    continue
                if endpoint.unix_path is None and endpoint.port == address.port and endpoint.host in hosts:
                    path = f"{join('upstreams', name)}.endpoints[{number}]"
                    problems.add(path, f"{url!r} is this proxy itself, listeners[{index}].bind")


def _check_listener(path: str, listener: Listener, problems: Problems) -> None:
    if listener.tls.client_ca and not listener.tls.certificates:
        problems.add(f"{path}.tls.client_ca", "needs tls.certificates: without one there is no TLS")
    if listener.proxy_protocol != "off" and not listener.trusted_proxies:
        problems.add(f"{path}.proxy_protocol", "needs trusted_proxies: nobody else may speak it")


def _check_route(path: str, route: Route, settings: Settings, problems: Problems) -> None:
    if route.upstream and settings.upstreams and route.upstream not in settings.upstreams:
        guess = did_you_mean(route.upstream, settings.upstreams)
        problems.add(f"{path}.upstream", f"no upstream is named {route.upstream!r}{guess}")
    if route.path and route.path_prefix != "/":
        problems.add(f"{path}.path", "goes with no path_prefix: it is the whole path")
    _refuse_same_fields(f"{path}.match_headers", list(route.match_headers), problems)
    _refuse_same_fields(f"{path}.headers", [*route.headers.set, *route.headers.remove], problems)
    for name in (*route.headers.set, *route.headers.remove):
        if name.lower() in _CONNECTION_FIELDS:
            problems.add(
                f"{path}.headers", f"{name!r} belongs to the connection or the handshake: it is the proxy's own"
            )
    if any(name.lower() == "host" for name in route.headers.remove):
        problems.add(f"{path}.headers.remove", "a request always has a Host: set another one instead")
    compression = route.compression
    if compression.mode == "passthrough" and not (compression.client.enabled and compression.upstream.enabled):
        problems.add(
            f"{path}.compression.mode", "'passthrough' needs both legs enabled: client.enabled, upstream.enabled"
        )
    if compression.client.lenient:
        problems.add(f"{path}.compression.client.lenient", "only the upstream leg can be lenient")
    for leg, named in (("client", route.extensions.client), ("upstream", route.extensions.upstream)):
        array = f"{path}.extensions.{leg}"
        _refuse_duplicates(array, ".name", [each.name for each in named], problems)
        for index, each in enumerate(named):
            if each.name == DEFLATE and not getattr(compression, leg).enabled:
                problems.add(f"{array}[{index}].name", f"{DEFLATE} is off on this leg: compression.{leg}.enabled")
    _check_leg(f"{path}.compression.client", compression.client, problems)
    _check_leg(f"{path}.compression.upstream", compression.upstream, problems)


def _refuse_same_fields(path: str, names: list[str], problems: Problems) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            problems.add(path, f"{name!r} is there twice: names of header fields have no case")
        seen.add(name.lower())


def _check_leg(path: str, leg: LegCompression, problems: Problems) -> None:
    if leg.level != "auto" and (problem := level_problem(leg.engine, leg.level)):
        problems.add(f"{path}.level", problem)
    if problem := strategy_problem(leg.engine, leg.strategy):
        problems.add(f"{path}.strategy", problem)


def _check_upstream(path: str, upstream: Upstream, problems: Problems) -> None:
    if not upstream.endpoints:
        problems.add(f"{path}.endpoints", "at least one is needed")
    _refuse_duplicates(f"{path}.endpoints", "", [each.url for each in upstream.endpoints], problems)
    if bool(upstream.tls.client_cert) != bool(upstream.tls.client_key):
        problems.add(f"{path}.tls", "client_cert and client_key go together")
