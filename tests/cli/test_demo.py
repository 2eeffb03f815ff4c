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


@pytest.mark.slow
def test_the_demo_needs_the_package_alone(tmp_path: Path) -> None:
    site = site_of(needed_by("ricebench"), tmp_path / "site")
    assert not {"timm", "open_clip", "faiss", "skimage", "lmms_eval", "pytest"} & {path.name for path in site.iterdir()}
    there = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])}
    # -S: without the site-packages that the tests run in.
    command = [sys.executable, "-S", "-c", DEMO, str(tmp_path / "store")]
    done = subprocess.run(command, env=there, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[16/16] oracle / tokens" in done.stderr
    assert list((tmp_path / "store").rglob("index.html"))
