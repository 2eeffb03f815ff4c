"""Table: rows of values with errors, and what is needed to read them. Renderers are in `reports.render`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """One metric. `group` is printed above neighbouring columns that share it ("COCO")."""

    key: str
    label: str
    group: str = ""
    unit: str = ""
    better: Literal["higher", "lower", "neither"] = "higher"
    decimals: int = 1


@dataclass(frozen=True)
class Value:
    """One entry. An entry with neither `value` nor `text` is missing and printed as a dot.

    Where both are given, `text` is what people see ("+9.79") and `value` is what sorts and goes into the CSV.
    """

    value: float | None = None
    stderr: float | None = None
    text: str = ""
    bold: bool = False
    """Best in its column by a paired interval that excludes zero; never by the point value alone."""
    mark: str = ""
    """Footnote sign, explained in the table's notes."""
    href: str = ""
    """Relative link, used by the HTML renderer."""
    hint: str = ""
    """Longer words for the same entry: an HTML title, ignored elsewhere."""
    partial: bool = False
    """Over fewer parts than its column claims: its mark says so, and no table sorts it among whole ones."""


@dataclass(frozen=True)
class Row:
    """One encoder (or the chance level, or a row of the paper)."""

    label: str
    values: tuple[Value, ...]
    section: str = ""
    """Rows of one section are printed under its heading."""
    muted: bool = False
    """A yardstick (chance, ceiling, paper), not a contestant."""


@dataclass(frozen=True)
class Table:
    """What one table of the report holds.

    Raises:
        ValueError: a row has another number of values than there are columns.
    """

    key: str
    """Stable name: file names and anchors are made of it; letters, digits and dashes."""
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(f"row {row.label!r} has {len(row.values)} values for {len(self.columns)} columns")
