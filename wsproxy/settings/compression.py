"""The settings of compression: how a route's two legs negotiate permessage-deflate, and how the proxy compresses.

Owns: their names, types, defaults, bounds and descriptions. Must never import trio, socket or logging.
"""

from dataclasses import dataclass, field
from typing import Literal

from wsproxy.extensions.deflate import DeflateOptions
from wsproxy.extensions.permessage_deflate import Policy
from wsproxy.protocol.plan import Mode
from wsproxy.settings.about import MOST, Auto, about

EngineName = Literal["auto", "zlib", "zlib-ng", "isal"]
Strategy = Literal["default", "filtered", "huffman_only", "rle", "fixed"]


@dataclass(frozen=True, slots=True)
class LegCompression:
    """permessage-deflate on one leg (RFC 7692): what is agreed to, and how this proxy compresses."""

    enabled: bool = field(
        default=False,
        metadata=about("Negotiate permessage-deflate on this leg."),
    )
    engine: EngineName = field(
        default="auto", metadata=about("The implementation of DEFLATE; `auto` takes the best one installed.")
    )
    level: int | Auto = field(
        default="auto",
        metadata=about(
            "Compression level on the engine's own scale: zlib and zlib-ng 0 to 9, isal 0 to 3.", minimum=0, maximum=9
        ),
    )
    mem_level: int = field(
        default=5, metadata=about("Memory of a compressor, 1 (little) to 9 (much).", minimum=1, maximum=9)
    )
    strategy: Strategy = field(default="default", metadata=about("The strategy of zlib and zlib-ng; isal has one."))
    server_max_window_bits: int = field(
        default=12,
        metadata=about(
            "Largest window, as a power of two in bytes, of what the leg's server end compresses.",
            minimum=9,
            maximum=15,
        ),
    )
    client_max_window_bits: int = field(
        default=12,
        metadata=about(
            "Largest window, as a power of two in bytes, of what the leg's client end compresses, "
            "where that end lets itself be limited.",
            minimum=9,
            maximum=15,
        ),
    )
    server_no_context_takeover: bool = field(
        default=False,
        metadata=about("The leg's server end forgets its window after each message: less memory, worse ratio."),
    )
    client_no_context_takeover: bool = field(
        default=False, metadata=about("The leg's client end forgets its window after each message.")
    )
    threshold: int | Auto = field(
        default="auto",
        metadata=about(
            "Bytes; smaller messages go uncompressed. `auto`: none while the window is kept, "
            "because small messages gain most from it.",
            minimum=0,
            maximum=2**31,
        ),
    )
    lenient: bool = field(
        default=False,
        metadata=about("Upstream leg only: put up with an answer that leaves out what was asked for."),
    )

    @property
    def policy(self) -> Policy:
        """What the leg's negotiation is willing to run."""
        return Policy(
            server_max_window_bits=self.server_max_window_bits,
            client_max_window_bits=self.client_max_window_bits,
            server_no_context_takeover=self.server_no_context_takeover,
            client_no_context_takeover=self.client_no_context_takeover,
            lenient=self.lenient,
        )

    @property
    def deflate_options(self) -> DeflateOptions:
        """How the proxy compresses on this leg."""
        return DeflateOptions(
            engine=self.engine,
            level=None if self.level == "auto" else self.level,
            mem_level=self.mem_level,
            strategy=self.strategy,
            threshold=None if self.threshold == "auto" else self.threshold,
        )


@dataclass(frozen=True, slots=True)
class Compression:
    """How a route compresses: the two legs negotiate separately."""

    mode: Mode = field(
        default="auto",
        metadata=about(
            "`auto`: compressed frames pass unchanged where both agreements allow it; `recompress`: never; "
            "`passthrough`: also ask the upstream for what the client offered, so that they can."
        ),
    )
    verify: bool = field(
        default=True,
        metadata=about(
            "Inflate passing messages to check them. `false`: they pass unread, without UTF-8 checks, limits on "
            "inflated size or payload counts."
        ),
    )
    cache_bytes: int = field(
        default=4 * 1024 * 1024,
        metadata=about(
            "Bytes of messages to clients that are kept for a second or two, in each worker, so that a message sent to "
            "many is compressed once. Only agreements without takeover can share. 0: none.",
            minimum=0,
            maximum=MOST,
        ),
    )
    client: LegCompression = field(
        default=LegCompression(enabled=True), metadata=about("The leg to the client, where this proxy is the server.")
    )
    upstream: LegCompression = field(
        default=LegCompression(), metadata=about("The leg to the upstream, where this proxy is the client.")
    )
