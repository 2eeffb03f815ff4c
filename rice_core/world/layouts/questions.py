"""The 13 benchmarks of language models that see (Table 1), asked about the miniature world, in the columns of their repositories on the hub.

    FOLDER/lmms-lab-encoder/DocVQA/README.md, DocVQA/validation-00000-of-00001.parquet, InfographicVQA/...
    FOLDER/echo840/OCRBench/...                     ten repositories as `hf download --repo-type dataset` leaves them

Columns, types, configurations and splits are those of the published repositories, as far as their cards and lmms-eval's task code say;
OCRBench v2's are those of its upload script. What they ask is what `asking` teaches, so a small model that sees can beat chance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rice_core.digest import json_digest
from rice_core.world.layouts.hub_table import Feature, HubTable, write_repository
from rice_core.world.layouts.question_general import diagrams, everyday, papers, perceptions, polled, skills, starred
from rice_core.world.layouts.question_pictures import AskedPictures, Rows
from rice_core.world.layouts.question_reading import (
    charts,
    documents,
    infographics,
    ocr_again,
    ocr_tasks,
    photos_with_text,
)

QUESTIONS_VERSION = 2
"""Rises when the same pictures come to be asked otherwise, here or in conversations. 1 had none of MME's kind among these."""

_TEXT: Feature = "string"
_TEXTS: Feature = ("string",)
_OPTIONS = dict.fromkeys(("option_a", "option_b", "option_c", "option_d"), _TEXT)


@dataclass(frozen=True)
class TableKind:
    """One split of a benchmark."""

    repository: str
    config: str
    split: str
    file: str
    pattern: str
    features: dict[str, Feature]
    rows: Callable[[AskedPictures, int], Rows]


def _kind(
    repository: str,
    split: str,
    features: dict[str, Feature],
    rows: Callable[[AskedPictures, int], Rows],
    config: str = "",
) -> TableKind:
    """As `push_to_hub` lays a table out."""
    place = f"{config or 'data'}/{split}-"
    return TableKind(
        repository, config or "default", split, f"{place}00000-of-00001.parquet", f"{place}*", features, rows
    )


def _livexiv(config: str) -> TableKind:
    features = {"question": _TEXT, "image": "image", "gt": _TEXT} | _OPTIONS
    return TableKind(
        "LiveXiv/LiveXiv", config, "test", f"{config}/test-00000.parquet", f"{config}/test-*", features, papers
    )


