"""`ricebench evaluate answers`: each column from stored generations, equal to lmms-eval's own aggregates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import asked_tables as tables
import pytest
from test_stored_answers import write

from mllm.evaluate.rescored import RescoredTask
from mllm.evaluate.scorer import AnswersScorer
from mllm.evaluate.stored import StoredTask
from rice_core.cli import scorecard
from rice_core.errors import UserError
from rice_core.record import Skipped

pytest.importorskip("lmms_eval", reason='lmms-eval is not installed: pip install "ricebench[mllm]"')

AFTER = "\nAnswer the question using a single word or phrase."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    tables.docvqa(folder)
    tables.mme(folder)
    return folder


def docvqa_rows(**changed: Any) -> list[dict[str, Any]]:
    """As a stage has them."""
    return [
        {
            "doc": doc,
            "question": question + AFTER,
            "answer": tables.ANSWERS[question].strip(),
            "target": answers,
            "judged": {"anls": 0.123},
            **changed,
        }
        for doc, (question, answers, _) in enumerate(tables.DOCVQA)
    ]


def mme_rows() -> list[dict[str, Any]]:
    """As lmms-eval logs them."""
    return [
        {"doc_id": doc, "target": answer, "input": question + AFTER, "filtered_resps": "Yes"}
        for doc, (question, answer, _) in enumerate(tables.MME)
    ]


def values(card: Any) -> dict[str, float]:
    return {row.labels["metric"]: row.value for row in card.rows if not row.detail}


def test_stored_answers_are_judged_anew_as_lmms_eval_judges(data: Path, tmp_path: Path) -> None:
    write(tmp_path / "a" / "answers.jsonl", docvqa_rows(), task="docvqa_val", lmms_eval="0.3.5")
    write(tmp_path / "b" / "20260101_samples_mme.jsonl", mme_rows())
    card = AnswersScorer().score(tmp_path, data)
    # Not the 0.123 of before, and by document: two questions are about one.
    assert values(card) == pytest.approx({"docvqa": 100 * sum(tables.ANLS) / 4, "mme_per": 50.0})
    (docvqa,) = [row for row in card.rows if row.labels["metric"] == "docvqa"]
    assert docvqa.error is not None
    assert (docvqa.n, docvqa.unit, docvqa.error.method.startswith("clustered by document (3)")) == (4, "%", True)
    assert {row.labels["metric"]: row.value for row in card.rows if row.detail} == {
        "docvqa_val anls,none (lmms-eval)": sum(tables.ANLS) / 4,
        "mme mme_perception_score,none (lmms-eval)": 50.0,
    }
    notes = " ".join(card.checked.notes)
    assert "docvqa_val: answered and first judged under lmms-eval 0.3.5, judged now by 0.7." in notes
    assert "docvqa_val: 1 answers are empty." in notes
    assert "mme_cog: " in notes
    assert card.checked.facts["questions"] == 8
    assert json.loads(scorecard.to_json(card.checked, card))["numbers"][0]["metric"] == "docvqa"
    assert scorecard.to_csv(card.checked, card).splitlines()[0] == "metric,value,unit,stderr,low,high,n"


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[RescoredTask]:
    """What a child would have found."""
    found: list[RescoredTask] = []
    monkeypatch.setattr("mllm.evaluate.rescored.rescored", lambda *_: found)
    return found


def rescored(rows: list[dict[str, Any]], *skipped: Skipped, anls: float | None = None) -> RescoredTask:
    aggregated = {} if anls is None else {"anls,none": anls}
    stored = StoredTask("docvqa_val", Path("answers.jsonl"), ())
    return RescoredTask(stored, tuple(rows), skipped, {"aggregated": aggregated, "lmms_eval": "0.7.3"}, 0)


GONE = Skipped(item="docvqa_val/00001", reason="has no answer", times=3)


def test_a_part_of_the_questions_is_refused_or_asked_for(
    judged: list[RescoredTask], data: Path, tmp_path: Path
) -> None:
    file = write(tmp_path / "answers.jsonl", docvqa_rows(), task="docvqa_val")
    judged.append(rescored(docvqa_rows(judged={"anls": 1.0})[:1], GONE))
    with pytest.raises(UserError, match=r"3 answers cannot be judged \(docvqa_val/00001 has no answer\).*partial=yes"):
        AnswersScorer().score(file, data)
    card = AnswersScorer(partial=True).score(file, Path(f"llava={data}"))
    assert values(card) == {"docvqa": 100.0}
    assert card.checked.left_out == (GONE,)
    assert not [row for row in card.rows if row.detail]
    assert AnswersScorer().validate(file, data).usable == 1


def test_where_our_sum_is_not_lmms_evals_there_is_no_number(
    judged: list[RescoredTask], data: Path, tmp_path: Path
) -> None:
    file = write(tmp_path / "answers.jsonl", docvqa_rows(), task="docvqa_val")
    judged.append(rescored(docvqa_rows(judged={"anls": 1.0}), anls=0.9))
    with pytest.raises(UserError, match=r"gives 0\.9 as anls,none"):
        AnswersScorer().score(file, data)


def test_nothing_that_can_be_judged_is_no_score(judged: list[RescoredTask], data: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "answers.jsonl", docvqa_rows(), task="docvqa_val")
    judged.append(rescored([], GONE))
    assert AnswersScorer(partial=True).score(file, data).rows == ()


def test_answers_without_a_table_are_told(judged: list[RescoredTask], data: Path, tmp_path: Path) -> None:
    write(tmp_path / "1" / "answers.jsonl", docvqa_rows(), task="docvqa_val")
    write(tmp_path / "2" / "answers.jsonl", docvqa_rows(), task="chartqa")
    judged.append(rescored(docvqa_rows(judged={"anls": 1.0}), anls=1.0))
    card = AnswersScorer().score(tmp_path, data)
    (absent,) = card.checked.left_out
    assert (absent.item, absent.reason) == ("chartqa", f"has 4 answers, and {data.name} has no table of its questions")
    with pytest.raises(UserError, match="hf download --repo-type dataset lmms-lab-encoder/ChartQA"):
        AnswersScorer(task="chartqa").score(tmp_path, data)
    with pytest.raises(UserError, match="is no folder"):
        AnswersScorer().score(tmp_path, data / "none")


@pytest.mark.slow
def test_a_model_of_lmms_evals_own_stands_beside_ours(data: Path, tmp_path: Path) -> None:
    """Ours, exported, is answered by lmms-eval's adapter `llava_hf` from its command line, and by ours: the same words, the same numbers."""
    from tiny_llava import ANYRES, clip_encoder, tiny_llava

    from mllm.cli import lmms_tasks
    from mllm.llava.export import export_llava
    from mllm.llava.mini_tokenizer import mini_tokenizer
    from mllm.llava.speaker import Question, Speaker
    from mllm.llava.text import ChatML

    tokenizer = mini_tokenizer()
    speaker = Speaker(tiny_llava(clip_encoder(tmp_path / "clip")), tokenizer, ChatML(tokenizer), ANYRES)
    lmms_tasks(data, tmp_path / "tasks")
    own = _asked_by_us(speaker, data, Question)
    export_llava(speaker, tmp_path / "export", "Of a test.")
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "decord.py").write_text("VideoReader = cpu = None\n")  # which its adapters import for videos
    words = [
        *("--model", "llava_hf", "--model_args", f"pretrained={tmp_path / 'export'},device=cpu,device_map=cpu"),
        *("--tasks", "local_docvqa_val", "--include_path", str(tmp_path / "tasks")),
        *("--log_samples", "--output_path", str(tmp_path / "out")),
    ]
    paths = os.pathsep.join([str(stub), *(path for path in sys.path if path)])
    environment = os.environ | {"PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "kept")}
    subprocess.run(
        [sys.executable, "-m", "lmms_eval", *words], cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    (log,) = tmp_path.glob("out/*/*_samples_local_docvqa_val.jsonl")
    assert [json.loads(line)["filtered_resps"] for line in log.read_text().splitlines()] == own
    (results,) = tmp_path.glob("out/*/*_results.json")
    theirs = json.loads(results.read_text())["results"]["local_docvqa_val"]["anls,none"]
    assert values(AnswersScorer().score(tmp_path / "out", data)) == {"docvqa": 100 * theirs}


def _asked_by_us(speaker: Any, data: Path, question: Any) -> list[str]:
    from datasets import load_dataset

    (file,) = data.rglob("validation-*.parquet")
    rows = load_dataset("parquet", data_files={"validation": str(file)}, cache_dir=str(data.parent / "hf"))[
        "validation"
    ]
    asked = [question.of(row["question"] + AFTER, [row["image"].convert("RGB")]) for row in rows]
    found: list[str] = speaker.answer(asked, 32)
    return found
