"""Rows of the miniature benchmarks of reading: DocVQA, InfographicVQA, ChartQA, TextVQA, OCRBench and its second version."""

from __future__ import annotations

import json

from rice_core.world.asking import LETTER, AskedKind, options_of
from rice_core.world.layouts.question_pictures import AskedPictures, Rows


def documents(pictures: AskedPictures, count: int) -> Rows:
    """DocVQA: three questions a document."""
    return [
        {
            "questionId": str(49150 + k),
            "question": asked.question,
            "question_types": ["handwritten" if asked.kind == "word" else "layout"],
            "image": picture.data,
            "docId": picture.number,
            "ucsf_document_id": f"mini{picture.number:04}",
            "ucsf_document_page_no": "1",
            "answers": [asked.answer],
            "data_split": "val",
        }
        for k, picture, asked in pictures.asked(("word", "position", "word", "count"), count, each=3)
    ]


def infographics(pictures: AskedPictures, count: int) -> Rows:
    """InfographicVQA: two questions a picture."""
    return [
        {
            "questionId": str(65700 + k),
            "question": asked.question,
            "answers": [asked.answer],
            "answer_type": ["non-extractive" if asked.kind == "count" else "single span"],
            "image": picture.data,
            "image_url": f"https://example.org/{picture.number}.png",
            "operation/reasoning": ["counting"] if asked.kind == "count" else [],
            "ocr": json.dumps({"LINE": [{"Text": picture.scene.word}]}),
            "data_split": "val",
        }
        for k, picture, asked in pictures.asked(("count", "word", "colour", "position", "word"), count, each=2)
    ]


def charts(pictures: AskedPictures, count: int) -> Rows:
    """ChartQA, whose first half people asked and whose second half was made."""
    return [
        {
            "type": "human_test" if 2 * k < count else "augmented_test",
            "question": asked.question,
            "answer": asked.answer,
            "image": picture.data,
        }
        for k, picture, asked in pictures.asked(("count", "colour"), count)
    ]


def photos_with_text(pictures: AskedPictures, count: int) -> Rows:
    """TextVQA: ten people answer, and of every fourth question some of them see something else, each another word."""
    rows: Rows = []
    for k, picture, asked in pictures.asked(("word",), count):
        agree = 10 if k % 4 else (9, 7, 3)[k // 4 % 3]
        rows.append(
            {
                "image_id": f"{picture.number:016x}",
                "question_id": 34602 + k,
                "question": asked.question.lower(),
                "question_tokens": asked.question.lower().rstrip("?").split(),
                "image": picture.data,
                "image_width": pictures.size,
                "image_height": pictures.size,
                "flickr_original_url": "",
                "flickr_300k_url": "",
                "answers": [asked.answer] * agree + list(asked.wrong[: 10 - agree]),
                "image_classes": [thing.shape for thing in picture.scene.things],
                "set_name": "val",
                "ocr_tokens": [picture.scene.word],
            }
        )
    return rows


_OCR_TYPES = {
    "Regular Text Recognition": "IIIT5K",
    "Irregular Text Recognition": "SVTP",
    "Artistic Text Recognition": "WordArt",
    "Handwriting Recognition": "IAM",
    "Digit String Recognition": "ORAND",
    "Non-Semantic Text Recognition": "NonSemanticText",
    "Scene Text-centric VQA": "TextVQA",
    "Doc-oriented VQA": "docVQA",
    "Key Information Extraction": "SROIE",
    "Handwritten Mathematical Expression Recognition": "HME100k",
}


def ocr_tasks(pictures: AskedPictures, count: int) -> Rows:
    """OCRBench: its ten kinds, each with the name of a source of its own."""
    kinds = list(_OCR_TYPES.items())
    return [
        {
            "dataset": kinds[k % len(kinds)][1],
            "question": asked.question,
            "question_type": kinds[k % len(kinds)][0],
            "answer": [asked.answer],
            "image": picture.data,
        }
        for k, picture, asked in pictures.asked(("word",), count)
    ]


_OCR_AGAIN: tuple[tuple[str, AskedKind, str], ...] = (
    ("text recognition en", "word", "None"),
    ("cognition VQA en", "word", "None"),
    ("diagram QA en", "colour", "multiple choice"),
    ("text counting en", "count", "regression"),
    ("reasoning VQA en", "position", "None"),
    ("document classification en", "shape", "case sensitive"),
    ("cognition VQA cn", "word", "None"),
    ("VQA with position en", "word", "None"),
    ("text grounding en", "word", "None"),
)
"""Of its thirty kinds those that a plain picture can be asked."""


def ocr_again(pictures: AskedPictures, count: int) -> Rows:
    """OCRBench v2. A word's box is the quarter that it is written in, in thousandths."""
    rows: Rows = []
    for k, picture, asked in pictures.asked([kind for _, kind, _ in _OCR_AGAIN], count):
        name, _, judged = _OCR_AGAIN[k % len(_OCR_AGAIN)]
        row, column = divmod(picture.scene.word_quarter, 2)
        box = [500 * column, 500 * row, 500 * column + 500, 500 * row + 500]
        options = options_of(asked, pictures.rng) if judged == "multiple choice" else None
        grounded = name == "text grounding en"
        rows.append(
            {
                "id": k,
                "dataset_name": "mini",
                "question": f"{asked.question}\n{options.lines}\n{LETTER}" if options else asked.question,
                "type": name,
                "answers": [options.letter] if options else list(map(str, box)) if grounded else [asked.answer],
                "image": picture.data,
                "eval": judged,
                "bbox": box if name == "VQA with position en" else None,
                "bbox_list": None,
                "content": None,
            }
        )
    return rows
