"""What has to be said below a table: verdicts, data, what was left out or refused, and what fills the dots."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Lookup

from reports.beside.admit import Admitted
from reports.beside.mapping import Mapping
from reports.beside.parts import Part
from reports.beside.source import ColumnSource, agreement
from reports.board import PARTIAL, YARDSTICK
from reports.gaps import typed
from reports.groups import Entry
from reports.reference.paper import PaperRow
from reports.table import Value
from reports.versions import made_by_other_code, versions_of_code
from rice_core.catalogue import entries as catalogue
from rice_core.spec import EncoderSpec

_MOST = 8


def notes(
    mapping: Mapping,
    admitted: Admitted,
    parts: Sequence[Part],
    paper: Lookup[tuple[str, str], Value],
) -> Iterator[str]:
    """In the order of their weight for a reader of the numbers."""
    yield from _verdicts(parts, paper)
    yield from absent(mapping, admitted, parts)
    yield from _marks(parts)
    for part in parts:
        yield from _rates(part)
    yield from _orders(parts)
    yield from _data(mapping, parts)
    yield from mapping.assumed
    yield from _assumptions(parts)
    yield from _missing(mapping, parts[0])


def absent(mapping: Mapping, admitted: Admitted, parts: Sequence[Part]) -> Iterator[str]:
    """What is there and not shown, with the reasons."""
    for part in parts:
        yield from _refused(mapping, part)
    yield from _left_out(admitted)


def _verdicts(parts: Sequence[Part], paper: Lookup[tuple[str, str], Value]) -> Iterator[str]:
    for part in parts:
        found = Counter(
            agreement(estimate, printed, source.filling.goal)
            for line, source in part.cells
            if line.row and line.entry and not part.reading.unjudged and (estimate := source.agreed(line.entry.key))
            if (printed := paper[line.row.key, source.printed.key].value) is not None
        )
        ok = found["within the goal"] + found["by the interval alone"]
        if found:
            yield (
                f"{part.reading.title}: {found.total()} of our numbers beside the paper's: {ok} ok ({found['within the goal']} within the "
                f"goal, {found['by the interval alone']} by the interval alone), {found['off']} off."
            )
        if part.reading.unjudged:
            yield f"{part.reading.title}: no verdict: {part.reading.unjudged}."
    yield (
        f"delta = ours - paper. ok: |delta| is at most the goal ({_goals(parts[0])}), or the paper's number lies in our 95 % interval "
        "over seeds and samples; else off."
    )


def _goals(part: Part) -> str:
    """`0.3 for COCO, LVIS; 1 for RF100`: by group, and by column where a group has several."""
    of_group: dict[str, set[float]] = {}
    for source in part.filled:
        of_group.setdefault(source.printed.group, set()).add(source.filling.goal)
    goals: dict[float, list[str]] = {}
    for source in part.filled:
        group, label = source.printed.group, source.printed.label
        goals.setdefault(source.filling.goal, []).append(group if group and len(of_group[group]) == 1 else label)
    for average in part.averages:
        goals.setdefault(average.mean.goal, []).append(average.printed.label)
    return "; ".join(f"{goal:g} for {', '.join(dict.fromkeys(names))}" for goal, names in goals.items())


def _refused(mapping: Mapping, part: Part) -> Iterator[str]:
    refused: dict[str, list[ColumnSource]] = {}
    for source in part.filled:
        if source.refused:
            refused.setdefault(source.refused, []).append(source)
    for why, some in refused.items():
        names = ", ".join(_name(source) for source in some)
        yield (
            f"Refused, {names}: the records do not measure the same and must not share a column: {why}. "
            "None is shown; keep one of them in this store (--store chooses another)."
        )
    for source in part.filled:
        for entry in (line.entry for line in part.lines):
            if entry and (own := source.entry(entry.key)) and (other := source.other_n(own)) is not None:
                counts = mapping.data[source.filling.data].counts
                yield (
                    f"Not shown, {entry.label} in {_name(source)}: over {other:,} {counts}, where "
                    f"{mapping.data[source.filling.data].title} has {source.filling.n:,}."
                )


def _left_out(admitted: Admitted) -> Iterator[str]:
    if admitted.left_out:
        n_left = admitted.left_out.total()
        ranked = sorted(admitted.left_out.items(), key=lambda item: (-item[1], item[0]))
        listed = [f"{n} ({why})" for why, n in ranked[:_MOST]]
        listed += [f"and {sum(n for _, n in ranked[_MOST:])} for other reasons"] if len(ranked) > _MOST else []
        yield (
            f"{n_left} record{'s' * (n_left != 1)} of these probes left out, since no such "
            f"number may stand beside the paper's: {', '.join(listed)}."
        )


def _marks(parts: Sequence[Part]) -> Iterator[str]:
    own = [(line.entry, source) for part in parts for line, source in part.cells if line.entry]
    if own:
        yield "Bold: ahead of the runner-up of ours in the same section by a paired, clustered 95 % interval that excludes zero."
    if any(part.averages for part in parts):
        yield (
            "An average is over every column that it claims to be of, else it is a dot; it is never bold, since no samples pair "
            "two of them, and not counted among the verdicts."
        )
    if any(entry.yardstick for entry, _ in own):
        yield f"{YARDSTICK} A yardstick (synthetic, or trained on these labels): never bold."
    if any(source.partial(mine) for entry, source in own if (mine := source.entry(entry.key))):
        yield f"{PARTIAL} Not all seeds gave a number: a mean over the rest, not held against the paper's and never bold."


def _rates(part: Part) -> Iterator[str]:
    """The rates that encoders were trained at, where they are not the recipe's."""
    groups = {source.judge.group.key: source.judge.group for source in part.filled if source.judge}
    for group in groups.values():
        used = {
            entry.label: sorted({str(record.used["rate"]) for record in entry.done if "rate" in record.used})
            for entry in group.entries
        }
        said = "; ".join(f"{label} {' and '.join(rates)}" for label, rates in used.items() if rates)
        if said:
            yield f"{part.reading.title}, {group.probe.name}: the rate is {said}."


