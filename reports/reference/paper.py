"""The printed tables, typed. The data are `table1.yaml` to `table5.yaml` beside this file.

Cells are kept as the strings that were printed, because the number of decimals says how far a cell can be trusted;
`number` gives exact decimals. Our text copy of the paper is a scan that loses decimal points: where a row was mended,
`scan` keeps what was read, and `repairs` says how each cell was mended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from rice_core.errors import UserError
from rice_core.spec import Frozen

FILES = ("table1.yaml", "table2.yaml", "table3.yaml", "table4.yaml", "table5.yaml")
MISSING = "-"
_PRINTED = re.compile(r"[+-]?\d+(\.\d+)?|-")


def _words(value: Any) -> Any:
    return tuple(value.split()) if isinstance(value, str) else value


def _checked(cells: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [cell for cell in cells if not _PRINTED.fullmatch(cell)]
    if wrong:
        raise ValueError(f"not a printed number: {', '.join(wrong)}")
    return cells


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
Cells = Annotated[Words, AfterValidator(_checked)]


class PaperColumn(Frozen):
    """One printed column."""

    key: str
    label: str
    group: str = ""
    unit: str = ""
    better: Literal["higher", "lower", "neither"] = "higher"
    decimals: int = 2
    scale: int = 1
    """What the raw score was divided by to be printed here, or has to be divided by to span 0 to 100."""


class Average(Frozen):
    """How an average column is said to be made: the mean of `of`, each divided by its divisor (1 where none is named)."""

    column: str
    of: tuple[str, ...]
    divisors: dict[str, int] = {}
    stated_in: str


class PaperRow(Frozen):
    """One printed row."""

    key: str
    label: str
    section: str = ""
    encoder: str
    architecture: str = ""
    resolution: int | None = None
    """Input edge in pixels."""
    language_model: str = ""
    method: str = ""
    """The system around the encoder, where the table compares systems."""
    catalogue: str | None = None
    """Id of the public checkpoint in our catalogue; none where the weights are not public or not certain."""
    same_as: str = ""
    """Key of the same row in the table of which this table is a twin."""
    cells: Cells
    scan: Words = ()
    repair: str = ""


class PaperGain(Frozen):
    """A row of improvements. Cells without one are blank in print, so the columns are found by arithmetic (`placed`)."""

    label: str
    row: str
    against: str
    printed: Cells
    scan: Words = ()
    average: str = ""


class _Claim(Frozen):
    key: str
    sentence: str
    basis: str
    """What the claim is computed from: the sentence alone often does not say."""


class NumberClaim(_Claim):
    """The prose repeats a cell."""

    kind: Literal["number"]
    printed: str
    row: str
    column: str


class GainClaim(_Claim):
    """The prose gives a difference of two cells, perhaps calling `against` the strongest rival."""

    kind: Literal["gain"]
    printed: str
    row: str
    against: str
    column: str
    strongest: Literal["said", "implied", "no"] = "no"


class BestClaim(_Claim):
    """The prose says that a row beats its rivals (all other rows where none are named) in the columns (all where none)."""

    kind: Literal["best"]
    row: str
    columns: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    wording: Literal["all", "consistently", "most"]


class NameClaim(_Claim):
    """The text calls a group of columns by a name; the head of the table may say another."""

    kind: Literal["name"]
    says: str
    column: str


Claim = Annotated[NumberClaim | GainClaim | BestClaim | NameClaim, Field(discriminator="kind")]


class FullData(Frozen):
    """The row that was trained on all data with the same settings as an ablation's default row."""

    table: str
    row: str


class Repair(Frozen):
    """One cell of the scan that was mended."""

    row: str
    column: str
    read: str
    value: str
    how: str


