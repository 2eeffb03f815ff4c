"""CSV for data frames and spreadsheets (RFC 4180), numbers at full precision.

Tidy: one row a number, columns that do not depend on the store. Wide: the tables as they are printed.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import astuple, fields
from typing import Any

from reports.render.text import exact
from reports.table import Column, Row, Table, Value
from rice_core.echo import visible

# A spreadsheet runs a text cell that begins with one of these as a formula. The wide forms count in East Asian locales.
_FORMULA = ("=", "+", "-", "@", "|", "%", "＝", "＋", "－", "＠")
# What pandas reads as missing whatever column it stands in; R has NA alone.
_MISSING = frozenset(
    "#N/A,#N/A N/A,#NA,-1.#IND,-1.#QNAN,-NaN,-nan,1.#IND,1.#QNAN,<NA>,N/A,NA,NULL,NaN,None,n/a,nan,null".split(",")  # noqa: SIM905
)
_NOT_TEXT = re.compile(
    r"\s*[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?\s*|\s*[+-]?inf(inity)?\s*|true|false", re.IGNORECASE
)


def to_tidy_csv(kind: type[Any], rows: Iterable[Any]) -> str:
    """Rows of the dataclass `kind` as CSV with CRLF line ends; the header is the names of its fields.

    What is missing is an empty field. Text that a spreadsheet would run, or that pandas would take for a number, a truth value
    or a missing entry (an encoder that is called NA), is preceded by an apostrophe: so a column of names stays one.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([field.name for field in fields(kind)])
    writer.writerows([_field(value) for value in astuple(row)] for row in rows)
    return out.getvalue()


def to_csv(*tables: Table) -> str:
    """Tables in the shape in which they are printed, as one CSV with CRLF line ends and one header.

    Columns: `section`, `label`, then `KEY`, `KEY stderr` and (where any value has a mark) `KEY mark` for each column's key; of
    several tables the first column is `table`, the table's title, and a table has empty fields in the columns of others. An
    entry without a value gives its text, a missing entry an empty field. Text that a spreadsheet would run as a formula is
    preceded by an apostrophe.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    several = len(tables) > 1
    heads = list(dict.fromkeys(head for table in tables for column in table.columns for head in _heads(table, column)))
    names = [_text(" ".join(head).rstrip()) for head in heads]
    writer.writerow([*(["table"] if several else []), "section", "label", *names])
    for table in tables:
        for row in table.rows:
            found = _fields(table, row)
            first = [_text(table.title)] if several else []
            writer.writerow([*first, _text(row.section), _text(row.label), *(found.get(head, "") for head in heads)])
    return out.getvalue()


Head = tuple[str, str]
"""Key of a column, and which of its fields: "", "stderr" or "mark"."""


def _heads(table: Table, column: Column) -> list[Head]:
    at = table.columns.index(column)
    marks = [(column.key, "mark")] if any(row.values[at].mark for row in table.rows) else []
    return [(column.key, ""), (column.key, "stderr"), *marks]


def _fields(table: Table, row: Row) -> dict[Head, str]:
    found = {}
    for column, value in zip(table.columns, row.values, strict=True):
        found[column.key, ""] = _number_or_text(value)
        found[column.key, "stderr"] = "" if value.stderr is None else exact(value.stderr)
        found[column.key, "mark"] = _text(value.mark)
    return found


def _number_or_text(value: Value) -> str:
    return _text(value.text) if value.value is None else exact(value.value)


def _text(text: str) -> str:
    seen = visible(text)
    return f"'{seen}" if seen.lstrip().startswith(_FORMULA) else seen


def _field(value: str | float | None) -> str:
    match value:
        case None:
            return ""
        case bool() | int():
            return str(value)
        case float():
            return exact(value)
        case "%":  # a unit, and alone it runs nothing
            return value
    return f"'{visible(value)}" if value in _MISSING or _NOT_TEXT.fullmatch(value) else _text(value)
