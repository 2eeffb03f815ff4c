"""Trained on some data sets, judged on others: `--data train=FOLDER`, and what becomes of it in ids, digests and records."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from rice_core.datasets import Dataset, KnownTrack, Track, Video, data_digest, limit, only, training_sets
from rice_core.datasets.division import with_train
from rice_core.errors import UserError
from rice_core.light import LightProbe
from rice_core.measure import plan as planning
from rice_core.measure.bill import bill
from rice_core.measure.config import RunConfig, load_config
from rice_core.measure.data import open_data
from rice_core.measure.plan import Plan, plan_of
from rice_core.measure.roles import parted
from rice_core.measure.run import Runner, Settings
from rice_core.measure.summary import Summary
from rice_core.probe import untaught
from rice_core.progress import Progress
from rice_core.record import Cell, Outcome, Scores
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeSpec
from rice_core.stage import Stage, StageSpec
from rice_core.stats.estimates import metric_of
from rice_core.store import Store

TRAININGS: list[list[str]] = []
"""What each training of this module's stage was handed."""
GOLDEN = ("eb7cb2ffb93d3543c8b0", "3fa237c820de88c39ed7")


@dataclass(frozen=True)
class Reading(Stage):
    """Learns nothing but how many images there are."""

    datasets: tuple[Dataset, ...]

    @property
    def spec(self) -> StageSpec:
        return StageSpec(name="reading")

    @property
    def data(self) -> tuple[Dataset, ...]:
        return self.datasets

    def cost(self, encoder: Any, budget: Any, *, companions: int = 0) -> Any:
        from rice_core.budget import Passes

        return Passes(1, 8, "")

    def train(self, encoder: Any, start: Path | None, out: Path, *, seed: int, work: Any) -> list[dict[str, float]]:
        read = [f"{each.spec.name}: {', '.join(each.splits)} {len(each.splits['train'])}" for each in self.datasets]
        TRAININGS.append(read)
        (out / "read.json").write_text(json.dumps(read))
        return []


@dataclass(frozen=True)
class Taught(LightProbe):
    """Judged on val, trained elsewhere."""

    name: ClassVar[str] = "taught"
    summary: ClassVar[str] = "a probe that may learn elsewhere"

    def learns_from(self, dataset: Dataset) -> bool:
        return "labels" in dataset.provides

    def stages(self, dataset: Dataset) -> tuple[Stage, ...]:
        return (Reading(training_sets(dataset)),)

    def run(self, encoder: Any, *, seed: int, work: Any) -> Outcome:
        (stage,) = work.stages
        read = json.loads((work.stage(stage).folder / "read.json").read_text())
        ids = tuple(sample.id for sample in work.samples("val"))
        scores = Scores(sample=ids, cluster=ids, values={"sets": (float(len(read)),) * len(ids)})
        return Outcome(metrics=(metric_of(scores, "sets", unit="", better="higher"),), scores=scores)


@dataclass(frozen=True)
class Strict(Taught):
    """Its protocol allows the data set `own` alone."""

    name: ClassVar[str] = "strict"

    def learns_from(self, dataset: Dataset) -> bool:
        return dataset.spec.name == "own"


