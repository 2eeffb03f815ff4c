"""Training as a whole: interrupted equals uninterrupted, bit for bit, and what cannot go on says so."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from shards import write_shards
from torch import nn
from training import FORK, assert_same_bits, last_checkpoint, losses, no_pictures, run, tiny  # noqa: F401

from rice_core.errors import UserError
from rice_core.rice.config import TrainConfig, load_train_config
from rice_core.rice.launch import CONFIG, legs_of, rate_at
from rice_core.rice.objectives import build_objective
from rice_core.train.metrics import MetricsLog


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data"))


def with_dropout(config: TrainConfig, manifest: Any, *, group: Any) -> Any:
    """The objective with a consumer of torch's global generator, whose state a checkpoint has to hold."""
    objective = build_objective(config, manifest, group=group)
    objective.network.trunk.blocks[0].register_forward_hook(lambda _m, _i, x: nn.functional.dropout(x, 0.1))
    return objective


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(tiny(data, precision="bf16"), folder, build=with_dropout)
    return folder


def rows_at(folder: Path, kept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the log has now in the place of `kept`: a step that is made again has another `images_per_second`."""
    return MetricsLog(folder).rows()[: len(kept)]


def test_killed_and_resumed_equals_uninterrupted(data: Path, whole: Path, tmp_path: Path) -> None:
    """SIGKILL once the log has reached steps 2 (before any checkpoint), 5, 8 and 10."""
    config, kept = tiny(data, precision="bf16"), []
    for reached in (2, 5, 8, 10):
        child = FORK.Process(target=run, args=(config, tmp_path), kwargs={"build": with_dropout})
        child.start()
        while child.is_alive() and (not losses(tmp_path) or max(losses(tmp_path)) < reached):
            time.sleep(0.002)
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert rows_at(tmp_path, kept) == kept
        saved = max((int(path.name[-8:]) for path in (tmp_path / "checkpoints").glob("step-*")), default=0)
        kept = [row for row in MetricsLog(tmp_path).rows() if row["step"] <= saved]
    assert len(kept) >= 9
    assert run(config, tmp_path, build=with_dropout)
    assert rows_at(tmp_path, kept) == kept
    assert_same_bits(last_checkpoint(tmp_path), last_checkpoint(whole))
    assert losses(tmp_path) == losses(whole)
    assert sorted(losses(whole)) == list(range(1, 13))
    assert (tmp_path / "encoder/encoder.safetensors").read_bytes() == (
        whole / "encoder/encoder.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 0), (signal.SIGTERM, 1)])
def test_a_signal_stops_after_a_checkpoint(
    number: signal.Signals, workers: int, data: Path, whole: Path, tmp_path: Path
) -> None:
    config, sent = tiny(data, precision="bf16"), []

    def interrupting(*words: Any, **options: Any) -> Any:
        objective = with_dropout(*words, **options)

        def send(*_: object) -> None:
            sent.append(1)
            if len(sent) == 4:
                for worker in multiprocessing.active_children():  # torchrun tells the whole group
                    os.kill(worker.pid or 0, number)
                os.kill(os.getpid(), number)
                time.sleep(0.2)

        objective.network.register_forward_pre_hook(send)
        return objective

    before = signal.getsignal(signal.SIGINT)
    assert not run(config, tmp_path, build=interrupting, workers=workers)
    assert signal.getsignal(signal.SIGINT) is before
    assert len(sent) == 4  # the step was finished, and no other begun
    assert max(losses(tmp_path)) == 4
    assert (tmp_path / "checkpoints/step-00000004").is_dir()
    assert not (tmp_path / "encoder").exists()
    kept = MetricsLog(tmp_path).rows()
    assert run(config, tmp_path, build=with_dropout)
    assert rows_at(tmp_path, kept) == kept
    assert_same_bits(last_checkpoint(tmp_path), last_checkpoint(whole))


def test_a_finished_training_only_exports_again(data: Path, whole: Path) -> None:
    before, encoder = MetricsLog(whole).rows(), (whole / "encoder/encoder.safetensors").read_bytes()
    shutil.rmtree(whole / "encoder")
    assert run(tiny(data, precision="bf16"), whole, build=with_dropout)
    assert MetricsLog(whole).rows() == before  # with images_per_second, which no step has twice
    assert (whole / "encoder/encoder.safetensors").read_bytes() == encoder


@pytest.mark.parametrize("where", ["loss", "trunk", "centers"])
def test_a_step_that_is_not_finite_is_not_made(data: Path, tmp_path: Path, where: str) -> None:
    """In step 5, after the checkpoint of step 3: the error names both, and the checkpoint stays the last."""

    def poisoned(config: TrainConfig, manifest: Any, *, group: Any) -> Any:
        objective = build_objective(config, manifest, group=group)
        calm = objective.loss

        def loss(outputs: Any, batch: Any, *, step: int, **options: Any) -> Any:
            found = calm(outputs, batch, step=step, **options)
            if step == 4 and where == "loss":
                found.loss.data.fill_(math.nan)
            return found

        objective.loss = loss
        if where != "loss":
            part = objective.network.trunk.class_token if where == "trunk" else objective.banks["object"].weight
            calls = []

            def spoil(parameter: torch.Tensor) -> None:
                calls.append(1)
                if len(calls) == 5:
                    parameter.grad = parameter.grad * math.inf

            part.register_post_accumulate_grad_hook(spoil)
        return objective

    with pytest.raises(UserError, match=r"step 4 of stage 1 .*not finite.*step-00000003"):
        run(tiny(data), tmp_path, build=poisoned)
    assert max(losses(tmp_path)) == 4
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]


def test_another_configuration_is_refused_by_what_differs(data: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"optimizer.warm_up is 3 there and 4 here.*--fresh"):
        run(tiny(data, optimizer={"rate": 2e-3, "warm_up": 4}), whole)
    with pytest.raises(UserError, match="seed is 0 there and 1 here"):
        run(tiny(data, precision="bf16", seed=1), whole)


def test_the_command_trains_and_refuses(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rice_core.cli import main

    file = tmp_path / "tiny.json"
    file.write_text(tiny(data, stages=[{"resolution": 32, "samples": 8}]).model_dump_json())
    words = ["train", str(file), "--out", str(tmp_path / "out"), "--device", "cpu", "--workers", "0"]
    for _ in range(2):  # the second resumes what is finished
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    assert sorted(losses(tmp_path / "out")) == [1]
    file.write_text(file.read_text().replace('"seed":0', '"seed":5'))
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "seed is 0 there and 5 here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bach": 16}, "bach: there is no such setting"),
        ({"model": {"vit": {"width": 32, "heads": 2, "mlp": 64}}}, "model.vit.mlp: there is no such setting"),
        ({"model": {"vit": "B/17"}}, "model.vit: Input should be 'Ti/16', 'S/16', 'B/16' or 'L/14'"),
        ({"batch": 17}, "the batch of 17 is no multiple of"),
        ({"std": [0.2, 0.2, 0]}, "std.2: Input should be greater than 0"),
        ({"optimizer": {"betas": [2, 0]}}, "optimizer.betas.0: Input should be less than 1"),
        ({"data": {"path": ".", "crop_scale": [0, 2]}}, "data.crop_scale.0: Input should be greater than 0"),
        ({"data": {"path": ".", "crop_scale": [0.9, 0.1]}}, "data: crop_scale must go from"),
        ({"objective": {"type_weights": {"ocr": -1}}}, "objective.type_weights.ocr: Input should be greater than"),
        ({"objective": {"name": "siglip", "text_width": 33}}, "objective: text_width must be a multiple of text_heads"),
        (None, "it holds no settings"),
    ],
)
def test_a_setting_that_does_not_fit_is_named_as_the_file_names_it(
    change: dict[str, object] | None, told: str, tmp_path: Path
) -> None:
    whole = {"name": "a", "data": {"path": "."}, "stages": [{"resolution": 32, "samples": 64}], "batch": 16}
    file = tmp_path / "a.yaml"
    file.write_text("" if change is None else json.dumps(whole | change))
    with pytest.raises(UserError) as refused:
        load_train_config(file)
    assert str(refused.value).startswith(f"{file}: {told}")


def test_fresh_starts_again_and_keeps_foreign_files(data: Path, tmp_path: Path) -> None:
    short = [{"resolution": 32, "samples": 16}]
    run(tiny(data, stages=short), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    run(tiny(data, stages=short, seed=1), tmp_path, fresh=True)
    assert sorted(losses(tmp_path)) == [1, 2]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_fresh_keeps_the_config_of_something_else(data: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mlcd"}')
    with pytest.raises(UserError, match="is no training's configuration"):
        run(tiny(data), tmp_path, fresh=True)
    assert (tmp_path / "config.json").read_text() == '{"model_type": "mlcd"}'


def test_checkpoints_of_nobody_are_not_gone_on_from(data: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "step-00000002").mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds checkpoints and no config\.json"):
        run(tiny(data), tmp_path)


def test_a_folder_takes_one_training_at_a_time(data: Path, tmp_path: Path) -> None:
    holding = (
        "import fcntl, sys; f = open(sys.argv[1], 'wb'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    )
    lock = str(tmp_path / ".lock")
    with subprocess.Popen(
        [sys.executable, "-c", holding, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(UserError, match="another process trains into"):
            run(tiny(data), tmp_path)
        other.kill()  # and a kill gives the folder up
        other.wait()
        assert run(tiny(data, stages=[{"resolution": 32, "samples": 8}]), tmp_path)


def test_data_curated_anew_are_refused(data: Path, tmp_path: Path) -> None:
    short = [{"resolution": 32, "samples": 16}]
    moved = tmp_path / "moved"
    shutil.copytree(data, moved)
    run(tiny(data, stages=short), tmp_path / "out")
    assert run(tiny(moved, stages=short), tmp_path / "out")  # the same data elsewhere
    manifest = moved / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"colours"', '"shapes"'))
    with pytest.raises(UserError, match="curated anew"):
        run(tiny(moved, stages=short), tmp_path / "out")


def test_the_log_says_where_each_step_stood(data: Path, whole: Path) -> None:
    config = tiny(data)
    rows = {row["step"]: row for row in MetricsLog(whole).rows()}
    for leg in legs_of(config):
        for step in range(leg.first, leg.end):
            row = rows[step + 1]
            assert (row["stage"], row["resolution"]) == (leg.index, config.stages[leg.index].resolution)
            assert row["images"] == 8 * (step + 1)
            assert row["rate"] == rate_at(config, leg, step)
            assert row["grad_norm"] > 0


def test_rates_warm_up_then_fall_to_zero_in_each_stage(data: Path) -> None:
    first, second = legs_of(tiny(data))
    rates = [rate_at(tiny(data), first, step) / 2e-3 for step in range(8)]
    assert rates[:4] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert rates[4:] == pytest.approx([0.5 * (1 + math.cos(math.pi * i / 5)) for i in range(1, 5)])
    rates = [rate_at(tiny(data), second, step) / 2e-4 for step in range(8, 12)]
    assert rates == pytest.approx([0.5 * (1 + math.cos(math.pi * i / 4)) for i in range(4)])


def test_parts_of_a_batch_add_up(data: Path, tmp_path: Path) -> None:
    """Whole-image clusters: each image weighs the same, so the mean of the parts is the whole."""
    mlcd = {"name": "mlcd", "image_labels": "clusters", "loss": {"rho": 0.5, "margin": "cos", "m": 0.1, "s": 8}}
    for accumulate in (1, 2):
        run(tiny(data, objective=mlcd, accumulate=accumulate), tmp_path / str(accumulate))
    assert losses(tmp_path / "2") == pytest.approx(losses(tmp_path / "1"), rel=1e-4)


def test_another_number_of_parts_goes_on_with_the_training(data: Path, tmp_path: Path) -> None:
    """As after a step that memory did not hold; siglip's negatives are those of a part, so to it that is another training."""
    mlcd = {"name": "mlcd", "image_labels": "clusters", "loss": {"rho": 0.5, "margin": "cos", "m": 0.1, "s": 8}}
    assert run(tiny(data, objective=mlcd), tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(max((tmp_path / "again/checkpoints").glob("step-*")))
    assert run(tiny(data, objective=mlcd, accumulate=2), tmp_path / "again")
    assert losses(tmp_path / "again") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    assert max((tmp_path / "again/checkpoints").glob("step-*")).name == "step-00000012"
    siglip = {"name": "siglip", "tokenizer": "words"}
    (tmp_path / "whole" / CONFIG).write_text(tiny(data, objective=siglip).model_dump_json())
    with pytest.raises(UserError, match="accumulate is 1 there and 2 here"):
        run(tiny(data, objective=siglip, accumulate=2), tmp_path / "whole")


def test_compiled_blocks_learn_the_same(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without code for the machine, which would take a compiler: dynamo's graphs are run as they are."""
    own, blocks, ran = nn.Module.compile, [], []

    def backend(graph: Any, inputs: Any) -> Any:
        return lambda *inputs: ran.append(graph) or graph(*inputs)

    monkeypatch.setattr(nn.Module, "compile", lambda block: blocks.append(block) or own(block, backend=backend))
    short = [{"resolution": 32, "samples": 16}, {"resolution": 48, "samples": 16}]
    for compiled in (False, True):
        assert run(tiny(data, stages=short, compile=compiled), tmp_path / str(compiled))
        assert len(blocks) == (2 if compiled else 0)
        assert len(ran) == (2 * 4 if compiled else 0)  # each block in each step, whole: a graph without breaks
    assert losses(tmp_path / "True") == pytest.approx(losses(tmp_path / "False"), rel=1e-4)
    assert last_checkpoint(tmp_path / "True").keys() == last_checkpoint(tmp_path / "False").keys()


def test_activations_that_are_computed_again_are_the_same(data: Path, tmp_path: Path) -> None:
    """Bit for bit, dropout included: its generator is set back for the second forward pass."""
    passes: dict[bool, int] = {}
    for again in (False, True):

        def counting(config: TrainConfig, manifest: Any, *, group: Any, again: bool = again) -> Any:
            objective = with_dropout(config, manifest, group=group)

            def count(*_: object) -> None:
                passes[again] = passes.get(again, 0) + 1

            objective.network.trunk.blocks[0].register_forward_pre_hook(count)
            return objective

        assert run(tiny(data, checkpoint_activations=again), tmp_path / str(again), build=counting)
    assert passes == {False: 12, True: 24}
    assert_same_bits(last_checkpoint(tmp_path / "True"), last_checkpoint(tmp_path / "False"))


def test_decay_moves_matrices_alone(data: Path, tmp_path: Path) -> None:
    """One step at a rate so small that only decay shows."""
    from rice_core.rice.regions import read_region_manifest

    config = tiny(
        data,
        stages=[{"resolution": 32, "samples": 8}],
        optimizer={"rate": 1e-4, "warm_up": 0, "eps": 1e6, "weight_decay": 1e3},
    )
    run(config, tmp_path)
    start = build_objective(config, read_region_manifest(data), group=None).network.state_dict()
    for name, value in last_checkpoint(tmp_path).items():
        if name.startswith("network."):
            begun = start[name.removeprefix("network.")]
            matrix = begun.ndim >= 2
            assert torch.allclose(value, begun * 0.9 if matrix else begun, atol=1e-6), name


def test_the_average_is_exported_and_follows_its_equation(data: Path, tmp_path: Path) -> None:
    one, two = ([{"resolution": 32, "samples": 8 * steps}] for steps in (1, 2))
    flat = {"rate": 1e-3, "warm_up": 100}  # the same rates whatever the length
    run(tiny(data, stages=one, optimizer=flat), tmp_path / "one")
    run(tiny(data, stages=two, optimizer=flat), tmp_path / "two")
    before, after = last_checkpoint(tmp_path / "one"), last_checkpoint(tmp_path / "two")
    name = "blocks.0.mlp_in.weight"
    key = next(key.removeprefix("ema.") for key in after if key.startswith("ema.") and key.endswith(name))
    wanted = 0.9 * before[f"ema.{key}"] + 0.1 * after[f"network.{key}"]
    torch.testing.assert_close(after[f"ema.{key}"], wanted)
    exported = load_file(tmp_path / "two" / "encoder" / "encoder.safetensors")
    assert torch.equal(exported[name], after[f"ema.{key}"])
    assert not torch.equal(exported[name], after[f"network.{key}"])


def test_centers_with_bfloat16_moments_resume_to_the_last_bit(data: Path, tmp_path: Path) -> None:
    config = tiny(data, optimizer={"rate": 2e-3, "warm_up": 3, "centers_moments": "bfloat16"})
    assert run(config, tmp_path)
    first = last_checkpoint(tmp_path)
    assert first["banks.object.exp_avg_sq"].dtype == torch.bfloat16
    assert first["banks.object.weight"].dtype == torch.float32
    newest = sorted((tmp_path / "checkpoints").glob("step-*"))[-1]
    shutil.rmtree(newest)
    assert run(config, tmp_path)
    assert_same_bits(last_checkpoint(tmp_path), first)
