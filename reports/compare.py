"""Compare two encoders: per probe the difference, its 95 % interval, and what may be said. Nothing incomparable is compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reports.board import PARTIAL, headline, marked, probe_names, slug
from reports.frame import frame_of
from reports.groups import Entry, Group, groups
from reports.judge import Judge, ScoreSource, Undecidable
from reports.table import Column, Row, Table, Value
from reports.tidy import Contrast, contrasts
from reports.used import apart
from reports.verdicts import amount, interval, open_words, sample
from rice_core.errors import UserError, did_you_mean
from rice_core.record import Record
from rice_core.spec import EncoderSpec
from rice_core.stats.estimates import Estimate, Paired

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Difference:
    """One metric of one group: a - b."""

    group: Group
    column: Column
    a: Estimate
    b: Estimate
    """Both over `seeds`, so that the difference is theirs; each over all its own where there is no seed in common."""
    paired: Paired | None
    """None where the two cannot be paired; the sentence says why."""
    seeds: tuple[int, ...]
    """That gave both a number."""
    left_out: tuple[int, ...]
    """That only one of the two was tried with, or that gave only one a number."""
    taints: tuple[str, ...]
    """Of either's records."""
    sentence: str

    @property
    def partial(self) -> bool:
        """Whether the difference is over fewer seeds than were tried."""
        return bool(self.left_out)

    @property
    def decisive(self) -> bool:
        """The paired interval excludes zero, over every seed that was tried: what is left of them may be certain by luck."""
        return self.paired is not None and self.paired.decisive and not self.partial


@dataclass(frozen=True)
class Comparison:
    """Two encoders over all that they can be compared on."""

    a: str
    b: str
    differences: tuple[Difference, ...]
    refused: tuple[str, ...]
    """What was left out, and why: one sentence each."""
    unlike: tuple[str, ...] = ()
    """Parameters that the two did not use alike: one sentence each."""

    def table(self) -> Table:
        """One row a metric."""
        return Table(
            key=f"compare-{slug(self.a)}-{slug(self.b)}",
            title=f"{self.a} − {self.b}",
            columns=_COLUMNS,
            rows=tuple(
                _row(found, f"{name}: {found.column.label}{f' ({found.column.unit})' if found.column.unit else ''}")
                for found, name in zip(self.differences, self._names(), strict=True)
            ),
            notes=(
                "Paired by sample, clustered; seeds that both have. MDE: the true difference that would show with 80 % power.",
                *([_PARTIAL] if any(found.partial for found in self.differences) else []),
                *self.unlike,
                *self.refused,
            ),
        )

    def _names(self) -> list[str]:
        groups = list({found.group.key: found.group for found in self.differences}.values())
        names = probe_names(groups)
        return [names[found.group.key] for found in self.differences]

    def text(self) -> str:
        """Plain lines: one sentence a metric, then what was refused."""
        lines = [f"{self.a} against {self.b}"]
        lines += [
            f"  {name} on {found.group.dataset.title}, {found.column.label}: {found.sentence}"
            for found, name in zip(self.differences, self._names(), strict=True)
        ]
        lines += [f"  beware: {said}" for said in self.unlike]
        lines += [f"  not compared: {reason}" for reason in self.refused]
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        return self.text().rstrip()

    def frame(self) -> pd.DataFrame:
        """One row a metric, a - b; columns are the fields of `reports.tidy.Contrast`."""
        return frame_of(Contrast, contrasts(self))


_PARTIAL = f"{PARTIAL} Over the seeds that gave both a number, where others were tried: never decisive."
_COLUMNS = (
    Column(key="a", label="first", better="neither", decimals=3),
    Column(key="b", label="second", better="neither", decimals=3),
    Column(key="difference", label="difference", better="neither", decimals=3),
    Column(key="interval", label="95 % interval", better="neither"),
    Column(key="n", label="n", better="neither", decimals=0),
    Column(key="clusters", label="clusters", better="neither", decimals=0),
    Column(key="mde", label="MDE", better="neither", decimals=3),
    Column(key="reading", label="reading", better="neither"),
)


