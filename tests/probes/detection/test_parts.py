"""A step in parts learns what it learns in one: of the real detector, in double precision, so that what is left is the order of sums."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from forked import exit_codes
from safetensors.torch import load_file

from probes.detection.annotations import read_ground_truth
from probes.detection.cascade import CascadeMaskRCNN
from probes.detection.detectron2_modules import Detectron2
from probes.detection.learner import DetectorLearner, trainee
from probes.detection.nouns import LOSSES, StepPart, Target
from probes.detection.recipe import RECIPES, HeadConfig, TrainingConfig
from probes.detection.tokens import Encoded
from probes.detection.train import train
from probes.detection.training import DetectorTraining
from probes.detection.truth import TruthImage
from rice_core.datasets import open_dataset
from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.ranks import Ranks, join
from rice_core.spec import EncoderSpec
from rice_core.world.layouts.coco import write_coco

ALONE = Ranks(0, 1, torch.device("cpu"))
CLASSES = 60
"""Of which the federated loss draws 50."""
SIDE, PATCH = 96, 16
CONFIG = RECIPES["smoke"].training.model_copy(update={"batch": 4, "iterations": 6})


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the detector computes in float32 at least it computes in double precision: sums of other orders then differ by 1e-16 of
    their terms, and no threshold, no suppression and no match falls another way."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def head(federated: bool, masks: bool = True, **changes: Any) -> CascadeMaskRCNN:
    config = HeadConfig(projection=6, rpn_width=8, conv_width=8, fc_width=16, mask_convs=1, regions=16, proposals=40)
    torch.manual_seed(0)
    return CascadeMaskRCNN(
        config.model_copy(update={"federated": federated, **changes}),
        channels=8,
        classes=CLASSES,
        patch=PATCH,
        masks=masks,
        frequencies=range(1, CLASSES + 1),
    )


def target(objects: int, seed: int, **others: torch.Tensor) -> Target:
    rng = torch.Generator().manual_seed(seed)
    corner_N2 = torch.rand(objects, 2, generator=rng) * 50
    boxes_N4 = torch.cat([corner_N2, corner_N2 + 12 + torch.rand(objects, 2, generator=rng) * 30], 1)
    masks_NHW = torch.rand(objects, SIDE, SIDE, generator=rng) < 0.5
    return Target(boxes_N4, torch.randint(CLASSES, (objects,), generator=rng), masks_NHW, **others)


def targets() -> list[Target]:
    """Half of the step, and three quarters of its images, have nothing to find or no mask; no two parts have as many objects."""
    return [
        target(0, 0),
        target(0, 1),
        target(5, 2, ignored_M4=torch.tensor([[0.0, 0, 60, 40]]), masked_N=torch.tensor([True] * 3 + [False] * 2)),
        target(2, 3, masked_N=torch.tensor([False, False])),
    ]


def step(
    detector: CascadeMaskRCNN, parts: int, config: TrainingConfig = CONFIG, shown: Sequence[Target] | None = None
) -> DetectorLearner:
    """One, of four images."""
    learner = DetectorLearner(detector, config, seed=3, ranks=ALONE)
    tokens_BCTU = torch.randn(4, 8, SIDE // PATCH, SIDE // PATCH, generator=torch.Generator().manual_seed(1))
    tokens_BCTU = tokens_BCTU.to(next(detector.parameters()).dtype)
    examples = [SimpleNamespace(target=each, placing=SimpleNamespace(side=SIDE)) for each in shown or targets()]
    size = 4 // parts
    cut = []
    for first in range(0, 4, size):
        batch = SimpleNamespace(examples=examples[first : first + size], skipped=())
        own_BCTU = tokens_BCTU[first : first + size]
        cut.append(Encoded(batch, lambda _, own_BCTU=own_BCTU: own_BCTU))
    learner.step(cut, step=0, rate=1e-3)
    return learner


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], rel: float) -> None:
    """By the largest number of each tensor: one of which nothing is left but rounding has no digits to compare."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        close = rel * float(value.abs().max())
        torch.testing.assert_close(
            other[name], value, rtol=0, atol=close, msg=lambda said, name=name: f"{name}: {said}"
        )


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("federated", [False, True])
def test_losses_and_gradients_are_those_of_one_part(double: None, federated: bool, masks: bool, parts: int) -> None:
    """After one step of Adam its first moment is a tenth of the gradient."""
    whole, cut = (step(head(federated, masks).double(), number) for number in (1, parts))
    assert cut.curve[0] == pytest.approx(whole.curve[0], rel=1e-9)
    assert set(whole.curve[0]) >= set(LOSSES) - (set() if masks else {"loss_mask"})
    assert all(whole.curve[0][name] > 0 for name in LOSSES if masks or name != "loss_mask")
    assert_same(dict(whole.tensors()), dict(cut.tensors()), 1e-9)


