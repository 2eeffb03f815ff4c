"""What docs/architecture.md and docs/adding.md send a reader to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["architecture.md", "adding.md"])
def test_the_files_and_folders_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:rice_core|probes|tracking|reports|tests)/[\w/.]*)`", text)
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_rooms_of_the_diagrams_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    diagrams = "\n".join(re.findall(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    named = re.findall(r"(?<![\w./])(?:rice_core/)?((?:\w+/)+(?:\w+\.py)?|\w+\.py)(?![\w{*])", diagrams)
    roots = (ROOT, ROOT / "rice_core", *(ROOT / "rice_core").iterdir())
    outputs = {"encoder/", "hf/"}
    assert len(named) > 20
    assert [name for name in named if name not in outputs and not any((root / name).exists() for root in roots)] == []
