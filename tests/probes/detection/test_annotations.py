"""Annotation files of COCO, LVIS and Roboflow: a bad entry is named with its reason and costs no other one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probes.detection.annotations import read_ground_truth
from probes.detection.evaluate import score
from probes.detection.truth import GroundTruth
from rice_core.datasets import Sample
from rice_core.errors import UserError

SQUARE = [2, 3, 12, 3, 12, 13, 2, 13]


def body(n: int = 3) -> dict[str, Any]:
    """n images of 30 x 20 pixels with one sound object each, of categories whose order is not that of their ids."""
    return {
        "images": [{"id": k, "file_name": f"{k}.png", "width": 30, "height": 20} for k in range(n)],
        "annotations": [
            {"id": k, "image_id": k, "category_id": 7, "bbox": [2, 3, 10, 10], "area": 81.5, "segmentation": [SQUARE]}
            for k in range(n)
        ],
        "categories": [{"id": 9, "name": "cat"}, {"id": 7, "name": "dog"}],
    }


def read(folder: Path, made: Any, samples: list[Sample] | None = None) -> GroundTruth:
    path = folder / "truth.json"
    path.write_text(made if isinstance(made, str) else json.dumps(made))
    return read_ground_truth(path, samples, name="truth.json")


def reasons(truth: GroundTruth) -> list[str]:
    return [f"{skip.item} {skip.reason}".removeprefix("truth.json: ") for skip in truth.skipped]


def roboflow() -> dict[str, Any]:
    """As Roboflow exports: from id 0, boxes alone, the project's name as a category above the real ones."""
    made = body()
    made["categories"] = [
        {"id": 0, "name": "Workers", "supercategory": "none"},
        {"id": 1, "name": "head", "supercategory": "Workers"},
        {"id": 2, "name": "helmet", "supercategory": "Workers"},
    ]
    for k, entry in enumerate(made["annotations"]):
        entry |= {"category_id": 1 + k % 2, "segmentation": [], "iscrowd": 0}
    return made


def lvis() -> dict[str, Any]:
    made = body()
    for entry in made["images"]:
        entry |= {"neg_category_ids": [9], "not_exhaustive_category_ids": [7]}
    for entry, frequency in zip(made["categories"], "cf", strict=True):
        entry |= {"frequency": frequency, "image_count": 50}
    return made


def test_a_sound_file_is_read_as_it_stands(tmp_path: Path) -> None:
    made = body()
    made["annotations"][1] |= {"iscrowd": 1, "bbox": [25.5, 10, 8, 5]}
    truth = read(tmp_path, made)
    assert (truth.style, truth.skipped, truth.has_masks) == ("coco", (), True)
    assert truth.notes == (
        "1 of 3 regions of truth.json are crowds (iscrowd 1), no objects: detections that lie in one are neither right nor wrong.",
    )
    assert [(c.id, c.name, c.frequency) for c in truth.categories] == [(7, "dog", None), (9, "cat", None)]
    assert [image.key for image in truth.images] == [0, 1, 2]
    assert truth.images[0].size_hw == (20, 30)
    (thing,) = truth.images[0].things
    assert (thing.box_xyxy, thing.label, thing.segmentation, thing.crowd) == ((2, 3, 12, 13), 0, [SQUARE], False)
    (crowd,) = truth.images[1].things
    # What is learnt from ends at the border; what is judged is the file's own.
    assert (crowd.box_xyxy, crowd.crowd) == ((25.5, 10, 30, 15), True)
    raw = truth.body["annotations"]
    assert [entry["id"] for entry in raw] == [1, 2, 3]
    assert [entry["image_id"] for entry in raw] == [0, 1, 2]
    assert [entry["iscrowd"] for entry in raw] == [0, 1, 0]
    assert raw[1]["bbox"] == [25.5, 10, 8, 5]
    assert {(entry["area"], entry["category_id"]) for entry in raw} == {(81.5, 7)}
    assert [entry["id"] for entry in truth.body["categories"]] == [7, 9]


def test_images_asked_for_are_the_only_ones(tmp_path: Path) -> None:
    samples = [Sample("b", tmp_path / "b", key=2), Sample("x", tmp_path / "x", key=77), Sample("y", tmp_path / "y")]
    truth = read(tmp_path, body(), samples)
    assert [image.sample for image in truth.images] == samples[:1]
    assert [entry["id"] for entry in truth.body["images"]] == [2]
    assert [(entry["id"], entry["image_id"]) for entry in truth.body["annotations"]] == [(1, 2)]
    assert reasons(truth) == ["x has no usable entry in truth.json", "y has no usable entry in truth.json"]