def test_parts_have_unequal_shares_in_each_stage_and_in_masks() -> None:
    """Else a mean over the parts' means would be as good."""
    tokens_BCTU = torch.randn(1, 8, SIDE // PATCH, SIDE // PATCH, generator=torch.Generator().manual_seed(1))
    parts = [StepPart(tokens_BCTU, [(SIDE, SIDE)], [each]) for each in targets()]
    lessons = head(federated=True).lessons(parts, torch.Generator().manual_seed(0))
    assert [len(lesson.regions.positive_P) > 0 for lesson in lessons] == [False, False, True, True]
    assert [lesson.shares["loss_mask"] for lesson in lessons] == [0, 0, 1, 0]
    for name in LOSSES:
        assert sum(lesson.shares[name] for lesson in lessons) == pytest.approx(1)
    assert len({lesson.shares["loss_box_reg_stage2"] for lesson in lessons}) > 1
    assert all(len(learnt) == 50 for learnt in lessons[0].categories)


@pytest.mark.parametrize("parts", [2, 4])
def test_a_step_without_an_object_can_be_made_in_parts(double: None, parts: int) -> None:
    learner = step(head(federated=True).double(), parts, shown=[target(0, 0)] * 4)
    assert learner.curve[0]["loss_mask"] == 0 < learner.curve[0]["loss_cls_stage2"]


def test_under_autocast_every_weight_learns_in_parts_too() -> None:
    """What autocast keeps of weights that were read without a gradient would have none."""
    config = CONFIG.model_copy(update={"precision": "bf16"})
    whole, cut = (step(head(federated=False), parts, config) for parts in (1, 2))
    moments = [name for name in cut.tensors() if name.endswith("exp_avg")]
    assert moments
    assert all(cut.tensors()[name].any() for name in moments if whole.tensors()[name].any())
    assert cut.curve[0]["loss"] == pytest.approx(whole.curve[0]["loss"], rel=0.02)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Sequence[TruthImage]:
    data = open_dataset(write_coco(tmp_path_factory.mktemp("world") / "w", seed=3, train=10, val=2))
    return read_ground_truth(data.annotations["train"], data.splits["train"], name="train").images


def parted(accumulate: int) -> TrainingConfig:
    return CONFIG.model_copy(update={"accumulate": accumulate})


def trained(
    images: Sequence[TruthImage], folder: Path, accumulate: int, stop: int | None = None, ranks: Ranks = ALONE
) -> DetectorLearner:
    """The smoke recipe's head, or so many steps of its training."""

    def progress(steps: Sequence[int], what: str) -> Iterator[int]:
        for each in steps:
            if each == stop:
                raise KeyboardInterrupt
            yield each

    encoder, config = load_encoder(EncoderSpec.parse("synthetic:oracle")), parted(accumulate)
    torch.manual_seed(0)
    detector = CascadeMaskRCNN(
        RECIPES["smoke"].head, channels=encoder.dim, classes=CLASSES, patch=encoder.patch, masks=True
    ).double()
    own = trainee(detector, config, seed=5, folder=folder, ranks=ranks)
    own.resume()
    train(encoder, [own], images, config, masks=True, seed=5, progress=progress, what="x", ranks=ranks)
    return own.learner


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (4, 2)])
def test_resumed_in_other_parts_a_training_ends_as_an_uninterrupted_one(
    double: None, images: Sequence[TruthImage], tmp_path: Path, before: int, after: int
) -> None:
    """Adam divides by the gradient's size, so rounding grows over the steps where a gradient is next to nothing."""
    whole = trained(images, tmp_path / "whole", 1)
    with pytest.raises(KeyboardInterrupt):
        trained(images, tmp_path / "cut", before, stop=3)
    resumed = trained(images, tmp_path / "cut", after)
    for one, other in zip(whole.curve, resumed.curve, strict=True):
        assert other == pytest.approx(one, rel=1e-9)
    assert_same(dict(whole.tensors()), dict(resumed.tensors()), 1e-9)


def _rank(rank: int, images: Sequence[TruthImage], folder: Path, accumulate: int) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    with join("cpu", init_method=f"file://{folder}-meet") as world:
        trained(images, folder, accumulate, ranks=world)


def test_on_two_ranks_each_one_s_share_is_cut(double: None, images: Sequence[TruthImage], tmp_path: Path) -> None:
    """Means are over a rank's own share, in however many parts."""
    found = []
    for accumulate in (1, 2):
        folder = tmp_path / str(accumulate)
        assert exit_codes(_rank, images, folder, accumulate) == [0, 0]
        files = sorted((folder / "checkpoints").glob("step-*"))[-1].glob("*.safetensors")
        found.append({name: value for file in files for name, value in load_file(file).items()})
    assert_same(*found, 1e-9)


def test_detectron2_s_own_modules_make_a_step_in_one_part() -> None:
    with pytest.raises(UserError, match="write backend=ops, or leave out accumulate="):
        Detectron2.lessons(None, [], torch.Generator())
    truth = SimpleNamespace(beyond_detectron2=lambda *, masks: "")
    for backend, accumulate, taken in (("auto", 1, "auto"), ("auto", 2, "ops"), ("ops", 2, "ops")):
        stage = DetectorTraining(HeadConfig(), parted(accumulate), backend, False, None)
        assert stage.backend_for(truth) == taken
