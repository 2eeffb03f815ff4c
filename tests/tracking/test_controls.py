"""GOT-10k's miniature: the official toolkit scores what is exported as the record does, and encoders with known answers come to those."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from rice_core.datasets import open_dataset
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.progress import Progress
from rice_core.spec import EncoderSpec
from rice_core.store import Store
from rice_core.world.layouts.got10k import write_got10k
from tracking.probe import Got10kTracking


@pytest.mark.slow
def test_the_oracle_is_followed_and_nothing_is_not(tmp_path: Path) -> None:
    """Of recipe mini, where standing still is 5.6."""
    world = open_dataset(write_got10k(tmp_path / "world", seed=1, train=24, val=8, test=1), name="clips")
    encoders = tuple(EncoderSpec.parse(f"synthetic:{name}") for name in ("oracle", "noise", "constant"))
    plan = Plan.over(encoders, (Got10kTracking(recipe="mini"),), world)
    records = Runner(Store(tmp_path / "store"), Settings(device="cpu"), Progress(quiet=True)).run(plan).records
    first = {record.cell.encoder.model: record.metrics[0] for record in records}
    still = first["oracle"].chance
    assert still is not None
    assert 3 < still < 10
    assert first["oracle"].value > still + 25
    assert max(first["noise"].value, first["constant"].value) < still + 3


def test_the_official_toolkit_scores_the_export_as_the_record_does(tmp_path: Path) -> None:
    pytest.importorskip("got10k", reason="the official GOT-10k toolkit is not installed")
    from got10k.experiments import ExperimentGOT10k

    folder = write_got10k(tmp_path / "world", seed=2, train=4, val=3, test=1, size=72)
    plan = Plan.over((EncoderSpec.parse("synthetic:oracle"),), (Got10kTracking(recipe="smoke"),), open_dataset(folder))
    (record,) = Runner(Store(tmp_path / "store"), Settings(device="cpu"), Progress(quiet=True)).run(plan).records
    results, reports = tmp_path / "results", tmp_path / "reports"
    with zipfile.ZipFile(Store(tmp_path / "store").exports(record.cell.id) / "got10k.zip") as archive:
        archive.extractall(results / "GOT-10k" / "ours")
    experiment = ExperimentGOT10k(str(folder), subset="val", result_dir=str(results), report_dir=str(reports))
    overall = experiment.report(["ours"])["ours"]["overall"]
    ao, sr50, sr75 = (metric.value / 100 for metric in record.metrics)
    assert 0 < ao < 1
    assert overall["ao"] == pytest.approx(ao, abs=1e-9)
    assert overall["sr"] == pytest.approx(sr50, abs=1e-9)
    assert overall["succ_curve"][75] == pytest.approx(sr75, abs=1e-9)
    assert overall["speed_fps"] > 0
