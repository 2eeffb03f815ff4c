"""Result files of trackers as people have them, what servers take, and `ricebench evaluate tracking`."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rice_core.cli import main
from rice_core.datasets import KnownTrack, Track, Video
from rice_core.errors import UserError
from tracking.results import names_of, read_results, rounded, rows_of
from tracking.submissions import faults_of, write_submission

BOXES = np.array([[10.125, 20.5, 40, 30], [11, 21, 40, 30], [np.nan, 1, 2, 3], [12.0004, 22, 40.9996, 30]])


def video(key: str, frames: int = 4) -> Video:
    track = Track(np.tile([1.0, 2, 3, 4], (frames, 1)), np.zeros(frames, bool))
    return Video(key, [Path(f"{k}.jpg") for k in range(frames)], KnownTrack(track))


def text(separator: str) -> str:
    return "".join(separator.join(str(value) for value in row) + "\r\n" for row in BOXES.tolist())


@pytest.mark.parametrize("separator", [",", "\t", " ", ";", ", "])
def test_rows_are_read_whatever_parts_them_and_nan_stays(tmp_path: Path, separator: str) -> None:
    (tmp_path / "a.txt").write_text("\ufeff" + text(separator) + "\n\n")
    (result,) = read_results(tmp_path, [video("a")]).results
    np.testing.assert_array_equal(result.boxes_T4, BOXES)


def test_folders_archives_and_repetitions_are_found_by_the_videos_names(tmp_path: Path) -> None:
    videos = [video("airplane-1"), video("val/GOT_001"), video("TEST/x_001"), video("TEST/x")]
    (tmp_path / "r" / "GOT_001").mkdir(parents=True)
    for name in ("airplane-1.txt", "GOT_001/GOT_001_001.txt", "GOT_001/GOT_001_002.txt", "x_001.txt", "x.txt"):
        (tmp_path / "r" / name).write_text(text(","))
    (tmp_path / "r" / "GOT_001" / "GOT_001_time.txt").write_text("0.1\n")
    (tmp_path / "r" / "notes.txt").write_text("mine\n")
    with zipfile.ZipFile(tmp_path / "r.zip", "w") as archive:
        for path in sorted((tmp_path / "r").rglob("*.txt")):
            archive.write(path, f"deep/{path.relative_to(tmp_path / 'r')}")
        archive.writestr("__MACOSX/deep/._x.txt", "junk")
    for place in ("r", "r.zip"):
        found = read_results(tmp_path / place, videos)
        assert [(each.video, each.repetition) for each in found.results] == [
            ("airplane-1", 1),
            ("val/GOT_001", 1),
            ("val/GOT_001", 2),
            ("TEST/x_001", 1),
            ("TEST/x", 1),
        ]
        assert [(Path(skip.item).name, skip.reason) for skip in found.skipped] == [
            ("notes.txt", "is for no video of the data set")
        ]


def test_videos_of_one_name_are_told_by_their_folders(tmp_path: Path) -> None:
    videos = [video("one/car"), video("two/car")]
    assert [*names_of(videos)] == ["one/car", "two/car"]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "car.txt").write_text(text(","))
    found = read_results(tmp_path, videos)
    assert [each.video for each in found.results] == ["one/car"]
    assert [skip.item for skip in found.skipped] == ["two/car"]


def test_what_is_no_result_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder of text files and no \.zip"):
        read_results(tmp_path / "nothing", [video("a")])
    with pytest.raises(UserError, match=r"holds no \.txt file"):
        read_results(tmp_path, [video("a")])
    for tracker in ("A", "B"):
        (tmp_path / tracker).mkdir()
        (tmp_path / tracker / "a.txt").write_text(text(","))
    with pytest.raises(UserError, match="holds a twice, in A and in B; give the folder of one tracker"):
        read_results(tmp_path, [video("a")])
    with pytest.raises(UserError, match="no results for any of the 1 videos"):
        read_results(tmp_path / "A", [video("b")])
    (tmp_path / "A" / "a.txt").write_text("1,2,3\n")
    found = read_results(tmp_path / "A", [video("a")])
    assert (found.results, [skip.item for skip in found.skipped]) == ((), ["a.txt"])


def test_what_is_written_reads_back_to_the_rounded_numbers(tmp_path: Path) -> None:
    boxes = np.random.default_rng(0).uniform(-50, 2000, (500, 4))
    (tmp_path / "a.txt").write_text(rows_of(rounded(boxes)))
    (result,) = read_results(tmp_path, [video("a", 500)]).results
    np.testing.assert_allclose(result.boxes_T4, rounded(boxes), rtol=0, atol=1e-12)


@pytest.mark.parametrize("server", ["got10k", "trackingnet", "toolkit"])
def test_a_submission_is_whole_and_finds_each_slip(tmp_path: Path, server: str) -> None:
    videos = {each.id: each for each in (video("test/a"), video("test/b", 2))}
    boxes = {"test/a": BOXES, "test/b": BOXES[:2]}
    seconds = {key: np.full(len(rows), 0.01) for key, rows in boxes.items()}
    with pytest.raises(UserError, match="test/a has 4 rows, 1 of them no numbers, for 4 frames"):
        write_submission(server, tmp_path / "s", videos, boxes, seconds)
    boxes["test/a"] = np.nan_to_num(BOXES)
    with pytest.raises(UserError, match="test/b has 1 rows, 0 of them no numbers, for 2 frames"):
        write_submission(server, tmp_path / "s", videos, boxes | {"test/b": BOXES[:1]}, seconds)
    place = write_submission(server, tmp_path / "s", videos, boxes, seconds)
    assert faults_of(server, place, videos) == ()
    assert len(read_results(place, [*videos.values()]).results) == 2
    if server != "toolkit":
        first = place.read_bytes()
        assert write_submission(server, tmp_path / "s", videos, boxes, seconds).read_bytes() == first
    more = videos | {"test/c": video("test/c")}
    fault = faults_of(server, place, more)[0]
    assert (Path(fault.item).name[0], fault.reason.split(":")[0]) == ("c", "is missing")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1 2 3 4", "what is no number between commas"),
        ("1\t2\t3\t4", "what is no number between commas"),
        ("x,y,w,h", "what is no number between commas"),
        ("1,2,nan,4", "not 4 finite numbers"),
        ("1,2,3", "not 4 finite numbers"),
        ("1,2,3,4\n1,2,3,4", "has 3 rows for 2 frames"),
    ],
)
def test_what_a_server_would_fail_on_without_a_word_is_told(tmp_path: Path, row: str, said: str) -> None:
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr("v.txt", f"1,2,3,4\n{row}\n")
    (fault,) = faults_of("trackingnet", tmp_path / "s.zip", {"TEST/v": video("TEST/v", 2)})
    assert said in fault.reason


def test_a_flat_archive_is_flat_and_times_are_asked_for(tmp_path: Path) -> None:
    for name in ("in/v.txt", "v/v_001.txt"):
        with zipfile.ZipFile(tmp_path / f"{name[0]}.zip", "w") as archive:
            archive.writestr(name, "1,2,3,4\n1,2,3,4\n")
    one = {"v": video("v", 2)}
    faults = faults_of("trackingnet", tmp_path / "i.zip", one)
    assert [fault.item for fault in faults] == ["v.txt", "in/v.txt"]
    assert "in no folder" in faults[1].reason
    (fault,) = faults_of("got10k", tmp_path / "v.zip", one)
    assert fault.item == "v/v_time.txt"
    for server, said in (("got10k", "is no .zip and no folder"), ("toolkit", "is no folder, and MATLAB reads one")):
        with pytest.raises(UserError, match=said):
            faults_of(server, tmp_path / "none.zip", one)  # type: ignore[arg-type]


@pytest.mark.parametrize("separator", [",", "\t", " "])
def test_matlab_reads_what_ostrack_writes(tmp_path: Path, separator: str) -> None:
    rows = f"{separator.join('1234')}\n"
    (tmp_path / "v.txt").write_text(rows * 2)
    (tmp_path / "v_time.txt").write_text("0.1\n" * 2)
    assert faults_of("toolkit", tmp_path, {"v": video("v", 2)}) == ()
    (tmp_path / "v.txt").write_text(rows + "1;2;3;4\n")
    (fault,) = faults_of("toolkit", tmp_path, {"v": video("v", 2)})
    assert "in row 2 what is no number between" in fault.reason


def damaged(place: Path, how: str) -> Path:
    """An archive of a.txt and b.txt whose a.txt cannot be read."""
    with zipfile.ZipFile(place, "w") as archive:
        for name in "ab":
            archive.writestr(f"{name}.txt", "1,2,3,4\n" * 4)
    content = bytearray(place.read_bytes())
    first = content.find(b"PK\x01\x02")
    if how == "bytes":
        content[len("a.txt") + 30] ^= 1
    elif how == "encrypted":
        content[6] |= 1
        content[first + 8] |= 1
    else:  # packed as zipfile cannot, as Windows does with large files (Deflate64)
        content[8] = content[first + 10] = 9
    place.write_bytes(content)
    return place


@pytest.mark.parametrize("how", ["bytes", "encrypted", "Deflate64"])
def test_what_of_an_archive_cannot_be_read_is_named(tmp_path: Path, how: str) -> None:
    place = damaged(tmp_path / "r.zip", how)
    videos = {name: video(name) for name in "ab"}
    found = read_results(place, [*videos.values()])
    assert ([each.video for each in found.results], [skip.item for skip in found.skipped]) == (["b"], ["a.txt"])
    (fault,) = faults_of("trackingnet", place, videos)
    assert (fault.item, "cannot be read" in fault.reason) == ("a.txt", True)


def test_a_video_may_be_called_as_files_of_times_are(tmp_path: Path) -> None:
    for name in ("play_time.txt", "play_time_time.txt", "other_time.txt"):
        (tmp_path / name).write_text(text(","))
    found = read_results(tmp_path, [video("play_time")])
    assert ([each.file for each in found.results], found.skipped) == (["play_time.txt"], ())


@pytest.fixture
def lasot(tmp_path: Path) -> Path:
    """Two test videos of ten frames, one with Example A of the traps: absent in two frames, once negative on x."""
    for key in ("airplane-1", "airplane-9"):
        folder = tmp_path / "LaSOT" / "airplane" / key
        (folder / "img").mkdir(parents=True)
        for k in range(10):
            Image.new("RGB", (100, 80)).save(folder / "img" / f"{k + 1:08d}.jpg")
        rows = [[10, 20, 40, 30] for _ in range(10)]
        flags = [0] * 10
        if key == "airplane-1":
            rows[3] = rows[4] = [0, 0, 0, 0]
            rows[7] = [0, 20, 40, 30]
            flags[3] = flags[4] = 1
        (folder / "groundtruth.txt").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
        (folder / "full_occlusion.txt").write_text(",".join(map(str, flags)))
        (folder / "out_of_view.txt").write_text(",".join("0" * 10))
    return tmp_path / "LaSOT"


def evaluated(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "tracking", *words])
    out, err = capsys.readouterr()
    return int(str(ended.value.code or 0)), out, err


def test_anyones_files_are_judged_in_every_dialect(
    tmp_path: Path, lasot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "R").mkdir()
    for key in ("airplane-1", "airplane-9"):
        source = (lasot / "airplane" / key / "groundtruth.txt").read_text()
        (tmp_path / "R" / f"{key}.txt").write_text(source.replace(",", "\t"))
    where = (f"--results={tmp_path / 'R'}", f"--data={lasot}")
    code, out, err = evaluated(capsys, *where, "--dialect", "all", "-f", "json")
    numbers = {(each["dialect"], each["metric"], each["video"]): each["value"] for each in json.loads(out)["numbers"]}
    assert code == 0, err
    one = {name: numbers[name, "success", "airplane-1"] for name in ("lasot", "pytracking", "ostrack")}
    assert one == pytest.approx({"lasot": 66.6667, "pytracking": 66.6667, "ostrack": 76.1905}, abs=1e-4)
    assert numbers["lasot", "precision", "airplane-1"] == pytest.approx(80)
    assert numbers["lasot", "success, perfect tracker", None] == numbers["lasot", "success", None]
    code, out, _ = evaluated(capsys, *where, "-f", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {row["dialect"] for row in rows} == {"lasot"}
    assert "2 of the 280 videos of lasot test" in evaluated(capsys, *where)[1]


def test_attributes_have_numbers_of_their_own_where_the_toolkits_files_are_there(
    tmp_path: Path, lasot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "R").mkdir()
    (lasot / "annos" / "att").mkdir(parents=True)
    for key, attributes in {"airplane-1": "1,1", "airplane-9": "1,0"}.items():
        source = (lasot / "airplane" / key / "groundtruth.txt").read_text()
        (tmp_path / "R" / f"{key}.txt").write_text(source)
        (lasot / "annos" / "att" / f"{key}.txt").write_text(f"{attributes},{','.join('0' * 12)}\n")
    where = (f"--results={tmp_path / 'R'}", f"--data={lasot}")
    code, out, err = evaluated(capsys, *where, "-f", "json")
    numbers = {each["metric"]: each["value"] for each in json.loads(out)["numbers"] if each["video"] is None}
    assert code == 0, err
    assert numbers["success, IV"] == numbers["success"]
    assert "success, POC" not in numbers  # One video is no attribute of the data set.
    assert "IV" not in evaluated(capsys, *where)[1]
    assert "success, IV" in evaluated(capsys, *where, "--all")[1]


def test_a_mean_over_fewer_videos_has_to_be_asked_for(
    tmp_path: Path, lasot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "R").mkdir()
    (tmp_path / "R" / "airplane-1.txt").write_text("10,20,40,30\n" * 12)
    (tmp_path / "R" / "airplane-9.txt").write_text("10,20,40,30\n" * 5)
    where = (f"--results={tmp_path / 'R'}", f"--data={lasot}")
    code, _, err = evaluated(capsys, *where)
    assert (code, "airplane-9.txt has 5 rows for 10 frames" in err, "partial=yes" in err) == (2, True, True)
    code, out, err = evaluated(capsys, *where, "--partial", "yes")
    assert (code, "1 of the 280 videos" in out, "1 files have more rows" in err) == (3, True, True)
    code, out, _ = evaluated(capsys, *where, "--check")
    assert code == 3
    assert "did you mean lasot" in evaluated(capsys, *where, "--dialect", "lasott")[2]


def test_a_check_counts_videos_and_not_their_files(
    lasot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.mat").write_text("")
    words = ("--results", str(tmp_path / "empty"), "--data", str(lasot), "--server", "got10k")
    code, _, error = evaluated(capsys, *words, "--check")
    assert (code, "no entry of" in error) == (1, True)
    code, _, error = evaluated(capsys, *words)
    assert (code, "judges nothing; write --check" in error) == (2, True)


def toolkit(place: Path, kind: str, names: list[str]) -> Path:
    """Example A of the traps as a toolkit has it, in each of the videos."""
    boxes = place / "annos" / ("annos/gt_rect" if kind == "tnl2k" else "")
    for folder in (boxes, absent := boxes.parent / "absent" if kind == "tnl2k" else boxes / "absent"):
        folder.mkdir(parents=True, exist_ok=True)
    rows = ["10,20,40,30"] * 3 + ["0,0,0,0"] * 2 + ["10,20,40,30"] * 2 + ["0,20,40,30"] + ["10,20,40,30"] * 2
    for name in names:
        (boxes / f"{name}.txt").write_text("\n".join(rows) + "\n")
        (absent / f"{name}.txt").write_text("0\n" * 3 + "1\n" * 2 + "0\n" * (6 if kind == "tnl2k" else 5))
        (place / "results").mkdir(exist_ok=True)
        (place / "results" / f"{name}.txt").write_text("\n".join(rows).replace(",", "\t") + "\n")
    return place


@pytest.mark.parametrize(
    ("kind", "names", "numbers"),
    [
        ("lasot", ["airplane-1", "airplane-9"], {"lasot": (66.6667, 80, 80), "pytracking": (66.6667, 70, 80), "ostrack": (76.1905, 80, 80)}),
        ("tnl2k", ["advSamp_monitor_bikeyellow"], {"lasot": (66.6667, 80, 80), "pytracking": (66.6667, 70, 100), "ostrack": (76.1905, 80, 100)}),
    ],
)  # fmt: skip
def test_a_toolkits_annotations_are_enough_to_judge(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    names: list[str],
    numbers: dict[str, tuple[float, ...]],
) -> None:
    place = toolkit(tmp_path / "toolkit", kind, names)
    for data in (place, place / "annos"):
        words = ("--results", str(place / "results"), "--data", str(data))
        code, out, error = evaluated(capsys, *words, "--dialect", "all", "--format", "json")
        assert (code, "annotations alone" in error, "got10k clips boxes" in error) == (0, True, True)
        found = json.loads(out)
        assert f"({kind}), test" in found["data"]
        values = {(row["dialect"], row["metric"]): row["value"] for row in found["numbers"] if row["video"] is None}
        for dialect, expected in numbers.items():
            metrics = ("success", "precision", "norm_precision")
            assert [values[dialect, metric] for metric in metrics] == pytest.approx(expected, abs=1e-4), dialect
        assert evaluated(capsys, *words, "--server", "toolkit", "--check")[0] == 0
    (place / "results" / f"{names[0]}.txt").write_text("1,2,3,4\n" * 9)
    code, _, error = evaluated(capsys, *words, "--server", "toolkit", "--check")
    assert "has 9 rows for 10 frames" in error


def test_what_of_the_truth_is_left_out_is_told(lasot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r").mkdir()
    for name in ("airplane-1", "airplane-9"):
        (tmp_path / "r" / f"{name}.txt").write_text("10,20,40,30\n" * 10)
    (lasot / "airplane" / "airplane-9" / "img" / "00000004.jpg").unlink()
    (lasot / "airplane" / "airplane-1" / "out_of_view.txt").unlink()
    for more in ((), ("--check",), ("--check", "--server", "toolkit")):
        _, _, error = evaluated(capsys, "--results", str(tmp_path / "r"), "--data", str(lasot), *more)
        assert "note: of the data set is left out: airplane-9: has a gap: frame 4 is missing" in error, more
        assert "note: 1 videos have not both of" in error, more
        assert "digest" not in error


@pytest.mark.parametrize(("row", "told"), [("10,20,50,50", True), ("9,19,40,30", True), ("10.6,20.4,40.9,30", False)])
def test_files_that_do_not_begin_with_the_true_box_are_counted(
    lasot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str, told: bool
) -> None:
    """Corners and another origin are judged as they stand, and make no fault in any toolkit."""
    (tmp_path / "r").mkdir()
    for name, first in (("airplane-1", row), ("airplane-9", "10,20,40,30")):
        (tmp_path / "r" / f"{name}.txt").write_text(f"{first}\n" + "10,20,40,30\n" * 9)
    for more in ((), ("--check",)):
        _, _, error = evaluated(capsys, "--results", str(tmp_path / "r"), "--data", str(lasot), *more)
        said = f"1 of 2 files do not begin with the true box, with which trackers begin (airplane-1: {row}, true 10,20,40,30)"
        assert (said in error) == told
