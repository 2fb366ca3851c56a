"""`[[routes.extensions.client]]` and `.upstream`: read, checked, shown and described as every other setting is."""

import subprocess
import sys
import tomllib
from dataclasses import dataclass, field, make_dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal

import pytest
from jsonschema import Draft202012Validator

from wsproxy.errors import BadUsage
from wsproxy.extensions import registry
from wsproxy.extensions.base import RSV2, Definition, Events, Extension
from wsproxy.extensions.bzip2 import DEFINITION, Bzip2Settings
from wsproxy.settings.about import about
from wsproxy.settings.load import _Reader, load
from wsproxy.settings.problems import Problems
from wsproxy.settings.schema import _table, schema
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
ONE_EVENT = Definition("x-events", RSV2, Shift, refuses_thirteen, "shifted")  # type: ignore[arg-type]
NO_EVENTS = Definition("x-no-events", RSV2, Shift, refuses_thirteen, None)  # type: ignore[arg-type]


def a_setting(hint: object, facts: dict[str, object]) -> Definition[object]:
    """A definition whose settings have one of that type, described by these facts."""
    settings = make_dataclass("Settings", [("by", hint, field(metadata={"doc": "It.", **facts}))])
    return Definition("x-setting", RSV2, settings, refuses_thirteen)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Even:
    """Judges itself."""

    by: int = field(metadata=about("By how much.", minimum=0, maximum=255))

    def __post_init__(self) -> None:
        if self.by % 2:
            raise ValueError(f"{self.by} is odd:\nshame")


def exits(settings: Even, events: Events) -> Extension:
    sys.exit("as it was told to")


EVEN = Definition("x-even", RSV2, Even, exits)


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
            "x-events": "ONE_EVENT",
            "x-no-events": "NO_EVENTS",
            "x-even": "EVEN",
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
        (
            'name = "x-events"',
            "name: the extension 'x-events' cannot be used: its events must be a tuple of names of small letters",
        ),
        (
            'name = "x-no-events"',
            "name: the extension 'x-no-events' cannot be used: its events must be a tuple of names of small letters",
        ),
        ('name = "x-even"\nby = 3', ": x-even: 3 is odd: shame"),
        ('name = "x-even"\nby = 4', ": x-even: SystemExit: as it was told to"),
    ],
)
def test_problems_are_told_as_everywhere(table: str, told: str) -> None:
    where = "routes[0].extensions.client[0]"
    found = problems(f"[[routes.extensions.client]]\n{table}\n")
    assert f"{where}{told}" in found or f"{where}.{told}" in found, found


def test_what_cannot_be_imported_is_a_problem() -> None:
    (found,) = problems('[[routes.extensions.client]]\nname = "x-gone"\n')
    assert "GONE cannot be imported: AttributeError" in found


def test_a_module_that_exits_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "exits_at_once.py").write_text('import sys\nsys.exit("not today")\n')
    monkeypatch.syspath_prepend(tmp_path)
    gone = EntryPoint("x-exits", "exits_at_once:DEFINITION", registry.GROUP)
    missing = EntryPoint("x-missing", "no_such_module_anywhere:DEFINITION", registry.GROUP)
    monkeypatch.setattr(registry, "installed", lambda: [gone, missing])
    found = problems(
        '[[routes.extensions.client]]\nname = "x-exits"\n[[routes.extensions.client]]\nname = "x-missing"\n'
    )
    where = "routes[0].extensions.client"
    assert found == [
        f"{where}[0].name: the extension 'x-exits' cannot be used: "
        "exits_at_once:DEFINITION cannot be imported: SystemExit: not today",
        f"{where}[1].name: the extension 'x-missing' cannot be used: no_such_module_anywhere:DEFINITION "
        "cannot be imported: ModuleNotFoundError: No module named 'no_such_module_anywhere'",
    ]


