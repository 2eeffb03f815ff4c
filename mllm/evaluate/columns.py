"""The 14 columns of the paper's Table 1, and the 13 benchmarks behind them as lmms-eval names and scores them.

A benchmark is a split of a data set of the layout `llava`, named as lmms-eval's task; a column is a number that a table has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

IMAGE = "image"
"""The column of every table of questions that holds the picture."""


@dataclass(frozen=True)
class Benchmark:
    """One task of lmms-eval 0.7.3, and the table of questions that it reads."""

    task: str
    """lmms-eval's name, and the split's."""
    repository: str
    """On the hub, as lmms-eval's YAML has it (`dataset_path`)."""
    split: str
    config: str | None = None
    """`dataset_name`; None: the repository has one alone."""
    cluster: str = IMAGE
    """The column that says which questions belong together (a document, a figure); `image`: those with the same bytes."""
    kind: str | None = None
    """The column by which the benchmark divides its questions."""


@dataclass(frozen=True)
class ScoreColumn:
    """One number of the table."""

    key: str
    """In reports/reference/table1.yaml, and the name of the metric in records."""
    probe: str
    """That measures it; MME's measures two."""
    tasks: tuple[str, ...]
    """More than one where a benchmark comes in versions, each a task: the column is the mean over those that are there."""
    metric: str
    """lmms-eval's key in its results."""
    best: float = 100.0
    """What a perfect model has, in the unit."""
    unit: str = "%"
    scale: float = 100.0
    """lmms-eval's aggregate times this is in the unit."""
    chance: float | None = None
    """Of an answer that does not look, in the unit: the one that suits each question's form (a letter, yes or no)."""


_LIVEXIV = ("VQA-2024-09-21", "VQA-2024-10-26", "v3-VQA", "v4-VQA", "v5-VQA", "v6-VQA")

BENCHMARKS: dict[str, Benchmark] = {
    each.task: each
    for each in (
        Benchmark("infovqa_val", "lmms-lab-encoder/DocVQA", "validation", "InfographicVQA", "image_url", "answer_type"),
        Benchmark(
            "docvqa_val", "lmms-lab-encoder/DocVQA", "validation", "DocVQA", "ucsf_document_id", "question_types"
        ),
        Benchmark("chartqa", "lmms-lab-encoder/ChartQA", "test", kind="type"),
        Benchmark("textvqa_val", "lmms-lab-encoder/textvqa", "validation", None, "image_id"),
        Benchmark("ocrbench", "echo840/OCRBench", "test", kind="question_type"),
        Benchmark("ocrbench_v2", "ling99/OCRBench_v2", "test", kind="type"),
        *(
            Benchmark(f"livexiv_vqa_v{k}", "LiveXiv/LiveXiv", "test", config)
            for k, config in enumerate(_LIVEXIV, start=1)
        ),
        Benchmark("ai2d", "lmms-lab-encoder/ai2d", "test"),
        # Its twin mmbench_en_dev sends what it cannot read to a service, and without a key draws an option by lot.
        Benchmark("mmbench_en_dev_static", "lmms-lab-encoder/MMBench", "dev", "en", kind="category"),
        Benchmark("mme", "lmms-lab-encoder/MME", "test", None, "question_id", "category"),
        Benchmark("pope", "lmms-lab-encoder/POPE", "test", None, "image_source", "category"),
        Benchmark("realworldqa", "lmms-lab-encoder/RealWorldQA", "test", None, "image_path"),
        Benchmark("mmstar", "Lin-Chen/MMStar", "val", kind="category"),
    )
}
"""By task, in the order of the table."""

COLUMNS: tuple[ScoreColumn, ...] = (
    ScoreColumn("infovqa", "infovqa", ("infovqa_val",), "anls,none"),
    ScoreColumn("docvqa", "docvqa", ("docvqa_val",), "anls,none"),
    ScoreColumn("chartqa", "chartqa", ("chartqa",), "relaxed_overall,none"),
    ScoreColumn("textvqa", "textvqa", ("textvqa_val",), "exact_match,none"),
    # lmms-eval divides the hits by 1000 however many questions there are; here a perfect model has 1000.
    ScoreColumn("ocrbench", "ocrbench", ("ocrbench",), "ocrbench_accuracy,none", 1000.0, "of 1000", 1000.0),
    ScoreColumn("ocrbench_v2", "ocrbench_v2", ("ocrbench_v2",), "ocrbench_v2_accuracy,none"),
    ScoreColumn(
        "livexivqa",
        "livexivqa",
        tuple(f"livexiv_vqa_v{k}" for k in range(1, 1 + len(_LIVEXIV))),
        "livexiv_vqa,none",
        chance=25.0,
    ),
    ScoreColumn("ai2d", "ai2d", ("ai2d",), "exact_match,flexible-extract", chance=25.0),
    ScoreColumn("mmb_en", "mmb-en", ("mmbench_en_dev_static",), "gpt_eval_score,none", scale=1.0),
    # Of a coin for each question: half of the questions, a quarter of the pairs, so 75 of a category's 200.
    ScoreColumn("mme_cog", "mme", ("mme",), "mme_cognition_score,none", 800.0, "of 800", 1.0, chance=300.0),
    ScoreColumn("mme_per", "mme", ("mme",), "mme_perception_score,none", 2000.0, "of 2000", 1.0, chance=750.0),
    ScoreColumn("pope", "pope", ("pope",), "pope_accuracy,none", chance=50.0),
    ScoreColumn("realworldqa", "realworldqa", ("realworldqa",), "exact_match,none"),
    ScoreColumn("mmstar", "mmstar", ("mmstar",), "average,none", chance=25.0),
)
"""In the order of the table."""


def columns_of(probe: str) -> tuple[ScoreColumn, ...]:
    """Of one probe."""
    return tuple(column for column in COLUMNS if column.probe == probe)


def tasks_of(columns: Sequence[ScoreColumn]) -> tuple[str, ...]:
    """All that they need, each once."""
    return tuple(dict.fromkeys(task for column in columns for task in column.tasks))
