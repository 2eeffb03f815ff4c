"""A tracker without training: the template's tokens, as a filter over those of the search crop (Bertinetto et al. 2016, SiamFC).

Shapes: B videos, K scales, C channels, T x T template cells, S x S search cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from rice_core.features import Encoder
from rice_core.spec import Frozen
from tracking.center import hann
from tracking.crops import foreground
from tracking.geometry import Crop, clip
from tracking.recipe import TrackerConfig
from tracking.tokens import check_encoder, sizes_of
from tracking.tracker import Floats, VideoFrame, crop_tokens


class MatchRules(Frozen):
    """What SiamFC's tracker fixes by hand; its values, but that scales and tokens are coarser here."""

    scales: tuple[float, ...] = (1 / 1.05, 1.0, 1.05)
    """Of the object from one frame to the next."""
    penalty: float = 0.98
    """Of a score at another scale than 1."""
    damping: float = 0.6
    """How much of a change of scale is taken over."""
    influence: float = 0.2
    """Of a Hann window: a score is (1 - influence) * likeness + influence * window."""


@dataclass(frozen=True)
class Pattern:
    """What is looked for."""

    mean_C: torch.Tensor
    """Of all template tokens: likeness is of what differs from it, for tokens of one picture have much in common."""
    filter_CTT: torch.Tensor
    """Directions of the tokens that show the object, over their number; 0 elsewhere."""
    middle: tuple[float, float]
    """x and y of the object in the template, in cells."""


class TokenMatcher:
    """Follows by likeness of tokens alone; its steps are those of `tracking.tracker.ObjectTracker`."""

    def __init__(self, encoder: Encoder, config: TrackerConfig, match: MatchRules, precision: str) -> None:
        self.encoder, self.config, self.match, self.precision = encoder, config, match, precision
        self.template_size, self.search_size = sizes_of(config, encoder.patch)

    def begin(self, frames: Sequence[VideoFrame], boxes_B4: Floats) -> list[Pattern]:
        """The pattern of each object, from the box in its first frame: the same for all frames to come."""
        config, found = self.config, []
        crops = [Crop.around(box, config.template_factor, self.template_size, config.geometry) for box in boxes_B4]
        for crop, box, tokens_CTT in zip(crops, boxes_B4, self._tokens(frames, crops), strict=True):
            shown_TT = torch.from_numpy(foreground(crop, box, config.template_grid)).to(tokens_CTT.device)
            mean_C = tokens_CTT.mean((1, 2))
            filter_CTT = _directions(tokens_CTT[None], mean_C[None])[0] * shown_TT / shown_TT.sum()
            cx, cy, _, _ = crop.into(box)
            found.append(Pattern(mean_C, filter_CTT, (cx * config.template_grid, cy * config.template_grid)))
        return found

    def step(
        self, patterns: Sequence[Pattern], frames: Sequence[VideoFrame], boxes_B4: Floats
    ) -> tuple[Floats, Floats]:
        """The boxes in the next frames and their scores, by the patterns and the boxes in the frames before."""
        match, config = self.match, self.config
        K = len(match.scales)
        crops = [
            Crop.around(box, config.search_factor * scale, self.search_size, config.geometry)
            for box in boxes_B4
            for scale in match.scales
        ]
        tokens_BKCSS = self._tokens([frame for frame in frames for _ in match.scales], crops).view(
            len(frames), K, -1, config.search_grid, config.search_grid
        )
        found, scores = [], []
        for b, (pattern, frame, box) in enumerate(zip(patterns, frames, boxes_B4.tolist(), strict=True)):
            likeness_KPP = self._likeness(pattern, tokens_BKCSS[b])
            window_PP = hann(likeness_KPP.shape[-1], 1.0).to(likeness_KPP.device)
            fair_K = likeness_KPP.new_tensor([1.0 if scale == 1 else match.penalty for scale in match.scales])
            score_KPP = (1 - match.influence) * likeness_KPP * fair_K[:, None, None] + match.influence * window_PP
            k, row, column = np.unravel_index(int(score_KPP.argmax()), score_KPP.shape)
            y, x = _refined(score_KPP[k], int(row), int(column))
            shift = config.template_grid // 2
            middle = ((at - shift + own) / config.search_grid for at, own in zip((x, y), pattern.middle, strict=True))
            grown = 1 + match.damping * (match.scales[k] - 1)
            crop = crops[b * K + int(k)]
            sides = (box[2] * grown / crop.side, box[3] * grown / crop.side)
            found.append(clip(crop.back((*middle, *sides)), frame.size_hw, config.margin))
            scores.append(float(likeness_KPP[k, row, column]))
        return np.array(found), np.array(scores)

    def _likeness(self, pattern: Pattern, tokens_KCSS: torch.Tensor) -> torch.Tensor:
        """Mean cosine of the object's tokens with those below them, at each place of the template, in [-1, 1]."""
        directions_KCSS = _directions(tokens_KCSS, pattern.mean_C[None].expand(len(tokens_KCSS), -1))
        return functional.conv2d(directions_KCSS, pattern.filter_CTT[None], padding=self.config.template_grid // 2)[
            :, 0
        ]

    def _tokens(self, frames: Sequence[VideoFrame], crops: Sequence[Crop]) -> torch.Tensor:
        with torch.inference_mode():
            return crop_tokens(self.encoder, frames, crops, self.config, self.precision)


def _directions(tokens_BCSS: torch.Tensor, mean_BC: torch.Tensor) -> torch.Tensor:
    """Tokens from the mean on, of length 1; 0 where there is no difference."""
    return functional.normalize(tokens_BCSS - mean_BC[..., None, None], dim=1)


def _refined(score_PP: torch.Tensor, row: int, column: int) -> tuple[float, float]:
    """The summit of the parabola through the best place and its neighbours, along each axis; half a cell away at most."""

    def along(before: float, here: float, after: float) -> float:
        bend = before - 2 * here + after
        return 0.0 if bend >= 0 else max(-0.5, min(0.5, (before - after) / (2 * bend)))

    P = score_PP.shape[0]
    y, x = float(row), float(column)
    if 0 < row < P - 1:
        y += along(*score_PP[row - 1 : row + 2, column].tolist())
    if 0 < column < P - 1:
        x += along(*score_PP[row, column - 1 : column + 2].tolist())
    return y, x


@dataclass(frozen=True)
class Matching:
    """A `tracking.follow.FollowerMaker`."""

    config: TrackerConfig
    match: MatchRules
    precision: str

    def on(self, encoder: Encoder) -> TokenMatcher:
        check_encoder(encoder, self.config)
        return TokenMatcher(encoder, self.config, self.match, self.precision)
