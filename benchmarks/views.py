"""KeptViews and shared features of the detection probe: `python -m benchmarks views`.

An epoch of a detector's training over ViT-B/16 at 224 pixels, JPEGs of 640 x 480, on one core: every view through the encoder; its
features read back from the cache; and three heads at once on one pass. What an image costs does not depend on how many
there are, so a few stand for a set of Roboflow 100's size. The head is recipe mini's; what keeping saves is the encoder's
share, so a head that costs more gains less.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from benchmarks.material import HEIGHT, WIDTH, write_photos, write_vit
from benchmarks.measuring import alternate, keep, machine, median, ratio, timed
from probes.detection.backend import build_detector
from probes.detection.fill import keep_views
from probes.detection.learner import DetectorLearner, trainee
from probes.detection.recipe import RECIPES, Recipe
from probes.detection.train import train
from probes.detection.truth import GroundTruth, Thing, TruthImage
from probes.detection.views import KeptViews
from rice_core.bundle import Bundle
from rice_core.datasets import Sample
from rice_core.digest import json_digest
from rice_core.encoders import load_encoder
from rice_core.features import Encoder
from rice_core.measure.cache import FeatureCache
from rice_core.probe import Work
from rice_core.ranks import Ranks
from rice_core.spec import EncoderSpec
from rice_core.store import Store
from rice_core.train.learner import Trainee

MODEL, SIDE = "vit_base_patch16_224", 224
IMAGES, BATCH, VIEWS, OBJECTS, CLASSES, ROUNDS = 32, 8, 2, 7, 20, 3
EPOCHS = 20
"""Of the training whose whole time is said."""


def main() -> None:
    """Measure both heads."""
    before = machine()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder / "photos", train=IMAGES, val=8)
        write_vit(folder / "encoder", MODEL)
        encoder = load_encoder(EncoderSpec.parse(f"timm:local-dir:{folder / 'encoder'}"))
        found = _measure(encoder, _truth(sorted((folder / "photos/train").rglob("*.jpg"))), folder / "store")
    claims = [
        f"an epoch with kept features takes {found['kept_over_live']['wall']:.2f} of one through the encoder; "
        f"{EPOCHS} epochs with {VIEWS} views an image, making them included, {found['whole']:.2f}",
        f"three heads on one pass take {found['three_over_live']['wall']:.2f} times one head (alone: 3)",
        f"a kept view has {found['megabytes_a_view']:.2f} MB",
    ]
    keep("views", claims, {"model": MODEL, "side": SIDE, "images": IMAGES, **found}, before)


def _measure(encoder: Encoder, truth: GroundTruth, folder: Path) -> dict[str, Any]:
    recipe = RECIPES["mini"]
    settings = {"side": SIDE, "batch": BATCH, "iterations": 10_000, "views": VIEWS, "precision": "fp32"}
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update=settings)})
    work = _Work(folder)
    made: list[KeptViews] = []
    asked = cast("Work", work)
    fill = timed(lambda: made.append(keep_views(encoder, truth, recipe.training, side=SIDE, what="x", work=asked)))
    calls = [
        _epoch(encoder, truth, recipe, folder, heads=1, kept=None),
        _epoch(encoder, truth, recipe, folder, heads=1, kept=made[0]),
        _epoch(encoder, truth, recipe, folder, heads=3, kept=None),
    ]
    live, kept, three = alternate(calls, ROUNDS)
    whole = (fill.wall + EPOCHS * median(kept)) / (EPOCHS * median(live))
    return {
        "live_s_a_view": round(median(live) / IMAGES, 4),
        "kept_s_a_view": round(median(kept) / IMAGES, 4),
        "fill_s_a_view": round(fill.wall / IMAGES / VIEWS, 4),
        "kept_over_live": ratio(kept, live),
        "three_over_live": ratio(three, live),
        "whole": round(whole, 3),
        "megabytes_a_view": round(work.cache.size() / IMAGES / VIEWS / 1e6, 3),
    }


def _epoch(
    encoder: Encoder, truth: GroundTruth, recipe: Recipe, folder: Path, *, heads: int, kept: KeptViews | None
) -> Callable[[], object]:
    """The first of a training that is begun anew each time."""

    def first(sequence: Sequence[int], what: str) -> Iterator[int]:
        yield from itertools.islice(sequence, IMAGES // BATCH)
        raise KeyboardInterrupt

    def run() -> None:
        trainees = []
        for seed in range(heads):
            torch.manual_seed(seed)
            detector, _ = build_detector(
                recipe.head, channels=encoder.dim, classes=CLASSES, patch=encoder.patch, masks=False, backend="ops"
            )
            ranks = Ranks(0, 1, encoder.device)
            trainees.append(trainee(detector, recipe.training, seed=seed, folder=folder / str(seed), ranks=ranks))
        with contextlib.suppress(KeyboardInterrupt):
            _train(trainees)

    def _train(trainees: list[Trainee[DetectorLearner]]) -> None:
        config = recipe.training
        train(encoder, trainees, truth.images, config, masks=False, seed=0, progress=first, what="", kept=kept)

    return run


class _Work:
    """What `keep_views` asks of a Work."""

    ranks = Ranks(0, 1, torch.device("cpu"))

    def __init__(self, folder: Path) -> None:
        self.cache = FeatureCache(Store(folder))

    def find(self, about: Mapping[str, Any]) -> Path | None:
        key = json_digest(dict(about))
        return self.cache.path(key) if self.cache.get(key) is not None else None

    def keep(self, about: Mapping[str, Any], shard: Bundle) -> Path:
        key = json_digest(dict(about))
        self.cache.put(key, shard)
        return self.cache.path(key)

    def progress(self, sequence: Sequence[Any], what: str) -> Iterator[Any]:
        return iter(sequence)


def _truth(paths: list[Path]) -> GroundTruth:
    rng = np.random.default_rng(0)
    images = []
    for key, path in enumerate(paths):
        low, size = rng.uniform(0, 0.7, (OBJECTS, 2)), rng.uniform(0.05, 0.3, (OBJECTS, 2))
        boxes = np.concatenate([low, low + size], axis=1) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
        things = tuple(Thing(tuple(box), int(rng.integers(CLASSES))) for box in boxes.tolist())
        images.append(TruthImage(key, Sample(path.stem, path, key=key), (HEIGHT, WIDTH), things))
    return GroundTruth(
        name="made up", style="coco", categories=(), images=tuple(images), body={}, skipped=(), has_masks=False
    )
