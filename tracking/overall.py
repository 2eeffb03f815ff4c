"""A data set's numbers out of its videos' curves: means with errors, the ceiling of a perfect tracker, and what standing still is worth.

    judge(videos: Iterable[Followed], dialects: Sequence[str]) -> dict[dialect, Judgement | UserError]
    overall(judged: Mapping[id, Curves], dialect: str) -> Overall

`judge` is all that most need.

    Judgement.overall | .ceiling | .still : Overall
    Judgement.metrics() -> record.Metric with error, chance (standing still) and ceiling
    Overall.values[metric], .columns[metric] (a row a video, whose plain mean is the value), .each[metric] (the video's own number),
    .weights[metric], .counted[metric], .curves, .part(ids) -> Overall, .scores() -> record.Scores, .estimate(metric) -> stats.Estimate

All in percent but curves, which are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rice_core.datasets.tracks import Track
from rice_core.errors import UserError
from rice_core.record import Metric, Scores
from rice_core.stats.estimates import Estimate, mean_clustered, metric_of
from rice_core.stats.ratios import mean_of_ratios
from tracking.curves import Curves, Floats, Size, repeated
from tracking.dialects import DIALECTS
from tracking.dialects.base import CURVES

PERCENT = (0.0, 100.0)


@dataclass(frozen=True)
class Followed:
    """A video's boxes, and its truth."""

    id: str
    boxes_T4: Floats
    """x, y, width, height in the origin of the annotation, a row a frame; row 0 is not judged."""
    track: Track
    size: Size | None = None
    """Width and height of its frames; None where nobody has seen them, and then no dialect that clips judges it."""


@dataclass(frozen=True)
class Overall:
    """What one dialect says of a data set, in percent."""

    dialect: str
    judged: Mapping[str, Curves]
    """id -> the video's curves."""
    values: Mapping[str, float]
    """Metric -> value; the first is the headline."""
    columns: Mapping[str, Floats]
    """Metric -> one number a video, whose plain mean is the value: for errors, and to pair two trackers. Where videos do not all
    count alike (AO), linearised: it may lie outside 0 to 100."""
    each: Mapping[str, Floats]
    """Metric -> each video's own number; NaN where the video does not count."""
    weights: Mapping[str, Floats]
    """Metric -> how much each video counts: the value is the mean of `each`, so weighted."""
    counted: Mapping[str, int]
    """Metric -> how many videos count."""
    curves: Curves
    """The data set's."""

    @property
    def videos(self) -> tuple[str, ...]:
        """In the order of the columns."""
        return tuple(self.judged)

    def part(self, videos: Iterable[str]) -> Overall:
        """Of some of the videos, as if they were all.

        Raises:
            UserError: none of them counts.
        """
        return overall({name: self.judged[name] for name in videos}, self.dialect)

    def scores(self) -> Scores:
        """A row a video, which is its own cluster."""
        columns = {name: tuple(column.tolist()) for name, column in self.columns.items()}
        return Scores(sample=self.videos, cluster=self.videos, values=columns)

    def estimate(self, metric: str) -> Estimate:
        """Its error, clustered by video."""
        return mean_clustered(self.columns[metric], self.videos, PERCENT)


@dataclass(frozen=True)
class Judgement:
    """What one dialect says, and between what its numbers can lie on this data set."""

    overall: Overall
    ceiling: Overall
    """Of the truth itself as a prediction: seldom 100, since absent frames fail in some dialects and IoU 1 is not above 1."""
    still: Overall
    """Of the first frame's box, for ever."""

    def metrics(self) -> tuple[Metric, ...]:
        """The headline first."""
        scores = self.overall.scores()
        return tuple(
            metric_of(
                scores,
                name,
                unit="%",
                better="higher",
                chance=self.still.values[name],
                ceiling=self.ceiling.values[name],
                bounds=PERCENT,
                by="video",
            )
            for name in self.overall.values
        )


