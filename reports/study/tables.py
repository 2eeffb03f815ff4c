"""A study as tables: the headlines of all probes, one metric in full, and every replicate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from reports.board import PARTIAL, TAINTED, YARDSTICK, page_of
from reports.reference.tables import reference_table
from reports.study.find import Arm, Control, Measure, Study
from reports.study.lines import ArmSummary, levels, lines, reference_of, sentence
from reports.table import Column, Row, Table, Value
from reports.verdicts import interval

_REPLICATE = (
    "A replicate is one training with its own images, initial weights and probe seed. Errors are over trainings (Student's t"
    " for the intervals); the probe's images are the same in all, so their sampling error is no part of them."
)
_BOLD = (
    "Bold: ahead of the runner-up by a paired 95 % interval over trainings that excludes zero; yardsticks left out. No"
    " correction is made for the number of arms."
)
_PAIRED = (
    "Intervals are over trainings (Student's t); differences are paired by training seed. MDE: the true difference that so"
    " many trainings would have shown with 80 % power."
)
_MINIATURE = "Miniature numbers: no number of the paper stands beside them."


def study_table(study: Study, control: Control) -> Table:
    """Arms x probes, the headline metric of each: mean ± standard error over trainings."""
    columns: list[Column] = []
    by_arm: dict[Arm, list[Value]] = {arm: [] for arm in control.arms}
    rows_of_levels: dict[str, list[Value]] = {"chance": [], "ceiling": []}
    for measure in control.measures:
        column = measure.columns[0]
        columns.append(replace(column, group=measure.name, key=f"{measure.name}.{column.key}"))
        found = {line.arm: line for line in lines(control, measure, column)}
        for arm, values in by_arm.items():
            values.append(_mean(found.get(arm), column))
        known = levels(measure, column)
        for name, values in rows_of_levels.items():
            values.append(Value(value=known[name]) if name in known else Value(text="–"))
    rows = [Row(label=_label(arm), values=tuple(values)) for arm, values in by_arm.items()]
    rows += [
        Row(label=name, values=tuple(values), section="yardsticks", muted=True)
        for name, values in rows_of_levels.items()
        if any(value.value is not None for value in values)
    ]
    return Table(
        key=f"study-{study.key}-{_part(study, control)}",
        title=f"{_title(study, control)}: mean ± standard error over {_seeds(len(control.seeds))}",
        columns=tuple(columns),
        rows=tuple(rows),
        notes=(*_notes(study, control, rows), _REPLICATE, _BOLD, *_missing(control), *study.left_out),
    )


def metric_table(study: Study, control: Control, measure: Measure, column: Column) -> Table:
    """One metric in full: the replicates, the mean with its interval, and the paired difference from the reference."""
    reference = reference_of(control)
    against = f"minus {reference.label}" if reference else "difference"
    columns = (
        Column(key="seeds", label="seeds", better="neither"),
        replace(column, key="mean", label="mean"),
        Column(key="interval", label="95 % interval", better="neither"),
        Column(key="difference", label=against, better="neither", decimals=column.decimals + 1),
        Column(key="difference-interval", label="its 95 % interval", better="neither"),
        Column(key="mde", label="MDE", better="neither", decimals=column.decimals + 1),
        Column(key="reading", label="reading", better="neither"),
    )
    rows = [
        Row(label=_label(line.arm), values=_full(line, control, column)) for line in lines(control, measure, column)
    ]
    blank = (Value(text="–"),) * 5
    rows += [
        Row(label=name, values=(Value(text="–"), Value(value=level), *blank), section="yardsticks", muted=True)
        for name, level in levels(measure, column).items()
    ]
    without = () if reference else ("No arm, or more than one, is marked as the reference: no differences are shown.",)
    return Table(
        key=f"study-{study.key}-{_part(study, control)}-{measure.group.key[:6]}-{measure.columns.index(column)}",
        title=f"{_title(study, control)}: {measure.name}, {column.label}",
        columns=columns,
        rows=tuple(rows),
        notes=(*_notes(study, control, rows), _PAIRED, *without),
    )


def replicates_table(study: Study, control: Control) -> Table:
    """Every training on its own, linked from the study's page to the record that its number comes from."""
    columns = tuple(replace(m.columns[0], group=m.name, key=f"{m.name}.{m.columns[0].key}") for m in control.measures)
    rows = [
        Row(
            label=f"{_label(arm)}, seed {seed}",
            values=tuple(_replicate(measure, arm, seed) for measure in control.measures),
        )
        for arm in control.arms
        for seed in control.seeds
    ]
    return Table(
        key=f"study-{study.key}-{_part(study, control)}-replicates",
        title=f"{_title(study, control)}: every replicate",
        columns=columns,
        rows=tuple(rows),
        notes=(_MINIATURE,) if study.miniature else (),
    )


