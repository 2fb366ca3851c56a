"""Fixtures of the end-to-end tests: upstreams that live as long as the run, Node's ws, and a proxy for each test."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.endtoend import peers
from tests.endtoend.node_peers import NODE_FOLDER, NodePeers
from tests.endtoend.proxy import BASE, Proxy, configured
from tests.endtoend.wire import RawUpstream, hang_up_all, raw_upstream

StartProxy = Callable[..., Proxy]


@pytest.fixture(scope="session")
def plain_upstream() -> Iterator[peers.Upstream]:
    """Echoes; lacks permessage-deflate."""
    with peers.upstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def wide_upstream() -> Iterator[peers.Upstream]:
    """Echoes; permessage-deflate with kept 15-bit windows."""
    with peers.upstream(deflate=peers.WIDE) as upstream:
        yield upstream


@pytest.fixture(scope="session")
def forgetful_upstream() -> Iterator[peers.Upstream]:
    """Echoes; permessage-deflate without context takeover."""
    with peers.upstream(deflate=peers.FORGETFUL) as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def no_ends_left_open() -> Iterator[None]:
    """Bare ends are a test's own: none outlives it."""
    yield
    hang_up_all()


@pytest.fixture
def bare() -> Iterator[RawUpstream]:
    """An upstream whose connections the test answers by hand."""
    with raw_upstream() as upstream:
        yield upstream


@pytest.fixture
def start_proxy() -> Iterator[StartProxy]:
    """Starts a proxy with configuration parts (see `configured`); all are stopped after the test."""
    with ExitStack() as stack:

        def start(*parts: str, base: str = BASE) -> Proxy:
            return stack.enter_context(configured(*parts, base=base))

        yield start


@pytest.fixture(scope="session")
def node() -> NodePeers:
    """Node's ws, installed from its lock file once per run."""
    binary, npm = shutil.which("node"), shutil.which("npm")
    if binary is None or npm is None:
        pytest.skip("node and npm are not installed: the conversations with Node's ws were not tried")
    command = [npm, "ci", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"]
    install = subprocess.run(command, check=False, cwd=NODE_FOLDER, capture_output=True, text=True, timeout=120)
    assert install.returncode == 0, install.stderr
    return NodePeers(binary)
