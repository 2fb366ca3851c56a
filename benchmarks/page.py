"""A section of a page that a program writes, between two marks; what people wrote around it stays.

Owns: the marks. Imports nothing of the project.
"""

from pathlib import Path


def put_section(path: Path, name: str, text: str) -> None:
    """Put ``text`` between the marks of ``name``; a page without them gets them at its end."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    found = path.read_text() if path.exists() else ""
    if begin not in found:
        found += f"\n{begin}\n{end}\n" if found else f"{begin}\n{end}\n"
    before, _, rest = found.partition(begin)
    _, mark, after = rest.partition(end)
    if not mark:
        raise ValueError(f"{path}: {begin} without {end}")
    path.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}")
