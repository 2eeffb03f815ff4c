"""AP is pycocotools' and the lvis package's, and its error is that of images really drawn again."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from probes.detection import evaluate
from probes.detection.annotations import read_ground_truth
from probes.detection.evaluate import score
from probes.detection.resample import average_precision, drawn
from probes.detection.truth import GroundTruth
from rice_core.stats.estimates import mean_clustered, paired

H, W = 90, 120
KINDS = {"bbox": "box", "segm": "mask"}
PRECISIONS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
RECALLS = ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def run_lengths(mask_HW: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask_HW.astype(np.uint8)))
    return {"size": [H, W], "counts": rle["counts"].decode()}


def filled(box: list[float]) -> np.ndarray:
    x, y, w, h = (round(v) for v in box)
    mask_HW = np.zeros((H, W))
    mask_HW[max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = 1
    return mask_HW


def world(seed: int, style: str, images: int = 6, dets: int = 60, ties: bool = True) -> tuple[dict, list[dict]]:
    """Image 1 is empty, the last category is never present, boxes reach out of the image or have no area."""
    rng = np.random.default_rng(seed)
    categories: list[dict] = [{"id": 3 * k + 2, "name": f"c{k}"} for k in range(5)]
    entries: list[dict] = [{"id": int(7 * i + 1), "height": H, "width": W} for i in rng.permutation(images)]
    things, results = [], []
    for image in entries:
        for _ in range(0 if image["id"] == 1 else rng.integers(0, 12)):
            w, h = (int(rng.integers(1, 25 if rng.random() < 0.5 else side)) for side in (W, H))
            box = [int(rng.integers(0, W - w + 1)), int(rng.integers(0, H - h + 1)), w, h]
            mask_HW = filled(box)
            mask_HW[:, ::2] *= rng.random() < 0.5 or not mask_HW[:, 1::2].any()
            thing = {"id": len(things) + 1, "image_id": image["id"], "category_id": categories[rng.integers(4)]["id"]}
            thing |= {"bbox": box, "segmentation": run_lengths(mask_HW), "area": int(mask_HW.sum())}
            things.append(thing if style == "lvis" else thing | {"iscrowd": int(rng.random() < 0.2)})
    for image in entries:
        mine = [thing for thing in things if thing["image_id"] == image["id"]]
        for _ in range(rng.integers(0, dets + 1) if rng.random() < 0.9 else 0):
            category = categories[rng.integers(5)]["id"]
            box = [*rng.uniform(-20, (W, H)), *np.maximum(rng.uniform((-9, -9), (W, H)), 0)]
            if mine and rng.random() < 0.7:
                thing = mine[rng.integers(len(mine))]
                category = thing["category_id"] if rng.random() < 0.9 else category
                box = list(np.array(thing["bbox"], float) + rng.normal(0, 1.5, 4) * (rng.random() < 0.8))
                box[2:] = np.maximum(box[2:], 0)
            box = [float(np.round(v)) if rng.random() < 0.3 else float(v) for v in box]
            value = round(float(rng.random()), 1 if ties and rng.random() < 0.7 else 12)
            row = {"image_id": image["id"], "category_id": category, "bbox": box, "score": value}
            results.append(row | {"segmentation": run_lengths(filled(box))})
    if style == "lvis":
        for k, category in enumerate(categories):
            category |= {"frequency": "rcf"[k % 3], "image_count": 5}
        for image in entries:
            present = {thing["category_id"] for thing in things if thing["image_id"] == image["id"]}
            absent = [c["id"] for c in categories if c["id"] not in present]
            image["neg_category_ids"] = [c for c in absent if rng.random() < 0.5]
            image["not_exhaustive_category_ids"] = [c for c in sorted(present) if rng.random() < 0.3]
    return {"images": entries, "annotations": things, "categories": categories}, results


def truth_of(body: dict, folder: Path) -> GroundTruth:
    (folder / "truth.json").write_text(json.dumps(body))
    truth = read_ground_truth(folder / "truth.json", None, name="truth.json")
    assert truth.skipped == ()
    return truth


def by_pycocotools(body: dict, results: list[dict], kind: str) -> dict[str, float]:
    true = COCO()
    true.dataset = copy.deepcopy(body)
    drop = ("bbox",) if kind == "segm" else ("segmentation",)
    with contextlib.redirect_stdout(io.StringIO()):
        true.createIndex()
        found = true.loadRes([{k: v for k, v in row.items() if k not in drop} for row in results])
        judge = COCOeval(true, found, kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return dict(zip((*PRECISIONS, *RECALLS), judge.stats.tolist(), strict=True))


def by_lvis(path: Path, results: list[dict], kind: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    from lvis import LVIS, LVISEval, LVISResults

    monkeypatch.setattr(np, "float", float, raising=False)  # lvis 0.5.3 is older than numpy 2
    monkeypatch.setattr(logging.getLogger("lvis"), "disabled", True)
    true = LVIS(str(path))
    drop = ("bbox",) if kind == "segm" else ("segmentation",)
    found = LVISResults(true, [{k: v for k, v in row.items() if k not in drop} for row in results])
    judge = LVISEval(true, found, kind)
    judge.run()
    return {"AR300" if name == "AR@300" else name.split("@")[0]: value for name, value in judge.results.items()}


def assert_same(judged: evaluate.Judged, expected: dict[str, float]) -> None:
    found = judged.ap | judged.ar
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == (None if value == -1 else 100 * value), name


@pytest.mark.parametrize("seed", range(8))
def test_coco_is_pycocotools(seed: int, tmp_path: Path) -> None:
    # From seed 4 on, more than 100 detections of one image and category.
    body, results = world(seed, "coco", dets=60 if seed < 4 else 700)
    scored = score(truth_of(body, tmp_path), results, masks=True, resamples=0)
    for kind, field in KINDS.items():
        assert_same(getattr(scored, field), by_pycocotools(body, results, kind))


@pytest.mark.parametrize("seed", range(8))
def test_lvis_is_the_lvis_package(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # From seed 4 on, more than 300 detections of an image.
    body, results = world(seed, "lvis", dets=60 if seed < 4 else 700)
    truth = truth_of(body, tmp_path)
    assert truth.style == "lvis"
    scored = score(truth, results, masks=True, resamples=0)
    for kind, field in KINDS.items():
        assert_same(getattr(scored, field), by_lvis(tmp_path / "truth.json", results, kind, monkeypatch))


def test_polygons_and_uncompressed_crowds_are_as_pycocotools_reads_them(tmp_path: Path) -> None:
    body, results = world(3, "coco")
    for thing in body["annotations"]:
        x, y, w, h = thing["bbox"]
        thing["segmentation"] = [[x, y, x + w, y, x + w, y + h - 0.5, x, y + h]]
        if thing["iscrowd"]:
            runs = np.diff(np.flatnonzero(np.diff(filled(thing["bbox"]).T.ravel(), prepend=2, append=2))).tolist()
            runs = runs if filled(thing["bbox"])[0, 0] == 0 else [0, *runs]
            thing["segmentation"] = {"size": [H, W], "counts": runs}
    scored = score(truth_of(body, tmp_path), results, masks=True, resamples=0)
    assert scored.mask is not None
    assert_same(scored.mask, by_pycocotools(body, results, "segm"))


@pytest.mark.parametrize("shape", ["polygon", "runs", "text"])
def test_where_no_area_is_annotated_the_size_is_the_masks(shape: str, tmp_path: Path) -> None:
    # A thin frame in a large box: 2,000 of 90 x 100 pixels, so medium by its box and small by its mask.
    body, _ = world(0, "coco")
    mask_HW = filled([10, 5, 100, 80])
    mask_HW[7:83, 12:108] = 0
    runs = np.diff(np.flatnonzero(np.diff(mask_HW.T.ravel(), prepend=2, append=2))).tolist()
    thin = [[10, 5, 12, 5, 12, 83, 110, 83, 110, 85, 10, 85]]
    segmentation = {"polygon": thin, "runs": {"size": [H, W], "counts": runs}, "text": run_lengths(mask_HW)}[shape]
    thing = {"id": 1, "image_id": body["images"][0]["id"], "category_id": 2, "bbox": [10, 5, 100, 80], "iscrowd": 0}
    body["annotations"] = [thing | {"segmentation": segmentation}]
    rle = coco_mask.merge(coco_mask.frPyObjects(thin, H, W)) if shape == "polygon" else run_lengths(mask_HW)
    area = int(coco_mask.area(rle))
    assert area < 32**2 < 100 * 80
    results = [thing | {"score": 0.5, "segmentation": rle}]
    mended = {**body, "annotations": [body["annotations"][0] | {"area": area}]}
    scored = score(truth_of(body, tmp_path), results, masks=True, resamples=0)
    for kind, field in KINDS.items():
        assert_same(getattr(scored, field), by_pycocotools(mended, results, kind))
    assert scored.box.ap["APs"] == pytest.approx(100)
    assert scored.box.ap["APl"] is None


def test_boxes_need_no_image_size(tmp_path: Path) -> None:
    body, results = world(4, "coco")
    expected = score(truth_of(body, tmp_path), results, masks=False, resamples=0).box
    for image in body["images"]:
        del image["height"], image["width"]
    truth = truth_of(body, tmp_path)
    assert not truth.has_masks
    assert any("have no size, so masks are not judged" in note for note in truth.notes)
    found = score(truth, results, masks=False, resamples=0).box
    assert (found.ap, found.ar) == (expected.ap, expected.ar)
    body["images"][0]["height"] = -3  # no size, which costs no box
    again = score(truth_of(body, tmp_path), results, masks=False, resamples=0).box
    assert (again.ap, again.ar) == (expected.ap, expected.ar)


def test_ids_may_be_strings_or_larger_than_a_float_holds(tmp_path: Path) -> None:
    body, results = world(1, "coco")
    expected = score(truth_of(body, tmp_path), results, masks=False, resamples=0).box.ap
    for name in (lambda key: f"{key:04d}", lambda key: 2**60 + key):
        other = copy.deepcopy((body, results))
        for row in other[0]["images"]:
            row["id"] = name(row["id"])
        for row in (*other[0]["annotations"], *other[1]):
            row["image_id"] = name(row["image_id"])
        assert score(truth_of(other[0], tmp_path), other[1], masks=False, resamples=0).box.ap == expected


def test_nothing_found_scores_zero_and_what_is_undefined_is_none(tmp_path: Path) -> None:
    body, _ = world(0, "coco")
    body["annotations"] = [{**thing, "iscrowd": 0, "area": 50} for thing in body["annotations"]]
    scored = score(truth_of(body, tmp_path), [], masks=True)
    assert scored.box.ap == {"AP": 0.0, "AP50": 0.0, "AP75": 0.0, "APs": 0.0, "APm": None, "APl": None}
    names = {metric.name for metric in scored.metrics()}
    assert names == {f"{kind}_{name}" for kind in ("box", "mask") for name in ("ap", "ap50", "ap75", "aps")}
    assert np.isnan(scored.box.category_ap_K).tolist() == [False] * 4 + [True]


def test_perfect_results_score_100_in_every_part(tmp_path: Path) -> None:
    body, _ = world(2, "coco")
    results = [{**thing, "score": 0.5} for thing in body["annotations"] if not thing["iscrowd"]]
    scored = score(truth_of(body, tmp_path), results, masks=True)
    for judged in (scored.box, scored.mask):
        assert judged is not None
        assert {round(value, 9) for value in judged.ap.values() if value is not None} == {100.0}
        assert judged.errors["AP"].stderr == pytest.approx(0, abs=1e-9)
        np.testing.assert_allclose(list(judged.curves.values()), 100)


def test_curves_and_categories_average_to_ap(tmp_path: Path) -> None:
    body, results = world(5, "coco")
    box = score(truth_of(body, tmp_path), results, masks=False, resamples=0).box
    assert box.curves["0.50"].mean() == pytest.approx(box.ap["AP50"])
    assert box.curves["0.75"].mean() == pytest.approx(box.ap["AP75"])
    assert box.curves["0.50:0.95"].mean() == pytest.approx(box.ap["AP"])
    assert np.nanmean(box.category_ap_K) == pytest.approx(box.ap["AP"])


@pytest.mark.parametrize("style", ["coco", "lvis"])
def test_a_resample_is_what_the_evaluator_says_of_the_same_images_repeated(style: str, tmp_path: Path) -> None:
    body, results = world(11, style, images=5, dets=150, ties=False)
    times_RI = np.concatenate([np.ones((1, 5), np.int32), drawn(5, 4, seed=1)])
    truth = truth_of(body, tmp_path)
    for field, judged in score(truth, results, masks=True, resamples=0).kinds.items():
        for times_I, ap_KT in zip(times_RI, average_precision(judged.matches, times_RI), strict=True):
            again, found = repeated(
                body, results, {image.key: int(n) for image, n in zip(truth.images, times_I, strict=True)}
            )
            expected = getattr(score(truth_of(again, tmp_path), found, masks=True, resamples=0), field)
            np.testing.assert_allclose(100 * ap_KT.mean(1), expected.category_ap_K, atol=1e-6)


def repeated(body: dict, results: list[dict], times: dict[Any, int]) -> tuple[dict, list[dict]]:
    copies = [(key, 1000 * key + c) for key, n in times.items() for c in range(n)]
    rows = {
        field: [row | {"image_id": new} for key, new in copies for row in rows if row["image_id"] == key]
        for field, rows in (("things", body["annotations"]), ("results", results))
    }
    images = [image | {"id": new} for key, new in copies for image in body["images"] if image["id"] == key]
    things = [thing | {"id": number} for number, thing in enumerate(rows["things"], 1)]
    return {**body, "images": images, "annotations": things}, rows["results"]


@pytest.mark.parametrize("style", ["coco", "lvis"])
def test_what_images_add_averages_to_the_metric(style: str, tmp_path: Path) -> None:
    body, results = world(7, style, images=12)
    scored = score(truth_of(body, tmp_path), results, masks=True)
    scores = scored.scores()
    assert scores.sample == tuple(str(7 * i + 1) for i in range(12))
    assert len(scores.values) == 2 * len(scored.box.errors)
    for metric in scored.metrics():
        if metric.name in scores.values:
            assert np.mean(scores.values[metric.name]) == pytest.approx(metric.value)
    # The jackknife's error is about the bootstrap's.
    clustered = mean_clustered(scores.values["box_ap"], scores.cluster)
    assert clustered.stderr == pytest.approx(scored.box.errors["AP"].stderr, rel=0.5)


def test_a_better_encoder_is_decisively_better_where_images_are_paired(tmp_path: Path) -> None:
    body, results = world(5, "coco", images=40, dets=12, ties=False)
    truth = truth_of(body, tmp_path)
    rng = np.random.default_rng(0)
    worse = [
        {**row, "bbox": [v + float(rng.normal(0, 3)) for v in row["bbox"][:2]] + row["bbox"][2:]} for row in results
    ]
    a, b = (score(truth, rows, masks=False, resamples=0) for rows in (results, worse))
    found = paired(a.scores(), b.scores(), "box_ap", better="higher")
    assert found.value == pytest.approx(a.box.ap["AP"] - b.box.ap["AP"])
    assert found.decisive
    assert paired(a.scores(), a.scores(), "box_ap", better="higher").value == 0


@pytest.mark.parametrize("style", ["coco", "lvis"])
def test_the_error_belongs_to_the_same_ap_and_its_interval_holds_it(style: str, tmp_path: Path) -> None:
    body, results = world(7, style, images=8)
    scored = score(truth_of(body, tmp_path), results, masks=True, resamples=30)
    for judged in (scored.box, scored.mask):
        assert judged is not None
        assert set(judged.errors) >= {"AP", "AP50", "AP75"} | ({"APr", "APc", "APf"} if style == "lvis" else set())
        for name, error in judged.errors.items():
            assert error.value == pytest.approx(judged.ap[name], abs=1e-6)
            assert error.stderr is not None
            assert error.stderr > 0
            assert error.ci95 is not None
            assert error.ci95[0] < error.value < error.ci95[1]
    metric = scored.metrics()[0]
    assert (metric.name, metric.n, metric.method) == ("box_ap", 8, "bootstrap over images (30), Wilson interval")
    again = score(truth_of(body, tmp_path), results, masks=True, resamples=30)
    assert again.box.errors == scored.box.errors


def test_the_bootstrap_agrees_with_the_spread_between_samples(tmp_path: Path) -> None:
    body, results = world(5, "coco", images=400, dets=12, ties=False)
    matches = score(truth_of(body, tmp_path), results, masks=False, resamples=0).box.matches
    samples_SI = np.random.default_rng(0).permutation(400).reshape(20, 20)
    values, errors = [], []
    for sample_I in samples_SI:
        times_RI = np.zeros((41, 400), np.int32)
        times_RI[0, sample_I] = 1
        times_RI[1:, sample_I] = drawn(20, 40, seed=0)
        ap_R = np.nanmean(average_precision(matches, times_RI), axis=(1, 2))
        values.append(ap_R[0])
        errors.append(ap_R[1:].std(ddof=1))
    assert np.std(values, ddof=1) == pytest.approx(np.mean(errors), rel=0.5)


@pytest.mark.parametrize("style", ["coco", "lvis"])
def test_intervals_of_few_images_stay_within_percent(style: str, tmp_path: Path) -> None:
    """Student's leaves the range in one of these; nothing found and all found are no certainty."""
    body, results = world(7, style, images=4)
    truth, crossed = truth_of(body, tmp_path), 0
    for some in (results, results[: len(results) // 6], []):
        for metric in score(truth, some, masks=True, resamples=30).metrics():
            assert metric.bounds == (0, 100)
            if metric.ci95 is None or metric.stderr is None:
                continue
            assert 0 <= metric.ci95[0] <= metric.value <= metric.ci95[1] <= 100
            assert metric.ci95[1] - metric.ci95[0] > 0.1
            crossed += not 0 <= metric.value - 3.18 * metric.stderr <= metric.value + 3.18 * metric.stderr <= 100
    assert crossed


def test_one_image_has_no_error(tmp_path: Path) -> None:
    body, results = world(0, "coco")
    key = body["annotations"][0]["image_id"]
    body = {
        **body,
        "images": [image for image in body["images"] if image["id"] == key],
        "annotations": [{**thing, "iscrowd": 0} for thing in body["annotations"] if thing["image_id"] == key],
    }
    mine = [row for row in results if row["image_id"] == key]
    assert score(truth_of(body, tmp_path), mine, masks=False).box.errors["AP"].stderr is None


def test_copies_of_a_scene_are_drawn_together(tmp_path: Path) -> None:
    """Each image four times: of scenes the error is that of the images once, of images half of it."""
    body, results = world(5, "coco", images=60, dets=12, ties=False)
    once = truth_of(body, tmp_path)
    copied = {name: [*entries] for name, entries in body.items()}
    rows = [*results]
    for k in (1, 2, 3):
        copied["images"] += [entry | {"id": entry["id"] + 10_000 * k} for entry in body["images"]]
        of = {"images": 10_000 * k, "things": 100_000 * k}
        copied["annotations"] += [
            each | {"id": each["id"] + of["things"], "image_id": each["image_id"] + of["images"]}
            for each in body["annotations"]
        ]
        rows += [row | {"image_id": row["image_id"] + of["images"]} for row in results]
    four = truth_of(copied, tmp_path)
    images = tuple(
        replace(image, sample=replace(image.sample, scene=f"scene {int(image.key) % 10_000}")) for image in four.images
    )
    by_image, by_scene = (score(t, rows, masks=False) for t in (four, replace(four, images=images)))
    alone = score(once, results, masks=False).box.errors["AP"]
    of_images, of_scenes = by_image.box.errors["AP"], by_scene.box.errors["AP"]
    assert of_scenes.stderr == pytest.approx(alone.stderr, rel=0.2)
    assert of_images.stderr == pytest.approx(alone.stderr / 2, rel=0.25)
    assert (of_scenes.n, of_scenes.clusters, of_scenes.method) == (
        240,
        60,
        "bootstrap over scenes (200), Wilson interval",
    )
    cluster = dict(zip(by_scene.samples, by_scene.scores().cluster, strict=True))
    assert all(
        cluster[image.sample.id] == cluster[images[0].sample.id]
        for image in images
        if image.sample.scene == images[0].sample.scene
    )
