"""VisBench's detection probe (PyPI `visbench`) beside ours: the same encoder, pictures and judge; time and box AP.

    VISBENCH_PYTHON=/path/to/its/python python -m benchmarks peer_visbench_detection

Two protocols are compared, not two implementations of one. Ours is Cascade Mask R-CNN on a pyramid of the last map; each
view is drawn anew and goes through the encoder. VisBench's is by design a linear, anchor-free head of one scale (a 1x1
convolution for classes, one for boxes; focal and GIoU loss, AdamW, 10 epochs of 8) on features that are read once, without
augmentation. Both learn boxes alone.

The encoder is the small ViT that ships with ricebench, the data the miniature world of `--data mini`. VisBench is given the
encoder as a program of torch.export through its door for any module, pixels normalised inside; and the boxes through its
door for another reader, so that none is rounded to Pascal VOC's whole pixels (its command line knows VOC's 20 classes
alone). It reads transformers behind their final norm, so it gets the tokens behind that norm, where its linear head learns
much faster; ours reads this encoder without, as its own forward gives them, and one setting gives these to VisBench too.
All is left at its defaults but what a title names. Boxes of both are judged by `ricebench evaluate`'s evaluator on the same
val pictures; each side's own metric stands in the JSON.

Every run is a new process with one thread and an empty store. Wall and CPU seconds are of the whole process: imports, both
splits, training, judging (ours with 200 resamples for its errors). A view is a training image shown once. What one more
costs: ours is the slope of CPU seconds between its shortest and longest training; VisBench's the CPU seconds of its longest
fit, over its views.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import keep, machine, told
from probes.detection.annotations import read_ground_truth
from probes.detection.evaluate import score
from probes.detection.results import read_results
from probes.detection.truth import GroundTruth
from rice_core.encoders import load_encoder
from rice_core.encoders.base import TorchEncoder
from rice_core.spec import EncoderSpec
from rice_core.world.mini import MINI, World, draw

ENCODER = "rice:builtin/mini-supervised"
WORLD = MINI
SIDE, BATCH = 96, 4
"""Of recipe mini."""
SEEDS = (0,)
_ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""CPU seconds are then work done."""


@dataclass(frozen=True)
class Ours:
    """`coco-format-det?recipe=mini`, boxes alone."""

    iterations: int
    pixels: int = SIDE

    def views(self) -> int:
        return self.iterations * BATCH


@dataclass(frozen=True)
class Theirs:
    """VisBench's `detection`."""

    epochs: int
    pixels: int = SIDE
    normed: bool = True

    def views(self) -> int:
        return self.epochs * WORLD.train


OURS = {"recipe mini": Ours(300), "recipe mini, 1500 steps": Ours(1500)}
THEIRS = {
    # As many views as recipe mini; its warm-up of 1.5 epochs takes most of them.
    "1200 views": Theirs(2),
    "10 epochs": Theirs(10),
    "10 epochs, tokens without norm": Theirs(10, normed=False),
    # Its notes warn that default epochs underfit where images are few; with features cached, more of them cost little.
    "100 epochs": Theirs(100),
    "all defaults (224 pixels, 10 epochs)": Theirs(10, pixels=224),
}
"""Title -> setting. Recipe mini shows 1,200 views, VisBench's 10 epochs 6,000; each side is run with both."""


def main() -> None:
    """Each setting once a seed; skipped with a sentence where VisBench's Python is not named."""
    peer = os.environ.get("VISBENCH_PYTHON")
    if not peer:
        print("peer_visbench_detection: skipped; set VISBENCH_PYTHON to a Python that has visbench.")
        return
    before = machine()
    with tempfile.TemporaryDirectory() as name:
        sides = _Sides(Path(name), peer, WORLD)
        runs: dict[str, list[dict[str, Any]]] = {}
        for turn, seed in enumerate(SEEDS):
            todo = [*_titled("ours", OURS), *_titled("VisBench", THEIRS)]
            # Every other seed goes backwards, so that a drift of the machine cancels.
            for title, setting in todo if turn % 2 == 0 else reversed(todo):
                runs.setdefault(title, []).append(sides.run(setting, seed))
    settings = {title: _summary(setting, runs[title]) for title, setting in todo}
    claims = [_claim(title, found) for title, found in settings.items()]
    more = {"ours": _slope([settings[title] for title, _ in _titled("ours", OURS)]), "VisBench": _fit(runs)}
    claims.append(
        f"one more training view costs {more['ours']:.1f} CPU ms in ours and {more['VisBench']:.1f} in VisBench"
    )
    body = {
        "encoder": ENCODER,
        "train": WORLD.train,
        "val": WORLD.val,
        "seeds": SEEDS,
        "visbench": next(run["version"] for rows in runs.values() for run in rows if "version" in run),
        "settings": settings,
        "cpu_ms_of_one_more_view": more,
        "runs": runs,
    }
    keep("peer_visbench_detection", claims, body, before | {"threads": 1})


