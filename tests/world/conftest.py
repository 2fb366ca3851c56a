"""Clients and upstreams of every make, as far as their tools are installed; the others are skipped with the reason."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endtoend.conftest import node as node
from tests.endtoend.node_peers import NODE_FOLDER, NodePeers
from tests.world import browser, tools
from tests.world.clients import Aiohttp, Client, Program, Websockets
from tests.world.upstreams import GORILLA, NODE, Upstreams, program_upstreams, websockets_upstreams

_SCRIPTS = Path(__file__).parent / "node"
CLIENTS = ("ws", "websockets", "aiohttp", "gorilla", "chromium")
UPSTREAMS = ("ws", "websockets", "gorilla")


@pytest.fixture(scope="session")
def gorilla() -> Path:
    binary = tools.gorilla()
    if binary is None:
        pytest.skip(tools.NO_GO)
    return binary


@pytest.fixture(scope="session", params=UPSTREAMS)
def upstreams(request: pytest.FixtureRequest) -> Iterator[Upstreams]:
    """Every variant of one make, running."""
    if request.param == "websockets":
        with websockets_upstreams() as running:
            yield running
    elif request.param == "ws":
        peers: NodePeers = request.getfixturevalue("node")
        command = (peers.binary, str(_SCRIPTS / "upstream.mjs"))
        with program_upstreams("ws", command, NODE_FOLDER, NODE) as running:
            yield running
    else:
        binary: Path = request.getfixturevalue("gorilla")
        with program_upstreams("gorilla", (str(binary), "upstream"), binary.parent, GORILLA) as running:
            yield running


@pytest.fixture(scope="session", params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    """One make of client."""
    if request.param == "websockets":
        return Websockets()
    if request.param == "aiohttp":
        return Aiohttp()
    if request.param == "chromium":
        found = browser.find()
        if found is None:
            pytest.skip(tools.NO_CHROMIUM)
        return browser.Chromium(found)
    if request.param == "ws":
        peers: NodePeers = request.getfixturevalue("node")
        return Program("ws", (peers.binary, str(_SCRIPTS / "client.mjs")), NODE_FOLDER)
    binary: Path = request.getfixturevalue("gorilla")
    return Program("gorilla", (str(binary), "client"), binary.parent)
