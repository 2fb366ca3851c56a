"""What this machine must know for some tests."""

import socket

import pytest


@pytest.fixture
def localhost() -> str:
    """A name that has addresses."""
    try:
        socket.getaddrinfo("localhost", None)
    except socket.gaierror:
        pytest.skip("this machine has no address for localhost (/etc/hosts): no name was looked up")
    return "localhost"