def paper_table(study: Study) -> Table | None:
    """The paper's own table where the study is named after one (`table:5a`): printed apart, never a row among ours."""
    named = re.fullmatch(r"table:(5[abcd])", study.name)
    if named is None:
        return None
    printed = reference_table(named[1])
    apart = (
        "The paper's numbers, as printed. They are of another data set, another size of encoder and another amount of"
        " training than the study's: compare the direction of an effect at most, never a number."
    )
    return replace(printed, notes=(apart, *printed.notes)) if study.miniature else printed


def _mean(line: ArmSummary | None, column: Column) -> Value:
    if line is None:
        return Value(hint="no training of this arm has this number")
    seeds = "; ".join(f"seed {seed}: {value:z.{column.decimals}f}" for seed, value in line.values.items())
    return Value(
        value=line.mean.value,
        stderr=line.mean.stderr,
        bold=line.leads,
        mark=TAINTED * line.tainted + PARTIAL * line.partial,
        hint=f"{seeds}; 95 % interval {_span(line.mean.ci95, column)}",
        partial=line.partial,
    )


def _full(line: ArmSummary, control: Control, column: Column) -> tuple[Value, ...]:
    had, asked, found = len(line.values), len(control.seeds), line.difference
    if found is None:
        is_base = line.arm == reference_of(control)
        rest = (*(Value(text="–"),) * 3, Value(text="the reference" if is_base else "–"))
    else:
        number = f"{found.value:+z.{column.decimals + 1}f}".replace("-", "−")
        ends = interval(found, column).removeprefix("95 % interval ")
        seen = Value(text="–") if found.mde is None else Value(value=found.mde)
        partial = line.difference_partial
        difference = Value(value=found.value, text=number, mark=PARTIAL * partial, partial=partial)
        rest = (difference, Value(text=ends), seen, Value(text=sentence(found, column, partial=partial)))
    return (
        Value(value=had, text=f"{had} of {asked}" if had < asked else str(had)),
        _mean(line, column),
        Value(text=_span(line.mean.ci95, column)),
        *rest,
    )


def _replicate(measure: Measure, arm: Arm, seed: int) -> Value:
    column = measure.columns[0]
    records = measure.records.get(arm.label, {}).get(seed, ())
    values = [metric.value for record in records if (metric := record.metric(column.key))]
    if not values:
        return Value(hint="no number")
    return Value(value=sum(values) / len(values), href=f"../{page_of(records[0].cell.id)}")


def _span(ci95: tuple[float, float] | None, column: Column) -> str:
    if ci95 is None:
        return "no interval"
    return f"{ci95[0]:z.{column.decimals}f} to {ci95[1]:z.{column.decimals}f}".replace("-", "−")


def _label(arm: Arm) -> str:
    return f"{arm.label} {YARDSTICK}" if arm.yardstick else arm.label


def _part(study: Study, control: Control) -> int:
    return study.controls.index(control)


def _title(study: Study, control: Control) -> str:
    return f"{study.title}, {control.name}" if control.name else study.title


def _seeds(n: int) -> str:
    return f"{n} training seed{'s' * (n != 1)}"


def _notes(study: Study, control: Control, rows: Sequence[Row]) -> list[str]:
    marks = "".join(value.mark for row in rows for value in row.values)
    notes = [_MINIATURE] if study.miniature else []
    notes += (
        [f"{YARDSTICK} A yardstick: a floor or a ceiling, no rival."] if any(a.yardstick for a in control.arms) else []
    )
    if PARTIAL in marks:
        notes.append(
            f"{PARTIAL} Not all of the {_seeds(len(control.seeds))} have a number: a mean over the rest, never bold or decisive."
        )
    if TAINTED in marks:
        taints = sorted({taint for line in _tainted(control) for taint in line})
        notes.append(f"{TAINTED} Tainted, not for a paper table: {'; '.join(taints)}.")
    return notes


def _tainted(control: Control) -> list[tuple[str, ...]]:
    return [
        record.taints
        for measure in control.measures
        for by_seed in measure.records.values()
        for records in by_seed.values()
        for record in records
    ]


def _missing(control: Control) -> list[str]:
    """`knn: rice has 2 of 3 seeds (without 1)`."""
    said = []
    for measure in control.measures:
        found = {line.arm.label: line.values for line in lines(control, measure, measure.columns[0])}
        for arm in control.arms:
            lacking = [seed for seed in control.seeds if seed not in found.get(arm.label, {})]
            if lacking:
                had = f"{len(control.seeds) - len(lacking)} of {_seeds(len(control.seeds))}"
                said.append(f"{measure.name}: {arm.label} has {had} (without {', '.join(map(str, lacking))}).")
    return said
