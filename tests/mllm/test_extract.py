"""Our column of lmms-eval's judgements equals lmms-eval's own aggregate, whatever a model says; and the values that traps are known by."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from lmms_tasks import aggregate, judged, lmms_task, right_answer

from mllm.evaluate.columns import BENCHMARKS, COLUMNS, ScoreColumn
from mllm.evaluate.extract import AnsweredQuestion, Credited, judgements, lmms_aggregate
from mllm.evaluate.letters import _PHRASES, option_named
from rice_core.errors import UserError
from rice_core.world.layouts.questions import question_jobs

COLUMN = {column.key: column for column in COLUMNS}
SAID = [
    *(
        "",
        " ",
        ".",
        "A",
        "b",
        "B.",
        "(C)",
        "C)",
        "D:",
        "a cat",
        "A cat sat on a mat",
        "A. red",
        "B) blue",
        "I think A",
        "E",
        "E.",
    ),
    *(
        "The answer is B.",
        "answer: C",
        "Answer",
        "the correct option is (D).",
        "My answer is A, not B",
        "A or B",
        "A, B",
        "答案是C",
        "选 D",
    ),
    *(
        "Yes",
        "yes.",
        "No.",
        "Not sure",
        "Know",
        "Unknown",
        "no way",
        "The answer is yes",
        "nope",
        "y",
        "n",
        "I do not know",
    ),
    *(
        "0",
        "1",
        "2",
        "2.05",
        "3 shapes",
        "two",
        "5%",
        "banana nan",
        "red",
        "Top Left",
        "the star",
        "boko",
        "BOKO",
        "ｂｏｋｏ",
        "bo ko",
    ),
    *(
        "[0, 0, 500, 500]",
        "{'answer': 'boko', 'bbox': '[0,0,500,500]'}",
        "x" * 300,
        "ABCD",
        "A B C D",
        ":B",
        "Failed to obtain answer via API",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("questions")
    for job in question_jobs(3, 24, 48):
        job.write(out)
    return out


def _answers(name: str, docs: Any, rng: random.Random) -> list[str]:
    """Half of them right, the others what models say, or what another question's answer is."""
    right = [right_answer(name, doc) for doc in docs]
    options = [[doc.get(letter) for letter in "ABCD"] for doc in docs]
    texts = [rng.choice([str(text) for text in each if text] or SAID) for each in options]
    return [
        rng.choice([own, own, own, rng.choice(SAID), rng.choice(right), text])
        for own, text in zip(right, texts, strict=True)
    ]


def _answered(name: str, task: Any, answers: list[str]) -> tuple[list[AnsweredQuestion], dict[str, list[Any]]]:
    """As the child leaves them: JSON; and lmms-eval's own values."""
    found, values = [], {}
    for k, (doc, answer) in enumerate(zip(task.eval_docs, answers, strict=True)):
        said = judged(task, doc, answer)
        for metric, value in said.items():
            values.setdefault(metric, []).append(value)
        found.append(AnsweredQuestion(name, k, str(k), json.loads(json.dumps(said, default=float)), answer))
    return found, values


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_column_is_lmms_evals_aggregate(name: str, folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    task, rng = lmms_task(name, folder), random.Random(name)
    for _ in range(4):
        answered, values = _answered(name, task, _answers(name, task.eval_docs, rng))
        for column in COLUMNS:
            if name in column.tasks:
                metric = column.metric.split(",")[0]
                theirs = aggregate(task, metric, values[metric], tmp_path)
                if name == "ocrbench":  # its module adds up over calls
                    theirs, _OCR["before"] = theirs - _OCR["before"], theirs
                ours = lmms_aggregate(column, name, judgements(column, answered))
                assert ours == pytest.approx(theirs, abs=1e-12)


_OCR = {"before": 0.0}


@pytest.mark.slow
def test_the_option_that_an_answer_names_is_lmms_evals_for_many_made_up_answers() -> None:
    from lmms_eval.tasks._task_utils.mcq_extract import _ANSWER_PHRASES, extract_mcq_answer
    from lmms_eval.tasks.mmbench.mmbench_evals import MMBench_Evaluator

    assert set(_PHRASES) == set(_ANSWER_PHRASES)
    evaluator, rng = MMBench_Evaluator(), random.Random(0)
    pieces = [
        "A",
        "B",
        "C",
        "D",
        "E",
        "(B)",
        "C.",
        "D)",
        "A:",
        ":B",
        "the answer is",
        "Choice is ",
        "red",
        "blue",
        "nan",
        ".",
        "Cat",
        "dAd",
        "选",
        "\n",
    ]
    for _ in range(6000):
        answer = rng.choice(["", " "]).join(rng.choices(pieces, k=rng.randrange(0, 7)))
        options = dict(zip("ABCD", rng.sample(["red", "blue", "a cat", "nan", "top left", "2"], 4), strict=True))
        kept = dict(list(options.items())[: rng.randrange(2, 5)])
        theirs = evaluator.can_infer(answer, dict(kept)) or extract_mcq_answer(answer, choices=sorted(kept))
        assert option_named(answer, kept) == theirs, (answer, kept)


def question(task: str, doc: int, judged: dict[str, Any]) -> AnsweredQuestion:
    return AnsweredQuestion(task, doc, f"page {doc // 2}", judged)


def values(column: ScoreColumn, answered: list[AnsweredQuestion]) -> list[float]:
    return [each.value for each in judgements(column, answered)]


def mme(*scores: tuple[float, float], category: str = "count") -> list[AnsweredQuestion]:
    return [
        question("mme", 2 * k + place, {"mme_perception_score": {"question_id": f"{category}/{k}", "category": category, "score": score}})
        for k, pair in enumerate(scores)
        for place, score in enumerate(pair)
    ]  # fmt: skip


def test_pairs_of_mme_count_75_and_50_on_average_and_categories_are_added() -> None:
    answered = mme((1, 0), (1, 1))
    assert values(COLUMN["mme_per"], answered) == [50, 200]
    assert lmms_aggregate(COLUMN["mme_per"], "mme", judgements(COLUMN["mme_per"], answered)) == 125
    more = [*answered, *mme((0, 0), category="OCR"), *mme((1, 1), category="scene")]
    assert lmms_aggregate(COLUMN["mme_per"], "mme", judgements(COLUMN["mme_per"], more)) == 325


def test_a_pair_of_mme_that_is_cut_in_two_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"MME has 1 answers about count/1 where it needs two; leave out --limit"):
        judgements(COLUMN["mme_per"], mme((1, 0), (1, 1))[:3])


