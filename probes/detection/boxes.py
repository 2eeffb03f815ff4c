"""Box arithmetic of the detector: coding, matching, drawing; each as detectron2 has it, to the last bit.

Boxes are (left, top, right, bottom). Letters: R boxes, N true objects, A anchors.

A number that the host asks a GPU for makes it wait for all that was asked before; so the host asks for all images at once, and
constants lie on the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import accumulate

import torch
from torchvision.ops import box_area, box_iou

from rice_core.errors import UserError

Weights = tuple[float, float, float, float]
_MOST_GROWTH = math.log(1000 / 16)
"""Of a side, as a logarithm; keeps exp() finite."""
POSITIVE, NEGATIVE, IGNORED = 1, 0, -1


def encode(boxes_R4: torch.Tensor, true_R4: torch.Tensor, weights: Weights) -> torch.Tensor:
    """What turns each box into its true one: shift of the centre in sides, growth of the sides as a logarithm, weighted.

    Girshick et al. 2014, equations 6 to 9.
    """
    sides_R2, centre_R2 = _centred(boxes_R4)
    true_sides_R2, true_centre_R2 = _centred(true_R4)
    weight_4 = constant(weights, boxes_R4.device)
    shift_R2 = weight_4[:2] * (true_centre_R2 - centre_R2) / sides_R2
    growth_R2 = weight_4[2:] * torch.log(true_sides_R2 / sides_R2)
    return torch.cat([shift_R2, growth_R2], dim=-1)


def decode(deltas_R4: torch.Tensor, boxes_R4: torch.Tensor, weights: Weights) -> torch.Tensor:
    """The inverse of `encode`; leading dimensions broadcast."""
    deltas_R4 = deltas_R4.float() / constant(weights, boxes_R4.device)
    sides_R2, centre_R2 = _centred(boxes_R4)
    centre_R2 = deltas_R4[..., :2] * sides_R2 + centre_R2
    sides_R2 = torch.exp(deltas_R4[..., 2:].clamp(max=_MOST_GROWTH)) * sides_R2
    return torch.cat([centre_R2 - 0.5 * sides_R2, centre_R2 + 0.5 * sides_R2], dim=-1)


def has_area(boxes_R4: torch.Tensor) -> torch.Tensor:
    """Bool, (R,); leading dimensions stay."""
    return (boxes_R4[..., 2:] > boxes_R4[..., :2]).all(-1)


def counted(flags: Sequence[torch.Tensor]) -> list[int]:
    """How many of each image's flags are up."""
    return torch.stack([flag_R.sum() for flag_R in flags]).tolist() if flags else []


