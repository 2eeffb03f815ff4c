"""A flaw costs the field that has it: AP is pycocotools' on the mended file, or what has it counts neither way."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flaws import BOX, FLAWS, H, W, corners, flawed, runs, sound
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from probes.detection.annotations import read_ground_truth
from probes.detection.evaluate import Evaluation, Judged, score
from probes.detection.truth import GroundTruth
from rice_core.datasets.entries import as_key

REAL = Path(__file__).parents[3] / ".." / "shared" / "data" / "coco" / "annotations" / "instances_val2017.json"
STYLES = ("coco", "lvis")
OF_ANY_OBJECT = (
    *("no segmentation", "an empty list in a list", "slivers alone", "a polygon with NaN", "the name of a file"),
    *("run lengths of nothing", "an area below 0", "an area of text", "iscrowd 0 as text", "an iscrowd of 2"),
    *("an unknown category", "no id", "no box and no mask", "a box of NaN and no mask"),
)
"""Flaws that are no other object's truth."""


def as_lvis(body: dict[str, Any]) -> dict[str, Any]:
    """The same file in LVIS's form, both categories looked for in all images."""
    for image in body["images"]:
        present = {entry["category_id"] for entry in sound()["annotations"] if entry["image_id"] == image["id"]}
        image |= {"neg_category_ids": sorted({7, 9} - present), "not_exhaustive_category_ids": []}
    for category in body["categories"]:
        category |= {"frequency": "f", "image_count": 3}
    return body


def truth_of(body: dict[str, Any], folder: Path) -> GroundTruth:
    (folder / "truth.json").write_text(json.dumps(body))
    return read_ground_truth(folder / "truth.json", None, name="truth.json")


def packed(box: list[float]) -> dict[str, Any]:
    x, y, w, h = (round(v) for v in box)
    rle = coco_mask.frPyObjects({"size": [H, W], "counts": runs([x, y, w, h])}, H, W)
    return {"size": [H, W], "counts": rle["counts"].decode()}


def found_in(body: dict[str, Any], seed: int | None = None) -> list[dict[str, Any]]:
    """Each object, the best score first for the flawed one; with a seed each a little off, and detections of nothing."""
    rng = np.random.default_rng(seed)
    rows = []
    for k, entry in enumerate(body["annotations"]):
        row = {"image_id": entry["image_id"], "category_id": entry["category_id"], "score": 0.5 + 0.1 * (k == 1)}
        rows.append(row | {"bbox": list(entry["bbox"])})
    if seed is not None:
        for row in rows:
            row["bbox"] = [int(v) for v in np.array(row["bbox"]) + rng.integers(-2, 3, 4)]
            row["bbox"][:2] = [max(v, 0) for v in row["bbox"][:2]]
        rows += [
            {"image_id": int(rng.integers(1, 4)), "category_id": int(rng.choice([7, 9])), "bbox": [60, 46, 12, 9]}
            for _ in range(4)
        ]
        for row, value in zip(rows, rng.permutation(len(rows)), strict=True):
            row["score"] = 0.1 + 0.05 * float(value)
    return [row | {"segmentation": packed(row["bbox"])} for row in rows]


