"""Layouts, splits, fingerprints, digests and limits of data sets that are not COCO, and of all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from rice_core.datasets import data_digest, file_digests, limit, open_dataset
from rice_core.digest import file_digest
from rice_core.errors import UserError


def fill(folder: Path, *names: str) -> Path:
    """Tiny images, each of another colour."""
    for k, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (k % 256, 7, 7)).save(folder / name)
    return folder


def ids(dataset: object, split: str) -> list[str]:
    return [sample.id for sample in dataset.splits[split]]  # type: ignore[attr-defined]


def test_class_folders_with_splits(tmp_path: Path) -> None:
    fill(tmp_path, "train/b/1.png", "train/a/2.png", "val/a/3.jpg", "val/c/deep/4.png", "test/a/5.png", "notes/a/6.png")
    dataset = open_dataset(tmp_path)
    assert (dataset.spec.layout, dataset.spec.name) == ("class-folders", tmp_path.name)
    assert dataset.classes == ("a", "b", "c")
    assert ids(dataset, "train") == ["train/a/2.png", "train/b/1.png"]
    assert [(s.id, s.label) for s in dataset.splits["val"]] == [("val/a/3.jpg", 0), ("val/c/deep/4.png", 2)]
    assert dataset.provides == {"labels"}
    assert {s.item for s in dataset.skipped} == {"test", "notes"}


def test_class_folders_without_splits_have_val_images_in_every_class(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{c}/{k}.png" for c in "abcdefgh" for k in range(5)))
    dataset = open_dataset(tmp_path)
    assert len(dataset.splits["train"]) == 32
    assert [sample.label for sample in dataset.splits["val"]] == list(range(8))
    assert not set(ids(dataset, "train")) & set(ids(dataset, "val"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_one_split_alone_is_divided(tmp_path: Path, split: str) -> None:
    fill(tmp_path, *(f"{split}/{c}/{k}.png" for c in "ab" for k in range(10)))
    assert {name: len(part) for name, part in open_dataset(tmp_path).splits.items()} == {"train": 16, "val": 4}


def test_a_test_split_stands_in_for_val(tmp_path: Path) -> None:
    fill(tmp_path, "train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png")
    assert ids(open_dataset(tmp_path), "val") == ["test/a/3.png", "test/b/4.png"]


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "val/a/1.png", "valid/a/2.png")
    with pytest.raises(UserError, match="two val folders"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("a.png", "b.jpg"),
        ("holiday/a.png", "holiday/b.png"),
        ("loose.png", "a/1.png", "b/2.png"),
        ("train/1.png", "val/2.png"),
    ],
)
def test_photos_have_no_labels(tmp_path: Path, names: tuple[str, ...]) -> None:
    dataset = open_dataset(fill(tmp_path, *names))
    assert dataset.spec.layout == "photos"
    assert dataset.provides == frozenset()
    assert dataset.classes == ()
    assert ids(dataset, "val") == sorted(names)


@pytest.mark.parametrize("n", [1, 4, 50])
def test_photos_are_not_divided(tmp_path: Path, n: int) -> None:
    """Nothing is trained on them, so nothing has to be held back."""
    dataset = open_dataset(fill(tmp_path, *(f"{k}.png" for k in range(n))))
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {"val": n}


def test_hidden_and_other_files_are_passed_over_and_a_dead_link_is_listed(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", ".hidden.png", ".cache/b.png")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "dead.png").symlink_to(tmp_path / "nowhere.png")
    dataset = open_dataset(tmp_path)
    assert ids(dataset, "val") == ["a.png"]
    assert [(s.item, s.reason) for s in dataset.skipped] == [("dead.png", "is no file that can be opened")]


def test_a_name_of_broken_bytes_is_listed(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    try:
        shutil.copy(tmp_path / "a.png", os.fsencode(tmp_path) + b"/\xff.png")
    except OSError:
        pytest.skip("this file system takes no such name")
    dataset = open_dataset(tmp_path)
    assert "Unicode" in dataset.skipped[0].reason
    assert data_digest(dataset)


def test_nothing_is_decoded_when_a_folder_is_opened(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    assert len(open_dataset(tmp_path).splits["val"]) == 1


@pytest.mark.parametrize("make", ["missing", "file", "empty", "text"])
def test_a_folder_that_cannot_be_used_says_what_to_give(tmp_path: Path, make: str) -> None:
    folder = tmp_path / "x"
    if make == "file":
        folder.write_text("x")
    elif make != "missing":
        folder.mkdir()
        if make == "text":
            (folder / "a.txt").write_text("x")
    with pytest.raises(UserError, match="give"):
        open_dataset(folder)


def test_the_fingerprint_and_the_digest_do_not_know_where_they_are(tmp_path: Path) -> None:
    one = fill(tmp_path / "one", *(f"{c}/{k}.png" for c in "ab" for k in range(6)))
    shutil.copytree(one, tmp_path / "far/away")
    a, b = open_dataset(one, name="x"), open_dataset(tmp_path / "far/away", name="x")
    assert a.spec == b.spec
    assert data_digest(a) == data_digest(b)
    assert {k: [s.id for s in v] for k, v in a.splits.items()} == {k: [s.id for s in v] for k, v in b.splits.items()}


def test_the_fingerprint_sees_names_sizes_and_labels_and_the_digest_sees_bytes(tmp_path: Path) -> None:
    folder = fill(tmp_path / "x", *(f"{c}/{k}.png" for c in "ab" for k in range(6)))
    before = open_dataset(folder)
    digest, files = data_digest(before), file_digests(before)
    data = bytearray((folder / "a/0.png").read_bytes())
    data[-20] ^= 1
    (folder / "a/0.png").write_bytes(data)
    flipped = open_dataset(folder)
    assert flipped.spec == before.spec
    assert data_digest(flipped) != digest
    assert [name for name, now in file_digests(flipped).items() if now != files[name]] == ["a/0.png"]
    seen = {before.spec.fingerprint}
    (folder / "a/0.png").write_bytes(data + b"0")
    seen.add(open_dataset(folder).spec.fingerprint)
    (folder / "a/0.png").rename(folder / "a/9.png")
    seen.add(open_dataset(folder).spec.fingerprint)
    (folder / "b").rename(folder / "c")
    seen.add(open_dataset(folder).spec.fingerprint)
    assert len(seen) == 4


def test_file_digests_are_of_the_bytes_and_survive_a_lost_file(tmp_path: Path) -> None:
    dataset = open_dataset(fill(tmp_path, "a.png", "b.png"))
    files = file_digests(dataset)
    assert files == {name: file_digest(tmp_path / name) for name in ("a.png", "b.png")}
    assert data_digest(dataset) == data_digest(dataset, files)
    (tmp_path / "b.png").unlink()
    assert file_digests(dataset)["b.png"] == "unreadable"
    assert data_digest(dataset) != data_digest(dataset, files)


def test_limit_takes_classes_in_turn(tmp_path: Path) -> None:
    folder = fill(tmp_path, *(f"train/{c}/{k}.png" for c in "abcd" for k in range(9)), "val/a/1.png", "val/b/1.png")
    dataset = open_dataset(folder)
    few = limit(dataset, 8)
    assert sorted(sample.label for sample in few.splits["train"]) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len(few.splits["val"]) == 2
    assert few.spec == dataset.spec
    assert ids(few, "train") == sorted(ids(few, "train"))
    # A smaller limit is a part of a larger one, so that cached features serve both.
    assert set(ids(limit(dataset, 5), "train")) < set(ids(few, "train"))
    assert limit(dataset, 1000) == dataset


def test_limit_of_photos_goes_by_hash_and_not_by_name(tmp_path: Path) -> None:
    dataset = open_dataset(fill(tmp_path, *(f"{k:02}.png" for k in range(50))))
    few = ids(limit(dataset, 10), "val")
    assert few != ids(dataset, "val")[:10]
    assert len(few) == 10


def test_no_torch_is_imported() -> None:
    code = "import sys, rice_core.datasets, rice_core.images, rice_core.world.layouts.coco; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_fingerprint_of_class_folders_is_what_it_was(tmp_path: Path) -> None:
    """Records are keyed by it."""
    for name in ("train/a/1.png", "train/b/1.png", "val/a/2.png", "val/b/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    assert open_dataset(tmp_path, name="x").spec.fingerprint == "3a4df2b0ded3978bfea7"
