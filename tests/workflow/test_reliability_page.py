"""The page on reliability lists the faults that the tests cause, and no others."""

from __future__ import annotations

from pathlib import Path

from fault_table import PAGE, marked_attacks, marked_faults, update_page


def test_page_is_in_step_with_the_tests(tmp_path: Path) -> None:
    page = tmp_path / "reliability.md"
    page.write_text(PAGE.read_text())
    update_page(page)
    assert page.read_text() == PAGE.read_text(), "run python tests/helpers/fault_table.py"


def test_every_fault_is_named_once() -> None:
    names = [name for name, _, _ in marked_faults()]
    assert len(names) > 25
    assert len(set(names)) == len(names)


def test_every_attack_is_named_once() -> None:
    names = [(door, name) for door, name, _, _ in marked_attacks()]
    assert len(set(names)) == len(names)
