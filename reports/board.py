"""Board: records as tables. One overview for each data set, recipe and limit, and one table with all metrics a group."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from reports.gaps import commands, gaps
from reports.groups import Entry, Group, groups, is_miniature
from reports.judge import Judge
from reports.table import Column, Row, Table, Value
from reports.used import apart, replaced_in
from reports.versions import made_by_other_code, versions_of_code
from rice_core.digest import json_digest
from rice_core.record import TOO_HIGH, Metric
from rice_core.spec import DatasetSpec

__all__ = ["Board", "boards", "group_table", "groups", "overview_table"]

TAINTED, PARTIAL, YARDSTICK = "*", "‡", "†"
_LEGEND = {
    YARDSTICK: f"{YARDSTICK} A yardstick (synthetic, or trained on these labels): ranked, never bold.",
    TAINTED: f"{TAINTED} Tainted, not for a paper table: ",
    PARTIAL: f"{PARTIAL} Not all seeds gave a number: a mean over the rest, not ranked and never bold.",
}
_MOST_COMMANDS = 12


@dataclass(frozen=True)
class Board:
    """The groups of one data set, recipe and limit: what one overview shows side by side."""

    key: str
    dataset: DatasetSpec
    recipe: str
    limit: int | None
    groups: tuple[Group, ...]
    version: str = ""
    """Tells data sets of one name apart: the head of the fingerprint, where there are several."""

    @property
    def title(self) -> str:
        """Data set, recipe and limit in one line."""
        limit = f", first {self.limit} of each split" if self.limit else ""
        version = f" (data {self.version})" if self.version else ""
        return f"{self.dataset.title}{version}, recipe {self.recipe}{limit}"

    @property
    def miniature(self) -> bool:
        """Whether the data set is drawn by `rice_core.world`."""
        return is_miniature(self.dataset)


def boards(found: Iterable[Group]) -> list[Board]:
    """Groups that share data set, recipe and limit, by name."""
    shelves: dict[str, list[Group]] = defaultdict(list)
    for group in found:
        request = [group.dataset.model_dump(mode="json"), group.probe.recipe, group.limit]
        shelves[json_digest(request)[:12]].append(group)
    made = [
        Board(key, some[0].dataset, some[0].probe.recipe, some[0].limit, tuple(some)) for key, some in shelves.items()
    ]
    shared = Counter(board.title for board in made)
    made = [
        replace(board, version=board.dataset.fingerprint[:6]) if shared[board.title] > 1 else board for board in made
    ]
    return sorted(made, key=lambda board: (board.dataset.title, board.recipe, board.limit or 0, board.key))


def overview_table(board: Board, judges: Mapping[str, Judge]) -> Table:
    """Encoders x probes, the headline metric of each. `judges` by the groups' keys."""
    names = probe_names(board.groups)
    heads = [
        replace(headline(group), group=names[group.key], key=f"{names[group.key]}.{headline(group).key}")
        for group in board.groups
    ]
    entries = {entry.key: entry for group in board.groups for entry in group.entries}
    rows = [
        Row(
            label=marked(entry),
            values=tuple(_value(judges[group.key], group.entry(key), headline(group)) for group in board.groups),
        )
        for key, entry in entries.items()
    ]
    rows = sorted(rows, key=lambda row: (row.label.endswith(YARDSTICK), *_rank(row.values[0], heads[0]), row.label))
    rows += _levels([(group, headline(group)) for group in board.groups])
    return Table(
        key=f"board-{slug(board.dataset.name)}-{board.key[:6]}",
        title=f"All probes on {board.title}: mean ± standard error",
        columns=tuple(heads),
        rows=tuple(rows),
        notes=(
            *_notes(board.groups, rows),
            *(said for group in board.groups for said in apart(group, group.entries)),
            *_to_fill(board.groups),
        ),
    )


def group_table(judge: Judge) -> Table:
    """One group with all its metrics, best first by the headline."""
    group = judge.group
    columns = group.columns or (headline(group),)
    ranked = [standing.entry for standing in judge.ranking(headline(group))]
    rest = [entry for entry in group.entries if entry.key not in {known.key for known in ranked}]
    rows = [
        Row(label=marked(entry), values=tuple(_value(judge, entry, column) for column in columns))
        for entry in [*ranked, *rest]
    ]
    rows += _levels([(group, column) for column in columns])
    return Table(
        key=f"{slug(group.probe.name)}-{slug(group.dataset.name)}-{group.key[:6]}",
        title=f"{group.title}: mean ± standard error",
        columns=columns,
        rows=tuple(rows),
        notes=(_samples(group), *replaced_in(group), *_notes([group], rows)),
    )


def headline(group: Group) -> Column:
    """The first metric with a better direction, else the first; a stand-in where no cell of the group has one."""
    ranked = [column for column in group.columns if column.better != "neither"]
    return next(iter((*ranked, *group.columns)), Column(key="none", label="no result", better="neither"))


def probe_names(some: Sequence[Group]) -> dict[str, str]:
    """Short names by the groups' keys: the probe's, with what tells the groups of one data set, recipe and limit apart."""
    forms = [
        [group.probe.name for group in some],
        [group.probe.shorthand for group in some],
        [f"{group.probe.shorthand} v{group.probe.version}" for group in some],
        [f"{group.probe.shorthand} v{group.probe.version} data {group.data[:6]}" for group in some],
    ]
    place = [(group.dataset.title, group.dataset.fingerprint, group.probe.recipe, group.limit) for group in some]
    counts = [Counter(zip(place, form, strict=True)) for form in forms]
    return {
        group.key: next((f[i] for f, n in zip(forms, counts, strict=True) if n[place[i], f[i]] == 1), forms[-1][i])
        for i, group in enumerate(some)
    }