def compare_named(
    a: str, b: str, records: Sequence[Record], store: ScoreSource, *, every_metric: bool = False
) -> Comparison:
    """`compare` of the records of two encoders, each by the name that tables show or by its full string.

    Raises:
        UserError: there is no record of one of them, or as `compare`.
    """
    sides = []
    for name in (a, b):
        side = [r for r in records if name in _names(r.cell.encoder)]
        if not side:
            known = sorted({record.cell.encoder.title for record in records})
            near = did_you_mean(name, known)
            raise UserError(
                f"There is no record of {name!r} in this store; {near}there is {', '.join(known) or 'none'}."
            )
        sides.append(side)
    return compare(sides[0], sides[1], store, every_metric=every_metric)


def _names(encoder: EncoderSpec) -> tuple[str, ...]:
    return encoder.title, encoder.told().shorthand, encoder.shorthand


def compare(
    a_records: Iterable[Record], b_records: Iterable[Record], store: ScoreSource, *, every_metric: bool = False
) -> Comparison:
    """Compare the encoder of `a_records` with that of `b_records`, headline metrics or every metric.

    Raises:
        UserError: a side holds no encoder or several, both are the same one, or nothing of theirs is comparable.
    """
    a_records, b_records = list(a_records), list(b_records)
    a_ids, b_ids = ({record.cell.id for record in records} for records in (a_records, b_records))
    shared = groups({record.cell.id: record for record in [*a_records, *b_records]}.values())
    a, b = _side(shared, a_ids, "first"), _side(shared, b_ids, "second")
    if a.key == b.key:
        raise UserError(f"{a.label} would be compared with itself; name two encoders, as `ricebench table` shows them.")
    differences, refused, unlike = [], [], []
    for group in shared:
        both = group.entry(a.key), group.entry(b.key)
        if both[0] and both[1] and both[0].done and both[1].done:
            judge = Judge(group, store)
            unlike += apart(group, (both[0], both[1]))
            columns = group.columns if every_metric else (headline(group),)
            differences += [found for column in columns if (found := difference(judge, both[0], both[1], column))]
        else:
            refused.append(_refusal(group, shared, a, b))
    if not differences:
        raise UserError(
            f"{a.label} and {b.label} have no comparable result ({'; '.join(dict.fromkeys(refused)) or 'no metric in common'});"
            " run the same probes on the same data with both."
        )
    return Comparison(a.label, b.label, tuple(differences), tuple(dict.fromkeys(refused)), tuple(unlike))


def difference(judge: Judge, a: Entry, b: Entry, column: Column) -> Difference | None:
    """a - b in one metric; None where one of them does not have it."""
    seeds = tuple(sorted({*a.seeds(column)} & {*b.seeds(column)}))
    estimates = a.estimate(column, seeds or None), b.estimate(column, seeds or None)
    if estimates[0] is None or estimates[1] is None:
        return None
    left_out = tuple(sorted({*a.cell_ids, *b.cell_ids} - {*seeds}))
    taints = tuple(sorted({taint for record in (*a.done, *b.done) for taint in record.taints}))
    try:
        found = judge.difference(a, b, column)
        sentence = _sentence(found, a.label, b.label, column)
        if left_out:
            sentence += f"; over seed{_listed(seeds)} alone: without a number of both in{_listed(left_out)}, so nothing is decided"
    except Undecidable as reason:
        found, sentence = None, f"cannot be paired: {reason}; nothing can be said about the difference"
    return Difference(judge.group, column, estimates[0], estimates[1], found, seeds, left_out, taints, sentence)


def _listed(seeds: Sequence[int]) -> str:
    return f"{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}"


