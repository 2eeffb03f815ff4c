"""Rows of the miniature benchmarks with options or yes and no: LiveXiv, AI2D, MMBench, MME, POPE, RealWorldQA and MMStar."""

from __future__ import annotations

from rice_core.world.asking import PLAIN_LETTER, PLAIN_WORD, YES_NO, AskedKind, claims, options_of
from rice_core.world.layouts.question_pictures import AskedPictures, Rows

_UNKNOWN = "nan"
"""What MMBench's table holds where there is nothing."""


def papers(pictures: AskedPictures, count: int) -> Rows:
    """A version of LiveXiv: options in columns of their own, two questions a figure. It is small: there are six."""
    rows: Rows = []
    for _, picture, asked in pictures.asked(("word", "colour", "position"), max(6, count // 4), each=2):
        options = options_of(asked, pictures.rng)
        texts = zip(("option_a", "option_b", "option_c", "option_d"), options.texts, strict=True)
        rows.append({"question": asked.question, "image": picture.data, "gt": options.letter, **dict(texts)})
    return rows


def diagrams(pictures: AskedPictures, count: int) -> Rows:
    """AI2D: options in a list, and the index of the right one; two questions a diagram."""
    rows: Rows = []
    for _, picture, asked in pictures.asked(("shape", "position", "colour"), count, each=2):
        options = options_of(asked, pictures.rng)
        rows.append(
            {
                "question": asked.question,
                "options": list(options.texts),
                "answer": str(options.right),
                "image": picture.data,
            }
        )
    return rows


_SKILLS: dict[AskedKind, tuple[str, str]] = {
    "colour": ("attribute_recognition", "finegrained_perception (instance-level)"),
    "count": ("object_localization", "finegrained_perception (instance-level)"),
    "position": ("spatial_relationship", "finegrained_perception (cross-instance)"),
    "word": ("ocr", "finegrained_perception (instance-level)"),
    "comparison": ("physical_relation", "relation_reasoning"),
}


def skills(pictures: AskedPictures, count: int) -> Rows:
    """MMBench: each question in all rotations of its options, which count as one, a million between their indices."""
    rows: Rows = []
    for k, picture, asked in pictures.asked(list(_SKILLS), max(6, count // 3)):
        category, above = _SKILLS.get(asked.kind, ("identity_reasoning", "attribute_reasoning"))
        options = options_of(asked, pictures.rng)
        for turn in range(len(options.texts)):
            turned = options.texts[turn:] + options.texts[:turn]
            columns = dict(zip("ABCD", (*turned, *[_UNKNOWN] * 4), strict=False))
            rows.append(
                {
                    "index": turn * 1_000_000 + k,
                    "question": asked.question,
                    "hint": _UNKNOWN if k % 3 else "Look at the whole image.",
                    "answer": "ABCD"[turned.index(asked.answer)],
                    **columns,
                    "category": category,
                    "image": picture.data,
                    "source": "mini",
                    "L2-category": above,
                    "comment": _UNKNOWN,
                    "split": "dev",
                }
            )
    return rows


_MME: dict[str, AskedKind] = {
    "existence": "existence",
    "count": "count",
    "position": "position",
    "color": "colour",
    "posters": "word",
    "celebrity": "existence",
    "scene": "count",
    "landmark": "position",
    "artwork": "colour",
    "OCR": "word",
    "commonsense_reasoning": "existence",
    "numerical_calculation": "count",
    "text_translation": "word",
    "code_reasoning": "position",
}


def perceptions(pictures: AskedPictures, count: int) -> Rows:
    """MME: of each picture one question whose answer is Yes and one whose answer is No, in all 14 categories."""
    rows: Rows = []
    for k in range(max(len(_MME), count // 2)):
        category, kind = list(_MME.items())[k % len(_MME)]
        picture = pictures.next()
        for asked in claims(picture.scene, kind, pictures.rng):
            rows.append(
                {
                    "question_id": f"{category}/{picture.number:04}.png",
                    "image": picture.data,
                    "question": f"{asked.question} {YES_NO}",
                    "answer": asked.answer,
                    "category": category,
                }
            )
    return rows


def polled(pictures: AskedPictures, count: int) -> Rows:
    """POPE: is it there; in each of its three ways to choose what is not, as often yes as no."""
    rows: Rows = []
    for k in range(count // 2):
        picture = pictures.next()
        for asked in claims(picture.scene, "existence", pictures.rng):
            rows.append(
                {
                    "id": str(len(rows)),
                    "question_id": str(1 + len(rows)),
                    "question": asked.question,
                    "answer": asked.answer.lower(),
                    "image_source": f"COCO_val2014_{picture.number:012}",
                    "image": picture.data,
                    "category": ("adversarial", "popular", "random")[k % 3],
                }
            )
    return rows


def everyday(pictures: AskedPictures, count: int) -> Rows:
    """RealWorldQA: three of four questions have options in their text, the others a number."""
    rows: Rows = []
    for _, picture, asked in pictures.asked(("position", "comparison", "colour", "count"), count):
        options = None if asked.kind == "count" else options_of(asked, pictures.rng)
        how = f"\n\n{options.lines}\n{PLAIN_LETTER}" if options else f" {PLAIN_WORD}"
        rows.append(
            {
                "image": picture.data,
                "image_path": f"{picture.number}.webp",
                "question": f"{asked.question}{how}",
                "answer": options.letter if options else asked.answer,
            }
        )
    return rows


_STARRED = {
    "coarse perception": ("image scene and topic", "image style & quality", "image emotion"),
    "fine-grained perception": ("object counting", "recognition", "localization"),
    "instance reasoning": (
        "single-instance reasoning",
        "cross-instance attribute reasoning",
        "cross-instance relation reasoning",
    ),
    "logical reasoning": ("code & sequence reasoning", "diagram reasoning", "common reasoning"),
    "science & technology": (
        "biology & chemistry & physics",
        "electronics & energy & mechanical eng.",
        "geography & earth science & agriculture",
    ),
    "math": ("geometry", "numeric commonsense and calculation", "statistical reasoning"),
}


def starred(pictures: AskedPictures, count: int) -> Rows:
    """MMStar: four options in the text, in all 18 sub-categories, of which some have one question more than others."""
    below = [(category, name) for category, names in _STARRED.items() for name in names]
    rows: Rows = []
    for k, picture, asked in pictures.asked(("colour", "shape", "position", "word"), max(len(below) + 5, count)):
        options = options_of(asked, pictures.rng)
        category, name = below[k % len(below)]
        rows.append(
            {
                "index": k,
                "question": f"{asked.question}\n{options.inline}",
                "image": picture.data,
                "answer": options.letter,
                "category": category,
                "l2_category": name,
                "meta_info": {"source": "mini", "split": "val", "image_path": f"images/{picture.number}.png"},
            }
        )
    return rows
