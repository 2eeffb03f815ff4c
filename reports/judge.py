"""Judge: who leads in a group, and whether that may be said. Reads per-sample scores, each record's once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from reports.groups import Entry, Group
from reports.table import Column
from rice_core.record import Metric, Record, Scores
from rice_core.stats.estimates import Estimate, Paired, across_seeds, paired

_POWER = 0.8416
"""Normal quantile of 80 % power."""


class ScoreSource(Protocol):
    """Where per-sample scores come from; the store is one."""

    def scores(self, record: Record) -> Scores | None:
        """Per-sample scores of a record; None where it has none."""


class Undecidable(Exception):
    """Two encoders cannot be compared sample by sample; the words say why."""


@dataclass(frozen=True)
class Standing:
    """One encoder's place in a ranking."""

    entry: Entry
    estimate: Estimate
    partial: bool
    """Over fewer seeds than the group has: listed last, in no order of merit."""


@dataclass(frozen=True)
class Lead:
    """The first two contestants of one metric. `paired` is None where they cannot be paired; `why` says so."""

    column: Column
    first: Standing
    second: Standing
    paired: Paired | None
    why: str = ""

    @property
    def decisive(self) -> bool:
        """The paired interval excludes zero, in favour of the one that leads."""
        return (
            self.paired is not None
            and self.paired.decisive
            and (self.paired.value > 0) == (self.column.better == "higher")
        )


class Judge:
    """Rankings and paired differences inside one group.

    Keeps what it has found, and until `release` the scores it has read.
    """

    def __init__(self, group: Group, store: ScoreSource) -> None:
        self.group = group
        self._store = store
        self._scores: dict[str, Scores | None] = {}
        self._differences: dict[tuple[str, str, Column], Paired | Undecidable] = {}
        self._standings: dict[Column, tuple[Standing, ...]] = {}

    def estimate(self, entry: Entry, column: Column) -> Estimate | None:
        """The entry's mean over seeds; None where it has no such metric."""
        return next((at.estimate for at in self.ranking(column) if at.entry.key == entry.key), None)

    def ranking(self, column: Column) -> tuple[Standing, ...]:
        """All encoders that have the metric, best mean over seeds first; without a direction, by label.

        Those that lack a seed come last, by label: a mean over fewer parts has no place among the others.
        """
        if column not in self._standings:
            partial = self.group.partial
            found = ((entry, entry.estimate(column)) for entry in self.group.entries)
            known = [Standing(entry, estimate, partial(entry, column)) for entry, estimate in found if estimate]
            sign = {"higher": -1.0, "lower": 1.0, "neither": 0.0}[column.better]
            known.sort(
                key=lambda at: (
                    at.partial,
                    0.0 if at.partial else sign * at.estimate.value,
                    at.entry.label,
                    at.entry.key,
                )
            )
            self._standings[column] = tuple(known)
        return self._standings[column]

    def lead(self, column: Column) -> Lead | None:
        """Leader and runner-up; None with fewer than two, or where neither direction is better.

        Yardsticks are left out, and encoders that lack a seed.
        """
        contestants = [at for at in self.ranking(column) if not at.entry.yardstick and not at.partial]
        if len(contestants) < 2 or column.better == "neither":
            return None
        first, second = contestants[:2]
        try:
            return Lead(column, first, second, self.difference(first.entry, second.entry, column))
        except Undecidable as reason:
            return Lead(column, first, second, None, str(reason))

    def wins(self, entry: Entry, column: Column) -> bool:
        """Whether it leads, and decisively: what a table prints bold."""
        lead = self.lead(column)
        return lead is not None and lead.decisive and lead.first.entry.key == entry.key

    def difference(self, a: Entry, b: Entry, column: Column) -> Paired:
        """a - b, paired by sample and clustered, over the seeds that gave both this metric.

        Raises:
            Undecidable: no common seed, or no per-sample scores of the same samples.
        """
        key = a.key, b.key, column
        if key not in self._differences:
            try:
                self._differences[key] = self._paired(a, b, column)
            except Undecidable as reason:
                self._differences[key] = reason
        found = self._differences[key]
        if isinstance(found, Undecidable):
            raise found
        return found

    def release(self) -> None:
        """Free the memory that the scores take. What was found stays; a new question reads them again."""
        self._scores.clear()

    def _paired(self, a: Entry, b: Entry, column: Column) -> Paired:
        given = b.seeds(column)
        seeds = [seed for seed in a.seeds(column) if seed in given]
        if not seeds:
            raise Undecidable("no seed that both finished")
        return _over_seeds([self._of_one_seed(a, b, seed, column) for seed in seeds], column)

    def _of_one_seed(self, a: Entry, b: Entry, seed: int, column: Column) -> Paired:
        scores = self._read(a, seed), self._read(b, seed)
        if scores[0] is None or scores[1] is None:
            raise Undecidable("no per-sample scores were kept")
        if not all(column.key in one.values for one in scores if one):
            raise Undecidable("no per-sample scores of this metric")
        try:
            return paired(scores[0], scores[1], column.key, better=column.better)
        except ValueError as reason:
            raise Undecidable(str(reason)) from reason

    def _read(self, entry: Entry, seed: int) -> Scores | None:
        cell_id = entry.cell_ids[seed]
        if cell_id not in self._scores:
            self._scores[cell_id] = self._store.scores(next(r for r in entry.done if r.cell.seed == seed))
        return self._scores[cell_id]


def _over_seeds(found: list[Paired], column: Column) -> Paired:
    """One difference from one a seed: the spread between seeds widens the interval, and two seeds widen it a lot."""
    if len(found) == 1:
        return found[0]
    whole = across_seeds(
        [Metric(name=column.key, value=one.value, n=one.n, stderr=one.stderr, ci95=one.ci95) for one in found]
    )
    stderr = whole.stderr if all(one.stderr is not None for one in found) else None
    ci95 = whole.ci95 if all(one.ci95 is not None for one in found) else None
    return replace(
        found[0],
        value=whole.value,
        stderr=stderr,
        ci95=ci95,
        n=whole.n,
        clusters=min(one.clusters for one in found),
        only_a=max(one.only_a for one in found),
        only_b=max(one.only_b for one in found),
        pvalue=None,
        # Half the interval plus what 80 % power asks for: the noncentral t of one seed, to a few percent.
        mde=(ci95[1] - ci95[0]) / 2 + _POWER * stderr if ci95 and stderr is not None else None,
        decisive=ci95 is not None and not ci95[0] <= 0.0 <= ci95[1],
    )
