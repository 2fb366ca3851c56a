"""The demo's traffic: the same in every run, without gaps, and no easier to compress than real traffic."""

import json
import zlib
from itertools import islice
from random import Random

import pytest

from wsproxy.demo.feeds import FEEDS, ORDERS, Feed

ALL = {**FEEDS, "orders": ORDERS}
each_feed = pytest.mark.parametrize("feed", ALL.values(), ids=ALL)


def first(feed: Feed, count: int, seed: str = "seed") -> list[str]:
    return list(islice(feed.messages(Random(seed)), count))


@each_feed
def test_the_same_seed_gives_the_same_messages_and_another_one_others(feed: Feed) -> None:
    assert first(feed, 50) == first(feed, 50)
    assert not set(first(feed, 50)) & set(first(feed, 50, "another"))


@each_feed
def test_messages_are_json_and_count_from_one(feed: Feed) -> None:
    assert [json.loads(text)["seq"] for text in first(feed, 500)] == list(range(1, 501))


def test_market_messages_have_the_sizes_of_market_data() -> None:
    sizes = sorted(len(text) for text in first(FEEDS["market"], 2000))
    assert sizes[0] > 200
    assert sizes[-1] < 2000
    assert 350 < sizes[1000] < 900


def test_chat_is_not_only_ascii() -> None:
    assert not all(text.isascii() for text in first(FEEDS["chat"], 20))


@each_feed
def test_the_ratio_is_that_of_real_feeds(feed: Feed) -> None:
    compressor = zlib.compressobj(1, zlib.DEFLATED, -12, 5)
    payload = wire = 0
    for text in first(feed, 1000):
        payload += len(text.encode())
        wire += len(compressor.compress(text.encode())) + len(compressor.flush(zlib.Z_SYNC_FLUSH)) - 4
    assert 2 < payload / wire < 4


@each_feed
def test_pauses_vary_around_their_mean(feed: Feed) -> None:
    rng = Random("pauses")
    pauses = [feed.pause(rng) for _ in range(2000)]
    assert len(set(pauses)) == len(pauses)
    assert 0.9 < sum(pauses) / len(pauses) / feed.pause_seconds < 1.1
