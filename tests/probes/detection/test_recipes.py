"""The named recipes: what each means for the detector that is built, and what is said of it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from torchvision.ops import box_iou

from probes.detection.cascade import CascadeMaskRCNN
from probes.detection.outcome import assumptions
from probes.detection.probe import CocoDetection, LvisDetection
from probes.detection.recipe import RECIPES, HeadConfig, TrainingConfig, more_room, side_of
from probes.detection.rpn import anchors_of
from probes.detection.suite import Rf100Detection
from probes.detection.trained import Learnt
from rice_core.errors import UserError


def levels_of(side: int) -> list[torch.Tensor]:
    """Of a view of so many canvas pixels; one channel."""
    return [torch.zeros(1, 1, side // stride, side // stride) for stride in (4, 8, 16, 32, 64)]


def overlap(recipe: str, box: list[float], side: int) -> float:
    """Of the best anchor with a box."""
    anchors = torch.cat(anchors_of(levels_of(side), RECIPES[recipe].head.anchors))
    return float(box_iou(anchors, torch.tensor([box])).max())


@pytest.mark.parametrize("probe", [CocoDetection(), LvisDetection(), Rf100Detection()])
def test_the_recipe_beside_the_paper_sees_what_table_3_prints(probe) -> None:
    settings = probe.settings()
    assert (probe.spec.recipe, settings.name) == ("paper@2", "paper@2")
    assert [side_of(settings.training.side, patch) for patch in (16, 14)] == [512, 518]
    assert "side" not in probe.spec.params


def test_the_two_readings_differ_in_the_view_and_in_what_goes_with_it_alone() -> None:
    printed, other = RECIPES["paper@2"], RECIPES["paper-1024@2"]
    assert other.training == printed.training.model_copy(update={"side": 1024})
    assert other.head == printed.head.model_copy(update={"anchors": HeadConfig().anchors})
    assert other.epochs == printed.epochs
    assert [2 * side for side in printed.head.anchors] == list(other.head.anchors)


def test_an_object_of_16_pixels_has_an_anchor_and_none_covers_the_view() -> None:
    small = [200.0, 200.0, 216.0, 216.0]
    assert overlap("paper@2", small, 512) == 1
    assert overlap("paper@1", small, 512) < 0.3  # no positive of the proposal network by its own merit
    assert max(RECIPES["paper@2"].head.anchors) <= 512 / 2


def test_the_detector_is_built_with_the_recipes_anchors() -> None:
    """What is refined where nothing moves is the anchors themselves."""
    changes = {"anchors": (10, 20, 40, 80, 160), "projection": None, "proposals": 10**5}
    head = RECIPES["smoke"].head.model_copy(update=changes)
    network = CascadeMaskRCNN(head, channels=4, classes=2, patch=16, masks=False).proposal_generator
    for parameter in network.parameters():
        parameter.data.zero_()
    levels = [torch.zeros(1, 4, *x.shape[2:]) for x in levels_of(256)]
    found = network.propose(levels, network.rpn_head(levels), [(256.0, 256.0)], training=False)[0]
    inside_N4 = found[(found > 0).all(1) & (found < 256).all(1)]
    areas = (inside_N4[:, 2:] - inside_N4[:, :2]).prod(1).sqrt().round()
    assert set(areas.tolist()) == {10, 20, 40, 80, 160}


def said(probe: CocoDetection, patch: int = 16) -> str:
    encoder, settings = SimpleNamespace(patch=patch), probe.settings()
    learnt = Learnt(None, [], True, "ops (0)", settings.training, 1.0, ())
    return " ".join(assumptions(settings, encoder, learnt))


def test_a_record_says_which_reading_it_is_of() -> None:
    assert "is read as printed, as what the detector sees" in said(CocoDetection())
    for recipe in ("paper@1", "paper-1024@2"):
        assert "is not the reading as printed, which is recipe paper@2" in said(CocoDetection(recipe=recipe))
    # Of another size neither sentence would be true.
    assert "Table 3's Res" not in said(CocoDetection(side=1024))
    assert "Table 3's Res" not in said(CocoDetection(recipe="mini"))


def test_a_record_says_what_anchors_are_in_pixels_of_the_image() -> None:
    assert "anchors of 16, 32, 64, 128, 256 pixels are 0.875 times their size" in said(CocoDetection(), patch=14)


def test_anchors_have_a_size() -> None:
    for anchors in ((16, 32, 64, 128), (0, 32, 64, 128, 256), (16, 32, 64, 128, float("nan"))):
        with pytest.raises(ValueError, match="anchors"):
            HeadConfig(anchors=anchors)
    assert json.loads(HeadConfig().model_dump_json())["anchors"] == [32, 64, 128, 256, 512]


def test_tokens_of_the_recipes_beside_the_paper_have_one_scale_and_it_is_said() -> None:
    assert {name for name, recipe in RECIPES.items() if recipe.training.norm == "layer"} == {
        "paper@2",
        "paper-1024@2",
        "quick@2",
    }
    assert "Each token is brought to mean 0 and deviation 1" in said(CocoDetection())
    assert "meet tokens of each encoder's own scale" in said(CocoDetection(norm="none"))
    assert "meet tokens of each encoder's own scale" in said(CocoDetection(recipe="paper@1"))


def test_what_is_asked_for_as_the_recipe_has_it_is_the_recipe() -> None:
    """`?side=512` beside the paper is no other measurement."""
    assert CocoDetection(side=512, norm="layer", rate=1e-4, epochs=100, unpool="nearest").spec == CocoDetection().spec
    assert CocoDetection(side=1024).spec.params["side"] == 1024
    assert "side" in CocoDetection(recipe="paper@1", side=512).spec.params
    # Steps that are asked for are not cut by the recipe's epochs.
    assert CocoDetection(iterations=90_000).spec.params["iterations"] == 90_000
    assert "iterations" not in CocoDetection(recipe="paper@1", iterations=90_000).spec.params


def test_a_recipe_of_another_name_is_told() -> None:
    with pytest.raises(UserError, match="paper-1024@2"):
        CocoDetection(recipe="paper@9")


@pytest.mark.parametrize(
    ("accumulate", "world", "said"),
    [
        (1, 1, "give accumulate=2 or more ranks, which go on with this training, or a smaller side= or projection=, "),
        (4, 1, "use more ranks, which go on with this training, or a smaller side= or projection=, "),
        (2, 2, "use more ranks, which go on with this training, or a smaller side= or projection=, "),
        (1, None, "give accumulate=2, which goes on with this training, or a smaller side= or projection=, "),
        (4, None, "give a smaller side= or projection=, "),
    ],
)
def test_where_memory_is_full_only_what_makes_room_is_advised(accumulate, world, said) -> None:
    config = TrainingConfig(batch=4, accumulate=accumulate)
    assert more_room(config, masks=False, world=world, backend="auto") == f"{said}which is another training"
    assert "accumulate" not in more_room(config, masks=False, world=world, backend="detectron2")
