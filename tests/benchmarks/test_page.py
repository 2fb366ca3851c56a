"""A program's part of a page is replaced; what people wrote around it stays."""

from pathlib import Path

import pytest

from benchmarks.page import put_section


def test_only_the_part_between_the_marks_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n<!-- a:begin -->\nold\n<!-- a:end -->\n\nBy hand.\n")
    put_section(page, "a", "\nnew\n\n")
    assert page.read_text() == "# Title\n\n<!-- a:begin -->\nnew\n<!-- a:end -->\n\nBy hand.\n"
    put_section(page, "b", "other")
    assert page.read_text().endswith("By hand.\n\n<!-- b:begin -->\nother\n<!-- b:end -->\n")
    put_section(page, "a", "newer")
    assert "newer" in page.read_text()
    assert "other" in page.read_text()


def test_a_page_that_is_not_there_is_made(tmp_path: Path) -> None:
    put_section(tmp_path / "page.md", "a", "text")
    assert (tmp_path / "page.md").read_text() == "<!-- a:begin -->\ntext\n<!-- a:end -->\n"


def test_a_mark_without_its_end_is_not_guessed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- a:begin -->\nby hand\n")
    with pytest.raises(ValueError, match="without"):
        put_section(page, "a", "text")
    assert page.read_text() == "<!-- a:begin -->\nby hand\n"
