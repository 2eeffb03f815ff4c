"""Followed boxes -> what the record keeps: the official dialect's metrics with errors, all dialects, curves, and what was assumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rice_core.datasets.videos.source import over
from rice_core.disk.exports import write_about
from rice_core.errors import NotApplicable, UserError
from rice_core.record import Artifact, Outcome
from tracking.assumed import judged_on
from tracking.dialects import DIALECTS
from tracking.figures import figures_of
from tracking.overall import judge
from tracking.split import FollowedSplit
from tracking.submissions import Server, write_submission

if TYPE_CHECKING:
    from rice_core.features import Encoder
    from rice_core.probe import Work

_SERVERS: dict[str, Server] = {"got10k": "got10k", "trackingnet": "trackingnet"}
"""Layout -> who takes its results; of the others MATLAB's toolkits read a folder."""


def outcome_of(
    work: Work, encoder: Encoder, split: FollowedSplit, assumptions: Sequence[str], *, figures: Sequence[Artifact] = ()
) -> Outcome:
    """Write the results as servers take them, and judge them.

    Args:
        assumptions: of the follower; that of the videos is added. figures: of the follower.

    Raises:
        NotApplicable: the truth is hidden, or no video could be begun with.
        UserError: the official dialect refuses the truth.
    """
    for skip in split.results.left_out:
        work.skip(skip.item, skip.reason)
    for video in split.videos:
        for skip in over(video) if video.id in split.tracked else ():
            work.skip(skip.item, skip.reason)
    for one in split.tracked.values():
        if one.broken:
            (frame, reason), more = one.broken[0], len(one.broken) - 1
            behind = f" and {more} more frames of it" if more else ""
            work.skip(f"{one.id}/{frame}{behind}", f"{reason}; the box before it is repeated")
    if not split.tracked:
        first = split.results.left_out[0]
        raise NotApplicable(f"no video of {split.split} can be followed; the first, {first.item}: {first.reason}")
    written = _exported(work, encoder, split)
    if not split.followed:
        raise NotApplicable(
            f"the truth of {split.split} is hidden: its {len(split.tracked)} videos were followed, and {written} is what the server takes"
        )
    known = {one.id for one in split.followed}
    for name in sorted(split.tracked.keys() - known):
        work.skip(name, "is of hidden truth: it was followed, its results are exported, and no number is about it")
    judged = judge(split.followed, tuple(DIALECTS))
    official = judged[split.dialect]
    if isinstance(official, UserError):
        raise official
    return Outcome(
        metrics=official.metrics(),
        scores=official.overall.scores(),
        artifacts=(*figures_of(work, split, judged, official), *figures),
        assumptions=(*assumptions, judged_on(split)),
    )


def _exported(work: Work, encoder: Encoder, split: FollowedSplit) -> str:
    """Where the results are, from the store on."""
    place = write_submission(
        _SERVERS.get(split.layout, "toolkit"),
        work.exports / split.name,
        {video.id: video for video in split.videos if video.id in split.tracked},
        {name: one.boxes_T4 for name, one in split.tracked.items()},
        {name: np.full(len(one.boxes_T4), one.seconds / len(one.boxes_T4)) for name, one in split.tracked.items()},
    )
    write_about(place, {"cell": work.exports.name, "weights": encoder.weights_digest()})
    return place.relative_to(work.exports.parent.parent).as_posix()
