"""What `ricebench evaluate` says: a table for people, JSON and tidy CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rice_core.echo import visible

if TYPE_CHECKING:
    from rice_core.scorer import Checked, Rated, Scorecard

NUMBERS = ("value", "unit", "stderr", "low", "high", "n")
"""Of a row of CSV and of JSON's `numbers`, behind its labels; nothing where there is none."""
_SAID = ("item", "reason", "times")


def to_json(checked: Checked, card: Scorecard | None) -> str:
    """An object with the facts, `left_out`, `notes`, and the list `numbers`, some with what is `said` of them; without a card, `usable`."""
    numbers = [] if card is None else [_number(row) | ({"said": row.said} if row.said else {}) for row in card.rows]
    body = {
        **checked.facts,
        "left_out": [f"{skip.item} {skip.reason}" for skip in checked.left_out],
        "notes": list(checked.notes),
        **({"usable": checked.usable} if card is None else {"numbers": numbers}),
    }
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def to_csv(checked: Checked, card: Scorecard | None) -> str:
    """One row a number below one header, at full precision; without a card, one row a reason to leave entries out."""
    if card is None:
        rows, columns = [skip.model_dump() for skip in checked.left_out], _SAID
    else:
        rows, columns = [_number(row) for row in card.rows], (*(card.rows[0].labels if card.rows else ()), *NUMBERS)
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: visible(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows
    )
    return out.getvalue()


def to_terminal(checked: Checked, card: Scorecard | None, *, details: bool) -> str:
    """The facts, the table, how the errors were found, what is said of the numbers, and with `details` the table of those."""
    lines = [f"{key}: {value}" for key, value in checked.facts.items()]
    if card is None:
        wrong = sum(skip.times for skip in checked.left_out)
        return "\n".join([*lines, f"{checked.usable} entries can be judged; {wrong or 'none'} cannot"])
    lines += _table([row for row in card.rows if not row.detail], card.across)
    shown = [row for row in card.rows if details or not row.detail]
    methods = dict.fromkeys(row.error.method for row in shown if row.error and row.error.stderr is not None)
    lines += [f"+-: standard error, {method}" for method in methods]
    lines += [f"{_name(row, '')}: {visible(row.said)}" for row in shown if row.said]
    if details:
        lines += ["", *_table([row for row in card.rows if row.detail], card.across)]
    return "\n".join(lines)


def _number(row: Rated) -> dict[str, Any]:
    low, high = (row.error and row.error.ci95) or (None, None)
    stderr = row.error.stderr if row.error else None
    return {**row.labels, **dict(zip(NUMBERS, (row.value, row.unit, stderr, low, high, row.n), strict=True))}


def _name(row: Rated, across: str) -> str:
    return " ".join(visible(value) for key, value in row.labels.items() if key != across and value)


def _table(rows: Sequence[Rated], across: str) -> list[str]:
    """A line for the labels but `across`, a column for each value of that."""
    lines: dict[tuple[str, int], dict[str, Rated]] = {}
    seen: Counter[tuple[str, str]] = Counter()  # nothing forbids two categories of one name
    for row in rows:
        name = _name(row, across)
        head = visible(row.labels.get(across) or "value")
        lines.setdefault((name, seen[name, head]), {})[head] = row
        seen[name, head] += 1
    heads = list(dict.fromkeys(head for cells in lines.values() for head in cells))
    units = {row.unit for row in rows}
    corner = next((key for row in rows for key in row.labels if key != across), "")
    written = [[corner + (f", {unit}" if len(units) == 1 and (unit := min(units)) else ""), "n", *heads]]
    for (name, _), cells in lines.items():
        n = "/".join(dict.fromkeys(str(row.n) for row in cells.values()))
        written.append([name, n, *(_cell(cells.get(head), with_unit=len(units) > 1) for head in heads)])
    widths = [max(map(len, column)) for column in zip(*written, strict=True)]
    return [
        f"{name:<{widths[0]}}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        for name, *cells in written
    ]


def _cell(row: Rated | None, *, with_unit: bool) -> str:
    if row is None or row.value is None:
        return "."
    stderr = row.error.stderr if row.error else None
    return (
        f"{row.value:.2f}"
        + (f" +-{stderr:.2f}" if stderr is not None else "")
        + f" {row.unit}" * (with_unit and bool(row.unit))
    )
