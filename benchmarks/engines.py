"""What the DEFLATE engines cost by themselves: `python -m benchmarks.engines`, which is `make bench-engines`.

Owns: driving wsproxy's engines without a proxy around them. The one module here that imports wsproxy.
Two ways to run an engine: hot, one stream that has the cache to itself, and cold, many streams that take turns, as in a
proxy with many connections. Each cell runs in a process of its own, so that resident memory can be told, and gives the
fastest of three runs: whatever else the machine does makes a run slower, never faster.
"""

import argparse
import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import page
from benchmarks.payloads import messages
from benchmarks.workloads import Traffic, Workload
from wsproxy.extensions.engines import TAIL, Compressor, Engine, available, choose

_DEFAULT_BITS, _DEFAULT_MEM_LEVEL = 12, 5
_READ_BYTES = 64 * 1024
_COLD_STREAMS = 500
_COLD_ROUNDS = 2
_HOT_ROUNDS = 300
_WARM_ROUNDS = 1
_RUNS = 3
_KINDS = ("market", "chat", "graphql", "protobuf", "compressed")
_SIZES = (256, 1024, 8192, 65536)
_SYNC, _FULL = zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH

_INTRODUCTION = f"""
What the engines cost without a proxy around them, by `make bench-engines`. Microseconds are CPU time a message; hot is
one stream over and over, cold is {_COLD_STREAMS} streams that take turns, a message each, as in a proxy with many quiet
connections. The ratio is payload over compressed bytes. KiB are what the process grew by for each stream.
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one engine and its settings: CPU for each message, payload over compressed bytes, memory for each stream."""

    us: float
    ratio: float
    kib: float = 0.0


