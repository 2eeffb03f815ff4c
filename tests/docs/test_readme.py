"""The README's probe runs as it is printed, under the runner that serves every other probe."""

import contextlib
import importlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rice_core.datasets import open_dataset
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.probe import Read
from rice_core.progress import Progress
from rice_core.spec import EncoderSpec
from rice_core.store import Store

ROOT = Path(__file__).parents[2]


def block_with(words: str) -> str:
    """The README's one block of Python that holds these words."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (found,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if words in block]
    return str(found)


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly as it is printed, beside a folder of photographs in three classes."""
    rng = np.random.default_rng(0)
    for kind, colour in {"sea": (20, 60, 200), "wood": (30, 160, 40), "brick": (190, 60, 40)}.items():
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for i in range(20):
            pixels = np.clip(rng.normal(colour, 40, (64, 80, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / kind / f"{kind}-{i}.png")
    Image.fromarray(pixels).save(tmp_path / "photograph.jpg")
    monkeypatch.chdir(tmp_path)
    made: dict[str, Any] = {}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(block_with("Bench("), made)
    assert sorted(set(made["numbers"].encoder)) == ["mini-supervised", "random-weights"]
    assert sorted(set(made["numbers"].probe)) == ["knn", "linear"]
    assert made["numbers"].chance[made["numbers"].metric == "accuracy"].round(1).unique().tolist() == [33.3]
    lines = said.getvalue().splitlines()
    assert lines[0] == "mini-supervised against random-weights"
    assert [line.split(" on photos, accuracy: ")[0] for line in lines[1:]] == ["  knn", "  linear"]
    assert made["features"].dense_BCHW.shape[0] == 1


def test_the_probe_of_the_readme_runs(small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brightness_probe.py").write_text(block_with("def brightness"))
    monkeypatch.syspath_prepend(tmp_path)
    probe = importlib.import_module("brightness_probe").brightness(images=16)
    assert probe.reads == (Read("val", "dense", 16),)
    specs = tuple(EncoderSpec.parse(f"synthetic:{name}") for name in ("noise", "random-weights", "constant"))
    plan = Plan.over(specs, (probe,), open_dataset(small_world, name="mini"))
    summary = Runner(Store(tmp_path / "store"), Settings(), Progress(quiet=True)).run(plan)
    assert summary.counts == {"done": 3}
    noise, _, constant = (record.metrics[0] for record in summary.records)
    assert noise.stderr is not None
    assert abs(noise.value) < 3 * noise.stderr
    assert constant.value == 0
    again = Runner(Store(tmp_path / "store"), Settings(), Progress(quiet=True)).run(plan)
    assert again.counts == {"reused": 3}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/usage.md", "docs/benchmarks.md"])
def test_links_and_pictures_of_the_pages_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target
