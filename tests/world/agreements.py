"""What two header texts of permessage-deflate settle, read without the proxy's code (RFC 7692 §7.1, §7.2).

Must never import wsproxy.
"""

from dataclasses import dataclass

_NAME = "permessage-deflate"
_LARGEST = 15


@dataclass(frozen=True, slots=True)
class Sender:
    """How one end of a connection may compress: with a window of so many bits, kept between messages or not."""

    bits: int
    takeover: bool

    @classmethod
    def read(cls, text: str) -> "Sender":
        """From ``12 kept`` or ``12 reset``."""
        bits, kept = text.split()
        if kept not in {"kept", "reset"}:
            raise ValueError(text)
        return cls(int(bits), kept == "kept")


@dataclass(frozen=True, slots=True)
class Settled:
    """One connection's agreement."""

    server: Sender
    client: Sender


def parameters(header: str) -> dict[str, str | None]:
    """The parameters of the only item of ``header``, which no recorded peer puts in quotes."""
    name, *rest = (part.strip() for part in header.split(";"))
    if name != _NAME:
        raise ValueError(header)
    found: dict[str, str | None] = {}
    for part in rest:
        key, _, value = part.partition("=")
        if key in found:
            raise ValueError(header)
        found[key] = value or None
    return found


def settled(asked: str, answered: str) -> Settled | None:
    """What an offer and its answer settle; None where there is no answer.

    An answer in which the server leaves out a limit that was demanded of it is read as it stands: 15 bits, kept.
    """
    if not answered:
        return None
    offer, answer = parameters(asked), parameters(answered)
    server_bits = int(answer.get("server_max_window_bits") or _LARGEST)
    # What the client announced for itself holds whether it is echoed or not.
    hint, limit = offer.get("client_max_window_bits"), answer.get("client_max_window_bits")
    client_bits = min(int(hint or _LARGEST), int(limit or _LARGEST))
    client_resets = "client_no_context_takeover" in offer or "client_no_context_takeover" in answer
    return Settled(
        Sender(server_bits, "server_no_context_takeover" not in answer), Sender(client_bits, not client_resets)
    )


def plan(incoming: Sender | None, outgoing: Sender | None, *, recompress: bool) -> str:
    """The plan that a direction must have got, between what comes in from one leg and what goes out on the other."""
    if incoming is None:
        return "plain" if outgoing is None else "deflate"
    if outgoing is None:
        return "inflate"
    fits = outgoing.bits >= incoming.bits and (outgoing.takeover or not incoming.takeover)
    return "pass" if fits and not recompress else "recode"