def _orders(parts: Sequence[Part]) -> Iterator[str]:
    """Whether encoders stand in another order where the same recipe is read with other settings."""
    for part in parts:
        alike = (each for each in parts if each.reading.recipe == part.reading.recipe and not each.reading.settings)
        plain = next(alike, None)
        if plain is None or plain is part:
            continue
        orders = {_name(one): _order(one, other) for one, other in zip(plain.filled, part.filled, strict=True)}
        several = {name: order for name, order in orders.items() if len(order[0]) > 1}
        moved = {name: order for name, order in several.items() if order[0] != order[1]}
        if several:
            how = "; ".join(
                f"{name}: {' > '.join(there)}, not {' > '.join(here)}" for name, (here, there) in moved.items()
            )
            yield (
                f"{part.reading.title} against {plain.reading.title}: by their numbers alone, whatever the intervals, encoders stand in another "
                f"order in {len(moved)} of {len(several)} columns" + (f" ({how})." if moved else ".")
            )


def _order(one: ColumnSource, other: ColumnSource) -> tuple[list[str], list[str]]:
    """Encoders that both have a whole number of, the best first, as each ranks them."""
    entries = one.judge.group.entries if one.judge else ()
    pairs = [(entry.label, one.agreed(entry.key), other.agreed(entry.key)) for entry in entries]
    both = [(label, a.value, b.value) for label, a, b in pairs if a and b]
    highest = one.printed.better == "higher"
    here = [label for label, a, _ in sorted(both, key=lambda pair: pair[1], reverse=highest)]
    return here, [label for label, _, b in sorted(both, key=lambda pair: pair[2], reverse=highest)]


def _data(mapping: Mapping, parts: Sequence[Part]) -> Iterator[str]:
    """What is known of the data: its name, its fingerprints and how much of it there is."""
    said: dict[str, None] = {}
    for source in (source for part in parts for source in part.filled):
        if source.judge:
            group, role = source.judge.group, mapping.data[source.filling.data]
            where = f"data set {group.dataset.title} (listing {group.dataset.fingerprint[:8]}, bytes {group.data[:8]})"
            said[f"{role.title}: the numbers come from {where}."] = None
    yield from said
    if said:
        yield (
            "A record holds a data set's name, fingerprint and number of samples, not its origin: that it is the published one "
            "is checked by the number alone, where that is known."
        )


