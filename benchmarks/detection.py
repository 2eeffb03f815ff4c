"""Detection: `python -m benchmarks detection`.

Evaluation against pycocotools on the same made-up results of 1,000 images, 80 categories and 50 detections an image, in the
same process, equal to the last digits (goal: 5 times as fast on boxes). A training step of the head against the frozen
encoder's bare forward over the same images. The head on torchvision's operators against detectron2's modules, a step of the same
inputs and draws, where detectron2 imports (PYTHONPATH).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from benchmarks.measuring import Lap, alternate, keep, machine, median, ratio
from probes.detection.backend import build_detector
from probes.detection.evaluate import score
from probes.detection.nouns import Detector, Target
from probes.detection.recipe import RECIPES
from probes.detection.truth import Category, GroundTruth, Thing, TruthImage
from rice_core.datasets import Sample
from rice_core.encoders import load_encoder
from rice_core.spec import EncoderSpec

IMAGES, CLASSES, OBJECTS, FOUND, ROUNDS = 1000, 80, 7, 50, 3


def main() -> None:
    """Measure all three."""
    before = machine()
    torch.set_num_threads(1)
    truth, results = _material()
    evaluation = _evaluation(truth, results)
    step = _steps()
    claims = [
        f"box AP of {len(results)} detections in {IMAGES} images: {evaluation['ratio']['wall']:.1f}x as fast as pycocotools "
        f"({evaluation['ours_s']:.1f} s against {evaluation['pycocotools_s']:.1f} s; goal 5), AP differs by {evaluation['difference']:.0e}",
        f"the same with the errors of 200 resamples: {evaluation['with_errors_s']:.1f} s",
        f"a training step of recipe mini is {step['step_over_forward']['cpu']:.1f}x the encoder's bare forward (CPU time)",
    ]
    if "ops_over_detectron2" in step:
        claims.append(
            f"a step on torchvision's operators takes {step['ops_over_detectron2']['cpu']:.2f}x detectron2's (CPU time)"
        )
    keep("detection", claims, {"evaluation": evaluation, "step": step}, before)


def _evaluation(truth: GroundTruth, results: list[dict[str, Any]]) -> dict[str, Any]:
    ap: dict[str, float] = {}

    def ours() -> None:
        ap["ours"] = cast(float, score(truth, results, masks=False, resamples=0).box.ap["AP"])

    def theirs() -> None:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO()
            coco.dataset = dict(truth.body)
            coco.createIndex()
            judge = COCOeval(coco, coco.loadRes([dict(row) for row in results]), "bbox")
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
        ap["theirs"] = 100 * float(judge.stats[0])

    our_laps, their_laps = alternate([ours, theirs], ROUNDS)
    (with_errors,) = alternate([lambda: score(truth, results, masks=False)], 1)
    return {
        "ours_s": round(median(our_laps), 2),
        "pycocotools_s": round(median(their_laps), 2),
        "with_errors_s": round(median(with_errors), 2),
        "ratio": ratio(their_laps, our_laps),
        "difference": abs(ap["ours"] - ap["theirs"]),
    }


def _steps() -> dict[str, Any]:
    recipe = RECIPES["mini"]
    encoder = load_encoder(EncoderSpec.parse("synthetic:random-weights"))
    batch, side = recipe.training.batch, recipe.training.side
    pixels = torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(0))

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return encoder.encode(encoder.normalize(pixels)).dense_BCHW

    tokens = forward()
    calls: dict[str, Callable[[], object]] = {"forward": forward}
    for backend in ("ops", "detectron2") if importlib.util.find_spec("detectron2") else ("ops",):
        torch.manual_seed(0)
        detector, _ = build_detector(
            recipe.head, channels=encoder.dim, classes=48, patch=encoder.patch, masks=True, backend=backend
        )
        calls[backend] = _stepper(detector, tokens, side)
    for call in calls.values():
        call()
    laps: dict[str, list[Lap]] = dict(zip(calls, alternate(list(calls.values()), 7), strict=True))
    found: dict[str, Any] = {
        "images_per_second": round(batch / median(laps["ops"]), 2),
        "forward_s": round(statistics.median(lap.cpu for lap in laps["forward"]), 4),
        "step_over_forward": ratio(laps["ops"], laps["forward"]),
    }
    if "detectron2" in laps:
        found["ops_over_detectron2"] = ratio(laps["ops"], laps["detectron2"])
    return found


def _stepper(detector: Detector, tokens: torch.Tensor, side: int) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(cast(nn.Module, detector).parameters(), lr=1e-4)
    rng = torch.Generator().manual_seed(1)
    corners = torch.rand(len(tokens), 4, 2, generator=rng) * (side - 40)
    masks = torch.ones(4, side, side, dtype=torch.bool)
    targets = [Target(torch.cat([corner, corner + 30], dim=1), torch.arange(4), masks) for corner in corners]

    def step() -> None:
        losses = detector.losses(tokens, [(side, side)] * len(tokens), targets, torch.Generator().manual_seed(2))
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _material() -> tuple[GroundTruth, list[dict[str, Any]]]:
    """Objects, and detections of which half lie near one."""
    rng = np.random.default_rng(0)
    images, annotations, results = [], [], []
    for key in range(1, IMAGES + 1):
        corner, size = rng.uniform(0, 400, (OBJECTS, 2)), rng.uniform(10, 200, (OBJECTS, 2))
        labels = rng.integers(CLASSES, size=OBJECTS)
        things = []
        for (x, y), (w, h), label in zip(corner.tolist(), size.tolist(), labels.tolist(), strict=True):
            things.append(Thing((x, y, x + w, y + h), label))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": key,
                    "category_id": label + 1,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
        images.append(TruthImage(key, Sample(str(key), Path(str(key)), key=key), (640, 640), tuple(things)))
        near = rng.integers(OBJECTS, size=FOUND)
        moved = corner[near] + rng.normal(0, 12, (FOUND, 2)), size[near] * rng.uniform(0.8, 1.25, (FOUND, 2))
        guess = np.where(rng.random(FOUND) < 0.5, labels[near], rng.integers(CLASSES, size=FOUND))
        for (x, y), (w, h), label, confidence in zip(
            moved[0].tolist(), moved[1].tolist(), guess.tolist(), rng.random(FOUND).tolist(), strict=True
        ):
            results.append({"image_id": key, "category_id": label + 1, "bbox": [x, y, w, h], "score": confidence})
    categories = tuple(Category(label + 1, f"c{label}") for label in range(CLASSES))
    body = {
        "images": [{"id": image.key, "height": 640, "width": 640} for image in images],
        "annotations": annotations,
        "categories": [{"id": category.id, "name": category.name} for category in categories],
    }
    truth = GroundTruth(
        name="made up",
        style="coco",
        categories=categories,
        images=tuple(images),
        body=body,
        skipped=(),
        has_masks=False,
    )
    return truth, results
