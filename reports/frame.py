"""Records as a tidy table: one row a number. `ricebench table -f csv` writes these rows and `Bench.frame` gives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any, get_type_hints

from rice_core.digest import json_digest
from rice_core.record import Cell, Metric, Record

if TYPE_CHECKING:
    import pandas as pd

_DTYPES = {str: "object", bool: "bool", int: "int64", float: "float64", int | None: "Int64", float | None: "float64"}


@dataclass(frozen=True)
class Number:
    """One metric of one finished record. Text is empty, and a number None, where there is none."""

    encoder: str
    """The name that tables show."""
    shorthand: str
    """The string that asks for it again."""
    probe: str
    parameters: str
    """As after the probe's question mark: `k=10&pool=mean`."""
    recipe: str
    dataset: str
    seed: int
    metric: str
    value: float
    unit: str
    stderr: float | None
    """Like `low`, `high`, `chance` and `ceiling` in the unit of the value."""
    low: float | None
    """Of the 95 % interval."""
    high: float | None
    n: int
    """Samples the value is over."""
    chance: float | None
    ceiling: float | None
    taints: str
    """Why the number must not stand in a paper table, separated by semicolons."""
    better: str
    """higher, lower or neither."""
    version: int
    """Of the probe."""
    limit: int | None
    """Images of each split; None is all."""
    weights: str
    """12 digits of the digest of the weights: two encoders of one name differ here."""
    comparable: str
    """Equal where probe, parameters, recipe, version, data and limit are: only such rows may be ranked together."""
    cell: str
    """The record's id, as `ricebench show` takes it."""


def numbers(records: Iterable[Record]) -> list[Number]:
    """Every metric of every finished record, by data set, probe, encoder and seed; the order of `records` is no matter."""
    rows = [_number(record, metric) for record in records if record.status == "done" for metric in record.metrics]
    # A stable sort: metrics keep the probe's own order.
    return sorted(
        rows, key=lambda r: (r.dataset, r.probe, r.comparable, r.encoder, r.shorthand, r.weights, r.seed, r.cell)
    )


def frame_of(kind: type[Any], rows: Sequence[Any]) -> pd.DataFrame:
    """A pandas frame whose columns are the fields of the dataclass `kind`.

    Columns have the dtype of their field whatever the rows hold: a number that is missing is NaN (`<NA>` for whole numbers),
    text that is missing is "".
    """
    import pandas as pd

    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    made = pd.DataFrame([astuple(row) for row in rows], columns=names)
    return made.astype({name: _DTYPES[hints[name]] for name in names})


def parameters_of(cell: Cell) -> str:
    """`k=10&pool=mean`: the probe's settings as a command takes them, without the recipe."""
    return "&".join(f"{key}={value}" for key, value in sorted(cell.probe.params.items()))


def _number(record: Record, metric: Metric) -> Number:
    cell, evidence = record.cell, record.evidence
    low, high = metric.ci95 or (None, None)
    return Number(
        encoder=cell.encoder.title,
        shorthand=cell.encoder.told().shorthand,
        probe=cell.probe.name,
        parameters=parameters_of(cell),
        recipe=cell.probe.recipe,
        dataset=cell.dataset.title,
        seed=cell.seed,
        metric=metric.name,
        value=metric.value,
        unit=metric.unit,
        stderr=metric.stderr,
        low=low,
        high=high,
        n=metric.n,
        chance=metric.chance,
        ceiling=metric.ceiling,
        taints="; ".join(record.taints),
        better=metric.better,
        version=cell.probe.version,
        limit=cell.limit,
        weights=evidence.weights[:12] if evidence else "",
        comparable=json_digest([cell.comparable, evidence.data if evidence else ""])[:12],
        cell=cell.id,
    )
