"""SAM and SAM 2 of transformers, asked for every object: a grid of points, masks filtered and thinned as published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from rice_core.digest import tensors_digest
from rice_core.errors import UserError
from rice_core.rice.curate.nouns import DecodedImage, Proposal


class Sam:
    """Masks from the pipeline `mask-generation`, with its default thresholds.

    Args:
        family: sam or sam2, for the manifest.
        model: a hub id or a folder, with safetensors weights.
    """

    portable = False

    def __init__(self, family: str, model: str, *, device: str) -> None:
        from transformers import pipeline

        try:
            self._generate: Any = pipeline(
                "mask-generation", model=model, device=device, model_kwargs={"use_safetensors": True}
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise UserError(
                f"--proposals {family}:{model} cannot be loaded ({' '.join(str(error).split())[:120]}); "
                "check the name, or give a local folder."
            ) from None
        self.name = f"{family}:{model}"
        self.version = tensors_digest(self._generate.model.state_dict())[:12]

    def propose(self, picture: DecodedImage) -> Sequence[Proposal]:
        """Best first."""
        found = self._generate(picture.image, points_per_batch=64)
        proposals = []
        for mask, score in zip(found["masks"], found["scores"], strict=True):
            mask_HW = np.asfortranarray(np.asarray(mask), dtype=np.uint8)
            run_lengths = coco_mask.encode(mask_HW)
            x, y, w, h = (float(edge) for edge in coco_mask.toBbox(run_lengths))
            if w > 0 and h > 0:
                rle = {"size": list(mask_HW.shape), "counts": run_lengths["counts"].decode()}
                proposals.append(Proposal(box=(x, y, x + w, y + h), rle=rle, score=float(score)))
        return sorted(proposals, key=lambda proposal: (-(proposal.score or 0.0), proposal.box))