def test_roboflow_files_lose_their_placeholder(tmp_path: Path) -> None:
    truth = read(tmp_path, roboflow())
    assert [(c.id, c.name) for c in truth.categories] == [(1, "head"), (2, "helmet")]
    assert [image.things[0].label for image in truth.images] == [0, 1, 0]
    assert "'Workers', is Roboflow's placeholder" in truth.notes[0]
    assert truth.skipped == ()
    assert not truth.has_masks


@pytest.mark.parametrize(
    ("field", "place", "change"),
    [
        ("annotations", 0, {"category_id": 0}),
        ("categories", 0, {"supercategory": "things"}),
        ("categories", 0, {"id": 3}),
        ("categories", 1, {"supercategory": "none"}),
    ],
)
def test_category_0_stays_where_it_is_a_real_one(field: str, place: int, change: dict, tmp_path: Path) -> None:
    made = roboflow()
    made[field][place] |= change
    assert len(read(tmp_path, made).categories) == 3


def test_lvis_files_say_what_was_looked_for(tmp_path: Path) -> None:
    made = lvis()
    made["images"][0] |= {"neg_category_ids": [9, 1000], "not_exhaustive_category_ids": "7"}
    for entry in made["images"]:
        entry["coco_url"] = f"http://images/{entry.pop('file_name')}"
    truth = read(tmp_path, made)
    assert truth.style == "lvis"
    assert [(c.id, c.frequency, c.image_count) for c in truth.categories] == [(7, "f", 50), (9, "c", 50)]
    assert (truth.images[0].negative, truth.images[0].not_exhaustive) == ((9,), ())
    assert (truth.images[1].negative, truth.images[1].not_exhaustive) == ((9,), (7,))
    assert truth.body["images"][1]["neg_category_ids"] == [9]
    assert reasons(truth) == [
        "image 0 has neg_category_ids that are no categories of the file",
        "image 0 has not_exhaustive_category_ids that are no categories of the file",
    ]


def test_masks_are_decided_object_by_object(tmp_path: Path) -> None:
    made = body()
    made["annotations"][0]["segmentation"] = []
    truth = read(tmp_path, made)
    assert truth.has_masks
    assert truth.notes == (
        "1 of 3 objects of truth.json have no mask: where masks are judged or learnt they count neither way.",
    )
    for entry in made["annotations"]:
        entry["segmentation"] = []
    assert (read(tmp_path, made).has_masks, read(tmp_path, made).notes) == (False, ())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bbox": [40, 3, 5, 5]}, "has a box outside the image"),
        ({"bbox": [25, 3, 15, 5]}, "has a box that lies mostly outside the image"),
        ({"bbox": [2, 3, 0, 5]}, "has a box without area"),
        ({"bbox": [2, float("nan"), 5, 5]}, "has a box that is not finite"),
        ({"category_id": 99}, "has an unknown category (99)"),
        ({"iscrowd": "no"}, "has an iscrowd that is neither 0 nor 1 ('no')"),
    ],
)
def test_truth_that_cannot_be_used_is_ignored(change: dict, reason: str, tmp_path: Path) -> None:
    made = body()
    made["annotations"][2]["category_id"] = 9
    made["annotations"][1] |= {"segmentation": []} | change
    truth = read(tmp_path, made)
    assert reasons(truth) == [f"annotation 1 {reason}, and is ignored: neither object nor background"]
    assert (truth.images[1].things, len(truth.images[1].ignored)) == ((), 1)
    assert truth.images[-1].things[0].box_xyxy == (2, 3, 12, 13)
    assert score(truth, [], masks=truth.has_masks, resamples=0).box.ap["AP"] == 0


@pytest.mark.parametrize(
    ("field", "change", "note"),
    [
        (
            "annotations",
            {"segmentation": [[1, 2, 3, 4]]},
            "segmentations that cannot be used: 1 (the first: annotation 1 has a polygon that is no list of three or more x, "
            "y pairs); the objects keep their boxes, and have no mask.",
        ),
        (
            "annotations",
            {"area": -1},
            "areas that cannot be used: 1 (the first: annotation 1 has no usable area (-1)); each is that of its mask, else of "
            "its box.",
        ),
        (
            "annotations",
            {"bbox": [40, 3, 5, 5]},
            "boxes that cannot be used: 1 (the first: annotation 1 has a box outside the image); each is drawn around its mask.",
        ),
        (
            "annotations",
            {"id": 0},
            "annotations with the id of another one: 1 (the first: annotation 0 has the id of an earlier annotation); ids of "
            "annotations count for nothing, and all are read.",
        ),
        (
            "categories",
            {"name": " "},
            "categories without a name: 1 (the first: category 7 has no usable name (' ')); each is called by its id.",
        ),
        (
            "images",
            {"width": 0},
            "images without a usable size: 1 (the first: image 1 has no usable size (0 x 20)); they are read without.",
        ),
    ],
)
def test_what_was_mended_is_counted_and_said(field: str, change: dict, note: str, tmp_path: Path) -> None:
    made = body()
    made[field][1] |= change
    truth = read(tmp_path, made)
    assert f"truth.json, {note}" in truth.notes
    assert truth.skipped == ()
    assert [thing.box_xyxy for image in truth.images for thing in image.things] == [(2, 3, 12, 13)] * 3


