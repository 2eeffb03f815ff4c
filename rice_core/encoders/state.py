"""Files of weights as people save them -> the tensors of one vision transformer, for timm's own filters to rename.

Understood: DINO, DINOv2 and iBOT (`teacher`, `backbone.`, blocks in chunks), MAE, DeiT and timm (`model`, EMA first), I-JEPA
(`encoder`), Lightning (`state_dict`), MoCo v3, DDP (`module.`), and any other prefix that stands before all of the tower.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm.models
import torch

from rice_core.checkpoints import WEIGHTS
from rice_core.errors import UserError
from rice_core.spec import EncoderSpec

ANCHOR = "patch_embed.proj.weight"
"""The one tensor that all ViTs in the manner of timm name alike."""
_WRAPPERS = ("state_dict_ema", "model_ema", "ema", "teacher", "state_dict", "model", "encoder", "student", "backbone")
"""Where the weights are, the ones to judge before others: an average or a teacher before what learns from it."""
_BETTER = {"ema", "teacher", "momentum"}
_HEADS = re.compile(
    r"(head|heads|head_dist|fc|classifier|decoder|predictor|projector|projection_head|pre_logits"
    r"|\w+_head|decoder_\w+)(\.|$)"
)
State = dict[str, torch.Tensor]


def read_state(spec: EncoderSpec, path: Path) -> State:
    """The tower's tensors of a file, without wrappers, prefixes and heads. Nothing but tensors is ever unpickled.

    Raises:
        UserError: no such file, no file of weights, or several towers in it.
        RuntimeError, SafetensorError: it is damaged, or holds more than tensors; see `hub.explained`.
    """
    if not path.is_file():
        raise UserError(f"{spec.title}: there is no file {path}; check weights=.")
    if path.suffix not in WEIGHTS:
        raise UserError(f"{spec.title}: {path.name} is no file of weights; give one that ends in {', '.join(WEIGHTS)}.")
    try:
        found: Any = timm.models.load_state_dict(str(path), device="cpu", weights_only=True)
        while inner := next((found[key] for key in _WRAPPERS if isinstance(found.get(key), Mapping)), None):
            found = timm.models.clean_state_dict(dict(inner))
    except (AttributeError, TypeError):
        found = {}  # not a mapping from names
    state = {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}
    if not state:
        raise UserError(
            f"{spec.title}: {path.name} holds no weights (it has {', '.join(map(str, list(found)[:5])) or 'nothing'}); "
            "give a file of a model's state dict."
        )
    return _tower(spec, path, state)


def without_heads(state: State) -> State:
    """What a classifier, projector or decoder on top of the tower left is dropped."""
    return {key: value for key, value in state.items() if not _HEADS.match(key)}


def shape(state: State) -> tuple[int, int, int]:
    """Width, depth and patch; zeros where the tensors do not tell."""
    kernel = state.get(ANCHOR)
    depths = [int(found[1]) for key in state if (found := re.match(r"blocks\.(\d+)\.", key))]
    if kernel is None or not depths:
        return 0, 0, 0
    pixels = kernel[0].numel() // 3
    return kernel.shape[0], max(depths) + 1, round(pixels**0.5)


def side(state: State) -> int | None:
    """Pixels of the square images that the position table was trained for; None without a table."""
    table = state.get("pos_embed")
    patch = shape(state)[2]
    if table is None or table.ndim != 3 or not patch:
        return None
    for others in (0, 1, 2, 5):  # a class token, with a distillation token, with four registers
        tokens = int(table.shape[1]) - others
        if tokens > 0 and math.isqrt(tokens) ** 2 == tokens:
            return math.isqrt(tokens) * patch
    return None


def _tower(spec: EncoderSpec, path: Path, state: State) -> State:
    """What is below the one prefix, without heads. Without the anchor, timm's filters may still know the keys."""
    prefixes = sorted({key.removesuffix(ANCHOR) for key in state if key == ANCHOR or key.endswith("." + ANCHOR)})
    if len(prefixes) > 1:
        better = [prefix for prefix in prefixes if _BETTER & set(re.split(r"[._]", prefix))]
        if len(better) != 1:
            raise UserError(
                f"{spec.title}: {path.name} holds several encoders ({', '.join(prefixes)}); save the one to judge alone."
            )
        prefixes = better
    if not prefixes:
        return state
    # DINOv2 trains its blocks in chunks, which keep the number of the whole: blocks.1.7. is block 7.
    return without_heads(
        {
            re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key.removeprefix(prefixes[0])): value
            for key, value in state.items()
            if key.startswith(prefixes[0])
        }
    )
