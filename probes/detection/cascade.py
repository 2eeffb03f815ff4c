"""Cascade Mask R-CNN on `torchvision.ops`, the same as detectron2's: losses, gradients and detections agree to the last bits.

Parameters under `proposal_generator` and `roi_heads` have the names and shapes of detectron2's GeneralizedRCNN, so its
weights load as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import nn

from probes.detection.nouns import Detections, Target
from probes.detection.pyramid import Canvas, Pyramid
from probes.detection.recipe import HeadConfig
from probes.detection.rpn import ProposalNetwork
from probes.detection.stages import RegionHeads
from rice_core.errors import UserError


class CascadeMaskRCNN(nn.Module):
    """A `nouns.Detector`.

    Args:
        channels: of the encoder's patch grid.
        classes: K.
        patch: the encoder's, in pixels of what it sees.
        masks: whether masks are learnt and detected.
        frequencies: images of each category, for the federated loss.

    Raises:
        UserError: the loss is federated and the frequencies do not fit.
    """

    def __init__(
        self,
        config: HeadConfig,
        *,
        channels: int,
        classes: int,
        patch: int,
        masks: bool,
        frequencies: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self._canvas = Canvas(patch)
        self._masks = masks
        self.pyramid = Pyramid(channels, unpool=config.unpool, projection=config.projection)
        self.proposal_generator = ProposalNetwork(
            self.pyramid.channels,
            width=config.rpn_width,
            convs=config.rpn_convs,
            proposals=config.proposals,
            sizes=config.anchors,
        )
        self.roi_heads = RegionHeads(
            config, channels=self.pyramid.channels, classes=classes, masks=masks, frequencies=frequencies
        )

    def losses(
        self,
        tokens_BCTU: torch.Tensor,
        sizes_hw: list[tuple[int, int]],
        targets: list[Target],
        generator: torch.Generator | None = None,
    ) -> dict[str, torch.Tensor]:
        """See `Detector`.

        Raises:
            UserError: a proposal is not finite, or an object has no mask and masks are learnt.
        """
        levels = self.pyramid(tokens_BCTU)
        sizes = [self._canvas.size(hw) for hw in sizes_hw]
        truths = on_canvas(targets, self._canvas, masks=self._masks)
        proposals, losses = self.proposal_generator.losses(levels, sizes, truths, generator)
        scale = self._canvas.scale
        return losses | self.roi_heads.losses(levels, proposals, sizes, truths, generator, scale=scale)

    @torch.no_grad()
    def detect(self, tokens_BCTU: torch.Tensor, sizes_hw: list[tuple[int, int]]) -> list[Detections]:
        """See `Detector`. What is not finite is dropped, and what has no area."""
        levels = self.pyramid(tokens_BCTU)
        sizes = [self._canvas.size(hw) for hw in sizes_hw]
        found = self.roi_heads.detect(levels, self.proposal_generator.propose(levels, sizes), sizes)
        return [
            dataclasses.replace(one, boxes_D4=self._canvas.back(one.boxes_D4, hw))
            for one, hw in zip(found, sizes_hw, strict=True)
        ]


def on_canvas(targets: Sequence[Target], canvas: Canvas, *, masks: bool) -> list[Target]:
    """The truth with its boxes in canvas pixels; masks stay in the encoder's.

    Raises:
        UserError: an object has no mask and masks are learnt.
    """
    for image, target in enumerate(targets):
        if masks and target.masks_NHW is None and len(target.labels_N):
            raise UserError(
                f"The detector learns masks and the objects of image {image} of a batch have none; use masks=off."
            )
    return [
        dataclasses.replace(
            target,
            boxes_N4=canvas.boxes(target.boxes_N4),
            ignored_M4=None if target.ignored_M4 is None else canvas.boxes(target.ignored_M4),
        )
        for target in targets
    ]
