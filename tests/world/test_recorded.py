"""Recorded offers and answers of others: the agreement that comes of each, and that the real ones still send them."""

import pytest

from tests.endtoend.wire import knock
from tests.world.agreements import Sender, Settled, parameters
from tests.world.clients import BROWSER, FORGETFUL, Client, Job, Offer
from tests.world.records import Outcome, RecordedAnswer, RecordedOffer, answers, offers
from tests.world.scripts import write
from tests.world.upstreams import Upstreams
from wsproxy.extensions.base import NegotiationError
from wsproxy.extensions.header import ExtensionItem, format_extension, parse_extensions
from wsproxy.extensions.permessage_deflate import (
    Agreement,
    Policy,
    accept,
    confirm,
    mirror,
    offer,
)

WIDE = Policy(15, 15)
POLICIES = {
    "default": Policy(),
    "wide": WIDE,
    "forgetful": Policy(server_no_context_takeover=True, client_no_context_takeover=True),
}
OFFERS, ANSWERS = offers(), answers()


def same(found: Agreement | None) -> Settled | None:
    """An agreement in the words of the table."""
    if found is None:
        return None
    return Settled(Sender(found.server.bits, found.server.takeover), Sender(found.client.bits, found.client.takeover))


def asked_by(answer: RecordedAnswer) -> ExtensionItem:
    """What the recorded answer is an answer to."""
    if answer.to:
        return offer(POLICIES[answer.to])
    (item,) = parse_extensions([answer.offer.encode()])
    return item


@pytest.mark.parametrize("policy", ["default", "wide"])
@pytest.mark.parametrize("record", OFFERS, ids=lambda record: record.who)
def test_an_offer_gets_its_agreement(record: RecordedOffer, policy: str) -> None:
    expected: Outcome = getattr(record, policy)
    accepted = accept(parse_extensions([record.header.encode()]), POLICIES[policy])
    assert same(accepted[0] if accepted else None) == expected.settled
    answer = format_extension(accepted[1]).decode() if accepted else ""
    assert answer == expected.answer


@pytest.mark.parametrize("record", OFFERS, ids=lambda record: record.who)
def test_an_offer_can_be_passed_on(record: RecordedOffer) -> None:
    """What is asked of the upstream in passthrough demands no less than the client did, and allows no more."""
    passed = mirror(parse_extensions([record.header.encode()]), WIDE)
    if record.wide.settled is None:
        assert passed is None
        return
    assert passed is not None
    first = parameters(record.header.split(",")[0])
    for name, value in passed.parameters:
        # 15 bits are what everybody has, said or not.
        assert name in first
        assert first[name] in {value, "15"}
    assert {name for name in first if first[name] != "15"} <= {name for name, _ in passed.parameters}


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("record", ANSWERS, ids=lambda record: f"{record.who} {record.to}")
def test_an_answer_gets_its_agreement(record: RecordedAnswer, *, lenient: bool) -> None:
    expected = record.lenient if lenient else record.strict
    said = parse_extensions([record.header.encode()] if record.header else [])
    if expected.fails:
        with pytest.raises(NegotiationError, match=expected.fails):
            confirm(asked_by(record), said, lenient)
        return
    assert same(confirm(asked_by(record), said, lenient)) == expected.settled


SENT = {
    "ws": [BROWSER, Offer(True, True, 10, 11)],
    "websockets": [BROWSER],
    "aiohttp": [BROWSER, Offer(server_bits=10, client_bits=True)],
    "gorilla": [FORGETFUL],
    "chromium": [BROWSER],
}
"""What each make is told to offer, in the order of its records."""


def test_clients_send_what_is_recorded(
    client: Client, upstreams: Upstreams, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Straight to every make of upstream, without the proxy: what fails here is no fault of the proxy's."""
    script = write(tmp_path_factory.mktemp("world") / "short", 120, seed=1)
    url = upstreams.urls["wide" if "wide" in upstreams.urls else "forgetful"]
    jobs = [Job(f"{url}/recorded?job={number}", asked, script) for number, asked in enumerate(SENT[client.name])]
    told = client.converse(jobs)
    arrived = upstreams.arrived([f"/recorded?job={number}" for number in range(len(jobs))])
    headers = [arrived[f"/recorded?job={number}"].asked for number in range(len(jobs))]
    recorded = [record.header for record in OFFERS if record.sent_by == client.name]
    assert [parameters(header) for header in headers] == [parameters(header) for header in recorded]
    assert [(seen.error, seen.digest) for seen in told] == [("", script.digest)] * len(jobs)
    assert {seen.digest for seen in arrived.values()} == {script.digest}
    upstreams.arrivals.clear()


def test_upstreams_answer_what_is_recorded(upstreams: Upstreams) -> None:
    recorded = [record for record in ANSWERS if record.sent_by.split(" ")[0] == upstreams.make]
    assert recorded
    for record in recorded:
        host, port = upstreams.urls[record.sent_by.split(" ")[1]].removeprefix("ws://").split(":")
        wire = knock((host, int(port)), "/", format_extension(asked_by(record)).decode())
        answered = wire.head().get("sec-websocket-extensions")
        wire.hang_up()
        assert answered is not None
        assert parameters(answered) == parameters(record.header)