def with_area(boxes: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The boxes of each image that have an area; nearly always all of them."""
    flags = [has_area(boxes_R4) for boxes_R4 in boxes]
    return [
        boxes_R4 if count == len(boxes_R4) else boxes_R4[flag_R]
        for boxes_R4, flag_R, count in zip(boxes, flags, counted(flags), strict=True)
    ]


@cache
def constant(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """float32, on the device once: each copy of a Python number to a GPU waits for it."""
    with torch.inference_mode(False):  # what detecting made may be needed by a backward pass
        return torch.tensor(values, dtype=torch.float32, device=device)


def match(
    boxes_R4: torch.Tensor,
    true_N4: torch.Tensor,
    *,
    low: float,
    high: float,
    best_of_each: bool,
    ignored_M4: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The object of most overlap for each box, (R,), and a label: POSITIVE from `high` on, NEGATIVE below `low`, else IGNORED.

    Args:
        best_of_each: the boxes of most overlap with an object are positive, however little it is (Ren et al. 2015, 3.1.2).
        ignored_M4: where something is, and nobody knows what: boxes there are IGNORED in place of NEGATIVE.
    """
    object_R, label_R = _matched(boxes_R4, true_N4, low=low, high=high, best_of_each=best_of_each)
    if ignored_M4 is not None:
        label_R[(label_R == NEGATIVE) & _shared(boxes_R4, ignored_M4, low)] = IGNORED
    return object_R, label_R


def _shared(boxes_R4: torch.Tensor, places_M4: torch.Tensor, least: float) -> torch.Tensor:
    """Which boxes have at least this share of the smaller of both areas in common with a place, (R,).

    That is never less than the intersection over union, so no box that would learn the object learns that there is none;
    and a box around a small object has all of it, though hardly any union.
    """
    corner_MR2 = torch.maximum(places_M4[:, None, :2], boxes_R4[:, :2])
    sides_MR2 = (torch.minimum(places_M4[:, None, 2:], boxes_R4[:, 2:]) - corner_MR2).clamp(min=0)
    smaller_MR = torch.minimum(box_area(places_M4)[:, None], box_area(boxes_R4))
    return (sides_MR2.prod(-1) >= least * smaller_MR).any(0)


def _matched(
    boxes_R4: torch.Tensor, true_N4: torch.Tensor, *, low: float, high: float, best_of_each: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    if not len(true_N4):
        zeros_R = torch.zeros(len(boxes_R4), dtype=torch.int64, device=boxes_R4.device)
        return zeros_R, torch.full_like(zeros_R, NEGATIVE)
    iou_NR = box_iou(true_N4, boxes_R4)
    most_R, object_R = iou_NR.max(0)
    label_R = torch.full_like(object_R, IGNORED)
    label_R[most_R < low] = NEGATIVE
    label_R[most_R >= high] = POSITIVE
    if best_of_each:
        label_R[(iou_NR == iou_NR.max(1, keepdim=True).values).any(0)] = POSITIVE
    return object_R, label_R


def draw(
    labels: Sequence[torch.Tensor], *, number: int, share: float, negative: int, generator: torch.Generator | None
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Of each image, rows of `number` boxes, at most `share` of them positive: (positives, negatives).

    Args:
        labels: (R,) of each image; `negative` is that of a negative, IGNORED ones are not drawn, and all others are positive.
    """
    sizes, label_L = [len(label_R) for label_R in labels], torch.cat(list(labels))
    negative_L = label_L == negative
    drawn = []
    sides = [_rows(flag_L, sizes) for flag_L in ((label_L != IGNORED) & ~negative_L, negative_L)]
    for positive_P, negative_Q in zip(*sides, strict=True):
        positives = min(len(positive_P), int(number * share))
        negatives = min(len(negative_Q), number - positives)
        # Both are drawn whole and cut, positives first: the draws of detectron2.
        positive_P = positive_P[_shuffled(len(positive_P), label_L.device, generator)[:positives]]
        negative_Q = negative_Q[_shuffled(len(negative_Q), label_L.device, generator)[:negatives]]
        drawn.append((positive_P, negative_Q))
    return drawn


def refuse_non_finite(boxes: Sequence[torch.Tensor], scores: Sequence[torch.Tensor] = ()) -> None:
    """Stop a training whose boxes are no numbers: the next stage would read nowhere.

    Args:
        boxes: of each image of the batch, as are their scores.

    Raises:
        UserError: a box or its score is NaN or infinite.
    """
    finite = [boxes_R4.isfinite().all(1) for boxes_R4 in boxes]
    if scores:
        finite = [finite_R & scores_R.isfinite() for finite_R, scores_R in zip(finite, scores, strict=True)]
    if torch.cat(finite).all():
        return
    image = next(number for number, finite_R in enumerate(finite) if not finite_R.all())
    box = ", ".join(f"{side:.4g}" for side in boxes[image][~finite[image]][0].tolist())
    raise UserError(
        f"The detector proposes box ({box}) in image {image} of a batch, or its score is not finite: the training has "
        "diverged, or the encoder's features are not finite; lower the rate, or try dtype=fp32 in the encoder's spec."
    )


def _rows(flag_L: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
    """The rows of each image whose flag is up."""
    rows = flag_L.nonzero()[:, 0].split(counted(flag_L.split(list(sizes))))
    first = accumulate(sizes, initial=0)
    return [rows_P - start for rows_P, start in zip(rows, first, strict=False)]


def _centred(boxes_R4: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    sides_R2 = boxes_R4[..., 2:] - boxes_R4[..., :2]
    return sides_R2, boxes_R4[..., :2] + 0.5 * sides_R2


def _shuffled(number: int, device: torch.device, generator: torch.Generator | None) -> torch.Tensor:
    # On the generator's own device, so that one on the CPU draws the same for every device.
    return torch.randperm(number, generator=generator, device=generator.device if generator else device).to(device)
