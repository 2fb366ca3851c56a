"""Names to addresses.

Owns: the look-up. Must never connect.
"""

import socket

import trio


async def resolve(host: str, port: int) -> tuple[str, ...]:
    """The IP addresses of a name, best first (RFC 6724). Raises OSError or UnicodeError."""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(_literal(place) for _, _, _, _, place in found))


def _literal(place: tuple[object, ...]) -> str:
    address = str(place[0])
    # A link-local address means something on one interface only (RFC 4007 §11).
    return f"{address}%{place[3]}" if len(place) == 4 and place[3] and "%" not in address else address
