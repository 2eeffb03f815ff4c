"""Annotation rows of videos, and which row is which frame's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rice_core.datasets.videos import rows
from rice_core.datasets.videos.fitting import Fit, fit
from rice_core.datasets.videos.rows import read_flags, read_rows
from rice_core.errors import UserError


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "walk" / "groundtruth.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3,4\n5,6,7,8.5\n",
        "1,2,3,4\n5,6,7,8.5",
        "1, 2, 3, 4\r\n5, 6, 7, 8.5\r\n",
        "1\t2\t3\t4\n5\t6\t7\t8.5\n\n\n",
        "1 2 3 4\n 5  6  7  8.5 \n",
        "1;2;3;4\n5; 6 ;7;8.5;\n",
        "1,2,3,4\n5\t6 7;8.5\n \n",
        "\ufeff1,2,3,4\n5.0,+6,7.,8.5e0\n",
    ],
)
def test_separators_make_no_difference(tmp_path: Path, text: str) -> None:
    assert read_rows(written(tmp_path, text)).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8.5]]


def test_one_row_is_a_table_and_nan_stays(tmp_path: Path) -> None:
    assert read_rows(written(tmp_path, "1,2,3,4")).shape == (1, 4)
    assert read_rows(written(tmp_path, "")).shape == (0, 4)
    np.testing.assert_array_equal(
        read_rows(written(tmp_path, "NaN,nan,NaN,NaN\n-455,0,-1,0\n")), [[np.nan] * 4, [-455, 0, -1, 0]]
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2,3,4\n1,2,3,4,5,6,7,8\n", "walk/groundtruth.txt has in row 2 8 numbers, a polygon as VOT has them"),
        ("1,2,3\n", "row 1 3 numbers; write x,y,w,h a line"),
        ("1,5;2,5;3;4\n", "row 1 6 numbers"),
        ("x,y,w,h\n1,2,3,4\n", "'x' in row 1, which is no number"),
        ("1,2,3,4\n\n1,2,3,4\n", "lacks a number in row 2"),
        ("1,,3,4\n", "lacks a number in row 1"),
        (",1,2,3\n", "lacks a number in row 1"),
        (",1,2,3,4\n", "lacks a number in row 1"),
        ("1_0,2,3,4\n", "'1_0' in row 1"),
        ("٣,2,3,4\n", "'٣' in row 1"),
        ("0x1,2,3,4\n", "'0x1' in row 1"),
        ("1\n0\n", "row 1 1 number, as a file of flags"),
        (b"\xff\xfe1\x00", "walk/groundtruth.txt cannot be read"),
    ],
)
def test_a_row_that_is_no_box_is_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(UserError) as caught:
        read_rows(written(tmp_path, text))
    assert said in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_flags_on_one_line_or_a_line_each(tmp_path: Path) -> None:
    for text in ("0,1,0\n", "0\n1\n0\n\n", "0 \n1 \n\n0", "0\t1 0"):
        assert read_flags(written(tmp_path, text)).tolist() == [0, 1, 0]


def fitted(numbers: Sequence[object], rows: int, first: int | None = None, hidden: bool = False) -> Fit:
    return fit("walk", [f"{number}.jpg" for number in numbers], rows, first=first, hidden=hidden)


def test_the_annotation_sets_the_length() -> None:
    """LaSOT has a test video with more images than rows, TNL2K has twelve with more rows than images."""
    for first in (1, None):
        more_images = fitted(range(1, 8), 5, first)
        assert (more_images.frames, more_images.rows) == (5, 5)
        assert more_images.over == ("2 frames past the annotation",)
        more_rows = fitted(range(1, 6), 7, first)
        assert (more_rows.frames, more_rows.rows) == (5, 5)
        assert more_rows.over == ("2 rows past the last frame",)
        assert fitted(range(1, 6), 5, first) == Fit(0, 5, 5)
    assert fitted(range(1, 7), 5).over == ("1 frame past the annotation",)


def test_frames_count_from_nought_or_from_anywhere() -> None:
    for first in (0, 1, None):
        assert fitted(range(12), 12, first) == Fit(0, 12, 12)
        assert fitted(range(100, 112), 12, first) == Fit(0, 12, 12)
    assert fitted(range(0, 60, 5), 12) == Fit(0, 12, 12)
    assert fitted(range(0, 60, 5), 10).frames == 10
    assert fitted(range(12), 9, first=1).over == ("3 frames past the annotation",)


@pytest.mark.parametrize(
    ("numbers", "rows", "first", "said"),
    [
        ([1, 2, 4, 5], 5, None, "walk has a gap: frame 3 is missing of 1 to 5"),
        ([1, 2, 4, 5], 5, 1, "frame 3 is missing"),
        ([0, 1, 3, 4], 5, 1, "frame 2 is missing of 0 to 4"),
        ([2, 3, 4, 5], 5, 1, "frame 1 is missing"),
        ([1, 2, 4, 5, 6], 5, 1, "frame 3 is missing"),
        ([1, 2, 6, 7], 7, None, "3 frames are missing, first 3"),
        ([0, 5, 15, 20], 5, None, "frame 10 is missing"),
        ([], 5, 1, "has no frames"),
        ([1, 2], 0, 1, "has no row"),
        (["a", "b", "c"], 2, None, "their names (a.jpg) do not say which is whose"),
        (["1", "01"], 3, None, "do not say"),
    ],
)
def test_where_rows_and_frames_cannot_be_matched(
    numbers: Sequence[object], rows: int, first: int | None, said: str
) -> None:
    with pytest.raises(UserError) as caught:
        fitted(numbers, rows, first)
    assert said in str(caught.value)


def test_gaps_past_the_annotation_and_irregular_names_of_the_right_number() -> None:
    assert fitted([1, 2, 3, 5], 3, first=1).frames == 3
    assert fitted([1, 2, 4, 5], 4) == Fit(0, 4, 4)
    assert fitted(["a", "b7", "c"], 3) == Fit(0, 3, 3)


def test_hidden_truth_is_one_row_for_all_frames() -> None:
    assert fitted(range(9), 1, first=0, hidden=True) == Fit(0, 9, 1)
    assert fitted(range(9), 1, first=0).frames == 1
    assert fitted(["a", "b"], 1, hidden=True) == Fit(0, 2, 1)
    assert fitted([1], 1, first=1, hidden=True) == Fit(0, 1, 1)
    with pytest.raises(UserError, match="frame 3 is missing"):
        fitted([1, 2, 4], 1, first=1, hidden=True)


def test_otb_david_begins_at_its_frame_300() -> None:
    found = fit("OTB/David", [f"{k:04}.jpg" for k in range(1, 771)], 471, first=None, hidden=True)
    assert (found.start, found.frames, found.rows) == (299, 471, 471)
    assert found.over == ("the 299 frames before frame 300, where OTB's annotation begins",)
    assert fit("Davida", [f"{k:04}.jpg" for k in range(1, 771)], 471, first=None, hidden=True).start == 0


def test_a_file_is_read_once_until_it_is_another_and_what_is_given_may_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, reads = tmp_path / "groundtruth.txt", list[Path]()
    monkeypatch.setattr(rows, "_MEMORY", rows._Memory(most=64))
    text = rows._text
    monkeypatch.setattr(rows, "_text", lambda path: reads.append(path) or text(path))
    path.write_text("1,2,3,4\n5,6,7,8\n")
    first = rows.read_rows(path)
    first[:] = 0
    assert rows.read_rows(path).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert len(reads) == 1
    path.write_text("1,2,3,5\n")
    assert rows.read_rows(path).tolist() == [[1, 2, 3, 5]]
    with pytest.raises(UserError, match="cannot be read"):
        rows.read_rows(tmp_path / "none.txt")
    for _ in range(2):  # the room is taken, so it is read each time
        reads.clear()
        assert rows.read_rows(path).tolist() == [[1, 2, 3, 5]]
        assert len(reads) == 1
    path.write_text("0\n1\n")
    assert rows.read_flags(path).tolist() == [0, 1]


@pytest.mark.parametrize(
    "text", ["1,2,3,4\n5,6,7", "1,2,3 4,5\n", "1,2,,4\n", "1_0,2,3,4\n", "1,2,3,4\n\n5,6,7,8\n", "1,2,3,\n4"]
)
def test_what_is_not_four_numbers_a_line_is_never_read_as_if_it_were(text: str) -> None:
    with pytest.raises(UserError, match=r"a\.txt"):
        rows.parsed_rows(text, "a.txt")
