"""Miniature referring expressions in REFER's layout: what is drawn, what is said of it, and that it is the same everywhere."""

from __future__ import annotations

import json
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from rice_core.world.layouts.refer import INSTANCES, PICTURES, REFS, polygons_of, write_refer
from rice_core.world.mini import World, draw
from rice_core.world.plain import COLOURS, PLAIN_WORDS, draw_plain, draw_plain_masks
from rice_core.world.shapes import SHAPES


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = World(name="mini-refer", seed=0, train=30, val=8, test=6, layout="refer")
    return draw(small, tmp_path_factory.mktemp("worlds"))


@pytest.fixture(scope="module")
def refs(world: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pickle.loads((world / REFS).read_bytes())
    return found


@pytest.fixture(scope="module")
def truth(world: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((world / INSTANCES).read_text())
    return found


def test_splits_are_of_pictures(world: Path, refs: list[dict[str, Any]], truth: dict[str, Any]) -> None:
    pictures = defaultdict(set)
    for ref in refs:
        pictures[ref["split"]].add(ref["image_id"])
    assert {split: len(found) for split, found in pictures.items()} == {"train": 30, "val": 8, "test": 6}
    assert len(set().union(*pictures.values())) == 44
    assert {image["id"] for image in truth["images"]} == set().union(*pictures.values())
    assert all((world / PICTURES / image["file_name"]).is_file() for image in truth["images"])
    # A reference's own name of a file is none, as REFER has it.
    assert not any((world / PICTURES / ref["file_name"]).exists() for ref in refs)
    sents = [sent for ref in refs for sent in ref["sent_ids"]]
    assert len(set(sents)) == len(sents)
    assert (world / REFS).read_bytes().isascii()


def test_an_expression_names_one_thing_alone(refs: list[dict[str, Any]]) -> None:
    kinds = defaultdict(int)
    by_picture = defaultdict(list)
    for ref in refs:
        scene = draw_plain(0, ref["image_id"])
        shapes = {thing.shape: thing for thing in scene.things}
        for sentence in ref["sentences"]:
            text = sentence["sent"]
            by_picture[ref["image_id"]].append(text)
            assert sentence["raw"].lower().strip(". ") == text
            words = text.split()
            kinds["colour"] += words[1] in COLOURS
            kinds["shape"] += words[-1] in SHAPES and len(words) == 2
            kinds["relation"] += words[1] == "shape" and words[-1] in shapes
            kinds["word"] += words[-1] in PLAIN_WORDS
    assert min(kinds.values()) > 20
    assert all(len(set(texts)) == len(texts) for texts in by_picture.values())


def test_masks_are_what_is_drawn(refs: list[dict[str, Any]], truth: dict[str, Any]) -> None:
    masks = {each["id"]: each["segmentation"] for each in truth["annotations"]}
    several = overlapping = 0
    empty = []
    for ref in refs:
        polygons, text = masks[ref["ann_id"]], ref["sentences"][0]["sent"]
        scene, drawn = draw_plain_masks(0, ref["image_id"])
        if not polygons:
            empty.append(ref["split"])
            assert text.removeprefix("the ") not in {thing.shape for thing in scene.things}
            continue
        each_HWN = coco_mask.decode(coco_mask.frPyObjects(polygons, 96, 96))
        several += len(polygons) > 1
        overlapping += int(each_HWN.sum(2).max() > 1)
        if text.startswith("the word"):
            left, top, right, bottom = drawn.word_box
            wanted_HW = np.zeros((96, 96), bool)
            wanted_HW[top:bottom, left:right] = True
        else:
            (wanted_HW,) = (
                m for m, t in zip(drawn.things, scene.things, strict=True) if text == f"the {t.colour} shape"
            )
        np.testing.assert_array_equal(each_HWN.any(2), wanted_HW)
    assert empty == ["train", "val", "test"]
    assert several > 20
    assert overlapping > 10


def test_a_thing_is_where_its_mask_is() -> None:
    for index in range(20):
        scene, masks = draw_plain_masks(3, index)
        np.testing.assert_array_equal(scene.pixels_HW3, draw_plain(3, index).pixels_HW3)
        for thing, mask_HW in zip(scene.things, masks.things, strict=True):
            ink_N3 = scene.pixels_HW3[mask_HW].astype(float)
            assert np.abs(np.median(ink_N3, axis=0) - COLOURS[thing.colour]).max() < 60
            row, column = divmod(thing.quarter, 2)
            assert mask_HW.sum() == mask_HW[row * 48 : row * 48 + 48, column * 48 : column * 48 + 48].sum() > 100
        left, top, right, bottom = masks.word_box
        assert scene.pixels_HW3[top:bottom, left:right].min() < 90


def test_it_is_the_same_however_many_draw_and_however_many_the_others_are(world: Path, tmp_path: Path) -> None:
    again = write_refer(tmp_path / "two", seed=0, train=30, val=8, test=6, workers=2)
    for name in (REFS, INSTANCES):
        assert (again / name).read_bytes() == (world / name).read_bytes()
    fewer = write_refer(tmp_path / "fewer", seed=0, train=0, val=8, test=0)
    val = pickle.loads((fewer / REFS).read_bytes())
    assert val == [ref for ref in pickle.loads((world / REFS).read_bytes()) if ref["split"] == "val"]
    name = f"{PICTURES}/MINI_000001000003.jpg"
    np.testing.assert_array_equal(Image.open(fewer / name), Image.open(world / name))


@pytest.mark.parametrize("overlapping", [False, True])
def test_polygons_are_exact_for_any_mask(overlapping: bool) -> None:
    rng = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.9) * 20:
        mask_HW = rng.random(rng.integers(1, 24, 2)) < share
        mask_HW[0, 0] = True
        polygons = polygons_of(mask_HW, overlapping=overlapping)
        drawn = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *mask_HW.shape)))
        np.testing.assert_array_equal(drawn.astype(bool), mask_HW)
    disc_HW = np.hypot(*np.mgrid[-9.5:10, -9.5:10]) < 9
    assert len(polygons_of(disc_HW, overlapping=overlapping)) == 1 + overlapping
