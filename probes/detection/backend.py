"""The same detector from this package (torchvision.ops) or from detectron2, where that imports.

detectron2 is what the paper used. It is not on PyPI, so it is no extra; both backends give the same numbers.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torchvision

from probes.detection.cascade import CascadeMaskRCNN
from probes.detection.detectron2_modules import Detectron2
from probes.detection.nouns import Detector
from probes.detection.recipe import HeadConfig
from rice_core.errors import UserError, did_you_mean

BACKENDS = ("auto", "ops", "detectron2")
COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"
"""Of detectron2, with which the numbers of the tests were recorded."""


def build_detector(
    config: HeadConfig,
    *,
    channels: int,
    classes: int,
    patch: int,
    masks: bool,
    frequencies: Sequence[float] | None = None,
    backend: str = "auto",
) -> tuple[Detector, str]:
    """The detector, and its backend with version for the record. Arguments as of `CascadeMaskRCNN`.

    Args:
        backend: "ops", "detectron2", or "auto": detectron2 where it imports.

    Raises:
        UserError: there is no such backend, it does not import, or the frequencies do not fit.
    """
    if backend not in BACKENDS:
        raise UserError(
            f"There is no detector backend {backend!r}; {did_you_mean(backend, BACKENDS)}write auto, ops or detectron2."
        )
    missing = None if backend == "ops" else _why_missing()
    if backend == "detectron2" and missing:
        raise UserError(
            f"detectron2 does not import ({missing}); check out https://github.com/facebookresearch/detectron2 at "
            f"{COMMIT[:7]}, put that folder on PYTHONPATH and run: pip install fvcore iopath omegaconf yacs cloudpickle "
            "termcolor tabulate portalocker (nothing need be compiled), or write backend=ops."
        )
    ours = backend == "ops" or missing is not None
    kind = CascadeMaskRCNN if ours else Detectron2
    detector: Detector = kind(
        config, channels=channels, classes=classes, patch=patch, masks=masks, frequencies=frequencies
    )
    return detector, f"ops (torchvision {torchvision.__version__})" if ours else _detectron2_version()


def _why_missing() -> str | None:
    try:
        import detectron2.modeling  # noqa: F401
    except (ImportError, AttributeError) as error:  # An old detectron2 asks Pillow for names it no longer has.
        return " ".join(str(error).split())
    return None


def _detectron2_version() -> str:
    import detectron2

    return f"detectron2 {detectron2.__version__} ({_commit(Path(detectron2.__file__).parents[1]) or 'commit unknown'})"


def _commit(root: Path) -> str | None:
    """Of detectron2 as pip installed it from git, or of the checkout on PYTHONPATH."""
    with suppress(PackageNotFoundError):
        told = json.loads(distribution("detectron2").read_text("direct_url.json") or "{}")
        if "vcs_info" in told:
            return str(told["vcs_info"]["commit_id"])
    if not (root / ".git").exists():
        return None
    with suppress(OSError, subprocess.SubprocessError):
        words = ["git", "-C", str(root), "rev-parse", "HEAD"]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    return None
