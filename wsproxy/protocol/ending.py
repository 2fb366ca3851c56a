"""Why a tunnel ended. Sans-I/O; `relay` decides, logs and counters tell."""

from dataclasses import dataclass
from typing import Literal

from wsproxy.protocol.keepalive import Lapse

ABNORMAL = 1006
"""Told in logs and counters where a side ended without a close frame; never on the wire (RFC 6455 §7.4.1)."""
NO_STATUS = 1005

Initiator = Literal["client", "upstream", "proxy"]


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a tunnel ended: who began it, the code (1005 none, 1006 lost) and the reason.

    :ivar lapse: the limit of time that it was over, if it was one.
    """

    initiator: Initiator
    code: int
    reason: str
    lapse: Lapse | None = None