def alone(workload: Workload, seconds: float) -> Cost:
    """The engine, level and window that wsproxy defaults to, on a workload's messages and with its contexts.

    Contexts take turns: with what one read brings if the workload is saturated, else with one message.
    """
    engine = choose("auto", _DEFAULT_BITS)
    contexts = [_compressor(engine, engine.default_level) for _ in range(workload.connections)]
    corpus = workload.corpus
    burst = max(1, _READ_BYTES // workload.size) if workload.traffic is Traffic.SATURATED else 1
    at = [index * 7919 % len(corpus) for index in range(len(contexts))]
    taken = given = count = 0
    began = time.process_time()
    warm, limit = began + 0.2 * seconds, began + 1.2 * seconds
    while (now := time.process_time()) < limit:
        if now < warm:
            began, taken, given, count = now, 0, 0, 0
        for index, compressor in enumerate(contexts):
            for _ in range(burst):
                message = corpus[at[index]]
                at[index] = (at[index] + 1) % len(corpus)
                taken += len(message)
                given += len(compressor.compress(message)) + len(compressor.flush(zlib.Z_SYNC_FLUSH)) - 4
                count += 1
    return Cost((time.process_time() - began) / count * 1e6, taken / given)


@dataclass(frozen=True, slots=True)
class Settings:
    """One engine and what it is opened with."""

    engine: Engine
    level: int
    bits: int = _DEFAULT_BITS
    mem_level: int = _DEFAULT_MEM_LEVEL


def compress(settings: Settings, corpus: Sequence[bytes], streams: int) -> Cost:
    """Streams in turn that keep their windows, a message each."""
    before = _resident_bytes()
    opened = [_compressor(*_opening(settings)) for _ in range(streams)]
    taken = given = turn = 0

    def round_of_messages() -> None:
        nonlocal taken, given, turn
        for index, compressor in enumerate(opened):
            message = corpus[(index * 7 + turn) % len(corpus)]
            taken += len(message)
            given += len(compressor.compress(message)) + len(compressor.flush(_SYNC)) - len(TAIL)
        turn += 1

    us = _fastest(round_of_messages, streams)
    return Cost(us, taken / given, (_resident_bytes() - before) / streams / 1024)


def forget(settings: Settings, corpus: Sequence[bytes], streams: int) -> Cost:
    """No context takeover, an object of its own for each message."""
    taken = given = 0

    def round_of_messages() -> None:
        nonlocal taken, given
        for message in corpus[:streams]:
            compressor = _compressor(*_opening(settings))
            taken += len(message)
            given += len(compressor.compress(message)) + len(compressor.flush(_SYNC)) - len(TAIL)

    return Cost(_fastest(round_of_messages, min(streams, len(corpus))), taken / given)


def forget_shared(settings: Settings, corpus: Sequence[bytes], streams: int) -> Cost:
    """No context takeover, one object for all, flushed fully after each message."""
    taken = given = 0
    compressor = _compressor(*_opening(settings))

    def round_of_messages() -> None:
        nonlocal taken, given
        for message in corpus[:streams]:
            taken += len(message)
            given += len(compressor.compress(message)) + len(compressor.flush(_FULL)) - len(TAIL)

    return Cost(_fastest(round_of_messages, min(streams, len(corpus))), taken / given)


def inflate(settings: Settings, corpus: Sequence[bytes], streams: int) -> Cost:
    """Streams in turn that keep their windows, a message each, written by zlib."""
    rounds = _WARM_ROUNDS + _RUNS * (_HOT_ROUNDS if streams == 1 else _COLD_ROUNDS)
    wires: list[list[bytes]] = []
    for index in range(streams):
        writer = zlib.compressobj(6, zlib.DEFLATED, -settings.bits, 8)
        wires.append(
            [writer.compress(corpus[(index * 7 + turn) % len(corpus)]) + writer.flush(_SYNC) for turn in range(rounds)]
        )
    before = _resident_bytes()
    opened = [settings.engine.decompressor(settings.bits) for _ in range(streams)]
    turn = 0

    def round_of_messages() -> None:
        nonlocal turn
        for wire, decompressor in zip(wires, opened, strict=True):
            decompressor.decompress(wire[turn], 1 << 17)
        turn += 1

    us = _fastest(round_of_messages, streams)
    return Cost(us, 0.0, (_resident_bytes() - before) / streams / 1024)


def _fastest(round_of_messages: Callable[[], None], streams: int) -> float:
    """Microseconds of CPU a message."""
    rounds = _HOT_ROUNDS if streams == 1 else _COLD_ROUNDS
    for _ in range(_WARM_ROUNDS):
        round_of_messages()
    found = []
    for _ in range(_RUNS):
        began = time.process_time()
        for _ in range(rounds):
            round_of_messages()
        found.append((time.process_time() - began) / (rounds * streams) * 1e6)
    return min(found)


def _opening(settings: Settings) -> tuple[Engine, int, int, int]:
    return settings.engine, settings.level, settings.bits, settings.mem_level


def _compressor(
    engine: Engine, level: int, bits: int = _DEFAULT_BITS, mem_level: int = _DEFAULT_MEM_LEVEL
) -> Compressor:
    return engine.compressor(level, bits, mem_level, zlib.Z_DEFAULT_STRATEGY)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


Measure = Callable[[Settings, Sequence[bytes], int], Cost]


def _cell(measure: Measure, settings: Settings, corpus: Sequence[bytes], streams: int) -> Cost:
    """Measured in a forked process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            found = measure(settings, corpus, streams)
            os.write(writer, json.dumps((found.us, found.ratio, found.kib)).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    us, ratio, kib = json.loads(data)
    return Cost(us, ratio, kib)


# --- the tables


def _kinds_table(engines: Sequence[Engine], size: int) -> list[str]:
    """Every engine and level at the default window, on every kind of payload."""
    head = " | ".join(f"{kind} hot | cold | ratio" for kind in _KINDS)
    lines = [f"| engine | level | {head} | KiB |", "|---|--:|" + "--:|" * (3 * len(_KINDS) + 1)]
    for engine in engines:
        for level in engine.levels:
            cells = []
            kib = 0.0
            for kind in _KINDS:
                corpus = messages(kind, size, 512)
                settings = Settings(engine, level)
                hot, cold = (_cell(compress, settings, corpus, streams) for streams in (1, _COLD_STREAMS))
                kib = cold.kib
                cells += [f"{hot.us:.1f}", f"{cold.us:.1f}", f"{hot.ratio:.2f}"]
            lines.append(f"| {engine.name} | {level} | " + " | ".join(cells) + f" | {kib:.0f} |")
    return lines


def _memory_table(engines: Sequence[Engine], size: int) -> list[str]:
    """What the window and mem_level do, at each engine's own level."""
    lines = ["| engine | level | window | mem_level | hot | cold | ratio | KiB |", "|---|--:|--:|--:|--:|--:|--:|--:|"]
    corpus = messages("market", size, 512)
    for engine in engines:
        for bits in (9, 10, 12, 15):
            for mem_level in (1, 3, 5, 8):
                settings = Settings(engine, engine.default_level, bits, mem_level)
                hot, cold = (_cell(compress, settings, corpus, streams) for streams in (1, _COLD_STREAMS))
                row = f"| {engine.name} | {settings.level} | {bits} | {mem_level} | {hot.us:.1f} | {cold.us:.1f} |"
                lines.append(f"{row} {hot.ratio:.2f} | {cold.kib:.0f} |")
    return lines


def _inflate_table(engines: Sequence[Engine]) -> list[str]:
    head = " | ".join(f"{size:,} B hot | cold" for size in _SIZES)
    lines = [f"| engine | window | {head} | KiB |", "|---|--:|" + "--:|" * (2 * len(_SIZES) + 1)]
    for engine in engines:
        for bits in (12, 15):
            cells = []
            kib = 0.0
            for size in _SIZES:
                corpus = messages("market", size, 64)
                settings = Settings(engine, engine.default_level, bits)
                hot, cold = (_cell(inflate, settings, corpus, streams) for streams in (1, _COLD_STREAMS))
                kib = max(kib, cold.kib)
                cells += [f"{hot.us:.1f}", f"{cold.us:.1f}"]
            lines.append(f"| {engine.name} | {bits} | " + " | ".join(cells) + f" | {kib:.0f} |")
    return lines


def _forgetting_table(engines: Sequence[Engine]) -> list[str]:
    """Keeping the window against forgetting it, with an object a message or with a shared one."""
    lines = [
        "| engine | level | bytes | kept, cold | ratio | an object a message | ratio | one shared object | ratio |"
    ]
    lines.append("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for engine in engines:
        for size in _SIZES[:3]:
            corpus = messages("market", size, 512)
            settings = Settings(engine, engine.default_level)
            found = [_cell(each, settings, corpus, _COLD_STREAMS) for each in (compress, forget, forget_shared)]
            cells = " | ".join(f"{each.us:.1f} | {each.ratio:.2f}" for each in found)
            lines.append(f"| {engine.name} | {settings.level} | {size:,} | {cells} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables; write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", default="", help="names, with commas; all that are installed if empty")
    parser.add_argument("--size", type=int, default=1024, help="bytes of a message, about")
    parser.add_argument("--report", type=Path, help="a Markdown file that has the section `engines`, or gets it")
    given = parser.parse_args(arguments)
    wanted = given.engines.split(",") if given.engines else list(available())
    engines = [engine for name, engine in available().items() if name in wanted]
    size = given.size
    chapters: tuple[tuple[str, Callable[[], list[str]]], ...] = (
        (f"Compressing {size:,} B, {_DEFAULT_BITS} bits, mem_level 5", lambda: _kinds_table(engines, size)),
        (f"Window and mem_level: market JSON of {size:,} B", lambda: _memory_table(engines, size)),
        ("Decompressing market JSON", lambda: _inflate_table(engines)),
        ("No context takeover: market JSON, 12 bits", lambda: _forgetting_table(engines)),
    )
    parts = [_INTRODUCTION]
    for title, table in chapters:
        part = f"\n### {title}\n\n" + "\n".join(table()) + "\n"
        sys.stdout.write(part)
        sys.stdout.flush()
        parts.append(part)
    if given.report:
        page.put_section(given.report, "engines", "".join(parts))


if __name__ == "__main__":
    main()
