"""Contexts from files: whom a certificate is for, which one a name gets, and what is said of a file of no use."""

import ssl
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trustme

from wsproxy.errors import CannotStart
from wsproxy.network.certificates import identity, names_in
from wsproxy.network.tls import make_listener_tls, make_upstream_tls
from wsproxy.settings.tree import Certificate, ListenerTls, UpstreamTls

_CA = trustme.CA()


def issued(folder: Path, *names: str, common_name: str | None = None) -> Certificate:
    """A certificate for these names, in files."""
    leaf = _CA.issue_cert(*names, common_name=common_name)
    cert, key = folder / f"{len(list(folder.iterdir()))}.pem", folder / f"{len(list(folder.iterdir()))}.key"
    cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    key.write_bytes(leaf.private_key_pem.bytes())
    return Certificate(str(cert), str(key))


def shown(listener: ssl.SSLContext, name: str | None) -> tuple[str, ...]:
    """The names in the certificate that a client gets which asks for ``name``."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=name),
        listener.wrap_bio(to_server, to_client, server_side=True),
    )
    done = [False, False]
    while not all(done):
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
                done[number] = True
            except ssl.SSLWantReadError:
                continue
    der = ends[0].getpeercert(binary_form=True)
    assert der is not None
    return names_in(ssl.DER_cert_to_PEM_cert(der))


def test_a_connection_that_is_cut_is_no_end(tmp_path: Path) -> None:
    """Whatever this version of Python thinks of it."""
    listener = make_listener_tls(ListenerTls((issued(tmp_path, "a.example"),)))
    assert listener is not None
    for made in (listener, make_upstream_tls(UpstreamTls())):
        assert not made.options & getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)


def test_names_of_a_certificate(tmp_path: Path) -> None:
    certificate = issued(tmp_path, "Feed.Example.com", "*.example.org", "192.0.2.1", "2001:db8::1")
    assert sorted(names_in(Path(certificate.cert).read_text())) == [
        "*.example.org",
        "192.0.2.1",
        "2001:db8::1",
        "feed.example.com",
    ]


def test_a_certificate_with_a_common_name_only(tmp_path: Path) -> None:
    cert = tmp_path / "old.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", "/dev/null"]
    subprocess.run([*command, "-subj", "/O=Old/CN=Old.Example", "-out", cert], check=True, capture_output=True)
    assert names_in(cert.read_text()) == ("old.example",)


def test_the_name_asked_for_chooses(tmp_path: Path) -> None:
    first = issued(tmp_path, "first.example", "www.first.example")
    wildcard = issued(tmp_path, "*.wild.example")
    exact = issued(tmp_path, "exact.wild.example")
    context = make_listener_tls(ListenerTls(certificates=(first, wildcard, exact)))
    assert context is not None
    default = ("first.example", "www.first.example")
    table: dict[str | None, tuple[str, ...]] = {
        None: default,
        "first.example": default,
        "www.first.example": default,
        "unknown.example": default,
        "a.wild.example": ("*.wild.example",),
        "A.WILD.example": ("*.wild.example",),
        "exact.wild.example": ("exact.wild.example",),
        "a.b.wild.example": default,
        "wild.example": default,
    }
    assert {name: tuple(sorted(shown(context, name))) for name in table} == table


def test_no_certificate_is_no_tls() -> None:
    assert make_listener_tls(ListenerTls()) is None


def problem(make: Callable[[], object]) -> str:
    """The one line of a start that fails."""
    with pytest.raises(CannotStart) as caught:
        make()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_of_no_use(tmp_path: Path) -> None:
    good, other = issued(tmp_path, "a.example"), issued(tmp_path, "b.example")
    missing, garbage = str(tmp_path / "missing"), str(tmp_path / "garbage")
    Path(garbage).write_text("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
    sealed = tmp_path / "sealed.key"
    subprocess.run(
        ["openssl", "pkey", "-in", good.key, "-aes256", "-passout", "pass:secret", "-out", sealed],
        check=True,
        capture_output=True,
    )
    for certificate, words in [
        (Certificate(missing, good.key), f"cannot read {missing}: no such file or directory"),
        (Certificate(good.cert, missing), f"cannot read {missing}: no such file or directory"),
        (Certificate(garbage, good.key), f"cannot use {garbage} with the key {good.key}: "),
        (Certificate(good.cert, garbage), f"cannot use {good.cert} with the key {garbage}: "),
        (Certificate(good.cert, other.key), f"cannot use {good.cert} with the key {other.key}: key values mismatch"),
        (Certificate(good.cert, str(sealed)), f"cannot use {good.cert} with the key {sealed}: "),
    ]:
        as_listener = ListenerTls(certificates=(certificate,))
        assert problem(partial(make_listener_tls, as_listener)).startswith(words)
        as_client = UpstreamTls(client_cert=certificate.cert, client_key=certificate.key)
        assert problem(partial(make_upstream_tls, as_client)).startswith(words)
    no_ca = ListenerTls(certificates=(good,), client_ca=garbage)
    words = f"cannot use {garbage} as a CA: it holds no valid certificates in PEM"
    assert problem(partial(make_listener_tls, no_ca)) == words


@pytest.mark.parametrize("text", ["", "no PEM", "-----END CERTIFICATE----------BEGIN CERTIFICATE-----"])
def test_what_holds_no_certificate(text: str) -> None:
    with pytest.raises(ValueError):
        names_in(text)


def test_every_cut_of_a_certificate_is_told(tmp_path: Path) -> None:
    der = ssl.PEM_cert_to_DER_cert(_CA.issue_cert("a.example").cert_chain_pems[0].bytes().decode())
    for size in range(1, len(der)):
        with pytest.raises(ValueError):
            names_in(ssl.DER_cert_to_PEM_cert(der[:size]))


def test_an_identity_cannot_pass_for_two() -> None:
    parsed = {
        "subject": (
            (("countryName", "DE"),),
            (("organizationName", 'Müller, "Söhne" <a;b>'),),
            (("commonName", " a,CN=admin\n"), ("userId", "7+8")),
        ),
        "subjectAltName": (("DNS", "a.example"), ("URI", "spiffe://a, DNS:admin.example")),
    }
    found = identity(parsed, b"certificate")
    assert found.subject == 'CN=\\ a\\,CN=admin\\0A+UID=7\\+8,O=M\\C3\\BCller\\, \\"S\\C3\\B6hne\\" \\<a\\;b\\>,C=DE'
    assert found.names == "DNS:a.example, URI:spiffe://a\\, DNS:admin.example"
    assert len(found.fingerprint) == 64
