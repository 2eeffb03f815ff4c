"""The model that a training left, ready to answer. Apart from `weights`, for no change of how it answers makes it another training."""

from __future__ import annotations

from pathlib import Path

import torch

from mllm.llava.model import Llava
from mllm.llava.speaker import Speaker
from mllm.llava.text import ChatML
from mllm.llava.vision import VisionTower
from mllm.llava.weights import LANGUAGE_MODEL, fill, pictures_of, read_kept, read_language_model
from rice_core.errors import UserError
from rice_core.features import Encoder


def load_llava(folder: Path, encoder: Encoder, *, device: torch.device | str = "cpu", batch: int = 8) -> Speaker:
    """The model that a training left.

    Args:
        encoder: the one that it was trained with. batch: questions that are answered at once.

    Raises:
        UserError: the folder holds no whole model, or another encoder's.
    """
    kept = read_kept(folder)
    if not (folder / LANGUAGE_MODEL).is_dir():
        raise UserError(f"{folder.name}: it holds no language model to answer with; give what the second stage left.")
    words, tokenizer = read_language_model(folder, kept.precision)
    model = Llava(VisionTower(encoder, kept.model.layer), words)
    if (model.tower.side, model.tower.patch) != (kept.side, kept.patch):
        raise UserError(
            f"{folder.name}: it was trained with tiles of {kept.side} pixels and patches of {kept.patch}, and {encoder.spec.title} has "
            f"{model.tower.side} and {model.tower.patch}; give the encoder that it was trained with."
        )
    fill(model, folder)
    pictures = pictures_of(kept.model, kept.side, kept.patch)
    return Speaker(model.to(device), tokenizer, ChatML(tokenizer), pictures, batch=batch, precision=kept.precision)
