"""One meaning a class name: whoever reads an import need not look where it came from."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _doubled(root: Path, packages: tuple[str, ...]) -> dict[str, list[str]]:
    """Public top-level classes whose name stands in several files."""
    files: defaultdict[str, list[str]] = defaultdict(list)
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            for node in ast.parse(path.read_bytes()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    files[node.name].append(path.relative_to(root).as_posix())
    return {name: found for name, found in files.items() if len(found) > 1}


def test_no_class_name_has_two_meanings() -> None:
    assert _doubled(ROOT, ("rice_core", "probes", "tracking", "mllm", "reports")) == {}


def test_a_name_of_two_files_is_found(tmp_path: Path) -> None:
    for package, text in (
        ("one", "class Row: ..."),
        ("two", "class Row: ...\nclass _Own: ..."),
        ("three", "class _Own: ..."),
    ):
        (tmp_path / package).mkdir()
        (tmp_path / package / "file.py").write_text(text)
    assert _doubled(tmp_path, ("one", "two", "three")) == {"Row": ["one/file.py", "two/file.py"]}
