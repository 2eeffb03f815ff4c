"""CSV for spreadsheets and data frames (RFC 4180): full precision, one standard-error column beside each metric."""

from __future__ import annotations

import csv
import io

from reports.render.text import exact
from reports.table import Column, Row, Table, Value
from rice_core.echo import visible

# A spreadsheet runs a text cell that begins with one of these as a formula. The wide forms count in East Asian locales.
_FORMULA = ("=", "+", "-", "@", "|", "%", "＝", "＋", "－", "＠")


def to_csv(table: Table) -> str:
    """The table as CSV with CRLF line ends.

    Columns: `section`, `label`, then `KEY` and `KEY stderr` for each column's key. An entry without a value gives its
    text, a missing entry an empty field. Text that a spreadsheet would run as a formula is preceded by an apostrophe.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["section", "label", *(name for column in table.columns for name in _names(column))])
    writer.writerows(_fields(row) for row in table.rows)
    return out.getvalue()


def _names(column: Column) -> tuple[str, str]:
    return _text(column.key), _text(f"{column.key} stderr")


def _fields(row: Row) -> list[str]:
    fields = [_text(row.section), _text(row.label)]
    for value in row.values:
        fields += [_number_or_text(value), "" if value.stderr is None else exact(value.stderr)]
    return fields


def _number_or_text(value: Value) -> str:
    return _text(value.text) if value.value is None else exact(value.value)


def _text(text: str) -> str:
    seen = visible(text)
    return f"'{seen}" if seen.lstrip().startswith(_FORMULA) else seen
