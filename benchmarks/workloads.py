"""The workloads: what is sent, through how many connections, and how fast.

Owns: the table of them. Imports nothing above payloads.
"""

from dataclasses import dataclass
from enum import StrEnum

from benchmarks.payloads import BINARY, messages


class Traffic(StrEnum):
    """How messages flow; the values are the load program's words."""

    SATURATED = "saturated"
    """The upstream pushes as fast as the proxy takes it."""
    PACED = "paced"
    """The upstream pushes to each connection once an interval; over all connections, at even distances."""
    TOGETHER = "together"
    """The upstream pushes the same message to all connections at once, once an interval."""
    ECHO = "echo"
    """Each client sends, masked, and sends again once its echo is there."""
    HANDSHAKES = "handshakes"
    """Each client connects, closes, and connects again."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One thing to measure.

    :ivar group: what ``--only`` chooses by, and one chapter of the report.
    :ivar size: bytes of payload of each message.
    :ivar interval_us: microseconds from one message to the next on one connection, if paced.
    :ivar seconds: the measuring window; a second of the same traffic goes before it.
    :ivar most: messages to each connection, then quiet; 0: no end. With it, memory is what is measured, after
        ``quiet_seconds``.
    :ivar flood: so many of the connections are pushed to as fast as they take it, and are not counted.
    :ivar rounds: at most; 0: as many as the run has.
    :ivar upstream_deflates: the upstream speaks permessage-deflate too.
    :ivar tls: the clients speak TLS.
    """

    name: str
    group: str
    connections: int
    traffic: Traffic
    size: int = 1024
    kind: str = "market"
    interval_us: int = 0
    seconds: float = 2.5
    most: int = 0
    quiet_seconds: float = 0.0
    flood: int = 0
    rounds: int = 0
    upstream_deflates: bool = False
    tls: bool = False

    @property
    def binary(self) -> bool:
        return self.kind in BINARY

    @property
    def corpus(self) -> tuple[bytes, ...]:
        """The messages, in the order in which each connection gets them: some 4 MiB, so that no cache holds them."""
        return messages(self.kind, self.size, max(64, min(4096, (4 << 20) // self.size)))


def _feeds() -> list[Workload]:
    sizes = {"256 B": 256, "1 KiB": 1024, "8 KiB": 8192, "64 KiB": 65536}
    made = [Workload(f"feed {name}", "feed", 16, Traffic.SATURATED, size) for name, size in sizes.items()]
    made.append(Workload("feed 1 KiB, TLS", "tls", 16, Traffic.SATURATED, tls=True))
    made.append(Workload("noise 1 KiB", "noise", 16, Traffic.SATURATED, kind="noise"))
    made.append(Workload("noise 64 KiB", "noise", 16, Traffic.SATURATED, 65536, kind="noise"))
    made.append(Workload("passthrough 1 KiB", "passthrough", 16, Traffic.SATURATED, upstream_deflates=True))
    made.append(Workload("passthrough 8 KiB", "passthrough", 16, Traffic.SATURATED, 8192, upstream_deflates=True))
    return made


def _paced() -> list[Workload]:
    return [
        Workload("sparse 500 x 10/s", "sparse", 500, Traffic.PACED, interval_us=100_000, seconds=4),
        Workload("sparse 5,000 x 1/s", "sparse", 5000, Traffic.PACED, interval_us=1_000_000, seconds=4),
        Workload("broadcast 8 KiB to 200", "broadcast", 200, Traffic.TOGETHER, 8192, interval_us=100_000),
        Workload("broadcast 8 KiB to 2,000", "broadcast", 2000, Traffic.TOGETHER, 8192, interval_us=1_000_000),
        # The same thousand, and then one more that takes all it can get.
        Workload("1,000 quiet", "fairness", 1000, Traffic.PACED, interval_us=1_000_000, seconds=4),
        Workload(
            "1,000 quiet, one flooding", "fairness", 1001, Traffic.PACED, interval_us=1_000_000, seconds=4, flood=1
        ),
        # Light: 500 messages a second. Half: what costs a proxy at 100 us a message half a core.
        Workload("latency, light load", "latency", 50, Traffic.PACED, interval_us=100_000, seconds=6),
        Workload("latency, half load", "latency", 50, Traffic.PACED, interval_us=10_000, seconds=6),
    ]


def _echoes() -> list[Workload]:
    return [
        Workload("echo 64 B", "echo", 64, Traffic.ECHO, 64),
        Workload("echo 1 KiB", "echo", 64, Traffic.ECHO),
        Workload("echo 16 KiB", "echo", 32, Traffic.ECHO, 16384),
    ]


def _lives() -> list[Workload]:
    return [
        Workload("handshakes", "handshakes", 32, Traffic.HANDSHAKES),
        Workload("handshakes, TLS", "tls", 32, Traffic.HANDSHAKES, tls=True),
        *(
            # Memory is the same each time, and this takes a minute for each contestant. Tunnels of wsproxy rest
            # 15 to 30 seconds after their last message (`wsproxy.network.quiet`).
            Workload(
                f"idle {count:,}",
                "idle",
                count,
                Traffic.PACED,
                interval_us=1_000_000,
                most=3,
                quiet_seconds=35,
                rounds=1,
            )
            for count in (1000, 10_000)
        ),
    ]


WORKLOADS: tuple[Workload, ...] = (*_feeds(), *_paced(), *_echoes(), *_lives())
