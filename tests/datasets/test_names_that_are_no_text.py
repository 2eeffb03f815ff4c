"""Folders whose names are bytes that are no text: read where a record can say it, refused by name where it cannot."""

import os
from pathlib import Path

import pytest
from PIL import Image

from rice_core.datasets import open_dataset
from rice_core.errors import UserError


def _draw(folder: Path, *classes: bytes) -> None:
    for name in classes:
        inside = folder / os.fsdecode(name)
        inside.mkdir(parents=True)
        for n in range(3):
            Image.new("RGB", (16, 16), (n, len(name), name[0])).save(inside / f"{n}.png")


def test_a_data_set_is_called_by_its_name_spelled_out(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"d\xff")
    _draw(folder, b"a", b"b")
    assert open_dataset(folder).spec.name == r"d\xff"


@pytest.mark.parametrize("classes", [(b"a", b"b", b"c\xff"), (b"c\xff", b"d\xfe")])
def test_a_class_without_a_name_is_refused(tmp_path: Path, classes: tuple[bytes, ...]) -> None:
    _draw(tmp_path, *classes)
    with pytest.raises(UserError, match=r"has a class c\\xff, whose name is no valid Unicode; rename"):
        open_dataset(tmp_path)
