"""Requests that two parsers could read in two ways, or that nobody should pass on.

Owns: what is sent, what the client is told, and what may arrive upstream. `UP` stands for the route in every request.
"""

from dataclasses import dataclass

_GET = b"GET /UP/one HTTP/1.1\r\nHost: h\r\n"
_POST = b"POST /UP/one HTTP/1.1\r\nHost: h\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"
_SMUGGLED = b"GET /UP/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
_UPGRADE = (
    b"GET /UP/one HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
GET_ONE = ("GET", "")
POST_HELLO = ("POST", "hello")


@dataclass(frozen=True, slots=True)
class Attack:
    """``arrives``: method and body of the request for `/UP/one` that may reach the upstream; None for none.

    :ivar status: what the client is told.
    :ivar goes_on: the connection serves another request afterwards.
    """

    name: str
    data: bytes
    status: int = 400
    arrives: tuple[str, str] | None = None

    @property
    def goes_on(self) -> bool:
        return self.arrives is not None and b"HTTP/1.0\r\n" not in self.data


def _passes(name: str, data: bytes, arrives: tuple[str, str] = GET_ONE) -> Attack:
    return Attack(name, data, 200, arrives)


LENGTHS = (
    Attack("two lengths", _POST + b"Content-Length: 5\r\nContent-Length: 44\r\n\r\nhello" + _SMUGGLED),
    Attack("two lengths in one line", _POST + b"Content-Length: 5, 44\r\n\r\nhello" + _SMUGGLED),
    _passes("one length twice", _POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", POST_HELLO),
    _passes("one length twice in one line", _POST + b"Content-Length: 5, 5\r\n\r\nhello", POST_HELLO),
    Attack("a length with a sign", _POST + b"Content-Length: +5\r\n\r\nhello"),
    Attack("a negative length", _POST + b"Content-Length: -5\r\n\r\nhello"),
    Attack("a hexadecimal length", _POST + b"Content-Length: 0x5\r\n\r\nhello"),
    Attack("a length with a space inside", _POST + b"Content-Length: 5 5\r\n\r\nhello"),
    Attack("a length with a point", _POST + b"Content-Length: 5.0\r\n\r\nhello"),
    Attack("an empty length", _POST + b"Content-Length:\r\n\r\nhello"),
    Attack(
        "a length beyond 64 bits",
        _POST + b"Content-Length: 36893488147419103232\r\n\r\nhello",
    ),
    Attack("a length of a thousand digits", _POST + b"Content-Length: " + b"9" * 1000 + b"\r\n\r\nhello"),
    Attack("digits that are not ASCII", _POST + b"Content-Length: \xd9\xa5\r\n\r\nhello"),
    Attack("a folded second length", _POST + b"Content-Length: 5\r\n 44\r\n\r\nhello" + _SMUGGLED),
    Attack("a space before the colon", _POST + b"Content-Length : 5\r\n\r\nhello"),
    Attack("a tab before the colon", _POST + b"Content-Length\t: 5\r\n\r\nhello"),
    Attack("a length behind a vertical tab", _POST + b"Content-Length:\x0b5\r\n\r\nhello"),
    _passes("a body of GET", _GET + b"Content-Length: 5\r\n\r\nhello", ("GET", "hello")),
    _passes("a name that only looks alike", _GET + b"Content_Length: 44\r\n\r\n"),
    _passes(
        "Connection names the length",
        _POST + b"Connection: Content-Length\r\nContent-Length: 5\r\n\r\nhello",
        POST_HELLO,
    ),
)

CODINGS = (
    Attack(
        "length and chunks", _POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _SMUGGLED
    ),
    Attack(
        "chunks and length", _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 48\r\n\r\n0\r\n\r\n" + _SMUGGLED
    ),
    Attack("xchunked", _POST + b"Transfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 501),
    Attack("chunked, identity", _POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501),
    Attack("identity, chunked", _POST + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 501),
    Attack("identity", _POST + b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", 501),
    Attack("gzip, chunked", _POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    Attack("chunked, chunked", _POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 501),
    Attack("an empty coding", _POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n", 501),
    Attack("a quoted coding", _POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 501),
    Attack("a coding with a parameter", _POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 501),
    Attack("a coding with a comma", _POST + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", 501),
    Attack(
        "two coding headers", _POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501
    ),
    Attack(
        "two different codings", _POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", 501
    ),
    Attack("a coding behind a vertical tab", _POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    Attack("a coding behind a NUL", _POST + b"Transfer-Encoding: \x00chunked\r\n\r\n0\r\n\r\n"),
    Attack("a coding before a space and a colon", _POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    Attack("a coding in HTTP/1.0", b"POST /UP/one HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    _passes("a coding in capitals", _POST + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n", POST_HELLO),
    _passes("a coding behind a tab", _POST + b"Transfer-Encoding:\tchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", POST_HELLO),
    _passes("a folded coding", _POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", POST_HELLO),
    _passes(
        "Connection names the coding",
        _POST + b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        POST_HELLO,
    ),
    _passes("a name with an underscore", _GET + b"Transfer_Encoding: chunked\r\n\r\n"),
    _passes("TE is not a coding", _GET + b"TE: chunked, trailers\r\nConnection: TE\r\n\r\n"),
)

CHUNKS = (
    Attack("a size with 0x", _CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n"),
    Attack("a size with a sign", _CHUNKED + b"+5\r\nhello\r\n0\r\n\r\n"),
    Attack("a negative size", _CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n"),
    Attack("a size with an underscore", _CHUNKED + b"0_5\r\nhello\r\n0\r\n\r\n"),
    Attack("a size behind a space", _CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n"),
    Attack("an empty size", _CHUNKED + b"\r\nhello\r\n0\r\n\r\n"),
    Attack("a size that is none", _CHUNKED + b"hello\r\nhello\r\n0\r\n\r\n"),
    Attack("a size of 21 digits", _CHUNKED + b"100000000000000000005\r\nhello\r\n0\r\n\r\n"),
    Attack("a chunk longer than its size", _CHUNKED + b"3\r\nhello\r\n0\r\n\r\n"),
    Attack("a chunk that ends with something else", _CHUNKED + b"5\r\nhelloXX0\r\n\r\n" + _SMUGGLED),
    Attack("a chunk that ends with LF", _CHUNKED + b"5\r\nhello\n0\r\n\r\n"),
    Attack("LF in an extension", _CHUNKED + b"5;a\nhello\r\n0\r\n\r\n"),
    Attack("a trailer with a space in its name", _CHUNKED + b"5\r\nhello\r\n0\r\nX Y: 1\r\n\r\n"),
    _passes("an extension", _CHUNKED + b'5;a="b;\r c"\r\nhello\r\n0;x\r\n\r\n', POST_HELLO),
    _passes("a size with zeros in front", _CHUNKED + b"00000000005\r\nhello\r\n000\r\n\r\n", POST_HELLO),
    _passes("single bytes", _CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in b"hello") + b"0\r\n\r\n", POST_HELLO),
    Attack("a coding in a trailer", _CHUNKED + b"5\r\nhello\r\n0\r\nTransfer-Encoding: x\r\n\r\n", 501),
    Attack("a bad length in a trailer", _CHUNKED + b"5\r\nhello\r\n0\r\nContent-Length: x\r\n\r\n"),
    _passes(
        "trailers that would change the message",
        _CHUNKED
        + b"5\r\nhello\r\n0\r\nContent-Length: 99\r\nHost: evil\r\n"
        + b"Connection: close\r\nAuthorization: x\r\nX: 1\r\n\r\n",
        POST_HELLO,
    ),
)

LINES = (
    _passes("LF ends lines", b"GET /UP/one HTTP/1.1\nHost: h\n\n"),
    _passes("LF ends one line", _POST + b"X: a\nContent-Length: 5\r\n\r\nhello", POST_HELLO),
    Attack("CR ends a line", _POST + b"X: a\rContent-Length: 44\r\n\r\n"),
    Attack("CR CR LF", _POST + b"X: a\r\r\nContent-Length: 5\r\n\r\nhello"),
    Attack("CR in a value", _GET + b"X: a\rb\r\n\r\n"),
    Attack("NUL in a value", _GET + b"X: a\x00b\r\n\r\n"),
    Attack("NUL in a name", _GET + b"X\x00: a\r\n\r\n"),
    Attack("NUL in the target", b"GET /UP/one\x00 HTTP/1.1\r\nHost: h\r\n\r\n"),
    Attack("a control character in a value", _GET + b"X: a\x01b\r\n\r\n"),
    Attack("DEL in a value", _GET + b"X: a\x7fb\r\n\r\n"),
    _passes("a folded value", _GET + b"X: a\r\n b\r\n\tc\r\n\r\n"),
    Attack("a folded first line", b"GET /UP/one HTTP/1.1\r\n Host: h\r\n\r\n"),
    Attack("a space in a name", _GET + b"X Y: a\r\n\r\n"),
    Attack("a space before a colon", _GET + b"X : a\r\n\r\n"),
    Attack("no colon", _GET + b"X\r\n\r\n"),
    Attack("no name", _GET + b": a\r\n\r\n"),
    Attack("a name that is not ASCII", _GET + b"\xd0\xa5: a\r\n\r\n"),
    _passes("a value that is not ASCII", _GET + b"X: \xd0\xa5\xff\r\n\r\n"),
    Attack("an empty line first", b"\r\n" + _GET + b"\r\n"),
)

TARGETS = (
    _passes("an absolute target", b"GET http://h/UP/one HTTP/1.1\r\nHost: h\r\n\r\n"),
    _passes("an absolute target with another Host", b"GET http://h/UP/one HTTP/1.1\r\nHost: other\r\n\r\n"),
    Attack("userinfo in the target", b"GET http://user@h/UP/one HTTP/1.1\r\nHost: h\r\n\r\n"),
    Attack("an absolute target without a host", b"GET http:///UP/one HTTP/1.1\r\nHost: h\r\n\r\n"),
    Attack("another scheme", b"GET ftp://h/UP/one HTTP/1.1\r\nHost: h\r\n\r\n"),
    Attack("an authority", b"GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n"),
    Attack("CONNECT", b"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n" + _SMUGGLED, 501),
    Attack("CONNECT to a path", b"CONNECT /UP/one HTTP/1.1\r\nHost: h\r\n\r\n" + _SMUGGLED, 501),
    Attack("GET *", b"GET * HTTP/1.1\r\nHost: h\r\n\r\n"),
    Attack("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 404),
    Attack("a path without a slash", b"GET UP/one HTTP/1.1\r\nHost: h\r\n\r\n"),
    Attack("a backslash", b"GET \\UP\\one HTTP/1.1\r\nHost: h\r\n\r\n"),
    Attack("a fragment", b"GET /UP/one#a HTTP/1.1\r\nHost: h\r\n\r\n"),
    Attack("a space in the target", b"GET /UP/one two HTTP/1.1\r\nHost: h\r\n\r\n"),
    Attack("a tab in the target", b"GET /UP/one\ttwo HTTP/1.1\r\nHost: h\r\n\r\n"),
    Attack("a target that is not ASCII", b"GET /UP/\xff HTTP/1.1\r\nHost: h\r\n\r\n"),
    Attack("out of the route", b"GET /UP/../elsewhere HTTP/1.1\r\nHost: h\r\n\r\n", 404),
    Attack("out of the route, encoded", b"GET /UP/%2e%2e/elsewhere HTTP/1.1\r\nHost: h\r\n\r\n", 404),
    Attack("two spaces", b"GET  /UP/one HTTP/1.1\r\nHost: h\r\n\r\n"),
    Attack("a space after the version", b"GET /UP/one HTTP/1.1 \r\nHost: h\r\n\r\n"),
    Attack("a method that is no token", b"G(T /UP/one HTTP/1.1\r\nHost: h\r\n\r\n"),
)

HOSTS = (
    Attack("no Host", b"GET /UP/one HTTP/1.1\r\n\r\n"),
    Attack("two Hosts", b"GET /UP/one HTTP/1.1\r\nHost: h\r\nHost: other\r\n\r\n"),
    Attack("one Host twice", b"GET /UP/one HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n"),
    Attack("userinfo", b"GET /UP/one HTTP/1.1\r\nHost: user@h\r\n\r\n"),
    Attack("a space", b"GET /UP/one HTTP/1.1\r\nHost: h other\r\n\r\n"),
    Attack("a folded Host", b"GET /UP/one HTTP/1.1\r\nHost: h\r\n other\r\n\r\n"),
    Attack("a space before the port", b"GET /UP/one HTTP/1.1\r\nHost: h :80\r\n\r\n"),
    Attack("two ports", b"GET /UP/one HTTP/1.1\r\nHost: h:80:81\r\n\r\n"),
    Attack("a port that is no number", b"GET /UP/one HTTP/1.1\r\nHost: h:evil\r\n\r\n"),
    Attack("a path", b"GET /UP/one HTTP/1.1\r\nHost: h/UP\r\n\r\n"),
    Attack("a query", b"GET /UP/one HTTP/1.1\r\nHost: h?x\r\n\r\n"),
    Attack("a URL", b"GET /UP/one HTTP/1.1\r\nHost: http://h\r\n\r\n"),
    Attack("a broken literal", b"GET /UP/one HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    Attack("a space before the colon of Host", b"GET /UP/one HTTP/1.1\r\nHost : h\r\n\r\n"),
    _passes("a literal with a port", b"GET /UP/one HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
    _passes("Connection names Host", _GET + b"Connection: Host\r\n\r\n"),
)

VERSIONS = (
    Attack("HTTP/0.9 without a version", b"GET /UP/one\r\n\r\n"),
    Attack("HTTP/0.9", b"GET /UP/one HTTP/0.9\r\nHost: h\r\n\r\n", 505),
    Attack("HTTP/2.0", b"GET /UP/one HTTP/2.0\r\nHost: h\r\n\r\n", 505),
    Attack("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    Attack("HTTP/1.10", b"GET /UP/one HTTP/1.10\r\nHost: h\r\n\r\n"),
    Attack("another protocol", b"GET /UP/one ICY/1.1\r\nHost: h\r\n\r\n"),
    Attack("a version in lower case", b"GET /UP/one http/1.1\r\nHost: h\r\n\r\n"),
    _passes("HTTP/1.0", b"GET /UP/one HTTP/1.0\r\n\r\n"),
    _passes("HTTP/1.0 that wants to stay", b"GET /UP/one HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n"),
)

UPGRADES = (
    _passes(
        "h2c",
        _GET
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
    ),
    _passes("TLS", _GET + b"Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n\r\n"),
    _passes(
        "a body and h2c", _POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello", POST_HELLO
    ),
    Attack("WebSocket with a body", _UPGRADE + b"Content-Length: 44\r\n\r\n" + _SMUGGLED),
    Attack("WebSocket with chunks", _UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _SMUGGLED),
    Attack("WebSocket with HTTP/1.0", _UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0") + b"\r\n" + _SMUGGLED),
    Attack("WebSocket with POST", _UPGRADE.replace(b"GET", b"POST", 1) + b"\r\n" + _SMUGGLED),
    Attack("another version", _UPGRADE.replace(b": 13", b": 777") + b"\r\n" + _SMUGGLED, 426),
    Attack("no version", _UPGRADE.replace(b"Sec-WebSocket-Version: 13\r\n", b"") + b"\r\n" + _SMUGGLED),
    Attack("two versions", _UPGRADE + b"Sec-WebSocket-Version: 8\r\n\r\n" + _SMUGGLED),
    Attack("no key", _UPGRADE.replace(b"Sec-WebSocket-Key", b"X") + b"\r\n" + _SMUGGLED),
    Attack("two keys", _UPGRADE + b"Sec-WebSocket-Key: AQAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" + _SMUGGLED),
    Attack("one key twice", _UPGRADE + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" + _SMUGGLED),
    Attack("a key of 15 bytes", _UPGRADE.replace(b"AA==", b"A===") + b"\r\n" + _SMUGGLED),
    Attack("a key with a comma", _UPGRADE.replace(b"AA==", b"AA==, AAAAAAAAAAAAAAAAAAAAAA==") + b"\r\n" + _SMUGGLED),
    Attack("an answer's header", _UPGRADE + b"Sec-WebSocket-Accept: x\r\n\r\n" + _SMUGGLED),
    Attack("two Origins", _UPGRADE + b"Origin: https://a\r\nOrigin: https://b\r\n\r\n" + _SMUGGLED),
    Attack("a subprotocol that is no token", _UPGRADE + b"Sec-WebSocket-Protocol: a b\r\n\r\n" + _SMUGGLED),
    Attack("a subprotocol twice", _UPGRADE + b"Sec-WebSocket-Protocol: a, a\r\n\r\n" + _SMUGGLED),
    Attack("an empty subprotocol", _UPGRADE + b"Sec-WebSocket-Protocol: ,\r\n\r\n" + _SMUGGLED),
    Attack("no Connection", _UPGRADE.replace(b"Connection: Upgrade\r\n", b"") + b"\r\n" + _SMUGGLED),
    Attack("Connection names something else", _UPGRADE.replace(b": Upgrade", b": close") + b"\r\n" + _SMUGGLED),
    Attack("WebSocket and *", _UPGRADE.replace(b"/UP/one", b"*") + b"\r\n" + _SMUGGLED),
    Attack("WebSocket and two Hosts", _UPGRADE + b"Host: other\r\n\r\n" + _SMUGGLED),
)

_OVERSIZED = {
    "head": (_GET + b"X: ", b"x", b"\r\n\r\n"),
    "name": (_GET, b"x", b": 1\r\n\r\n"),
    "target": (b"GET /UP/", b"x", b" HTTP/1.1\r\nHost: h\r\n\r\n"),
    "list of headers": (_GET, b"a: b\r\n", b"\r\n"),
    "trailer": (_CHUNKED + b"5\r\nhello\r\n0\r\nX: ", b"x", b"\r\n\r\n"),
    "chunk extension": (_CHUNKED + b"5;", b"x", b"\r\nhello\r\n0\r\n\r\n"),
}
SIZES = tuple(
    Attack(f"a {what} of {size} KB", before + part * (size * 1000 // len(part)) + after, 431)
    for what, (before, part, after) in _OVERSIZED.items()
    for size in (70, 200)
)

GROUPS = {
    "lengths": LENGTHS,
    "codings": CODINGS,
    "chunks": CHUNKS,
    "lines": LINES,
    "targets": TARGETS,
    "hosts": HOSTS,
    "versions": VERSIONS,
    "upgrades": UPGRADES,
    "sizes": SIZES,
}
