"""What the DEFLATE engines cost by themselves: `python -m benchmarks.engines` prints the table of `make bench-engines`.

Owns: driving wsproxy's engines without a proxy around them. The one module here that imports wsproxy.
Two ways to run an engine: hot, one context that has the cache to itself, and cold, many contexts that take turns, as in
a proxy with many connections. Each cell runs in a process of its own, so that resident memory can be told.
"""

import argparse
import json
import os
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.payloads import messages
from benchmarks.workloads import Traffic, Workload
from wsproxy.extensions.engines import Compressor, Engine, available, choose

_DEFAULT_BITS, _DEFAULT_MEM_LEVEL = 12, 5
_READ_BYTES = 64 * 1024
_COLD_CONTEXTS = 500
_HOT_SECONDS = 0.05
_COLD_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one engine and its settings: CPU for each message, payload over compressed bytes, memory for each context."""

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


def hot(engine: Engine, level: int, bits: int, mem_level: int, corpus: Sequence[bytes]) -> Cost:
    """One context, over and over."""
    compressor = _compressor(engine, level, bits, mem_level)
    taken = given = count = 0
    for message in corpus[:50]:
        compressor.compress(message), compressor.flush(zlib.Z_SYNC_FLUSH)
    began = time.process_time()
    while (passed := time.process_time() - began) < _HOT_SECONDS:
        for message in corpus[50:100]:
            taken += len(message)
            given += len(compressor.compress(message)) + len(compressor.flush(zlib.Z_SYNC_FLUSH)) - 4
            count += 1
    return Cost(passed / count * 1e6, taken / given)


def cold(engine: Engine, level: int, bits: int, mem_level: int, corpus: Sequence[bytes]) -> Cost:
    """Many contexts in turn, a message each; the first round, which makes memory resident, does not count."""
    before = _resident_bytes()
    contexts = [_compressor(engine, level, bits, mem_level) for _ in range(_COLD_CONTEXTS)]
    taken = given = 0
    began = 0.0
    for turn in range(_COLD_ROUNDS + 1):
        if turn == 1:
            began = time.process_time()
        for index, compressor in enumerate(contexts):
            message = corpus[(index * 7 + turn) % len(corpus)]
            taken += len(message)
            given += len(compressor.compress(message)) + len(compressor.flush(zlib.Z_SYNC_FLUSH)) - 4
    us = (time.process_time() - began) / (_COLD_ROUNDS * len(contexts)) * 1e6
    return Cost(us, taken / given, (_resident_bytes() - before) / len(contexts) / 1024)


def _compressor(
    engine: Engine, level: int, bits: int = _DEFAULT_BITS, mem_level: int = _DEFAULT_MEM_LEVEL
) -> Compressor:
    return engine.compressor(level, bits, mem_level, zlib.Z_DEFAULT_STRATEGY)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _cell(engine: Engine, level: int, bits: int, mem_level: int, corpus: Sequence[bytes]) -> tuple[Cost, Cost]:
    """Hot and cold, measured in a forked process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        found = [cost(engine, level, bits, mem_level, corpus) for cost in (hot, cold)]
        os.write(writer, json.dumps([(each.us, each.ratio, each.kib) for each in found]).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    first, second = json.loads(data)
    return Cost(*first), Cost(*second)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one Markdown table for each kind of payload."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", default="market,chat,graphql,protobuf,compressed")
    parser.add_argument("--engines", default="", help="names, with commas; all that are installed if empty")
    parser.add_argument("--windows", default="10,12,15", help="bits")
    parser.add_argument("--mem-levels", default="3,5,8")
    parser.add_argument("--size", type=int, default=1024, help="bytes of a message, about")
    given = parser.parse_args(arguments)
    out = sys.stdout
    for kind in given.kinds.split(","):
        corpus = messages(kind, given.size, 512)
        mean = sum(map(len, corpus)) / len(corpus)
        out.write(f"\n### {kind}, {mean:.0f} bytes a message\n\n")
        out.write("| engine | level | window | mem_level | us, hot | ")
        out.write(f"us, {_COLD_CONTEXTS} in turn | ratio | KiB each |\n|---|--:|--:|--:|--:|--:|--:|--:|\n")
        for name, engine in available().items():
            if given.engines and name not in given.engines.split(","):
                continue
            for level in engine.levels:
                for bits in map(int, given.windows.split(",")):
                    for mem_level in map(int, given.mem_levels.split(",")):
                        one, many = _cell(engine, level, bits, mem_level, corpus)
                        row = f"| {name} | {level} | {bits} | {mem_level} | {one.us:.1f} | {many.us:.1f} |"
                        out.write(f"{row} {one.ratio:.2f} | {many.kib:.0f} |\n")
                        out.flush()


if __name__ == "__main__":
    main()
