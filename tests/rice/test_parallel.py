"""Ranks: what they compute together is what one process computes, and a checkpoint fits any number of them."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from shards import write_shards
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel
from training import losses, no_pictures, run, run_ranks, tiny  # noqa: F401

from rice_core.errors import UserError
from rice_core.ranks import Ranks, join, spread
from rice_core.rice.config import TrainConfig
from rice_core.rice.objectives import Objective, build_objective
from rice_core.rice.regions import RegionManifest
from rice_core.train.metrics import MetricsLog


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data"))


def test_two_ranks_then_one_or_four(data: Path, tmp_path: Path) -> None:
    """Saved at world 2 in the middle of a stage; gone on at 1, at 4, and at 2 under FSDP2."""
    config = tiny(data)
    run(config, tmp_path / "alone")
    alone = losses(tmp_path / "alone")

    assert run_ranks(config, tmp_path / "two", 2, tmp_path / "meet2", build=stopping_after(6)) == []
    assert losses(tmp_path / "two") == pytest.approx({s: x for s, x in alone.items() if s <= 6}, rel=1e-4)
    kept = MetricsLog(tmp_path / "two").rows()

    for name, world, parallel in (("one", 1, "ddp"), ("four", 4, "ddp"), ("sharded", 2, "fsdp2")):
        folder = tmp_path / name
        shutil.copytree(tmp_path / "two", folder)
        again = tiny(data, parallel=parallel)
        if world == 1:
            run(again, folder)
        else:
            assert run_ranks(again, folder, world, tmp_path / f"meet-{name}") == []
        assert losses(folder) == pytest.approx(alone, rel=1e-4), name
        # A step that is made again has another images_per_second.
        assert MetricsLog(folder).rows()[:6] == kept, name
        assert (folder / "encoder" / "encoder.json").is_file()


def test_what_fsdp2_saved_one_process_reads(data: Path, tmp_path: Path) -> None:
    """Siglip has single numbers among its parameters, and stops in the middle of a stage."""
    siglip = tiny(data).objective.model_dump() | {"name": "siglip", "tokenizer": "words", "text_width": 16}
    siglip |= {"text_depth": 1, "text_heads": 2, "text_tokens": 8}
    config = tiny(data, objective=siglip)
    run(config, tmp_path / "alone")
    sharded = tiny(data, objective=siglip, parallel="fsdp2")
    assert run_ranks(sharded, tmp_path / "two", 2, tmp_path / "meet", build=stopping_after(6)) == []
    kept = MetricsLog(tmp_path / "two").rows()
    assert len(kept) == 6
    run(config, tmp_path / "two")
    assert MetricsLog(tmp_path / "two").rows()[:6] == kept
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "alone"), rel=1e-4)


def test_labels_may_be_of_other_width_on_each_rank(data: Path, tmp_path: Path) -> None:
    """A loader pads to its own longest label, and the whole-image labels of two ranks differ in length."""
    mlcd = tiny(data).objective.model_dump() | {"name": "mlcd"}
    config = tiny(data, objective=mlcd, stages=[{"resolution": 32, "samples": 24}])
    run(config, tmp_path / "one")
    assert run_ranks(config, tmp_path / "two", 2, tmp_path / "meet") == []
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


def test_ranks_compute_activations_again(data: Path, tmp_path: Path) -> None:
    short, passes = [{"resolution": 32, "samples": 24}], tmp_path / "passes"

    def counted(*words: Any, **options: Any) -> Objective:
        def count(*_: object) -> None:
            with passes.open("a") as file:
                file.write(".")

        objective = build_objective(*words, **options)
        objective.network.trunk.blocks[0].register_forward_pre_hook(count)
        return objective

    run(tiny(data, stages=short), tmp_path / "one")
    again = tiny(data, stages=short, parallel="fsdp2", checkpoint_activations=True)
    assert run_ranks(again, tmp_path / "two", 2, tmp_path / "meet", build=counted) == []
    assert len(passes.read_text()) == 2 * 2 * 3  # twice on each of two ranks in each of three steps
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


@pytest.mark.parametrize(("how", "kind"), [("ddp", DistributedDataParallel), ("fsdp2", FSDPModule)])
def test_the_one_rank_of_torchrun_is_wrapped_too(
    how: Any, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a machine with one GPU tries what a cluster runs; a process without torchrun has the bare module."""
    for key, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(key, value)
    module = nn.Linear(2, 2)
    with join("cpu", init_method=f"file://{tmp_path / 'meet'}") as ranks:
        assert isinstance(spread(module, [], ranks, how), kind)
    assert spread(module, [], Ranks(0, 1, torch.device("cpu")), how) is module


def test_a_device_that_is_not_there_is_named() -> None:
    for name in ("nonsense", "cuda:99"):
        with pytest.raises(UserError, match=name), join(name):
            pass


def stopping_after(steps: int) -> Callable[..., Objective]:
    """Builds the objective of the configuration; rank 0 gets SIGTERM in the forward pass of that step."""

    def build(config: TrainConfig, manifest: RegionManifest, *, group: Any) -> Objective:
        objective, left = build_objective(config, manifest, group=group), [steps]

        def count(*_: object) -> None:
            left[0] -= 1
            if left[0] == 0 and os.environ.get("RANK", "0") == "0":
                os.kill(os.getpid(), signal.SIGTERM)

        objective.network.register_forward_pre_hook(count)
        return objective

    return build
