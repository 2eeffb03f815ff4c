"""What the parts of the detector pass to each other.

Letters: B images, N true objects of an image, D detections of an image, H x W the pixels that the encoder sees (padding
included), h x w the valid part of them, M x M a soft mask within its box, C channels, T x U the patch grid.

Boxes are (left, top, right, bottom) in pixels of what the encoder sees, not of the virtual canvas inside the detector and
not of the original image. Labels count from 0 to K - 1; K is background.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch

LOSSES = (
    "loss_rpn_cls",
    "loss_rpn_loc",
    "loss_cls_stage0",
    "loss_box_reg_stage0",
    "loss_cls_stage1",
    "loss_box_reg_stage1",
    "loss_cls_stage2",
    "loss_box_reg_stage2",
    "loss_mask",
)
"""As detectron2 names them; `loss_mask` only where masks are learnt."""


@dataclass(frozen=True)
class Target:
    """The truth of one training image."""

    boxes_N4: torch.Tensor
    """float32, each with an area."""
    labels_N: torch.Tensor
    """int64."""
    masks_NHW: torch.Tensor | None = None
    """bool; None where the data set has boxes alone."""
    masked_N: torch.Tensor | None = None
    """bool: which objects have a mask; None where all have, or masks are not learnt."""
    ignored_M4: torch.Tensor | None = None
    """float32: boxes in which nothing is learnt, neither object nor background; None where there are none."""

    def moved(self, move: Callable[[torch.Tensor], torch.Tensor]) -> Target:
        """With each of its tensors moved."""
        parts = {each.name: getattr(self, each.name) for each in fields(self)}
        return Target(**{name: None if part is None else move(part) for name, part in parts.items()})


@dataclass(frozen=True)
class Detections:
    """What was found in one image, the best first."""

    boxes_D4: torch.Tensor
    scores_D: torch.Tensor
    labels_D: torch.Tensor
    masks_DMM: torch.Tensor | None = None
    """Probability in [0, 1] of each of M x M cells of the box (M = 28)."""


@dataclass(frozen=True)
class StepPart:
    """A part of a step's images, and what is true of them."""

    tokens_BCTU: torch.Tensor
    """The frozen encoder's."""
    sizes_hw: list[tuple[int, int]]
    """Valid part of each image; the rest is padding."""
    targets: list[Target]


class Detector(Protocol):
    """A trainable head over the frozen encoder's patch grid, whichever backend built it."""

    def losses(
        self,
        tokens_BCTU: torch.Tensor,
        sizes_hw: list[tuple[int, int]],
        targets: list[Target],
        generator: torch.Generator | None = None,
        lesson: Any = None,
    ) -> dict[str, torch.Tensor]:
        """Scalars by the names of LOSSES; their sum is what is minimised.

        Args:
            sizes_hw: valid part of each image; the rest is padding.
            generator: draws which anchors and regions are learnt from; None is torch's global one.
            lesson: one of `lessons`, in place of the generator: the images are a part of a step's, and what they lose is their
                share of what the step does.
        """

    def lessons(self, parts: Sequence[StepPart], generator: torch.Generator) -> Sequence[Any]:
        """What each part of a step is to learn from: what `losses` would draw from this generator for all their images at once, and
        the part's share in each loss. No gradient comes of it.

        Args:
            parts: their targets need no masks.

        Raises:
            UserError: it makes a step in one part alone, or what it finds is not finite.
        """

    def detect(self, tokens_BCTU: torch.Tensor, sizes_hw: list[tuple[int, int]]) -> list[Detections]:
        """The detections of each image, boxes clipped to its valid part."""
