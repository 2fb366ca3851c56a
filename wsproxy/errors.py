"""The one tree of errors: each says who is at fault and what that side is told.

Owns: `Side`, and every exception that crosses a module boundary. Imports nothing of the project.
Invariant: an error carries what is told to whom, and nothing else; where it is caught decides the rest.
"""

from enum import IntEnum
from typing import Literal


class Side(IntEnum):
    """One of the two sides of a session. The values index pairs: ``legs[side]``."""

    CLIENT = 0
    UPSTREAM = 1

    @property
    def other(self) -> "Side":
        return _OTHER[self]

    @property
    def label(self) -> Literal["client", "upstream"]:
        """The value of the ``leg`` and ``initiator`` labels."""
        return "client" if self is Side.CLIENT else "upstream"


_OTHER = (Side.UPSTREAM, Side.CLIENT)


class WsproxyError(Exception):
    """The root: nothing else of ours is raised across a module boundary."""


class CannotStart(WsproxyError):
    """The program cannot run: one line says why. Exit code 1."""


class BadUsage(WsproxyError):
    """Wrong flags, environment or configuration. Exit code 2.

    :ivar problems: one line for each thing that is wrong.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Refused(WsproxyError):
    """A request that ends with an HTTP status before any 101 (RFC 9110 §15, RFC 6455 §4.2.2).

    :ivar status: the HTTP status for the client.
    :ivar result: the ``result`` label of ``wsproxy_handshakes_total``.
    :ivar detail: one clause for the body and the log; never holds what an upstream's operator would want secret.
    :ivar headers: extra response headers, such as ``Retry-After``.
    """

    def __init__(self, status: int, result: str, detail: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(f"{status} {result}: {detail}")
        self.status = status
        self.result = result
        self.detail = detail
        self.headers = headers


class Violation(WsproxyError):
    """A side broke a rule after the 101 (RFC 6455 §7.4.1).

    :ivar code: the close code that the guilty side gets.
    :ivar reason: the close reason, ASCII, at most 123 bytes.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class ExtensionFault(WsproxyError):
    """An extension broke its contract with the proxy: neither side is at fault, and both are told 1011.

    :ivar extension: its name.
    :ivar operation: what it was asked to do, such as ``decode``.
    :ivar detail: what it did instead, for the log.
    """

    def __init__(self, extension: str, operation: str, detail: str) -> None:
        super().__init__(f"extension {extension}: {operation}: {detail}")
        self.extension = extension
        self.operation = operation
        self.detail = detail


class ConnectionLost(WsproxyError):
    """A transport ended without the protocol's own ending: reset, end of file, failed TLS."""
