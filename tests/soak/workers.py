"""Workers killed at random while the file changes and clients come: ``python -m tests.soak.workers SECONDS``.

Owns: that run. Stops by itself; the exit code is other than 0 when a newcomer was lost, a reload had another result
than its file deserved, or the supervisor kept something of a dead worker.
"""

import os
import random
import signal
import sys
import tempfile
from pathlib import Path
from time import monotonic, sleep

from tests.endtoend import peers
from tests.endtoend.proxy import BASE, Proxy, route, started, wait_for
from tests.endtoend.test_workers import children
from tests.soak.__main__ import MIB, descriptors

WORKERS = 3
WARM_UP_STEPS = 40
RISE_ALLOWED = 8 * MIB
GOOD = f"workers = {WORKERS}\n" + BASE
MORE = GOOD + '[[listeners]]\nname = "more"\nbind = "127.0.0.1:0"\n'
BAD = "nonsense"


def kill_one(proxy: Proxy, source: random.Random) -> None:
    """One worker, if there is one and it is still there."""
    for pid in source.sample(children(proxy.pid), k=len(children(proxy.pid)))[:1]:
        os.kill(pid, source.choice([signal.SIGKILL, signal.SIGSEGV]))


def reload(proxy: Proxy, path: Path, content: str, rest: str) -> None:
    result = "failure" if content == BAD else "success"
    before = proxy.metric("wsproxy_config_reloads_total", result=result)
    path.write_text(content + rest)
    proxy.signal(signal.SIGHUP)
    wait_for(f"a {result}", lambda: proxy.metric("wsproxy_config_reloads_total", result=result) > before)


def come_by(proxy: Proxy) -> None:
    """A newcomer is served, whoever has died."""
    with peers.client(proxy.url("/echo")) as client:
        client.send("hello")
        assert client.recv(30) == "hello"


def all_serve(proxy: Proxy) -> None:
    wait_for("all workers", lambda: proxy.metric("wsproxy_workers") == WORKERS)


def main(seconds: str) -> None:
    source = random.Random(4)
    with peers.upstream() as upstream, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "proxy.toml"
        rest = route("echo", upstream.url)
        path.write_text(GOOD + rest)
        with started([str(path)]) as proxy:
            end = monotonic() + float(seconds)
            steps = visits = held = rss = 0
            while monotonic() < end or steps <= WARM_UP_STEPS:
                match source.choices(("kill", "reload", "come"), (2, 3, 4))[0]:
                    case "kill":
                        kill_one(proxy, source)
                    case "reload":
                        reload(proxy, path, source.choice([GOOD, MORE, BAD]), rest)
                    case _:
                        come_by(proxy)
                        visits += 1
                sleep(source.random() / 5)
                steps += 1
                if steps == WARM_UP_STEPS:
                    reload(proxy, path, GOOD, rest)
                    all_serve(proxy)
                    held, rss = descriptors(proxy), proxy.rss()
            reload(proxy, path, GOOD, rest)
            all_serve(proxy)
            restarts = proxy.metric("wsproxy_worker_restarts_total")
            rise = proxy.rss() - rss
            print(
                f"{visits} newcomers served, {restarts:.0f} workers killed, resident {rise / MIB:+.1f} MiB", flush=True
            )
            wait_for("descriptors as before", lambda: descriptors(proxy) <= held)
            assert rise < RISE_ALLOWED
            assert len(children(proxy.pid)) == WORKERS


if __name__ == "__main__":
    main(*sys.argv[1:])
