"""Every seed and every finding of the fuzzer, and some bytes of Hypothesis, through each target."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

HERE = Path(__file__).parent
CORPUS = sorted([*HERE.glob("seeds/*/*"), *HERE.glob("findings/*/*")])


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: "-".join(path.parts[-3:]))
def test_corpus(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_there_are_seeds(name: str) -> None:
    assert [path for path in CORPUS if path.parent.name == name and path.parent.parent.name == "seeds"]


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=600))
def test_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)
