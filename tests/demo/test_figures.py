"""What is read out of /metrics, and that a difference of one is found."""

from dataclasses import replace

import pytest

from wsproxy.demo.clients import Counts, Report
from wsproxy.demo.figures import (
    Reading,
    Row,
    delivered,
    differences,
    process_microseconds,
    row,
    rows,
    tunnels_active,
)

COUNTS = {"market": (8, 1000, 500_000, 0, 0), "chat": (6, 300, 90_000, 0, 0), "echo": (4, 200, 40_000, 200, 40_000)}
"""By route: clients, messages and payload bytes to them, messages and payload bytes from them."""


def metrics(*extra: str, cpu_seconds: float | None = 1.5) -> str:
    lines = []
    for route, (clients, received, received_bytes, sent, sent_bytes) in COUNTS.items():
        client, upstream = f'route="{route}",leg="client"', f'route="{route}",leg="upstream"'
        lines += [
            f'wsproxy_tunnels_total{{route="{route}",upstream="legacy"}} {clients}',
            f'wsproxy_tunnels_active{{route="{route}",upstream="legacy"}} 0',
            f'wsproxy_messages_total{{{client},direction="sent",kind="text"}} {received - 1}',
            f'wsproxy_messages_total{{{client},direction="sent",kind="binary"}} 1',
            f'wsproxy_messages_total{{{client},direction="sent",kind="close"}} {clients}',
            f'wsproxy_messages_total{{{client},direction="received",kind="text"}} {sent}',
            f'wsproxy_messages_total{{{upstream},direction="sent",kind="text"}} {sent}',
            f'wsproxy_messages_total{{{upstream},direction="received",kind="text"}} {received}',
            f'wsproxy_payload_bytes_total{{{client},direction="sent"}} {received_bytes}',
            f'wsproxy_payload_bytes_total{{{client},direction="received"}} {sent_bytes}',
            f'wsproxy_wire_bytes_total{{{client},direction="sent"}} {received_bytes // 4}',
            f'wsproxy_wire_bytes_total{{{client},direction="received"}} {sent_bytes // 2}',
            f'wsproxy_codec_cpu_seconds_total{{{client},operation="compress",engine="zlib"}} 0.018',
            f'wsproxy_codec_cpu_seconds_total{{{client},operation="decompress",engine="zlib"}} 0.002',
        ]
    if cpu_seconds is not None:
        lines.append(f"process_cpu_seconds_total {cpu_seconds}")
    return "\n".join([*lines, *extra]) + "\n"


def report() -> Report:
    return Report({route: Counts(*numbers) for route, numbers in COUNTS.items()}, final=True)


def test_a_row_holds_one_flow() -> None:
    reading = Reading(metrics())
    assert row(reading, "market", "sent") == Row("market to client", 1000, 500_000, 125_000, 0.018)
    assert row(reading, "echo", "received") == Row("echo from client", 200, 40_000, 20_000, 0.002)


def test_what_a_row_derives() -> None:
    flow = Row("market to client", 1000, 500_000, 125_000, 0.018)
    assert flow.ratio == 4
    assert flow.saved == 0.75
    assert flow.codec_microseconds == pytest.approx(18)
    assert flow.codec_hours_per_terabyte == pytest.approx(10)


def test_a_flow_without_traffic_derives_nothing() -> None:
    flow = Row("market to client", 0, 0, 0, 0.0)
    assert (flow.ratio, flow.saved, flow.codec_microseconds, flow.codec_hours_per_terabyte) == (0, 0, 0, 0)


def test_more_on_the_wire_than_payload_is_a_negative_saving() -> None:
    assert Row("echo from client", 1, 100, 106, 0.0).saved == pytest.approx(-0.06)


def test_a_browser_is_shown_once_it_is_there() -> None:
    measured = ["market to client", "chat to client", "echo to client", "echo from client"]
    assert [flow.name for flow in rows(Reading(metrics()))] == measured
    visit = 'wsproxy_messages_total{route="browser",leg="client",direction="sent",kind="text"} 3'
    assert [flow.name for flow in rows(Reading(metrics(visit)))] == [*measured, "browser to client"]


def test_each_delivered_message_counts_once() -> None:
    assert delivered(Reading(metrics())) == 1000 + 300 + 200 + 200


def test_process_cpu_is_shared_by_the_messages_between_two_scrapes() -> None:
    before, after = Reading("process_cpu_seconds_total 1.33\n"), Reading(metrics())
    assert process_microseconds(before, after) == pytest.approx(100)
    assert process_microseconds(after, after) is None


def test_process_cpu_is_unknown_where_it_is_not_exposed() -> None:
    assert process_microseconds(Reading(""), Reading(metrics(cpu_seconds=None))) is None


def test_the_engine_that_worked_is_named() -> None:
    idle = 'wsproxy_codec_cpu_seconds_total{route="x",leg="client",operation="compress",engine="isal"} 0.0'
    assert Reading(metrics(idle)).engine() == "zlib"


def test_a_browser_is_not_waited_for() -> None:
    visit = 'wsproxy_tunnels_active{route="browser",upstream="legacy"} 3'
    assert tunnels_active(Reading(metrics(visit))) == 0
    assert tunnels_active(Reading(metrics('wsproxy_tunnels_active{route="chat",upstream="legacy"} 2'))) == 2


def test_equal_counts_have_no_difference() -> None:
    assert differences(Reading(metrics()), report()) == []


@pytest.mark.parametrize("route", COUNTS)
@pytest.mark.parametrize(
    ("member", "what"),
    [
        ("clients", "clients"),
        ("received", "messages received"),
        ("received_bytes", "payload bytes received"),
        ("sent", "messages sent"),
        ("sent_bytes", "payload bytes sent"),
    ],
)
def test_a_difference_of_one_is_found(route: str, member: str, what: str) -> None:
    other = report()
    value = getattr(other.feeds[route], member)
    other.feeds[route] = replace(other.feeds[route], **{member: value + 1})
    assert differences(Reading(metrics()), other) == [
        f"{route}: {what}: the clients counted {value + 1}, /metrics says {value}"
    ]


def test_an_open_tunnel_is_a_difference() -> None:
    open_still = Reading(metrics('wsproxy_tunnels_active{route="chat",upstream="legacy"} 2'))
    assert differences(open_still, report()) == ["chat: 2 tunnels are still open"]


def test_silence_is_no_success() -> None:
    silent = Report({route: Counts(0) for route in COUNTS}, final=True)
    assert differences(Reading(""), silent) == [f"{route}: no message came through" for route in COUNTS]
