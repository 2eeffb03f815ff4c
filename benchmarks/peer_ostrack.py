"""OSTrack's own test loop (botaoye/OSTrack 33b5e12) with the same frozen encoder and head: `python -m benchmarks peer_ostrack`.

OpenCV is not among this project's packages, so it comes from a folder of its own:

    pip install --no-deps --target SITE opencv-python-headless
    PYTHONPATH=SITE OSTRACK_CHECKOUT=/path/to/OSTrack python -m benchmarks peer_ostrack

Frames a second end to end (decoding, crops, encoder, head, boxes), in alternation, one thread, of three things: the miniature videos with a
tracker that has learnt, JPEGs of 1280 x 720 and a small encoder (decoding matters), and the same with ViT-Ti/16 and OSTrack's 128 and 256
pixels (it does not). OSTrack follows one video at a time; once as its loop is, with the template in every pass, and once with what
becomes of the template kept, which separate passes allow and which is the fairer peer. Ours follows in lock step, and one at a time besides.
Its tracker is made once and not anew for each video, as its evaluation does.

Boxes are compared, with `geometry="ostrack"` in ours: to the end of the videos with its crops cut by our code, where they have to be the same
within NEAR pixels, and with its own, where OpenCV's integer arithmetic makes some pixels of another level, and a tracker that has learnt little
goes another way from there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.measuring import Lap, alternate, keep, machine, median, ratio
from benchmarks.tracking_material import SMALL, untrained, write_videos
from rice_core.datasets import Video, open_dataset
from rice_core.encoders import load_encoder
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.model.vit import PRESETS
from rice_core.progress import Progress
from rice_core.spec import EncoderSpec
from rice_core.store import Store
from rice_core.world.layouts.got10k import write_got10k
from tracking.follow import WithHead
from tracking.probe import Got10kTracking
from tracking.recipe import RECIPES, TrackerConfig
from tracking.schedule import SLOTS
from tracking.track import track
from tracking.tracker import ObjectTracker

WIDTH, HEIGHT = 1280, 720
NEAR = 0.01
"""Pixels of the frame."""
Boxes = Mapping[str, npt.NDArray[np.float64]]


def main() -> None:
    """Skipped with a sentence where OSTrack or OpenCV is not named."""
    checkout = os.environ.get("OSTRACK_CHECKOUT")
    try:
        import cv2
    except ModuleNotFoundError:
        cv2 = None
    if not checkout or cv2 is None:
        print("peer_ostrack: skipped; set OSTRACK_CHECKOUT to a checkout of botaoye/OSTrack, and PYTHONPATH to OpenCV.")
        return
    before = machine()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mini, paper = (_as_ostrack(RECIPES[recipe].tracker) for recipe in ("mini", "paper@1"))
        wide = write_videos(folder / "wide", [*range(3, 11)] * 2, WIDTH, HEIGHT)
        compared = {
            "miniature": (*_learnt(folder, mini), 2),
            "small": (untrained(SMALL, mini, "cpu"), wide, 3),
            "Ti/16": (untrained(PRESETS["Ti/16"], paper, "cpu"), wide, 2),
        }
        found = {}
        for what, (tracker, videos, rounds) in compared.items():
            found[what] = _compared(Path(checkout), tracker, videos, rounds)
            print(_claim(what, found[what]), flush=True)
    body = {"opencv": cv2.__version__, "ostrack": "33b5e12", "slots": SLOTS["cpu"], "compared": found}
    keep("peer_ostrack", [_claim(what, each) for what, each in found.items()], body, before)


def _claim(what: str, found: dict[str, Any]) -> str:
    kept, again, one = (found["over_ours"][side] for side in ("ostrack_kept", "ostrack", "ours_one"))
    boxes, theirs = found["boxes_on_equal_crops"], found["boxes"]
    return (
        f"{what}, {found['frames']} frames: {found['frames_per_second']['ours']} frames/s end to end, {kept['cpu']:.2f}x OSTrack's loop "
        f"with the template kept, {again['cpu']:.2f}x with it in every pass, {one['cpu']:.2f}x ours one at a time (CPU seconds; by wall "
        f"{kept['wall']:.2f}x, {again['wall']:.2f}x, {one['wall']:.2f}x); boxes to the end of the videos differ by {boxes['most']:.2g} px at most "
        f"on equal crops, and with OpenCV's own by {theirs['median']:.2g} px in the median ({theirs['first']:.2g} after one step)"
    )


def _compared(checkout: Path, tracker: ObjectTracker, videos: Sequence[Video], rounds: int) -> dict[str, Any]:
    from benchmarks.side_ostrack import OstrackLoop

    kept, again = (OstrackLoop(checkout, tracker, again=each) for each in (False, True))
    calls: dict[str, Callable[[], Boxes]] = {
        "ours": partial(_ours, tracker, videos, SLOTS["cpu"]),
        "ours_one": partial(_ours, tracker, videos, 1),
        "ostrack_kept": partial(kept.follow, videos),
        "ostrack": partial(again.follow, videos),
    }
    boxes = {side: call() for side, call in calls.items()}
    same = _apart(boxes["ours"], OstrackLoop(checkout, tracker, again=False, crops=True).follow(videos))
    if same["most"] > NEAR:
        raise RuntimeError(f"on equal crops boxes are {same['most']} px apart")
    laps: dict[str, list[Lap]] = dict(zip(calls, alternate(list(calls.values()), rounds), strict=True))
    frames = sum(len(video.frames) for video in videos)
    return {
        "videos": len(videos),
        "frames": frames,
        "rounds": rounds,
        "frames_per_second": {side: round(frames / median(each), 1) for side, each in laps.items()},
        "cpu_ms_a_frame": {
            side: round(1000 * float(np.median([lap.cpu for lap in each])) / frames, 2) for side, each in laps.items()
        },
        "over_ours": {side: ratio(each, laps["ours"]) for side, each in laps.items() if side != "ours"},
        "boxes": _apart(boxes["ours"], boxes["ostrack_kept"]),
        "boxes_on_equal_crops": same,
        "boxes_kept_and_again": _apart(boxes["ostrack"], boxes["ostrack_kept"]),
        "boxes_in_step_and_one": _apart(boxes["ours"], boxes["ours_one"]),
    }


def _apart(one: Boxes, other: Boxes) -> dict[str, float]:
    """How far boxes are apart, by the coordinate that is farthest, in pixels of the frame."""
    apart_N = np.concatenate([np.abs(one[name][1:] - other[name][1:]).max(1) for name in one])
    return {
        "median": float(np.median(apart_N)),
        "p99": float(np.quantile(apart_N, 0.99)),
        "most": float(apart_N.max()),
        "first": float(np.median([np.abs(one[name][1] - other[name][1]).max() for name in one])),
    }


def _ours(tracker: ObjectTracker, videos: Sequence[Video], slots: int) -> Boxes:
    return {name: one.boxes_T4 for name, one in track([tracker], videos, slots=slots).tracked[0].items()}


def _as_ostrack(config: TrackerConfig) -> TrackerConfig:
    return config.model_copy(update={"geometry": "ostrack"})


def _learnt(folder: Path, config: TrackerConfig) -> tuple[ObjectTracker, Sequence[Video]]:
    """A tracker of a fifth of recipe mini, and the first 16 frames of the videos that it was judged on."""
    world = open_dataset(write_got10k(folder / "world", seed=1, train=24, val=16, test=1), name="clips")
    store, spec = Store(folder / "store"), EncoderSpec.parse("rice:builtin/mini-supervised")
    plan = Plan.over((spec,), (Got10kTracking(recipe="mini", epochs=2),), world)
    (record,) = Runner(store, Settings(device="cpu", debug=True), Progress(quiet=True)).run(plan).records
    assert record.evidence is not None
    weights = store.stage(record.evidence.stages[0].id)
    videos = [replace(each, frames=each.frames[:16]) for each in world.splits["val"] if isinstance(each, Video)]
    return WithHead(config, "fp32", weights).on(load_encoder(spec)), videos
