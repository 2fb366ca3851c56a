"""What of a tunnel becomes labels of a metric: its agreements, its close code.

Owns: how they are told in a bounded number of words. Must never import prometheus_client, trio or logging.
Invariant: whatever clients and upstreams send, the labels are of a closed list or of what was configured.
"""

from typing import Literal, NamedTuple

from wsproxy.errors import Side
from wsproxy.extensions.chain import Chain
from wsproxy.extensions.negotiation import LegAgreement, deflate_of
from wsproxy.extensions.permessage_deflate import NAME

_CODES_OF_RFC_6455 = frozenset({*range(1000, 1004), *range(1005, 1016)})


class AgreementKey(NamedTuple):
    """The labels of one leg's agreement. Several extensions are one label, with plus signs between them.

    :ivar window_bits: the server end's, 0 without permessage-deflate.
    """

    side: Side
    extension: str
    takeover: Literal["both", "server", "client", "none"]
    window_bits: int


def agreement_key(side: Side, settled: LegAgreement) -> AgreementKey:
    name = settled.names if isinstance(settled, Chain) else NAME if settled else "none"
    agreement = deflate_of(settled)
    if agreement is None:
        return AgreementKey(side, extension=name, takeover="none", window_bits=0)
    takeover: Literal["both", "server", "client", "none"]
    if agreement.server.takeover:
        takeover = "both" if agreement.client.takeover else "server"
    else:
        takeover = "client" if agreement.client.takeover else "none"
    return AgreementKey(side, extension=name, takeover=takeover, window_bits=agreement.server.bits)


def close_label(code: int | None) -> str:
    """The bounded label of a close code (RFC 6455 §7.4): peers may choose among thousands.

    A close frame without a code counts as 1005, as in the RFC.
    """
    if code is None:
        return "1005"
    if code in _CODES_OF_RFC_6455:
        return str(code)
    if 3000 <= code <= 4999:
        return f"{code // 1000}xxx"
    return "other"
