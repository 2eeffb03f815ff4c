"""Every public module has its place on a page of docs/api; `make docs` says whether what stands there exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _modules() -> set[str]:
    """What a page has to name: the modules and packages at the root of each package; a package brings what is in it."""
    packages = {"rice_core": ROOT / "rice_core", "probes": ROOT / "probes"}
    found = {
        f"{package}.{path.stem}"
        for package, folder in packages.items()
        for path in folder.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and not path.stem.startswith("_")
    }
    return (found | {"reports"}) - {"rice_core.cli"}  # the command line is told in usage.md


def test_every_module_stands_on_one_page_and_every_page_in_the_navigation() -> None:
    pages = list((ROOT / "docs" / "api").glob("*.md"))
    told = [name for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)]
    assert sorted(told) == sorted(_modules())
    navigation = (ROOT / "mkdocs.yml").read_text()
    pages += (ROOT / "docs").glob("*.md")
    assert [page.name for page in pages if f"{page.relative_to(ROOT / 'docs')}\n" not in navigation] == []
