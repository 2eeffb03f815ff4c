"""What `ricebench doctor` finds out about a machine."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rice_core.disk.paths import nearest

_LIBRARIES = {
    "torch": "ricebench",
    "torchvision": "ricebench",
    "transformers": "ricebench",
    "mmengine": "ricebench",
    "timm": "ricebench[encoders]",
    "open_clip_torch": "ricebench[encoders]",
}


def findings(store: Path) -> list[str]:
    """One line a finding."""
    lines = [f"{'python':<17}{sys.version.split()[0]}"]
    for name, home in _LIBRARIES.items():
        try:
            lines.append(f"{name:<17}{version(name)}")
        except PackageNotFoundError:
            lines.append(f'{name:<17}missing; run: pip install "{home}"')
    lines.append(f"{'device':<17}{_device()}")
    folder = nearest(store)
    free = shutil.disk_usage(folder).free / 1e9
    writable = "writable" if os.access(folder, os.W_OK) else "NOT writable; choose another with --store"
    lines.append(f"{'store':<17}{store}: {writable}, {free:.1f} GB free")
    offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("0", "")
    lines.append(
        f"{'hub':<17}{'offline (HF_HUB_OFFLINE is set); hf:FOLDER and the local hub cache work' if offline else 'not tried'}"
    )
    return lines


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()} (CUDA {torch.version.cuda})"
    return f"cpu, {torch.get_num_threads()} threads"
