"""Videos, conversations and expressions, each read by a layout of another package and measured by a probe, to a record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from probes.knn import Knn
from probes.tokens import Tokens
from rice_core.datasets import (
    Conversation,
    Dataset,
    Expression,
    Judge,
    KnownTrack,
    Region,
    Sample,
    Track,
    Turn,
    Video,
    layouts,
    reading,
)
from rice_core.datasets.describe import describe
from rice_core.datasets.layout import Sighting
from rice_core.datasets.listed import Frames
from rice_core.datasets.nouns import FRAMES_READ, Item
from rice_core.features import Encoder
from rice_core.measure.data import open_data
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.probe import Probe, Read, Work
from rice_core.progress import Progress
from rice_core.record import Metric, Outcome, Record
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeSpec
from rice_core.store import Store


@dataclass(frozen=True)
class Told:
    """Asked for by name alone."""

    layout: ClassVar[str]
    provides: ClassVar[str]

    def recognises(self, folder: Path) -> Sighting | None:
        return None

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        splits = {path.name: tuple(self.items(path)) for path in sorted(folder.iterdir()) if path.is_dir()}
        return Dataset(
            DatasetSpec(name=name, layout=self.layout, fingerprint="f"), (), splits, frozenset({self.provides})
        )

    def items(self, split: Path) -> Iterable[Item]:
        raise NotImplementedError


class Videos(Told):
    """SPLIT/VIDEO/K.jpg, groundtruth.txt (x,y,w,h a line, or absent) and cover.label."""

    layout, provides = "got10k", "videos"

    def items(self, split: Path) -> Iterable[Item]:
        for folder in sorted(split.iterdir()):
            rows = (folder / "groundtruth.txt").read_text().split()
            absent = np.array([row == "absent" for row in rows])
            boxes = np.array([[0.0] * 4 if row == "absent" else [float(x) for x in row.split(",")] for row in rows])
            cover = np.array((folder / "cover.label").read_text().split(), dtype=float)
            track = KnownTrack(Track(boxes, absent, {"cover": cover}, flagged=True))
            yield Video(f"{split.name}/{folder.name}", Frames(folder), track)


class Questions(Told):
    """SPLIT/questions.json and its images."""

    layout, provides = "questions", "conversations"

    def items(self, split: Path) -> Iterable[Item]:
        for k, entry in enumerate(json.loads((split / "questions.json").read_text())):
            turns = (Turn("user", f"<image> {entry['question']}"),)
            image = (split / entry["image"],)
            yield Conversation(f"{split.name}/{k}", turns, image, tuple(entry["answers"]), cluster=entry["image"])


class Referring(Told):
    """SPLIT/refs.json, its images, and masks as files or boxes."""

    layout, provides = "refer", "expressions"

    def items(self, split: Path) -> Iterable[Item]:
        for k, entry in enumerate(json.loads((split / "refs.json").read_text())):
            mask = split / entry["mask"] if "mask" in entry else Region(tuple(entry["box"]), 0)
            yield Expression(f"{split.name}/{k}", split / entry["image"], entry["text"], mask, cluster=entry["image"])


@dataclass(frozen=True)
class Counting:
    """Sums what it sees of each item of val."""

    kind: type[Any] = Video
    name: ClassVar[str] = "counting"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "a sum"
    needs: ClassVar[frozenset[str]] = frozenset()
    data: ClassVar[frozenset[str]] = frozenset()
    trains: ClassVar[bool] = False
    reads: ClassVar[tuple[Read, ...]] = ()

    @property
    def spec(self) -> ProbeSpec:
        return ProbeSpec(name=self.name, version=self.version, params={"kind": self.kind.__name__})

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        items = work.samples("val", self.kind)
        total = sum(seen(item) for item in items)
        clusters = len({item.cluster for item in items})
        return Outcome(
            metrics=(Metric(name="sum", value=total, n=len(items)), Metric(name="clusters", value=clusters, n=1))
        )


def seen(item: Item) -> float:
    match item:
        case Video():
            track = item.track()
            return float(len(item.frames) + track.boxes_T4[~track.absent_T, 2].sum() + track.flags["cover"].sum())
        case Conversation():
            return len(item.images) + len(item.turns) + 10 * len(item.answers)
        case Expression():
            mask = item.mask
            area = (
                (np.asarray(Image.open(mask)) > 0).sum()
                if isinstance(mask, Path)
                else mask.box_xywh[2] * mask.box_xywh[3]
            )
            return float(area)
    raise AssertionError(item)


def image(path: Path, grey: int, size: tuple[int, int] = (16, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(path)


def videos(folder: Path) -> None:
    for name, frames in (("a", 3), ("b", 40)):
        for k in range(frames):
            image(folder / "val" / name / f"{k}.png", 3 * k)
        (folder / "val" / name / "groundtruth.txt").write_text("1,2,5,6\nabsent\n2,2,7,6\n")
        (folder / "val" / name / "cover.label").write_text("8\n0\n8\n")


def questions(folder: Path) -> None:
    image(folder / "val" / "page.png", 40)
    asked = [("what?", ["red", "scarlet"]), ("how many?", ["2"])]
    body = [{"question": question, "image": "page.png", "answers": answers} for question, answers in asked]
    (folder / "val" / "questions.json").write_text(json.dumps(body))


def referring(folder: Path) -> None:
    image(folder / "val" / "street.png", 40)
    image(folder / "val" / "mask.png", 255, (4, 3))
    body = [{"text": "the left one", "image": "street.png", "mask": "mask.png"}]
    body.append({"text": "the right one", "image": "street.png", "box": [1, 1, 5, 4]})  # type: ignore[dict-item]
    (folder / "val" / "refs.json").write_text(json.dumps(body))


def rewrite(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "val" / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return change


Case = tuple[type[Told], type[Any], Callable[[Path], None], float, int, str, list[Callable[[Path], None]]]
CASES: dict[str, Case] = {
    "videos": (
        Videos,
        Video,
        videos,
        3 + 40 + 2 * 12 + 2 * 16,
        2,
        "2 val videos, 43 frames",
        [
            lambda folder: image(folder / "val" / "a" / "1.png", 99),
            lambda folder: image(folder / "val" / "b" / "39.png", 98),
            lambda folder: (folder / "val" / "b" / "21.png").rename(folder / "val" / "b" / "50.png"),
            rewrite("a/groundtruth.txt", "absent", "1,1,1,1"),
            rewrite("a/cover.label", "0", "7"),
        ],
    ),
    "conversations": (
        Questions,
        Conversation,
        questions,
        2 * 2 + 10 * 3,
        1,
        "2 val conversations",
        [
            lambda folder: image(folder / "val" / "page.png", 41),
            rewrite("questions.json", "scarlet", "crimson"),
            rewrite("questions.json", "what?", "who?"),
        ],
    ),
    "expressions": (
        Referring,
        Expression,
        referring,
        12 + 20,
        1,
        "2 val expressions",
        [
            lambda folder: image(folder / "val" / "mask.png", 254, (4, 3)),
            lambda folder: image(folder / "val" / "street.png", 41),
            rewrite("refs.json", "the left", "the far"),
            rewrite("refs.json", "[1, 1, 5, 4]", "[1, 1, 5, 5]"),
        ],
    ),
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The three layouts, as another package would install them."""
    kinds = {case[0].layout: case[0] for case in CASES.values()}
    ours, load = list(layouts().values()), EntryPoint.load
    new = [EntryPoint(name, f"other_package:{name}", "ricebench.layouts") for name in kinds]
    monkeypatch.setattr(reading, "entry_points", lambda group: [*ours, *new])
    monkeypatch.setattr(EntryPoint, "load", lambda point: kinds.get(point.name) or load(point))


