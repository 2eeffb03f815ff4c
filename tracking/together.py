"""Several finished trackers on frames that are decoded once.

`ricebench run` has one encoder in memory at a time and follows cell by cell. Where decoding takes more of the time than the encoders (long
videos of large frames, small models), following together saves all but one of the decodings; the files judge with
`ricebench evaluate tracking`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from rice_core.datasets import Video
from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.measure.trained import Shelf
from rice_core.record import Record
from rice_core.store import Store
from tracking.follow import WithHead, decoders_of, slots_of
from tracking.recipe import LearningConfig, TrackerConfig
from tracking.submissions import write_submission
from tracking.track import TrackResults, track
from tracking.tracker import VideoFollower


def follow_together(
    store: Store,
    records: Mapping[str, Record],
    videos: Sequence[Video],
    out: Path,
    *,
    device: torch.device | str = "cpu",
    workers: int = 2,
) -> TrackResults:
    """Follow with the trackers of these records, and write NAME/VIDEO.txt below `out` for each name.

    All their encoders are in memory at once. Boxes are those of the records' cells to 1e-3 pixels in fp32.

    Args:
        records: of tracking probes, by the name that their results shall have; in `store`.
        videos: any, not only those of the records. workers: processes that decode, on a GPU.

    Returns:
        By tracker in the order of `records`, and the videos that were left out.

    Raises:
        UserError: a record has no tracker, or tracker or encoder are no longer those of the record; and as `track.track`.
    """
    place = torch.device(device)
    trackers = [_tracker(store, record, place) for record in records.values()]
    found = track(trackers, videos, slots=slots_of(place), workers=decoders_of(place, workers))
    for name, tracked in zip(records, found.tracked, strict=True):
        boxes = {key: one.boxes_T4 for key, one in tracked.items()}
        seconds = {key: np.full(len(one.boxes_T4), one.seconds / len(one.boxes_T4)) for key, one in tracked.items()}
        whole = {video.id: video for video in videos if video.id in tracked}
        write_submission("toolkit", out / name, whole, boxes, seconds)
    return found


def _tracker(store: Store, record: Record, device: torch.device) -> VideoFollower:
    cell, used = record.cell, () if record.evidence is None else record.evidence.stages
    called = f"{cell.encoder.title}/{cell.probe.name}"
    stage = next((stage for stage in used if stage.name == "tracker"), None)
    if record.evidence is None or stage is None:
        raise UserError(
            f"{called} has no tracker; give finished records of lasot, trackingnet, got10k, tnl2k or videos."
        )
    shelf = Shelf(store)
    trained = shelf.find(stage.id)
    if trained is None or shelf.digest(stage.id) != stage.digest:
        raise UserError(f"the tracker of {called} is no longer in the store as it was; run its cell again.")
    encoder = load_encoder(cell.encoder).to(device)
    if encoder.weights_digest() != record.evidence.weights:
        raise UserError(f"{cell.encoder.title} has other weights than {called} was measured with; run its cell again.")
    told = trained.request.stage.params
    config = TrackerConfig.model_validate_json(str(told["tracker"]))
    # Of following alone, so that the training does not know it.
    window = cell.probe.params.get("window", config.window)
    config = TrackerConfig.model_validate(config.model_dump() | {"window": window})
    precision = LearningConfig.model_validate_json(str(told["learning"])).precision
    return WithHead(config, precision, store.stage(stage.id)).on(encoder)
