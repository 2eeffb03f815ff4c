"""detectron2's own modules around the same pyramid: the other backend. Only here detectron2 is imported, and only in functions.

Built by explicit constructors: its model zoo wants pkg_resources, and its configurations name files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NoReturn

import torch
from torch import nn

from probes.detection.boxes import has_area
from probes.detection.cascade import on_canvas
from probes.detection.federated import category_weights, drawn_categories
from probes.detection.masks import SIDE
from probes.detection.nouns import LOSSES, Detections, StepPart, Target
from probes.detection.pyramid import STRIDES, Canvas, Pyramid
from probes.detection.recipe import WHOLE, HeadConfig
from probes.detection.rpn import RATIOS
from probes.detection.stages import OVERLAPS, POOLED, WEIGHTS
from rice_core.errors import UserError

_LEVELS = ("p2", "p3", "p4", "p5", "p6")


class Detectron2(nn.Module):
    """detectron2's own modules around the same pyramid. Arguments and parameter names as of `CascadeMaskRCNN`."""

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
        self.proposal_generator = _proposal_network(config, self.pyramid.channels)
        self.roi_heads = _region_heads(config, self.pyramid.channels, classes, masks, frequencies)

    def losses(
        self,
        tokens_BCTU: torch.Tensor,
        sizes_hw: list[tuple[int, int]],
        targets: list[Target],
        generator: torch.Generator | None = None,
        lesson: None = None,
    ) -> dict[str, torch.Tensor]:
        """See `Detector`."""
        from detectron2.structures import Boxes, Instances
        from detectron2.utils.events import EventStorage

        truths = []
        for target, hw in zip(on_canvas(targets, self._canvas, masks=self._masks), sizes_hw, strict=True):
            truth = Instances(self._canvas.size(hw), gt_boxes=Boxes(target.boxes_N4), gt_classes=target.labels_N)
            if self._masks and target.masks_NHW is not None:
                truth.gt_masks = _EncoderMasks(target.masks_NHW, self._canvas.scale)
            truths.append(truth)
        with EventStorage(), _training(self, True), _draws_from(generator, tokens_BCTU.device):
            images, levels = self._seen(tokens_BCTU, sizes_hw)
            try:
                proposals, losses = self.proposal_generator(images, levels, truths)
                losses |= self.roi_heads(images, levels, proposals, truths)[1]
            except (FloatingPointError, AssertionError) as error:
                if isinstance(error, AssertionError) and "infinite or NaN" not in str(error):
                    raise
                raise UserError(
                    f"The detector's proposals are not finite ({error}): lower the rate, or try dtype=fp32 in the "
                    "encoder's spec."
                ) from None
        return {name: losses[name] for name in LOSSES if name in losses}

    def lessons(self, parts: Sequence[StepPart], generator: torch.Generator) -> NoReturn:
        """See `Detector`. detectron2 draws in the midst of its forward pass, and its losses are means over what that is given."""
        raise UserError(WHOLE)

    @torch.no_grad()
    def detect(self, tokens_BCTU: torch.Tensor, sizes_hw: list[tuple[int, int]]) -> list[Detections]:
        """See `Detector`."""
        with _training(self, False):
            images, levels = self._seen(tokens_BCTU, sizes_hw)
            proposals, _ = self.proposal_generator(images, levels, None)
            instances, _ = self.roi_heads(images, levels, proposals, None)
        found = []
        for one, hw in zip(instances, sizes_hw, strict=True):
            one = one[has_area(one.pred_boxes.tensor)]
            masks = one.pred_masks[:, 0].float() if self._masks else None
            boxes_D4 = self._canvas.back(one.pred_boxes.tensor, hw)
            found.append(Detections(boxes_D4, one.scores.float(), one.pred_classes, masks))
        return found

    def _seen(self, tokens_BCTU: torch.Tensor, sizes_hw: list[tuple[int, int]]) -> tuple[Any, dict[str, torch.Tensor]]:
        """Of the images detectron2 asks for their sizes alone."""
        images = SimpleNamespace(image_sizes=[self._canvas.size(hw) for hw in sizes_hw])
        return images, dict(zip(_LEVELS, self.pyramid(tokens_BCTU), strict=True))


class _EncoderMasks:
    """detectron2's BitMasks in pixels of the encoder, asked with boxes in pixels of the canvas."""

    def __init__(self, masks_NHW: torch.Tensor, scale: float) -> None:
        self._masks_NHW, self._scale = masks_NHW, scale

    def __getitem__(self, rows: Any) -> _EncoderMasks:
        return _EncoderMasks(self._masks_NHW[rows], self._scale)

    def __len__(self) -> int:
        return len(self._masks_NHW)

    def crop_and_resize(self, boxes_R4: torch.Tensor, side: int) -> torch.Tensor:
        from detectron2.structures import BitMasks

        return BitMasks(self._masks_NHW).crop_and_resize(boxes_R4 / self._scale, side)


