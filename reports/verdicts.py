"""Verdicts: what may be said about a group in one sentence, and whether its yardsticks land where they must."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reports.board import headline
from reports.groups import Entry
from reports.judge import Judge, Lead
from reports.table import Column
from rice_core.stats.estimates import Paired


@dataclass(frozen=True)
class Verdict:
    """One sentence and how firm it is."""

    kind: Literal["decisive", "open", "none"]
    """"none": there is nothing to rank."""
    sentence: str


@dataclass(frozen=True)
class Check:
    """One yardstick: where it must land, and whether it does."""

    passed: bool
    sentence: str


def verdict(judge: Judge) -> Verdict:
    """Who leads by the headline metric, or why nobody does."""
    column = headline(judge.group)
    if not judge.group.columns:
        return Verdict("none", "No cell has finished.")
    if column.better == "neither":
        return Verdict("none", f"{column.label} describes; neither direction is better, so there is no ranking.")
    lead = judge.lead(column)
    if lead is None:
        lacking = any(at.partial and not at.entry.yardstick for at in judge.ranking(column))
        whole = " that have a number in every seed" if lacking else ""
        return Verdict("none", f"Fewer than two encoders besides the yardsticks{whole}: nothing to rank.")
    if lead.paired is None:
        return Verdict("open", f"{_names(lead)} cannot be told apart: {lead.why}.")
    if not lead.decisive:
        return Verdict("open", f"No winner between {_names(lead)}: {open_words(lead.paired, column)}.")
    found = lead.paired
    return Verdict(
        "decisive",
        f"{lead.first.entry.label} leads {lead.second.entry.label} by {amount(abs(found.value), column)} in {column.label}"
        f" ({interval(found, column, flip=found.value < 0)}, {sample(found)}).",
    )


def checks(judge: Judge) -> list[Check]:
    """Noise must score chance within 3 standard errors, the oracle 99 % of the ceiling, in every metric that has them."""
    found = []
    for column in judge.group.columns:
        for entry in judge.group.entries:
            found += _check(judge, entry, column)
    return found


def amount(number: float, column: Column) -> str:
    """A difference with its unit: a difference of percentages is in points."""
    unit = {"%": "points", "": ""}.get(column.unit, column.unit)
    return f"{number:z.{column.decimals + 1}f} {unit}".rstrip()


def interval(found: Paired, column: Column, *, flip: bool = False) -> str:
    """`95 % interval -0.9 to 1.5`."""
    if found.ci95 is None:
        return "no interval"
    low, high = (-found.ci95[1], -found.ci95[0]) if flip else found.ci95
    places = column.decimals + 1
    return f"95 % interval {low:z.{places}f} to {high:z.{places}f}".replace(" -", " −")


def sample(found: Paired) -> str:
    """`paired over 240 samples in 60 clusters`, and how many only one of the two has."""
    inside = f" in {found.clusters} clusters" if found.clusters != found.n else ""
    lone = found.only_a + found.only_b
    without = f", {lone} that only one has left out" if lone else ""
    return f"paired over {found.n} samples{inside}{without}"


def open_words(found: Paired, column: Column) -> str:
    """Why a difference decides nothing."""
    if found.ci95 is None:
        return found.sentence()
    seen = f"; a difference of {amount(found.mde, column)} would have shown" if found.mde else ""
    apart = f"they differ by {amount(abs(found.value), column)} in {column.label}"
    return f"{apart}, and the {interval(found, column)} includes zero ({sample(found)}){seen}"


def _names(lead: Lead) -> str:
    return f"{lead.first.entry.label} and {lead.second.entry.label}"


def _check(judge: Judge, entry: Entry, column: Column) -> list[Check]:
    estimate, metrics = judge.estimate(entry, column), entry.metrics(column)
    if entry.spec.source != "synthetic" or estimate is None:
        return []
    where = f"{entry.label}, {column.label}: {estimate.value:z.{column.decimals}f}"
    chance, ceiling = metrics[0].chance, metrics[0].ceiling
    if entry.spec.model == "noise" and chance is not None and estimate.stderr:
        away = abs(estimate.value - chance) / estimate.stderr
        words = f"{where}, chance {chance:z.{column.decimals}f}: {away:.1f} standard errors away"
        return [Check(away <= 3, f"{words} (at most 3).")]
    # With a limit some classes may have no training image, and then no features can reach the ceiling.
    full = judge.group.limit is None
    if entry.spec.model == "oracle" and full and ceiling is not None and column.better == "higher":
        words = f"{where}, ceiling {ceiling:z.{column.decimals}f}"
        return [Check(estimate.value >= 0.99 * ceiling, f"{words} (at least 99 % of it).")]
    return []
