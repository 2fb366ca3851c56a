"""A leg's negotiation of several extensions: order, alternatives, and what is not legal."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.extensions.example.wsproxy_rot import NAME as ROT
from tests.extensions.example.wsproxy_rot import Rot, RotSettings
from tests.extensions.faulty import DEFINITION as FAULTY
from tests.extensions.faulty import IN_NEGOTIATION, FaultySettings
from wsproxy.errors import ExtensionFault
from wsproxy.extensions.base import (
    RSV1,
    RSV2,
    Agreed,
    End,
    Events,
    MessageDecoder,
    MessageEncoder,
    NegotiationError,
)
from wsproxy.extensions.bzip2 import NAME as BZIP2
from wsproxy.extensions.bzip2 import Bzip2, Bzip2Settings
from wsproxy.extensions.chain import Chain
from wsproxy.extensions.deflate import DeflateOptions
from wsproxy.extensions.header import ExtensionItem, format_extension, parse_extensions
from wsproxy.extensions.negotiation import (
    Candidate,
    Deflate,
    DeflateAgreed,
    Items,
    LegAgreement,
    accept_all,
    confirm_all,
    deflate_of,
    offer_all,
    reserved_bits,
)
from wsproxy.extensions.permessage_deflate import NAME as DEFLATE
from wsproxy.extensions.permessage_deflate import Agreement, Policy, Window, offer


def deflate() -> Candidate:
    policy = Policy()
    return Candidate(DEFLATE, RSV1, Deflate(policy, DeflateOptions(), asking=offer(policy)), Events())


def bzip2() -> Candidate:
    return Candidate(BZIP2, RSV1, Bzip2(Bzip2Settings()), Events())


def rot(by: int = 13) -> Candidate:
    events = Events(("rotated",))
    return Candidate(ROT, RSV2, Rot(RotSettings(by), events), events)


def no_fault(fault: ExtensionFault) -> None:
    raise AssertionError(str(fault))


def items(text: str) -> Items:
    return parse_extensions([text.encode()])


def written(found: Items) -> str:
    return ", ".join(format_extension(item).decode() for item in found)


def names(agreement: LegAgreement) -> str:
    return agreement.names if isinstance(agreement, Chain) else DEFLATE if agreement else "none"


ALL = f"{ROT}; by=5, {BZIP2}, {DEFLATE}"


@pytest.mark.parametrize(
    "candidates, offered, agreed, bits",
    [
        ([], ALL, "none", 0),
        ([deflate()], ALL, DEFLATE, RSV1),
        ([deflate()], f"{ROT}; by=5", "none", 0),
        ([bzip2()], ALL, BZIP2, RSV1),
        ([deflate(), bzip2()], ALL, DEFLATE, RSV1),
        ([bzip2(), deflate()], ALL, BZIP2, RSV1),
        ([bzip2(), deflate()], DEFLATE, DEFLATE, RSV1),
        ([deflate(), bzip2(), rot()], ALL, f"{DEFLATE}+{ROT}", RSV1 | RSV2),
        ([rot(), bzip2()], ALL, f"{ROT}+{BZIP2}", RSV1 | RSV2),
        ([rot(), bzip2()], f"{BZIP2}; level=1, {ROT}; by=5", ROT, RSV2),
        ([rot()], f"{ROT}; by=0, {ROT}; by=7", ROT, RSV2),
        ([rot()], f"{ROT}; by=0", "none", 0),
    ],
)
def test_a_client_is_answered_in_our_order(candidates: list[Candidate], offered: str, agreed: str, bits: int) -> None:
    agreement, answer = accept_all(candidates, items(offered), no_fault)
    assert names(agreement) == agreed
    assert [item.name for item in answer] == ([] if agreed == "none" else agreed.split("+"))
    assert reserved_bits(agreement) == bits


def test_permessage_deflate_alone_is_an_agreement_of_its_own_kind() -> None:
    """That is what has a fast way, whatever else the leg would have been willing to run."""
    agreement, _ = accept_all([rot(), deflate(), bzip2()], items(DEFLATE), no_fault)
    assert isinstance(agreement, Agreement)
    assert deflate_of(agreement) is agreement
    both, _ = accept_all([rot(), deflate()], items(ALL), no_fault)
    assert isinstance(both, Chain) and isinstance(deflate_of(both), Agreement)
    assert deflate_of(None) is None


def test_an_extension_that_borrows_our_deflate_keeps_its_own_bits() -> None:
    class Borrows(Named):
        def accept(self, offered: Items) -> tuple[Agreed, ExtensionItem]:
            return DeflateAgreed(Agreement(Window(12, True), Window(12, True)), DeflateOptions()), offered[0]

    agreement, _ = accept_all([Candidate("x-0", RSV2, Borrows("x-0"), Events())], items("x-0"), no_fault)
    assert isinstance(agreement, Chain)
    assert reserved_bits(agreement) == RSV2
    assert deflate_of(agreement) is None


@pytest.mark.parametrize("order", list(itertools.permutations([deflate(), bzip2(), rot()])))
def test_an_upstream_is_offered_all_in_our_order(order: tuple[Candidate, ...]) -> None:
    assert [item.name for item in offer_all(order, no_fault)] == [each.name for each in order]


@pytest.mark.parametrize(
    "answered, agreed",
    [
        ("", "none"),
        (BZIP2, BZIP2),
        (f"{DEFLATE}; server_max_window_bits=12", DEFLATE),
        (f"{ROT}; by=13, {BZIP2}", f"{ROT}+{BZIP2}"),
        (f"{BZIP2}, {ROT}; by=13", f"{BZIP2}+{ROT}"),
    ],
)
def test_an_upstreams_order_is_the_order(answered: str, agreed: str) -> None:
    candidates = [deflate(), bzip2(), rot()]
    offered = offer_all(candidates, no_fault)
    assert names(confirm_all(candidates, offered, items(answered))) == agreed


@pytest.mark.parametrize(
    "answered",
    [
        "x-other",
        f"{BZIP2}, {BZIP2}",
        f"{BZIP2}, {DEFLATE}; server_max_window_bits=12",
        f"{ROT}; by=14",
        f"{ROT}",
        f"{BZIP2}; client_max_compress_level",
        DEFLATE,  # without the window that was demanded
    ],
)
def test_what_an_upstream_may_not_answer(answered: str) -> None:
    candidates = [deflate(), bzip2(), rot()]
    offered = offer_all(candidates, no_fault)
    with pytest.raises(NegotiationError):
        confirm_all(candidates, offered, items(answered))


class Named:
    """An extension without anything but a name."""

    def __init__(self, name: str) -> None:
        self.label = name

    def offer(self) -> Items:
        return [ExtensionItem(self.label)]

    def accept(self, offered: Items) -> tuple[Agreed, ExtensionItem]:
        return self, offered[0]

    def confirm(self, offered: Items, answered: ExtensionItem) -> Agreed:
        return self

    def encoder(self, sender: End) -> MessageEncoder:
        raise NotImplementedError

    def decoder(self, sender: End) -> MessageDecoder:
        raise NotImplementedError

    def may_pass(self, onward: Agreed, sender: End) -> bool:
        return True


claims = st.lists(st.sampled_from(range(0, 0x80, 0x10)), max_size=6)


def claiming(bits: list[int]) -> list[Candidate]:
    return [Candidate(f"x-{place}", rsv, Named(f"x-{place}"), Events()) for place, rsv in enumerate(bits)]


@given(claims, st.data())
def test_a_client_never_gets_two_that_claim_one_bit(bits: list[int], data: st.DataObject) -> None:
    """RFC 6455 §9.1: whatever it asks for, in whatever order, the better of two is agreed on and the other declined."""
    candidates = claiming(bits)
    asked = data.draw(st.lists(st.sampled_from(candidates), unique=True) if candidates else st.just([]))
    agreement, answer = accept_all(candidates, [ExtensionItem(each.name) for each in asked], no_fault)
    expected, taken = [], 0
    for each in candidates:
        if each in asked and not each.rsv & taken:
            expected.append(each.name)
            taken |= each.rsv
    assert [item.name for item in answer] == expected
    assert reserved_bits(agreement) == taken


@given(claims, st.data())
def test_an_upstream_that_accepts_two_that_claim_one_bit_is_refused(bits: list[int], data: st.DataObject) -> None:
    """Both were offered, for it could have taken either; taking both is its fault, in any order."""
    candidates = claiming(bits)
    offered = offer_all(candidates, no_fault)
    taken = data.draw(st.lists(st.sampled_from(candidates), unique=True) if candidates else st.just([]))
    answered = [ExtensionItem(each.name) for each in taken]
    if any(one.rsv & other.rsv for one, other in itertools.combinations(taken, 2)):
        with pytest.raises(NegotiationError, match="beside another one with the same reserved bit"):
            confirm_all(candidates, offered, answered)
    else:
        agreement = confirm_all(candidates, offered, answered)
        assert names(agreement) == ("+".join(item.name for item in answered) or "none")
        assert reserved_bits(agreement) == sum(each.rsv for each in taken)


@pytest.mark.parametrize("how", [each for each in IN_NEGOTIATION if each.startswith("offer")])
def test_what_an_extension_offers_is_bounded(how: str) -> None:
    """One that fails at it, or never comes to an end, is left out; the others are offered."""
    told: list[ExtensionFault] = []
    faulty = FAULTY.build(FaultySettings(how), Events())
    candidates = [rot(), Candidate(FAULTY.name, FAULTY.rsv, faulty, Events()), bzip2()]
    assert [item.name for item in offer_all(candidates, told.append)] == [ROT, BZIP2]
    assert [(fault.extension, fault.operation) for fault in told] == [(FAULTY.name, "offer")]


def test_what_was_not_offered_may_not_be_answered_although_we_know_it() -> None:
    with pytest.raises(NegotiationError, match="not offered"):
        confirm_all([bzip2(), rot()], items(f"{ROT}; by=13"), items(BZIP2))


def test_our_two_roles_agree_on_everything() -> None:
    ours, far = [bzip2(), rot(77)], [rot(1), bzip2()]
    offered = offer_all(ours, no_fault)
    settled, answer = accept_all(far, offered, no_fault)
    assert written(answer) == f"{ROT}; by=77, {BZIP2}"
    confirmed = confirm_all(ours, offered, answer)
    assert isinstance(settled, Chain) and isinstance(confirmed, Chain)
    assert settled.label == confirmed.label == f"{ROT};by:77+{BZIP2};server:9;client:9"