def by_pycocotools(body: dict[str, Any], rows: list[dict[str, Any]], kind: str) -> list[float]:
    true = COCO()
    true.dataset = copy.deepcopy(body)
    drop = "bbox" if kind == "segm" else "segmentation"
    with contextlib.redirect_stdout(io.StringIO()):
        true.createIndex()
        judge = COCOeval(true, true.loadRes([{k: v for k, v in row.items() if k != drop} for row in rows]), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats.tolist()


def mended(cost: str, kind: str) -> dict[str, Any]:
    """The sound file, the object a crowd over its box where the flaw costs it."""
    body = sound()
    if cost == "image":
        body["annotations"][1] |= {"bbox": [0, 0, W, H], "segmentation": {"size": [H, W], "counts": [0, H * W]}}
    if cost in ("object", "image") or (cost == "mask" and kind == "segm"):
        body["annotations"][1]["iscrowd"] = 1
    return body


def judged(scored: Evaluation, kind: str) -> Judged:
    found = scored.kinds["mask" if kind == "segm" else "box"]
    return found


@pytest.mark.parametrize("name", [name for name, (_, cost) in FLAWS.items() if cost != "point"])
def test_ap_is_pycocotools_on_the_mended_file(name: str, tmp_path: Path) -> None:
    cost = FLAWS[name][1]
    truth = truth_of(flawed(name), tmp_path)
    for rows in (found_in(sound()), *(found_in(sound(), seed) for seed in range(4))):
        scored = score(truth, rows, masks=True, resamples=0)
        for kind in ("bbox", "segm"):
            expected = by_pycocotools(mended(cost, kind), rows, kind)
            found = [*judged(scored, kind).ap.values(), *judged(scored, kind).ar.values()]
            assert found == [None if v == -1 else pytest.approx(100 * v, abs=1e-6) for v in expected], kind
    assert (len(truth.skipped), sum(len(image.ignored) for image in truth.images)) == (
        cost not in ("nothing", "mask"),
    ) * 2


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", FLAWS)
def test_what_is_right_stays_right_or_is_not_judged(name: str, style: str, tmp_path: Path) -> None:
    def truth(body: dict[str, Any]) -> GroundTruth:
        return truth_of(as_lvis(body) if style == "lvis" else body, tmp_path)

    whole, other = truth(sound()), truth(flawed(name))
    assert whole.style == other.style == style
    best = score(other, found_in(sound()), masks=True, resamples=0)
    assert best.box.ap["AP"] == best.mask.ap["AP"] == pytest.approx(100)  # type: ignore[union-attr]
    for seed in range(6):
        rows = found_in(sound(), seed)
        before, after = (score(each, rows, masks=True, resamples=0) for each in (whole, other))
        for kind, was in before.kinds.items():
            now = after.kinds[kind].matches
            if style == "coco":  # of LVIS, what may not be looked for is not judged
                assert len(now.right_DT) == len(was.matches.right_DT)
                assert not (was.matches.right_DT & ~now.right_DT & ~now.ignored_DT).any()
                assert not (now.right_DT & ~was.matches.right_DT).any()
            else:
                wrong = [(~m.right_DT & ~m.ignored_DT).sum(0) for m in (was.matches, now)]
                assert (wrong[1] <= wrong[0]).all()


@pytest.mark.parametrize("name", FLAWS)
def test_what_was_mended_or_left_out_is_said(name: str, tmp_path: Path) -> None:
    truth = truth_of(flawed(name), tmp_path)
    silent = {"no area", "an area of null", "no iscrowd", "iscrowd 0 as text", "iscrowd false", "iscrowd 0.0", "no id"}
    silent |= {"an id of null", "an image as a float", "a category as a float", "run lengths in a list"}
    silent |= {"run lengths as floats"}
    assert bool(truth.skipped or truth.notes) == (name not in silent)
    for skip in truth.skipped:
        assert skip.reason.endswith("is ignored: neither object nor background")


def test_an_annotation_that_is_there_twice_is_one_object(tmp_path: Path) -> None:
    body = sound()
    body["annotations"].append(body["annotations"][1])
    truth = truth_of(body, tmp_path)
    (skip,) = truth.skipped
    assert skip.reason == "is an earlier annotation once more: the same id, image, category and box"
    assert [len(image.things) for image in truth.images] == [2, 1, 1]


def test_a_place_forgives_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    """A line of 31, 20 to 31, 44: what may be its object is forgiven; the same detection farther off is false."""
    truth = truth_of(flawed("a box without width and no mask"), tmp_path)
    rows = found_in(sound())
    for x, wrong in ((20, 0), (50, 0), (52, 1)):
        more = rows[1] | {"bbox": [x, 20, 20, 24], "segmentation": packed([x, 20, 20, 24]), "score": 0.9}
        found = score(truth, [*rows, more], masks=False, resamples=0).box.matches
        assert (~found.right_DT & ~found.ignored_DT).sum(0).tolist() == [wrong] * 10


@pytest.mark.parametrize("flaw", ["an iscrowd of 2", "an unknown category", "the name of a file"])
def test_what_found_an_ignored_object_takes_no_neighbour(flaw: str, tmp_path: Path) -> None:
    """Two objects that overlap by 0.6; COCO's matching would give the other one to the first detection."""
    body = sound()
    near = [BOX[0] + 5, *BOX[1:]]
    body["annotations"].append(body["annotations"][1] | {"id": 20, "bbox": near, "segmentation": [corners(near)]})
    rows = found_in(body)
    assert rows[1]["score"] > rows[4]["score"]
    FLAWS[flaw][0](body["annotations"][1])
    scored = score(truth_of(body, tmp_path), rows, masks=True, resamples=0)
    for each in scored.kinds.values():
        assert each.ap["AP"] == pytest.approx(100)
        assert (each.matches.right_DT | each.matches.ignored_DT).all()
    missed = [row for row in rows if row is not rows[4]]
    kind = "mask" if flaw == "the name of a file" else "box"
    found = score(truth_of(body, tmp_path), missed, masks=True, resamples=0).kinds[kind]
    assert found.matches.right_DT.sum(0).tolist() == [3] * 10


@pytest.mark.parametrize("bow", [[31, 20, 51, 44, 51, 20, 31, 44], [31, 20, 31, 44, 51, 20, 51, 44]])
def test_a_bow_tie_is_a_mask(bow: list[int], tmp_path: Path) -> None:
    """Its two halves run round the other way, so that they cancel out in its signed area; pycocotools draws both."""
    body = sound()
    body["annotations"][1]["segmentation"] = [bow]
    rows = found_in(sound())
    truth = truth_of(body, tmp_path)
    assert truth.notes == ()
    found = [*judged(score(truth, rows, masks=True, resamples=0), "segm").ap.values()]
    expected = by_pycocotools(body, rows, "segm")[:6]
    assert found == [None if v == -1 else pytest.approx(100 * v, abs=1e-6) for v in expected]


def test_masks_are_not_judged_in_an_image_without_a_size(tmp_path: Path) -> None:
    body = sound()
    del body["images"][0]["width"], body["images"][0]["height"]
    truth, rows = truth_of(body, tmp_path), found_in(sound(), 3)
    alone = sound() | {"images": body["images"][1:]}
    alone["annotations"] = [entry for entry in alone["annotations"] if entry["image_id"] != 1]
    scored = score(truth, rows, masks=True, resamples=0)
    for kind, kept in (("bbox", sound()), ("segm", alone)):
        mine = [row for row in rows if kind == "bbox" or row["image_id"] != 1]
        expected = by_pycocotools(kept, mine, kind)
        found = [*judged(scored, kind).ap.values(), *judged(scored, kind).ar.values()]
        assert found == [None if v == -1 else pytest.approx(100 * v, abs=1e-6) for v in expected], kind
    assert any("1 of 3 images of truth.json have no size" in note for note in truth.notes)


@pytest.mark.parametrize("name", ["an iscrowd of 2", "an unknown category", "a box of NaN and no mask"])
def test_an_ignored_object_is_none_of_the_objects(name: str, tmp_path: Path) -> None:
    truth = truth_of(flawed(name), tmp_path)
    assert truth.objects == {7: 2, 9: 1}
    assert len(truth.images[0].things) == 1
    (ignored,) = truth.images[0].ignored
    assert ignored.box_xyxy == ((0, 0, 1e5, 1e5) if "NaN" in name else (31, 20, 51, 44))


@pytest.mark.skipif(not REAL.is_file(), reason="the real images of COCO are not beside the checkout")
@pytest.mark.parametrize("name", OF_ANY_OBJECT)
def test_on_real_annotations_nothing_right_becomes_false(name: str, tmp_path: Path) -> None:
    body = json.loads(REAL.read_text())
    objects = [entry for entry in body["annotations"] if not entry["iscrowd"]]
    rows = [
        {key: entry[key] for key in ("image_id", "category_id", "bbox")} | {"score": 1 - k / 1e4}
        for k, entry in enumerate(objects)
    ]
    assert score(truth_of(body, tmp_path), rows, masks=False, resamples=0).box.matches.right_DT.all()
    for entry in objects[::5]:
        FLAWS[name][0](entry)
    truth = truth_of(body, tmp_path)
    found = score(truth, rows, masks=False, resamples=0).box.matches
    assert (found.right_DT | found.ignored_DT).all()
    if FLAWS[name][1] not in ("nothing", "mask"):
        assert len(truth.skipped) == len(objects[::5])
    else:
        assert found.right_DT.all()


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 120)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from([10**30, "7", "-1", "nan", "\0"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["size", "counts", "id"]), inner),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    field=st.sampled_from(["bbox", "area", "iscrowd", "segmentation", "category_id", "id"]),
    value=JUNK,
    masks=st.booleans(),
    style=st.sampled_from(STYLES),
)
def test_whatever_one_field_holds_nothing_right_becomes_false(
    field: str, value: Any, masks: bool, style: str, tmp_path: Path
) -> None:
    body = sound()
    if not masks:
        del body["annotations"][1]["segmentation"]
    body["annotations"][1][field] = value
    if field == "bbox":  # four numbers, with or without a sign, are a box of somewhere
        assume(not (isinstance(value, list) and len(value) == 4))
    assume(not (field == "category_id" and as_key(value) in (9, "9")))  # nor is another category a flaw
    truth, rows = truth_of(as_lvis(body) if style == "lvis" else body, tmp_path), found_in(sound())
    for kind, judged_of in score(truth, rows, masks=truth.has_masks, resamples=0).kinds.items():
        if field == "segmentation" and kind == "mask" and truth.images[0].things[1].segmentation is not None:
            continue  # another shape
        assert (judged_of.matches.right_DT | judged_of.matches.ignored_DT).all(), kind
