"""Any encoder as the featurizer, on square-padded box crops (paper: CLIP's image tower)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from rice_core.catalogue import resolve
from rice_core.digest import json_digest
from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.rice.curate.nouns import Box, Floats

BATCH = 64
"""Crops a forward pass."""


class EncoderFeatures:
    """The class token where there is one, else the mean of the patches. One process holds the model."""

    portable = False
    components: int | None = None

    def __init__(self, text: str, *, device: str) -> None:
        self._encoder = load_encoder(resolve(text)).to(device)
        spec = self._encoder.spec
        if spec.resolution is None:
            raise ValueError("an encoder must fill in spec.resolution")
        self._side = max(spec.resolution)
        self.name = spec.told().shorthand
        # Weights and preprocessing decide, not the name: an encoder trained further at the same place is another featurizer.
        self.version = json_digest([self._encoder.weights_digest(), self._encoder.architecture_digest()])[:12]

    def crop(self, image: Image.Image, box: Box) -> Image.Image:
        """The box centred on a gray square, no larger than the encoder looks at."""
        left, top = max(0, int(box[0])), max(0, int(box[1]))
        right, bottom = min(image.width, max(left + 1, round(box[2]))), min(image.height, max(top + 1, round(box[3])))
        side = max(right - left, bottom - top)
        scale = min(1.0, self._side / side)
        width, height = (max(1, round(edge * scale)) for edge in (right - left, bottom - top))
        square = Image.new("RGB", (max(width, height),) * 2, (127, 127, 127))
        inside = image.resize((width, height), Image.Resampling.BICUBIC, box=(left, top, right, bottom))
        square.paste(inside, ((square.width - width) // 2, (square.height - height) // 2))
        return square

    def describe(self, crops: Sequence[Image.Image]) -> Floats:
        parts = []
        for start in range(0, len(crops), BATCH):
            pixels_B3HW = self._encoder.preprocess(crops[start : start + BATCH])
            with torch.inference_mode():
                features = self._encoder.encode(pixels_B3HW)
            x_BC = features.dense_BCHW.mean((2, 3)) if features.cls_BC is None else features.cls_BC
            parts.append(x_BC.float().cpu().numpy())
        x_NC: Floats = np.concatenate(parts)
        if not np.isfinite(x_NC).all():
            raise UserError(f"--features {self.name} gives NaN or infinite features; try ?dtype=fp32.")
        return x_NC
