"""`[[routes.extensions.client]]` and `.upstream`: read, checked, shown and described as every other setting is."""

import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint

import pytest
from jsonschema import Draft202012Validator

from wsproxy.errors import BadUsage
from wsproxy.extensions import registry
from wsproxy.extensions.base import RSV2, Definition, Events, Extension
from wsproxy.extensions.bzip2 import Bzip2Settings
from wsproxy.settings.about import about
from wsproxy.settings.load import load
from wsproxy.settings.schema import schema
from wsproxy.settings.show import as_document, to_toml
from wsproxy.settings.tree import NamedExtension, RouteExtensions

ROUTE = '[upstreams.b]\nendpoints = ["ws://c"]\n[[routes]]\nname = "a"\nupstream = "b"\n'


@dataclass(frozen=True, slots=True)
class Shift:
    by: int = field(metadata=about("By how much.", minimum=1, maximum=255))
    label: str = field(default="x", metadata=about("A word.", secret=True))


def refuses_thirteen(settings: Shift, events: Events) -> Extension:
    if settings.by == 13:
        raise ValueError("13 brings bad luck")
    raise AssertionError(f"{settings} need no extension in this test")


SHIFT = Definition("x-shift", RSV2, Shift, refuses_thirteen, ("shifted",))
NO_DEFINITION = "neither"
OTHER_NAME = Definition("x-other", RSV2, Shift, refuses_thirteen)
EVERY_BIT = Definition("x-bits", 0xFF, Shift, refuses_thirteen)
NO_DATACLASS = Definition("x-dict", RSV2, dict, refuses_thirteen)  # type: ignore[arg-type]
EVENT = Definition("x-event", RSV2, Shift, refuses_thirteen, ("fault",))


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entry points as if packages were installed; test_example installs one for real."""
    found = [
        EntryPoint(name, f"{__name__}:{value}", registry.GROUP)
        for name, value in {
            "x-shift": "SHIFT",
            "x-none": "NO_DEFINITION",
            "x-name": "OTHER_NAME",
            "x-bits": "EVERY_BIT",
            "x-dict": "NO_DATACLASS",
            "x-event": "EVENT",
            "x-gone": "GONE",
        }.items()
    ]

    monkeypatch.setattr(registry, "installed", lambda: found)
    registry.find.cache_clear()


def extensions(text: str) -> RouteExtensions:
    return load(ROUTE + text, {}).routes[0].extensions


def problems(text: str) -> list[str]:
    with pytest.raises(BadUsage) as refused:
        load(ROUTE + text, {})
    return refused.value.problems


def test_order_is_kept_and_settings_have_their_defaults() -> None:
    found = extensions(
        '[[routes.extensions.client]]\nname = "permessage-bzip2"\nlevel = 3\n'
        '[[routes.extensions.client]]\nname = "permessage-deflate"\n'
        '[[routes.extensions.upstream]]\nname = "permessage-bzip2"\n'
    )
    assert found.client == (
        NamedExtension("permessage-bzip2", Bzip2Settings(level=3)),
        NamedExtension("permessage-deflate"),
    )
    assert found.upstream == (NamedExtension("permessage-bzip2", Bzip2Settings()),)


@pytest.mark.parametrize(
    "table, told",
    [
        (
            'name = "permessage-bzip"',
            "name: there is no extension 'permessage-bzip' (did you mean 'permessage-bzip2'?)",
        ),
        ('name = "x-shfit"', "name: there is no extension 'x-shfit' (did you mean 'x-shift'?)"),
        ("level = 3", "name: is missing"),
        ("name = 3", "name: must be a string, not 3"),
        ('name = "permessage-bzip2"\nlevl = 3', "levl: unknown key (did you mean 'level'?)"),
        ('name = "permessage-bzip2"\nlevel = 10', "level: must be from 1 to 9, not 10"),
        ('name = "permessage-bzip2"\nlevel = "high"', 'level: must be a whole number, not "high"'),
        (
            'name = "permessage-deflate"\nlevel = 3',
            "level: the settings of permessage-deflate are in routes.compression",
        ),
        ('name = "x-shift"', "by: is missing"),
        ('name = "x-shift"\nby = 13', ": x-shift: 13 brings bad luck"),
        (
            'name = "x-shift"\nby = 99',
            ": x-shift: AssertionError: Shift(by=99, label='x') need no extension in this test",
        ),
        ('name = "x-none"', "name: the entry point 'x-none' is no Definition but str"),
        (
            'name = "x-name"',
            "name: the extension 'x-name' cannot be used: its definition is named 'x-other', "
            "which must be the entry point's name, a token",
        ),
        (
            'name = "x-bits"',
            "name: the extension 'x-bits' cannot be used: it claims 255, and the reserved bits are RSV1, RSV2 and RSV3",
        ),
        ('name = "x-dict"', "name: the extension 'x-dict' cannot be used: its settings are no dataclass"),
    ],
)
def test_problems_are_told_as_everywhere(table: str, told: str) -> None:
    where = "routes[0].extensions.client[0]"
    found = problems(f"[[routes.extensions.client]]\n{table}\n")
    assert f"{where}{told}" in found or f"{where}.{told}" in found, found


def test_what_cannot_be_imported_is_a_problem() -> None:
    (found,) = problems('[[routes.extensions.client]]\nname = "x-gone"\n')
    assert "GONE cannot be imported: AttributeError" in found


def test_its_events_cannot_be_named_as_ours() -> None:
    (found,) = problems('[[routes.extensions.client]]\nname = "x-event"\n')
    assert "other than 'fault'" in found


def test_the_same_extension_twice_claims_the_same_bits_always() -> None:
    table = '[[routes.extensions.upstream]]\nname = "permessage-bzip2"\n'
    assert problems(2 * table) == [
        "routes[0].extensions.upstream[1].name: 'permessage-bzip2' is already routes[0].extensions.upstream[0].name"
    ]


def test_a_place_for_permessage_deflate_where_it_is_off() -> None:
    assert problems('[[routes.extensions.upstream]]\nname = "permessage-deflate"\n') == [
        "routes[0].extensions.upstream[0].name: permessage-deflate is off on this leg: compression.upstream.enabled"
    ]


def test_only_what_is_named_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: EntryPoint) -> object:
        raise AssertionError(f"{self.name} was imported")

    monkeypatch.setattr(EntryPoint, "load", never)
    assert extensions('[[routes.extensions.client]]\nname = "permessage-bzip2"\n').client


def test_who_names_no_extension_does_not_look_for_any() -> None:
    code = "import sys, wsproxy.cli.main, wsproxy.service.lifecycle\n"
    code += "assert not {'importlib.metadata', 'wsproxy.extensions.bzip2'} & {*sys.modules}"
    load = f"from wsproxy.settings.load import load; load({ROUTE!r}, {{}})"
    # What the interpreter itself has loaded before (an editable install's finder) is not ours.
    subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{load}\n{code}"], check=True)


def test_a_python_without_bz2_has_no_permessage_bzip2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bz2", None)
    monkeypatch.delitem(sys.modules, "wsproxy.extensions.bzip2")
    (found,) = problems('[[routes.extensions.client]]\nname = "permessage-bzip2"\n')
    assert "permessage-bzip2 cannot be used with this Python: " in found


def test_shown_it_reads_as_the_same_again() -> None:
    settings = load(
        ROUTE + '[[routes.extensions.client]]\nname = "permessage-bzip2"\nlevel = 3\n'
        '[[routes.extensions.client]]\nname = "permessage-deflate"\n',
        {},
    )
    assert load(to_toml(as_document(settings)), {}) == settings


@pytest.mark.parametrize(
    "table, valid",
    [
        ('name = "permessage-bzip2"\nlevel = 3', True),
        ('name = "permessage-deflate"', True),
        ('name = "x-shift"\nby = 3', True),
        ('name = "x-shift"', False),
        ('name = "x-shift"\nby = 300', False),
        ('name = "permessage-bzip2"\nlevl = 3', False),
        ('name = "permessage-bzip2"\nlevel = 10', False),
        ('name = "permessage-deflate"\nlevel = 3', False),
        ('name = "permessage-zip"', False),
        ("level = 3", False),
    ],
)
def test_the_schema_knows_it(table: str, valid: bool) -> None:
    document = tomllib.loads(f"{ROUTE}[[routes.extensions.client]]\n{table}\n")
    assert Draft202012Validator(schema()).is_valid(document) is valid
