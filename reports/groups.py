"""Groups: the records that may stand in one table, and the encoders in them.

Two records share a group only where probe, version, recipe, parameters, data set, its bytes and the limit are the same.
Within a group an encoder is its spec (without the display name) and the digest of its weights.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from reports.table import Column
from rice_core.digest import json_digest
from rice_core.record import Evidence, Metric, Record
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeSpec
from rice_core.stats.estimates import Estimate, across_seeds

_SUPERVISED = re.compile(r"(?<!self-)(?<!self_)(?<!un)(?<!weakly-)\bsupervised\b", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """One encoder in one group: its records, by seed."""

    key: str
    """Hash of the encoder's identity and the digest of its weights; the same in every group."""
    label: str
    """Display name; made unique where two encoders share one."""
    records: tuple[Record, ...]
    cell_ids: dict[int, str]
    """Seed -> cell id, each hashed once: a cell hashes itself anew at every look."""
    yardstick: bool
    """A measuring stick among the contestants: synthetic, or trained on the probe's own kind of labels."""

    @property
    def spec(self) -> EncoderSpec:
        return self.records[0].cell.encoder

    @cached_property
    def done(self) -> tuple[Record, ...]:
        return tuple(record for record in self.records if record.status == "done")

    @cached_property
    def by_column(self) -> dict[Column, dict[int, Metric]]:
        """In each column the metric of every seed that gave one; columns in the probe's own order."""
        found: dict[Column, dict[int, Metric]] = {}
        for record in self.done:
            for metric in record.metrics:
                found.setdefault(column_of(metric), {})[record.cell.seed] = metric
        return found

    def metrics(self, column: Column) -> list[Metric]:
        """One metric a seed that gave it."""
        return list(self.by_column.get(column, {}).values())

    def seeds(self, column: Column) -> tuple[int, ...]:
        """The seeds that gave this metric: not all that finished need have it."""
        return tuple(self.by_column.get(column, {}))

    def cell_id(self, record: Record) -> str:
        """Of one of this entry's records."""
        return self.cell_ids[record.cell.seed]

    def estimate(self, column: Column, seeds: Collection[int] | None = None) -> Estimate | None:
        """The mean over the seeds that gave this metric, or over those of them in `seeds`; None where none is left."""
        given = self.by_column.get(column, {})
        metrics = [metric for seed, metric in given.items() if seeds is None or seed in seeds]
        return across_seeds(metrics) if metrics else None