def test_a_column_without_any_answer_is_a_sentence() -> None:
    with pytest.raises(UserError, match="mme has no answers for mme_cog"):
        judgements(COLUMN["mme_cog"], mme((1, 0)))


def test_mmstar_is_a_mean_over_sub_categories_and_not_over_samples() -> None:
    scores = [("x", 1), ("y", 0), ("y", 0), ("y", 0)]
    answered = [
        question("mmstar", k, {"average": {"question_id": k, "l2_category": name, "score": score}})
        for k, (name, score) in enumerate(scores)
    ]
    found = judgements(COLUMN["mmstar"], answered)
    assert lmms_aggregate(COLUMN["mmstar"], "mmstar", found) == 0.5
    assert sum(each.value for each in found) / len(found) == 0.25


def test_ocrbench_is_hits_of_a_thousand_to_lmms_eval_and_hits_of_those_asked_to_us() -> None:
    answered = [question("ocrbench", k, {"ocrbench_accuracy": {"score": k % 2}}) for k in range(50)]
    found = judgements(COLUMN["ocrbench"], answered)
    assert lmms_aggregate(COLUMN["ocrbench"], "ocrbench", found) == 0.025
    assert sum(each.value for each in found) / len(found) == 0.5


def mmbench(index: int, answer: str, prediction: str, **options: str) -> AnsweredQuestion:
    texts = {"A": "red", "B": "blue", "C": "nan", "D": "nan"} | options
    return question(
        "mmbench_en_dev_static",
        index % 97,
        {"gpt_eval_score": {"index": index, "answer": answer, "prediction": prediction, **texts}},
    )


def test_a_question_of_mmbench_is_right_in_all_its_rotations_or_wrong() -> None:
    right = [mmbench(7, "A", "A."), mmbench(1_000_007, "B", "B", A="blue", B="red")]
    assert values(COLUMN["mmb_en"], right) == [1]
    assert values(COLUMN["mmb_en"], [*right, mmbench(2_000_007, "A", "blue")]) == [0]
    assert values(COLUMN["mmb_en"], [*right, mmbench(1_000_009, "A", "A")]) == [1]  # 9 itself is not there


def test_an_answer_that_names_no_option_is_wrong_every_time() -> None:
    assert {tuple(values(COLUMN["mmb_en"], [mmbench(3, "D", "I do not know", D="green")])) for _ in range(20)} == {
        (0.0,)
    }


def test_livexiv_takes_a_letter_that_was_not_found_for_wrong_and_weighs_versions_alike() -> None:
    pairs = [("v1", "A", "A"), ("v1", None, "B"), ("v1", " b ", "B"), ("v1", "C", "B"), ("v2", "D", "D")]
    answered = [
        question(f"livexiv_vqa_{version}", k, {"livexiv_vqa": {"pred": said, "answer": gold}})
        for k, (version, said, gold) in enumerate(pairs)
    ]
    found = judgements(COLUMN["livexivqa"], answered)
    assert [each.value for each in found] == [1, 0, 1, 0, 1]
    assert [each.group for each in found] == ["livexiv_vqa_v1"] * 4 + ["livexiv_vqa_v2"]


def test_what_counts_once_names_its_questions_and_their_document() -> None:
    (first, *_) = judgements(COLUMN["docvqa"], [question("docvqa_val", k, {"anls": 0.5}) for k in range(3)])
    assert first == Credited("docvqa_val/00000", "page 0", 0.5)
    assert first.docs == (0,)
    assert judgements(COLUMN["mme_per"], mme((1, 0)))[0].docs == (0, 1)
