"""Plain or coloured text for a terminal or a pipe. A table too wide for the line is cut between columns, never inside one."""

from __future__ import annotations

import io
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from reports.render.text import ARROWS, groups, sections, shown, unit_and_arrow
from reports.table import Column, Row, Table, Value
from rice_core.echo import visible

_GAP = 2
_PLAIN = {"±": "+-", "·": ".", "↑": "^", "↓": "v", "─": "-", "–": "-", "−": "-", "→": "->", "ρ": "rho"}
_BOLD, _DIM, _ITALIC = Style(bold=True), Style(dim=True), Style(italic=True)


def to_terminal(table: Table, *, width: int, colour: bool, signs: bool | None = None) -> str:
    """The table in lines of at most `width` cells (a single column wider than that is kept whole).

    With `colour` the text holds ANSI styles. With `signs` (as `colour` unless given) it holds signs such as `±`;
    without, it is ASCII alone, for old terminals: other characters are spelled out. The environment changes nothing.
    """
    canvas = _Canvas(table, width=max(width, 20), signs=colour if signs is None else signs)
    lines = [canvas.text(table.title, _BOLD)] if table.title else []
    for i, block in enumerate(canvas.blocks()):
        lines += [Text(), *canvas.draw(block)] if i else canvas.draw(block)
    lines += [canvas.text(note, _DIM) for note in (*canvas.legend(), *table.notes)]
    return _printed(lines, width=max(width, 20), colour=colour)


def _printed(lines: list[Text], *, width: int, colour: bool) -> str:
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
        height=25,  # with both sides given, rich asks neither the terminal nor the environment
        force_jupyter=False,
    )
    for line in lines:
        console.print(line, soft_wrap=line.no_wrap, markup=False, highlight=False, emoji=False)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


@dataclass(frozen=True)
class _Block:
    """The columns first <= j < last, drawn together. Widths are in terminal cells."""

    first: int
    last: int


