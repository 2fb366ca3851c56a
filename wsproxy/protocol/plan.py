"""How one direction turns the messages of one leg into messages of the other.

Owns the five plans and the matrix that says when compressed frames may pass untouched. Sans-I/O; imports the
permessage-deflate window and nothing else. A plan is fixed for the tunnel's life, because it depends on LZ77 windows
that both ends have been filling since the first message.

Passing (in: the sender's leg, out: the receiver's leg), RFC 7692 §7.1 and §7.2:

=========== ============ ================== =========================================
takeover in takeover out bits out >= in     a compressed message may pass
=========== ============ ================== =========================================
no          any          yes                yes: each stands on its own
yes         yes          yes                yes: all of them, from the first, in order
yes         no           any                never: the receiver forgets what it refers to
any         any          no                 never: the receiver's window is too short
=========== ============ ================== =========================================
"""

from enum import StrEnum
from typing import Literal

from wsproxy.extensions.permessage_deflate import Window, may_pass

Mode = Literal["auto", "recompress", "passthrough"]
"""A route's wish. ``auto`` and ``passthrough`` pass when the matrix allows it; ``recompress`` never does.
``passthrough`` also makes the two legs negotiate alike."""


class Plan(StrEnum):
    """What happens to one direction's messages."""

    PLAIN = "plain"
    DEFLATE = "deflate"
    INFLATE = "inflate"
    RECODE = "recode"
    PASS = "pass"


def choose_plan(incoming: Window | None, outgoing: Window | None, mode: Mode) -> Plan:
    """The plan of one direction; a window is None where the leg has no permessage-deflate."""
    if incoming is None:
        return Plan.PLAIN if outgoing is None else Plan.DEFLATE
    if outgoing is None:
        return Plan.INFLATE
    if mode != "recompress" and may_pass(incoming, outgoing):
        return Plan.PASS
    return Plan.RECODE
