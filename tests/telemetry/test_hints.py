"""Hints: which numbers give which, and that few of anything give none."""

import pytest

from wsproxy.telemetry import metrics
from wsproxy.telemetry.hints import hints
from wsproxy.telemetry.metrics import Metric
from wsproxy.telemetry.snapshot import Snapshot

Numbers = list[tuple[Metric, tuple[str, ...], float]]
CLIENT, COMPRESS = ("feed", "client"), ("feed", "client", "compress")
DEFLATE = (*CLIENT, "permessage-deflate")


def packed(taken: float, given: float) -> Numbers:
    return [(metrics.CODEC_INPUT_BYTES, COMPRESS, taken), (metrics.CODEC_OUTPUT_BYTES, COMPRESS, given)]


def told(numbers: Numbers) -> list[str]:
    snapshot = Snapshot()
    snapshot.add(metrics.TUNNELS, ("feed", "backend"), 100)
    for metric, labels, value in numbers:
        snapshot.add(metric, labels, value)
    found = hints(snapshot)
    assert {hint.route for hint in found} <= {"feed"}
    return [hint.text for hint in found]


GIVEN: list[tuple[str, Numbers, str]] = [
    ("poor ratio", packed(2e6, 1.9e6), "shrink only 1.05 times"),
    (
        "costly zlib",
        [*packed(2e8, 1e8), (metrics.CODEC_CPU, (*COMPRESS, "zlib"), 30.0)],
        "costs 300 us of CPU with zlib: with isal installed",
    ),
    (
        "costly level",
        [*packed(2e8, 1e8), (metrics.CODEC_CPU, (*COMPRESS, "isal"), 30.0)],
        "with isal: a lower level is cheaper",
    ),
    (
        "not offered",
        [
            *packed(1000, 100),
            (metrics.AGREEMENTS, (*CLIENT, "none", "none", "0"), 60),
            (metrics.AGREEMENTS, (*DEFLATE, "both", "12"), 40),
        ],
        "60% of its clients agree on no compression",
    ),
    (
        "forgetful",
        [
            *packed(100_000, 90_000),
            (metrics.AGREEMENTS, (*DEFLATE, "none", "12"), 30),
            (metrics.CODEC_MESSAGES, (*CLIENT, "compressed"), 200),
        ],
        "each message on its own, and messages are small (500 bytes)",
    ),
    (
        "forgetful for want of memory",
        [
            *packed(100_000, 90_000),
            (metrics.AGREEMENTS, (*DEFLATE, "none", "12"), 30),
            (metrics.CODEC_MESSAGES, (*CLIENT, "compressed"), 200),
            (metrics.CODEC_MEMORY_RESERVED, (), 99e6),
            (metrics.CODEC_MEMORY_BUDGET, (), 100e6),
        ],
        "limits.codec_memory_bytes is used up",
    ),
    (
        "small",
        [(metrics.CODEC_MESSAGES, (*CLIENT, "skipped_small"), 3000)],
        "100% of its messages are under the threshold",
    ),
    (
        "noise",
        [
            (metrics.CODEC_MESSAGES, (*CLIENT, "skipped_incompressible"), 3000),
            (metrics.CODEC_MESSAGES, (*CLIENT, "compressed"), 30),
        ],
        "99% of its messages look like noise",
    ),
    ("recodes", [(metrics.PLANS, ("feed", "to_client", "recode"), 30)], "100% of its flows inflate and compress again"),
    ("limits", [(metrics.CLOSES, ("feed", "proxy", "1009"), 40)], "40 tunnels (100%) were ended over a limit (1009)"),
]


@pytest.mark.parametrize(("numbers", "text"), [each[1:] for each in GIVEN], ids=[each[0] for each in GIVEN])
def test_a_hint(numbers: Numbers, text: str) -> None:
    (only,) = told(numbers)
    assert text in only


@pytest.mark.parametrize("numbers", [each[1] for each in GIVEN], ids=[each[0] for each in GIVEN])
def test_few_of_anything_give_none(numbers: Numbers) -> None:
    assert told([(metric, labels, value / 1000) for metric, labels, value in numbers]) == []


def test_a_broadcast_that_keeps_no_windows_does_well() -> None:
    broadcast: Numbers = [
        *packed(1e6, 4e5),
        (metrics.AGREEMENTS, (*DEFLATE, "none", "12"), 1000),
        (metrics.CODEC_MESSAGES, (*CLIENT, "compressed"), 400),
        (metrics.CODEC_MESSAGES, (*CLIENT, "cached"), 600),
    ]
    assert told(broadcast) == []


def test_another_extension_has_no_windows_to_keep() -> None:
    bzip2: Numbers = [
        *packed(100_000, 50_000),
        (metrics.AGREEMENTS, (*CLIENT, "permessage-bzip2", "none", "0"), 1000),
        (metrics.CODEC_MESSAGES, (*CLIENT, "compressed"), 200),
    ]
    assert told(bzip2) == []


def test_a_route_that_does_well_gets_none() -> None:
    well: Numbers = [
        *packed(4e9, 1e9),
        (metrics.CODEC_CPU, (*COMPRESS, "isal"), 60.0),
        (metrics.AGREEMENTS, (*DEFLATE, "both", "12"), 1000),
        (metrics.CODEC_MESSAGES, (*CLIENT, "compressed"), 4e6),
        (metrics.PLANS, ("feed", "to_client", "deflate"), 1000),
        # Some pictures among them are no reason to turn it off.
        (metrics.CODEC_MESSAGES, (*CLIENT, "skipped_incompressible"), 1e6),
        (metrics.CLOSES, ("feed", "client", "1000"), 1000),
    ]
    assert told(well) == []
