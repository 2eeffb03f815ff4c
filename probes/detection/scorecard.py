"""What `ricebench evaluate` says: a table for people, JSON and tidy CSV for programs. AP and AR in percent."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rice_core.echo import visible

if TYPE_CHECKING:
    from probes.detection.evaluate import Judged, Scored
    from probes.detection.truth import GroundTruth

COLUMNS = ("kind", "metric", "category", "frequency", "value", "unit", "stderr", "low", "high", "n")
"""Of the CSV and of JSON's `numbers`. `category` is empty for a number over all; `n` is images, or the objects of a category."""
_HEADS = {"box": "boxes", "mask": "masks"}


def numbers(scored: Scored, truth: GroundTruth) -> Iterator[dict[str, Any]]:
    """One row a number, in the order of COLUMNS; `value` is None where nothing of the kind is annotated."""
    objects = truth.objects
    for kind, judged in scored.kinds.items():
        for name, value in (judged.ap | judged.ar).items():
            error = judged.errors.get(name)
            low, high = error.ci95 if error and error.ci95 else (None, None)
            stderr = error.stderr if error else None
            yield _row(kind, name, None, None, value, stderr, low, high, len(scored.samples))
        for category, ap in zip(truth.categories, judged.category_ap_K.tolist(), strict=True):
            value = None if ap != ap else ap
            yield _row(kind, "AP", category.name, category.frequency, value, None, None, None, objects[category.id])


def _row(kind: str, metric: str, category: str | None, frequency: str | None, value: float | None, *rest: Any) -> Any:
    return dict(zip(COLUMNS, (kind, metric, category, frequency, value, "%", *rest), strict=True))


def to_json(scored: Scored, truth: GroundTruth, facts: Mapping[str, Any]) -> str:
    """An object with `facts` and the list `numbers`."""
    return json.dumps({**facts, "numbers": list(numbers(scored, truth))}, indent=1, allow_nan=False)


def to_csv(scored: Scored, truth: GroundTruth) -> str:
    """One row a number below one header, at full precision."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "category": visible(row["category"] or "")} for row in numbers(scored, truth))
    return out.getvalue()


def to_terminal(scored: Scored, truth: GroundTruth, facts: Mapping[str, Any], *, categories: bool) -> str:
    """The facts, AP and AR, with `categories` also AP by category, and how the errors were found."""
    lines = [f"{key}: {value}" for key, value in facts.items() if not isinstance(value, list)]
    kinds = scored.kinds
    rows = [(name, [_cell(judged, name) for judged in kinds.values()]) for name in (*scored.box.ap, *scored.box.ar)]
    lines += _table("AP, %", [_HEADS[kind] for kind in kinds], rows)
    if error := scored.box.errors.get("AP"):
        lines.append(f"+-: standard error, {error.method}")
    if categories:
        objects = truth.objects
        by_name = [
            (category.name, [str(objects[category.id]), *(_percent(j.category_ap_K[k]) for j in kinds.values())])
            for k, category in enumerate(truth.categories)
        ]
        lines += ["", *_table("category", ["objects", *(_HEADS[kind] for kind in kinds)], by_name)]
    return "\n".join(lines)


def _table(corner: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    named = [(corner, heads), *((visible(name), cells) for name, cells in rows)]
    first = max(len(name) for name, _ in named)
    widths = [max(len(cells[i]) for _, cells in named) for i in range(len(heads))]
    return [
        f"{name:<{first}}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for name, cells in named
    ]


def _cell(judged: Judged, name: str) -> str:
    value, error = (judged.ap | judged.ar)[name], judged.errors.get(name)
    if value is None:
        return "."
    return f"{value:.2f}" + (f" +-{error.stderr:.2f}" if error and error.stderr is not None else "")


def _percent(value: float) -> str:
    return "." if value != value else f"{value:.2f}"
