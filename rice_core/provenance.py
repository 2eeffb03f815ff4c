"""What code and which libraries made a number: digests of sources, versions, the git commit."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rice_core.digest import json_digest, sources_digest

_CORE = Path(__file__).parent
_LIBRARIES = (
    "ricebench",
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "scikit-learn",
    "transformers",
    "timm",
    "open_clip_torch",
)
_FEATURE_LIBRARIES = {"torch", "torchvision", "pillow", "transformers", "timm", "open_clip_torch"}
# What turns files into features; a change here must not find the shards of before.
_FEATURE_SOURCES = ("extract.py", "images.py", "features.py", "datasets.py", "datasets", "encoders", "model")
# Pathspecs of git: an edit elsewhere (a test, a page's template) taints no number.
_NUMBER_SOURCES = (":(glob)rice_core/**/*.py", ":(glob)probes/**/*.py")
# What cannot change a number of an existing data set and encoder.
_INERT = {"cli", "progress.py", "loss", "curate", "regions.py", "train", "world", "recipes", "data"}


@cache
def feature_code() -> str:
    """Digest of the sources and the library versions that turn image files into features."""
    versions = {name: found for name, found in libraries().items() if name in _FEATURE_LIBRARIES}
    return json_digest([_digest(_CORE, [_CORE / name for name in _FEATURE_SOURCES]), versions])


@cache
def number_code(probe_type: type[Any]) -> str:
    """Digest of the sources that turn a request into a number: rice_core and what lies beside the probe.

    Beside the probe are the modules of its own package and, of the packages above, those at the same level as the one
    that leads to it: a change of one probe's package makes no other probe's numbers stale.
    """
    core = [path for path in _CORE.iterdir() if path.name not in _INERT]
    *packages, _ = probe_type.__module__.split(".")
    module = sys.modules[packages[0] if packages else probe_type.__module__]
    if not packages or not hasattr(module, "__path__"):
        home = Path(str(module.__file__))
        return json_digest([_digest(_CORE, core), _digest(home.parent, [home])])
    root = Path(next(iter(module.__path__)))
    folders = [root.joinpath(*packages[1 : 1 + depth]) for depth in range(len(packages))]
    own = [path for folder in folders for path in folder.glob("*.py")]
    return json_digest([_digest(_CORE, core), _digest(root, own)])


@cache
def libraries() -> dict[str, str]:
    """Installed versions of the libraries that a number depends on."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def commit() -> tuple[str | None, bool | None]:
    """(commit, whether tracked sources differ from it); (None, None) where the package is not run from a git checkout."""
    root = _CORE.parent
    if not (root / ".git").exists():
        return None, None
    try:
        head = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--", *_NUMBER_SOURCES)
    except (OSError, subprocess.SubprocessError):
        return None, None
    return head, bool(changes)


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


def _digest(root: Path, paths: list[Path]) -> str:
    files = [
        f
        for path in paths
        for f in (path.rglob("*.py") if path.is_dir() else [path])
        if f.suffix == ".py" and f.exists()
    ]
    return sources_digest(files, root)
