"""Mapping: which probe, data set and metric fill a column of the paper, and which encoder is which row."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from reports.reference.paper import PaperRow, PrintedTable, printed_tables
from rice_core.catalogue import entries
from rice_core.errors import UserError
from rice_core.spec import DatasetSpec, EncoderSpec, Frozen, ProbeSpec


class Role(Frozen):
    """The data that columns are measured on."""

    title: str
    given: str = "FOLDER"
    """What follows --data in a command."""
    counts: str = "samples"
    """What a metric's `n` counts: "images"."""
    names: tuple[str, ...] = ()
    """Names of the data sets that may play this role; none: any."""
    learnt_from: tuple[str, ...] = ()
    """Layouts of what the paper's probe learnt from; none: its own train split."""

    def taught_as(self, dataset: DatasetSpec) -> bool:
        """Whether what was learnt from is what the paper's probe learnt from."""
        layouts = {each.layout for each in dataset.learnt_from} or {dataset.layout}
        return layouts == ({*self.learnt_from} or {dataset.layout})


class Filling(Frozen):
    """What fills one column."""

    probe: str
    data: str
    """Key of the mapping's `data`."""
    metric: str
    n: int | None = None
    """What the published data has of what the role counts; None: not checked."""
    goal: float = Field(gt=0)
    """In the column's unit."""


class Reading(Frozen):
    """One way to read what the paper leaves open: the records of one recipe, which stand in a section of their own."""

    recipe: str
    settings: dict[str, str] = {}
    """Of the probe, beside the recipe, that it is told by."""
    said: str
    """What it is, for the section's heading."""
    section: str = ""
    """Of the printed table, whose rows it is about; empty: all rows."""
    unjudged: str = ""
    """Why its numbers get no verdict; empty where they do."""

    @property
    def title(self) -> str:
        """`paper@2` or `paper@2?rate=chosen`."""
        settings = "&".join(f"{key}={value}" for key, value in self.settings.items())
        return self.recipe + (f"?{settings}" if settings else "")

    @property
    def heading(self) -> str:
        return f"{self.title}: {self.said}"

    def is_of(self, probe: ProbeSpec) -> bool:
        """Whether a probe asks for it; of several the one with the most settings is meant."""
        asked = {key: str(value) for key, value in probe.params.items()}
        return probe.recipe == self.recipe and self.settings.items() <= asked.items()


class Mean(Frozen):
    """An average column by one way to make it: the mean of what the printed table says it is of, each divided by its divisor."""

    column: str
    """Of the printed table."""
    said: str
    """The way, for the column's heading."""
    divisors: dict[str, int] = {}
    printed: bool = True
    """False: the paper's number beside ours is made from its cells in this way, and not the one that it prints."""
    goal: float = Field(gt=0)


class Mapping(Frozen):
    """One table of the paper, as our records fill it."""

    table: str
    data: dict[str, Role]
    readings: tuple[Reading, ...] = Field(min_length=1)
    """The first is the paper as it is printed."""
    settings: dict[str, tuple[str, ...]] = {}
    """Of a probe, that leave its number's meaning alone -> the values they may have; none named: any."""
    columns: dict[str, Filling]
    averages: dict[str, Mean] = {}
    """By a name that no column has, unless it is the printed way."""
    assumed: tuple[str, ...] = ()
    """What the paper leaves open and was decided: a sentence each, below the table."""
    encoders: dict[str, tuple[str, ...]] = {}
    """Row -> shorthands of its encoder, beside the one of the row's `catalogue`."""

    @property
    def printed(self) -> PrintedTable:
        """The table as the paper prints it."""
        return next(table for table in printed_tables() if table.id == self.table)

    def reading_of(self, probe: ProbeSpec) -> Reading | None:
        """What a probe asks for; None where that is no reading of the paper."""
        found = [reading for reading in self.readings if reading.is_of(probe)]
        return max(found, key=lambda reading: len(reading.settings), default=None)

    def roles(self, probe: str) -> list[Role]:
        """What a probe's columns are measured on."""
        return [self.data[filling.data] for filling in self.columns.values() if filling.probe == probe]

    @property
    def probes(self) -> tuple[str, ...]:
        """In the order of the columns."""
        return tuple(dict.fromkeys(filling.probe for filling in self.columns.values()))

    def rows(self, reading: Reading) -> tuple[PaperRow, ...]:
        """Those of the paper that a reading is about."""
        return tuple(row for row in self.printed.rows if reading.section in ("", row.section))

    def specs(self, row: PaperRow) -> tuple[EncoderSpec, ...]:
        """What a row's encoder is asked for as; empty where no public weights are known for it, or none that can be read."""
        texts = [entry.spec for entry in entries() if entry.id == row.catalogue and not entry.unreadable]
        return tuple(EncoderSpec.parse(text) for text in (*texts, *self.encoders.get(row.key, ())))

    @model_validator(mode="after")
    def _of_a_printed_table(self) -> Mapping:
        table = next((table for table in printed_tables() if table.id == self.table), None)
        if table is None:
            raise ValueError(f"the paper has no table {self.table!r}")
        unknown = set(self.columns) - {column.key for column in table.columns}
        unknown |= set(self.encoders) - {row.key for row in table.rows}
        unknown |= {filling.data for filling in self.columns.values()} - set(self.data)
        unknown |= {reading.section for reading in self.readings} - {"", *(row.section for row in table.rows)}
        unknown |= {mean.column for mean in self.averages.values()} - {average.column for average in table.averages}
        if unknown:
            raise ValueError(f"table {self.table}: no such column, row, section or data: {', '.join(sorted(unknown))}")
        return self


def parse(text: str) -> tuple[Mapping, ...]:
    """The mappings of a YAML file.

    Raises:
        UserError: not YAML, an unknown key, or a column, row or data set that is not there.
    """
    try:
        return TypeAdapter(tuple[Mapping, ...]).validate_python(tuple(yaml.safe_load(text)))
    except (yaml.YAMLError, ValidationError, TypeError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else " ".join(str(error).split())
        raise UserError(f"this is no mapping ({why}); compare it with reports/reference/beside.yaml") from error


@cache
def mappings() -> tuple[Mapping, ...]:
    """All of reports/reference/beside.yaml."""
    return parse((files("reports.reference") / "beside.yaml").read_text("utf-8"))


def mapping_of(which: str) -> Mapping:
    """The mapping of one table.

    Raises:
        UserError: no probe of ours fills that table.
    """
    found = next((mapping for mapping in mappings() if mapping.table == which), None)
    if found is None:
        known = ", ".join(mapping.table for mapping in mappings())
        raise UserError(
            f"No probe of ours fills the paper's Table {which}; --paper takes {known}. "
            "`ricebench reference` prints the tables as they are."
        )
    return found