@pytest.mark.parametrize(
    ("field", "change", "reason"),
    [
        ("annotations", {"image_id": 99}, "annotation 1 belongs to no image of the file (image_id 99)"),
        ("images", {"id": None}, "image None has no usable id"),
        ("images", {"id": 0}, "image 0 has the id of an earlier image"),
        ("categories", {"id": 9}, "category 9 has the id of an earlier category"),
        ("categories", {"id": None}, "category None has no usable id"),
    ],
)
def test_what_has_no_place_is_named_and_costs_nothing_else(
    field: str, change: dict, reason: str, tmp_path: Path
) -> None:
    made = body()
    made["annotations"][2]["category_id"] = 9
    made[field][1] |= change
    truth = read(tmp_path, made)
    assert reasons(truth)[0].startswith(reason)
    assert truth.images[-1].things[0].box_xyxy == (2, 3, 12, 13)
    assert score(truth, [], masks=truth.has_masks, resamples=0).box.ap["AP"] == 0


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ([1], "has no lists images, annotations, categories"),
        ({**body(), "images": {}}, "has no lists"),
        ({**body(), "annotations": []}, "has no usable object in the 3 images asked for"),
        ({**body(), "categories": []}, "The first reason: truth.json: annotation 0 has an unknown category"),
    ],
)
def test_a_file_of_no_use_is_a_sentence(made: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, made)


@pytest.mark.parametrize(("value", "crowd"), [("0", False), ("1", True), (None, False), (True, True), (1.0, True)])
def test_iscrowd_as_tools_write_it(value: Any, crowd: bool, tmp_path: Path) -> None:
    made = body()
    made["annotations"][1]["iscrowd"] = value
    truth = read(tmp_path, made)
    assert [image.things[0].crowd for image in truth.images] == [False, crowd, False]
    assert [entry["iscrowd"] for entry in truth.body["annotations"]] == [0, int(crowd), 0]
    assert truth.skipped == ()


def test_lvis_is_told_nothing_of_crowds(tmp_path: Path) -> None:
    made = lvis()
    made["annotations"][1]["iscrowd"] = 1
    assert read(tmp_path, made).notes == ()


def test_crowds_alone_are_no_objects(tmp_path: Path) -> None:
    made = body()
    for entry in made["annotations"]:
        entry["iscrowd"] = 1
    with pytest.raises(
        UserError, match=r"no usable object in the 3 images asked for, only 3 crowds \(iscrowd 1\)"
    ) as told:
        read(tmp_path, made)
    assert "set iscrowd to 0 or export polygons" in str(told.value)
    assert "limit" not in str(told.value)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_ground_truth(tmp_path / "none.json", None, name="none.json")


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.sampled_from([10**30, float("nan"), float("inf"), -0.0, 1.5, "", "x", "\0", "7"]),
    st.lists(st.integers(-5, 40) | st.just(float("nan")) | st.none(), max_size=6),
    st.lists(st.lists(st.integers(-5, 60), max_size=8), max_size=2),
    st.fixed_dictionaries({"size": st.just([20, 30]), "counts": st.just("5") | st.lists(st.integers(0, 600))}),
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_one_entry_holds_the_others_are_read_and_judged(data: st.DataObject, tmp_path: Path) -> None:
    made = copy.deepcopy(data.draw(st.sampled_from([body(), lvis()])))
    field = data.draw(st.sampled_from(["images", "annotations", "categories"]))
    # The last one: it may take the id of an earlier one, which is then the one that stays, or be a second object of its image. The first category is not used.
    place = 0 if field == "categories" else -1
    entry = made[field][place]
    if data.draw(st.booleans()):
        entry[data.draw(st.sampled_from(sorted(entry)))] = data.draw(JUNK)
    else:
        made[field][place] = data.draw(JUNK)
    truth = read(tmp_path, made)
    whole = {image.key: image.things for image in truth.images}
    assert whole[0][:1] == read(tmp_path, body()).images[0].things or field == "categories"
    scored = score(truth, [], masks=truth.has_masks, resamples=0)
    assert scored.box.ap["AP"] == 0
