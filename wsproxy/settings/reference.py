"""The reference part of docs/configuration.md, made from the tree: ``python -m wsproxy.settings.reference FILE``.

Owns: how the tree's tables and keys are said in Markdown. Must never import trio, socket or logging.
Invariant: what stands between the two marks of the page is nobody's but this module's.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from wsproxy.settings.about import default_of
from wsproxy.settings.tree import NamedExtension, Settings

BEGIN = "<!-- reference: made by `make reference`, from wsproxy/settings/ -->"
END = "<!-- end of the reference -->"

_OPEN = {"unix_mode": "`0o660`", "enabled": "`true` to the client, `false` to the upstream"}
"""Defaults that a reader would not recognise as Python prints them, or that differ by table."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the file.

    :ivar headings: as TOML writes it, ``[routes.limits]``; two for the legs, which have the same keys.
    :ivar about: its class's docstring.
    :ivar rows: key, default and meaning, in Markdown.
    """

    headings: tuple[str, ...]
    about: str
    rows: tuple[tuple[str, str, str], ...]


def tables() -> list[Table]:
    """Every table with its keys; equal ones are one."""
    found: list[Table] = []
    for table in _tables(Settings, ""):
        if found and found[-1].rows == table.rows:
            found[-1] = Table((*found[-1].headings, *table.headings), table.about, table.rows)
        else:
            found.append(table)
    return found


def render() -> str:
    """The whole reference, the marks not included."""
    parts = []
    for table in tables():
        parts.append(f"### {', '.join(f'`{heading}`' for heading in table.headings) or 'At the top of the file'}")
        parts.append(table.about)
        rows = [f"| `{key}` | {default} | {meaning} |" for key, default, meaning in table.rows]
        parts.append("\n".join(["| key | default | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(parts)


def renewed(page: str) -> str:
    """``page`` with its reference made anew. Raises ValueError if it has no place for one."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{render()}\n\n{END}{after}"


def _tables(cls: type, path: str) -> Iterator[Table]:
    rows: list[tuple[str, str, str]] = []
    inner: list[Table] = []
    hints = get_type_hints(cls)
    for item in fields(cls):
        hint = hints[item.name]
        where = f"{path}.{item.name}" if path else item.name
        element = _element(hint)
        if element is not None and "shorthand" not in item.metadata and not _is_inline(item.name):
            inner.extend(_tables(element, f"{where}.NAME" if get_origin(hint) is Mapping else where))
        else:
            rows.append((item.name, _shown(item.name, hint, default_of(item)), item.metadata["doc"]))
    if rows:
        heading = f"[[{path}]]" if path in ("listeners", "routes") else f"[{path}]"
        yield Table((heading,) if path else (), _docstring(cls), tuple(rows))
    yield from inner


def _element(hint: Any) -> type | None:
    """The dataclass of a table, an array of tables, or a table of tables; extensions bring their own."""
    if NamedExtension in get_args(hint):
        return None
    arguments = get_args(hint)
    for each in (hint, *(arguments[:1] if get_origin(hint) is tuple else arguments[1:])):
        if isinstance(each, type) and is_dataclass(each):
            return each
    return None


def _is_inline(name: str) -> bool:
    """An array of tables that is written in one line, and told in its key's meaning."""
    return name == "certificates"


def _docstring(cls: type) -> str:
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split())


def _shown(name: str, hint: Any, default: Any) -> str:
    if name in _OPEN:
        return _OPEN[name]
    if default is MISSING:
        return "required"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, str):
        choices = get_args(hint) if get_origin(hint) is Literal else (default,)
        return " · ".join(
            f'**`"{each}"`**' if each == default and len(choices) > 1 else f'`"{each}"`' for each in choices
        )
    if isinstance(default, tuple):
        return "`[]`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def main() -> None:
    """Make the reference of the page that is named anew."""
    page = Path(sys.argv[1])
    page.write_text(renewed(page.read_text()))


if __name__ == "__main__":
    main()