def pairs_table(key: str, title: str, found: Iterable[tuple[Entry, Entry, Difference | None]]) -> Table:
    """One row a pair of one metric, in the given order."""
    known = [(a, b, one) for a, b, one in found if one is not None]
    rows = [
        replace(
            _row(one, f"{marked(a)} − {marked(b)}"),
            section="with a yardstick" if a.yardstick or b.yardstick else "",
        )
        for a, b, one in known
    ]
    notes = (_PARTIAL,) if any(one.partial for _, _, one in known) else ()
    return Table(key=key, title=title, columns=_COLUMNS, rows=tuple(rows), notes=notes)


def _sentence(found: Paired, a: str, b: str, column: Column) -> str:
    if not found.decisive:
        return f"not decisive: {open_words(found, column)}"
    flip = found.value < 0
    leader = b if flip == (column.better != "lower") else a
    word = "higher" if column.better == "neither" else "better"
    return f"{leader} is {word} by {amount(abs(found.value), column)} ({interval(found, column, flip=flip)}, {sample(found)})"


def _side(shared: Sequence[Group], ids: set[str], which: str) -> Entry:
    found = {
        entry.key: entry for group in shared for entry in group.entries if ids.intersection(entry.cell_ids.values())
    }
    if len(found) != 1:
        names = ", ".join(sorted(entry.label for entry in found.values())) or "none"
        raise UserError(f"The {which} side of the comparison is not one encoder ({names}); name one exactly.")
    return next(iter(found.values()))


def _refusal(group: Group, shared: Sequence[Group], a: Entry, b: Entry) -> str:
    """Why a group that only one of the two has is not compared with the other's nearest."""
    mine = group.entry(a.key) or group.entry(b.key)
    other = b if group.entry(a.key) else a
    if group.entry(a.key) and group.entry(b.key):
        return f"{group.title}: not finished by both"
    rivals = [
        rival
        for rival in shared
        if (rival.probe.name, rival.dataset.name) == (group.probe.name, group.dataset.name)
        and rival.entry(other.key) is not None
        and rival is not group
    ]
    name = mine.label if mine else ""
    if not rivals:
        return f"{group.title}: only {name} has it"
    return f"{group.title} ({name}) against {rivals[0].title} ({other.label}): {unlike(group, rivals[0])}"


def unlike(one: Group, other: Group) -> str:
    """What keeps two groups of one probe apart."""
    said = {
        "recipe": (one.probe.recipe, other.probe.recipe),
        "version of the probe": (one.probe.version, other.probe.version),
        "settings": (one.settings, other.settings),
        "data set": (one.dataset.title, other.dataset.title),
        "limit": (one.limit or "none", other.limit or "none"),
    }
    parts = [f"other {name} ({left} against {right})" for name, (left, right) in said.items() if left != right]
    files = (one.dataset.fingerprint, one.data) != (other.dataset.fingerprint, other.data)
    # A limit and another data set bring other files with them.
    return " and ".join(parts) or ("other files of the data set" if files else "other layout of the data set")


def _row(found: Difference, label: str) -> Row:
    places, pair = found.column.decimals + 1, found.paired

    def number(value: float | None) -> Value:
        return Value(text="–") if value is None else Value(value=value, text=f"{value:z.{places}f}".replace("-", "−"))

    values = (
        Value(value=found.a.value, text=f"{found.a.value:z.{places}f}"),
        Value(value=found.b.value, text=f"{found.b.value:z.{places}f}"),
        replace(
            number(pair.value if pair else None),
            bold=found.decisive,
            mark=PARTIAL * found.partial,
            partial=found.partial,
        ),
        Value(text=interval(pair, found.column).removeprefix("95 % interval ") if pair else "–"),
        number(None) if pair is None else Value(value=pair.n),
        number(None) if pair is None else Value(value=pair.clusters),
        number(pair.mde if pair else None),
        Value(text="decisive" if found.decisive else "not decisive", hint=found.sentence),
    )
    return Row(label=label, values=values, section=found.group.dataset.title)
