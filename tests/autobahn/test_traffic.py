"""The proxy's ratio and bytes beside those of the Autobahn TestSuite's own traffic statistics, to the byte."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.autobahn import suite
from tests.autobahn.run import NO_INTERPRETER
from tests.endtoend import peers
from tests.endtoend.proxy import configured, route

CASES = ("12.1.3", "12.2.3", "12.3.5")
"""A thousand messages each: of one JSON text, of noise, and of a growing size."""
CLOSES = {"Incoming": 4, "Outgoing": 8}
"""Bytes of a close frame with a code: the statistics end before the closing handshake. A client's is masked."""


def _statistics(folder: Path) -> Counter[str]:
    """Sums over the cases."""
    total: Counter[str] = Counter()
    for case in CASES:
        report = json.loads((folder / f"{suite.AGENT}_case_{case.replace('.', '_')}.json").read_text())
        total.update({name: number for name, number in report["trafficStats"].items() if isinstance(number, int)})
    return total


def test_the_ratio_is_that_of_the_traffic_statistics(tmp_path: Path) -> None:
    interpreter = suite.find_interpreter()
    if interpreter is None:
        pytest.skip(NO_INTERPRETER)
    suite.install(interpreter)
    folder = tmp_path / "reports"
    with peers.upstream() as upstream, configured(route("feed", upstream.url)) as proxy:
        suite.fuzz(proxy.url("/feed"), folder, CASES, (), compress=True)
        proxy.settled()
        told = _statistics(folder)
        for fuzzers, ours, operation, plain, packed in (
            ("incoming", "sent", "compress", "input", "output"),
            ("outgoing", "received", "decompress", "output", "input"),
        ):
            leg = {"route": "feed", "leg": "client", "direction": ours}
            closes = CLOSES[fuzzers.title()] * len(CASES)
            rows = (
                ("payload", told[f"{fuzzers}OctetsAppLevel"], proxy.metric("wsproxy_payload_bytes_total", **leg)),
                ("wire", told[f"{fuzzers}OctetsWireLevel"] + closes, proxy.metric("wsproxy_wire_bytes_total", **leg)),
                (
                    "messages",
                    told[f"{fuzzers}WebSocketMessages"],
                    sum(proxy.metric("wsproxy_messages_total", kind=kind, **leg) for kind in ("text", "binary")),
                ),
                (
                    "ratio",
                    told[f"{fuzzers}OctetsAppLevel"] / told[f"{fuzzers}OctetsWebSocketLevel"],
                    proxy.metric("wsproxy_compression_ratio", **leg),
                ),
            )
            for name, theirs, mine in rows:
                print(f"{ours:>9} {name:>9}: Autobahn {theirs:,.4f}, wsproxy {mine:,.4f}")
                assert mine == pytest.approx(theirs, rel=1e-9), f"{ours} {name}"
            codec = {"route": "feed", "leg": "client", "operation": operation}
            assert (
                proxy.metric(f"wsproxy_codec_{packed}_bytes_total", **codec) == told[f"{fuzzers}OctetsWebSocketLevel"]
            )
            assert proxy.metric(f"wsproxy_codec_{plain}_bytes_total", **codec) == told[f"{fuzzers}OctetsAppLevel"]
