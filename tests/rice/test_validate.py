"""Held-out images: measured beside the training, and without a trace in it."""

from __future__ import annotations

import json
import math
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from shards import write_shards
from torch import nn
from training import assert_same_bits, last_checkpoint, losses, no_pictures, run, run_ranks, tiny  # noqa: F401

from rice_core.errors import UserError
from rice_core.ranks import join
from rice_core.rice.config import load_train_config
from rice_core.rice.learner import UNTRAINED, RegionLearner
from rice_core.rice.loader import RegionLoader
from rice_core.rice.objectives import build_objective
from rice_core.rice.regions import read_region_manifest
from rice_core.train.metrics import MetricsLog


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 images in 2 shards: not a multiple of the batch, and fewer shards than the training has streams."""
    return write_shards(tmp_path_factory.mktemp("held_out"), samples=20, shards=2, seed=7)


def measured(folder: Path) -> dict[int, dict[str, float]]:
    """Step -> what was measured on held-out images."""
    rows = MetricsLog(folder).rows()
    found = {row["step"]: row for row in rows if any(key.startswith("val/") for key in row)}
    return {step: {key: value for key, value in row.items() if key.startswith("val/")} for step, row in found.items()}


@pytest.mark.parametrize("name", ["rice", "mlcd", "siglip"])
def test_it_changes_no_step(name: str, data: Path, held_out: Path, tmp_path: Path) -> None:
    objective: dict[str, Any] = {"name": name, "regions": 3, "ocr_labels": 3, "loss": {"rho": 0.5, "s": 8}}
    objective |= {"tokenizer": "words", "text_width": 16, "text_depth": 1, "text_heads": 2, "text_tokens": 12}
    assert run(tiny(data, objective=objective), tmp_path / "without")
    assert run(tiny(data, objective=objective, validation={"path": str(held_out), "every": 5}), tmp_path / "with")
    assert_same_bits(last_checkpoint(tmp_path / "with"), last_checkpoint(tmp_path / "without"))
    assert losses(tmp_path / "with") == losses(tmp_path / "without")
    found = measured(tmp_path / "with")
    # 12 steps: every 5 and at the end.
    assert sorted(found) == [5, 10, 12]
    tops = [key for key in found[12] if key.endswith("top1")]
    assert sorted(tops) == (["val/top1"] if name == "siglip" else ["val/object/top1", "val/ocr/top1"])
    assert all(0 <= row[key] <= 1 for row in found.values() for key in tops)


def test_a_finished_training_is_measured_when_it_is_asked_later(data: Path, held_out: Path, tmp_path: Path) -> None:
    with_it = tiny(data, validation={"path": str(held_out)})
    assert run(with_it, tmp_path / "at once")
    assert run(tiny(data), tmp_path / "later")
    assert not measured(tmp_path / "later")
    before = last_checkpoint(tmp_path / "later")
    for _ in range(2):  # the second time there is nothing left to do
        assert run(with_it, tmp_path / "later")
        assert measured(tmp_path / "later") == measured(tmp_path / "at once")
    assert_same_bits(last_checkpoint(tmp_path / "later"), before)
    assert len(losses(tmp_path / "later")) == 12
    assert sum("val/loss" in row for row in MetricsLog(tmp_path / "later").rows()) == 1


def test_what_is_learnt_helps_on_images_that_were_not_seen(data: Path, held_out: Path, tmp_path: Path) -> None:
    stages = [{"resolution": 32, "samples": 8 * 60}]
    config = tiny(data, stages=stages, save_every=60, validation={"path": str(held_out), "every": 1})
    assert run(config, tmp_path)
    found = measured(tmp_path)
    assert found[60]["val/object/loss"] < found[1]["val/object/loss"] - 0.5
    assert found[60]["val/ocr/loss"] < found[1]["val/ocr/loss"] - 0.5


def test_two_ranks_measure_what_one_does(data: Path, tmp_path: Path) -> None:
    """One batch: several are put together otherwise by another number of ranks."""
    held_out = write_shards(tmp_path / "held_out", samples=8, shards=2, seed=7)
    config = tiny(data, validation={"path": str(held_out)})
    assert run(config, tmp_path / "one")
    assert not run_ranks(config, tmp_path / "two", 2, tmp_path / "meeting")
    assert measured(tmp_path / "two")[12] == pytest.approx(measured(tmp_path / "one")[12], rel=1e-3, abs=1e-4)


def test_fsdp2_resumes_from_a_checkpoint_that_follows_a_measurement(data: Path, held_out: Path, tmp_path: Path) -> None:
    """Without a backward pass FSDP2 leaves its weights gathered, and their moments out of the checkpoint."""
    config = tiny(data, parallel="fsdp2", validation={"path": str(held_out), "every": 3})
    assert not run_ranks(config, tmp_path / "whole", 2, tmp_path / "meet1")
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    shutil.rmtree(tmp_path / "part/checkpoints/step-00000012")
    assert not run_ranks(config, tmp_path / "part", 2, tmp_path / "meet2")
    # The training went on from the checkpoint before: a step that is made again has another images_per_second.
    part, whole = (
        [row for row in MetricsLog(tmp_path / name).rows() if row["step"] <= 9] for name in ("part", "whole")
    )
    assert part == whole
    assert MetricsLog(tmp_path / "part").rows() != MetricsLog(tmp_path / "whole").rows()
    assert losses(tmp_path / "part") == pytest.approx(losses(tmp_path / "whole"), rel=1e-6)


def test_other_held_out_images_are_measured_anew(data: Path, held_out: Path, tmp_path: Path) -> None:
    other = write_shards(tmp_path / "other", samples=24, seed=9)
    for folder in (held_out, other):
        assert run(tiny(data, validation={"path": str(folder), "every": 6}), tmp_path / "out")
    assert sorted(measured(tmp_path / "out")) == [12]
    assert run(tiny(data, validation={"path": str(other)}), tmp_path / "alone")
    assert measured(tmp_path / "out") == measured(tmp_path / "alone")


def test_a_bank_counts_where_something_is_asked_of_it(data: Path) -> None:
    """A batch without text has no accuracy on text, and a loss of zero that is none."""

    class Told(nn.Module):
        def forward(self, part: Any, step: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            loss, top1 = (4.0, 0.5) if step == UNTRAINED + 1 else (0.0, math.nan)
            stats = {"object/loss": 2.0, "object/top1": 0.25, "ocr/loss": loss, "ocr/top1": top1}
            return torch.tensor(2.0 + loss), {name: torch.tensor(value) for name, value in stats.items()}

    config, manifest = tiny(data), read_region_manifest(data)
    with join("cpu") as world:
        learner = RegionLearner(build_objective(config, manifest), config, world)
        learner.module = Told()
        parts = list(islice(RegionLoader(config, manifest, stage=config.stages[0]), 4))
        assert learner.measure(parts) == {
            "loss": 3.0, "object/loss": 2.0, "object/top1": 0.25, "ocr/loss": 4.0, "ocr/top1": 0.5
        }  # fmt: skip


def test_a_folder_smaller_than_a_batch_is_one_batch(data: Path, tmp_path: Path) -> None:
    few = write_shards(tmp_path / "few", samples=5, shards=1, seed=3)
    seen: list[list[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            RegionLearner,
            "measure",
            lambda _, parts: seen.append([k for part in parts for k in part.keys]) or {"loss": 0},
        )
        assert run(tiny(data, validation={"path": str(few)}), tmp_path / "out")
    assert len(seen) == 1
    assert len(set(seen[0])) == len(seen[0]) == 5


def test_what_cannot_be_measured_is_said_before_the_first_step(data: Path, held_out: Path, tmp_path: Path) -> None:
    def refused(folder: Path, sentence: str, **changes: Any) -> None:
        with pytest.raises(UserError, match=sentence):
            run(tiny(data, validation={"path": str(folder)}, **changes), tmp_path / "out", fresh=True)
        assert not losses(tmp_path / "out")

    refused(tmp_path / "nowhere", "holds no curated regions")
    refused(write_shards(tmp_path / "more", samples=16, classes=11), "object labels of .* curate it with --centers")
    for folder, text in ((data, b"one"), (held_out, b"two")):
        (folder / "centers.safetensors").write_bytes(text)
    refused(held_out, "object labels of .* curate it with --centers")
    (held_out / "centers.safetensors").unlink()
    refused(held_out, "object labels of .* curate it with --centers")
    (data / "centers.safetensors").unlink()
    wordless = write_shards(tmp_path / "wordless", samples=8, captions=False)
    siglip = {
        "name": "siglip",
        "tokenizer": "words",
        "text_width": 16,
        "text_depth": 1,
        "text_heads": 2,
        "text_tokens": 12,
    }
    refused(wordless, "has no caption", objective=siglip)
    (wordless / "shard-000003.tar").unlink()
    refused(wordless, "is named by the manifest and missing")
    manifest = json.loads((held_out / "manifest.json").read_text())
    del manifest["banks"]["ocr"]
    textless = tmp_path / "textless"
    shutil.copytree(held_out, textless)
    (textless / "manifest.json").write_text(json.dumps(manifest))
    refused(textless, "has no ocr labels, which are trained")
    errors = run_ranks(
        tiny(data, validation={"path": str(write_shards(tmp_path / "one shard", samples=8, shards=1))}),
        tmp_path / "ranks",
        2,
        tmp_path / "meeting",
    )
    assert "8 images in 1 shards, too few for 2 ranks" in "".join(errors)


def test_its_folder_is_relative_to_the_configuration(tmp_path: Path) -> None:
    text = "{name: a, data: {path: regions}, validation: {path: ../held}, batch: 8, stages: [{resolution: 224, samples: 8}]}"
    (tmp_path / "a.yaml").write_text(text)
    config = load_train_config(tmp_path / "a.yaml")
    assert config.validation is not None
    assert (config.data.path, config.validation.path) == (tmp_path / "regions", tmp_path / "../held")
