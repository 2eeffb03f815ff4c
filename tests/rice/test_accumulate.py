"""A step in several parts learns what the step in one does."""

import dataclasses
from pathlib import Path

import pytest
import torch
from shards import write_shards
from training import tiny

from rice_core.ranks import Ranks
from rice_core.rice.batch import Batch
from rice_core.rice.config import TrainConfig
from rice_core.rice.learner import RegionLearner
from rice_core.rice.loader import RegionLoader
from rice_core.rice.objectives import build_objective
from rice_core.rice.regions import read_region_manifest
from rice_core.train.learner import StepOutcome


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


def _uneven(batch: Batch) -> Batch:
    """Regions of the last images left out, so that the parts of the batch count differently."""
    weight_BN = batch.weight_BN.clone()
    weight_BN[5:, 1:] = 0
    tokens_BL = batch.image_tokens_BL.clone()
    tokens_BL[6:] = -1
    return dataclasses.replace(batch, weight_BN=weight_BN, image_tokens_BL=tokens_BL)


def _cut(batch: Batch, rows: slice) -> Batch:
    tensors = {name: value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    return dataclasses.replace(batch, **{name: value[rows] for name, value in tensors.items()})


def _step(config: TrainConfig, parts: list[Batch]) -> tuple[StepOutcome, dict[str, torch.Tensor]]:
    objective = build_objective(config, read_region_manifest(config.data.path))
    learner = RegionLearner(objective, config, Ranks(0, 1, torch.device("cpu")))
    outcome = learner.step(parts, step=0, rate=1e-2)
    return outcome, {name: value.clone() for name, value in learner.tensors().items() if "row_steps" not in name}


@pytest.mark.parametrize("name", ["rice", "mlcd"])
def test_parts_that_count_differently_weigh_as_in_the_whole_batch(folder: Path, name: str) -> None:
    config = tiny(
        folder, objective={"name": name, "regions": 3, "loss": {"rho": 1.0, "margin": "cos", "m": 0.1, "s": 8}}
    )
    manifest = read_region_manifest(folder)
    batch = _uneven(next(iter(RegionLoader(config, manifest, stage=config.stages[0]))))
    whole, at_once = _step(config, [batch])
    parts, in_parts = _step(config, [_cut(batch, slice(0, 5)), _cut(batch, slice(5, 8))])
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)
    assert parts.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)
    for key in ("object/loss", "ocr/loss"):
        assert float(parts.stats[key]) == pytest.approx(float(whole.stats[key]), rel=1e-5)
    moments = [key for key in at_once if key.endswith("exp_avg")]  # the step itself is nearly the sign of a gradient
    assert moments
    for key in moments:
        scale = float(at_once[key].abs().max())
        torch.testing.assert_close(in_parts[key], at_once[key], atol=1e-5 * scale, rtol=1e-4, msg=key)


def test_a_part_without_a_type_of_region_leaves_its_statistics_to_the_others(folder: Path) -> None:
    config = tiny(folder)
    batch = next(iter(RegionLoader(config, read_region_manifest(folder), stage=config.stages[0])))
    second = _cut(batch, slice(4, 8))
    no_text = dataclasses.replace(second, weight_BN=second.weight_BN * (second.type_BN == 0))
    outcome, _ = _step(config, [_cut(batch, slice(0, 4)), no_text])
    assert torch.isfinite(outcome.stats["ocr/top1"])


def test_pairs_of_a_step_in_parts_weigh_alike(folder: Path) -> None:
    """siglip compares within a part, so only equal parts of the same pairs give the loss of one."""
    objective = {"name": "siglip", "tokenizer": "words", "text_width": 16, "text_depth": 1, "text_heads": 2}
    config = tiny(folder, objective=objective)
    batch = next(iter(RegionLoader(config, read_region_manifest(folder), stage=config.stages[0])))
    once, _ = _step(config, [batch])
    twice, _ = _step(config, [batch, batch])
    assert twice.loss == pytest.approx(once.loss, rel=1e-5)
    assert twice.grad_norm == pytest.approx(once.grad_norm, rel=1e-4)
