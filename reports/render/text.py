"""What all renderers share: how an entry and a head read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from reports.table import Column, Row, Value
from rice_core.echo import visible

MISSING = "·"
ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}


@dataclass(frozen=True)
class FormattedValue:
    """One entry as words: `38.7`, ` ± 0.2` and the footnote sign, apart so that numbers can be aligned."""

    number: str
    error: str
    mark: str


def shown(value: Value, column: Column) -> FormattedValue:
    """The entry with the column's decimals. An error that would round to zero is printed as `<0.1`, never as `0.0`."""
    if value.text:
        number = visible(value.text)
    elif value.value is None:
        number = MISSING
    else:
        number = f"{value.value:z.{column.decimals}f}"
    error = ""
    if value.value is not None and value.stderr is not None:
        error = f" ± {_rounded_error(value.stderr, column.decimals)}"
    return FormattedValue(number=number, error=error, mark=visible(value.mark))


def _rounded_error(stderr: float, decimals: int) -> str:
    rounded = f"{stderr:z.{decimals}f}"
    return f"<{10.0**-decimals:.{decimals}f}" if stderr > 0 and float(rounded) == 0 else rounded


def exact(number: float) -> str:
    """The shortest decimal that reads back as the same float."""
    return repr(float(number))


def is_number(value: Value) -> bool:
    return value.value is not None and math.isfinite(value.value)


def head(column: Column) -> str:
    """`Det AP (%) ↑`: label, unit and which way is better."""
    unit = f" ({visible(column.unit)})" if column.unit else ""
    arrow = f" {ARROWS[column.better]}" if ARROWS[column.better] else ""
    return f"{visible(column.label)}{unit}{arrow}"


def unit_and_arrow(column: Column) -> str:
    """`% ↑`: the second line of a head where heads have two."""
    return f"{visible(column.unit)} {ARROWS[column.better]}".strip()


def groups(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Runs of neighbouring columns with the same group: (name, how many). The name is empty where there is none."""
    return [(visible(name), len(list(run))) for name, run in groupby(columns, key=lambda column: column.group)]


def sections(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Runs of neighbouring rows with the same section: (heading, rows)."""
    for name, run in groupby(rows, key=lambda row: row.section):
        yield visible(name), list(run)