TABLES: tuple[TableKind, ...] = (
    _kind(
        "lmms-lab-encoder/DocVQA",
        "validation",
        {
            "questionId": _TEXT,
            "question": _TEXT,
            "question_types": _TEXTS,
            "image": "image",
            "docId": "int64",
            "ucsf_document_id": _TEXT,
            "ucsf_document_page_no": _TEXT,
            "answers": _TEXTS,
            "data_split": _TEXT,
        },
        documents,
        "DocVQA",
    ),
    _kind(
        "lmms-lab-encoder/DocVQA",
        "validation",
        {
            "questionId": _TEXT,
            "question": _TEXT,
            "answers": _TEXTS,
            "answer_type": _TEXTS,
            "image": "image",
            "image_url": _TEXT,
            "operation/reasoning": _TEXTS,
            "ocr": _TEXT,
            "data_split": _TEXT,
        },
        infographics,
        "InfographicVQA",
    ),
    _kind(
        "lmms-lab-encoder/ChartQA",
        "test",
        {"type": _TEXT, "question": _TEXT, "answer": _TEXT, "image": "image"},
        charts,
    ),
    _kind(
        "lmms-lab-encoder/textvqa",
        "validation",
        {
            "image_id": _TEXT,
            "question_id": "int32",
            "question": _TEXT,
            "question_tokens": _TEXTS,
            "image": "image",
            "image_width": "int32",
            "image_height": "int32",
            "flickr_original_url": _TEXT,
            "flickr_300k_url": _TEXT,
            "answers": _TEXTS,
            "image_classes": _TEXTS,
            "set_name": _TEXT,
            "ocr_tokens": _TEXTS,
        },
        photos_with_text,
    ),
    _kind(
        "echo840/OCRBench",
        "test",
        {"dataset": _TEXT, "question": _TEXT, "question_type": _TEXT, "answer": _TEXTS, "image": "image"},
        ocr_tasks,
    ),
    _kind(
        "ling99/OCRBench_v2",
        "test",
        {
            "id": "int32",
            "dataset_name": _TEXT,
            "question": _TEXT,
            "type": _TEXT,
            "answers": _TEXTS,
            "image": "image",
            "eval": _TEXT,
            "bbox": ("int32",),
            "bbox_list": (("int32",),),
            "content": _TEXTS,
        },
        ocr_again,
    ),
    *map(_livexiv, ("VQA-2024-09-21", "VQA-2024-10-26", "v3-VQA", "v4-VQA", "v5-VQA", "v6-VQA")),
    _kind(
        "lmms-lab-encoder/ai2d",
        "test",
        {"question": _TEXT, "options": _TEXTS, "answer": _TEXT, "image": "image"},
        diagrams,
    ),
    _kind(
        "lmms-lab-encoder/MMBench",
        "dev",
        {
            "index": "int64",
            "question": _TEXT,
            "hint": _TEXT,
            "answer": _TEXT,
            "A": _TEXT,
            "B": _TEXT,
            "C": _TEXT,
            "D": _TEXT,
            "category": _TEXT,
            "image": "image",
            "source": _TEXT,
            "L2-category": _TEXT,
            "comment": _TEXT,
            "split": _TEXT,
        },
        skills,
        "en",
    ),
    _kind(
        "lmms-lab-encoder/MME",
        "test",
        {"question_id": _TEXT, "image": "image", "question": _TEXT, "answer": _TEXT, "category": _TEXT},
        perceptions,
    ),
    _kind(
        "lmms-lab-encoder/POPE",
        "test",
        {
            "id": _TEXT,
            "question_id": _TEXT,
            "question": _TEXT,
            "answer": _TEXT,
            "image_source": _TEXT,
            "image": "image",
            "category": _TEXT,
        },
        polled,
    ),
    _kind(
        "lmms-lab-encoder/RealWorldQA",
        "test",
        {"image": "image", "image_path": _TEXT, "question": _TEXT, "answer": _TEXT},
        everyday,
    ),
    TableKind(
        "Lin-Chen/MMStar",
        "val",
        "val",
        "mmstar.parquet",
        "mmstar.parquet",
        {
            "index": "int64",
            "question": _TEXT,
            "image": "image",
            "answer": _TEXT,
            "category": _TEXT,
            "l2_category": _TEXT,
            "meta_info": {"source": _TEXT, "split": _TEXT, "image_path": _TEXT},
        },
        starred,
    ),
)


@dataclass(frozen=True)
class DrawnRepository:
    """See `folder.DrawnImages`."""

    files: dict[str, str]
    pixels: str


@dataclass(frozen=True)
class RepositoryJob:
    """One repository to draw (`folder.DrawJob`)."""

    repository: str
    seed: int
    questions: int
    size: int

    def write(self, folder: Path) -> DrawnRepository:
        """All its tables, below `folder`.

        Raises:
            UserError: pyarrow is not installed.
        """
        tables, digests = [], []
        for number, kind in enumerate(TABLES):
            if kind.repository != self.repository:
                continue
            pictures = AskedPictures(self.seed, number, self.size)
            rows = kind.rows(pictures, self.questions)
            tables.append(HubTable(kind.config, kind.split, kind.file, kind.pattern, kind.features, rows))
            digests.append(pictures.digest.hexdigest())
        files = write_repository(folder / self.repository, tables)
        return DrawnRepository(
            {f"{self.repository}/{name}": sha256 for name, sha256 in files.items()}, json_digest(digests)
        )


def question_jobs(seed: int, questions: int, size: int) -> list[RepositoryJob]:
    """All ten repositories, or none for no question.

    Args:
        questions: of each benchmark, about: some ask in pairs or in all rotations. size: side of a picture in pixels.
    """
    repositories = dict.fromkeys(kind.repository for kind in TABLES)
    return [RepositoryJob(repository, seed, questions, size) for repository in repositories if questions]