def measured(folder: Path, layout: str, store: Path, *probes: Probe) -> list[Record]:
    plan = Plan.over((EncoderSpec.parse("synthetic:noise"),), probes, open_data(f"{folder}@{layout}", store))
    return Runner(Store(store), Settings(device="cpu"), Progress(quiet=True)).run(plan).records


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", CASES)
def test_items_of_another_kind_end_in_a_record(name: str, tmp_path: Path) -> None:
    reader, kind, make, total, clusters, said, _ = CASES[name]
    folder = tmp_path / "set"
    make(folder)
    record, images, knn, tokens = measured(
        folder, reader.layout, tmp_path / "store", Counting(kind), Counting(kind=Sample), Knn(), Tokens()
    )
    assert (record.status, [metric.value for metric in record.metrics]) == ("done", [total, clusters])
    assert record.cell.dataset.layout == reader.layout
    assert Record.model_validate_json(record.model_dump_json()) == record
    assert any("the bytes of 16 at most" in note for note in record.notes) == (kind is Video)
    assert images.error == f"the data set set has no images in its split 'val', only val (2 {name})"
    assert {each.status for each in (images, knn, tokens)} == {"not_applicable"}
    assert f"data set set ({reader.layout}): {said}" in list(describe(open_data(f"{folder}@{reader.layout}", tmp_path)))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("name", "change"), [(name, k) for name, case in CASES.items() for k in range(len(case[-1]))])
def test_whatever_changes_is_another_data_set(name: str, change: int, tmp_path: Path) -> None:
    reader, kind, make, *_, changes = CASES[name]
    folder = tmp_path / "set"
    make(folder)
    (first,) = measured(folder, reader.layout, tmp_path / "store", Counting(kind))
    (same,) = measured(folder, reader.layout, tmp_path / "store", Counting(kind))
    assert same == first
    changes[change](folder)
    (again,) = measured(folder, reader.layout, tmp_path / "store", Counting(kind))
    assert first.evidence is not None
    assert again.evidence is not None
    assert again.evidence.data != first.evidence.data


@pytest.mark.usefixtures("installed")
def test_items_are_limited_by_their_ids(tmp_path: Path) -> None:
    videos(tmp_path / "set")
    data = open_data(f"{tmp_path / 'set'}@got10k", tmp_path, limit=1)
    (video,) = data.splits["val"]
    assert video.id in {"val/a", "val/b"}
    assert list(data.samples("val")) == []


def test_frames_are_in_the_order_of_their_numbers_and_listed_when_asked_for(tmp_path: Path) -> None:
    frames = Frames(tmp_path / "clip")
    for k in (10, 9, 0, 100):
        image(tmp_path / "clip" / f"{k}.png", 0)
    (tmp_path / "clip" / "groundtruth.txt").write_text("")
    assert [path.name for path in frames] == ["0.png", "9.png", "10.png", "100.png"]
    assert (len(frames), frames[-1].name, [path.name for path in frames[:2]]) == (4, "100.png", ["0.png", "9.png"])
    assert frames == Frames(tmp_path / "clip")


def test_a_long_video_counts_by_frames_from_its_first_to_its_last(tmp_path: Path) -> None:
    nothing = KnownTrack(Track(np.zeros((0, 4)), np.zeros(0, bool)))
    frames = [Path(f"{k}.png") for k in range(100)]
    read = [int(path.stem) for path in Video("v", frames, nothing).files]
    assert len(read) == FRAMES_READ
    assert (read[0], read[-1]) == (0, 99)
    assert {b - a for a, b in pairwise(read)} <= {6, 7}
    assert [path.stem for path in Video("v", frames[:3], nothing).files] == ["0", "1", "2"]
    assert Video("v", [], nothing).files == ()
    assert Video("v", frames[:1], nothing).files == (frames[0],)
