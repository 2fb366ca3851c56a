"""The settings of listeners: where clients connect, and on which terms.

Owns: their names, types, defaults, bounds and descriptions. Must never import trio, socket or logging.
"""

from dataclasses import dataclass, field
from typing import Literal

from wsproxy.settings.about import (
    FILE_HINT,
    FILE_PATTERN,
    NAME_HINT,
    NAME_PATTERN,
    OPTIONAL_FILE_PATTERN,
    about,
    parse_network,
)
from wsproxy.settings.addresses import parse_address

AcceptedProxyProtocol = Literal["off", "v1", "v2", "any"]
TlsVersion = Literal["1.2", "1.3"]

DEFAULT_LISTEN = "127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key."""

    cert: str = field(
        metadata=about(
            "Path of a PEM file: the certificate, then the rest of its chain.", pattern=FILE_PATTERN, hint=FILE_HINT
        )
    )
    key: str = field(
        metadata=about(
            "Path of a PEM file: its private key, without a passphrase.", pattern=FILE_PATTERN, hint=FILE_HINT
        )
    )


@dataclass(frozen=True, slots=True)
class ListenerTls:
    """TLS to clients. Files are read again on reload."""

    certificates: tuple[Certificate, ...] = field(
        default=(),
        metadata=about(
            "Tables `{ cert = PATH, key = PATH }`; the name that a client asks for (SNI) chooses, the first one serves "
            "all other names. Empty: no TLS."
        ),
    )
    client_ca: str = field(
        default="",
        metadata=about(
            "Path of a PEM file of CAs. Set: clients must present a certificate that one of them signed.",
            pattern=OPTIONAL_FILE_PATTERN,
            hint=FILE_HINT,
        ),
    )
    minimum_version: TlsVersion = field(default="1.2", metadata=about("The oldest version of TLS that is accepted."))


@dataclass(frozen=True, slots=True)
class Listener:
    """One address where clients connect."""

    name: str = field(metadata=about("The `listener` label; different for each.", pattern=NAME_PATTERN, hint=NAME_HINT))
    bind: str = field(
        metadata=about("ADDR: `host:port`, `[v6]:port`, `unix:/path` or `fd:N`. Port 0: any free.", parse=parse_address)
    )
    unix_mode: int = field(
        default=0o660,
        metadata=about(
            "Permissions of a Unix socket's file, such as `0o660`.",
            minimum=0,
            maximum=0o777,
            hint="permissions such as 0o660, from 0 to 0o777",
        ),
    )
    proxy_protocol: AcceptedProxyProtocol = field(
        default="off",
        metadata=about(
            "The version of the PROXY protocol that every connection begins with. "
            "A connection from outside `trusted_proxies` is closed then."
        ),
    )
    trusted_proxies: tuple[str, ...] = field(
        default=(),
        metadata=about(
            "Addresses and CIDR blocks that may speak the PROXY protocol and are believed in `X-Forwarded-*` and "
            "`Forwarded`; `unix`: whoever connects to a Unix socket.",
            parse=parse_network,
        ),
    )
    tls: ListenerTls = field(default=ListenerTls(), metadata=about("TLS to its clients."))
