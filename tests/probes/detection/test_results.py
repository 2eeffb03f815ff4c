"""Result files: official tools read what is written; what is read is checked, and what is bad is counted."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from probes.detection.annotations import read_ground_truth
from probes.detection.evaluate import score
from probes.detection.results import about_path, read_results, write_results
from probes.detection.truth import GroundTruth
from rice_core.errors import StoreError, UserError

PIXELS = np.zeros((20, 30), np.uint8, order="F")
PIXELS[3:13, 2:12] = 1
MASK = {"size": [20, 30], "counts": coco_mask.encode(PIXELS)["counts"].decode()}
RUNS = [43, *[10] * 19, 20 * 30 - 43 - 190]
GOOD = {"image_id": 4, "category_id": 7, "bbox": [2.0, 3.0, 10.0, 10.0], "score": 0.5}


@pytest.fixture
def truth(tmp_path: Path) -> GroundTruth:
    body = {
        "images": [{"id": 4, "width": 30, "height": 20}],
        "annotations": [{"id": 1, "image_id": 4, "category_id": 7, "bbox": [2, 3, 10, 10], "segmentation": MASK}],
        "categories": [{"id": 7, "name": "dog"}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(body))
    return read_ground_truth(tmp_path / "truth.json", None, name="truth.json")


def test_what_is_written_is_read_again_and_official_tools_read_it(tmp_path: Path, truth: GroundTruth) -> None:
    path = tmp_path / "new" / "found.json"
    rows = [{**GOOD, "bbox": np.array([2, 3, 10, 10], np.float32), "segmentation": coco_mask.encode(PIXELS)}]
    write_results(path, rows, {"weights": "abc", "protocol": "coco"})
    read = read_results(path, truth)
    assert read.entries == [{**GOOD, "segmentation": MASK}]
    assert (read.skipped, read.notes, read.has_masks) == ((), (), True)
    assert read.about is not None
    assert (read.about["weights"], read.about["protocol"]) == ("abc", "coco")
    assert score(truth, read.entries, masks=True, resamples=0).box.ap["AP"] == pytest.approx(100)
    with contextlib.redirect_stdout(io.StringIO()):
        official = COCO(str(tmp_path / "truth.json")).loadRes(str(path))
    assert official.anns[1]["area"] == 100
    assert sorted(file.name for file in path.parent.iterdir()) == ["found.about.json", "found.json"]


def test_an_empty_box_is_none_where_there_is_a_mask(tmp_path: Path, truth: GroundTruth) -> None:
    """As pycocotools reads them: tools that give masks alone write "bbox": []."""
    path = tmp_path / "found.json"
    path.write_text(json.dumps([{**GOOD, "bbox": [], "segmentation": MASK}, {**GOOD, "bbox": [], "segmentation": []}]))
    read = read_results(path, truth)
    assert read.entries == [{**GOOD, "segmentation": MASK}]
    (bad,) = read.skipped
    assert (bad.reason, bad.times) == ("has neither a box nor a mask", 1)
    path.write_text(json.dumps([{**GOOD, "bbox": [1]}] * 3))
    assert [skip.times for skip in read_results(path, truth).skipped] == [3]


def test_what_is_not_finite_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_results(tmp_path / "found.json", [{**GOOD, "score": float("nan")}], {})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_results(tmp_path / "file" / "found.json", [GOOD], {})


def test_what_describes_other_results_describes_nothing(tmp_path: Path, truth: GroundTruth) -> None:
    path = tmp_path / "found.json"
    write_results(path, [GOOD], {"weights": "abc"})
    path.write_text(json.dumps([GOOD, GOOD]))
    assert read_results(path, truth).about is None
    for junk in ("{", "[]"):
        about_path(path).write_text(junk)
        assert read_results(path, truth).about is None


def read(folder: Path, truth: GroundTruth, body: Any) -> Any:
    path = folder / "found.json"
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    return read_results(path, truth)


def test_polygons_are_drawn_as_pycocotools_draws_them(tmp_path: Path, truth: GroundTruth) -> None:
    polygons = [[2, 3, 12, 3, 12, 13], [20, 3, 25, 3, 25, 8]]
    drawn = coco_mask.merge(coco_mask.frPyObjects(polygons, 20, 30))
    (entry,) = read(tmp_path, truth, [{**GOOD, "segmentation": polygons}]).entries
    assert entry["segmentation"] == {"size": [20, 30], "counts": drawn["counts"].decode()}
    assert entry["bbox"] == GOOD["bbox"]
    (around,) = read(tmp_path, truth, [{**GOOD, "bbox": None, "segmentation": polygons}]).entries
    assert around["bbox"] == coco_mask.toBbox(drawn).tolist()


@pytest.mark.parametrize("size", [{"width": 30, "height": 20}, {}])
@pytest.mark.parametrize("segmentation", [[[2, 3, 12, 3, 12, 13]], [[1]], {"counts": "x"}, "nothing"])
def test_where_masks_are_not_judged_none_costs_a_box(tmp_path: Path, size: dict, segmentation: Any) -> None:
    thing = {"id": 1, "image_id": 4, "category_id": 7, "bbox": [2, 3, 10, 10]}
    body = {"images": [{"id": 4, **size}], "annotations": [thing], "categories": [{"id": 7, "name": "dog"}]}
    (tmp_path / "boxes.json").write_text(json.dumps(body))
    boxes = read_ground_truth(tmp_path / "boxes.json", None, name="boxes.json")
    found = read(tmp_path, boxes, [{**GOOD, "segmentation": segmentation}])
    assert (found.entries, found.skipped) == ([GOOD], ())
    assert score(boxes, found.entries, masks=False, resamples=0).box.ap["AP"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image_id": 5}, "is of an image that the annotations do not have"),
        ({"image_id": [4]}, "is of an image that the annotations do not have"),
        ({"category_id": 0}, "is of a category that the annotations do not have"),
        ({"score": float("nan")}, "has no finite score"),
        ({"score": None}, "has no finite score"),
        ({"score": 10**400}, "has no finite score"),
        ({"bbox": [2, 3, -1, 4]}, "has a box of negative size"),
        ({"bbox": [2, 3, float("inf"), 4]}, "has no box of four finite numbers"),
        ({"bbox": [2, 3, 4]}, "has no box of four finite numbers"),
        ({"bbox": [2, 3, 1e200, 1e200]}, "has a box far outside of any image"),
        ({"bbox": None}, "has neither a box nor a mask"),
    ],
)
def test_bad_entries_are_counted_by_reason(change: dict, reason: str, tmp_path: Path, truth: GroundTruth) -> None:
    bad = {**GOOD, **change}
    found = read(tmp_path, truth, [GOOD, bad, bad])
    assert found.entries == [GOOD]
    assert len(found.skipped) == 1
    assert found.skipped[0].item == "found.json: 2 entries, first entry 1:"
    assert found.skipped[0].reason.startswith(reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"segmentation": {**MASK, "size": [30, 20]}}, "has run lengths of another size than the image"),
        ({"segmentation": {**MASK, "counts": "5"}}, "has run lengths that do not fill the mask"),
        ({"segmentation": {**MASK, "counts": "~~~"}}, "has run lengths that cannot be read"),
        ({"segmentation": "2 3 12 3"}, "has a segmentation that is neither polygons nor run lengths"),
        ({"segmentation": [[2, 3, 12, 3]]}, "has a polygon that is no list of three or more x, y pairs"),
        ({"segmentation": [[2, 3, 12, 3, 22, 3]]}, "has polygons without area"),
    ],
)
def test_a_mask_that_cannot_be_used_costs_no_box(change: dict, reason: str, tmp_path: Path, truth: GroundTruth) -> None:
    bad = {**GOOD, **change, "score": 0.9}
    found = read(tmp_path, truth, [{**GOOD, "segmentation": MASK}, bad])
    (skip,) = found.skipped
    assert skip.reason.startswith(reason)
    assert skip.reason.endswith(": the box is judged, and the mask covers nothing")
    assert [entry["bbox"] for entry in found.entries] == [GOOD["bbox"]] * 2
    assert coco_mask.area(found.entries[1]["segmentation"]) == 0
    scored = score(truth, found.entries, masks=found.has_masks, resamples=0)
    assert scored.mask is not None
    assert scored.box.matches.right_DT.sum(0).tolist() == [1] * 10
    assert scored.mask.ap["AP"] == pytest.approx(50)  # found nothing before the one that is right
    alone = read(tmp_path, truth, [bad])
    assert (len(alone.entries), alone.has_masks) == (1, False)
    assert alone.notes == ("No mask of found.json can be used, so masks are not judged.",)
    without = read(tmp_path, truth, [{key: value for key, value in bad.items() if key != "bbox"}])
    assert without.entries == []
    assert without.skipped[0].reason.startswith(reason)


@pytest.mark.parametrize("box", [[2, float("nan"), 10, 10], ["2", 3, 10, 10], [2, 3, -1, 4], [2, 3], "2 3"])
def test_a_box_that_cannot_be_used_is_drawn_around_a_sound_mask(box: Any, tmp_path: Path, truth: GroundTruth) -> None:
    found = read(tmp_path, truth, [{**GOOD, "bbox": box, "segmentation": MASK}])
    assert found.entries == [{**GOOD, "segmentation": MASK}]
    assert [skip.reason.endswith(": it is drawn around the mask") for skip in found.skipped] == [True]
    assert read(tmp_path, truth, [{**GOOD, "bbox": box}]).entries == []


def test_ids_that_are_text_for_numbers_are_what_they_can_only_be(tmp_path: Path, truth: GroundTruth) -> None:
    found = read(tmp_path, truth, [GOOD, {**GOOD, "image_id": "4"}, {**GOOD, "category_id": "7"}])
    assert found.entries == [GOOD] * 3
    assert found.skipped == ()
    (note,) = found.notes
    assert note.startswith("2 entries of found.json write an id otherwise")


def test_masks_alone_get_the_box_around_them_and_lists_of_runs_are_compressed(
    tmp_path: Path, truth: GroundTruth
) -> None:
    alone = {key: GOOD[key] for key in ("image_id", "category_id", "score")}
    found = read(tmp_path, truth, [alone | {"segmentation": {"size": [20, 30], "counts": RUNS}}])
    assert found.skipped == ()
    assert found.entries == [{**GOOD, "segmentation": MASK}]


def test_some_masks_are_no_masks(tmp_path: Path, truth: GroundTruth) -> None:
    found = read(tmp_path, truth, [GOOD, {**GOOD, "segmentation": MASK}])
    assert (len(found.entries), found.has_masks) == (2, False)
    assert found.notes == ("1 of 2 entries of found.json have no mask, so masks are not judged.",)


def test_an_empty_file_holds_nothing_and_is_sound(tmp_path: Path, truth: GroundTruth) -> None:
    found = read(tmp_path, truth, [])
    assert (found.entries, found.skipped, found.has_masks) == ([], (), False)


@pytest.mark.parametrize(("body", "message"), [("{", "is no JSON"), ({"images": []}, "holds no list")])
def test_a_file_of_no_use_is_a_sentence(body: Any, message: str, tmp_path: Path, truth: GroundTruth) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, truth, body)
    with pytest.raises(UserError, match="cannot be read"):
        read_results(tmp_path / "none.json", truth)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.sampled_from([10**400, float("nan"), float("-inf"), 1e308, "", "x"]),
    st.lists(st.integers(-5, 40) | st.just(float("nan")) | st.none(), max_size=5),
    st.fixed_dictionaries({"size": st.just([20, 30]), "counts": st.text(max_size=8) | st.lists(st.integers(0, 600))}),
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.dictionaries(st.sampled_from([*GOOD, "segmentation"]), JUNK, min_size=1) | JUNK)
def test_whatever_an_entry_holds_the_others_are_read_and_judged(junk: Any, tmp_path: Path, truth: GroundTruth) -> None:
    entry = {**GOOD, "segmentation": MASK, **junk} if isinstance(junk, dict) else junk
    found = read(tmp_path, truth, [{**GOOD, "segmentation": MASK}, entry])
    assert len(found.entries) + len(found.skipped) in (2, 3)  # of an entry whose box or mask is lost the rest is judged
    assert score(truth, found.entries, masks=found.has_masks, resamples=0).box.ap["AP"] > 0