def judge(videos: Iterable[Followed], dialects: Sequence[str]) -> dict[str, Judgement | UserError]:
    """Judge each video in each dialect; none is kept longer than that.

    Returns:
        dialect -> its numbers, or why it has none: what one toolkit refuses another takes.
    """
    judged: dict[str, list[dict[str, Curves]]] = {name: [{}, {}, {}] for name in dialects}
    refused: dict[str, UserError] = {}
    for video in videos:
        answers = video.boxes_T4, perfect(video.track), still(video.track)
        for name in set(judged) - set(refused):
            try:
                for curves, boxes_T4 in zip(judged[name], answers, strict=True):
                    curves[video.id] = DIALECTS[name].judge(boxes_T4, video.track, video.size)
            except UserError as error:
                refused[name] = UserError(f"{video.id}: {error}")
    found: dict[str, Judgement | UserError] = {}
    for name in dialects:
        try:
            found[name] = refused.get(name) or Judgement(*(overall(curves, name) for curves in judged[name]))
        except UserError as error:
            found[name] = error
    return found


def overall(judged: Mapping[str, Curves], dialect: str) -> Overall:
    """The means over videos, weighted as the dialect weighs them.

    Args:
        judged: id -> the video's curves in this dialect.

    Raises:
        UserError: no video counts.
    """
    rules, all_curves = DIALECTS[dialect], list(judged.values())
    if not any(curves.frames for curves in all_curves):
        raise UserError(
            f"No frame of {len(all_curves)} videos counts in {dialect}; read another dialect, or give more videos."
        )
    # Where a dialect leaves out videos that have nothing, and all have nothing, the mean is nothing.
    weights_3V = [
        of_V if any(of_V) else [1.0] * len(of_V) for of_V in zip(*map(rules.weights, all_curves), strict=True)
    ]
    weight_V = {name: np.array(weights_3V[list(CURVES).index(curve)]) for name, curve in rules.of.items()}
    reads = [rules.read(curves) for curves in all_curves]
    own_V = {name: 100 * np.array([read[name] for read in reads]) for name in rules.of}
    columns = {name: _column(own_V[name], weight_V[name]) for name in rules.of}
    return Overall(
        dialect=dialect,
        judged=judged,
        values={name: float(column_V.mean()) for name, column_V in columns.items()},
        columns=columns,
        each={name: np.where(weight_V[name] > 0, own_V[name], np.nan) for name in rules.of},
        weights=weight_V,
        counted={name: int((weight_V[name] > 0).sum()) for name in rules.of},
        curves=_mean(all_curves, weights_3V),
    )


def subsets_of(attributes: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Attribute -> the videos that have it, where two do, as LaSOT's and TNL2K's toolkits draw them.

    Args:
        attributes: id -> `Video.attributes`, whose "subsets" names them with commas between.
    """
    found: dict[str, list[str]] = {}
    for video, told in attributes.items():
        for name in filter(None, told.get("subsets", "").split(",")):
            found.setdefault(name, []).append(video)
    return {name: videos for name, videos in sorted(found.items()) if len(videos) > 1}


def perfect(track: Track) -> Floats:
    """The truth as a prediction: what is no box there (NaN, a negative size) is the box before it, as a file has to have one."""
    boxes_T4 = track.boxes_T4.copy()
    with np.errstate(invalid="ignore"):
        bad_T = np.asarray(~np.isfinite(boxes_T4).all(1) | (boxes_T4[:, 2:] < 0).any(1))
    boxes_T4 = repeated(boxes_T4, bad_T)
    boxes_T4[:, 2:] = np.maximum(boxes_T4[:, 2:], 0)
    return boxes_T4


def still(track: Track) -> Floats:
    """The first frame's box in all frames: what a tracker is worth that does not move."""
    return np.repeat(perfect(track)[:1], len(track.boxes_T4), axis=0)


def _column(own_V: Floats, weight_V: Floats) -> Floats:
    if (weight_V == weight_V[0]).all():
        return own_V
    rows_V = np.arange(len(own_V))
    group_V = np.zeros_like(rows_V)
    return mean_of_ratios(own_V * weight_V, weight_V, group_E=group_V, row_E=rows_V, cluster_E=rows_V)[1]


def _mean(all_curves: Sequence[Curves], weights_3V: Sequence[Sequence[float]]) -> Curves:
    success_V, precision_V, normalised_V = weights_3V
    return Curves(
        success_S=np.average([curves.success_S for curves in all_curves], axis=0, weights=success_V),
        precision_P=np.average([curves.precision_P for curves in all_curves], axis=0, weights=precision_V),
        normalised_N=np.average([curves.normalised_N for curves in all_curves], axis=0, weights=normalised_V),
        overlap=float(np.average([curves.overlap for curves in all_curves], weights=success_V)),
        frames=sum(curves.frames for curves in all_curves),
    )
