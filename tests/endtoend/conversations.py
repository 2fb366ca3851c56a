"""The routes and the messages with which every plan is tried, on every engine. Must never import wsproxy."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.endtoend import peers
from tests.endtoend.proxy import Proxy, route

SIZES = (0, 1, 2, 125, 126, 127, 1_000, 4_096, 65_535, 65_536, 262_144, 262_145, 700_000)


@dataclass(frozen=True, slots=True)
class Case:
    """One route: which upstream it has, how its two legs are set, and the plans that must come of it."""

    name: str
    upstream: str
    """Of the fixtures `plain_upstream`, `wide_upstream`, `forgetful_upstream`: the part before the underscore."""
    settings: tuple[str, ...]
    to_client: str
    to_upstream: str
    offer: ClientPerMessageDeflateFactory = peers.CHROME


CASES = (
    Case("plain", "plain", ("compression.client.enabled = false",), "plain", "plain"),
    Case("deflate", "plain", (), "deflate", "inflate"),
    Case(
        "deflate-alone",
        "plain",
        (
            "compression.client.server_no_context_takeover = true",
            "compression.client.client_no_context_takeover = true",
        ),
        "deflate",
        "inflate",
    ),
    Case(
        "inflate",
        "wide",
        ("compression.client.enabled = false", "compression.upstream.enabled = true"),
        "inflate",
        "deflate",
    ),
    Case(
        "recode",
        "wide",
        # To the client: 15 kept bits in, 10 forgotten ones out. To the upstream: 15 bits in, 12 out.
        ("compression.upstream.enabled = true", "compression.upstream.server_max_window_bits = 15"),
        "recode",
        "recode",
        ClientPerMessageDeflateFactory(
            server_no_context_takeover=True, server_max_window_bits=10, client_max_window_bits=None
        ),
    ),
    Case(
        "recompress",
        "forgetful",
        ('compression.mode = "recompress"', "compression.upstream.enabled = true"),
        "recode",
        "recode",
    ),
    Case("pass", "wide", ('compression.mode = "passthrough"', "compression.upstream.enabled = true"), "pass", "pass"),
    Case(
        "pass-alone",
        "forgetful",
        ('compression.mode = "passthrough"', "compression.upstream.enabled = true"),
        "pass",
        "pass",
    ),
    Case(
        "blind",
        "wide",
        ('compression.mode = "passthrough"', "compression.verify = false", "compression.upstream.enabled = true"),
        "pass",
        "pass",
    ),
)


def routes(upstreams: dict[str, str], cases: Iterable[Case] = CASES, *more: str) -> str:
    """The routes of ``cases``, each with the lines ``more``; ``upstreams`` gives the URL of each upstream's name."""
    return "\n".join(route(case.name, upstreams[case.upstream], *case.settings, *more) for case in cases)


def with_engine(engine: str) -> tuple[str, str]:
    """The lines that choose an engine on both legs."""
    return f'compression.client.engine = "{engine}"', f'compression.upstream.engine = "{engine}"'


def content(size: int) -> bytes:
    """Bytes of JSON that compress as real ones do, the same every time."""
    return b"".join(_records(size))[:size]


def _records(size: int) -> Iterator[bytes]:
    made = 0
    number = 0
    while made < size:
        mark = hashlib.sha256(str(number).encode()).hexdigest()
        record = json.dumps({"id": number, "symbol": mark[:4], "price": number % 97 / 7, "mark": mark}).encode()
        made += len(record)
        number += 1
        yield record


def text(size: int) -> str:
    """Text of at least ``size`` bytes in which characters of two to four bytes lie across every boundary."""
    return (content(size // 2).decode() + "é漢🙂" * (size // 18 + 1))[:size]


def converse(url: str, offer: ClientPerMessageDeflateFactory | None, sizes: Iterable[int] = SIZES) -> str:
    """Send text and binary of every size and compare the echoes. Gives the client leg's agreement."""
    with peers.client(url, deflate=offer) as client:
        for size in sizes:
            for message in (text(size), content(size)):
                client.send(message)
                # Not `assert ==` on the messages: a difference in a megabyte is slow to print.
                assert client.recv() == message or not f"the echo of {size} bytes differs"
        return peers.agreement(client)


def judge(proxy: Proxy, case: Case) -> None:
    """Converse on the route of ``case``, and hold its plans to what they must be."""
    agreed = converse(proxy.url(f"/{case.name}"), case.offer)
    assert agreed.startswith("permessage-deflate") is ("compression.client.enabled = false" not in case.settings)
    for direction, plan in (("to_client", case.to_client), ("to_upstream", case.to_upstream)):
        taken = proxy.metric("wsproxy_plans_total", route=case.name, direction=direction, plan=plan)
        assert taken == 1, f"{direction} is not {plan}"
