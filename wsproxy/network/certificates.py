"""What stands in certificates: the names that one of ours is for, the identity that a client's one proves.

Owns: the little of X.509 (RFC 5280) that `ssl` does not tell. It reads the names of a certificate only after it has
verified it, and our own are never verified here. Must never decide whether a certificate is good.
Invariant: what an upstream is told is ASCII in which a name cannot pass for two: separators inside of it are escaped.
"""

import hashlib
import ipaddress
import ssl
from collections.abc import Iterator, Mapping

from wsproxy.protocol.forwarded import ClientCertificate

_SEQUENCE, _SET, _OID, _OCTETS = 0x30, 0x31, 0x06, 0x04
_EXTENSIONS = 0xA3
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87
_SUBJECT_ALT_NAME = bytes.fromhex("551d11")
_COMMON_NAME = bytes.fromhex("550403")
_SUBJECT_FIELD = 5
"""Of the sequences, sets and integers behind the version: serial, algorithm, issuer, validity, subject."""

_SHORT_NAMES = {
    "commonName": "CN",
    "countryName": "C",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
"""RFC 4514 §3."""
_SPECIAL = frozenset('"+,;<>\\')


def names_in(pem: str) -> tuple[str, ...]:
    """The host names and addresses that the first certificate of a PEM text is for, in lower case.

    Those of its subject alternative names, or without any its common name (RFC 6125 §6.4.4). Raises ValueError.
    """
    end = pem.find(ssl.PEM_FOOTER)
    start = pem.find(ssl.PEM_HEADER)
    if start < 0 or end < start:
        raise ValueError("it holds no certificate in PEM")
    der = ssl.PEM_cert_to_DER_cert(pem[start : end + len(ssl.PEM_FOOTER)])
    try:
        return _names(der)
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError("its certificate is malformed") from error


def _names(der: bytes) -> tuple[str, ...]:
    _, certificate = next(_elements(der))
    _, to_be_signed = next(_elements(certificate))
    fields = list(_elements(to_be_signed))
    version = 1 if fields[0][0] == 0xA0 else 0
    for tag, content in fields:
        if tag == _EXTENSIONS:
            for _, extension in _elements(next(_elements(content))[1]):
                parts = list(_elements(extension))
                if parts[0] == (_OID, _SUBJECT_ALT_NAME):
                    return tuple(_general_names(next(_elements(parts[-1][1]))[1]))
    return tuple(_common_names(fields[version + _SUBJECT_FIELD - 1][1]))


def _general_names(content: bytes) -> Iterator[str]:
    for tag, value in _elements(content):
        if tag == _DNS_NAME:
            yield value.decode("ascii").lower()
        elif tag == _IP_ADDRESS:
            yield str(ipaddress.ip_address(value))


def _common_names(subject: bytes) -> Iterator[str]:
    for _, relative in _elements(subject):
        for _, attribute in _elements(relative):
            parts = list(_elements(attribute))
            if parts[0] == (_OID, _COMMON_NAME):
                yield parts[1][1].decode("utf-8").lower()


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements of a DER value: tag and content (X.690 §8.1). Raises IndexError for what is cut off."""
    at = 0
    while at < len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            width = size & 0x7F
            size = int.from_bytes(data[at : at + width])
            at += width
        if at + size > len(data):
            raise IndexError("an element is longer than what holds it")
        yield tag, data[at : at + size]
        at += size


def identity(parsed: Mapping[str, object], der: bytes) -> ClientCertificate:
    """Who a verified certificate says that its owner is. ``parsed`` is what `ssl` makes of it."""
    subject = parsed.get("subject", ())
    assert isinstance(subject, tuple)
    # RFC 4514 §2.1: the last relative name first.
    relative = ["+".join(f"{_SHORT_NAMES.get(kind, kind)}={_escaped(text)}" for kind, text in each) for each in subject]
    names = parsed.get("subjectAltName", ())
    assert isinstance(names, tuple)
    return ClientCertificate(
        subject=",".join(reversed(relative)),
        names=", ".join(f"{kind}:{_escaped(text)}" for kind, text in names if isinstance(text, str)),
        fingerprint=hashlib.sha256(der).hexdigest(),
    )


def _escaped(text: str) -> str:
    """RFC 4514 §2.4: separators behind a backslash, everything but printable ASCII as bytes in hexadecimal."""
    parts = [_escape(letter) for letter in text]
    if parts and parts[0] in (" ", "#"):
        parts[0] = "\\" + parts[0]
    if len(parts) > 1 and parts[-1] == " ":
        parts[-1] = "\\ "
    return "".join(parts)


def _escape(letter: str) -> str:
    if letter in _SPECIAL:
        return "\\" + letter
    if " " <= letter <= "~":
        return letter
    return "".join(f"\\{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))