def _proposal_network(config: HeadConfig, channels: int) -> nn.Module:
    from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
    from detectron2.modeling.box_regression import Box2BoxTransform
    from detectron2.modeling.matcher import Matcher
    from detectron2.modeling.proposal_generator import RPN
    from detectron2.modeling.proposal_generator.rpn import StandardRPNHead

    widths = [config.rpn_width or channels] * config.rpn_convs
    anchors = DefaultAnchorGenerator(
        sizes=[[size] for size in config.anchors], aspect_ratios=list(RATIOS), strides=list(STRIDES), offset=0.0
    )
    return RPN(
        in_features=list(_LEVELS),
        head=StandardRPNHead(in_channels=channels, num_anchors=len(RATIOS), conv_dims=widths),
        anchor_generator=anchors,
        anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        box2box_transform=Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_topk=(2 * config.proposals, config.proposals),
        post_nms_topk=(config.proposals, config.proposals),
        nms_thresh=0.7,
    )


def _region_heads(
    config: HeadConfig, channels: int, classes: int, masks: bool, frequencies: Sequence[float] | None
) -> nn.Module:
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.box_regression import Box2BoxTransform
    from detectron2.modeling.matcher import Matcher
    from detectron2.modeling.poolers import ROIPooler
    from detectron2.modeling.roi_heads import CascadeROIHeads, FastRCNNConvFCHead, FastRCNNOutputLayers
    from detectron2.modeling.roi_heads.mask_head import MaskRCNNConvUpsampleHead

    def pooler(side: int) -> ROIPooler:
        scales = tuple(1 / stride for stride in STRIDES[:4])
        return ROIPooler(output_size=side, scales=scales, sampling_ratio=0, pooler_type="ROIAlignV2")

    federated: dict[str, Any] = {}
    if config.federated:
        weight_K = category_weights(frequencies, classes)
        federated = {"use_fed_loss": True, "use_sigmoid_ce": True, "get_fed_loss_cls_weights": lambda: weight_K}
        federated["fed_loss_num_classes"] = drawn_categories(weight_K)
    norm, convs, linears = ("", 0, 2) if config.box_head == "2fc" else ("LN", 4, 1)
    heads, predictors = [], []
    for weights in WEIGHTS:
        heads.append(
            FastRCNNConvFCHead(
                ShapeSpec(channels=channels, height=POOLED, width=POOLED),
                conv_dims=[config.conv_width] * convs,
                fc_dims=[config.fc_width] * linears,
                conv_norm=norm,
            )
        )
        predictors.append(
            FastRCNNOutputLayers(
                heads[-1].output_shape,
                box2box_transform=Box2BoxTransform(weights=weights),
                num_classes=classes,
                test_score_thresh=config.score_threshold,
                test_topk_per_image=config.detections,
                cls_agnostic_bbox_reg=True,
                **federated,
            )
        )
    mask: dict[str, Any] = {}
    if masks:
        head = MaskRCNNConvUpsampleHead(
            ShapeSpec(channels=channels, height=SIDE // 2, width=SIDE // 2),
            num_classes=classes,
            conv_dims=[config.conv_width] * (config.mask_convs + 1),
            conv_norm=norm,
        )
        mask = {"mask_in_features": list(_LEVELS[:4]), "mask_pooler": pooler(SIDE // 2), "mask_head": head}
    return CascadeROIHeads(
        box_in_features=list(_LEVELS[:4]),
        box_pooler=pooler(POOLED),
        box_heads=heads,
        box_predictors=predictors,
        proposal_matchers=[Matcher([overlap], [0, 1], allow_low_quality_matches=False) for overlap in OVERLAPS],
        num_classes=classes,
        batch_size_per_image=config.regions,
        positive_fraction=0.25,
        **mask,
    )


@contextmanager
def _training(module: nn.Module, training: bool) -> Iterator[None]:
    """detectron2's modules ask their mode whether to learn or to detect."""
    before = module.training
    module.train(training)
    try:
        yield
    finally:
        module.train(before)


@contextmanager
def _draws_from(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """detectron2 draws from torch's global generator of the device: for a moment, it is this one."""
    if generator is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        state = generator.get_state()
        if generator.device.type != device.type:
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator, device=generator.device)))
            yield
        elif device.type == "cuda":
            torch.cuda.set_rng_state(state, device)
            yield
            generator.set_state(torch.cuda.get_rng_state(device))
        else:
            torch.set_rng_state(state)
            yield
            generator.set_state(torch.get_rng_state())
