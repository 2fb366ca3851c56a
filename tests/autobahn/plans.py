"""The routes that are judged: how the two legs are set, and the plans that must come of it.

Must never import wsproxy.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tests.autobahn.suite import Mode

_ROOM = """
[[routes]]
name = "autobahn"
upstream = "fuzzed"
# Section 9 sends 16 MiB in one message, and 4 MiB in fragments of 64 bytes.
limits.max_message_bytes = 67108864
limits.max_frame_bytes = 67108864
limits.max_fragments = 100000
# Section 10 compresses one repeated letter, which is all that DEFLATE can do.
limits.max_expansion = 2000
"""
_NEED_COMPRESSION = ("12.*", "13.*")
_NOT_MEANT_COMPRESSED = (
    "3.4",  # sets RSV1 on text: with permessage-deflate that is no longer a reserved bit, but undecodable data
    "6.4.3",  # the fuzzer sets RSV1 and then streams text without compressing it
    "6.4.4",
    "10.1.1",  # counts its own frames, and takes them for those of a message that was not compressed
)
_PASS = (
    'compression.mode = "passthrough"',
    "compression.client.server_max_window_bits = 15",
    "compression.client.client_max_window_bits = 15",
    "compression.upstream.server_max_window_bits = 15",
    "compression.upstream.client_max_window_bits = 15",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """One row of the results.

    :ivar to_client, to_upstream: the plans of the two directions, as `wsproxy_plans_total` tells them.
    :ivar client, upstream: permessage-deflate is on, on this leg.
    :ivar settings: lines of the route.
    :ivar meaning: for the reader of the results.
    :ivar unfit: patterns of the cases that ask for what these settings turn off.
    """

    name: str
    to_client: str
    to_upstream: str
    client: bool
    upstream: bool
    settings: tuple[str, ...]
    meaning: str
    unfit: tuple[str, ...] = ()

    def route(self, upstream_url: str) -> str:
        """The configuration's part for a proxy in front of ``upstream_url``."""
        legs = (("client", self.client), ("upstream", self.upstream))
        enabled = (f"compression.{leg}.enabled = {str(on).lower()}" for leg, on in legs)
        lines = "\n".join((*enabled, *self.settings))
        return f'{_ROOM}{lines}\n[upstreams.fuzzed]\nendpoints = ["{upstream_url}"]\n'

    def compresses(self, mode: Mode) -> bool:
        """Whether the leg on which the fuzzer is has permessage-deflate."""
        return self.client if mode == "fuzzingclient" else self.upstream

    def excluded(self, mode: Mode) -> tuple[str, ...]:
        """Patterns of the cases that cannot be asked of this plan."""
        return (*self.unfit, *(_NOT_MEANT_COMPRESSED if self.compresses(mode) else _NEED_COMPRESSION))

    def can_be_asked(self, mode: Mode, cases: Iterable[str]) -> bool:
        """Whether of ``cases``, numbers and patterns, anything is left without what is excluded."""
        excluded = self.excluded(mode)
        return not all(any(fnmatchcase(case, pattern) for pattern in excluded) for case in cases)


PLANS = (
    Plan("plain", "plain", "plain", False, False, (), "neither leg compresses"),
    Plan("deflate", "deflate", "inflate", True, False, (), "only the client's leg compresses, with default settings"),
    Plan(
        "inflate",
        "inflate",
        "deflate",
        False,
        True,
        # 13.4 and 13.6 of the fuzzing server answer 15, whatever was hinted at.
        ("compression.upstream.server_max_window_bits = 15", "compression.upstream.client_max_window_bits = 15"),
        "only the upstream's leg compresses, 15 bits",
    ),
    Plan(
        "recode",
        "recode",
        "recode",
        True,
        True,
        (
            'compression.mode = "recompress"',
            "compression.client.server_no_context_takeover = true",
            "compression.upstream.server_max_window_bits = 15",
            "compression.upstream.client_max_window_bits = 15",
        ),
        "12 bits without server takeover on the client's leg, 15 bits with takeover on the upstream's",
    ),
    Plan(
        "pass",
        "pass",
        "pass",
        True,
        True,
        _PASS,
        "compressed frames pass as they are, and are inflated to be checked",
    ),
    Plan(
        "blind",
        "pass",
        "pass",
        True,
        True,
        (*_PASS, "compression.verify = false"),
        "compressed frames pass unread (`verify = false`): no UTF-8 checks",
        unfit=("6.*",),
    ),
)
