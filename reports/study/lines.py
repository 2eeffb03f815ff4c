"""What may be said of one metric of a study: means over trainings, differences from the reference arm, and who leads.

One training is one sample: with S of them an interval has Student's quantile of S - 1 degrees of freedom and keeps to the
metric's bounds, and differences are paired by training seed. Sampling error of the probe's images is no part of it: all
trainings meet the same images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.study.find import Arm, Control, Measure
from reports.table import Column
from rice_core.record import Record, Scores
from rice_core.stats.estimates import Estimate, Paired, mean_clustered, paired


@dataclass(frozen=True)
class ArmSummary:
    """One arm in one metric."""

    arm: Arm
    values: Mapping[int, float]
    """Training seed -> the metric."""
    mean: Estimate
    """Over trainings; without an error where there is one."""
    difference: Paired | None
    """This arm minus the reference; None for the reference itself, and where there is none or no common seed."""
    leads: bool
    """Ahead of the runner-up by a paired interval that excludes zero, and neither lacks a training."""
    tainted: bool
    partial: bool
    """Over fewer trainings than the control has, or a training over fewer probe seeds than others: neither leads nor trails."""
    difference_partial: bool
    """The difference is: one of its two sides lacks something."""


def reference_of(control: Control) -> Arm | None:
    """The one arm that is marked as the reference."""
    marked = [arm for arm in control.arms if arm.reference]
    return marked[0] if len(marked) == 1 else None


def lines(control: Control, measure: Measure, column: Column) -> list[ArmSummary]:
    """One line for every arm that has the metric, in the study's own order."""
    values = {arm: found for arm in control.arms if (found := _values(measure, arm, column))}
    partial = _partial(control, measure, values, column)
    leader = _leader({arm: found for arm, found in values.items() if arm not in partial}, column)
    reference = reference_of(control)
    made = []
    for arm, by_seed in values.items():
        base = values.get(reference) if reference and reference != arm else None
        made.append(
            ArmSummary(
                arm,
                by_seed,
                mean=mean_clustered(list(by_seed.values()), list(by_seed), _bounds(measure, column)),
                difference=_difference(by_seed, base or {}, column),
                leads=arm == leader,
                tainted=any(record.taints for some in measure.records[arm.label].values() for record in some),
                partial=arm in partial,
                difference_partial=arm in partial or reference in partial,
            )
        )
    return made


def levels(measure: Measure, column: Column) -> dict[str, float]:
    """Chance and ceiling of the metric, each where all records agree on it."""
    found = {}
    for name in ("chance", "ceiling"):
        known = {getattr(metric, name) for record in _records(measure) if (metric := record.metric(column.key))}
        if len(known) == 1 and (level := known.pop()) is not None:
            found[name] = level
    return found


def _bounds(measure: Measure, column: Column) -> tuple[float, float] | None:
    """Of the metric, where all records declare the same."""
    known = {metric.bounds for record in _records(measure) if (metric := record.metric(column.key))}
    return next(iter(known)) if len(known) == 1 else None


def sentence(found: Paired, column: Column, *, partial: bool = False) -> str:
    """What may be said of a difference from the reference; nothing firm of one that lacks a training."""
    n = found.n
    if partial:
        return f"over {n} training seed{'s' * (n != 1)} alone, where others are missing: not decisive"
    if found.stderr is None:
        return "one training seed in common: nothing can be said"
    if found.ci95 is None:
        return f"the same difference in all of only {n} training seeds: not decisive"
    if not found.decisive:
        return "includes zero: not decisive"
    if column.better == "neither":
        return "higher" if found.value > 0 else "lower"
    return "better" if (found.value > 0) == (column.better == "higher") else "worse"


def _values(measure: Measure, arm: Arm, column: Column) -> dict[int, float]:
    """A probe that was run with several seeds on one training gives their mean: it is one replicate all the same."""
    found = {}
    for seed, records in sorted(measure.records.get(arm.label, {}).items()):
        values = [metric.value for record in records if (metric := record.metric(column.key)) is not None]
        if values:
            found[seed] = sum(values) / len(values)
    return found


def _partial(control: Control, measure: Measure, values: Mapping[Arm, Mapping[int, float]], column: Column) -> set[Arm]:
    """Arms whose mean lacks a training, or a probe seed of a training that others have."""

    def probed(arm: Arm) -> list[int]:
        return [sum(r.metric(column.key) is not None for r in some) for some in measure.records[arm.label].values()]

    most = max((max(probed(arm)) for arm in values), default=0)
    return {arm for arm in values if len(values[arm]) < len(control.seeds) or min(probed(arm)) < most}


def _leader(values: Mapping[Arm, Mapping[int, float]], column: Column) -> Arm | None:
    contestants = [arm for arm in values if not arm.yardstick]
    if len(contestants) < 2 or column.better == "neither":
        return None
    sign = -1.0 if column.better == "higher" else 1.0
    mean = {arm: sum(values[arm].values()) / len(values[arm]) for arm in contestants}
    first, second = sorted(contestants, key=lambda arm: (sign * mean[arm], arm.label))[:2]
    found = _difference(values[first], values[second], column)
    # Over the seeds that both have, the one with the worse mean may be ahead.
    return first if found and found.decisive and (found.value > 0) == (column.better == "higher") else None


def _difference(a: Mapping[int, float], b: Mapping[int, float], column: Column) -> Paired | None:
    if not a.keys() & b.keys():
        return None
    return paired(_scores(a), _scores(b), "value", better=column.better)


def _scores(values: Mapping[int, float]) -> Scores:
    seeds = tuple(map(str, values))
    return Scores(sample=seeds, cluster=seeds, values={"value": tuple(values.values())})


def _records(measure: Measure) -> Sequence[Record]:
    return [record for by_seed in measure.records.values() for some in by_seed.values() for record in some]
