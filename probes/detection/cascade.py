"""Cascade Mask R-CNN on `torchvision.ops`, the same as detectron2's: losses, gradients and detections agree to the last bits.

Parameters under `proposal_generator` and `roi_heads` have the names and shapes of detectron2's GeneralizedRCNN, so its
weights load as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import nn

from probes.detection.lessons import Lesson, lessons_of
from probes.detection.nouns import Detections, StepPart, Target
from probes.detection.pyramid import Canvas, Pyramid
from probes.detection.recipe import HeadConfig
from probes.detection.rpn import Anchors, ProposalNetwork
from probes.detection.stages import RegionHeads, Regions
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
        lesson: Lesson | None = None,
    ) -> dict[str, torch.Tensor]:
        """See `Detector`.

        Raises:
            UserError: a proposal is not finite, or an object has no mask and masks are learnt.
        """
        levels = self.pyramid(tokens_BCTU)
        sizes = [self._canvas.size(hw) for hw in sizes_hw]
        truths = on_canvas(targets, self._canvas, masks=self._masks)
        answer = self.proposal_generator.rpn_head(levels)
        if lesson is None:
            anchors = self.proposal_generator.drawn(levels, truths, generator)
            proposals = self.proposal_generator.propose(levels, answer, sizes, training=True)
            regions = self.roi_heads.drawn(proposals, truths, generator)
        else:
            anchors, regions = lesson.anchors, lesson.regions
        categories, scale = None if lesson is None else lesson.categories, self._canvas.scale
        losses = self.proposal_generator.losses(answer, anchors)
        losses |= self.roi_heads.losses(levels, regions, sizes, truths, generator, scale=scale, categories=categories)
        return losses if lesson is None else {name: loss * lesson.shares[name] for name, loss in losses.items()}

    @torch.no_grad()
    def lessons(self, parts: Sequence[StepPart], generator: torch.Generator) -> list[Lesson]:
        """See `Detector`. Each part is seen twice, for all anchors of a step are drawn before its first region, and nothing that is as
        large as its features is kept.

        Raises:
            UserError: a proposal or a refined box is not finite.
        """
        truths = [on_canvas(part.targets, self._canvas, masks=False) for part in parts]
        proposed = [self._proposed(*each, generator) for each in zip(parts, truths, strict=True)]
        stages = [
            self._stages(part, truth, proposals, generator)
            for part, truth, (_, proposals) in zip(parts, truths, proposed, strict=True)
        ]
        anchors = [each for each, _ in proposed]
        return lessons_of(anchors, stages, truths, self.roi_heads.box_predictor, generator)

    def _proposed(
        self, part: StepPart, truths: list[Target], generator: torch.Generator
    ) -> tuple[Anchors, list[torch.Tensor]]:
        levels, network = self.pyramid(part.tokens_BCTU), self.proposal_generator
        anchors = network.drawn(levels, truths, generator)
        sizes = [self._canvas.size(hw) for hw in part.sizes_hw]
        return anchors, network.propose(levels, network.rpn_head(levels), sizes, training=True)

    def _stages(
        self, part: StepPart, truths: list[Target], proposals: list[torch.Tensor], generator: torch.Generator
    ) -> list[Regions]:
        first = self.roi_heads.drawn(proposals, truths, generator)
        sizes = [self._canvas.size(hw) for hw in part.sizes_hw]
        return self.roi_heads.regions(self.pyramid(part.tokens_BCTU), first, sizes, truths)

    @torch.no_grad()
    def detect(self, tokens_BCTU: torch.Tensor, sizes_hw: list[tuple[int, int]]) -> list[Detections]:
        """See `Detector`. What is not finite is dropped, and what has no area."""
        levels = self.pyramid(tokens_BCTU)
        sizes = [self._canvas.size(hw) for hw in sizes_hw]
        answer = self.proposal_generator.rpn_head(levels)
        proposals = self.proposal_generator.propose(levels, answer, sizes, training=False)
        found = self.roi_heads.detect(levels, proposals, sizes)
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