def _assumptions(parts: Sequence[Part]) -> Iterator[str]:
    filled = [source for part in parts for source in part.filled]
    groups = {source.judge.group.key: source.judge.group for source in filled if source.judge}
    records = [record for group in groups.values() for entry in group.entries for record in entry.records]
    said = {sentence for record in records for sentence in record.assumptions}
    if said:
        yield f"{len(said)} assumption{'s' * (len(said) != 1)} where the paper is silent; each record lists its own."
    versions = versions_of_code(records)
    if versions > 1:
        yield f"Made by {versions} versions of the code."
    elif made_by_other_code(records):
        yield "Made by other code than is here now."


def _missing(mapping: Mapping, part: Part) -> Iterator[str]:
    """Of the reading as printed: of the others what is there is shown, and nothing is wanted."""
    cells = list(part.cells)
    dots = [source for line, source in cells if not (line.entry and source.estimate(line.entry.key))]
    wanted: dict[str, dict[str, None]] = {}
    nameless: dict[str, None] = {}
    for line, source in cells:
        row, entry = line.row, line.entry
        own = source.entry(entry.key) if entry else None
        # Another run gives a refused column, or a number over other data, nothing.
        lacks = not source.refused and (own is None or not own.done or source.partial(own))
        asked = _asked(mapping, row, entry)
        if lacks and asked:
            wanted.setdefault(source.filling.probe, {})[asked] = None
        elif lacks and row:
            nameless[row.label] = None
    if dots or wanted:
        to_fill = " To fill, with the folder of the data set for FOLDER:" if wanted else ""
        yield f"{len(dots)} of {len(cells)} cells of ours missing.{to_fill}"
    yield from _commands(mapping, part.filled, {probe: tuple(asked) for probe, asked in wanted.items()})
    if nameless:
        yield (
            f"{'; '.join(nameless)}: no public weights are known to be these that can be read here, so nothing fills the row. An encoder of your own "
            "(-e NAME=hf:PATH) has a row below the paper's."
        )


def _commands(mapping: Mapping, filled: Sequence[ColumnSource], wanted: Lookup[str, tuple[str, ...]]) -> Iterator[str]:
    """One for the probes that want the same encoders on the same data."""
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for probe in (probe for probe in mapping.probes if probe in wanted):
        data = next(source.filling.data for source in filled if source.filling.probe == probe)
        alike.setdefault((data, wanted[probe]), []).append(probe)
    for (data, encoders), probes in alike.items():
        yield _command(mapping.data[data].given, filled, ",".join(probes), encoders)


def _command(given: str, filled: Sequence[ColumnSource], probes: str, encoders: Sequence[str]) -> str:
    seeds = sorted({seed for each in filled if each.judge for seed in each.judge.group.seeds})
    words = [
        "ricebench",
        "run",
        *(word for encoder in encoders for word in ("-e", encoder)),
        "-p",
        probes,
        "--data",
        given,
    ]
    words += ["--seeds", ",".join(map(str, seeds))] if seeds not in ([], [0]) else []
    return shlex.join(words)


def _asked(mapping: Mapping, row: PaperRow | None, entry: Entry | None) -> str:
    """How a command names the encoder: by the catalogue, by its spec, or not at all."""
    if entry is None:
        specs = mapping.specs(row) if row else ()
        return _typed(specs[0]) if specs else ""
    return _typed(entry.spec)


def _typed(spec: EncoderSpec) -> str:
    """The catalogue's id, else the shorthand, with the display name where it can be typed."""
    listed = next(
        (known.id for known in catalogue() if EncoderSpec.parse(known.spec).identity() == spec.identity()), ""
    )
    return listed or typed(spec)


def _name(source: ColumnSource) -> str:
    return f"{source.printed.group} {source.printed.label}".strip()