@dataclass(frozen=True)
class Untaught(LightProbe):
    name: ClassVar[str] = "plain"
    summary: ClassVar[str] = "learns nothing"


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probes of this module, and a data set `held` that has no train split."""
    TRAININGS.clear()
    monkeypatch.setattr(planning, "open_data", _open)
    kinds = {kind.name: kind() for kind in (Taught, Strict, Untaught)}
    monkeypatch.setattr(planning, "build_probes", lambda asked, files: [kinds[each.name] for each in asked])


def _open(text: str, *given: Any, **more: Any) -> Dataset:
    if text == "clips":
        return clips(Path(text))
    dataset = open_data(text, *given, **more)
    return replace(dataset, splits={"val": dataset.splits["val"]}) if text == "held" else dataset


def clips(folder: Path, n: int = 10) -> Dataset:
    """Videos of one frame that nobody has divided."""
    frames = sorted(folder.rglob("*.png"))[:n]
    truth = KnownTrack(Track(np.ones((1, 4)), np.zeros(1, bool), {}, False))
    videos = tuple(Video(id=f"clip-{k}", frames=(path,), truth=truth) for k, path in enumerate(frames))
    spec = DatasetSpec(name="clips", layout="videos", fingerprint="c" * 20)
    return Dataset(spec, (), {"all": videos}, frozenset({"labels", "videos"}))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a folder of images by class below the working directory."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, *splits: str, images: int = 6) -> Path:
        for split in splits or ("train", "val"):
            for k in range(images):
                path = tmp_path / name / split / ("red" if k % 2 else "blue") / f"{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                seed = sum(map(ord, f"{name}{split}")) * 100 + k
                pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(path)
        return tmp_path / name

    return make


def asked(root: Path, *data: str, probes: tuple[str, ...] = ("taught",), **more: Any) -> Plan:
    return plan_of(RunConfig(encoders=("random-weights",), probes=probes, data=data, **more), Store(root))


def measure(root: Path, *data: str, **more: Any) -> Summary:
    return Runner(Store(root), Settings(), Progress(quiet=True)).run(asked(root, *data, **more))


def told(plan: Plan) -> list[tuple[str, str]]:
    return [(probe.name, dataset.spec.title) for probe, dataset in plan.pairs]


def test_ids_of_what_was_asked_before_stand() -> None:
    """Recorded before a data set knew what was learnt from."""
    cell = Cell(
        encoder=EncoderSpec.parse("synthetic:noise"),
        probe=ProbeSpec(name="knn", version=1, params={"k": 3}),
        dataset=DatasetSpec(name="photos", layout="coco", fingerprint="f" * 20),
    )
    assert (cell.id, cell.comparable) == GOLDEN
    assert "learnt_from" not in cell.model_dump_json()
    other = cell.dataset.model_copy(update={"learnt_from": (cell.dataset,)})
    moved = cell.model_copy(update={"dataset": other})
    assert moved.id != cell.id
    assert moved.comparable != cell.comparable
    assert Cell.model_validate_json(moved.model_dump_json()) == moved


def test_one_training_serves_all_that_are_judged(folder: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a", "b", "judged", "other"):
        folder(name)
    store = tmp_path / "store"
    summary = measure(store, "train=b,train=a,judged,other")
    assert summary.counts == {"done": 2}
    assert [r.cell.dataset.title for r in summary.records] == ["judged, learnt from a + b", "other, learnt from a + b"]
    assert TRAININGS == [["a: train 6", "b: train 6"]]
    assert len({r.cell.comparable for r in summary.records}) == 2
    assert measure(store, "other,train=a,judged,train=b").counts == {"reused": 2}
    # Learnt elsewhere it is another measurement, and without train= it is the own train split.
    alone = measure(store, "judged")
    assert alone.counts == {"done": 1}
    assert TRAININGS[1:] == [["judged: train 6"]]
    assert alone.records[0].cell.comparable != summary.records[0].cell.comparable
    assert alone.records[0].cell.dataset.title == "judged"
    assert measure(store, "train=judged,judged").counts == {"reused": 1}


def test_new_bytes_of_what_was_learnt_from_make_it_another_number(folder: Callable[..., Path], tmp_path: Path) -> None:
    folder("a"), folder("judged")
    store = tmp_path / "store"
    before = measure(store, "train=a,judged").records[0]
    image = next((tmp_path / "a" / "train").rglob("*.png"))
    same_size = image.read_bytes()
    image.write_bytes(same_size[:-1] + bytes([same_size[-1] ^ 1]))
    again = measure(store, "train=a,judged")
    assert again.counts == {"done": 1}
    (after,) = again.records
    assert after.cell.id == before.cell.id
    assert after.evidence
    assert before.evidence
    assert after.evidence.new_since(before.evidence) == "data and training"
    assert len(TRAININGS) == 2


def test_a_protocol_takes_what_it_allows(folder: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a", "own", "judged"):
        folder(name)
    probes = ("taught", "strict")
    plan = asked(tmp_path / "store", "train=own,train=a,judged,strict=own", probes=probes)
    # What strict does not take is no part of it; its own set is what it would learn from without being told.
    assert told(plan) == [("taught", "judged, learnt from a + own"), ("strict", "own")]
    assert told(asked(tmp_path / "store", "train=own,train=a,judged", probes=probes)) == [
        ("taught", "judged, learnt from a + own"),
        ("strict", "judged, learnt from own"),
    ]
    lines = [*plan.described()]
    assert "  taught learns from a + own" in lines
    assert "  strict learns from its own train split" in lines
    assert sum(line.startswith("data set a (") for line in lines) == 1
    assert sum(line.startswith("data set own (") for line in lines) == 1


@pytest.mark.parametrize(
    ("words", "probes", "said"),
    [
        (
            "train=a,judged",
            ("strict",),
            "--data train=a is for no probe here: strict cannot learn from it; leave it out.",
        ),
        ("train=a,judged", ("plain",), "--data train=a: none of these probes is called 'train'"),
        ("train=held,judged", ("taught",), "--data train=held has no train split; give a folder that has one"),
        ("train=a", ("taught",), "taught: no --data is for it; add --data taught=FOLDER"),
        ("train=,judged", ("taught",), "--data train=: the folder is missing"),
        ("tran=a,judged", ("taught",), "did you mean train?"),
    ],
)
def test_what_cannot_be_learnt_from_is_one_sentence(
    words: str, probes: tuple[str, ...], said: str, folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder("a"), folder("judged"), folder("held")
    with pytest.raises(UserError) as error:
        asked(tmp_path / "store", words, probes=probes)
    assert said in str(error.value)


def test_without_anything_to_learn_from_the_record_and_the_bill_say_so(
    folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder("held")
    store = tmp_path / "store"
    from rice_core.budget import Budget

    plan = asked(store, "held")
    assert any(
        line.endswith("not applicable: no train split; add --data train=FOLDER to learn from that")
        for line in bill(plan, Store(store), Budget(1 << 30, 1 << 30))
    )
    (record,) = measure(store, "held").records
    assert record.status == "not_applicable"
    assert record.error == (
        "taught learns from a train split, which the data set held does not have; add --data train=FOLDER to learn from that"
    )
    folder("a")
    assert measure(store, "held,train=a").counts == {"done": 1}


def test_a_limit_is_one_of_what_is_learnt_from_too(folder: Callable[..., Path], tmp_path: Path) -> None:
    folder("a", images=20), folder("judged")
    (record,) = measure(tmp_path / "store", "train=a,judged", limit=4).records
    assert TRAININGS == [["a: train 4"]]
    assert record.taints[0] == "limit 4"
    a, judged = (open_data(name, tmp_path) for name in ("a", "judged"))
    few = limit(replace(judged, learnt_from=(a,)), 4)
    assert [len(each.splits["train"]) for each in (few, *few.learnt_from)] == [4, 4]


def test_a_split_that_nobody_divided_is_learnt_from_as_a_whole(folder: Callable[..., Path], tmp_path: Path) -> None:
    folder("a"), folder("judged")
    a, judged = (open_data(name, tmp_path) for name in ("a", "judged"))
    whole = replace(a, splits={"all": a.splits["train"]})
    (made,) = training_sets(replace(judged, learnt_from=(whole,)))
    assert made == replace(only(a, "train"), saw=made.saw)
    # What is judged and not divided is never learnt from.
    assert training_sets(replace(judged, splits={"all": judged.splits["val"]}))[0].splits == {}


def test_a_training_is_told_by_its_data_alone(folder: Callable[..., Path], tmp_path: Path) -> None:
    folder("a"), folder("judged")
    a, judged = (open_data(name, tmp_path) for name in ("a", "judged"))
    taught = replace(
        judged, spec=judged.spec.model_copy(update={"learnt_from": (a.spec,)}), learnt_from=(a,), skipped=()
    )
    assert only(taught, "train").spec == only(judged, "train").spec
    assert only(taught, "val").learnt_from == ()
    assert taught.alone.spec == judged.spec
    assert data_digest(taught) == data_digest(judged)


def test_what_was_left_out_of_what_is_learnt_from_is_counted(folder: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a", "judged"):
        place = folder(name) / "train"
        shutil.copy(place / "red" / "1.png", place / "loose.png")
    a = open_data("a", tmp_path)
    (record,) = measure(tmp_path / "store", "train=a,judged").records
    assert [skip.item for skip in a.skipped] == ["train/loose.png"]
    assert [skip.item for skip in record.skipped] == ["train/loose.png", "a/train/loose.png"]


def test_notes_of_what_is_learnt_from_are_in_the_record(
    folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder("a"), folder("judged")

    def noted(text: str, *given: Any, **more: Any) -> Dataset:
        return replace(open_data(text, *given, **more), notes=("of every set", f"of {text}"))

    monkeypatch.setattr(planning, "open_data", noted)
    (record,) = measure(tmp_path / "store", "train=a,judged").records
    assert record.notes == ("of every set", "of judged", "a: of a")


def test_what_is_judged_and_learnt_from_too_is_said(folder: Callable[..., Path], tmp_path: Path) -> None:
    a, judged = folder("a"), folder("judged")
    shutil.copy(judged / "val" / "red" / "1.png", a / "train" / "red" / "copy.png")
    shutil.copy(judged / "val" / "red" / "3.png", a / "val" / "red" / "copy.png")  # nobody learns from that
    (record,) = measure(tmp_path / "store", "train=a,judged").records
    assert [note for note in record.notes if "learnt" in note] == [
        "1 of 6 images in val are learnt from too, byte for byte, such as val/red/1.png, which is train/red/copy.png of a: numbers over val are "
        "too high"
    ]


def test_videos_are_divided_where_they_are_all_that_is_to_be_learnt_from(
    folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder("clips"), folder("a")
    store = tmp_path / "store"
    ((_, dataset),) = asked(store, "clips").pairs
    assert {split: len(items) for split, items in dataset.splits.items()} == {"train": 8, "val": 2}
    assert dataset.spec.fingerprint != "c" * 20
    assert dataset.notes == (
        "Train and val were divided here: 2 of 10 videos are val, by the order of their hashed names; nothing says that some show one scene",
    )
    # Whoever learns elsewhere, or nothing at all, is judged on all of them.
    for data, probe in (("clips,train=a", "taught"), ("clips", "plain")):
        ((_, dataset),) = asked(store, data, probes=(probe,)).pairs
        assert [*dataset.splits] == ["all"]
    # And given to be learnt from they all are.
    ((_, dataset),) = asked(store, "a,train=clips").pairs
    assert len(training_sets(dataset)[0].splits["train"]) == 10


def test_one_video_cannot_be_divided(folder: Callable[..., Path], tmp_path: Path) -> None:
    one = clips(folder("clips"), 1)
    assert with_train(one) == one
    assert untaught(Taught(), one)


def test_a_long_reading_is_said(folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rice_core.measure import hashed

    folder("a", images=20), folder("judged")
    monkeypatch.setattr(hashed, "_MANY", 40)
    said: list[str] = []
    monkeypatch.setattr(Progress, "say", lambda self, line: said.append(line))
    measure(tmp_path / "store", "train=a,judged")
    assert [line for line in said if "digest" in line] == [
        "data set a: reading what is new of 40 images for its digest"
    ]


def test_commas_part_words_and_no_names(folder: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a", "b", "my,photos", "b,c", "x=1,y"):
        folder(name)
    cases = {
        "train=a,train=b,a": ["train=a", "train=b", "a"],
        "a, b": ["a", "b"],
        "a, my,photos , b?groups=/(x,y)/ , a": ["a", "my,photos", "b?groups=/(x,y)/", "a"],
        "my,photos": ["my,photos"],
        "train=my,photos,b": ["train=my,photos", "b"],
        "b,c": ["b,c"],
        "a,b,c@photos,train=b": ["a", "b,c@photos", "train=b"],
        "./b,c,./a": ["./b,c", "./a"],
        f"{tmp_path}/my,photos,a": [f"{tmp_path}/my,photos", "a"],
        "x=1,y,a": ["x=1,y", "a"],
        "a?groups=/^(.{1,3})/,b": ["a?groups=/^(.{1,3})/", "b"],
        "one=my,photos?groups=/([a,b])/c,d/,two=b?groups=none,b": [
            "one=my,photos?groups=/([a,b])/c,d/",
            "two=b?groups=none",
            "b",
        ],
        "nowhere,neither": ["nowhere", "neither"],
        "": [""],
    }
    assert {text: parted([text]) for text in cases} == cases
    assert parted([*cases]) == [word for words in cases.values() for word in words]


def test_a_configuration_has_the_same_words(folder: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a", "b", "judged"):
        folder(name)
    titles = []
    for data in ('"train=b,train=a,judged"', '[train=b, "train=a,judged"]'):
        path = tmp_path / "run.yaml"
        path.write_text(f"encoders: [random-weights]\nprobes: [taught]\ndata: {data}\n")
        titles.append(told(plan_of(load_config(path), Store(tmp_path / "store"))))
    assert titles == [[("taught", "judged, learnt from a + b")]] * 2
