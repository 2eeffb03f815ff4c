"""What a training leaves of the model, to the last bit.

llava.json                    `LlavaCard`
projector.safetensors         projector and `image_newline`
tower.safetensors             the encoder's weights, where they were trained: without them the answers would be another encoder's
language_model/               as transformers writes one, with its tokenizer
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from pydantic import ValidationError
from safetensors.torch import load_file, save
from torch import nn
from torch.distributed.tensor import DTensor

from mllm.llava.language_model import Precision, dtype_of
from mllm.llava.model import Llava
from mllm.llava.packing import Anyres, OneVision, Square
from mllm.llava.recipe import LlavaConfig
from rice_core.disk.files import write_atomically
from rice_core.encoders.hub import quiet
from rice_core.errors import UserError, first_fault
from rice_core.ranks import Ranks
from rice_core.spec import Frozen

LLAVA, PROJECTOR, TOWER, LANGUAGE_MODEL = "llava.json", "projector.safetensors", "tower.safetensors", "language_model"
NEWLINE = "image_newline"
_LEFT = (".safetensors", ".json", ".txt")
"""Files of a language model that a stage may leave (`rice_core.stage`)."""


class LlavaCard(Frozen):
    """What is to be known of the weights beside them."""

    format: Literal[1] = 1
    model: LlavaConfig
    """Its language model as `language_model.identity` tells it."""
    side: int
    """S: pixels along a tile."""
    patch: int
    precision: Precision
    """Of the products of matrices, and of the language model's weights."""
    commit: str = ""
    """Of the language model on the hub."""


def pictures_of(config: LlavaConfig, side: int, patch: int) -> Anyres | Square:
    """How pictures are cut from the second stage on."""
    grids = {"2x2": Anyres, "6x6": OneVision}
    return Square(side, patch, config.square) if config.tiles == "one" else grids[config.tiles](side, patch)


def save_llava(
    model: Llava, tokenizer: Any, kept: LlavaCard, out: Path, *, tower: bool, language_model: bool, ranks: Ranks
) -> None:
    """Every rank calls it; the first one writes.

    Args:
        out: empty. tower: whether its weights are others than the encoder's. language_model: whether it is to be left as well.
    """
    keep = ranks.leads
    found = {PROJECTOR: gathered(weights_of(model.projector) | {NEWLINE: model.image_newline}, keep=keep)}
    if tower:
        found[TOWER] = gathered(weights_of(model.tower.module), keep=keep)
    words = gathered(weights_of(model.language_model), dtype_of(kept.precision), keep=keep) if language_model else {}
    if not ranks.leads:
        return
    for name, tensors in found.items():
        write_atomically(out / name, save(tensors))
    if language_model:
        folder = out / LANGUAGE_MODEL
        with quiet():
            model.language_model.save_pretrained(folder, state_dict=words)
        tokenizer.save_pretrained(folder)
        # A stage leaves nothing that is code, and no file of another kind: chats are laid out by `text.ChatML`, and what a tokenizer
        # needs is in its JSON.
        for path in [each for each in folder.rglob("*") if each.is_file() and each.suffix not in _LEFT]:
            path.unlink()
    write_atomically(out / LLAVA, kept.model_dump_json(indent=1).encode())


def read_kept(folder: Path) -> LlavaCard:
    """Raises UserError: the folder is no training's, or its llava.json is damaged."""
    try:
        return LlavaCard.model_validate_json((folder / LLAVA).read_bytes())
    except OSError:
        raise UserError(f"{folder.name}: it holds no {LLAVA}; give the folder that a training left.") from None
    except ValidationError as error:
        raise UserError(f"{folder.name}: its {LLAVA} is damaged ({first_fault(error)}); train it again.") from None


def read_language_model(folder: Path, precision: Precision) -> tuple[Any, Any]:
    """The language model that a training left, with weights in this precision, and its tokenizer."""
    place = folder / LANGUAGE_MODEL
    words = transformers.AutoModelForCausalLM.from_pretrained(
        place, use_safetensors=True, dtype=dtype_of(precision), local_files_only=True
    )
    return words.eval(), transformers.AutoTokenizer.from_pretrained(place, local_files_only=True)


def fill(model: Llava, folder: Path) -> None:
    """Projector and, where it was trained, tower of a training, into the model.

    Raises:
        UserError: they are another encoder's or language model's.
    """
    projector = load_file(folder / PROJECTOR)
    tower = load_file(folder / TOWER) if (folder / TOWER).is_file() else None
    try:
        with torch.no_grad():
            model.image_newline.copy_(projector.pop(NEWLINE))
        model.projector.load_state_dict(projector)
        if tower is not None:
            model.tower.module.load_state_dict(tower)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:160]
        raise UserError(
            f"{folder.name}: its weights do not fit ({said}); give the encoder and language model that it was trained with."
        ) from None


def weights_of(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name as a checkpoint has them, tied ones once."""
    own = {name for name, _ in [*module.named_parameters(), *module.named_buffers()]}
    return {name: each for name, each in module.state_dict().items() if name in own}


def gathered(
    tensors: Mapping[str, torch.Tensor], dtype: torch.dtype | None = None, *, keep: bool = True
) -> dict[str, torch.Tensor]:
    """Each of them whole, on the CPU, and no part of a training any more. Every rank has to call it.

    Args:
        dtype: of floating point numbers; None: as they are.
        keep: False: nothing comes back; on a rank that writes nothing, for eight copies of a model are more than a machine's memory.
    """
    found = {}
    for name, each in tensors.items():
        whole: torch.Tensor = (each.full_tensor() if isinstance(each, DTensor) else each).detach()
        if not keep:
            continue
        kind = dtype if dtype is not None and whole.is_floating_point() else whole.dtype
        found[name] = whole.to("cpu", kind, copy=True).contiguous()
    return found
