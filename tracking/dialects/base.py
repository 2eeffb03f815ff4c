"""Dialect: what one toolkit makes of the same boxes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple, get_args

import numpy as np

from rice_core.datasets.tracks import Track
from tracking.curves import Curves, Floats, Size

CurveName = Literal["success", "precision", "normalised"]
CURVES: tuple[CurveName, ...] = get_args(CurveName)
STEPS: Floats = np.linspace(0, 1, 21)
"""Of IoU. The toolkits' own doubles: 0.15000000000000002 is one of them, so that ties fall as theirs do."""
PIXELS: Floats = np.arange(51, dtype=np.float64)
SIDES: Floats = np.arange(51) / 100
AT = 20
"""Precision is read at 20 pixels, and normalised precision at 0.2."""


class Weights(NamedTuple):
    """How much a video counts in the mean of each curve."""

    success: float = 1.0
    precision: float = 1.0
    normalised: float = 1.0


class Dialect(ABC):
    """A subclass's docstring is its definition. The numbers of a data set are weighted means over its videos."""

    name: ClassVar[str]
    says: ClassVar[str]
    """What sets it apart, in a line."""
    of: ClassVar[Mapping[str, CurveName]] = {
        "success": "success",
        "precision": "precision",
        "norm_precision": "normalised",
    }
    """Metric -> the curve that it is read off. The first is the headline."""
    thresholds: ClassVar[tuple[Floats, Floats, Floats]] = (STEPS, PIXELS, SIDES)
    """Of IoU, of distance in pixels, of distance in sides of the object."""

    @abstractmethod
    def judge(self, boxes_T4: Floats, track: Track, size: Size | None = None) -> Curves:
        """Judge one video.

        Args:
            boxes_T4: x, y, width, height in the origin of the annotation; left as they are.
            track: the truth of all frames.
            size: width and height of the frames, for a dialect that clips.

        Raises:
            UserError: fewer boxes than frames, or something that the toolkit refuses as well.
        """

    def read(self, curves: Curves) -> dict[str, float]:
        """The video's metrics in [0, 1]: area under the success curve, precision at 20 pixels and at a fifth of the object."""
        return {
            "success": float(curves.success_S.mean()),
            "precision": float(curves.precision_P[AT]),
            "norm_precision": float(curves.normalised_N[AT]),
        }

    def weights(self, curves: Curves) -> Weights:
        """All videos are equal."""
        return Weights()
