"""Files are read once, and again when their size or one of their times says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rice_core.datasets import known_files
from rice_core.datasets.known_files import KnownFiles
from rice_core.digest import file_digest


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read."""
    seen: list[Path] = []

    def spied(path: Path) -> str:
        seen.append(path)
        return file_digest(path)

    monkeypatch.setattr(known_files, "file_digest", spied)
    monkeypatch.setattr(known_files, "_SETTLED", -1)
    return seen


def test_a_file_is_read_once(tmp_path: Path, read: list[Path]) -> None:
    image, place = tmp_path / "a.jpg", tmp_path / "known.json"
    image.write_bytes(b"one")
    for _ in range(2):
        known = KnownFiles(place)
        assert known.digest(image) == file_digest(image)
        known.save()
    assert read == [image]


def test_other_bytes_of_the_same_size_and_time_are_read_again(tmp_path: Path, read: list[Path]) -> None:
    image, known = tmp_path / "a.jpg", KnownFiles(tmp_path / "known.json")
    image.write_bytes(b"one")
    first, stat = known.digest(image), image.stat()
    image.write_bytes(b"two")
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert image.stat().st_mtime_ns == stat.st_mtime_ns
    assert known.digest(image) != first
    assert len(read) == 2


def test_a_file_of_just_now_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[Path]
) -> None:
    monkeypatch.setattr(known_files, "_SETTLED", 60_000_000_000)
    image, known = tmp_path / "a.jpg", KnownFiles(tmp_path / "known.json")
    image.write_bytes(b"one")
    assert known.digest(image) == known.digest(image)
    assert len(read) == 2
    known.save()
    assert not (tmp_path / "known.json").exists()


def test_what_is_damaged_is_read_again(tmp_path: Path, read: list[Path]) -> None:
    image, place = tmp_path / "a.jpg", tmp_path / "known.json"
    image.write_bytes(b"one")
    known = KnownFiles(place)
    known.digest(image)
    known.save()
    place.write_bytes(place.read_bytes().replace(file_digest(image).encode(), b"0" * 64))
    assert KnownFiles(place).digest(image) == file_digest(image)
    place.rename(tmp_path / "other.json")
    assert KnownFiles(tmp_path / "other.json").digest(image) == file_digest(image)
    assert len(read) == 3
