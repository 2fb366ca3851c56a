"""What the numbers say about the settings: where a default could do better.

Owns: the rules and their thresholds. Pure: a snapshot in, sentences out. Must never import prometheus_client or trio.
Invariant: a hint is given only of numbers large enough to mean something, and names what to change.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wsproxy.extensions.permessage_deflate import NAME as DEFLATE
from wsproxy.telemetry import metrics
from wsproxy.telemetry.snapshot import Snapshot

FEW_TUNNELS = 20
MANY_MESSAGES = 1000
LITTLE_BYTES = 1_000_000
POOR_RATIO = 1.2
"""Below it, compressing saves less than a sixth."""
COSTLY_MICROSECONDS_A_SAVED_KILOBYTE = 150.0
"""An engine that fits saves a kilobyte of JSON for 5 to 20 us, three times that on cold caches."""
NEARLY_ALL = 0.9
_READ = (
    metrics.CODEC_INPUT_BYTES,
    metrics.CODEC_OUTPUT_BYTES,
    metrics.CODEC_CPU,
    metrics.CODEC_MESSAGES,
    metrics.AGREEMENTS,
    metrics.PLANS,
    metrics.CLOSES,
)
"""Each has the route as its first label."""
_OF_ALL = (metrics.CODEC_MEMORY_RESERVED, metrics.CODEC_MEMORY_BUDGET)
"""Have no labels: every route is shown them."""
_LIMIT_CODES = {
    "1009": "limits.max_message_bytes, max_frame_bytes and max_expansion",
    "1008": "limits.max_fragments, messages_per_second and bytes_per_second",
}


@dataclass(frozen=True, slots=True)
class Hint:
    """One sentence about one route."""

    route: str
    text: str


def hints(snapshot: Snapshot) -> list[Hint]:
    """All of them, route by route."""
    parts = sorted(_by_route(snapshot).items())
    return [Hint(route, text) for route, part in parts for rule in _RULES for text in rule(part, route)]


def _by_route(snapshot: Snapshot) -> dict[str, Snapshot]:
    """What the rules look at, taken apart once: they would read all series for each of hundreds of routes."""
    parts: dict[str, Snapshot] = {route: Snapshot() for route, _ in snapshot.series(metrics.TUNNELS)}
    for metric in _READ:
        for labels, value in snapshot.series(metric).items():
            if labels[0] in parts:
                parts[labels[0]].add(metric, labels, value)
    for part in parts.values():
        for metric in _OF_ALL:
            part.add(metric, (), snapshot.number(metric))
    return parts


def _poor_ratio(snapshot: Snapshot, route: str) -> Iterator[str]:
    taken = snapshot.number(metrics.CODEC_INPUT_BYTES, route, "client", "compress")
    given = snapshot.number(metrics.CODEC_OUTPUT_BYTES, route, "client", "compress")
    if taken >= LITTLE_BYTES and given and taken / given < POOR_RATIO:
        yield (
            f"Its messages shrink only {taken / given:.2f} times: perhaps they are compressed or encrypted already. "
            "compression.client.enabled = false spares their CPU."
        )


def _costly(snapshot: Snapshot, route: str) -> Iterator[str]:
    taken = snapshot.number(metrics.CODEC_INPUT_BYTES, route, "client", "compress")
    saved = taken - snapshot.number(metrics.CODEC_OUTPUT_BYTES, route, "client", "compress")
    seconds = {
        engine: value
        for (name, leg, operation, engine), value in snapshot.series(metrics.CODEC_CPU).items()
        if (name, leg, operation) == (route, "client", "compress")
    }
    if saved < LITTLE_BYTES:
        return
    microseconds = 1e6 * sum(seconds.values()) / (saved / 1000)
    if microseconds > COSTLY_MICROSECONDS_A_SAVED_KILOBYTE:
        busiest = max(seconds, key=seconds.__getitem__)
        advice = 'with isal installed, engine = "auto" takes it' if busiest == "zlib" else "a lower level is cheaper"
        yield f"A saved kilobyte costs {microseconds:.0f} us of CPU with {busiest}: {advice}."


def _not_offered(snapshot: Snapshot, route: str) -> Iterator[str]:
    counted = _agreements(snapshot, route, "client")
    total = sum(counted.values())
    none = sum(count for (extension, _), count in counted.items() if extension == "none")
    compresses = snapshot.number(metrics.CODEC_INPUT_BYTES, route, "client", "compress") > 0
    if total >= FEW_TUNNELS and compresses and none > total / 2:
        yield (
            f"{none / total:.0%} of its clients agree on no compression: most libraries have an option that offers "
            "permessage-deflate."
        )


def _forgetful(snapshot: Snapshot, route: str) -> Iterator[str]:
    counted = {
        (extension, takeover): count
        for (extension, takeover), count in _agreements(snapshot, route, "client").items()
        if DEFLATE in extension.split("+")
    }
    total = sum(counted.values())
    forgets = sum(count for (_, takeover), count in counted.items() if takeover in ("client", "none"))
    compressed = snapshot.number(metrics.CODEC_MESSAGES, route, "client", "compressed")
    cached = snapshot.number(metrics.CODEC_MESSAGES, route, "client", "cached")
    taken = snapshot.number(metrics.CODEC_INPUT_BYTES, route, "client", "compress")
    messages = compressed + cached
    # What goes to many is compressed once because no window is kept: that is as it should be.
    if total >= FEW_TUNNELS and forgets > total / 2 and compressed > cached and taken / messages < 4096:
        yield (
            f"{forgets / total:.0%} of its compressing clients get each message on its own, and messages are small "
            f"({taken / messages:.0f} bytes): a kept window shrinks them much better. {_keeping(snapshot)}"
        )


def _keeping(snapshot: Snapshot) -> str:
    """How windows come to be kept."""
    budget = snapshot.number(metrics.CODEC_MEMORY_BUDGET)
    if budget and snapshot.number(metrics.CODEC_MEMORY_RESERVED) > NEARLY_ALL * budget:
        return "limits.codec_memory_bytes is used up: with more, new tunnels keep theirs."
    return "server_no_context_takeover = false keeps it, if the clients allow it."


def _small(snapshot: Snapshot, route: str) -> Iterator[str]:
    skipped = snapshot.number(metrics.CODEC_MESSAGES, route, "client", "skipped_small")
    compressed = snapshot.number(metrics.CODEC_MESSAGES, route, "client", "compressed")
    if skipped >= MANY_MESSAGES and skipped > compressed:
        yield (
            f"{skipped / (skipped + compressed):.0%} of its messages are under the threshold and go uncompressed: see "
            "compression.client.threshold."
        )


def _noise(snapshot: Snapshot, route: str) -> Iterator[str]:
    noise = snapshot.number(metrics.CODEC_MESSAGES, route, "client", "skipped_incompressible")
    others = sum(snapshot.number(metrics.CODEC_MESSAGES, route, "client", each) for each in ("compressed", "cached"))
    if noise >= MANY_MESSAGES and noise > NEARLY_ALL * (noise + others):
        yield (
            f"{noise / (noise + others):.0%} of its messages look like noise and go as they are: "
            "compression.client.enabled = false spares looking at them."
        )


def _recodes(snapshot: Snapshot, route: str) -> Iterator[str]:
    recoded = snapshot.number(metrics.PLANS, route, "to_client", "recode")
    total = sum(
        count
        for (name, flow, _), count in snapshot.series(metrics.PLANS).items()
        if (name, flow) == (route, "to_client")
    )
    if recoded >= FEW_TUNNELS and recoded > total / 2:
        yield (
            f'{recoded / total:.0%} of its flows inflate and compress again: compression.mode = "passthrough" asks '
            "the upstream for what the client can take unchanged."
        )


def _over_limits(snapshot: Snapshot, route: str) -> Iterator[str]:
    ended = snapshot.series(metrics.CLOSES)
    total = sum(count for (name, _, _), count in ended.items() if name == route)
    for code, setting in _LIMIT_CODES.items():
        count = ended.get((route, "proxy", code), 0)
        if count >= FEW_TUNNELS and count > total / 100:
            yield f"{count:.0f} tunnels ({count / total:.0%}) were ended over a limit ({code}): see {setting}."


_RULES: tuple[Callable[[Snapshot, str], Iterator[str]], ...] = (
    _poor_ratio,
    _costly,
    _not_offered,
    _forgetful,
    _small,
    _noise,
    _recodes,
    _over_limits,
)


def _agreements(snapshot: Snapshot, route: str, leg: str) -> dict[tuple[str, str], float]:
    """Tunnels by extension and takeover."""
    counted: dict[tuple[str, str], float] = {}
    for (name, side, extension, takeover, _), count in snapshot.series(metrics.AGREEMENTS).items():
        if (name, side) == (route, leg):
            counted[extension, takeover] = counted.get((extension, takeover), 0) + count
    return counted
