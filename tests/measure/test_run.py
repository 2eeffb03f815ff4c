"""The runner end to end on a small world: reuse by digests, failures kept apart, yardsticks where they must be."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from probes.knn import Knn
from probes.linear import Linear
from rice_core.datasets import Dataset, limit, open_dataset
from rice_core.encoders import load_encoder
from rice_core.encoders.rice import save_rice
from rice_core.errors import NotApplicable, UserError
from rice_core.features import Encoder
from rice_core.measure.cache import FeatureCache
from rice_core.measure.claims import Claims
from rice_core.measure.extract import Extractor
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.measure.summary import Summary
from rice_core.model.vit import ViT, ViTConfig
from rice_core.probe import Probe, Work
from rice_core.progress import Progress
from rice_core.record import Metric, Outcome, Record
from rice_core.spec import EncoderSpec, ProbeSpec
from rice_core.stage import Curve, Stage, StageSpec, StageWork
from rice_core.store import Store


@pytest.fixture(scope="module")
def dataset(small_world: Path) -> Dataset:
    return open_dataset(small_world, name="mini")


def execute(
    dataset: Dataset, root: Path, encoders: list[str], probes: tuple[Probe, ...] = (Knn(k=3),), **settings: object
) -> tuple[Summary, FeatureCache]:
    runner = Runner(Store(root), Settings(**settings), Progress(quiet=True))  # type: ignore[arg-type]
    summary = runner.run(Plan.over(tuple(EncoderSpec.parse(text) for text in encoders), probes, dataset))
    return summary, runner.cache


def metric(record: Record, name: str = "accuracy") -> Metric:
    found = record.metric(name)
    assert found is not None
    return found


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "vit"
    save_rice(folder, ViT(ViTConfig(width=48, depth=2, heads=3, patch=8, resolution=96)), tags={"objective": "none"})
    return folder


def flip_one_weight_bit(folder: Path) -> None:
    path = folder / "encoder.safetensors"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(bytes(data))


def test_noise_is_at_chance_and_the_oracle_at_the_ceiling(dataset: Dataset, tmp_path: Path) -> None:
    encoders = ["synthetic:noise", "synthetic:constant", "synthetic:oracle"]
    summary, _ = execute(dataset, tmp_path, encoders, (Knn(k=3), Linear()))
    assert summary.counts == {"done": 6}
    for record in summary.records:
        found = metric(record)
        assert found.chance is not None
        if record.cell.encoder.model == "noise":
            assert found.stderr is not None
            assert abs(found.value - found.chance) < 3 * found.stderr
        elif record.cell.encoder.model == "oracle":
            assert found.value >= 99
        else:
            assert found.value == pytest.approx(found.chance)


def test_scores_fall_as_the_signal_is_destroyed(dataset: Dataset, tmp_path: Path) -> None:
    shares = (0.0, 0.6, 0.8, 0.9, 1.0)
    summary, _ = execute(dataset, tmp_path, [f"synthetic:oracle/{share}" for share in shares], (Knn(k=3), Linear()))
    for probe in ("knn", "linear"):
        values = [metric(r).value for r in summary.records if r.cell.probe.name == probe]
        assert values == sorted(values, reverse=True)
        assert values[0] - values[-1] > 80


def test_the_same_command_again_reuses_every_cell(dataset: Dataset, tmp_path: Path) -> None:
    first, _ = execute(dataset, tmp_path, ["synthetic:random-weights"])
    second, cache = execute(dataset, tmp_path, ["synthetic:random-weights"])
    assert second.counts == {"reused": 1}
    assert second.records == first.records
    assert (cache.hits, cache.misses) == (0, 0)


def test_one_weight_bit_shares_nothing(dataset: Dataset, checkpoint: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    first, _ = execute(dataset, root, [f"rice:{checkpoint}"])
    other = shutil.copytree(checkpoint, tmp_path / "other")
    flip_one_weight_bit(other)
    second, cache = execute(dataset, root, [f"rice:{other}"])
    assert cache.hits == 0
    assert second.counts == {"done": 1}
    weights = {r.evidence.weights for s in (first, second) for r in s.records if r.evidence}
    assert len(weights) == 2


def test_weights_changed_in_place_are_measured_again(dataset: Dataset, checkpoint: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    execute(dataset, root, [f"rice:{checkpoint}"])
    flip_one_weight_bit(checkpoint)
    summary, cache = execute(dataset, root, [f"rice:{checkpoint}"])
    assert summary.counts == {"done": 1}
    assert cache.hits == 0


@pytest.mark.parametrize(
    ("older", "said"),
    [
        ({"code": "0" * 64}, ", measured again for new code"),
        ({"data": "0" * 64, "code": "0" * 64}, ", measured again for new data and code"),
        ({}, ""),
    ],
)
def test_a_number_that_stood_and_is_measured_again_says_why(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str], older: dict[str, str], said: str
) -> None:
    first, _ = execute(dataset, tmp_path, ["synthetic:noise"])
    (record,) = first.records
    assert record.evidence
    store = Store(tmp_path)
    store.put(record.model_copy(update={"evidence": record.evidence.model_copy(update=older)}), store.scores(record))
    plan = Plan.over((EncoderSpec.parse("synthetic:noise"),), (Knn(k=3),), dataset)
    capsys.readouterr()
    with Progress() as progress:
        Runner(store, Settings(only="missing" if older else "all"), progress).run(plan)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(f" s){said}")


def test_the_same_weights_under_another_name_or_path_share_every_feature(
    dataset: Dataset, checkpoint: Path, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    execute(dataset, root, [f"first=rice:{checkpoint}"])
    renamed, _ = execute(dataset, root, [f"second=rice:{checkpoint}"])
    assert renamed.counts == {"reused": 1}
    assert [r.cell.encoder.name for r in Store(root).records()] == ["second"]
    other = shutil.copytree(checkpoint, tmp_path / "other")
    _, cache = execute(dataset, root, [f"rice:{other}"])
    assert cache.misses == 0
    assert cache.hits > 0


def test_a_changed_photograph_is_noticed(small_world: Path, tmp_path: Path) -> None:
    world = shutil.copytree(small_world, tmp_path / "world")
    execute(open_dataset(world, name="mini"), tmp_path / "store", ["synthetic:random-weights"])
    first, second = sorted((world / "val").iterdir())[:2]
    content, mtime = first.read_bytes(), first.stat().st_mtime_ns
    shutil.copy(second, first)
    os.utime(first, ns=(mtime, mtime))
    summary, _ = execute(open_dataset(world, name="mini"), tmp_path / "store", ["synthetic:random-weights"])
    assert summary.counts == {"done": 1}
    first.write_bytes(content)


def test_damage_is_recomputed_to_the_same_result(dataset: Dataset, tmp_path: Path) -> None:
    first, _ = execute(dataset, tmp_path, ["synthetic:random-weights"])
    for pattern in ("records/*.json", "cache/*/*.safetensors"):
        path = sorted(tmp_path.glob(pattern))[0]
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(bytes(data))
    second, _ = execute(dataset, tmp_path, ["synthetic:random-weights"])
    assert second.counts == {"done": 1}
    assert second.records[0].metrics == first.records[0].metrics
    assert len(list((tmp_path / "quarantine").glob("*.reason"))) == 2


def test_an_encoder_that_cannot_load_fails_alone(dataset: Dataset, tmp_path: Path) -> None:
    summary, _ = execute(dataset, tmp_path, ["rice:nowhere", "synthetic:noise"])
    assert summary.counts == {"failed": 1, "done": 1}
    assert "nowhere" in summary.errors[0]
    # A slip of the pen is no result.
    assert [record.cell.encoder.model for record in Store(tmp_path).records()] == ["noise"]
    assert [record.cell.encoder.model for record in summary.records] == ["noise"]
    retried, _ = execute(dataset, tmp_path, ["rice:nowhere", "synthetic:noise"], only="failed")
    assert retried.counts == {"failed": 1, "reused": 1}


def test_an_encoder_that_cannot_load_is_told_once_with_its_path(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = Runner(Store(tmp_path / "store"), Settings(), Progress())
    asked = EncoderSpec.parse(f"rice:{tmp_path / 'nowhere'}")
    runner.run(Plan.over((asked, EncoderSpec.parse("synthetic:noise")), (Knn(k=3), Knn(k=5)), dataset))
    said = capsys.readouterr().err
    assert said.count("could not be loaded") == 1
    assert f"[2/4] could not be loaded: rice:{tmp_path / 'nowhere'}: there is no folder" in said
    assert "[4/4]" in said


def test_todays_failure_does_not_overwrite_a_finished_record(
    dataset: Dataset, checkpoint: Path, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    done, _ = execute(dataset, root, [f"rice:{checkpoint}"])
    shutil.rmtree(checkpoint)
    failed, _ = execute(dataset, root, [f"rice:{checkpoint}"])
    assert failed.counts == {"failed": 1}
    assert Store(root).records() == done.records


def test_a_limit_taints_and_is_another_cell(dataset: Dataset, tmp_path: Path) -> None:
    runner = Runner(Store(tmp_path), Settings(), Progress(quiet=True))
    spec = EncoderSpec.parse("synthetic:random-weights")
    whole = runner.run(Plan.over((spec,), (Knn(k=3),), dataset)).records[0]
    part = runner.run(Plan.over((spec,), (Knn(k=3),), limit(dataset, 20), limit=20)).records[0]
    assert "limit 20" in part.taints
    assert "limit 20" not in whole.taints
    assert part.cell.comparable != whole.cell.comparable


def test_a_broken_probe_is_a_failed_cell_not_a_lost_run(dataset: Dataset, tmp_path: Path) -> None:
    class Broken(Knn):
        def run(self, *_: object, **__: object) -> None:  # type: ignore[override]
            raise ZeroDivisionError("division by zero")

    summary, _ = execute(dataset, tmp_path, ["synthetic:noise"], (Broken(k=2), Knn(k=3)))
    assert summary.counts == {"failed": 1, "done": 1}
    assert "--debug" in summary.errors[0]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk needs root on Linux")
def test_a_disk_that_fills_up_leaves_a_readable_store(small_world: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", disk], capture_output=True, check=False
    ).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        code = (
            "from rice_core.cli import main; main(['run', '--encoders', 'synthetic:noise,synthetic:random-weights',"
            f"'--probes', 'knn', '--data', {str(small_world)!r}, '--store', {str(disk / 'store')!r}, '--quiet'])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "disk is full" in done.stderr
        assert "Traceback" not in done.stderr
        _, problems = Store(disk / "store").scan()
        assert problems == []
        assert not list(disk.rglob("*.tmp"))
    finally:
        subprocess.run(["umount", disk], check=False)


def test_a_finished_run_is_recognised_without_torch(small_world: Path, checkpoint: Path, tmp_path: Path) -> None:
    words = ["run", "-e", f"rice:{checkpoint},synthetic:noise", "-p", "knn", "--data", str(small_world), "-q"]
    code = (
        "import sys; from rice_core.cli import main\n"
        f"try: main({[*words, '--store', str(tmp_path / 'store')]!r})\n"
        "except SystemExit as stop: print(stop.code, 'torch' in sys.modules)"
    )

    def run() -> list[str]:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    assert run()[-1] == "0 True"
    again = run()
    assert again[-1] == "0 False"
    assert "2 reused" in again[0]
    flip_one_weight_bit(checkpoint)
    assert "1 done, 1 reused" in run()[0]


@pytest.mark.parametrize("content", [b"", b"{}", b'{"weights": "0", "architecture": "0"}'])
def test_what_is_wrongly_known_of_a_checkpoint_misleads_nobody(
    dataset: Dataset, tmp_path: Path, content: bytes
) -> None:
    first, _ = execute(dataset, tmp_path, ["synthetic:random-weights"])
    for path in (tmp_path / "known").iterdir():
        path.write_bytes(content)
    second, _ = execute(dataset, tmp_path, ["synthetic:random-weights"])
    assert second.counts == {"reused": 1}
    assert second.records == first.records


def test_a_corrected_annotation_takes_its_image_back_in(small_world: Path, tmp_path: Path) -> None:
    """The annotated size decides whether an image is taken, so features kept under the wrong one must not be found."""
    world = shutil.copytree(small_world, tmp_path / "world")
    annotations = world / "annotations" / "instances_val.json"
    body = json.loads(annotations.read_text())
    for annotation in body["annotations"]:
        del annotation["segmentation"]  # boxes alone: nothing else tells the wrong width
    sound = json.dumps(body)
    annotations.write_text(sound)
    body["images"][0]["width"] += 1
    annotations.write_text(json.dumps(body))
    wrong, _ = execute(open_dataset(world, name="mini"), tmp_path / "store", ["synthetic:random-weights"])
    annotations.write_text(sound)
    mended, _ = execute(open_dataset(world, name="mini"), tmp_path / "store", ["synthetic:random-weights"])
    fresh, _ = execute(open_dataset(world, name="mini"), tmp_path / "fresh", ["synthetic:random-weights"])
    assert "annotated as 97x96" in wrong.records[0].skipped[0].reason
    assert mended.records[0].skipped == ()
    assert mended.records[0].metrics == fresh.records[0].metrics
    assert metric(wrong.records[0]).n < metric(fresh.records[0]).n


def test_measuring_again_leaves_the_standing_record_whole_until_it_is_done(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(self: Knn, encoder: object, *, seed: int, work: Work) -> None:
        work.artifact_json("figure.json", {"half": "done"})
        raise KeyboardInterrupt

    def draws(self: Knn, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        return Outcome(metrics=(), artifacts=(work.artifact_json("figure.json", {"whole": True}),))

    monkeypatch.setattr(Knn, "run", draws)
    first, _ = execute(dataset, tmp_path, ["synthetic:noise"])
    monkeypatch.setattr(Knn, "run", dies)
    with pytest.raises(KeyboardInterrupt):
        execute(dataset, tmp_path, ["synthetic:noise"], only="all")
    store = Store(tmp_path)
    assert store.records() == first.records
    assert store.intact(first.records[0])
    assert store.artifact(first.records[0], "figure.json") == b'{"whole":true}'


def test_a_rerun_that_names_nothing_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="matches no cell"):
        execute(dataset, tmp_path, ["synthetic:noise"], rerun="*/knm")
    execute(dataset, tmp_path, ["synthetic:noise"])
    again, _ = execute(dataset, tmp_path, ["synthetic:noise"], rerun="*/knn")
    assert again.counts == {"done": 1}


def kept(root: Path) -> str:
    """Every text file of a store that people look at or hand on."""
    kinds = ("records", "scores", "artifacts", "exports")
    return "\n".join(path.read_text() for kind in kinds for path in (root / kind).rglob("*.json"))


def test_an_absolute_folder_stays_out_of_the_records_and_is_found_again(
    dataset: Dataset, checkpoint: Path, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    first, _ = execute(dataset, root, [f"rice:{checkpoint}"])
    assert str(tmp_path) not in kept(root)
    (record,) = first.records
    assert re.fullmatch(r"vit~[0-9a-f]{8}", record.cell.encoder.model)
    again, _ = execute(dataset, root, [f"rice:{checkpoint}/"])
    assert again.counts == {"reused": 1}
    # A folder of the same name elsewhere is another encoder.
    other = shutil.copytree(checkpoint, tmp_path / "elsewhere" / "vit")
    second, _ = execute(dataset, root, [f"rice:{other}"])
    assert second.counts == {"done": 1}
    assert second.records[0].cell.id != record.cell.id
    assert len(Store(root).records()) == 2


class Quoting(Knn):
    """Quotes paths wherever a probe can."""

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        home = "/home/me/data"
        if self.k == 1:
            raise FileNotFoundError(2, "No such file", f"{home}/x.png")
        if self.k == 2:
            raise UserError(f"cannot read {home}/y.png; export it again.")
        work.skip(f"{home}/z.png", f"cannot be read: '{home}/z.png'")
        return Outcome(metrics=(Metric(name="m", value=1, n=1),), assumptions=(f"{home}/list.txt gives the order.",))


def test_what_a_probe_quotes_names_no_path(dataset: Dataset, checkpoint: Path, tmp_path: Path) -> None:
    path = checkpoint / "encoder.json"
    body = json.loads(path.read_text())
    body["tags"] = {"command": "python -m train --data /home/me/data/coco --out=/home/me/out"}
    path.write_text(json.dumps(body))
    root = tmp_path / "store"
    summary, _ = execute(dataset, root, [f"rice:{checkpoint}"], (Quoting(k=1), Quoting(k=2), Quoting(k=3)))
    assert "/home/me" not in kept(root)
    unexpected, expected, done = summary.records
    assert "'x.png'" in str(unexpected.error)
    assert expected.error == "cannot read y.png; export it again."
    assert done.assumptions == ("list.txt gives the order.",)
    assert ("z.png", "cannot be read: 'z.png'") in [(skip.item, skip.reason) for skip in done.skipped]
    assert done.evidence is not None
    assert done.evidence.encoder_facts["command"] == "python -m train --data coco --out=out"


class Drawing(Knn):
    """Leaves an artifact."""

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        outcome = super().run(encoder, seed=seed, work=work)
        return outcome.model_copy(update={"artifacts": (work.artifact_json("figure.json", {"of": "today"}),)})


def test_a_record_under_a_typed_path_gets_the_name_of_today(
    dataset: Dataset, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, encoder = tmp_path / "store", f"rice:{checkpoint}"
    with monkeypatch.context() as before:
        before.setattr(EncoderSpec, "told", lambda self: self)
        old, _ = execute(dataset, root, [encoder], (Drawing(k=3),))
    assert old.records[0].cell.encoder.model == str(checkpoint)
    # What is shown names no path, though the store still has it.
    assert str(tmp_path) not in old.records[0].cell.encoder.title
    again, _ = execute(dataset, root, [encoder], (Drawing(k=3),))
    assert again.counts == {"reused": 1}
    store = Store(root)
    (record,) = store.records()
    assert record == again.records[0]
    assert record.metrics == old.records[0].metrics
    assert store.intact(record)
    assert store.artifact(record, "figure.json") == b'{"of":"today"}'
    assert str(tmp_path) not in kept(root)
    assert [path.name for kind in ("scores", "artifacts") for path in (root / kind).iterdir()] == [record.cell.id] * 2


def test_a_name_of_the_records_says_to_give_the_path(checkpoint: Path) -> None:
    name = EncoderSpec.parse(f"rice:{checkpoint}").title
    with pytest.raises(UserError, match="is how records call a folder"):
        load_encoder(EncoderSpec.parse(name))


def test_another_display_name_is_not_written_while_another_run_measures_the_cell(
    dataset: Dataset, checkpoint: Path, tmp_path: Path
) -> None:
    """To write it would remove the scores that the other is about to name."""
    first, _ = execute(dataset, tmp_path / "store", [f"first=rice:{checkpoint}"])
    store = Store(tmp_path / "store")
    (record,) = first.records
    coming = store.put_artifact(record.cell.id, "coming.json", b"{}")
    claims = Claims(tmp_path / "store" / "claims")
    with claims.taken(record.cell.id):
        renamed, _ = execute(dataset, tmp_path / "store", [f"second=rice:{checkpoint}"])
    assert renamed.counts == {"reused": 1}
    assert renamed.records[0].cell.encoder.name == "second"
    assert store.records() == [record]
    assert store.artifact(record.model_copy(update={"artifacts": (coming,)}), "coming.json") == b"{}"


@dataclass(frozen=True)
class Together(Stage):
    """Notes which trainings it may share its passes with."""

    k: int
    seen: ClassVar[list[list[int]]] = []

    @property
    def spec(self) -> StageSpec:
        return StageSpec(name="together", params={"k": self.k})

    def shares_with(self, other: Stage) -> bool:
        return True

    def train(self, encoder: Encoder, start: Path | None, out: Path, *, seed: int, work: StageWork) -> Curve:
        self.seen.append([other.stage.k for other in work.companions])  # type: ignore[attr-defined]
        (out / "made.txt").write_text(str(self.k))
        return []


@dataclass(frozen=True)
class Sharing(Knn):
    """Asks for one."""

    def stages(self, dataset: Dataset) -> tuple[Stage, ...]:
        return (Together(self.k),)

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        work.stage(work.stages[0])
        return Outcome(metrics=(Metric(name="m", value=1, n=1),))


def test_a_cell_that_another_run_has_claimed_shares_nothing_and_comes_last(dataset: Dataset, tmp_path: Path) -> None:
    plan = Plan.over((EncoderSpec.parse("synthetic:noise"),), (Sharing(k=1), Sharing(k=2), Sharing(k=3)), dataset)
    claims = Claims(tmp_path / "claims")
    theirs = plan.cells(plan.encoders[0])[0][0].id
    assert claims.take(theirs)
    threading.Timer(3, claims.give_back, [theirs]).start()
    summary = Runner(Store(tmp_path), Settings(), Progress(quiet=True)).run(plan)
    assert summary.counts == {"done": 3}
    assert [record.cell.probe.params["k"] for record in summary.records] == [2, 3, 1]
    assert Together.seen == [[3], [], []]


@dataclass(frozen=True)
class Hidden(Knn):
    """As a tracker over videos whose truth is a server's: it works for long, and then nothing can be said."""

    error: type[Exception] = NotApplicable

    @property
    def spec(self) -> ProbeSpec:
        return ProbeSpec(name="hidden", version=1)

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        work.folder.mkdir(parents=True)
        (work.folder / "state.json").write_text("{}")
        raise self.error("the truth is hidden")


def test_what_a_cell_kept_goes_when_it_is_finished_with_or_without_a_number(dataset: Dataset, tmp_path: Path) -> None:
    execute(dataset, tmp_path / "one", ["synthetic:noise"], (Hidden(),))
    assert list((tmp_path / "one" / "unfinished").glob("*")) == []
    execute(dataset, tmp_path / "two", ["synthetic:noise"], (Hidden(error=UserError),))
    assert len(list((tmp_path / "two" / "unfinished").glob("*"))) == 1


def test_memory_that_is_full_is_a_sentence_with_what_to_change(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 is full.")

    monkeypatch.setattr(Knn, "run", lambda *_, **__: full())
    summary, _ = execute(dataset, tmp_path / "a", ["synthetic:oracle"], (Knn(k=1),))
    assert "memory is full (CUDA out of memory. Tried to allocate 2 GiB); use a smaller --batch" in str(summary.errors)
    monkeypatch.undo()
    monkeypatch.setattr(Extractor, "_compute", full)
    summary, _ = execute(dataset, tmp_path / "b", ["synthetic:oracle"], (Knn(k=1),))
    assert "use a --batch smaller than " in str(summary.errors)
