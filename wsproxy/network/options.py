"""The socket options of every connection.

Owns: which they are, and why. Knows neither bytes nor addresses.
"""

import socket
import sys

INHERITED = sys.platform == "linux"
"""An accepted socket has the options of the socket that listens: set there, they cost no connection a system call."""


def tune(sock: socket.socket) -> None:
    """The options of every connection; on Linux, accepted sockets have those of the socket that listens."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        # One write is one burst of whole frames, so waiting to fill a segment only adds latency.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A far end that vanished without a word is noticed in the end also where nothing is ever sent.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except OSError:
        return  # a socket that was reset before we got it refuses options on some systems; the first read tells
