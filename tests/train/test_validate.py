"""Held-out images: measured beside the training, and without a trace in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shards import write_shards
from training import assert_same_bits, last_checkpoint, losses, no_pictures, run, run_ranks, tiny  # noqa: F401

from rice_core.errors import UserError
from rice_core.train.config import load_train_config
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
    return {step: {key: value for key, value in row.items() if key != "step"} for step, row in found.items()}


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


def test_two_ranks_measure_what_one_does(data: Path, held_out: Path, tmp_path: Path) -> None:
    config = tiny(data, validation={"path": str(held_out), "every": 12})
    assert run(config, tmp_path / "one")
    assert not run_ranks(config, tmp_path / "two", 2, tmp_path / "meeting")
    one, two = measured(tmp_path / "one")[12], measured(tmp_path / "two")[12]
    assert one.keys() == two.keys()
    for key in ("val/loss", "val/object/top1", "val/ocr/loss"):
        assert two[key] == pytest.approx(one[key], abs=1e-3)


def test_labels_of_other_classes_are_refused(data: Path, held_out: Path, tmp_path: Path) -> None:
    def refused(folder: Path, sentence: str) -> None:
        with pytest.raises(UserError, match=sentence):
            run(tiny(data, validation={"path": str(folder)}), tmp_path / "out")

    refused(tmp_path / "nowhere", "holds no curated regions")
    refused(write_shards(tmp_path / "more", samples=16, classes=11), "object labels of .* curate it with --centers")
    for folder, text in ((data, b"one"), (held_out, b"two")):
        (folder / "centers.safetensors").write_bytes(text)
    refused(held_out, "object labels of .* curate it with --centers")
    for folder in (data, held_out):
        (folder / "centers.safetensors").unlink()
    errors = run_ranks(
        tiny(data, validation={"path": str(write_shards(tmp_path / "one shard", samples=8, shards=1))}),
        tmp_path / "ranks",
        2,
        tmp_path / "meeting",
    )
    assert "has 1 shards, which cannot be divided among 2 ranks" in "".join(errors)


def test_its_folder_is_relative_to_the_configuration(tmp_path: Path) -> None:
    text = "{name: a, data: {path: regions}, validation: {path: ../held}, batch: 8, stages: [{resolution: 224, samples: 8}]}"
    (tmp_path / "a.yaml").write_text(text)
    config = load_train_config(tmp_path / "a.yaml")
    assert config.validation is not None
    assert (config.data.path, config.validation.path) == (tmp_path / "regions", tmp_path / "../held")