@dataclass(frozen=True)
class Group:
    """What may be ranked together. `key` is 12 hex digits."""

    key: str
    probe: ProbeSpec
    dataset: DatasetSpec
    limit: int | None
    data: str
    """sha256 of the data set's bytes; empty where no record of the group got that far."""
    entries: tuple[Entry, ...]
    """By label."""

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Metrics in the probe's own order; the first is the headline.

        The order is that of an encoder with the most of them: one that lacks the headline must not make another of it.
        """
        fullest = sorted(self.entries, key=lambda entry: -len(entry.by_column))
        return tuple(dict.fromkeys(column for entry in fullest for column in entry.by_column))

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        return tuple(sorted({record.cell.seed for entry in self.entries for record in entry.records}))

    @cached_property
    def most_seeds(self) -> int:
        """Seeds that were tried of one encoder, whatever came of them: what a mean over seeds claims to be over.

        Not the union: each training of a study is an encoder with a probe seed of its own, and lacks none.
        """
        return max(len(entry.cell_ids) for entry in self.entries)

    def partial(self, entry: Entry, column: Column) -> bool:
        """Whether the number is over fewer seeds than others were tried with: such a mean may gain by what it lacks."""
        return 0 < len(entry.seeds(column)) < self.most_seeds

    @property
    def title(self) -> str:
        """Probe, data set, recipe and limit in one line; `settings` has the rest."""
        limit = f", first {self.limit} of each split" if self.limit else ""
        return f"{self.probe.name} on {self.dataset.title}, recipe {self.probe.recipe}@{self.probe.version}{limit}"

    @property
    def settings(self) -> str:
        """`k=10, pool=mean`."""
        return ", ".join(f"{key}={value}" for key, value in sorted(self.probe.params.items()))

    @property
    def miniature(self) -> bool:
        """Whether the data set is the drawn world, whose numbers are no paper numbers."""
        return is_miniature(self.dataset)

    def entry(self, key: str) -> Entry | None:
        return self._by_key.get(key)

    @cached_property
    def _by_key(self) -> dict[str, Entry]:
        return {entry.key: entry for entry in self.entries}


def groups(records: Iterable[Record]) -> list[Group]:
    """Divide records into what may be compared; the result does not depend on their order."""
    filed = _file([(record.cell.id, record) for record in records])
    labels = _labels(filed)
    shelves: dict[tuple[str, str], dict[str, dict[str, Record]]] = defaultdict(lambda: defaultdict(dict))
    for record, place in filed:
        shelves[place.comparable, place.data][place.encoder][place.cell_id] = record
    made = [
        _group(comparable, data, [_entry(key, labels[key], members) for key, members in by_encoder.items()])
        for (comparable, data), by_encoder in shelves.items()
    ]
    return sorted(
        made, key=lambda group: (group.dataset.title, group.probe.name, group.title, group.settings, group.key)
    )


def is_miniature(dataset: DatasetSpec) -> bool:
    """Whether the data set, or what was learnt from, is drawn by `rice_core.world`: its name is "mini" or begins with "mini-"."""
    return any(re.match(r"mini(?![a-z])", each.name) for each in (dataset, *dataset.learnt_from))


def column_of(metric: Metric) -> Column:
    """The column a metric stands in; what differs in name, unit or direction never shares one."""
    counted = metric.unit in ("%", "points", "px", "deg") or metric.unit.startswith("of ")
    decimals = 1 if counted else 3
    return Column(key=metric.name, label=metric.name, unit=metric.unit, better=metric.better, decimals=decimals)


class _GroupKey(NamedTuple):
    cell_id: str
    comparable: str
    data: str
    encoder: str


def _file(records: list[tuple[str, Record]]) -> list[tuple[Record, _GroupKey]]:
    """Where each record belongs. A cell that failed before its digests were known joins the only one they can be."""
    asked = [(record.cell.comparable, json_digest(record.cell.encoder.identity())) for _, record in records]
    data: dict[str, set[str]] = defaultdict(set)
    weights: dict[str, set[str]] = defaultdict(set)
    for (_, record), (comparable, encoder) in zip(records, asked, strict=True):
        if record.evidence:
            data[comparable].add(record.evidence.data)
            weights[encoder].add(_loaded(record.evidence))
    filed = []
    for (cell_id, record), (comparable, encoder) in zip(records, asked, strict=True):
        found = record.evidence
        bytes_used = found.data if found else _only(data[comparable])
        weights_used = _loaded(found) if found else _only(weights[encoder])
        filed.append((record, _GroupKey(cell_id, comparable, bytes_used, json_digest([encoder, weights_used])[:12])))
    return filed


def _loaded(evidence: Evidence) -> str:
    return f"{evidence.weights} {evidence.architecture}"


def _only(known: set[str]) -> str:
    return next(iter(known)) if len(known) == 1 else ""


def _labels(filed: list[tuple[Record, _GroupKey]]) -> dict[str, str]:
    """Encoder key -> display name; two encoders of one name are told apart by their specs, else by their weights."""
    titles: dict[str, set[str]] = defaultdict(set)
    facts: dict[str, tuple[str, str]] = {}
    for record, place in filed:
        titles[place.encoder].add(record.cell.encoder.title)
        weights = record.evidence.weights if record.evidence else ""
        facts[place.encoder] = max(facts.get(place.encoder, ("", "")), (record.cell.encoder.told().shorthand, weights))
    plain = {key: min(names) for key, names in titles.items()}
    sharing: dict[str, list[str]] = defaultdict(list)
    for key, title in plain.items():
        sharing[title].append(key)
    labels = {}
    for key, title in plain.items():
        shorthand, weights = facts[key]
        others = [facts[other] for other in sharing[title] if other != key]
        labels[key] = title
        if any(shorthand == other for other, _ in others):
            labels[key] = f"{title} (weights {weights[:8] or 'unknown'})"
        elif others:
            labels[key] = f"{title} ({shorthand})"
    return labels


def _entry(key: str, label: str, members: dict[str, Record]) -> Entry:
    by_seed = sorted(members.items(), key=lambda item: (item[1].cell.seed, item[0]))
    return Entry(
        key=key,
        label=label,
        records=tuple(record for _, record in by_seed),
        cell_ids={record.cell.seed: cell_id for cell_id, record in by_seed},
        yardstick=any(is_yardstick(record) for _, record in by_seed),
    )


def is_yardstick(record: Record) -> bool:
    """Whether this encoder is there to measure the probe: synthetic, or trained with the miniature world's own labels."""
    facts = record.evidence.encoder_facts if record.evidence else {}
    taught = any(_SUPERVISED.search(f"{key} {value}") for key, value in facts.items())
    return record.cell.encoder.source == "synthetic" or (taught and is_miniature(record.cell.dataset))


def _group(comparable: str, data: str, entries: list[Entry]) -> Group:
    cell = entries[0].records[0].cell
    return Group(
        key=json_digest([comparable, data])[:12],
        probe=cell.probe,
        dataset=cell.dataset,
        limit=cell.limit,
        data=data,
        entries=tuple(sorted(entries, key=lambda entry: (entry.label, entry.key))),
    )
