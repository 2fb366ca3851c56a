"""TLS made ready from the files that the settings name: one function for listeners, one for upstreams.

Owns: versions, protocols, who verifies whom, and which certificate a client is shown. Files are read when a context is
made, and never later: a reload makes new ones. Must never import trio.
Invariant: a file that is of no use is CannotStart, with one line that names it and says why.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsproxy.errors import CannotStart
from wsproxy.network.certificates import names_in
from wsproxy.settings import tree

# WebSocket over HTTP/2 is another protocol (RFC 8441).
_PROTOCOLS = ["http/1.1"]
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CUT_IS_AN_END: ssl.Options = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", ssl.Options(0))
"""Set by some versions of Python, 3.11.2 among them."""


def make_listener_tls(settings: tree.ListenerTls) -> ssl.SSLContext | None:
    """TLS in the server role, the certificate chosen by the name that a client asks for (RFC 6066 §3).

    None where no certificate is configured. Raises CannotStart.
    """
    if not settings.certificates:
        return None
    made = [_server_tls(settings, certificate) for certificate in settings.certificates]
    by_name: dict[str, ssl.SSLContext] = {}
    for tls, certificate in zip(made, settings.certificates, strict=True):
        for name in _names(certificate.cert):
            by_name.setdefault(name, tls)

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        wanted = (name or "").lower().removesuffix(".")
        found = by_name.get(wanted) or by_name.get("*." + wanted.partition(".")[2])
        if found is not None:
            connection.context = found

    made[0].sni_callback = choose
    return made[0]


def _server_tls(settings: tree.ListenerTls, certificate: tree.Certificate) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = _VERSIONS[settings.minimum_version]
    tls.set_alpn_protocols(_PROTOCOLS)
    make_strict(tls)
    _load_certificate(tls, certificate.cert, certificate.key)
    if settings.client_ca:
        with _authorities(settings.client_ca):
            tls.load_verify_locations(cafile=settings.client_ca)
        tls.verify_mode = ssl.CERT_REQUIRED
    return tls


def make_upstream_tls(settings: tree.UpstreamTls) -> ssl.SSLContext:
    """TLS in the client role, that verifies upstreams; with our own certificate if one is configured.

    Raises CannotStart.
    """
    with _authorities(settings.ca):
        tls = ssl.create_default_context(cafile=settings.ca or None)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.client_cert:
        _load_certificate(tls, settings.client_cert, settings.client_key)
    tls.set_alpn_protocols(_PROTOCOLS)
    make_strict(tls)
    return tls


def make_strict(tls: ssl.SSLContext) -> None:
    """No renegotiation, no compression, and a connection that is cut is no end of what was sent (RFC 8446 §6.1)."""
    tls.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    tls.options &= ~_CUT_IS_AN_END


def _names(path: str) -> tuple[str, ...]:
    try:
        return names_in(Path(path).read_text("ascii", "replace"))
    except (OSError, ValueError) as error:
        raise CannotStart(f"cannot use {path} as a certificate: {_reason(error)}") from error


def _load_certificate(tls: ssl.SSLContext, cert: str, key: str) -> None:
    for path in (cert, key):
        try:
            # ssl does not say which of the two it could not read.
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise CannotStart(f"cannot read {path}: {_reason(error)}") from error
    try:
        # Without this a key with a passphrase would ask for it on the terminal.
        tls.load_cert_chain(cert, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        raise CannotStart(f"cannot use {cert} with the key {key}: {_reason(error)}") from error


@contextmanager
def _authorities(path: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        raise CannotStart(f"cannot use {path} as a CA: it holds no valid certificates in PEM") from error
    except OSError as error:
        raise CannotStart(f"cannot use {path} as a CA: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not valid PEM").lower().replace("_", " ")
    return (getattr(error, "strerror", None) or str(error)).lower()
