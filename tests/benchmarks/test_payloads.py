"""Payloads: seeded, sized, and what they claim to be."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.payloads import BINARY, KINDS, messages

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("size", [64, 256, 1024, 8192, 65536])
def test_market_messages_are_json_of_exactly_that_size(size: int) -> None:
    for message in messages("market", size, 40):
        assert len(message) == size
        assert json.loads(message)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_messages_differ_and_are_about_as_large_as_asked(kind: str) -> None:
    made = messages(kind, 1024, 50)
    assert len(set(made)) == 50
    assert 700 < sum(map(len, made)) / 50 < 1400
    if kind not in BINARY:
        assert all(json.loads(message) for message in made)


def test_another_process_makes_the_same_messages() -> None:
    script = (
        "import sys; from benchmarks.payloads import messages; sys.stdout.buffer.write(messages('chat', 512, 9)[8])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout == messages("chat", 512, 9)[8]
