"""AverageSource: an average column of the paper made of ours, in one way: over every column that it claims to be of, or not at all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports.beside.mapping import Mapping, Mean, Reading
from reports.beside.source import ColumnSource, agreement, heads, verdict_values
from reports.reference.paper import MISSING, PaperColumn
from reports.table import Column, Value
from rice_core.record import Metric
from rice_core.stats.estimates import Estimate, across_seeds


@dataclass(frozen=True)
class AverageSource:
    """One way to make one average."""

    name: str
    mean: Mean
    printed: PaperColumn
    of: tuple[PaperColumn, ...]
    """What it is the mean of."""
    filled: tuple[ColumnSource, ...]
    """Those of them that our probes fill."""
    unjudged: str = ""

    @property
    def heads(self) -> tuple[Column, ...]:
        """The four columns of it."""
        return heads(self.name, self.printed, self.mean.said)

    def lacking(self, key: str) -> str:
        """Why an encoder has no such mean; empty where it has one."""
        known = {source.printed.key: source for source in self.filled}
        without = [column.label for column in self.of if column.key not in known or not known[column.key].agreed(key)]
        if without:
            return (
                f"over {len(self.of) - len(without)} of {len(self.of)} columns: no whole number of {', '.join(without)}"
            )
        return (
            "" if len({tuple(self._metrics(source, key)) for source in self.filled}) == 1 else "columns of other seeds"
        )

    def estimate(self, key: str) -> Estimate | None:
        """Ours: of each seed the mean over columns, whose samples have nothing to do with each other; then over seeds."""
        if self.lacking(key):
            return None
        of_column = [
            (self._metrics(source, key), self.mean.divisors.get(source.printed.key, 1)) for source in self.filled
        ]
        return across_seeds(
            [_mean([(found[seed], by) for found, by in of_column], self.name) for seed in of_column[0][0]]
        )

    def values(self, key: str, theirs: Value) -> tuple[Value, ...]:
        """Ours, the paper's, delta, verdict. Never bold: there are no samples that two such means could be paired by."""
        estimate = self.estimate(key) if key else None
        if estimate is None:
            ours = Value(hint=self.lacking(key) if key else "not run; the notes below the table give the command")
            return ours, theirs, Value(), Value()
        hint = f"mean of {len(self.of)} columns, {self.mean.said}; {estimate.method}"
        ours = Value(value=estimate.value, stderr=estimate.stderr, hint=hint)
        return ours, theirs, *verdict_values(estimate, theirs, self.printed, self.mean.goal, self.unjudged)

    def paper(self, mapping: Mapping, row: str, printed: Value) -> Value:
        """What the paper prints, or what its cells give in this way."""
        return (
            printed
            if self.mean.printed
            else Value(value=derived(mapping, self.name, row), hint="made from the paper's cells")
        )

    def _metrics(self, source: ColumnSource, key: str) -> dict[int, Metric]:
        entry, column = source.entry(key), source.measured
        return entry.by_column.get(column, {}) if entry and column else {}


def averages(mapping: Mapping, reading: Reading, filled: Sequence[ColumnSource]) -> Iterator[AverageSource]:
    """One a way that the mapping names."""
    printed = mapping.printed
    for name, mean in mapping.averages.items():
        of = next(average.of for average in printed.averages if average.column == mean.column)
        columns = tuple(printed.column(key) for key in of)
        own = tuple(source for source in filled if source.printed.key in of)
        yield AverageSource(name, mean, printed.column(mean.column), columns, own, reading.unjudged)


def derived(mapping: Mapping, name: str, row: str) -> float | None:
    """An average of a row's printed cells in one way; None where one of them is blank."""
    printed, mean = mapping.printed, mapping.averages[name]
    of = next(average.of for average in printed.averages if average.column == mean.column)
    if any(printed.printed(row, key) == MISSING for key in of):
        return None
    return float(sum(printed.exact(row, key) / mean.divisors.get(key, 1) for key in of) / len(of))


def agreed(source: AverageSource, key: str, theirs: Value) -> str:
    """The verdict of a row; empty where there is none."""
    estimate = source.estimate(key)
    if estimate is None or theirs.value is None or source.unjudged:
        return ""
    return agreement(estimate, theirs.value, source.mean.goal)


def _mean(metrics: Sequence[tuple[Metric, int]], name: str) -> Metric:
    """Of one seed. Errors of columns are independent, so that they and the halves of intervals add in squares."""
    k = len(metrics)
    value = sum(metric.value / by for metric, by in metrics) / k
    errors = [metric.stderr / by for metric, by in metrics if metric.stderr is not None]
    halves = [
        ((metric.value - metric.ci95[0]) / by, (metric.ci95[1] - metric.value) / by)
        for metric, by in metrics
        if metric.ci95
    ]
    below, above = (math.hypot(*(half[end] for half in halves)) / k for end in (0, 1))
    return Metric(
        name=name,
        value=value,
        unit="%",
        n=sum(metric.n for metric, _ in metrics),
        stderr=math.hypot(*errors) / k if len(errors) == k else None,
        ci95=(value - below, value + above) if len(halves) == k else None,
        method=f"errors of {k} columns in squares",
    )