class PrintedTable(Frozen):
    """One table, or one part of a table, with all that the text says about its numbers."""

    id: str
    title: str
    source: str
    notes: tuple[str, ...] = ()
    columns: tuple[PaperColumn, ...]
    averages: tuple[Average, ...] = ()
    repair: str = ""
    rows: tuple[PaperRow, ...]
    gains: tuple[PaperGain, ...] = ()
    claims: tuple[Claim, ...] = ()
    twin_of: str = ""
    """Id of the table that prints the same rows with more decimals."""
    ordered: bool = False
    """Rows are settings of one knob, in order."""
    default_row: str = ""
    """The setting that the other ablations of the same paper keep fixed."""
    full_data: FullData | None = None

    @model_validator(mode="after")
    def _consistent(self) -> PrintedTable:
        keys = [column.key for column in self.columns]
        rows = [row.key for row in self.rows]
        for name, found in (("column", keys), ("row", rows)):
            if len(set(found)) != len(found):
                raise ValueError(f"table {self.id}: two {name}s share a key")
        for row in self.rows:
            _same_length(f"table {self.id}, row {row.key}", row.cells, keys, row.scan)
        for gain in self.gains:
            _same_length(f"table {self.id}, {gain.label}", gain.printed, gain.printed, gain.scan)
        unknown = sorted(set(self._used_columns()) - set(keys)) + sorted(set(self._used_rows()) - set(rows))
        if unknown:
            raise ValueError(f"table {self.id}: no such row or column: {', '.join(unknown)}")
        return self

    def _used_columns(self) -> Iterable[str]:
        for average in self.averages:
            yield from (average.column, *average.of, *average.divisors)
        for claim in self.claims:
            yield from claim.columns if isinstance(claim, BestClaim) else (claim.column,)

    def _used_rows(self) -> Iterable[str]:
        yield from (key for gain in self.gains for key in (gain.row, gain.against))
        yield from (self.default_row,) if self.default_row else ()
        for claim in self.claims:
            if not isinstance(claim, NameClaim):
                yield claim.row
            if isinstance(claim, BestClaim):
                yield from claim.rivals
            if isinstance(claim, GainClaim):
                yield claim.against

    def column(self, key: str) -> PaperColumn:
        return next(column for column in self.columns if column.key == key)

    def row(self, key: str) -> PaperRow:
        return next(row for row in self.rows if row.key == key)

    def printed(self, row: str, column: str) -> str:
        """The cell as printed, `-` where the table leaves it blank."""
        return self.row(row).cells[[c.key for c in self.columns].index(column)]

    def number(self, row: str, column: str) -> Decimal | None:
        """The cell as an exact decimal, None where the table leaves it blank."""
        printed = self.printed(row, column)
        return None if printed == MISSING else Decimal(printed)

    def exact(self, row: str, column: str) -> Decimal:
        """A cell that something is derived from. Raises: ValueError, the table leaves it blank."""
        number = self.number(row, column)
        if number is None:
            raise ValueError(f"table {self.id}: {row}/{column} is blank, and a number or a claim rests on it")
        return number

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """Every cell that is not as the scan reads it. Rows of gains are listed under their label, column by number."""
        keys = [column.key for column in self.columns]
        rows = [(row.key, keys, row.scan, row.cells, row.repair or self.repair) for row in self.rows]
        gains = [
            (gain.label, [str(i) for i in range(1, len(gain.printed) + 1)], gain.scan, gain.printed, self.repair)
            for gain in self.gains
        ]
        return tuple(
            Repair(row=name, column=column, read=read, value=value, how=how)
            for name, columns, scan, cells, how in rows + gains
            for column, read, value in zip(columns, scan, cells, strict=False)  # no scan: printed as read
            if read != value
        )


def _same_length(where: str, cells: tuple[str, ...], columns: Iterable[str], scan: tuple[str, ...]) -> None:
    n = len(tuple(columns))
    if len(cells) != n or (scan and len(scan) != n):
        raise ValueError(f"{where}: {len(cells)} cells and {len(scan)} scanned ones for {n} columns")
    for cell, read in zip(cells, scan, strict=False):
        # The scan loses points and commas only. A cell with other digits would be our own slip.
        if re.sub("[.,]", "", cell) != re.sub("[.,]", "", read):
            raise ValueError(f"{where}: the scan reads {read}, which cannot be {cell}")


def parse(text: str, *, name: str = "table") -> tuple[PrintedTable, ...]:
    """The tables of one YAML file.

    Raises:
        UserError: not YAML, not a list of tables, an unknown key, or a row that does not fit the columns.
    """
    try:
        found = yaml.safe_load(text)
        return tuple(PrintedTable.model_validate(entry) for entry in found)
    except (yaml.YAMLError, ValidationError, TypeError) as error:
        why = _wrong(error)
        raise UserError(
            f"{name} is not a table of the paper ({why}); compare it with those in reports/reference"
        ) from error


def _wrong(error: Exception) -> str:
    """The first few things that are wrong, on one line: where, and what."""
    if isinstance(error, ValidationError):
        wrong = [f"{'.'.join(map(str, found['loc']))}: {found['msg']}".removeprefix(": ") for found in error.errors()]
        return "; ".join(wrong[:3])
    return " ".join(str(error).split())


@cache
def printed_tables() -> tuple[PrintedTable, ...]:
    """All tables, in the order of the paper: 1, 1-page, 2, 3, 4, 5a, 5b, 5c, 5d."""
    folder = files("reports.reference")
    return tuple(table for name in FILES for table in parse((folder / name).read_text("utf-8"), name=name))
