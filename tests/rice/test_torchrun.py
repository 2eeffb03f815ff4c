"""torchrun with `-m rice_core.cli train` in processes of its own, as users and recipes start it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from shards import write_shards
from training import losses, run, tiny
from typer.testing import CliRunner

from rice_core.cli import build_app
from rice_core.errors import UserError
from rice_core.progress import Progress
from rice_core.rice.recipes.run import Workshop
from rice_core.store import Store


def test_a_recipe_trains_under_torchrun_what_one_process_trains(tmp_path: Path) -> None:
    """`--standalone` takes a free port, so that two of them on one machine do not meet."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    config = tiny(write_shards(tmp_path / "data", samples=32), stages=[{"resolution": 32, "samples": 32}], save_every=4)
    run(config, tmp_path / "one")
    shop = Workshop(Store(tmp_path / "store"), Progress(quiet=True), "cpu", launcher=launcher)
    (folder,) = shop.train([config])
    assert losses(folder) == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    assert (folder / "encoder" / "encoder.json").is_file()
    # Each rank wrote its own part.
    assert len(list((folder / "checkpoints" / "step-00000004").glob("*.safetensors"))) == 2


def test_the_launcher_of_the_command_line_is_a_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def recipe(name: str, workshop: Workshop, *_: object) -> None:
        seen.append(workshop.launcher)
        raise UserError("seen")

    monkeypatch.setattr("rice_core.rice.recipes.recipe", recipe)
    words = ["run", "mini:losses", "--device", "cpu", "--store", str(tmp_path)]
    for more in ([], ["--launcher", "torchrun --nproc-per-node 8"]):
        assert str(CliRunner().invoke(build_app(), [*words, *more]).exception) == "seen"
    assert seen == [(sys.executable,), ("torchrun", "--nproc-per-node", "8")]


def test_a_reason_stands_above_what_torchrun_says(tmp_path: Path) -> None:
    said = "ricebench: the loss is not finite.\\nTraceback ...\\nrice_core.cli FAILED\\n=========="
    failing = tmp_path / "failing.py"
    failing.write_text(f'import sys; sys.exit("{said}")')
    shop = Workshop(Store(tmp_path / "store"), Progress(quiet=True), "cpu", launcher=(sys.executable, str(failing)))
    with pytest.raises(UserError, match="the loss is not finite"):
        shop.train([tiny(write_shards(tmp_path / "data", samples=8))])
