"""A trained head on a frozen encoder, following the objects of many videos at once; it knows of no files and keeps nothing.

A box is x, y, w, h in pixels of its frame, which count from 0. Shapes: B videos, L template tokens, D width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from rice_core.errors import UserError
from rice_core.features import Encoder, Informed
from tracking.center import hann
from tracking.crops import cut, foreground, truth
from tracking.decode import Picture
from tracking.geometry import Crop, clip
from tracking.model import TrackerHead
from tracking.recipe import TrackerConfig
from tracking.tokens import sizes_of, tokens_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class VideoFrame:
    """A frame of a video."""

    name: str
    """Of the video, for what goes wrong."""
    picture: Picture
    truth_4: Floats
    """Where the object is; NaN where that is not known. For an encoder that is told the truth, and nobody else."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        picture = self.picture
        return picture.size if isinstance(picture, Image.Image) else (picture.shape[1], picture.shape[0])

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.size[1], self.size[0]


class VideoFollower(Protocol):
    """What `tracking.track.track` lets follow: a template of each object, and a step for all of them at once."""

    def begin(self, frames: Sequence[VideoFrame], boxes_B4: Floats) -> Sequence[Any]:
        """The template of each object, from the box in its first frame.

        Raises:
            UserError: it cannot be made.
        """

    def step(self, templates: Sequence[Any], frames: Sequence[VideoFrame], boxes_B4: Floats) -> tuple[Floats, Floats]:
        """The boxes (B, 4) in the next frames and their scores (B,), by the templates and the boxes in the frames before.

        Raises:
            UserError: as `begin`.
        """


class ObjectTracker:
    """A `VideoFollower`; see above.

    Args:
        head: with its weights, on the encoder's device, in evaluation mode.
        precision: "bf16": passes are in mixed precision.
    """

    def __init__(self, encoder: Encoder, head: TrackerHead, config: TrackerConfig, precision: str) -> None:
        self.encoder, self.head, self.config, self.precision = encoder, head, config, precision
        self.template_size, self.search_size = sizes_of(config, encoder.patch)
        self.window_SS = hann(config.search_grid, config.window).to(encoder.device)

    def begin(self, frames: Sequence[VideoFrame], boxes_B4: Floats) -> list[torch.Tensor]:
        """The template (L, D) of each object, from the box in its first frame: the same for all frames to come.

        Raises:
            UserError: as `tokens.tokens_of`.
        """
        config = self.config
        crops = [Crop.around(box, config.template_factor, self.template_size, config.geometry) for box in boxes_B4]
        cells_BTT = np.stack(
            [foreground(crop, box, config.template_grid) for crop, box in zip(crops, boxes_B4, strict=True)]
        )
        tokens_BCTT = self._tokens(frames, crops)
        with self._quietly():
            return list(self.head.template(tokens_BCTT, torch.from_numpy(cells_BTT).to(tokens_BCTT.device)))

    def step(
        self, templates: Sequence[torch.Tensor], frames: Sequence[VideoFrame], boxes_B4: Floats
    ) -> tuple[Floats, Floats]:
        """The boxes in the next frames and their scores in (0, 1), by the templates and the boxes in the frames before.

        Raises:
            UserError: as `tokens.tokens_of`, or the head gives no number.
        """
        config = self.config
        crops = [Crop.around(box, config.search_factor, self.search_size, config.geometry) for box in boxes_B4]
        tokens_BCSS = self._tokens(frames, crops)
        with self._quietly():
            inside_B4, score_B = self.head(torch.stack(list(templates)), tokens_BCSS).boxes(self.window_SS)
        found = torch.cat([inside_B4, score_B[:, None]], 1).double().cpu().numpy()
        if not np.isfinite(found).all():
            name = frames[int(np.isfinite(found).all(axis=1).argmin())].name
            raise UserError(f"{self.encoder.spec.title}: the trained tracker gives no number in {name}; train it anew.")
        boxes = [
            clip(crop.back(row[:4]), frame.size_hw, config.margin)
            for crop, row, frame in zip(crops, found, frames, strict=True)
        ]
        return np.array(boxes), found[:, 4]

    def _tokens(self, frames: Sequence[VideoFrame], crops: Sequence[Crop]) -> torch.Tensor:
        return crop_tokens(self.encoder, frames, crops, self.config, self.precision)

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """As it was trained, without a graph."""
        device = self.encoder.device.type
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16"):
            yield


def crop_tokens(
    encoder: Encoder, frames: Sequence[VideoFrame], crops: Sequence[Crop], config: TrackerConfig, precision: str
) -> torch.Tensor:
    """The frozen encoder's tokens (B, C, T, T) of a crop of each frame.

    Raises:
        UserError: as `tokens.tokens_of`.
    """
    pairs = list(zip(frames, crops, strict=True))
    pixels_BSS3 = torch.from_numpy(np.stack([cut(frame.picture, crop) for frame, crop in pairs]))
    truths = None
    if isinstance(encoder, Informed):
        known = [frame.truth_4.tolist() if np.isfinite(frame.truth_4).all() else None for frame in frames]
        truths = list(map(truth, crops, known))
    names = [frame.name for frame in frames]
    return tokens_of(encoder, pixels_BSS3, config, precision=precision, names=names, truths=truths)
