"""Log lines: what they say, in both forms, and that nobody outside can forge one."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsproxy.errors import Side
from wsproxy.extensions.permessage_deflate import Agreement, Window
from wsproxy.protocol.plan import Plan
from wsproxy.protocol.tally import Direction, Tally
from wsproxy.telemetry.access_log import (
    HandshakeRefused,
    JsonLines,
    TextLines,
    TunnelClosed,
    log_handshake_refused,
    log_ready,
    log_tunnel_closed,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
Written = Callable[[], str]


def attach(formatter: logging.Formatter) -> Iterator[Written]:
    """Send the project's records to a buffer; gives what was written since last asked."""
    stream = io.StringIO()
    lines = logging.StreamHandler(stream)
    lines.setFormatter(formatter)
    logger = logging.getLogger("wsproxy")
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)

    def written() -> str:
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        return text

    yield written
    logger.removeHandler(lines)
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def text() -> Iterator[Written]:
    yield from attach(TextLines())


@pytest.fixture
def objects() -> Iterator[Written]:
    yield from attach(JsonLines())


def closed() -> TunnelClosed:
    tallies = ((Tally(), Tally()), (Tally(), Tally()))
    to_client = tallies[Side.CLIENT][Direction.SENT]
    to_client.text, to_client.payload_bytes, to_client.wire_bytes = 3, 3000, 900
    from_client = tallies[Side.CLIENT][Direction.RECEIVED]
    from_client.binary, from_client.payload_bytes, from_client.wire_bytes = 1, 90, 100
    from_upstream = tallies[Side.UPSTREAM][Direction.RECEIVED]
    from_upstream.payload_bytes, from_upstream.wire_bytes = 3000, 3012
    to_upstream = tallies[Side.UPSTREAM][Direction.SENT]
    to_upstream.payload_bytes, to_upstream.wire_bytes = 90, 98
    return TunnelClosed(
        route="feed",
        upstream="backend",
        endpoint="ws://10.0.0.1:9000",
        client="192.0.2.7:51000",
        duration_seconds=12.34567,
        tallies=tallies,
        agreements=(Agreement(server=Window(12, True), client=Window(15, False)), None),
        plans=(Plan.DEFLATE, Plan.PLAIN),
        initiator="client",
        code=1000,
        reason="bye",
        trace_id=TRACE,
    )


def refused() -> HandshakeRefused:
    return HandshakeRefused(
        client="192.0.2.7:51000",
        route=None,
        host="a.example",
        target="/feed/x?token=secret",
        status=404,
        result="no_route",
        detail="no route",
        trace_id=TRACE,
    )


def test_a_closed_tunnel_in_words(text: Written) -> None:
    log_tunnel_closed(closed())
    time, level, event, *words = text().split()
    assert datetime.fromisoformat(time).utcoffset() is not None
    assert (level, event) == ("info", "closed")
    assert words == [
        "route=feed",
        "upstream=backend",
        "endpoint=ws://10.0.0.1:9000",
        "client=192.0.2.7:51000",
        "duration_seconds=12.346",
        "messages_from_client=1",
        "messages_to_client=3",
        "payload_bytes_from_client=90",
        "payload_bytes_to_client=3000",
        "payload_bytes_from_upstream=3000",
        "payload_bytes_to_upstream=90",
        "wire_bytes_from_client=100",
        "wire_bytes_to_client=900",
        "wire_bytes_from_upstream=3012",
        "wire_bytes_to_upstream=98",
        "ratio=3.09",
        "client_agreement=permessage-deflate;server:12;client:15:reset",
        "upstream_agreement=none",
        "plan_to_client=deflate",
        "plan_to_upstream=plain",
        "initiator=client",
        "code=1000",
        "reason=bye",
        f"trace_id={TRACE}",
    ]


def test_a_closed_tunnel_as_an_object(objects: Written) -> None:
    log_tunnel_closed(replace(closed(), code=None, reason=""))
    line = json.loads(objects())
    assert datetime.fromisoformat(line.pop("time")).utcoffset() is not None
    assert (line["level"], line["event"], line["route"]) == ("info", "closed", "feed")
    assert (line["code"], line["reason"], line["duration_seconds"]) == (None, "", 12.346)
    assert (line["wire_bytes_to_client"], line["ratio"]) == (900, 3.09)


def test_both_forms_have_the_same_fields() -> None:
    record = logging.makeLogRecord({"msg": "closed", "fields": {"a": 1, "b": None, "c": "x y"}})
    words = TextLines().format(record)
    assert words.endswith('closed a=1 b=- c="x y"')
    found = json.loads(JsonLines().format(record))
    assert {key: found[key] for key in "abc"} == {"a": 1, "b": None, "c": "x y"}


def test_a_tunnel_without_a_byte_has_no_ratio(text: Written) -> None:
    log_tunnel_closed(replace(closed(), tallies=((Tally(), Tally()), (Tally(), Tally()))))
    assert " ratio=- " in text()


