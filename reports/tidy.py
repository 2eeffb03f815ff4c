"""Comparisons and studies as tidy rows: one row a difference, or an arm in one metric. The rows of records: `reports.frame`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.frame import parameters_of

if TYPE_CHECKING:
    from reports.compare import Comparison, Difference
    from reports.study import Control, Measure, Study
    from reports.study.lines import ArmSummary
    from reports.table import Column


@dataclass(frozen=True)
class Contrast:
    """One metric of two encoders, a - b. Numbers are in the metric's unit; None where the two cannot be paired."""

    a: str
    b: str
    probe: str
    parameters: str
    recipe: str
    dataset: str
    metric: str
    unit: str
    a_value: float
    """Over the seeds that gave both a number, like b's."""
    b_value: float
    difference: float | None
    """Mean over the samples that both have."""
    low: float | None
    """Of the 95 % interval of the difference."""
    high: float | None
    stderr: float | None
    n: int | None
    clusters: int | None
    p: float | None
    """Two-sided; None over several seeds."""
    mde: float | None
    """The true difference that would have shown with 80 % power."""
    decisive: bool
    seeds: int
    """That gave both a number."""
    only_a: int | None
    """Samples that b lacks: no part of the difference, but of a's value."""
    only_b: int | None
    better: str
    taints: str
    """Of either's records, and whether seeds are missing."""
    reading: str
    """What may be said, in one sentence."""


@dataclass(frozen=True)
class ArmNumber:
    """One arm of a study in one metric: its mean over trainings, and its paired difference from the reference arm."""

    study: str
    scale: str
    control: str
    arm: str
    axis: str
    place: float | None
    """On the axis."""
    probe: str
    parameters: str
    recipe: str
    dataset: str
    metric: str
    value: float
    unit: str
    stderr: float | None
    low: float | None
    """Of the 95 % interval over trainings."""
    high: float | None
    n: int
    """Trainings."""
    chance: float | None
    ceiling: float | None
    taints: str
    """Of any training's records, and whether trainings are missing."""
    reference: str
    """The arm that the difference is from; empty where there is none, and for the reference itself."""
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    difference_stderr: float | None
    difference_n: int | None
    p: float | None
    mde: float | None
    decisive: bool
    better: str


def contrasts(comparison: Comparison) -> list[Contrast]:
    """One row a metric, in the comparison's order."""
    return [_contrast(comparison, found) for found in comparison.differences]


def arm_numbers(study: Study, *, every_metric: bool) -> list[ArmNumber]:
    """One row for every control, probe, metric and arm; headline metrics alone unless every one is asked for."""
    return [
        row
        for control in study.controls
        for measure in control.measures
        for column in measure.columns[: None if every_metric else 1]
        for row in metric_numbers(study, control, measure, column)
    ]


def metric_numbers(study: Study, control: Control, measure: Measure, column: Column) -> list[ArmNumber]:
    """One row an arm that has the metric, in the study's own order."""
    from reports.study.lines import lines

    return [_arm_number(study, control, measure, line, column) for line in lines(control, measure, column)]


def joined(taints: Iterable[str]) -> str:
    """Each once, in the order of the alphabet."""
    return "; ".join(sorted(set(taints)))


def _contrast(comparison: Comparison, found: Difference) -> Contrast:
    cell, pair = found.group.entries[0].records[0].cell, found.paired
    low, high = (pair.ci95 if pair else None) or (None, None)
    tried = len(found.seeds) + len(found.left_out)
    lacking = [f"over {len(found.seeds)} of {tried} seeds"] if found.partial else []
    return Contrast(
        a=comparison.a,
        b=comparison.b,
        probe=cell.probe.name,
        parameters=parameters_of(cell),
        recipe=cell.probe.recipe,
        dataset=cell.dataset.title,
        metric=found.column.key,
        unit=found.column.unit,
        a_value=found.a.value,
        b_value=found.b.value,
        difference=pair.value if pair else None,
        low=low,
        high=high,
        stderr=pair.stderr if pair else None,
        n=pair.n if pair else None,
        clusters=pair.clusters if pair else None,
        p=pair.pvalue if pair else None,
        mde=pair.mde if pair else None,
        decisive=found.decisive,
        seeds=len(found.seeds),
        only_a=pair.only_a if pair else None,
        only_b=pair.only_b if pair else None,
        better=found.column.better,
        taints=joined([*found.taints, *lacking]),
        reading=found.sentence,
    )


def _arm_number(study: Study, control: Control, measure: Measure, line: ArmSummary, column: Column) -> ArmNumber:
    from reports.study.lines import levels, reference_of

    cell, pair, reference = measure.group.entries[0].records[0].cell, line.difference, reference_of(control)
    low, high = line.mean.ci95 or (None, None)
    difference_low, difference_high = (pair.ci95 if pair else None) or (None, None)
    known = levels(measure, column)
    records = [record for some in measure.records[line.arm.label].values() for record in some]
    lacking = [f"over {len(line.values)} of {len(control.seeds)} training seeds"] if line.partial else []
    return ArmNumber(
        study=study.name,
        scale=study.scale,
        control=control.name,
        arm=line.arm.label,
        axis=control.axis,
        place=line.arm.value,
        probe=cell.probe.name,
        parameters=parameters_of(cell),
        recipe=cell.probe.recipe,
        dataset=cell.dataset.title,
        metric=column.key,
        value=line.mean.value,
        unit=column.unit,
        stderr=line.mean.stderr,
        low=low,
        high=high,
        n=line.mean.n,
        chance=known.get("chance"),
        ceiling=known.get("ceiling"),
        taints=joined([taint for record in records for taint in record.taints] + lacking),
        reference=reference.label if reference and reference != line.arm else "",
        difference=pair.value if pair else None,
        difference_low=difference_low,
        difference_high=difference_high,
        difference_stderr=pair.stderr if pair else None,
        difference_n=pair.n if pair else None,
        p=pair.pvalue if pair else None,
        mde=pair.mde if pair else None,
        decisive=pair is not None and pair.decisive and not line.difference_partial,
        better=column.better,
    )
