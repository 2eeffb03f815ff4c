"""What a report shows of answers: example questions with their pictures, and how many are right by kind of question."""

from __future__ import annotations

import base64
import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

    from rice_core.probe import Work
    from rice_core.record import Artifact

MOST = 40
"""Example questions; the same whoever answers, so that encoders can be held against each other."""
_SIDE = 448
"""Pixels of the longer side of a shown picture: large enough to read most of what is asked about."""
_KINDS = 20
_LONG = 2_000


@dataclass(frozen=True)
class ShownQuestion:
    """A question that was answered."""

    id: str
    question: str
    target: str
    """All that counts as right, as it is to be read."""
    answer: str
    value: float | None
    """How right the answer is, from 0 to 1; None where that is not known of one question."""
    kind: str = ""
    cluster: str = ""


def examples_artifact(
    work: Work, name: str, shown: Sequence[ShownQuestion], picture: Callable[[ShownQuestion], Image.Image | None]
) -> Artifact:
    """Keep a few questions with their answers and pictures.

    Args:
        name: the artifact's is NAME-examples.json.
        picture: of a question; called for those that are kept. One that cannot be read is left away.
    """
    some = chosen(shown)
    rows = [
        {
            "id": each.id,
            "question": _cut(each.question),
            "target": _cut(each.target),
            "answer": _cut(each.answer),
            "value": each.value,
            "kind": each.kind[:200],
            "picture": _webp(picture(each)),
        }
        for each in some
    ]
    caption = (
        f"{len(some)} of {len(shown):,} questions, the same for every encoder, chosen by their names: no answer has a part in it. "
        "Where encoders are held against each other an answer counts as right from half of its credit on."
    )
    body = {"questions": rows}
    return work.artifact_json(
        f"{name}-examples.json", body, figure="examples", title="Questions and answers", caption=caption
    )


def kinds_artifact(work: Work, name: str, shown: Sequence[ShownQuestion]) -> Artifact | None:
    """How right the answers to each kind of question are; None where all are of one kind."""
    from rice_core.stats.estimates import mean_clustered

    by_kind: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for each in shown:
        if each.value is not None:
            by_kind[each.kind or "other"].append((each.value, each.cluster or each.id))
    if len(by_kind) < 2:
        return None
    largest = sorted(by_kind, key=lambda kind: (-len(by_kind[kind]), kind))[:_KINDS]
    found = {kind: mean_clustered(*zip(*by_kind[kind], strict=True), (0.0, 1.0)) for kind in sorted(largest)}
    body: dict[str, Any] = {
        "x": {"label": "kind of question (questions)"},
        "y": {"label": "right", "unit": "%"},
        "categories": [f"{kind[:150]} ({each.n})" for kind, each in found.items()],
        "series": [
            {
                "values": [round(100 * each.value, 3) for each in found.values()],
                "intervals": [
                    None if each.ci95 is None else [round(100 * end, 3) for end in each.ci95] for each in found.values()
                ],
            }
        ],
    }
    left = len(by_kind) - len(found)
    caption = "Mean credit of an answer with its 95 % interval, clustered by picture or document." + (
        f" {left} rarer kinds are left out." if left else ""
    )
    return work.artifact_json(f"{name}-kinds.json", body, figure="bars", title="By kind of question", caption=caption)


def chosen(shown: Sequence[ShownQuestion], most: int = MOST) -> list[ShownQuestion]:
    """Some of them, in turn of each kind; which, depends on their names alone."""
    by_kind: dict[str, list[ShownQuestion]] = defaultdict(list)
    for each in sorted(shown, key=lambda each: hashlib.sha256(each.id.encode()).hexdigest()):
        by_kind[each.kind].append(each)
    turns = sorted((place, kind) for kind, some in by_kind.items() for place in range(len(some)))
    return sorted((by_kind[kind][place] for place, kind in turns[:most]), key=lambda each: each.id)


def _webp(picture: Image.Image | None) -> str:
    """Small, as base64; empty for none."""
    if picture is None:
        return ""
    small = picture.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=60)
    return base64.b64encode(buffer.getvalue()).decode()


def _cut(text: str) -> str:
    """What UTF-8 can write of it, without the middle of a long one."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _LONG else f"{text[: _LONG // 2]} ... {text[-_LONG // 2 :]}"
