"""What code and which libraries made a number: digests of sources, versions, the git commit.

The code of a number is what its probe, the engine that runs it and the adapter that loads its encoder import
(`rice_core.measure.closure`), with the versions of the libraries that the probe names as its instruments. The code of a feature
is the same of the extractor and the adapter.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

from rice_core.digest import json_digest
from rice_core.measure.closure import closure, closure_digest

_ENGINE = ("rice_core.measure.measurer",)
_TRAINING = ("rice_core.measure.stages", "rice_core.measure.follow")
"""What runs a stage on the first rank, and on those that help it."""
_EXTRACTOR = "rice_core.measure.extract"
_FEATURE_LIBRARIES = ("torch", "torchvision", "pillow", "transformers", "timm", "open_clip_torch")
_LIBRARIES = ("ricebench", "numpy", "scikit-learn", *_FEATURE_LIBRARIES)


@cache
def feature_code(source: str) -> str:
    """Digest of the sources and the library versions that turn image files into features.

    Args:
        source: of the encoder's spec ("hf", "timm"): its adapter belongs to the code.
    """
    return json_digest([closure_digest([_EXTRACTOR, *_adapter(source)]), _versions(_FEATURE_LIBRARIES)])


@cache
def number_code(made_by: type[Any], source: str = "", *, training: bool = False) -> str:
    """Digest of the sources that turn a request into a number, and of the versions of the probe's instruments.

    Args:
        made_by: the class of the probe. training: it is that of a stage, and the code is that of the weights which it leaves:
            what judges them is no part of it.
        source: of the encoder's spec; without one the digest is the same for the encoders of every adapter.
    """
    code = closure_digest(number_modules(made_by, source, training=training))
    return json_digest([code, _versions(instruments(made_by))])


def number_modules(made_by: type[Any], source: str = "", *, training: bool = False) -> tuple[str, ...]:
    """The modules whose closure is the code of a number; see `number_code`."""
    return (made_by.__module__, *(_TRAINING if training else _ENGINE), *_adapter(source))


def instruments(made_by: type[Any]) -> tuple[str, ...]:
    """The distributions that a probe or a stage names as what it computes with."""
    return tuple(getattr(made_by, "instruments", ()))


@cache
def libraries(probe_type: type[Any] | None = None) -> dict[str, str]:
    """Installed versions of Python and the libraries that a number depends on, with the probe's instruments."""
    named = _LIBRARIES if probe_type is None else dict.fromkeys((*_LIBRARIES, *instruments(probe_type)))
    return {"python": ".".join(map(str, sys.version_info[:3])), **_versions(tuple(named))}


@cache
def commit(modules: tuple[str, ...]) -> tuple[str | None, bool | None]:
    """(commit, whether a file of what these modules import differs from it); (None, None) without a git checkout.

    An edit elsewhere (a test, a page's template, another probe) taints no number.
    """
    root = _checkout()
    if root is None:
        return None, None
    used = {path.resolve() for path in closure(modules).values()}
    try:
        return _git(root, "rev-parse", "HEAD").strip(), not used.isdisjoint(_changed(root))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _adapter(source: str) -> list[str]:
    if source == "own":  # handed over in Python, so that nothing has to be found
        return ["rice_core.encoders.own"]
    return [point.module for point in entry_points(group="ricebench.encoders", name=source)]


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _checkout() -> Path | None:
    root = Path(__file__).resolve().parents[2]
    return root if (root / ".git").exists() else None


@cache
def _changed(root: Path) -> frozenset[Path]:
    """Files that differ from the commit, new ones included."""
    lines = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all").split("\0")
    return frozenset(root / line[3:] for line in lines if line)


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout
