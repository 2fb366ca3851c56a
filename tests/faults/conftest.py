"""Deadlines that are constants in the proxy, made short: real sockets cannot be driven by trio's own clock."""

import pytest


@pytest.fixture
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsproxy.service.session.HEAD_SECONDS", 0.3)
    monkeypatch.setattr("wsproxy.service.session.KEEP_ALIVE_SECONDS", 0.3)
    monkeypatch.setattr("wsproxy.service.session.LINGER_SECONDS", 0.2)
    monkeypatch.setattr("wsproxy.service.entering.ENTRANCE_SECONDS", 0.3)
    monkeypatch.setattr("wsproxy.network.switchboard.SWEEP_SECONDS", 0.05)
