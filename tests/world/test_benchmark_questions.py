"""The miniature benchmarks are read by `datasets` and by lmms-eval's own tasks as the published ones are."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from mllm.evaluate.columns import BENCHMARKS
from rice_core.world.layouts.questions import TABLES, question_jobs

pytest.importorskip("pyarrow")
COUNT = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("questions")
    for job in question_jobs(0, COUNT, 96):
        job.write(out)
    return out


def rows(folder: Path, task: str) -> list[dict]:
    import pyarrow.parquet as pq

    benchmark = BENCHMARKS[task]
    (kind,) = [
        each
        for each in TABLES
        if (each.repository, each.split) == (benchmark.repository, benchmark.split)
        and benchmark.config in (None, each.config)
    ]
    return pq.read_table(folder / kind.repository / kind.file).to_pylist()


def test_there_is_a_table_for_every_task_of_lmms_eval() -> None:
    drawn = Counter((kind.repository, kind.split) for kind in TABLES)
    assert drawn == Counter((each.repository, each.split) for each in BENCHMARKS.values())
    named = {(kind.repository, kind.config) for kind in TABLES}
    assert {(each.repository, each.config) for each in BENCHMARKS.values() if each.config} <= named


def test_the_same_numbers_give_the_same_bytes_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    again = [job.write(tmp_path / "again") for job in question_jobs(0, COUNT, 96)]
    for drawn in again:
        for name in drawn.files:
            assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    other = [job.write(tmp_path / "other") for job in question_jobs(1, COUNT, 96)]
    assert not {each.pixels for each in again} & {each.pixels for each in other}


@pytest.mark.parametrize("task", BENCHMARKS)
def test_every_question_has_a_picture_of_the_size_asked_for(folder: Path, task: str) -> None:
    found = rows(folder, task)
    assert len(found) >= 6
    for row in found:
        assert Image.open(io.BytesIO(row["image"]["bytes"])).size == (96, 96)
        assert row["question"]


def test_no_picture_is_in_two_tables(folder: Path) -> None:
    seen: dict[bytes, str] = {}
    for task in BENCHMARKS:
        for row in rows(folder, task):
            assert seen.setdefault(row["image"]["bytes"], task) == task


def test_questions_come_in_the_pairs_and_rotations_that_scorers_count_on(folder: Path) -> None:
    mme = rows(folder, "mme")
    pairs = Counter(row["question_id"] for row in mme)
    assert set(pairs.values()) == {2}
    assert len({row["category"] for row in mme}) == 14
    assert Counter(row["answer"] for row in mme) == {"Yes": len(pairs), "No": len(pairs)}
    assert Counter(row["answer"] for row in rows(folder, "pope")) == {"yes": COUNT // 2, "no": COUNT // 2}
    assert len({row["l2_category"] for row in rows(folder, "mmstar")}) == 18
    turns = Counter(row["index"] % 1_000_000 for row in rows(folder, "mmbench_en_dev_static"))
    assert set(turns.values()) <= {2, 3, 4}
    assert max(turns.values()) == 4
    for row in rows(folder, "mmbench_en_dev_static"):
        assert row[row["answer"]] != "nan"


@pytest.mark.parametrize("task", BENCHMARKS)
def test_datasets_opens_it_by_the_name_that_lmms_eval_gives(folder: Path, task: str, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    benchmark = BENCHMARKS[task]
    place = str(folder / benchmark.repository)
    split = datasets.load_dataset(place, benchmark.config, split=benchmark.split, cache_dir=str(tmp_path))
    assert len(split) == len(rows(folder, task))
    assert split[0]["image"].size == (96, 96)  # decoded, so the column is known to be pictures
