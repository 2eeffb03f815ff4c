"""Benchmarks of a folder are found, counted and read in the row order of `datasets`, however they were fetched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mllm.evaluate.columns import BENCHMARKS
from mllm.evaluate.tables import TableQuestions, asked_rows, find_tables, picture_bytes
from mllm.readers.llava import LlavaLayout
from rice_core.datasets import limit, only, open_dataset
from rice_core.errors import UserError
from rice_core.world.layouts.questions import question_jobs

pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tables")
    for job in question_jobs(0, 12, 48):
        job.write(out)
    return out


def move(drawn: Path, folder: Path, repository: str, to: str) -> Path:
    shutil.copytree(drawn / repository, folder / to)
    return folder / to


def test_every_benchmark_is_a_split_and_none_is_read_to_be_counted(drawn: Path) -> None:
    dataset = open_dataset(drawn, reader=LlavaLayout())
    assert set(dataset.splits) == set(BENCHMARKS)
    assert dataset.provides == {"questions"}
    questions = dataset.splits["mme"]
    assert len(questions) == 28
    assert (questions[3].id, questions[-1].id) == ("mme/00003", "mme/00027")
    assert questions[0].files == (drawn / "lmms-lab-encoder/MME/data/test-00000-of-00001.parquet",)


@pytest.mark.parametrize(
    "place",
    [
        "lmms-lab/DocVQA",
        "DocVQA",
        "datasets--lmms-lab-encoder--DocVQA/snapshots/0f1e",
        "datasets--lmms-lab--DocVQA/snapshots/9a",
    ],
)
def test_a_repository_is_found_by_all_names_that_it_is_put_under(drawn: Path, tmp_path: Path, place: str) -> None:
    put = move(drawn, tmp_path, "lmms-lab-encoder/DocVQA", place)
    found = find_tables(tmp_path)
    assert set(found) == {"docvqa_val", "infovqa_val"}
    assert found["docvqa_val"] == (put / "DocVQA/validation-00000-of-00001.parquet",)


def test_two_places_for_one_repository_are_a_sentence(drawn: Path, tmp_path: Path) -> None:
    for place in ("DocVQA", "lmms-lab/DocVQA"):
        move(drawn, tmp_path, "lmms-lab-encoder/DocVQA", place)
    with pytest.raises(UserError, match=r"would both be infovqa_val; keep one of them"):
        find_tables(tmp_path)


def test_without_a_readme_files_are_found_by_their_names_and_a_split_that_was_not_fetched_is_none(
    drawn: Path, tmp_path: Path
) -> None:
    put = move(drawn, tmp_path, "lmms-lab-encoder/DocVQA", "DocVQA")
    (put / "README.md").unlink()
    assert set(find_tables(tmp_path)) == {"docvqa_val", "infovqa_val"}
    shutil.rmtree(put / "InfographicVQA")
    assert set(find_tables(tmp_path)) == {"docvqa_val"}


def test_a_benchmark_of_which_a_file_is_missing_is_no_smaller_one(drawn: Path, tmp_path: Path) -> None:
    put = move(drawn, tmp_path, "lmms-lab-encoder/MME", "MME")
    whole = put / "data/test-00000-of-00001.parquet"
    shutil.copy(whole, put / "data/test-00001-of-00003.parquet")
    whole.rename(put / "data/test-00000-of-00003.parquet")
    with pytest.raises(UserError, match="MME holds 2 of the 3 files of mme; fetch it again"):
        find_tables(tmp_path)
    (put / "data/test-00001-of-00003.parquet").rename(put / "data/test-00002-of-00003-a1b2c3d4e5f60718.parquet")
    with pytest.raises(UserError, match="holds 2 of the 3"):
        find_tables(tmp_path)


def test_of_several_configurations_the_default_one_is_meant(drawn: Path, tmp_path: Path) -> None:
    """POPE's repository also has its three parts as a configuration of their own."""
    put = move(drawn, tmp_path, "lmms-lab-encoder/POPE", "POPE")
    shutil.copytree(put / "data", put / "Full")
    readme = (put / "README.md").read_text()
    more = "configs:\n- config_name: Full\n  data_files:\n  - split: test\n    path: Full/test-*\n"
    (put / "README.md").write_text(readme.replace("configs:\n", more, 1))
    assert [path.parent.name for path in find_tables(tmp_path)["pope"]] == ["data"]