class _Canvas:
    """One table measured for one width: numbers are right-aligned, errors and marks hang to the right of them."""

    def __init__(self, table: Table, *, width: int, signs: bool) -> None:
        self.table, self.width, self.signs = table, width, signs
        self.labels = [self.words(column.label) for column in table.columns]
        self.units = [self.words(unit_and_arrow(column)) for column in table.columns]
        cells = [[self.parts(v, c) for v, c in zip(row.values, table.columns, strict=True)] for row in table.rows]
        self.cells = cells
        self.tails = [max((cell_len(row[j][1]) for row in cells), default=0) for j in range(len(table.columns))]
        self.widths = [
            max([cell_len(label), cell_len(unit), *(cell_len(row[j][0]) + self.tails[j] for row in cells)])
            for j, (label, unit) in enumerate(zip(self.labels, self.units, strict=True))
        ]
        longest = max((cell_len(self.words(row.label)) for row in table.rows), default=0)
        self.label_width = min(longest, max(12, width // 2))

    def words(self, text: str) -> str:
        seen = visible(text)
        if self.signs:
            return seen
        plain = "".join(_PLAIN.get(char, char) for char in seen)
        return plain.encode("ascii", "backslashreplace").decode()

    def text(self, text: str, style: Style) -> Text:
        return Text(self.words(text), style=style)

    def legend(self) -> list[str]:
        """What the ASCII stand-ins for the arrows mean; the arrows themselves need no words."""
        ways = {column.better for column in self.table.columns}
        words = [f"{_PLAIN[ARROWS[way]]} {way} is better" for way in ("higher", "lower") if way in ways]
        return [", ".join(words)] if words and not self.signs else []

    def parts(self, value: Value, column: Column) -> tuple[str, str]:
        entry = shown(value, column)
        mark = f" [{self.words(entry.mark)}]" if entry.mark else ""
        return self.words(entry.number), self.words(entry.error) + mark

    def blocks(self) -> list[_Block]:
        """Greedy: as many whole columns as fit; a group is kept together where it fits a line of its own."""
        ends, at, out = [], 0, []
        for _, count in groups(self.table.columns):
            at += count
            ends.append(at)
        first, n = 0, len(self.widths)
        while first < n:
            last = first + 1
            while last < n and self._span(first, last + 1) <= self.width:
                last += 1
            whole = [end for end in ends if first < end <= last]
            last = whole[-1] if whole and last < n else last
            out.append(_Block(first, last))
            first = last
        return out or [_Block(0, 0)]

    def _span(self, first: int, last: int) -> int:
        return self.label_width + sum(self._block_widths(first, last)) + _GAP * (last - first)

    def _block_widths(self, first: int, last: int) -> list[int]:
        """Column widths, the first of a group widened where its group's name needs the room."""
        widths, at = self.widths[first:last], 0
        for name, count in groups(self.table.columns[first:last]):
            room = sum(widths[at : at + count]) + _GAP * (count - 1)
            widths[at] += max(0, cell_len(self.words(name)) - room)
            at += count
        return widths

    def draw(self, block: _Block) -> list[Text]:
        widths = self._block_widths(block.first, block.last)
        names = groups(self.table.columns[block.first : block.last])
        lines = [self._groups(names, widths)] if any(name for name, _ in names) else []
        for heads in (self.labels, self.units):
            if any(heads):
                lines.append(self._row([""], [(name, Style()) for name in self._aligned(heads, block, widths)])[0])
        rule = "─" if self.signs else "-"
        lines.append(_fixed(rule * (self.label_width + sum(widths) + _GAP * len(widths)), _DIM))
        at = 0
        for section, rows in sections(self.table.rows):
            if section.strip():
                lines.append(self.text(section, _ITALIC))
            for row in rows:
                lines += self._entry(row, self.cells[at], block, widths)
                at += 1
        return lines

    def _groups(self, names: list[tuple[str, int]], widths: list[int]) -> Text:
        line, at = " " * self.label_width, 0
        for name, count in names:
            room = sum(widths[at : at + count]) + _GAP * (count - 1)
            words = self.words(name)
            dashes = "─" if self.signs else "-"
            spare = room - cell_len(words) - 2
            filled = (
                f"{dashes * (spare // 2)} {words} {dashes * (spare - spare // 2)}" if words and spare >= 0 else words
            )
            line += " " * _GAP + filled + " " * (room - cell_len(filled))
            at += count
        return _fixed(line, _DIM)

    def _aligned(self, texts: list[str], block: _Block, widths: list[int]) -> list[str]:
        return [
            " " * (width - cell_len(text)) + text
            for text, width in zip(texts[block.first : block.last], widths, strict=True)
        ]

    def _entry(self, row: Row, cells: list[tuple[str, str]], block: _Block, widths: list[int]) -> list[Text]:
        values = []
        for j, width in zip(range(block.first, block.last), widths, strict=True):
            number, tail = cells[j]
            tail += " " * (self.tails[j] - cell_len(tail))
            style = _DIM if row.muted else (_BOLD if row.values[j].bold else Style())
            values.append((" " * (width - cell_len(number) - cell_len(tail)) + number + tail, style))
        return self._row(self._label(row.label), values, _DIM if row.muted else Style())

    def _label(self, label: str) -> list[str]:
        words = Text(self.words(label))
        wrapped = words.wrap(Console(width=self.width, height=25), max(self.label_width, 1), overflow="fold")
        return [line.plain.rstrip() for line in wrapped] or [""]

    def _row(self, label: list[str], values: list[tuple[str, Style]], style: Style | None = None) -> list[Text]:
        first = Text(no_wrap=True, end="")
        first.append(label[0] + " " * (self.label_width - cell_len(label[0])), style)
        for words, value_style in values:
            first.append(" " * _GAP)
            first.append(words, value_style)
        return [first, *(_fixed(line, style or Style()) for line in label[1:])]


def _fixed(words: str, style: Style) -> Text:
    return Text(words, style=style, no_wrap=True)
