"""What was read and what was left out is said: by plan and run, and in records without a number too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probes.knn import Knn
from probes.tokens import Tokens
from rice_core.cli import main
from rice_core.datasets import open_dataset
from rice_core.features import Encoder
from rice_core.left_out import because, left_out
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.probe import Probe, Work
from rice_core.progress import Progress
from rice_core.record import Outcome, Record, Skipped
from rice_core.spec import EncoderSpec
from rice_core.store import Store


def ricebench(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def noise(path: Path, seed: int, hw: tuple[int, int] = (48, 32), **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*hw, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)


def record_of(folder: Path, store: Path, probe: Probe) -> Record:
    plan = Plan.over((EncoderSpec.parse("synthetic:noise"),), (probe,), open_dataset(folder, name="x"))
    return Runner(Store(store), Settings(), Progress(quiet=True)).run(plan).records[0]


@pytest.fixture
def turned(tmp_path: Path) -> Path:
    """Ten photographs of a phone, stored as 48 x 32 and shown as 32 x 48, with the sizes and boxes of what is stored."""
    folder, exif = tmp_path / "turned", Image.Exif()
    exif[0x0112] = 6
    for k in range(10):
        noise(folder / "images" / f"{k}.jpg", k, hw=(32, 48), exif=exif)
    images = [{"id": k, "file_name": f"{k}.jpg", "width": 48, "height": 32} for k in range(10)]
    boxes = [{"id": k, "image_id": k, "category_id": k % 2, "bbox": [20, 2, 20, 20]} for k in range(10)]
    body = {"images": images, "annotations": boxes, "categories": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]}
    (folder / "annotations").mkdir()
    (folder / "annotations/instances_all.json").write_text(json.dumps(body))
    return folder


def test_a_record_without_a_number_says_what_was_left_out(turned: Path, tmp_path: Path) -> None:
    record = record_of(turned, tmp_path / "store", Knn(k=3))
    assert record.status == "not_applicable"
    assert len(record.skipped) == 8
    assert {skip.reason for skip in record.skipped} == {"is 32x48 pixels, annotated as 48x32"}
    assert record.error == (
        "classification needs at least two classes, and the train split has 0; 8 things were left out, as "
        f"{record.skipped[0].item}: is 32x48 pixels, annotated as 48x32"
    )


class Failing(Knn):
    """A probe that fails after it has read its images."""

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        work.items(encoder, "train")
        raise self.error

    error: Exception = ZeroDivisionError("division by zero")


@pytest.mark.parametrize("unforeseen", [True, False])
def test_a_failed_record_says_what_was_left_out(turned: Path, tmp_path: Path, unforeseen: bool) -> None:
    from rice_core.errors import UserError

    class Failed(Failing):
        error = ZeroDivisionError("division by zero") if unforeseen else UserError("It cannot be.")

    record = record_of(turned, tmp_path / "store", Failed(k=3))
    assert record.status == "failed"
    assert len(record.skipped) == 8


def test_labels_that_were_all_left_out_are_said(turned: Path, tmp_path: Path) -> None:
    path = turned / "annotations/instances_all.json"
    body = json.loads(path.read_text())
    for box in body["annotations"]:
        box["bbox"][2] = 0
    path.write_text(json.dumps(body))
    record = record_of(turned, tmp_path / "store", Knn(k=3))
    assert record.error is not None
    assert "knn needs labels, which the data set x does not have; 10 things were left out, as" in record.error
    assert "has a box without area" in record.error
    assert len(record.skipped) == 10


def test_run_says_why_nothing_came_out_when_quiet_too(
    turned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("run", "-e", "synthetic:noise", "-p", "knn", "--data", turned, "--store", tmp_path / "store")
    for again in ("measured", "reused"):
        assert ricebench(*words, "-q") == 1, again
        said = capsys.readouterr().err
        assert "not applicable: synthetic:noise / knn: classification needs" in said, again
        assert "left out: 8 times, first images/" in said
    ricebench(*words)
    assert "[1/1] synthetic:noise / knn: not applicable: classification needs" in capsys.readouterr().err
    (turned / "images/lost.jpg").symlink_to("nowhere")
    path = turned / "annotations/instances_all.json"
    body = json.loads(path.read_text())
    body["images"].append(body["images"][0] | {"id": 99, "file_name": "lost.jpg"})
    path.write_text(json.dumps(body))
    ricebench(*words)
    said = capsys.readouterr().err
    assert "data set turned (coco): 8 train, 2 val images, 2 classes" in said
    assert "annotations/instances_all.json; there is no val split, so 2 of 10 images are val" in said
    assert "classes: a, b" in said
    assert said.count("has no file 'lost.jpg'") == 1  # not again at the end
    assert said.count("is 32x48 pixels, annotated as 48x32") == 2  # in the cell's own line, and in the count


def test_run_is_quiet_where_something_came_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for k in range(4):
        noise(tmp_path / "photos" / f"{k}.png", k)
    (tmp_path / "photos/empty.png").touch()
    words = (
        "-e",
        "synthetic:noise",
        "-p",
        "knn,tokens?recipe=mini",
        "--data",
        tmp_path / "photos",
        "--store",
        tmp_path,
    )
    assert ricebench("run", *words, "-q") == 0
    assert capsys.readouterr().err == ""
    assert ricebench("run", *words, "--only", "all") == 0
    said = capsys.readouterr().err
    assert "data set photos (photos): 5 val images, 0 classes" in said
    assert "left out: empty.png: is empty (0 bytes)" in said


def test_plan_says_what_the_folder_was_read_as(
    turned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (turned / "images/3.jpg").unlink()
    assert ricebench("plan", "-e", "hf:no/where", "-p", "knn", "--data", turned, "--store", tmp_path) == 0
    said = capsys.readouterr().out
    assert "data set turned (coco)" in said
    assert "  left out: annotations/instances_all.json: image 3: has no file '3.jpg'" in said
    with pytest.raises(SystemExit) as stop:
        main(["plan", "-e", "hf:no/where", "-p", "knn", "--data", f"{turned}@class-folders", "--store", str(tmp_path)])
    assert stop.value.code == 0
    assert "data set turned (class-folders)" in capsys.readouterr().out


def test_twins_are_said_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("train/a/1", 1), ("train/a/2", 2), ("train/b/1", 3), ("val/a/1", 1), ("val/b/1", 4)):
        noise(tmp_path / "set" / f"{name}.png", seed)
    words = ("run", "-e", "synthetic:noise", "-p", "knn?k=1", "--data", tmp_path / "set", "--store", tmp_path / "store")
    assert ricebench(*words) == 0
    note = "1 of 2 images in val is in train too, byte for byte, such as val/a/1.png and train/a/1.png: numbers over val are too high"
    assert f"note: {note}" in capsys.readouterr().err
    (record,) = Store(tmp_path / "store").records()
    assert record.notes == (note,)
    assert ricebench("show", record.cell.id, "--store", tmp_path / "store") == 0
    assert note in capsys.readouterr().out


def test_a_record_of_an_older_store_has_no_notes() -> None:
    assert Record.model_fields["notes"].default == ()


# -- photographs are not divided ---------------------------------------------------------------------------------------


@pytest.fixture
def four(tmp_path: Path) -> Path:
    for k in range(4):
        noise(tmp_path / "four" / f"cat{k}.jpg", k)
    return tmp_path / "four"


def test_tokens_takes_all_photographs_and_colours_them_in_one_basis(four: Path, tmp_path: Path) -> None:
    record = record_of(four, tmp_path / "store", Tokens(recipe="mini"))
    assert record.metrics[0].n == 4
    body = json.loads(Store(tmp_path / "store").artifact(record, "tokens.json") or b"")
    assert [Path(name).name for name in body["pca"]["images"]] == [f"cat{k}.jpg" for k in range(4)]


@dataclass(frozen=True)
class OfTrain(Tokens):
    """A probe that needs no labels and yet a train split."""

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        work.items(encoder, "train")
        raise AssertionError("there is a train split")


def test_a_probe_that_needs_train_is_not_applicable(four: Path, tmp_path: Path) -> None:
    record = record_of(four, tmp_path / "store", OfTrain(recipe="mini"))
    assert (record.status, record.error) == (
        "not_applicable",
        "the data set x has no images in its split 'train', only val (4 images)",
    )


# -- the lines themselves ----------------------------------------------------------------------------------------------


def test_reasons_of_one_kind_are_counted_together() -> None:
    skipped = [
        Skipped(item="a.png", reason="is 3x4 pixels, annotated as 4x3"),
        Skipped(item="x.json: image 1", reason="has no file 'one.png'"),
        Skipped(item="b.png", reason="is 30x40 pixels, annotated as 40x30"),
        Skipped(item="c.png", reason="is empty"),
        Skipped(item="b.png", reason="is 30x40 pixels, annotated as 40x30"),
        Skipped(item="x.json: image 2", reason="has no file 'two.png'"),
        Skipped(item="x.json: image 3", reason="has no file 'three.png'"),
    ]
    assert list(left_out(skipped)) == [
        "left out: 3 times, first x.json: image 1: has no file 'one.png'",
        "left out: 2 times, first a.png: is 3x4 pixels, annotated as 4x3",
        "left out: c.png: is empty",
    ]
    assert list(left_out(skipped, most=1))[1:] == ["left out: 3 more for 2 other reasons; the records list them all"]
    assert because(skipped) == "; 6 things were left out, 3 of them as x.json: image 1: has no file 'one.png'"
    assert because(skipped[:1]) == "; 1 thing was left out, as a.png: is 3x4 pixels, annotated as 4x3"
    assert because([]) == ""


def test_lines_that_count_are_summed() -> None:
    """COCO has a line of crowd regions a file: what matters is how many regions, not how many files."""
    reason = "are neither objects nor background"
    skipped = [Skipped(item=f"{n}.png", reason="is empty") for n in range(3)]
    skipped += [Skipped(item=f"{n}.json: {n} crowd regions", reason=reason, times=n) for n in (5, 8)]
    assert list(left_out(skipped)) == [
        "left out: 3 times, first 0.png: is empty",
        f"left out: 13 in all, first 5.json: 5 crowd regions: {reason}",
    ]
    assert list(left_out(skipped[3:4])) == [f"left out: 5.json: 5 crowd regions: {reason}"]
    assert because(skipped) == "; 16 things were left out, 3 of them as 0.png: is empty"
    assert because(skipped[3:]) == f"; 13 things were left out, as 5.json: 5 crowd regions: {reason}"
    assert list(left_out([*reversed(skipped)], most=0)) == [
        "left out: 16 more for 2 other reasons; the records list them all"
    ]
    # A record of before counts once.
    assert Skipped.model_validate({"item": "a", "reason": "b"}).times == 1
