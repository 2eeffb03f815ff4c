"""What training learns of truth that cannot be used: neither an object nor background, and no mask of an object without."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flaws import BOX, FLAWS, H, W, flawed, sound

from probes.detection.annotations import read_ground_truth
from probes.detection.boxes import IGNORED, NEGATIVE, POSITIVE, match
from probes.detection.cascade import CascadeMaskRCNN
from probes.detection.images import Placing, shown
from probes.detection.nouns import Target
from probes.detection.recipe import HeadConfig
from probes.detection.rpn import _learnt, anchors_of
from probes.detection.stages import OVERLAPS
from probes.detection.trained import _notes, check_splits
from probes.detection.training import DetectorTraining
from probes.detection.truth import GroundTruth, TruthImage
from rice_core.errors import UserError

WHOLE = Placing((H, W), (H, W), 0, 0, False, 96)


def truth_of(body: dict[str, Any], folder: Path) -> GroundTruth:
    (folder / "truth.json").write_text(json.dumps(body))
    return read_ground_truth(folder / "truth.json", None, name="truth.json")


def target(image: TruthImage, placing: Placing = WHOLE, *, masks: bool = False) -> Target:
    seen = shown(image, placing, masks=masks)
    arrays = (seen.boxes_N4, seen.labels_N, seen.masks_NSS, seen.masked_N, seen.ignored_M4)
    return Target(*(None if part is None else torch.from_numpy(part) for part in arrays))


def proposals() -> torch.Tensor:
    """Boxes of many sizes everywhere in the view."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 80, (4000, 2))
    return torch.tensor(np.hstack([corner, corner + rng.uniform(4, 40, (4000, 2))]), dtype=torch.float32)


@pytest.mark.parametrize("name", FLAWS)
@pytest.mark.parametrize("low", [0.3, *OVERLAPS])
def test_no_box_that_would_learn_the_object_learns_background(name: str, low: float, tmp_path: Path) -> None:
    boxes_R4, cost = proposals(), FLAWS[name][1]
    whole, other = (target(truth_of(body, tmp_path).images[0]) for body in (sound(), flawed(name)))
    _, before_R = match(boxes_R4, whole.boxes_N4, low=low, high=max(low, 0.5), best_of_each=False)
    _, after_R = match(
        boxes_R4, other.boxes_N4, low=low, high=max(low, 0.5), best_of_each=False, ignored_M4=other.ignored_M4
    )
    if cost in ("nothing", "mask"):
        assert torch.equal(whole.boxes_N4, other.boxes_N4)
        assert other.ignored_M4 is None
        assert torch.equal(before_R, after_R)
        return
    assert len(other.boxes_N4) == len(whole.boxes_N4) - 1
    if cost in ("object", "image"):
        assert not ((before_R != NEGATIVE) & (after_R == NEGATIVE)).any()
    assert not ((before_R != POSITIVE) & (after_R == POSITIVE)).any()
    if cost == "image":
        inside_R = (boxes_R4[:, 2] < W) & (boxes_R4[:, 3] < H)
        assert not (after_R[inside_R] == NEGATIVE).any()
    else:
        assert (after_R == NEGATIVE).sum() > 1000
    assert (after_R == IGNORED).any()


@pytest.mark.parametrize("flip", [False, True])
def test_places_go_with_the_view(flip: bool, tmp_path: Path) -> None:
    image = truth_of(flawed("an iscrowd of 2"), tmp_path).images[0]
    placing = Placing((H, W), (2 * H, 2 * W), 40, 10, flip, 96)
    (box_4,) = target(image, placing).ignored_M4.tolist()  # type: ignore[union-attr]
    x, y, w, h = BOX
    left = 2 * (W - x - w if flip else x) - 40
    assert box_4 == [left, 2 * y - 10, min(left + 2 * w, 96), 2 * (y + h) - 10]
    assert target(image, Placing((H, W), (4 * H, 4 * W), 300, 180, False, 48)).ignored_M4 is None


