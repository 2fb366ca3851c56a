"""One line asked of a Unix socket and one line answered, for a command that does nothing else.

Owns: that socket. Blocks, and must never import trio: the command needs no event loop.
"""

import socket

_ANSWER_SECONDS = 30.0
_READ_BYTES = 65_536


def ask(path: str, line: bytes) -> bytes:
    """Send ``line`` and its end; gives the answer without its end.

    :raises OSError: nobody listens at ``path``, this user may not connect, or no answer came.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_ANSWER_SECONDS)
        sock.connect(path)
        sock.sendall(line + b"\n")
        answer = bytearray()
        while not answer.endswith(b"\n"):
            data = sock.recv(_READ_BYTES)
            if not data:
                raise ConnectionError("it hung up without an answer")
            answer += data
    return bytes(answer[:-1])
