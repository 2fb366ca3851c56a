"""The least configuration file in its two parts, and the problems of a file."""

import pytest

from wsproxy.errors import BadUsage
from wsproxy.settings.load import load

ROUTE = """
[[routes]]
name = "feed"
upstream = "feed"
"""
UPSTREAM = """
[upstreams.feed]
endpoints = ["ws://10.0.0.1:9000"]
"""
LEAST = ROUTE + UPSTREAM


def problems(text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(BadUsage) as caught:
        load(text, environ or {})
    assert all(problem.isprintable() for problem in caught.value.problems)
    return caught.value.problems