def test_a_refused_handshake_without_its_query(text: Written) -> None:
    log_handshake_refused(refused())
    line = text()
    assert line.endswith(
        "refused client=192.0.2.7:51000 route=- host=a.example path=/feed/x status=404 result=no_route "
        'detail="no route" cause=- '
        f"trace_id={TRACE}\n"
    )


TARGETS = [
    "/a?token=secret",
    "/a#secret",
    "/a#x?secret",
    "http://h/a?secret",
    "?secret",
    "http://user:secret@h/a",
    "wss://secret@h",
    "user:secret@h:443",
]


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_not_the_path_is_not_logged(text: Written, target: str) -> None:
    log_handshake_refused(replace(refused(), target=target))
    assert "secret" not in text()


def test_a_password_in_host_is_not_logged(text: Written) -> None:
    log_handshake_refused(replace(refused(), host="user:secret@h:80", target="/a@b"))
    assert " host=h:80 path=/a@b " in text()


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_query_is_written_where_it_is_asked_for(form: str) -> None:
    logged = "log_handshake_refused(HandshakeRefused('a', None, 'h', '/feed?token=a b\\n', 404, 'no_route', 'd'))"
    for query, told in ((False, False), (True, True)):
        done = run_logging(f"set_up_logging(Log(format={form!r}, query={query}))\n{logged}\n")
        assert ("token=a b" in done.stderr) is told
        assert len(done.stderr.splitlines()) == 1


def test_ready_has_the_bound_addresses(text: Written) -> None:
    log_ready(["127.0.0.1:41234", "[::1]:41235", "unix:/run/a.sock"], "127.0.0.1:9464")
    assert text().endswith("info ready listen=127.0.0.1:41234,[::1]:41235,unix:/run/a.sock metrics=127.0.0.1:9464\n")
    log_ready(["127.0.0.1:41234"], None)
    assert text().endswith("info ready listen=127.0.0.1:41234 metrics=-\n")


def test_ready_as_an_object(objects: Written) -> None:
    log_ready(["127.0.0.1:41234"], None)
    line = json.loads(objects())
    assert (line["event"], line["listen"], line["metrics"]) == ("ready", ["127.0.0.1:41234"], None)


FORGED = [
    ("bye", "reason=bye"),
    ("", 'reason=""'),
    ("-", 'reason="-"'),
    ("a b", 'reason="a b"'),
    ("x\n2026-01-01T00:00:00.000Z info ready", r'reason="x\n2026-01-01T00:00:00.000Z info ready"'),
    ('x" code=1000 y="', r'reason="x\" code=1000 y=\""'),
    ("a\\", r'reason="a\\"'),
    ("\x1b[2J\x7f\x9b", r'reason="\u001b[2J\u007f\u009b"'),
    ("\u2028é\u202e", r'reason="\u2028\u00e9\u202e"'),
    ("a=b", 'reason="a=b"'),
]


@pytest.mark.parametrize(("reason", "word"), FORGED)
def test_a_reason_cannot_leave_its_word(text: Written, reason: str, word: str) -> None:
    log_tunnel_closed(replace(closed(), reason=reason))
    assert text().endswith(f" {word} trace_id={TRACE}\n")


OUTSIDE = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OUTSIDE, OUTSIDE, OUTSIDE)
def test_any_line_is_one_line_of_printable_ascii(
    text: Written, objects: Written, reason: str, host: str, target: str
) -> None:
    log_tunnel_closed(replace(closed(), reason=reason))
    log_handshake_refused(replace(refused(), host=host, target=target))
    for written in (text(), objects()):
        first, second, rest = written.split("\n")
        assert rest == ""
        assert all(line.isascii() and line.isprintable() and len(line) < 4096 for line in (first, second))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=256))
def test_an_object_gives_a_reason_back_as_it_was(objects: Written, reason: str) -> None:
    log_tunnel_closed(replace(closed(), reason=reason))
    assert json.loads(objects())["reason"] == reason


@pytest.mark.parametrize("formatter", [TextLines(), JsonLines()])
def test_an_exception_stays_on_its_line(formatter: logging.Formatter) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.makeLogRecord({"msg": "broken", "exc_info": sys.exc_info()})
    line = formatter.format(record)
    assert "\n" not in line
    assert "ValueError: two\\nlines" in line


IMPORTS = "import logging\nfrom wsproxy.settings.tree import Log\nfrom wsproxy.telemetry.access_log import *\n"


def run_logging(program: str) -> subprocess.CompletedProcess[str]:
    """Set-up belongs to a process, so it is tried in one of its own."""
    return subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            f"{IMPORTS}{program}",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def test_set_up_writes_every_librarys_records_to_stderr_in_one_form() -> None:
    done = run_logging(
        "set_up_logging(Log(format='json', level='warning'))\n"
        "logging.getLogger('other').warning('%s told', 'something')\n"
        "log_ready(['127.0.0.1:1'], None)\n"
    )
    assert done.stdout == ""
    assert json.loads(done.stderr)["event"] == "something told"


def test_set_up_at_info_shows_ready() -> None:
    done = run_logging("set_up_logging(Log())\nlog_ready(['127.0.0.1:1'], None)\n")
    assert done.stderr.endswith("info ready listen=127.0.0.1:1 metrics=-\n")
