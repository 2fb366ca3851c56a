"""Each file of config/ is run as it stands, on free ports and with upstreams of the test, and does what it says.

Variables in the files give the upstreams' addresses; `--listen` and `--metrics` take the ports that a test may use.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from websockets.sync.client import ClientConnection
from websockets.sync.server import ServerConnection

from tests.endtoend.peers import CHROME, Upstream, agreement, client, echo, healthy, upstream
from tests.endtoend.proxy import DEADLINE, Proxy, environment, started, wait_for

CONFIG = Path(__file__).parents[2] / "config"
FREE = ("--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0")


@contextmanager
def named(*names: str) -> Iterator[dict[str, Upstream]]:
    """Upstreams that tell their names, then echo; a plain GET of theirs is answered 200."""

    def speaking(name: str) -> Upstream:
        def conversation(connection: ServerConnection) -> None:
            connection.send(name)
            echo(connection)

        return stack.enter_context(upstream(conversation, subprotocols=("v2",), answer=healthy))

    with ExitStack() as stack:
        yield {name: speaking(name) for name in names}


@contextmanager
def example(file: str, *arguments: str, **variables: str) -> Iterator[Proxy]:
    with started([str(CONFIG / file), *arguments], environment(**variables)) as proxy:
        yield proxy


def first_word(connection: ClientConnection) -> str:
    word = connection.recv(DEADLINE)
    assert isinstance(word, str)
    return word


def test_sidecar() -> None:
    with named("app") as upstreams, ExitStack() as stack:
        variables = {"APP_PORT": str(upstreams["app"].port), "LOG_FORMAT": "text"}
        proxy = stack.enter_context(example("sidecar.toml", *FREE, **variables))
        connection = stack.enter_context(client(proxy.url("/"), deflate=CHROME))
        assert first_word(connection) == "app"
        assert "permessage-deflate" in agreement(connection)


def test_every_key() -> None:
    with (
        upstream() as only,
        example("every-key.toml", *FREE, "--upstream", only.url) as proxy,
        client(proxy.url("/"), deflate=CHROME) as connection,
    ):
        connection.send("hello")
        assert connection.recv(DEADLINE) == "hello"
        assert "permessage-deflate" in agreement(connection)


def test_legacy() -> None:
    with named("legacy") as upstreams, example("legacy.toml", *FREE, LEGACY_URL=upstreams["legacy"].url) as proxy:
        with client(proxy.url("/"), deflate=CHROME) as connection:
            assert first_word(connection) == "legacy"
            assert "permessage-deflate" in agreement(connection)
        assert "Sec-WebSocket-Extensions" not in upstreams["legacy"].requests[-1].headers


def test_balancing() -> None:
    names = ("feed_large", "feed_small", "rooms_a", "rooms_b", "push")
    with named(*names) as upstreams:
        variables = {f"{name.upper()}_URL": each.url for name, each in upstreams.items()}
        with example("balancing.toml", *FREE, **variables) as proxy, ExitStack() as standing:

            def open_one(path: str) -> str:
                return first_word(standing.enter_context(client(proxy.url(path))))

            # The probes are handshakes too: these end at once, and are asked for the path that the file says.
            wait_for("a probe", lambda: any(each.path == "/feed/health" for each in upstreams["feed_large"].requests))
            assert sorted(open_one("/feed") for _ in range(4)) == ["feed_large"] * 3 + ["feed_small"]
            assert len({open_one("/rooms") for _ in range(4)}) == 1
            assert open_one("/elsewhere") == "push"
