"""Which records belong to a study, and where in it.

The facts that a trained encoder carries are all that counts:

    study         the study's name; a record without it is part of none
    arm           one way of training: a row
    train_seed    the replicate: one training, with its own images, weights and probe seed
    control       what was held equal between the arms ("equal compute", "converged"); tables are never shared
    scale         how large the trainings were ("smoke", "mini"); studies of two scales are two studies
    arm_order, axis, value, reference, yardstick    how an arm is shown
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reports.board import headline, probe_names, slug
from reports.groups import Group, groups, is_yardstick
from reports.table import Column
from rice_core.digest import json_digest
from rice_core.record import Record


@dataclass(frozen=True)
class Arm:
    """One way of training an encoder."""

    label: str
    order: int
    value: float | None
    """Its place on the study's axis."""
    reference: bool
    """What the others are compared with."""
    yardstick: bool
    """A floor or a ceiling: ranked, never bold."""


@dataclass(frozen=True)
class Measure:
    """One probe on one data set, over all arms and replicates of a control."""

    name: str
    """Of the probe, and of the data set where there are several."""
    group: Group
    records: Mapping[str, Mapping[int, tuple[Record, ...]]]
    """Arm's label -> training seed -> its records: one each, unless the probe was run with several seeds."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """All metrics, the headline first."""
        first = headline(self.group)
        return (first, *(column for column in self.group.columns if column != first))


@dataclass(frozen=True)
class Control:
    """The arms of a study that were trained under the same terms."""

    name: str
    """Empty where the study has no controls."""
    axis: str
    """What the arms' values are: N, K, rho, M; empty where they have no order of their own."""
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    """Training seeds of any arm."""
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class Study:
    """What one page of the report shows."""

    name: str
    scale: str
    controls: tuple[Control, ...]
    left_out: tuple[str, ...]
    """What could not be placed: one sentence each."""

    @property
    def key(self) -> str:
        """For file names; differs where name or scale does."""
        return f"{slug(self.name)}-{json_digest([self.name, self.scale])[:6]}"

    @property
    def title(self) -> str:
        """Name and scale."""
        return f"{self.name}, scale {self.scale}" if self.scale else self.name

    @property
    def miniature(self) -> bool:
        """Whether any number of it is from the drawn world."""
        return any(measure.group.miniature for control in self.controls for measure in control.measures)


def studies(records: Iterable[Record]) -> list[Study]:
    """All studies of the records, by name and scale; the result does not depend on their order."""
    shelves: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.cell.id):
        facts = facts_of(record)
        if facts.get("study"):  # also what failed: a mean over the other trainings has to say that it lacks one
            shelves[facts["study"], facts.get("scale", "")].append(record)
    return [_study(name, scale, members) for (name, scale), members in sorted(shelves.items())]


def facts_of(record: Record) -> Mapping[str, str]:
    """The facts that the encoder carries; empty for a cell that failed before it was loaded."""
    return record.evidence.encoder_facts if record.evidence else {}


def _study(name: str, scale: str, records: Sequence[Record]) -> Study:
    placed, left_out = [], []
    for record in records:
        if _seed(record) is not None and facts_of(record).get("arm"):
            placed.append(record)
        else:
            left_out.append(
                f"Cell {record.cell.id} names no arm, or no training seed that is a number; it is left out."
            )
    names = sorted({facts_of(record).get("control", "") for record in placed} - {""}) or [""]
    # An arm without a control (random weights, a ceiling) was trained under no terms, so it stands with each.
    members = [[r for r in placed if facts_of(r).get("control", "") in ("", control)] for control in names]
    controls = [_control(control, some, left_out) for control, some in zip(names, members, strict=True)]
    return Study(name, scale, tuple(controls), tuple(dict.fromkeys(left_out)))


def _control(name: str, records: Sequence[Record], left_out: list[str]) -> Control:
    found = [group for group in groups(records) if group.columns]
    measures = tuple(
        Measure(label, group, _placed(label, group, left_out))
        for group, label in zip(found, _names(found), strict=True)
    )
    by_arm: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_arm[facts_of(record)["arm"]].append(record)
    arms = sorted((_arm(label, some) for label, some in by_arm.items()), key=_place)
    axes = {facts_of(record).get("axis", "") for record in records} - {""}
    seeds = {seed for record in records if (seed := _seed(record)) is not None}
    return Control(name, axes.pop() if len(axes) == 1 else "", tuple(arms), tuple(sorted(seeds)), measures)


def _placed(measure: str, group: Group, left_out: list[str]) -> dict[str, dict[int, tuple[Record, ...]]]:
    """Records by arm and training seed; a place that two encoders claim holds none of them."""
    found: dict[str, dict[int, list[tuple[str, Record]]]] = defaultdict(lambda: defaultdict(list))
    for entry in group.entries:
        for record in entry.done:
            seed = _seed(record)
            if seed is not None:
                found[facts_of(record)["arm"]][seed].append((entry.key, record))
    clear: dict[str, dict[int, tuple[Record, ...]]] = {}
    for arm, by_seed in found.items():
        for seed, claims in by_seed.items():
            if len({key for key, _ in claims}) == 1:
                clear.setdefault(arm, {})[seed] = tuple(record for _, record in claims)
            else:
                cells = ", ".join(sorted(record.cell.id for _, record in claims))
                left_out.append(
                    f"{measure}: several encoders say that they are training seed {seed} of {arm!r} (cells {cells}); none is"
                    " counted. Remove the records of the one that is out of date."
                )
    return clear


def _arm(label: str, records: Sequence[Record]) -> Arm:
    facts = [facts_of(record) for record in records]
    numbers = {_number(one.get("value", "")) for one in facts}
    orders = [int(order) for one in facts if (order := one.get("arm_order", "")).isdecimal() and order.isascii()]
    return Arm(
        label=label,
        order=min(orders, default=10**6),
        value=numbers.pop() if len(numbers) == 1 else None,
        reference=any(one.get("reference") == "1" for one in facts),
        yardstick=any(one.get("yardstick") == "1" for one in facts) or any(map(is_yardstick, records)),
    )


def _place(arm: Arm) -> tuple[int, float, str]:
    return arm.order, math.inf if arm.value is None else arm.value, arm.label


def _names(found: Sequence[Group]) -> list[str]:
    """The probes' short names, with the data set, recipe and limit where there are several of these."""
    names = list(probe_names(found).values())
    if len({(g.dataset.title, g.dataset.fingerprint, g.probe.recipe, g.limit) for g in found}) <= 1:
        return names
    several = len({(g.dataset.fingerprint, g.probe.recipe, g.limit) for g in found}) > len(
        {g.dataset.title for g in found}
    )
    return [
        f"{name} on {g.dataset.title}"
        + (f" ({g.probe.recipe}, limit {g.limit or 'none'}, {g.key[:4]})" if several else "")
        for g, name in zip(found, names, strict=True)
    ]


def _seed(record: Record) -> int | None:
    text = facts_of(record).get("train_seed", "")
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
