"""What is installed where `make gpu` runs, what is not, and how the checkout is found without being installed."""

from __future__ import annotations

import importlib.util
import os
import platform
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
_ALL = ("torch", "torchvision", "pydantic", "safetensors", "PIL", "yaml", "scipy")
_TRAINS = (*_ALL, "mmengine", "webdataset", "pycocotools", "rich", "matplotlib")
NEEDS: dict[str, tuple[str, ...]] = {
    "extraction": (*_ALL, "pycocotools"),
    "rice_step": (*_ALL, "pycocotools"),
    "detector_step": _ALL,
    "tracking": _ALL,
    "one_rank": _TRAINS,
    "resume": _TRAINS,
    "compiled": (*_ALL, "pycocotools"),
}
"""Measurement -> modules without which it is left out, in the order in which they run."""
_TESTS = ("pytest", *_TRAINS, "sklearn")
_PYPI = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn"}
_BRINGS = {
    "pydantic": ("pydantic-core", "annotated-types", "typing-inspection", "typing-extensions"),
    "mmengine": ("addict", "termcolor", "yapf", "platformdirs"),
    "webdataset": ("braceexpand",),
}
"""Package -> what it needs beside what scientific environments have."""
_SHOWN = ("torch", "torchvision", "transformers", "timm", "numpy", "pydantic", "mmengine", "triton")


def installed(*modules: str) -> bool:
    """Whether all of them can be found; nothing is imported."""
    return all(importlib.util.find_spec(name) is not None for name in modules)


def missing_sentence() -> str:
    """What is not installed and what is left out for it; empty where nothing is missing."""
    wanted = dict.fromkeys((*(module for modules in NEEDS.values() for module in modules), *_TESTS))
    missing = [module for module in wanted if not installed(module)]
    if not missing:
        return ""
    names = [name for module in missing for name in (_PYPI.get(module, module), *_BRINGS.get(module, ()))]
    left_out = [name for name, modules in NEEDS.items() if not set(modules).isdisjoint(missing)]
    if not set(_TESTS).isdisjoint(missing):
        left_out.append("the tests that import them")
    return (
        f"make gpu: not installed here: {', '.join(missing)}; left out for it: {', '.join(left_out) or 'nothing'}. "
        f"Bring the wheels of {' '.join(dict.fromkeys(names))} (docs/benchmarks.md says how), or install them."
    )


def stand_in(folder: Path) -> dict[str, str]:
    """The environment of a process that finds this checkout, and its entry points where it is not installed."""
    # A process that measures shares no memory with the next one, but fragments of its own cost room at these sizes.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    paths = [str(CHECKOUT), os.environ.get("PYTHONPATH", "")]
    try:
        distribution("ricebench")
    except PackageNotFoundError:
        paths.insert(1, str(_metadata(folder)))
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _metadata(folder: Path) -> Path:
    """A folder for sys.path with what `pip install` would have written of the project: its name and its entry points."""
    project: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    about = folder / f"ricebench-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: ricebench\nVersion: {project['version']}\n")
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    lines = [line for group, points in groups.items() for line in (f"[{group}]", *_lines(points))]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def _lines(points: dict[str, str]) -> list[str]:
    return [f"{name} = {target}" for name, target in points.items()]


def described(*, tiny: bool) -> dict[str, Any]:
    """The card and the libraries; no name of a host, no path."""
    import torch

    body: dict[str, Any] = {"python": platform.python_version(), "cores": os.cpu_count()}
    for name in _SHOWN:
        try:
            body[name] = version(name)
        except PackageNotFoundError:
            body[name] = None
    if tiny:
        return body | {"device": "cpu", "tiny": True}
    card = torch.cuda.get_device_properties(0)
    return body | {
        "device": card.name,
        "memory_gib": round(card.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tiny": False,
    }
