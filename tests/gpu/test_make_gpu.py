"""`make gpu` without a GPU: every measurement runs at tiny sizes, and what cannot run is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as driver
from benchmarks.gpu import environment
from benchmarks.gpu.table import RESULTS


@pytest.mark.slow
def test_every_measurement_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert driver.main(["--tiny", "--here", "--out", str(tmp_path)]) == 0, capsys.readouterr().out
    found = json.loads((tmp_path / "tiny-cpu.json").read_text())
    assert found["machine"]["device"] == "cpu"
    assert found["machine"]["tiny"]
    assert set(found["measured"]) == set(environment.NEEDS)
    assert all(each["claims"] for each in found["measured"].values())
    assert found["measured"]["resume"]["numbers"]["deterministic"]["stopped as uninterrupted"]
    assert "sizes that say nothing" in (tmp_path / "tiny-cpu.md").read_text()


def test_a_tiny_run_is_no_result() -> None:
    with pytest.raises(SystemExit):
        driver.main(["--tiny", "--out", str(RESULTS)])


def test_one_that_fails_leaves_the_others_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr("benchmarks.gpu.rice_step.milliseconds", fails)
    words = ["rice_step", "detector_step", "--tiny", "--here", "--out", str(tmp_path)]
    assert driver.main(words) == 1
    found = json.loads((tmp_path / "tiny-cpu.json").read_text())["measured"]
    assert found["rice_step"]["error"] == "RuntimeError: no such kernel"
    assert found["detector_step"]["claims"]
    assert "**failed**: RuntimeError" in (tmp_path / "tiny-cpu.md").read_text()


def test_a_run_that_is_cut_off_keeps_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.gpu.detector_step.measure", cut_off)
    with pytest.raises(KeyboardInterrupt):
        driver.main(["rice_step", "detector_step", "--tiny", "--here", "--out", str(tmp_path)])
    assert json.loads((tmp_path / "tiny-cpu.json").read_text())["measured"]["rice_step"]["claims"]
    assert "| rice_step |" in (tmp_path / "tiny-cpu.md").read_text()


def test_one_measured_again_leaves_what_the_others_found(tmp_path: Path) -> None:
    words = ["--tiny", "--here", "--out", str(tmp_path)]
    assert driver.main(["rice_step", *words]) == 0
    first = json.loads((tmp_path / "tiny-cpu.json").read_text())["measured"]
    assert driver.main(["detector_step", *words]) == 0
    both = json.loads((tmp_path / "tiny-cpu.json").read_text())
    assert set(both["measured"]) == {"rice_step", "detector_step"}
    assert both["measured"]["rice_step"] == first["rice_step"]
    # For want of time nothing that was measured is lost.
    assert driver.main(["rice_step", "--budget", "1", *words]) == 0
    assert json.loads((tmp_path / "tiny-cpu.json").read_text())["measured"] == both["measured"]
    # Under other libraries it would be another table.
    (tmp_path / "tiny-cpu.json").write_text(json.dumps(both | {"machine": both["machine"] | {"torch": "1.0"}}))
    assert driver.main(["detector_step", *words]) == 0
    assert set(json.loads((tmp_path / "tiny-cpu.json").read_text())["measured"]) == {"detector_step"}


def test_what_needs_a_gpu_lies_where_make_gpu_looks() -> None:
    marked = [path for path in Path(__file__).parents[1].rglob("test_*.py") if "mark.gpu" in path.read_text("utf-8")]
    assert {path.parent.name for path in marked} == {"gpu"}


def test_what_does_not_fit_into_the_time_is_left_out(tmp_path: Path) -> None:
    assert driver.main(["--tiny", "--here", "--budget", "1", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "tiny-cpu.json").read_text())["measured"]
    assert {each["left_out"] for each in found.values()} == {"no time was left"}


def test_a_missing_package_is_named_with_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mmengine", None)
    there = environment.installed
    for module in (environment, driver):
        monkeypatch.setattr(module, "installed", lambda *names: "mmengine" not in names and there(*names))
    assert driver.main(["resume", "--tiny", "--here", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "not installed here: mmengine; left out for it: one_rank, resume, the tests that import them." in said
    assert "Bring the wheels of mmengine addict termcolor yapf platformdirs" in said
    found = json.loads((tmp_path / "tiny-cpu.json").read_text())["measured"]["resume"]
    assert found["left_out"] == "needs mmengine"


def test_a_checkout_that_is_not_installed_is_found_with_its_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import Distribution, PackageNotFoundError

    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(environment, "distribution", absent)
    paths = environment.stand_in(tmp_path)["PYTHONPATH"].split(":")
    assert paths[:2] == [str(environment.CHECKOUT), str(tmp_path)]
    (found,) = Distribution.discover(name="ricebench", path=[str(tmp_path)])
    points = {(point.group, point.name): point.value for point in found.entry_points}
    assert points["ricebench.encoders", "rice"] == "rice_core.encoders.rice:load"
    assert points["ricebench.probes", "knn"] == "probes.knn:Knn"
