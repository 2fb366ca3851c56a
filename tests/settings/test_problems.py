"""The loader: one row for each thing that can be wrong."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.settings.texts import LEAST, ROUTE, UPSTREAM, problems
from wsproxy.settings.load import read
from wsproxy.settings.problems import Problems
from wsproxy.settings.tree import (
    Settings,
)

PATH_RULE = "a path that starts with '/', in ASCII, without '?' and '#'"
FIELD_RULE = "a header field's name (RFC 9110 §5.1)"
IN_ROUTE = [
    ('compresion = {mode = "auto"}', "routes[0].compresion: unknown key (did you mean 'compression'?)"),
    ("zzz = 1", "routes[0].zzz: unknown key"),
    ("hosts = 3", "routes[0].hosts: must be an array, not 3"),
    ('hosts = ["a", 3]', "routes[0].hosts[1]: must be a string, not 3"),
    ('hosts = ["http://a"]', "routes[0].hosts[0]: 'http://a' is neither a host name nor *.name (no scheme, no port)"),
    ('hosts = ["a.*"]', "routes[0].hosts[0]: 'a.*' is neither a host name nor *.name (no scheme, no port)"),
    (
        'path_prefix = "feed"',
        "routes[0].path_prefix: must be a path that starts with '/', in ASCII, without '?' and '#', not \"feed\"",
    ),
    (
        'origins = ["https://a/"]',
        "routes[0].origins[0]: 'https://a/' is not an origin such as https://app.example.com "
        "(no path, no slash at the end)",
    ),
    ("compression = true", "routes[0].compression: must be a table, not true"),
    (
        'compression.mode = "recompres"',
        "routes[0].compression.mode: must be one of 'auto', 'recompress', 'passthrough', "
        "not \"recompres\" (did you mean 'recompress'?)",
    ),
    (
        'compression.mode = "passthrough"',
        "routes[0].compression.mode: 'passthrough' needs both legs enabled: client.enabled, upstream.enabled",
    ),
    ("compression.verify = 0", "routes[0].compression.verify: must be true or false, not 0"),
    ("compression.client.levl = 1", "routes[0].compression.client.levl: unknown key (did you mean 'level'?)"),
    ("compression.client.level = 10", "routes[0].compression.client.level: must be from 0 to 9, not 10"),
    (
        'compression.client.level = "fast"',
        "routes[0].compression.client.level: must be a whole number or 'auto', not \"fast\"",
    ),
    (
        "compression.client.level = true",
        "routes[0].compression.client.level: must be a whole number or 'auto', not true",
    ),
    (
        'compression.client = {engine = "isal", level = 4}',
        "routes[0].compression.client.level: level 4 is not on the scale of isal, 0 to 3",
    ),
    (
        "compression.upstream.level = 4",
        "routes[0].compression.upstream.level: level 4 is not 0 to 3, which every engine has: "
        "name an engine to use its own scale",
    ),
    (
        'compression.client = {engine = "isal", strategy = "rle"}',
        "routes[0].compression.client.strategy: isal has no strategy 'rle': "
        "name zlib or zlib-ng as the engine to use it",
    ),
    ("compression.client.mem_level = 0", "routes[0].compression.client.mem_level: must be from 1 to 9, not 0"),
    (
        "compression.client.server_max_window_bits = 8",
        "routes[0].compression.client.server_max_window_bits: must be from 9 to 15, not 8",
    ),
    (
        "compression.upstream.client_max_window_bits = 16",
        "routes[0].compression.upstream.client_max_window_bits: must be from 9 to 15, not 16",
    ),
    ("compression.client.lenient = true", "routes[0].compression.client.lenient: only the upstream leg can be lenient"),
    ('path = "feed"', f'routes[0].path: must be {PATH_RULE}, not "feed"'),
    ('path = "/a"\npath_prefix = "/b"', "routes[0].path: goes with no path_prefix: it is the whole path"),
    ('match_headers = { "a b" = "c" }', f'routes[0].match_headers."a b": a name is {FIELD_RULE}'),
    ("match_headers.a = 3", "routes[0].match_headers.a: must be a string, not 3"),
    (
        'match_headers.a = " b"',
        "routes[0].match_headers.a: must be printable ASCII without blanks at its ends",
    ),
    (
        'match_headers = { A = "b", a = "c" }',
        "routes[0].match_headers: 'a' is there twice: names of header fields have no case",
    ),
    (
        'subprotocols = ["a,b"]',
        'routes[0].subprotocols[0]: must be a subprotocol\'s name (RFC 6455 §4.1), not "a,b"',
    ),
    (
        'headers = { set = { X = "a" }, remove = ["x"] }',
        "routes[0].headers: 'x' is there twice: names of header fields have no case",
    ),
    (
        'headers.set = { "Sec-WebSocket-Key" = "a" }',
        "routes[0].headers: 'Sec-WebSocket-Key' belongs to the connection or the handshake: it is the proxy's own",
    ),
    (
        'headers.remove = ["te"]',
        "routes[0].headers: 'te' belongs to the connection or the handshake: it is the proxy's own",
    ),
    (
        'headers.remove = ["HOST"]',
        "routes[0].headers.remove: a request always has a Host: set another one instead",
    ),
    ("limits.max_tunnels = -1", "routes[0].limits.max_tunnels: must be from 0 to 1099511627776, not -1"),
    ("timeouts.max_age_jitter = 2", "routes[0].timeouts.max_age_jitter: must be from 0 to 1, not 2.0"),
    ("limits.max_fragments = 0", "routes[0].limits.max_fragments: must be from 1 to 2147483648, not 0"),
    ("limits.max_message_bytes = 1.5", "routes[0].limits.max_message_bytes: must be a whole number, not 1.5"),
    ("timeouts.connect_seconds = nan", "routes[0].timeouts.connect_seconds: must be from 0.001 to 86400, not NaN"),
    ("timeouts.connect_seconds = inf", "routes[0].timeouts.connect_seconds: must be from 0.001 to 86400, not Infinity"),
    ("timeouts.connect_seconds = 0", "routes[0].timeouts.connect_seconds: must be from 0.001 to 86400, not 0.0"),
    ("timeouts.connect_seconds = false", "routes[0].timeouts.connect_seconds: must be a number, not false"),
    (
        "timeouts.connect_seconds = 2024-01-01",
        'routes[0].timeouts.connect_seconds: must be a number, not "2024-01-01"',
    ),
]


@pytest.mark.parametrize(("line", "problem"), IN_ROUTE)
def test_one_wrong_line_of_a_route_is_one_problem(line: str, problem: str) -> None:
    assert problems(ROUTE + line + UPSTREAM) == [problem]


NAME_RULE = "1 to 63 letters, digits, '_', '.' and '-', starting with a letter or a digit"
FIRST = "upstreams.feed.endpoints[0]"
BALANCES = "'least_connections', 'round_robin', 'random', 'client_hash'"
LISTENER = '[[listeners]]\nname = "a"\nbind = "127.0.0.1:1"\n'
ELSEWHERE = [
    ("worker = 2" + LEAST, ["worker: unknown key (did you mean 'workers'?)"]),
    ("", ["routes: is missing", "upstreams: is missing"]),
    ("routes = []\nupstreams = {}", ["routes: at least one is needed", "upstreams: at least one is needed"]),
    ("listeners = []" + LEAST, ["listeners: at least one is needed"]),
    ("routes = [1]" + UPSTREAM, ["routes[0]: must be a table, not 1"]),
    ("upstreams = 1" + ROUTE, ["upstreams: must be a table, not 1"]),
    ("log = []" + LEAST, ["log: must be a table, not an array"]),
    (
        '[log]\nlevel = "warn"' + LEAST,
        ["log.level: must be one of 'debug', 'info', 'warning', 'error', not \"warn\" (did you mean 'warning'?)"],
    ),
    (
        "[shutdown]\nclose_code = 1006" + LEAST,
        [
            "shutdown.close_code: 1006 is not a code for going away: "
            "use one of 1000, 1001, 1008, 1011, 1012, 1013, or 3000 to 4999"
        ],
    ),
    ('[[routes]]\nupstream = "feed"' + UPSTREAM, ["routes[0].name: is missing"]),
    (LEAST.replace('name = "feed"', 'name = "a b"'), [f'routes[0].name: must be {NAME_RULE}, not "a b"']),
    (
        LEAST.replace("upstreams.feed", 'upstreams."a\\nb"'),
        [f'upstreams."a\\nb": a name is {NAME_RULE}', "routes[0].upstream: no upstream is named 'feed'"],
    ),
    (LEAST + "weight = 1", ["upstreams.feed.weight: unknown key"]),
    (
        LEAST.replace('["ws', '[{ url = "ws').replace(':9000"]', ':9000", weight = 0 }]'),
        [f"{FIRST}.weight: must be from 1 to 1000, not 0"],
    ),
    (
        LEAST.replace('["ws', '[{ uri = "ws').replace(':9000"]', ':9000" }]'),
        [f"{FIRST}.uri: unknown key (did you mean 'url'?)", f"{FIRST}.url: is missing"],
    ),
    (LEAST.replace('"ws://10.0.0.1:9000"', "3"), [f"{FIRST}: must be a string or a table, not 3"]),
    (LEAST + 'tls.client_cert = "a"', ["upstreams.feed.tls: client_cert and client_key go together"]),
    (
        LEAST + 'balance = "leastconn"',
        [f"upstreams.feed.balance: must be one of {BALANCES}, not \"leastconn\" (did you mean 'least_connections'?)"],
    ),
    (
        LISTENER + 'trusted_proxies = ["10.0.0.1/8"]' + LEAST,
        ["listeners[0].trusted_proxies[0]: 10.0.0.1/8 has host bits set"],
    ),
    (
        LISTENER + 'proxy_protocol = "v1"' + LEAST,
        ["listeners[0].proxy_protocol: needs trusted_proxies: nobody else may speak it"],
    ),
    (
        LISTENER + 'tls.client_ca = "a"' + LEAST,
        ["listeners[0].tls.client_ca: needs tls.certificates: without one there is no TLS"],
    ),
    (LISTENER + 'tls.certificates = [{ cert = "a" }]' + LEAST, ["listeners[0].tls.certificates[0].key: is missing"]),
    (
        LISTENER + 'tls.certificates = [{ cert = "", key = "a\\u0000" }]\ntls.client_ca = "\\u0000"' + LEAST,
        [
            'listeners[0].tls.certificates[0].cert: must be the path of a file, not ""',
            'listeners[0].tls.certificates[0].key: must be the path of a file, not "a\\u0000"',
            'listeners[0].tls.client_ca: must be the path of a file, not "\\u0000"',
        ],
    ),
    (
        LEAST + 'tls = { ca = "\\u0000", server_name = "a b", client_cert = "\\u0000", client_key = "k\\u0000" }',
        [
            'upstreams.feed.tls.ca: must be the path of a file, not "\\u0000"',
            'upstreams.feed.tls.server_name: must be a host\'s name or address, not "a b"',
            'upstreams.feed.tls.client_cert: must be the path of a file, not "\\u0000"',
            'upstreams.feed.tls.client_key: must be the path of a file, not "k\\u0000"',
        ],
    ),
    ('workers = "all"' + LEAST, ["workers: must be a whole number or 'auto', not \"all\""]),
    ("workers = 0" + LEAST, ["workers: must be from 1 to 1024, not 0"]),
    ('control.socket = "run"' + LEAST, ["control.socket: 'run' is not an absolute path"]),
    (ROUTE + LEAST, ["routes[1].name: 'feed' is already routes[0].name"]),
    (
        LEAST.replace('upstream = "feed"', 'upstream = "fed"'),
        ["routes[0].upstream: no upstream is named 'fed' (did you mean 'feed'?)"],
    ),
    (
        LEAST.replace('upstream = "feed"', 'upstream = ""'),
        ['routes[0].upstream: must be the name of an upstream, not ""'],
    ),
    ("[[routes]]\nname = 'b'\nupstream = 'zzz'" + LEAST, ["routes[0].upstream: no upstream is named 'zzz'"]),
    (ROUTE + "[upstreams.feed]", ["upstreams.feed.endpoints: is missing"]),
    (ROUTE + "[upstreams.feed]\nendpoints = []", ["upstreams.feed.endpoints: at least one is needed"]),
    (
        ROUTE + '[upstreams.feed]\nendpoints = ["ws://a", "ws://b", "ws://a"]',
        ["upstreams.feed.endpoints[2]: 'ws://a' is already upstreams.feed.endpoints[0]"],
    ),
    (
        ROUTE + '[upstreams.feed]\nendpoints = ["ws://a?b"]',
        [
            "upstreams.feed.endpoints[0]: 'ws://a?b' has a query or a fragment: "
            "an endpoint is a host and perhaps a base path"
        ],
    ),
    (
        '[[listeners]]\nname = "a"\nbind = "::1:80"' + LEAST,
        ["listeners[0].bind: '::1' is not a host name; an IPv6 address goes in brackets"],
    ),
    (
        '[[listeners]]\nname = "a"\nbind = "a:80"\n[[listeners]]\nname = "a"\nbind = "a:80"' + LEAST,
        [
            "listeners[1].name: 'a' is already listeners[0].name",
            "listeners[1].bind: 'a:80' is already listeners[0].bind",
        ],
    ),
    (
        LISTENER + "unix_mode = 660\n" + LEAST,
        ["listeners[0].unix_mode: must be permissions such as 0o660, from 0 to 0o777, not 660"],
    ),
    (
        '[metrics]\nlisten = "127.0.0.1:8080"' + LEAST,
        ["metrics.listen: '127.0.0.1:8080' is already listeners[0].bind"],
    ),
    (
        '[metrics]\nlisten = "0.0.0.0:8080"' + LEAST,
        ["metrics.listen: '0.0.0.0:8080' overlaps with listeners[0].bind, '127.0.0.1:8080'"],
    ),
    (
        '[[listeners]]\nname = "a"\nbind = "[::]:80"\n[[listeners]]\nname = "b"\nbind = "localhost:80"' + LEAST,
        ["listeners[1].bind: 'localhost:80' overlaps with listeners[0].bind, '[::]:80'"],
    ),
    (
        "control.socket = '/run/a.sock'\n" + LISTENER.replace("127.0.0.1:1", "unix:/run/a.sock") + LEAST,
        ["control.socket: 'unix:/run/a.sock' is already listeners[0].bind"],
    ),
    (
        '[metrics]\nlisten = "9464"' + LEAST,
        ["metrics.listen: '9464' has no port: write host:port, [v6]:port, unix:/path or fd:N"],
    ),
]


@pytest.mark.parametrize(("text", "expected"), ELSEWHERE)
def test_wrong_files(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_every_problem_is_found_in_one_go() -> None:
    found = problems(
        """
        lisseners = 1
        [log]
        format = 3
        [[routes]]
        name = "a"
        upstream = "b"
        [routes.compression.client]
        level = 99
        levl = 3
        [[routes]]
        [upstreams.feed]
        endpoints = ["nonsense"]
        """
    )
    assert sorted(problem.split(": ")[0] for problem in found) == sorted(
        [
            "lisseners",
            "log.format",
            "routes[0].compression.client.levl",
            "routes[0].compression.client.level",
            "routes[0].upstream",
            "routes[1].name",
            "routes[1].upstream",
            "upstreams.feed.endpoints[0]",
        ]
    )


SYNTAX = [
    ("a = ", "syntax: Invalid value (at line 1, column 5)"),
    ("a = 1\nb = ?", "syntax: Invalid value (at line 2, column 5)"),
    ("[a", "syntax: Expected ']' at the end of a table declaration (at line 1, column 3)"),
    (f"a = {'9' * 5000}", None),
    ("a = " + "[" * 100_000, None),
]


@pytest.mark.parametrize(("text", "problem"), SYNTAX)
def test_broken_toml_is_one_line(text: str, problem: str | None) -> None:
    (found,) = problems(text)
    assert found.startswith("syntax: ")
    assert problem is None or found == problem


KEYS = st.sampled_from(["log", "routes", "name", "upstreams", "feed", "compression", "client", "level", "bind", "\n"])
VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([item.name for item in dataclasses.fields(Settings)]), VALUES))
def test_any_document_gives_settings_or_printable_problems(document: dict[str, object]) -> None:
    found = Problems()
    settings = read(document, found)
    assert isinstance(settings, Settings)
    assert found.found
    assert all(f"{path}: {problem}".isprintable() for path, problem in found.found.items())