def test_what_a_value_was_refused_for_is_told_once() -> None:
    """What stands in for it is not the extension's to judge."""
    where = "routes[0].extensions.client[0]"
    assert problems('[[routes.extensions.client]]\nname = "x-shift"\n') == [f"{where}.by: is missing"]
    assert problems('[[routes.extensions.client]]\nname = "x-even"\n') == [f"{where}.by: is missing"]


@pytest.mark.parametrize(
    "hint, facts, told",
    [
        (bytes, {}, "its setting by is none of bool, int, float, str"),
        (list[int], {}, "its setting by is none of bool, int, float, str"),
        (int | None, {}, "its setting by is none of bool, int, float, str"),
        (tuple[int, str], {}, "its setting by is none of bool, int, float, str"),
        (dict[str, int], {}, "its setting by is none of bool, int, float, str"),
        (Shift, {}, "its setting by is none of bool, int, float, str"),
        ("Nowhere", {}, "the types of its settings cannot be told: name 'Nowhere' is not defined"),
        (int, {"minimum": 1}, "minimum goes with maximum"),
        (str, {"pattern": "a+"}, "pattern with hint"),
        (bool, {}, None),
        (float, {"minimum": 0, "maximum": 1}, None),
        (Literal["a", "b"], {}, None),
        (tuple[str, ...], {"pattern": "a+", "hint": "a word"}, None),
        (int | Literal["auto"], {}, None),
    ],
)
def test_what_settings_may_be(hint: object, facts: dict[str, object], told: str | None) -> None:
    found = registry.problem_of(a_setting(hint, facts))
    assert found is None if told is None else told in (found or "")


@pytest.mark.parametrize("default", [None, b"x", 1j])
def test_what_a_default_may_be(default: object) -> None:
    settings = make_dataclass("Settings", [("by", int, field(default=default, metadata=about("It.")))])
    told = registry.problem_of(Definition("x-setting", RSV2, settings, refuses_thirteen))  # type: ignore[arg-type]
    assert told == f"the default of its setting by is {type(default).__name__}"


def test_every_type_that_settings_may_have_is_read() -> None:
    """The promise of the test above, kept by the loader and the schema."""

    @dataclass(frozen=True, slots=True)
    class Each:
        switch: bool = field(default=False, metadata=about("It."))
        share: float = field(default=0.5, metadata=about("It.", minimum=0, maximum=1))
        word: Literal["a", "b"] = field(default="a", metadata=about("It."))
        words: tuple[str, ...] = field(default=(), metadata=about("It.", pattern="a+", hint="a word"))
        level: int | Literal["auto"] = field(default="auto", metadata=about("It.", minimum=1, maximum=9))

    assert registry.problem_of(Definition("x-each", RSV2, Each, refuses_thirteen)) is None  # type: ignore[arg-type]
    raw = {"switch": True, "share": 1, "word": "b", "words": ["aa", "a"], "level": 3}
    found = Problems()
    assert _Reader(found).table(Each, raw, "", None) == Each(True, 1.0, "b", ("aa", "a"), 3)
    assert not found.found
    assert Draft202012Validator(_table(Each)).is_valid(raw)
    assert not Draft202012Validator(_table(Each)).is_valid({**raw, "words": ["b"]})


def test_a_built_in_name_is_not_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by accident nor by a package that would like to read everyone's messages."""
    theirs = [
        EntryPoint(name, f"{__name__}:SHIFT", registry.GROUP) for name in ("permessage-bzip2", "permessage-deflate")
    ]
    monkeypatch.setattr(registry, "installed", lambda: theirs)
    assert registry.find("permessage-bzip2") is DEFINITION
    usable, unusable = registry.survey()
    assert usable == [DEFINITION]
    assert unusable == [f"{each.value} is not looked at: {each.name} is built in" for each in theirs]


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
    usable, _ = registry.survey()
    assert Draft202012Validator(schema(usable)).is_valid(document) is valid
