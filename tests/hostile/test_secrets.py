"""A secret and an attacker's text on one connection: what the sizes of frames tell (CRIME, BREACH; RFC 7692 §8).

With a kept window a guess that is right is shorter than one that is wrong. A route that forgets its window keeps
messages apart, and one that does not compress tells nothing; both are settings.
"""

from collections.abc import Iterator

import pytest

from tests.endtoend.conversations import with_engine
from tests.endtoend.proxy import WIDE_UPSTREAM, Proxy, configured, route
from tests.endtoend.wire import TEXT, Frame, RawUpstream, deflate, raw_upstream, tunnel
from wsproxy.extensions.engines import available

PMD = "permessage-deflate; client_max_window_bits"
SECRET = '{"session": "q8Zk3TfXv1LwYd7Rb2Nc"}'
GUESSES = (SECRET, '{"session": "m4Hs9GjPe6UoAi0Vx5Kt"}')
"""The right one and a wrong one, equally long and equally hard to compress."""

ROUTES: dict[str, tuple[str, ...]] = {
    "kept": (),
    "forgetful": ("compression.client.server_no_context_takeover = true",),
    "off": ("compression.client.enabled = false",),
    "recode-forgetful": (
        'compression.mode = "recompress"',
        "compression.client.server_no_context_takeover = true",
        *WIDE_UPSTREAM,
    ),
}


@pytest.fixture(scope="module")
def module_bare() -> Iterator[RawUpstream]:
    with raw_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module", params=sorted(available()))
def proxy(request: pytest.FixtureRequest, module_bare: RawUpstream) -> Iterator[Proxy]:
    engine = with_engine(request.param)
    with configured(*(route(name, module_bare.url, *lines, *engine) for name, lines in ROUTES.items())) as running:
        yield running


def _sizes(proxy: Proxy, bare: RawUpstream, name: str) -> list[int]:
    """Of the frame that carries each guess to the client, behind one that carries the secret."""
    found = []
    for guess in GUESSES:
        packed = name.startswith("recode")
        with tunnel(proxy.address, bare, f"/{name}", offer=PMD, agree="permessage-deflate" if packed else None) as ends:
            for text in (SECRET, guess):
                payload = deflate(text.encode()) if packed else text.encode()
                ends.upstream.send(Frame(TEXT, payload, rsv1=packed))
            ends.client.frame()
            found.append(len(ends.client.frame().payload))
    return found


def test_a_kept_window_tells(proxy: Proxy, module_bare: RawUpstream) -> None:
    """Why the settings are there; were this to fail, the other test would show nothing."""
    right, wrong = _sizes(proxy, module_bare, "kept")
    assert right < wrong - 5


@pytest.mark.parametrize("name", ["forgetful", "off", "recode-forgetful"])
def test_a_window_that_is_forgotten_tells_nothing(proxy: Proxy, module_bare: RawUpstream, name: str) -> None:
    right, wrong = _sizes(proxy, module_bare, name)
    # The two texts' own sizes may differ by what their letters cost.
    assert abs(right - wrong) <= 2
