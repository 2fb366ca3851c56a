"""The opening handshake against an independent implementation, and each way in which a head can be wrong."""

import base64

import h11
import pytest
from websockets.client import ClientProtocol
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from wsproxy.errors import Refused
from wsproxy.protocol import opening

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
GOOD = [
    ("Host", "feed.test"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
]


def parse_request(data: bytes) -> h11.Request:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    return event


def request(
    headers: list[tuple[str, str]], method: str = "GET", target: str = "/", version: str = "1.1"
) -> h11.Request:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return parse_request(f"{method} {target} HTTP/{version}\r\n{lines}\r\n".encode())


def without(name: str) -> list[tuple[str, str]]:
    return [(found, value) for found, value in GOOD if found != name]


def instead(name: str, value: str) -> list[tuple[str, str]]:
    return [*without(name), (name, value)]


def test_the_accept_value_of_the_rfc() -> None:
    assert opening.accept_value(KEY.encode()) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_a_whole_request() -> None:
    found = opening.check_request(
        request(
            [
                *GOOD,
                ("Origin", "https://app.test"),
                ("Cookie", "a=b"),
                ("Sec-WebSocket-Protocol", "chat , v2"),
                ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
                ("sec-websocket-extensions", "x-other"),
                ("Sec-WebSocket-Protocol", "v1"),
                ("Authorization", "Bearer x"),
                ("traceparent", TRACEPARENT),
                ("Content-Length", "0"),
            ],
            target="/feed?token=1",
        )
    )
    assert found == opening.ClientRequest(
        target=b"/feed?token=1",
        host=b"feed.test",
        key=KEY.encode(),
        origin=b"https://app.test",
        subprotocols=(b"chat", b"v2", b"v1"),
        extensions=(b"permessage-deflate; client_max_window_bits", b"x-other"),
        headers=(
            (b"Origin", b"https://app.test"),
            (b"Cookie", b"a=b"),
            (b"Authorization", b"Bearer x"),
            (b"traceparent", TRACEPARENT.encode()),
        ),
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    )


@pytest.mark.parametrize(
    "headers",
    [
        instead("Upgrade", "WebSocket"),
        instead("Connection", "keep-alive, upgrade"),
        instead("Sec-WebSocket-Key", base64.b64encode(bytes(16)).decode()),
    ],
)
def test_what_else_is_a_handshake(headers: list[tuple[str, str]]) -> None:
    assert opening.check_request(request(headers)).host == b"feed.test"


@pytest.mark.parametrize(
    ("headers", "method", "version", "status"),
    [
        (GOOD, "POST", "1.1", 400),
        (GOOD, "GET", "1.0", 400),
        (without("Upgrade"), "GET", "1.1", 400),
        (instead("Upgrade", "h2c"), "GET", "1.1", 400),
        (without("Connection"), "GET", "1.1", 400),
        (instead("Connection", "close"), "GET", "1.1", 400),
        (without("Sec-WebSocket-Key"), "GET", "1.1", 400),
        (instead("Sec-WebSocket-Key", ""), "GET", "1.1", 400),
        (instead("Sec-WebSocket-Key", "x" * 24), "GET", "1.1", 400),
        (instead("Sec-WebSocket-Key", base64.b64encode(bytes(15)).decode()), "GET", "1.1", 400),
        (instead("Sec-WebSocket-Key", base64.b64encode(bytes(17)).decode()), "GET", "1.1", 400),
        (instead("Sec-WebSocket-Key", KEY[:-2] + "\x80="), "GET", "1.1", 400),
        ([*GOOD, ("Sec-WebSocket-Key", KEY)], "GET", "1.1", 400),
        (without("Sec-WebSocket-Version"), "GET", "1.1", 400),
        (instead("Sec-WebSocket-Version", "8"), "GET", "1.1", 426),
        (instead("Sec-WebSocket-Version", "13, 8"), "GET", "1.1", 426),
        (instead("Sec-WebSocket-Version", ""), "GET", "1.1", 426),
        ([*GOOD, ("Sec-WebSocket-Version", "13")], "GET", "1.1", 400),
        ([*GOOD, ("Sec-WebSocket-Accept", "x")], "GET", "1.1", 400),
        ([*GOOD, ("Sec-WebSocket-Protocol", "a b")], "GET", "1.1", 400),
        ([*GOOD, ("Sec-WebSocket-Protocol", "")], "GET", "1.1", 400),
        ([*GOOD, ("Sec-WebSocket-Protocol", "v1, v1")], "GET", "1.1", 400),
        ([*GOOD, ("Sec-WebSocket-Protocol", "v1"), ("Sec-WebSocket-Protocol", "v2, v1")], "GET", "1.1", 400),
        ([*GOOD, ("Origin", "https://a"), ("Origin", "https://b")], "GET", "1.1", 400),
        ([*GOOD, ("Content-Length", "1")], "GET", "1.1", 400),
        ([*GOOD, ("Transfer-Encoding", "chunked")], "GET", "1.1", 400),
        (instead("Host", "a b"), "GET", "1.1", 400),
    ],
)
def test_requests_that_are_refused(headers: list[tuple[str, str]], method: str, version: str, status: int) -> None:
    with pytest.raises(Refused) as caught:
        opening.check_request(request(headers, method=method, version=version))
    assert (caught.value.status, caught.value.result) == (status, "bad_request")
    assert ((b"Sec-WebSocket-Version", b"13") in caught.value.headers) == (status == 426)


def client_request(*headers: tuple[str, str]) -> opening.ClientRequest:
    return opening.check_request(request([*GOOD, *headers], target="/feed?a=b"))


def test_our_request_carries_only_what_crosses() -> None:
    client = client_request(
        ("Origin", "https://app.test"),
        ("Sec-WebSocket-Extensions", "permessage-deflate"),
        ("Sec-WebSocket-Protocol", "chat"),
        ("Connection", "X-Hop"),
        ("X-Hop", "1"),
        ("traceparent", TRACEPARENT),
    )
    asked = opening.upstream_request(client, b"/base", b"x-offer; a=1")
    sent, key = asked.event(), asked.key
    assert asked.encoded() == h11.Connection(h11.CLIENT).send(sent)
    assert (sent.method, sent.target) == (b"GET", b"/base/feed?a=b")
    assert sent.headers.raw_items() == [
        (b"Host", b"feed.test"),
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Key", key),
        (b"Sec-WebSocket-Version", b"13"),
        (b"Sec-WebSocket-Protocol", b"chat"),
        (b"Sec-WebSocket-Extensions", b"x-offer; a=1"),
        (b"Origin", b"https://app.test"),
        (b"traceparent", TRACEPARENT.encode()),
    ]
    assert len(base64.b64decode(key)) == 16
    assert key != KEY.encode()
    assert opening.upstream_request(client, b"", None).key != key
    plain = opening.upstream_request(client_request(), b"", None).event()
    assert not {b"sec-websocket-extensions", b"sec-websocket-protocol"} & {name for name, _ in plain.headers}


def answer(*changes: tuple[str, str], leave: str = "", status: int = 101) -> h11.InformationalResponse:
    changed = {leave, *(name for name, _ in changes)}
    good = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ]
    headers = [*(pair for pair in good if pair[0] not in changed), *changes]
    return h11.InformationalResponse(status_code=status, headers=headers)