def test_anchors_and_regions_in_an_ignored_place_are_not_drawn(tmp_path: Path) -> None:
    image = truth_of(flawed("an unknown category"), tmp_path).images[0]
    seen = target(image)
    levels = [torch.zeros(1, 4, 96 // stride, 96 // stride) for stride in (4, 8, 16, 32)] + [torch.zeros(1, 4, 1, 1)]
    anchors_A4 = torch.cat(anchors_of(levels, HeadConfig().anchors))
    _, label_A = match(anchors_A4, seen.boxes_N4, low=0.3, high=0.7, best_of_each=True, ignored_M4=seen.ignored_M4)
    unknown = (label_A == IGNORED).nonzero()[:, 0]
    drawn_D = _learnt(anchors_A4, [seen], torch.Generator().manual_seed(0)).drawn_D
    assert len(unknown) > 20
    assert not set(drawn_D.tolist()) & set(unknown.tolist())


def detector(masks: bool = True) -> CascadeMaskRCNN:
    torch.manual_seed(0)
    config = HeadConfig(projection=None, fc_width=16, conv_width=8, mask_convs=1, regions=64, proposals=50)
    return CascadeMaskRCNN(config, channels=8, classes=2, patch=16, masks=masks)


def losses(model: CascadeMaskRCNN, *targets: Target) -> dict[str, float]:
    tokens = torch.randn(len(targets), 8, 6, 6, generator=torch.Generator().manual_seed(1))
    found = model.losses(tokens, [(96, 96)] * len(targets), list(targets), torch.Generator().manual_seed(2))
    return {name: float(loss.detach()) for name, loss in found.items()}


def test_in_an_image_that_is_ignored_as_a_whole_nothing_is_background(tmp_path: Path) -> None:
    image = truth_of(flawed("a box of NaN and no mask"), tmp_path).images[0]
    everywhere = replace(target(replace(image, things=())), ignored_M4=torch.tensor([[-500.0, -500, 500, 500]]))
    found = losses(detector(masks=False), everywhere)
    assert set(found.values()) == {0.0}
    nothing = losses(detector(masks=False), replace(everywhere, ignored_M4=None))
    assert nothing["loss_rpn_cls"] > 0 < nothing["loss_cls_stage2"]


def test_without_ignored_places_the_losses_are_what_they_were(tmp_path: Path) -> None:
    image = truth_of(sound(), tmp_path).images[0]
    seen = target(image, masks=True)
    assert (seen.masked_N, seen.ignored_M4) == (None, None)
    far = replace(seen, ignored_M4=torch.tensor([[500.0, 500, 510, 510]]), masked_N=torch.tensor([True, True]))
    assert losses(detector(), far) == losses(detector(), seen)


def test_an_object_without_a_mask_gives_no_mask_loss(tmp_path: Path) -> None:
    image = truth_of(flawed("a polygon with NaN"), tmp_path).images[0]
    seen = target(image, masks=True)
    assert seen.masked_N.tolist() == [True, False]  # type: ignore[union-attr]
    assert torch.equal(seen.boxes_N4, target(truth_of(sound(), tmp_path).images[0], masks=True).boxes_N4)
    other = replace(seen, masks_NHW=seen.masks_NHW.clone())  # type: ignore[union-attr]
    other.masks_NHW[1] = ~other.masks_NHW[1]  # type: ignore[index]
    assert losses(detector(), seen) == losses(detector(), other)
    known = losses(detector(), replace(seen, masked_N=None))
    assert known["loss_mask"] != losses(detector(), seen)["loss_mask"]
    assert {k: v for k, v in known.items() if k != "loss_mask"} == {
        k: v for k, v in losses(detector(), seen).items() if k != "loss_mask"
    }
    assert losses(detector(), replace(seen, masked_N=torch.tensor([False, False])))["loss_mask"] == 0


def test_a_batch_of_both_learns_the_masks_that_are_there(tmp_path: Path) -> None:
    images = truth_of(flawed("the name of a file"), tmp_path).images
    found = losses(detector(), target(images[0], masks=True), target(images[1], masks=True))
    assert found["loss_mask"] > 0


def test_detectron2_is_not_given_what_it_would_take_for_background(tmp_path: Path) -> None:
    ignored, maskless = (truth_of(flawed(name), tmp_path) for name in ("an iscrowd of 2", "a number"))
    assert ignored.beyond_detectron2(masks=False) == "1 ignored places"
    assert (maskless.beyond_detectron2(masks=False), maskless.beyond_detectron2(masks=True)) == (
        "",
        "1 objects without a mask",
    )
    assert truth_of(sound(), tmp_path).beyond_detectron2(masks=True) == ""
    stage = copy.copy(DetectorTraining(HeadConfig(), None, "detectron2", False, None))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="has 1 ignored places, and detectron2 cannot leave them out"):
        stage.built(None, ignored, 0)  # type: ignore[arg-type]


def test_the_notes_of_both_splits_are_said_and_what_the_detector_is_not_shown(tmp_path: Path) -> None:
    body = sound()
    body["annotations"] = body["annotations"][:2]
    body["annotations"][0]["area"] = -1
    train, val = truth_of(body, tmp_path), truth_of(flawed("a number"), tmp_path)
    said = _notes(train, val)
    assert said[: len(train.notes) + len(val.notes)] == (*train.notes, *val.notes)
    assert any("areas that cannot be used: 1" in note for note in said)
    assert said[-2] == (
        "2 of 3 training images of truth.json have no object and are learnt from as background; detectron2 leaves them out by default."
    )
    assert said[-1] == (
        "1 of the 2 categories that truth.json judges have no object in the training images, so nothing right can be found of them: b."
    )


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ((9, 7), "category 7 is 'a' in truth.json and 'b' in truth.json"),
        ((70, 90), "category 'a' is 7 in .* and 70 in"),
    ],
)
def test_splits_that_number_their_categories_otherwise_are_refused(
    ids: tuple[int, int], message: str, tmp_path: Path
) -> None:
    """A detector finds objects by the ids of train: of another numbering nothing would be right."""
    train, body = truth_of(sound(), tmp_path), sound()
    new = dict(zip((7, 9), ids, strict=True))
    for entry in body["annotations"]:
        entry["category_id"] = new[entry["category_id"]]
    for category in body["categories"]:
        category["id"] = new[category["id"]]
    with pytest.raises(UserError, match=f"{message}.*; export both splits together"):
        check_splits(train, truth_of(body, tmp_path), "auto")
    more = sound()
    more["categories"].append({"id": 11, "name": "c"})
    check_splits(train, truth_of(more, tmp_path), "auto")
    check_splits(truth_of(more, tmp_path), train, "auto")


def test_a_file_is_read_once_however_often_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from probes.detection import annotations
    from rice_core.datasets import Sample

    path = tmp_path / "once.json"
    path.write_text(json.dumps(sound()))
    samples = [Sample(f"{key}.png", tmp_path / f"{key}.png", key=key) for key in (1, 2, 3)]
    reads: list[Path] = []
    load = annotations._load
    monkeypatch.setattr(annotations, "_load", lambda path, name: reads.append(path) or load(path, name))
    assert annotations.has_masks(path, samples)
    first = read_ground_truth(path, samples, name=path.name)
    assert read_ground_truth(path, list(samples), name=path.name) is first
    assert reads == [path]
    assert len(read_ground_truth(path, samples[:2], name=path.name).images) == 2
    path.write_text(json.dumps(flawed("a number")))
    assert read_ground_truth(path, samples, name=path.name).images[0].things[1].segmentation is None