def marked(entry: Entry) -> str:
    """The label as a table shows it."""
    return f"{entry.label} {YARDSTICK}" if entry.yardstick else entry.label


def slug(text: str) -> str:
    """Letters, digits and dashes, for file names."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "x"


def page_of(cell_id: str) -> str:
    """The record's page, relative to the site's root."""
    return f"records/{cell_id}.html"


def _value(judge: Judge, entry: Entry | None, column: Column) -> Value:
    if entry is None:
        return Value(hint="not run; the notes below the table give the command")
    page = page_of(entry.cell_id((entry.done or entry.records)[0]))
    if not entry.done:
        first = entry.records[0]
        text = "failed" if any(record.status == "failed" for record in entry.records) else "n/a"
        return Value(text=text, href=page, hint=first.error or "no reason was recorded")
    estimate = judge.estimate(entry, column)
    if estimate is None:
        return Value(text="–", href=page, hint="this encoder's record has no such metric")
    partial = judge.group.partial(entry, column)
    interval = f"95 % interval {_span(estimate.ci95, column)}; " if estimate.ci95 else ""
    return Value(
        value=estimate.value,
        stderr=estimate.stderr,
        bold=judge.wins(entry, column),
        mark=TAINTED * any(record.taints for record in entry.done) + PARTIAL * partial,
        href=page,
        hint=f"{interval}n = {estimate.n}; {estimate.method}",
        partial=partial,
    )


def _span(ci95: tuple[float, float], column: Column) -> str:
    return f"{ci95[0]:z.{column.decimals}f} to {ci95[1]:z.{column.decimals}f}"


def _rank(value: Value, column: Column) -> tuple[int, float]:
    """Whole numbers best first, then those over fewer seeds, then what is missing."""
    if value.value is None:
        return 2, 0.0
    if value.partial:
        return 1, 0.0
    return 0, {"higher": -1.0, "lower": 1.0, "neither": 0.0}[column.better] * value.value


def _levels(cells: Sequence[tuple[Group, Column]]) -> list[Row]:
    """Chance and ceiling, each only where some metric has it."""
    rows = []
    for label in ("chance", "ceiling"):
        values = tuple(_level([getattr(metric, label) for metric in _metrics(*cell)], cell[1]) for cell in cells)
        if any(value.text != "–" for value in values):
            rows.append(Row(label=label, values=values, section="yardsticks", muted=True))
    return rows


def _metrics(group: Group, column: Column) -> list[Metric]:
    return [metric for entry in group.entries for metric in entry.metrics(column)]


def _level(known: list[float | None], column: Column) -> Value:
    levels = sorted({level for level in known if level is not None})
    if not levels:
        return Value(text="–", hint="not defined for this metric")
    if len(levels) == 1:
        return Value(value=levels[0])
    # Words alone: no one number is the level of all.
    return Value(text=_span((levels[0], levels[-1]), column), hint="differs by encoder")


def _samples(group: Group) -> str:
    sizes = sorted({metric.n for column in group.columns for metric in _metrics(group, column)})
    settings = f" Settings: {group.settings}." if group.settings else ""
    n = f"n = {sizes[0]} samples" if len(sizes) == 1 else f"n = {sizes[0]} to {sizes[-1]} samples" if sizes else "n = 0"
    return f"{n}; seeds {', '.join(map(str, group.seeds))}.{settings}"


def _notes(some: Sequence[Group], rows: Sequence[Row]) -> list[str]:
    entries = [entry for group in some for entry in group.entries]
    values = [value for row in rows for value in row.values]
    notes = [
        "Bold: ahead of the runner-up by a paired, clustered 95 % interval that excludes zero; yardsticks left out."
    ]
    notes += [_LEGEND[YARDSTICK]] if any(entry.yardstick for entry in entries) else []
    if any(TAINTED in value.mark for value in values):
        taints = {taint for entry in entries for record in entry.done for taint in record.taints}
        notes.append(_LEGEND[TAINTED] + "; ".join(sorted(taints)) + ".")
    notes += [_LEGEND[PARTIAL]] if any(PARTIAL in value.mark for value in values) else []
    done = [record for entry in entries for record in entry.done]
    shared = {f"{r.cell.dataset.title}: {note}." for r in done for note in r.notes if note.endswith(TOO_HIGH)}
    notes += sorted(shared)
    for group in some:
        made = [record for entry in group.entries for record in entry.done]
        if (versions := versions_of_code(made)) > 1:
            notes.append(
                f"{group.probe.name}: made by {versions} versions of the code; the next run brings them together."
            )
        elif made_by_other_code(made):
            notes.append(
                f"{group.probe.name}: made by other code than is here now; the next run of these cells measures them anew."
            )
    return notes


def _to_fill(some: Sequence[Group]) -> list[str]:
    found = [gap for gap in gaps(some) if gap.kind != "not applicable"]
    if not found:
        return []
    lines = commands(found)
    cells = sum(len(gap.seeds) for gap in found)
    more = [f"and {len(lines) - _MOST_COMMANDS} more commands"] if len(lines) > _MOST_COMMANDS else []
    return [
        f"{cells} cell{'s' * (cells != 1)} without a number. To fill (with the folder of the data set after --data):",
        *lines[:_MOST_COMMANDS],
        *more,
    ]
