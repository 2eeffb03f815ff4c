"""The README's probe runs as it is printed, under the runner that serves every other probe."""

import importlib
import re
from pathlib import Path

import pytest

from rice_core.datasets import open_dataset
from rice_core.progress import Progress
from rice_core.run import Plan, Runner, Settings
from rice_core.spec import EncoderSpec
from rice_core.store import Store

ROOT = Path(__file__).parents[2]


def test_the_probe_of_the_readme_runs(small_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    (tmp_path / "brightness_probe.py").write_text(block[1])
    monkeypatch.syspath_prepend(tmp_path)
    probe = importlib.import_module("brightness_probe").Brightness(images=16)
    specs = tuple(EncoderSpec.parse(f"synthetic:{name}") for name in ("noise", "random-weights", "constant"))
    plan = Plan(specs, (probe,), open_dataset(small_world, name="mini"))
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