class _Sides:
    """What both read, made once: pictures, truth, the exported encoder."""

    def __init__(self, folder: Path, peer: str, world: World) -> None:
        self._folder, self._peer, self._number = folder, peer, 0
        self._world = draw(world, folder)
        annotations = self._world / "annotations"
        self._truth = {
            split: read_ground_truth(annotations / f"instances_{split}.json", None, name=split)
            for split in ("train", "val")
        }
        for split, truth in self._truth.items():
            _write_boxes(folder / "truth" / split, truth)
        ids = [category.id for category in self._truth["val"].categories]
        (folder / "truth" / "categories.json").write_text(json.dumps(ids), encoding="utf-8")

    def run(self, setting: Ours | Theirs, seed: int) -> dict[str, Any]:
        """One process, and its boxes judged."""
        self._number += 1
        store = self._folder / f"store-{self._number}"
        if isinstance(setting, Ours):
            command = [sys.executable, "-m", "benchmarks.side_ricebench_detection", ENCODER]
            found = told([*command, *map(str, (self._world, store, setting.iterations, seed))], **_ONE_THREAD)
            (results,) = store.glob("exports/*/coco-format-det.json")
        else:
            results = self._folder / f"{store.name}.json"
            script = str(Path(__file__).with_name("side_visbench_detection.py"))
            made = (self._program(setting), self._world, self._folder / "truth", store, results)
            command = [self._peer, script, *map(str, (*made, setting.pixels, setting.epochs, seed))]
            found = told(command, **_ONE_THREAD)
        judged = self._judged(results)
        return {key: round(value, 3) if isinstance(value, float) else value for key, value in (found | judged).items()}

    def _judged(self, results: Path) -> dict[str, Any]:
        truth = self._truth["val"]
        read = read_results(results, truth)
        if read.skipped:
            raise RuntimeError(f"{read.skipped[0].item} {read.skipped[0].reason}")
        box = score(truth, read.entries, masks=False).box
        return {
            "ap": box.ap["AP"],
            "ap50": box.ap["AP50"],
            "ap_error": box.errors["AP"].stderr,
            "boxes": len(read.entries),
        }

    def _program(self, setting: Theirs) -> Path:
        """The encoder at this size, as a file that needs torch alone."""
        side = setting.pixels
        path = self._folder / f"encoder-{side}-{setting.normed}.pt2"
        if not path.exists():
            encoder = load_encoder(EncoderSpec.parse(ENCODER + "?norm=1" * setting.normed))
            assert isinstance(encoder, TorchEncoder)
            pixels_B3HW = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
            batch = torch.export.Dim("batch", min=1, max=4096)
            with torch.no_grad():
                program = torch.export.export(_Dense(encoder), (pixels_B3HW,), dynamic_shapes=({0: batch},))
            torch.export.save(program, path)
        return path


class _Dense(torch.nn.Module):
    """Pixels from 0 to 1 -> the last map, (B, C, h, w)."""

    def __init__(self, encoder: TorchEncoder) -> None:
        super().__init__()
        self.trunk, self._encoder = encoder.module, encoder
        self.eval()

    def forward(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        return self._encoder.encode(self._encoder.normalize(pixels_B3HW)).dense_BCHW


def _titled(side: str, settings: dict[str, Any]) -> list[tuple[str, Ours | Theirs]]:
    return [(f"{side}, {title}", setting) for title, setting in settings.items()]


def _write_boxes(folder: Path, truth: GroundTruth) -> None:
    """One file an image, found by its name."""
    folder.mkdir(parents=True)
    for image in truth.images:
        body = {
            "key": image.key,
            "size": [image.size_hw[1], image.size_hw[0]],
            "boxes": [thing.box_xyxy for thing in image.things],
            "labels": [thing.label for thing in image.things],
            "difficult": [thing.crowd for thing in image.things],
        }
        (folder / f"{Path(image.sample.id).stem}.json").write_text(json.dumps(body), encoding="utf-8")


def _summary(setting: Ours | Theirs, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the times, and every seed's AP."""
    wall, cpu = (statistics.median(run[key] for run in runs) for key in ("wall", "cpu"))
    return {
        "views": setting.views(),
        "pixels": setting.pixels,
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 2),
        "cpu_ms_a_view": round(1000 * cpu / setting.views(), 2),
        "ap": round(statistics.mean(run["ap"] for run in runs), 2),
        "ap50": round(statistics.mean(run["ap50"] for run in runs), 2),
        "ap_of_seeds": [round(run["ap"], 2) for run in runs],
        "ap_error_over_images": round(statistics.mean(run["ap_error"] for run in runs), 2),
    }


def _slope(settings: list[dict[str, Any]]) -> float:
    """CPU milliseconds of one more view: what is paid once a run falls out."""
    first, *_, last = sorted(settings, key=lambda row: int(row["views"]))
    return round(1000 * float(last["cpu_s"] - first["cpu_s"]) / int(last["views"] - first["views"]), 2)


def _fit(runs: dict[str, list[dict[str, Any]]]) -> float:
    """The same of VisBench, from its longest fit: its judging gets cheaper as the head learns, which bends the slope."""
    title, longest = max(_titled("VisBench", THEIRS), key=lambda pair: pair[1].views())
    seconds = float(statistics.median(run["laps"]["fit"] for run in runs[title]))
    return round(1000 * seconds / longest.views(), 2)


def _claim(title: str, found: dict[str, Any]) -> str:
    return (
        f"{title}: box AP {found['ap']:.1f}, AP50 {found['ap50']:.1f}; {found['wall_s']:.0f} s, {found['cpu_s']:.0f} CPU s, "
        f"{found['cpu_ms_a_view']:.1f} CPU ms for each of {found['views']} views"
    )
