"""``wsproxy check CONFIG.toml --explain URL``: which route and upstream a request takes, and why no other.

Owns: the reading of what is asked and the lines that answer it. Nothing is looked up or dialled.
Must never import trio.
"""

import re
from collections.abc import Iterator, Sequence

from wsproxy.errors import BadUsage, Refused
from wsproxy.gateway.routing import Obstacle, Router, Wanted, check_origin, rewritten
from wsproxy.settings.about import FIELD_VALUE_PATTERN, TOKEN_PATTERN
from wsproxy.settings.endpoints import parse_endpoint
from wsproxy.settings.tree import Route, Settings, Upstream

_FIELD = re.compile(rf"({TOKEN_PATTERN}):[ \t]*({FIELD_VALUE_PATTERN})[ \t]*")
_URL = re.compile(
    r"(wss?|https?)://(?P<host>(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]*)?)(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?"
)


def explain(settings: Settings, url: str, fields: Sequence[str], subprotocols: Sequence[str]) -> tuple[list[str], bool]:
    """The lines to print, and whether the request has a route that lets it in.

    ``fields`` are header fields, ``Name: value``. Raises BadUsage with a line for each thing that cannot be read.
    """
    wanted = _wanted(url, fields, subprotocols)
    lines: list[str] = []
    for route, obstacle in Router(settings.routes).explain(wanted):
        if obstacle is not None:
            lines.append(f"route {route.name}: no, {_why_not(route, obstacle, wanted)}")
            continue
        lines.append(f"route {route.name}: yes, the first that matches")
        try:
            check_origin(route, dict(wanted.headers).get(b"origin"))
        except Refused as refused:
            return [*lines, f"answer: {refused.status}, {refused.detail}"], False
        return [*lines, *_destination(route, settings.upstreams[route.upstream], wanted)], True
    return [*lines, "answer: 404, no route takes it"], False


def _wanted(url: str, fields: Sequence[str], subprotocols: Sequence[str]) -> Wanted:
    problems: list[str] = []
    parts = _URL.fullmatch(url)
    if parts is None or not re.fullmatch(r"[!-~]+", url):
        problems.append(
            f"--explain: {url!r} is not ws://, wss://, http:// or https:// with a host name, in ASCII without blanks"
        )
    headers: list[tuple[bytes, bytes]] = []
    for each in fields:
        found = _FIELD.fullmatch(each)
        if found is None:
            problems.append(f"--header: {each!r} is not 'Name: value'")
        else:
            headers.append((found[1].lower().encode(), found[2].encode()))
    problems += [
        f"--subprotocol: {each!r} is not a subprotocol's name"
        for each in subprotocols
        if not re.fullmatch(TOKEN_PATTERN, each)
    ]
    if problems or parts is None:
        raise BadUsage(problems)
    target = f"{parts['path'] or '/'}{parts['query'] or ''}"
    host = next((value for name, value in headers if name == b"host"), parts["host"].encode())
    return Wanted(host, target.encode(), headers, tuple(each.encode() for each in subprotocols))


def _why_not(route: Route, obstacle: Obstacle, wanted: Wanted) -> str:
    path = wanted.target.partition(b"?")[0].decode()
    match obstacle:
        case "host":
            return f"the host {wanted.host.decode()!r} is none of {_listed(route.hosts)}"
        case "path":
            wants = f"exactly {route.path!r}" if route.path else f"{route.path_prefix!r} or below it"
            return f"the path {path!r} is not {wants}"
        case "header":
            sent = [(name.decode(), value.decode()) for name, value in wanted.headers]
            lacks = [
                f"{name}: {value}" for name, value in route.match_headers.items() if (name.lower(), value) not in sent
            ]
            return f"the request has no header {_listed(lacks)}"
        case "subprotocol":
            return f"the request offers no subprotocol of {_listed(route.subprotocols)}"


def _destination(route: Route, upstream: Upstream, wanted: Wanted) -> Iterator[str]:
    total = sum(each.weight for each in upstream.endpoints)
    yield f"upstream {route.upstream}: {upstream.balance} among {len(upstream.endpoints)}"
    for each in upstream.endpoints:
        share = f", weight {each.weight} of {total}" if total > len(upstream.endpoints) else ""
        yield f"endpoint {each.url}{share}"
    target = rewritten(route, wanted.target).decode()
    paths = {each.url: f"{parse_endpoint(each.url).base_path}{target}" for each in upstream.endpoints}
    if len(set(paths.values())) == 1:
        yield f"path there: {paths[upstream.endpoints[0].url]}"
    else:
        yield from (f"path at {url}: {path}" for url, path in paths.items())


def _listed(words: Sequence[str]) -> str:
    return ", ".join(repr(word) for word in words)
