"""GitHub-flavoured Markdown. Every line of the table has the same number of cells, whatever the names hold."""

from __future__ import annotations

import re

from reports.render.text import FormattedValue, groups, head, sections, shown
from reports.table import Row, Table
from rice_core.echo import visible

# Entities, not backslashes: CommonMark never reads an entity as structure, while parsers disagree on `\\|` in a table.
_SPECIAL = re.compile(r"[\\|<>&*_`\[\]~$#!]|:(?=//)")


def to_markdown(table: Table) -> str:
    """Title, pipe table, notes. Group names go before the labels; a section is a row with empty entries."""
    n = len(table.columns)
    prefixes = [f"{name} " if name else "" for name, count in groups(table.columns) for _ in range(count)]
    heads = [_escape(prefix + head(column)) for prefix, column in zip(prefixes, table.columns, strict=True)]
    lines = [f"**{_escape(visible(table.title).strip())}**", ""] if table.title.strip() else []
    lines += [_line(["", *heads]), _line([":--", *["--:"] * n])]
    for name, rows in sections(table.rows):
        if name.strip():
            lines.append(_line([f"**{_escape(name.strip())}**", *[""] * n]))
        lines += [_line(_cells(row, table)) for row in rows]
    if table.notes:
        lines += ["", *(f"- {_note(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _cells(row: Row, table: Table) -> list[str]:
    label = _escape(visible(row.label).strip())
    values = [_entry(shown(value, column), value.bold) for value, column in zip(row.values, table.columns, strict=True)]
    return [f"*{label}*" if row.muted and label else label, *values]


def _entry(entry: FormattedValue, bold: bool) -> str:
    words = _escape((entry.number + entry.error).strip())
    mark = f"<sup>{_escape(entry.mark)}</sup>" if entry.mark else ""
    return f"**{words}**{mark}" if bold and words else words + mark


def _note(note: str) -> str:
    words = _escape(visible(note).strip())
    return re.sub(r"^[-+=\d]", lambda match: f"&#{ord(match.group())};", words)  # else it would open a list of its own


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(text: str) -> str:
    return _SPECIAL.sub(lambda match: f"&#{ord(match.group())};", text)
