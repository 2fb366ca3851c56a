"""W3C Trace Context in the opening handshake: one trace for a request, from the client to the upstream and the log.

Owns: which ``traceparent`` is believed, and what is sent on. Sans-I/O. The proxy makes no span of its own, so a valid
header crosses as it came; where there is none, a trace begins here.
Invariant: what goes to the upstream and into the log is of the form of the standard, whatever the client sent.
"""

import re

from wsproxy.protocol.randomness import random_bytes

_PARENT = b"traceparent"
_STATE = b"tracestate"
_FORM = re.compile(
    rb"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}(?P<more>-.*)?"
)
_ZEROS = re.compile(rb"0+")

Fields = tuple[tuple[bytes, bytes], ...]


def trace_id_of(values: list[bytes]) -> str | None:
    """The trace that all ``traceparent`` headers of one request name (Trace Context §3.2); None unless it is valid.

    Of versions to come only what they promise to keep is read: the four fields of this one, and a dash before more.
    """
    found = _FORM.fullmatch(values[0]) if len(values) == 1 else None
    if found is None or found["version"] == b"ff" or (found["version"] == b"00" and found["more"] is not None):
        return None
    if _ZEROS.fullmatch(found["trace"]) or _ZEROS.fullmatch(found["span"]):
        return None
    return found["trace"].decode("ascii")


def traced(headers: Fields) -> tuple[Fields, str]:
    """A request's headers with one valid ``traceparent``, and the trace's id.

    An invalid one is replaced, and its ``tracestate`` goes with it (§3.3.1.1). A trace that begins here is marked as
    sampled: with the other mark, tracers after us would not record what they would have recorded without us.
    """
    known = trace_id_of([value for name, value in headers if name.lower() == _PARENT])
    if known is not None:
        return headers, known
    trace_id = random_bytes(16).hex()
    parent = f"00-{trace_id}-{random_bytes(8).hex()}-01".encode("ascii")
    kept = tuple(field for field in headers if field[0].lower() not in (_PARENT, _STATE))
    return (*kept, (_PARENT, parent)), trace_id
