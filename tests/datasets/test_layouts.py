"""Layouts are installed by entry point: one of another package is read like ours, and a broken one costs nobody anything."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image

from rice_core.datasets import Dataset, Judge, Sample, layouts, open_dataset, reading
from rice_core.datasets.layout import Sighting
from rice_core.errors import UserError
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
class Listed:
    """SPLIT.list names the images of a split, one a line with its class."""

    layout: str = "listed"

    def recognises(self, folder: Path) -> Sighting | None:
        return Sighting("sure", "lists of images") if list(folder.glob("*.list")) else None

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        lines = {path.stem: path.read_text().split("\n") for path in sorted(folder.glob("*.list"))}
        splits = {
            split: tuple(Sample(image, folder / image, label=int(k)) for image, k in map(str.split, filter(None, rows)))
            for split, rows in lines.items()
        }
        spec = DatasetSpec(name=name, layout=self.layout, fingerprint=str(sum(map(len, splits.values()))))
        return Dataset(
            spec, ("dark", "light"), splits, frozenset({"labels"}), notes=("the lists were written by hand",)
        )


class Raising(Listed):
    def recognises(self, folder: Path) -> Sighting | None:
        raise KeyError("splits")


@dataclass(frozen=True)
class Brightness:
    """Mean grey level of a split."""

    split: str = "testA"
    name: ClassVar[str] = "brightness"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "mean grey level"
    needs: ClassVar[frozenset[str]] = frozenset()
    data: ClassVar[frozenset[str]] = frozenset({"labels"})
    trains: ClassVar[bool] = False
    reads: ClassVar[tuple[Read, ...]] = ()

    @property
    def spec(self) -> ProbeSpec:
        return ProbeSpec(name=self.name, version=self.version, params={"split": self.split})

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        grey = [Image.open(sample.path).convert("L").getpixel((0, 0)) for sample in work.samples(self.split)]
        return Outcome(metrics=(Metric(name="grey", value=sum(grey) / len(grey), n=len(grey)),))


def install(monkeypatch: pytest.MonkeyPatch, **kinds: type | None) -> None:
    """Install further layouts by name; None is one whose package is gone."""
    ours, load = list(layouts().values()), EntryPoint.load
    new = [EntryPoint(name, f"no_such_package:{name}", "ricebench.layouts") for name in kinds]

    def entry_points(*, group: str) -> Iterable[EntryPoint]:
        return [*ours, *new]

    monkeypatch.setattr(reading, "entry_points", entry_points)
    monkeypatch.setattr(EntryPoint, "load", lambda point: kinds.get(point.name) or load(point))


def lists(folder: Path) -> Path:
    for split, greys in {"train": (10, 200), "testA": (20, 40), "testB": (90,)}.items():
        rows = []
        for k, grey in enumerate(greys):
            Image.new("RGB", (24, 24), (grey,) * 3).save(folder / f"{split}{k}.png")
            rows.append(f"{split}{k}.png {int(grey > 127)}")
        (folder / f"{split}.list").write_text("\n".join(rows) + "\n")
    return folder


def measured(data: Dataset, root: Path, *probes: Probe) -> list[Record]:
    plan = Plan.over((EncoderSpec.parse("synthetic:noise"),), probes, data)
    return Runner(Store(root), Settings(device="cpu"), Progress(quiet=True)).run(plan).records


def test_ours_are_entry_points_too() -> None:
    assert {"coco", "lvis", "class-folders"} <= set(layouts())
    assert list(layouts())[-1] == "photos"
    assert all(reading.load_reader(point).layout == name for name, point in layouts().items())


def test_a_layout_of_another_package_ends_in_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, listed=Listed)
    folder = lists(tmp_path)
    data = open_data(str(folder), tmp_path)
    assert data.spec == open_data(f"{folder}@listed", tmp_path).spec
    assert (data.spec.layout, {split: len(items) for split, items in data.splits.items()}) == (
        "listed",
        {"train": 2, "testA": 2, "testB": 1},
    )
    first, second = measured(data, tmp_path / "store", Brightness(), Brightness(split="val"))
    assert (first.status, [metric.value for metric in first.metrics]) == ("done", [30.0])
    assert first.notes == ("the lists were written by hand",)
    assert Record.model_validate_json(first.model_dump_json()) == first
    assert second.status == "not_applicable"
    assert second.error == (
        f"the data set {folder.name} has no images in its split 'val', only testA (2 images), testB (1 images), train (2 images)"
    )


def test_its_splits_are_limited_like_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, listed=Listed)
    few = open_data(str(lists(tmp_path)), tmp_path, limit=1)
    assert {split: len(items) for split, items in few.splits.items()} == {"train": 1, "testA": 1, "testB": 1}


def test_broken_layouts_are_named_and_cost_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, gone=None, raising=Raising)
    Image.new("RGB", (24, 24)).save(tmp_path / "a.png")
    data = open_dataset(tmp_path)
    assert data.spec.layout == "photos"
    assert "the layout gone (no_such_package:gone) cannot be loaded: ModuleNotFoundError" in data.saw
    assert "the layout listed fails on this folder: KeyError: 'splits'" in data.saw
    with pytest.raises(UserError, match=r"the layout gone .* cannot be loaded"):
        open_data(f"{tmp_path}@gone", tmp_path)
    Image.new("RGB", (24, 24)).save(tmp_path / "b.png")
    (tmp_path / "labels.csv").write_text("image,label\na.png,1\nb.png,0\n")
    with pytest.raises(UserError, match=r"holds labels in labels.csv.*; the layout gone .* cannot be loaded"):
        open_dataset(tmp_path)


def test_two_items_of_one_id_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Twice(Listed):
        def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
            data = super().open(folder, name=name, judge=judge)
            return replace(data, splits={split: (*items, items[0]) for split, items in data.splits.items()})

    install(monkeypatch, listed=Twice)
    with pytest.raises(UserError, match=r"the layout listed gives two items the id test"):
        open_dataset(lists(tmp_path))


def test_a_reader_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Listed):
        def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
            raise KeyError("boom")

    class Nothing(Listed):
        def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
            return None  # type: ignore[return-value]

    folder = lists(tmp_path)
    for kind, says in ((Failing, "the layout listed fails on .*KeyError: 'boom'; mend"), (Nothing, "makes a NoneType")):
        install(monkeypatch, listed=kind)
        with pytest.raises(UserError, match=says):
            open_dataset(folder)
