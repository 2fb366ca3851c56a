"""What arrives upstream is exactly one well-formed request or none, and every answer belongs to its request.

Each attack is followed on the same connection by an ordinary request. Either both are answered, in order, and both
arrive; or the attack is refused, nothing arrives, and the connection ends: what follows a refused request is never
read as one.
"""

import contextlib
import socket

import pytest

from tests.endtoend.proxy import DEADLINE, Proxy
from tests.hostile.attacks import GROUPS, Attack
from tests.hostile.grammar import read_answers
from tests.hostile.upstreams import Judge

LAST = b"GET /UP/last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
ATTACKS = [
    pytest.param(attack, id=f"{group}: {attack.name}") for group, attacks in GROUPS.items() for attack in attacks
]


def until_the_end(sock: socket.socket) -> bytes:
    """Everything that comes until the connection ends; a reset is an end too."""
    told = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := sock.recv(65_536):
            told += chunk
    return told


def ask(proxy: Proxy, data: bytes) -> bytes:
    """All that the proxy answers to ``data``, until it ends the connection."""
    with socket.create_connection(proxy.address, DEADLINE) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        return until_the_end(sock)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", ["raw", "nginx", "node"])
def test_one_request_or_none(proxy: Proxy, judges: dict[str, Judge], name: str, attack: Attack) -> None:
    if name not in judges:
        pytest.skip(f"{name} is not installed: what arrives there was not tried")
    judge = judges[name]
    told = read_answers(ask(proxy, (attack.data + LAST).replace(b"UP", name.encode())))
    arrived = judge.take()
    first, last = f"/{name}/one", ("GET", f"/{name}/last", "")
    if attack.arrives is None:
        assert arrived == []
        assert [answer.status for answer in told] == [attack.status]
        return
    method, body = attack.arrives
    wanted = [(method, first, body)] + [last] * attack.goes_on
    assert arrived == wanted
    assert [answer.status for answer in told] == [200] * len(wanted)
    assert [answer.body.decode() for answer in told] == [" ".join(one[:2]) for one in wanted]
