"""A table of the paper with ours beside it as tidy rows: one row a number, and whose it is stands in `source`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from reports.beside.average import agreed
from reports.beside.parts import BesideRow, Part
from reports.beside.source import ColumnSource, agreement
from reports.beside.table import Beside
from reports.frame import parameters_of


@dataclass(frozen=True)
class PaperNumber:
    """A number of the paper's table, ours of the same row and column, or their difference, in the column's unit."""

    table: str
    """As `Table 3`: a bare 3 in a column of words would carry an apostrophe."""
    row: str
    """Of the paper; the encoder's name where it is no row of the paper."""
    column: str
    """As `coco_det`, or the name of an average and its way."""
    source: Literal["ours", "paper", "delta"]
    value: float
    unit: str
    stderr: float | None = None
    """Of ours, like all that follows."""
    low: float | None = None
    high: float | None = None
    n: int | None = None
    verdict: str = ""
    """Of delta: within the goal, by the interval alone, or off."""
    encoder: str = ""
    shorthand: str = ""
    probe: str = ""
    parameters: str = ""
    recipe: str = ""
    dataset: str = ""
    metric: str = ""
    taints: str = ""
    """Whether seeds are missing; tainted records stand in no such table."""
    section: str = ""
    """Of the paper's table, whose rows may share a name."""


def paper_numbers(made: Beside) -> list[PaperNumber]:
    """By row and column of the printed table: ours, the paper's, and delta, each where there is one; averages last."""
    found = [row for part in made.parts for line, source in part.cells for row in _numbers(made, line, source)]
    found += [row for part in made.parts for row in _averages(made, part)]
    # Each reading has numbers of ours; the paper's are the same beside all of them.
    return list(dict.fromkeys(found))


def _numbers(made: Beside, line: BesideRow, source: ColumnSource) -> Iterator[PaperNumber]:
    named, section = _named(line)
    table, column, unit = f"Table {made.mapping.table}", source.printed.key, source.printed.unit
    key = line.entry.key if line.entry else ""
    printed = made.paper[line.row.key, column].value if line.row else None
    estimate, entry = source.estimate(key), source.entry(key)
    if estimate is not None and entry is not None:
        low, high = estimate.ci95 or (None, None)
        cell = entry.done[0].cell
        yield PaperNumber(
            table,
            named,
            column,
            "ours",
            estimate.value,
            unit,
            stderr=estimate.stderr,
            low=low,
            high=high,
            n=estimate.n,
            encoder=entry.label,
            shorthand=cell.encoder.told().shorthand,
            probe=cell.probe.name,
            parameters=parameters_of(cell),
            recipe=cell.probe.recipe,
            dataset=cell.dataset.title,
            metric=source.filling.metric,
            taints=source.lacking(entry),
            section=section,
        )
    if printed is not None:
        yield PaperNumber(table, named, column, "paper", printed, unit, section=section)
    if printed is not None and (own := source.agreed(key)) is not None:
        verdict = "" if source.unjudged else agreement(own, printed, source.filling.goal)
        asked = None if entry is None else entry.done[0].cell
        yield PaperNumber(
            table,
            named,
            column,
            "delta",
            own.value - printed,
            unit,
            verdict=verdict,
            parameters=parameters_of(asked) if asked else "",
            recipe=asked.probe.recipe if asked else "",
            section=section,
        )


def _averages(made: Beside, part: Part) -> Iterator[PaperNumber]:
    for line, source in ((line, source) for line in part.lines for source in part.averages):
        (named, section), key = _named(line), line.entry.key if line.entry else ""
        where = f"Table {made.mapping.table}", named, source.name
        estimate, theirs = source.estimate(key) if key else None, made.theirs(line, source)
        if estimate is not None:
            low, high = estimate.ci95 or (None, None)
            yield PaperNumber(
                *where,
                "ours",
                estimate.value,
                source.printed.unit,
                stderr=estimate.stderr,
                low=low,
                high=high,
                n=estimate.n,
                encoder=line.entry.label if line.entry else "",
                recipe=part.reading.recipe,
                section=section,
            )
        if theirs.value is not None:
            yield PaperNumber(*where, "paper", theirs.value, source.printed.unit, section=section)
            if estimate is not None:
                delta, verdict = estimate.value - theirs.value, agreed(source, key, theirs)
                recipe = part.reading.recipe
                yield PaperNumber(
                    *where, "delta", delta, source.printed.unit, verdict=verdict, recipe=recipe, section=section
                )


def _named(line: BesideRow) -> tuple[str, str]:
    """A row's name, and the section of the paper's table that it stands in."""
    named = line.entry.label if line.entry and line.row is None else line.label
    return named, line.row.section if line.row else ""
