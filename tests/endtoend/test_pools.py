"""Which endpoint tunnels go to, with real processes and upstreams, and names whose addresses change."""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection

from tests.endtoend.peers import client
from tests.endtoend.pools import clients, dead_url, feed, numbered, once, refused, telling, up
from tests.endtoend.proxy import BASE, DEADLINE, Proxy, configured, running, started, wait_for


def test_least_connections_counts_tunnels_and_goes_on_counting_after_a_reload(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    with numbered(3) as upstreams:
        urls = [each.url for each in upstreams]
        path.write_text(BASE + feed(urls[:2]))
        with started([str(path)]) as proxy, clients(proxy) as standing:
            assert standing.spread(4) == {0: 2, 1: 2}
            path.write_text(BASE + feed(urls))
            proxy.signal(signal.SIGHUP)
            wait_for("the reload", lambda: proxy.metric("wsproxy_config_reloads_total", result="success") == 1)
            assert standing.spread(2) == {2: 2}
            assert [proxy.metric("wsproxy_endpoint_connections", endpoint=url) for url in urls] == [2, 2, 2]
            assert standing.spread(3) == {0: 1, 1: 1, 2: 1}
            assert all(up(proxy, url) for url in urls)


def test_round_robin_by_weight() -> None:
    with numbered(2) as (heavy, light):
        pool = feed([f'{{ url = "{heavy.url}", weight = 3 }}', light.url], 'balance = "round_robin"')
        with configured(pool) as proxy:
            assert Counter(once(proxy) for _ in range(12)) == {0: 9, 1: 3}


def test_random_takes_the_better_of_two() -> None:
    with numbered(3) as upstreams, configured(feed([each.url for each in upstreams], 'balance = "random"')) as proxy:
        with clients(proxy) as standing:
            spread = standing.spread(30)
        assert max(spread.values()) - min(spread.values()) <= 6, spread


def test_a_client_goes_where_it_went_and_only_those_of_a_dead_one_move() -> None:
    addresses = [f"127.0.0.{number}" for number in range(2, 32)]
    with ExitStack() as stack:
        live = [stack.enter_context(telling(number)) for number in range(2)]
        mortal = ExitStack()
        live.append(mortal.enter_context(telling(2)))
        proxy = stack.enter_context(configured(feed([each.url for each in live], 'balance = "client_hash"')))
        before = {address: once(proxy, address) for address in addresses}
        assert set(before.values()) == {0, 1, 2}
        assert before == {address: once(proxy, address) for address in addresses}
        mortal.close()
        after = {address: once(proxy, address) for address in addresses}
        assert {address for address in addresses if after[address] != before[address]} == {
            address for address in addresses if before[address] == 2
        }


def test_every_worker_and_every_run_sends_a_client_to_the_same_endpoint() -> None:
    """Also clients that a trusted proxy brings, by the address that it tells."""
    trusting = "workers = 2\n" + BASE + 'trusted_proxies = ["127.0.0.1"]\n'
    addresses = [f"203.0.113.{number}" for number in range(12)]
    with numbered(3) as upstreams:
        pool = feed([each.url for each in upstreams], 'balance = "client_hash"')
        seen: list[dict[str, set[int]]] = []
        for _ in range(2):
            with configured(pool, base=trusting) as proxy:
                seen.append({address: {told_to(proxy, address) for _ in range(4)} for address in addresses})
    assert seen[0] == seen[1]
    assert all(len(places) == 1 for places in seen[0].values())
    assert len({min(places) for places in seen[0].values()}) > 1


def told_to(proxy: Proxy, address: str) -> int:
    """The upstream of a client at that address behind a trusted proxy."""
    with client(proxy.url("/"), headers=[("X-Forwarded-For", address)]) as connection:
        return int(connection.recv(DEADLINE))


def test_an_endpoint_that_comes_up_gets_its_share_slowly() -> None:
    """A tenth at first: of twenty turns two or so, and not ten."""
    url = dead_url()
    health = ('health.mode = "tcp"', "health.interval_seconds = 0.1", "health.rise = 1", "health.fall = 1")
    with telling(0) as steady:
        pool = feed([steady.url, url], 'balance = "round_robin"', "slow_start_seconds = 600", *health)
        with configured(pool) as proxy, clients(proxy) as standing:
            wait_for("it to be down", lambda: not up(proxy, url))
            with telling(1, port=int(url.rpartition(":")[2])):
                wait_for("it to be up", lambda: up(proxy, url))
                spread = standing.spread(20)
    assert 1 <= spread[1] <= 4, spread


def test_when_all_are_full_a_newcomer_is_told_so() -> None:
    with numbered(2) as upstreams, configured(feed([each.url for each in upstreams], "max_connections = 2")) as proxy:
        with clients(proxy) as standing:
            assert standing.spread(4) == {0: 2, 1: 2}
            answer = refused(proxy)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert proxy.metric("wsproxy_handshakes_total", result="limited") == 1
        proxy.settled()
        assert once(proxy) in (0, 1)


def own_hosts(path: Path, config: str) -> AbstractContextManager[Proxy]:
    """A proxy that reads ``path`` where others read /etc/hosts: in a mount namespace of its own."""
    unshare = shutil.which("unshare")
    flags = ["-m"] if os.geteuid() == 0 else ["-r", "-m"]
    if unshare is None or subprocess.run([unshare, *flags, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace here: nobody but this machine's owner says what a name means")
    file = path.with_name("proxy.toml")
    file.write_text(config)
    script = f'mount --bind "{path}" /etc/hosts && exec "{sys.executable}" -m wsproxy run "{file}"'
    return running([unshare, *flags, "sh", "-c", script])


def test_a_name_is_looked_up_again_and_tunnels_to_vanished_addresses_stay(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.2 feed.internal\n127.0.0.3 feed.internal\n")
    with ExitStack() as stack:
        first = stack.enter_context(telling(2, host="127.0.0.2"))
        for number in (3, 4):
            stack.enter_context(telling(number, host=f"127.0.0.{number}", port=first.port))
        pool = feed([f"ws://feed.internal:{first.port}"], "resolve_seconds = 0.1")
        proxy = stack.enter_context(own_hosts(hosts, BASE + pool))
        standing = stack.enter_context(clients(proxy))
        tunnels: dict[int, ClientConnection] = {}

        def both() -> bool:
            number, connection = standing.open()
            tunnels[number] = connection
            return set(tunnels) == {2, 3}

        wait_for("tunnels to both addresses", both)
        hosts.write_text("127.0.0.4 feed.internal\n")
        wait_for("the new address", lambda: standing.open()[0] == 4)
        assert standing.spread(6) == {4: 6}
        for connection in tunnels.values():
            connection.send("still there")
            assert connection.recv(DEADLINE) == "still there"
        url = f"ws://feed.internal:{first.port}"
        assert proxy.metric("wsproxy_endpoint_connections", endpoint=url) == proxy.metric("wsproxy_tunnels_active")


def test_a_name_that_is_not_found_is_told_and_changes_nothing(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.2 feed.internal\n")
    with telling(2, host="127.0.0.2") as only:
        url = f"ws://feed.internal:{only.port}"
        with own_hosts(hosts, BASE + feed([url], "resolve_seconds = 0.1")) as proxy:
            assert once(proxy) == 2
            wait_for("the name to be looked up", lambda: once(proxy) == 2)
            hosts.write_text("")
            wait_for("the line", lambda: any(" name not found " in line for line in proxy.lines))
            assert once(proxy) == 2


def test_a_name_that_gets_another_address_takes_its_clients_along_and_no_others(tmp_path: Path) -> None:
    """As when a pod of a stateful set is started anew."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.2 a.internal\n127.0.0.3 b.internal\n")
    sources = [f"127.0.1.{number}" for number in range(1, 31)]
    with ExitStack() as stack:
        first = stack.enter_context(telling(2, host="127.0.0.2"))
        for number in (3, 4):
            stack.enter_context(telling(number, host=f"127.0.0.{number}", port=first.port))
        urls = [f"ws://{name}.internal:{first.port}" for name in ("a", "b")]
        pool = feed(urls, 'balance = "client_hash"', "resolve_seconds = 0.1")
        proxy = stack.enter_context(own_hosts(hosts, BASE + pool))
        before = {source: once(proxy, source) for source in sources}
        assert set(before.values()) == {2, 3}
        hosts.write_text("127.0.0.4 a.internal\n127.0.0.3 b.internal\n")
        moved = next(source for source in sources if before[source] == 2)
        wait_for("the new address", lambda: once(proxy, moved) == 4)
        after = {source: once(proxy, source) for source in sources}
        assert after == {source: {2: 4, 3: 3}[number] for source, number in before.items()}
