"""What the demo shows, out of the proxy's own /metrics, and whether that is what the clients counted.

Owns: reading the metrics, the rows made of them, and the comparison with the clients' report. Must never estimate: what
/metrics does not say is not shown.
Invariant: a ratio is payload bytes over all bytes of WebSocket frames on that side, headers and control frames
included, so that it never says more than the wire would.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client.parser import text_string_to_metric_families

from wsproxy.demo.clients import Report

MEASURED = ("market", "chat", "echo")
"""The routes that only the demo's own clients use."""
BROWSER = "browser"
"""The route of everything else: the page and its WebSockets."""

Direction = Literal["sent", "received"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of /metrics."""

    name: str
    labels: Mapping[str, str]
    value: float


class Reading:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self._samples = [
            Sample(sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def total(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels, 0 if there are none."""
        wanted = labels.items()
        return sum(sample.value for sample in self._samples if sample.name == name and wanted <= sample.labels.items())

    def has(self, name: str) -> bool:
        return any(sample.name == name for sample in self._samples)

    def engine(self) -> str:
        """The engine that did the work; engines, if the routes differ."""
        engines = {
            sample.labels["engine"]
            for sample in self._samples
            if sample.name == "wsproxy_codec_cpu_seconds_total" and sample.value
        }
        return ", ".join(sorted(engines)) or "none"


@dataclass(frozen=True, slots=True)
class Row:
    """One flow between the proxy and its clients, since the start.

    :ivar wire_bytes: of WebSocket frames; what TCP and TLS would add is not in it.
    :ivar codec_seconds: CPU that compressing, or inflating, took.
    """

    name: str
    messages: int
    payload_bytes: int
    wire_bytes: int
    codec_seconds: float

    @property
    def ratio(self) -> float:
        """Payload to wire; 0 before anything travelled."""
        return self.payload_bytes / self.wire_bytes if self.wire_bytes else 0.0

    @property
    def codec_microseconds(self) -> float:
        """CPU of the codec for each message."""
        return 1e6 * self.codec_seconds / self.messages if self.messages else 0.0

    @property
    def saved(self) -> float:
        """The part of the payload's bytes that did not travel; negative if more did."""
        return 1 - self.wire_bytes / self.payload_bytes if self.payload_bytes else 0.0

    @property
    def codec_hours_per_terabyte(self) -> float:
        """Hours of CPU in the codec for 1e12 bytes of payload."""
        return 1e12 / 3600 * self.codec_seconds / self.payload_bytes if self.payload_bytes else 0.0


def rows(reading: Reading) -> list[Row]:
    """The flows of the measured clients, then those of a browser if there are any."""
    flows = [row(reading, route, direction) for route, direction in _FLOWS]
    return [flow for flow in flows if flow.messages or not flow.name.startswith(BROWSER)]


_FLOWS: tuple[tuple[str, Direction], ...] = (
    ("market", "sent"),
    ("chat", "sent"),
    ("echo", "sent"),
    ("echo", "received"),
    (BROWSER, "sent"),
    (BROWSER, "received"),
)


def row(reading: Reading, route: str, direction: Direction) -> Row:
    """One route's leg to the clients, in one direction as the proxy sees it."""
    leg = {"route": route, "leg": "client"}
    return Row(
        name=f"{route} {'to' if direction == 'sent' else 'from'} client",
        messages=_messages(reading, direction=direction, **leg),
        payload_bytes=int(reading.total("wsproxy_payload_bytes_total", direction=direction, **leg)),
        wire_bytes=int(reading.total("wsproxy_wire_bytes_total", direction=direction, **leg)),
        codec_seconds=reading.total(
            "wsproxy_codec_cpu_seconds_total", operation="compress" if direction == "sent" else "decompress", **leg
        ),
    )


def tunnels_active(reading: Reading) -> int:
    """Tunnels of the measured clients that are open now."""
    return sum(int(reading.total("wsproxy_tunnels_active", route=route)) for route in MEASURED)


def delivered(reading: Reading) -> int:
    """Messages that the proxy passed on, both ways."""
    return _messages(reading, direction="sent")


def process_microseconds(before: Reading, now: Reading) -> float | None:
    """CPU of the whole proxy process for each message between two scrapes: handshakes, scrapes and all.

    None where prometheus-client cannot tell (it reads Linux's /proc), or nothing was delivered.
    """
    name = "process_cpu_seconds_total"
    messages = delivered(now) - delivered(before)
    if not now.has(name) or not messages:
        return None
    return 1e6 * (now.total(name) - before.total(name)) / messages


def differences(reading: Reading, report: Report) -> list[str]:
    """One line for each count on which /metrics and the clients disagree. Empty: every message is accounted for."""
    found = []
    for route in MEASURED:
        counts = report.feeds[route]
        sent, received = row(reading, route, "sent"), row(reading, route, "received")
        compared = (
            ("clients", counts.clients, int(reading.total("wsproxy_tunnels_total", route=route))),
            ("messages received", counts.received, sent.messages),
            ("payload bytes received", counts.received_bytes, sent.payload_bytes),
            ("messages sent", counts.sent, received.messages),
            ("payload bytes sent", counts.sent_bytes, received.payload_bytes),
        )
        found += [
            f"{route}: {what}: the clients counted {theirs}, /metrics says {ours}"
            for what, theirs, ours in compared
            if theirs != ours
        ]
        active = int(reading.total("wsproxy_tunnels_active", route=route))
        if active:
            found.append(f"{route}: {active} tunnels are still open")
        if not counts.received:
            found.append(f"{route}: no message came through")
    return found


def _messages(reading: Reading, **labels: str) -> int:
    return sum(int(reading.total("wsproxy_messages_total", kind=kind, **labels)) for kind in ("text", "binary"))