def test_a_whole_answer() -> None:
    found = opening.check_response(
        answer(
            ("Sec-WebSocket-Protocol", "v2"),
            ("Sec-WebSocket-Extensions", "permessage-deflate"),
            ("Set-Cookie", "a=b"),
            ("Date", "today"),
            ("Set-Cookie", "c=d"),
            ("Sec-WebSocket-Version", "13"),
        ),
        KEY.encode(),
        (b"v1", b"v2"),
    )
    assert found == opening.UpstreamAnswer(
        subprotocol=b"v2",
        extensions=(b"permessage-deflate",),
        headers=((b"Set-Cookie", b"a=b"), (b"Date", b"today"), (b"Set-Cookie", b"c=d")),
    )


@pytest.mark.parametrize(
    "response",
    [
        answer(status=102),
        answer(leave="Upgrade"),
        answer(("Upgrade", "h2c")),
        answer(("Upgrade", "websocket, h2c")),
        answer(leave="Connection"),
        answer(("Connection", "close")),
        answer(leave="Sec-WebSocket-Accept"),
        answer(("Sec-WebSocket-Accept", "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=")),
        answer(
            ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ),
        answer(("Sec-WebSocket-Protocol", "v9")),
        answer(("Sec-WebSocket-Protocol", "V1")),
        answer(("Sec-WebSocket-Protocol", "v1, v2")),
        answer(("Sec-WebSocket-Protocol", "v1"), ("Sec-WebSocket-Protocol", "v1")),
    ],
)
def test_answers_that_are_refused(response: h11.InformationalResponse) -> None:
    with pytest.raises(Refused) as caught:
        opening.check_response(response, KEY.encode(), (b"v1", b"v2"))
    assert (caught.value.status, caught.value.result) == (502, "rejected_by_upstream")


def test_the_clients_answer() -> None:
    upstream = opening.UpstreamAnswer(subprotocol=b"v2", extensions=(b"ignored",), headers=((b"Set-Cookie", b"a=b"),))
    answered = opening.client_response(client_request(), upstream, b"permessage-deflate")
    response = answered.event()
    assert answered.encoded() == asked_by(client_request()).send(response)
    assert response.status_code == 101
    assert response.headers.raw_items() == [
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        (b"Sec-WebSocket-Protocol", b"v2"),
        (b"Sec-WebSocket-Extensions", b"permessage-deflate"),
        (b"Set-Cookie", b"a=b"),
    ]
    bare = opening.client_response(client_request(), opening.UpstreamAnswer(None, (), ()), None)
    assert len(bare.event().headers) == 3


def asked_by(client: opening.ClientRequest) -> h11.Connection:
    """A connection on which a handshake has been read."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(opening.upstream_request(client, b"", None).encoded())
    connection.next_event()
    connection.next_event()
    return connection


def test_an_independent_client_and_server_agree_with_us() -> None:
    client = ClientProtocol(parse_uri("ws://feed.test/feed"), subprotocols=["v1", "v2"])  # type: ignore[list-item]
    client.send_request(client.connect())
    checked = opening.check_request(parse_request(b"".join(client.data_to_send())))
    assert checked.subprotocols == (b"v1", b"v2")

    ours = opening.upstream_request(checked, b"", None)
    towards = h11.Connection(h11.CLIENT)
    server = ServerProtocol(subprotocols=["v2"])  # type: ignore[list-item]
    server.receive_data(towards.send(ours.event()) + towards.send(h11.EndOfMessage()))
    (received,) = server.events_received()
    assert isinstance(received, Request)
    server.send_response(server.accept(received))
    assert server.state is State.OPEN
    towards.receive_data(b"".join(server.data_to_send()))
    response = towards.next_event()
    assert isinstance(response, h11.InformationalResponse)
    upstream = opening.check_response(response, ours.key, checked.subprotocols)
    assert upstream.subprotocol == b"v2"

    back = opening.client_response(checked, upstream, None)
    client.receive_data(back.encoded())
    assert client.handshake_exc is None
    assert client.state is State.OPEN
    assert client.subprotocol == "v2"
