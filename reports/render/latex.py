"""LaTeX with booktabs. The whole document compiles by itself with pdflatex; a paper takes the fragment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from reports.render.text import FormattedValue, groups, head, sections, shown
from reports.table import Column, Row, Table
from rice_core.echo import visible

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    # Bare, these are read as an argument of a line end before them.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "ρ": r"$\rho$",
    "–": r"\textendash{}",
    "−": "$-$",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "×": r"\texttimes{}",
}
_BEFORE = "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{textcomp}\n\\usepackage{booktabs}\n"
_PAGE = (
    "\\usepackage{graphicx}\n\\pagestyle{empty}\n"
    "\\addtolength{\\topmargin}{-15mm}\n\\addtolength{\\textheight}{40mm}\n"  # a table with many notes is one float
    "\\begin{document}\n"
)
_CLEAR = "\\clearpage\n"
_MOST_COLUMNS = 12
"""Beside each other; a table with more goes on below itself."""


def to_latex(*tables: Table, document: bool = True) -> str:
    """`table` environments, inside one document that compiles as it is, or alone (`document=False`) for `\\input`.

    The fragment needs `\\usepackage[T1]{fontenc}`, `textcomp`, `booktabs` and `graphicx`. A letter that pdflatex's
    standard fonts lack is printed as `[U+4E2D]`, so that no name can stop a paper from compiling.
    """
    fragments = [_fragment(table) for table in tables]
    # Each on a page of its own: LaTeX keeps few floats back, and stops at the next.
    return f"{_BEFORE}{_PAGE}{_CLEAR.join(fragments)}\\end{{document}}\n" if document else "\n".join(fragments)


def _fragment(table: Table) -> str:
    blocks = [_tabular(replace(table, columns=columns, rows=rows)) for columns, rows in _blocks(table)]
    notes = [f"\\par\\smallskip\\footnotesize {_escape(visible(note))}" for note in table.notes]
    lines = [
        "\\begin{table}[htbp]",
        "\\centering",
        f"\\caption{{{_escape(visible(table.title))}}}",
        "\n\\par\\medskip\n".join(blocks),
        *notes,
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _blocks(table: Table) -> Iterator[tuple[tuple[Column, ...], tuple[Row, ...]]]:
    """Columns with their values, few enough to be read at a page's width; what stands under one head stays together."""
    at = 0
    widths = [width for name, count in groups(table.columns) for width in ([count] if name else [1] * count)] or [0]
    while widths:
        width = widths.pop(0)
        while widths and width + widths[0] <= _MOST_COLUMNS:
            width += widths.pop(0)
        rows = tuple(replace(row, values=row.values[at : at + width]) for row in table.rows)
        yield table.columns[at : at + width], rows
        at += width


def _tabular(table: Table) -> str:
    parts = [_section(name, rows, table) for name, rows in sections(table.rows)]
    body = [line for i, part in enumerate(parts) for line in (["\\addlinespace", *part] if i else part)]
    lines = [
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%",
        f"\\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        "\\toprule",
        *_heads(table),
        "\\midrule",
        *body,
        "\\bottomrule",
        "\\end{tabular}}",
    ]
    return "\n".join(lines)


def _heads(table: Table) -> list[str]:
    lines: list[str] = []
    rules, spans, at = [], [], 2
    for name, count in groups(table.columns):
        spans.append(f"\\multicolumn{{{count}}}{{c}}{{{_escape(name)}}}")
        if name:
            rules.append(f"\\cmidrule(lr){{{at}-{at + count - 1}}}")
        at += count
    if rules:
        lines = [_line(["", *spans]), " ".join(rules)]
    return [*lines, _line(["", *(_escape(head(column)) for column in table.columns)])]


def _section(name: str, rows: list[Row], table: Table) -> list[str]:
    width = len(table.columns) + 1
    heading = [f"\\multicolumn{{{width}}}{{l}}{{\\textit{{{_escape(name)}}}}} \\\\"] if name.strip() else []
    return [*heading, *(_line(_cells(row, table)) for row in rows)]


def _cells(row: Row, table: Table) -> list[str]:
    label = _escape(visible(row.label))
    values = [_entry(shown(value, column), value.bold) for value, column in zip(row.values, table.columns, strict=True)]
    return [f"\\textit{{{label}}}" if row.muted else label, *values]


def _entry(entry: FormattedValue, bold: bool) -> str:
    words = _escape(entry.number + entry.error)
    mark = f"\\textsuperscript{{{_escape(entry.mark)}}}" if entry.mark else ""
    return (f"\\textbf{{{words}}}" if bold else words) + mark


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + " \\\\"


def _escape(text: str) -> str:
    unjoined = re.sub(r"(?<=-)-|(?<=,),", lambda match: "\0" + match.group(), text)  # `--` and `,,` are ligatures
    return "".join("{}" if char == "\0" else _ESCAPES.get(char) or _letter(char) for char in unjoined)


def _letter(char: str) -> str:
    printable = char.isascii() or ("À" <= char <= "ÿ" and char.isalpha())
    return char if printable else f"{{[}}U+{ord(char):04X}{{]}}"
