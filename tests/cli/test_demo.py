"""`make demo` installs the package without an extra, so the demo may need no more than that."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
# The command as it is, on fewer scenes.
DEMO = """
import sys
from dataclasses import replace
from rice_core.world import mini
mini.WORLDS["mini"] = replace(mini.MINI, train=60, val=30)
from rice_core.cli import main
sys.argv = ["ricebench", "demo", "--store", sys.argv[1]]
main()
"""


def needed_by(name: str) -> set[str]:
    """Its distribution and all that this one requires here, extras left out unless a requirement asks for them."""
    found: set[str] = set()
    waiting = [Requirement(name)]
    while waiting:
        wanted = waiting.pop()
        try:
            requires = distribution(wanted.name).requires or []
        except PackageNotFoundError:  # of another platform, or bundled
            continue
        found.add(wanted.name)
        for each in map(Requirement, requires):
            extras = wanted.extras or {""}
            here = each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
            if here and each.name not in found:
                waiting.append(each)
    return found


def site_of(names: set[str], folder: Path) -> Path:
    """A folder like site-packages that holds these distributions alone, as links."""
    folder.mkdir()
    for name in names:
        for top in {
            path.parts[0] for path in distribution(name).files or [] if path.parts[0] not in ("..", "__pycache__")
        }:
            link = folder / top
            if not link.exists():
                link.symlink_to(Path(str(distribution(name).locate_file(top))))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site_of(needed_by("ricebench"), tmp_path_factory.mktemp("alone") / "site")


def python(site: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """-S: without the site-packages that the tests run in."""
    there = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])}
    return subprocess.run([sys.executable, "-S", *words], env=there, capture_output=True, text=True, timeout=900)


def test_the_package_alone_brings_no_extra(site: Path) -> None:
    assert not {"timm", "open_clip", "faiss", "skimage", "lmms_eval", "pytest"} & {path.name for path in site.iterdir()}


@pytest.mark.slow
def test_the_demo_needs_the_package_alone(site: Path, tmp_path: Path) -> None:
    done = python(site, "-c", DEMO, tmp_path / "store")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[16/16] oracle / tokens" in done.stderr
    assert list((tmp_path / "store").rglob("index.html"))


def test_the_example_says_what_the_package_alone_lacks(site: Path, tmp_path: Path) -> None:
    done = python(site, ROOT / "examples" / "photographs.py", tmp_path / "photos")
    assert done.returncode == 1
    assert done.stderr == (
        "scikit-image is not installed; run: .venv/bin/uv pip install -c constraints.txt scikit-image\n"
    )
    assert not (tmp_path / "photos").exists()