@pytest.mark.parametrize(("config", "split"), [("InfographicVQA", "validation"), ("DocVQA", "train")])
def test_what_was_saved_of_another_split_or_configuration_is_not_taken(tmp_path: Path, config: str, split: str) -> None:
    put = tmp_path / "lmms-lab/DocVQA"
    put.mkdir(parents=True)
    (put / "dataset_info.json").write_text(json.dumps({"config_name": config}))
    (put / "state.json").write_text(json.dumps({"_split": split, "_data_files": [{"filename": "data.arrow"}]}))
    found = find_tables(tmp_path)
    assert set(found) == ({"infovqa_val"} if split == "validation" else set())


def test_rows_go_on_through_the_files_of_a_split(drawn: Path, tmp_path: Path) -> None:
    put = move(drawn, tmp_path, "echo840/OCRBench", "OCRBench") / "data"
    (whole,) = put.iterdir()
    table = pq.read_table(whole)
    pq.write_table(table.slice(0, 5), put / "test-00000-of-00002.parquet")
    pq.write_table(table.slice(5), put / "test-00001-of-00002.parquet")
    whole.unlink()
    questions = TableQuestions.of("ocrbench", find_tables(tmp_path)["ocrbench"])
    assert questions.counts == (5, 7)
    assert {each.files for each in questions} == {tuple(sorted(put.iterdir()))}
    assert picture_bytes(questions, 6) == table["image"][6].as_py()["bytes"]
    kinds = [row.kind for row in asked_rows(questions)]
    assert kinds == table["question_type"].to_pylist()


def test_what_save_to_disk_wrote_is_read_as_the_snapshot_is(drawn: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(drawn / "lmms-lab-encoder/POPE"), cache_dir=str(tmp_path / "cache"))
    loaded.save_to_disk(str(tmp_path / "data/POPE"))
    asked = datasets.load_dataset(
        str(drawn / "lmms-lab-encoder/DocVQA"), "DocVQA", split="validation", cache_dir=str(tmp_path / "cache")
    )
    asked.save_to_disk(str(tmp_path / "data/lmms-lab/DocVQA/DocVQA"))
    found = {task: TableQuestions.of(task, files) for task, files in find_tables(tmp_path / "data").items()}
    assert set(found) == {"pope", "docvqa_val"}
    for task, questions in found.items():
        snapshot = TableQuestions.of(task, find_tables(drawn)[task])
        assert len(questions) == len(snapshot)
        assert asked_rows(questions) == asked_rows(snapshot)
        assert picture_bytes(questions, 2) == picture_bytes(snapshot, 2)


def test_questions_about_one_document_or_picture_are_one_cluster(drawn: Path) -> None:
    def clusters(task: str) -> list[str]:
        return [row.cluster for row in asked_rows(TableQuestions.of(task, find_tables(drawn)[task]))]

    assert clusters("docvqa_val")[:4] == ["mini0001"] * 3 + ["mini0002"]
    diagrams = clusters("ai2d")  # no column says which diagram: the bytes do
    assert diagrams[0] == diagrams[1] != diagrams[2]
    pairs = clusters("mme")
    assert [pairs[k] == pairs[k + 1] for k in range(0, len(pairs), 2)] == [True] * (len(pairs) // 2)


def test_a_part_of_the_questions_is_another_data_set_and_the_same_part_the_same(drawn: Path) -> None:
    dataset = open_dataset(drawn, reader=LlavaLayout())
    few = limit(dataset, 5)
    assert [each in dataset.splits["pope"] for each in few.splits["pope"]] == [True] * 5
    assert only(few, "pope").spec != only(dataset, "pope").spec
    assert only(dataset, "pope") == only(open_dataset(drawn, reader=LlavaLayout()), "pope")


def test_a_file_that_is_no_table_and_a_column_that_is_not_there_are_sentences(drawn: Path, tmp_path: Path) -> None:
    put = move(drawn, tmp_path, "lmms-lab-encoder/POPE", "POPE") / "data/test-00000-of-00001.parquet"
    questions = TableQuestions.of("pope", [put])
    pq.write_table(pq.read_table(put).drop_columns(["image_source"]), put)
    with pytest.raises(UserError, match="has no column image_source, only id, question_id"):
        asked_rows(questions)
    put.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(UserError, match=r"test-00000-of-00001.parquet is no table of questions \(.*\); fetch it again"):
        open_dataset(tmp_path, reader=LlavaLayout())
