"""Pages of facts: cells, missing cells, assumptions, provenance, and the paper's own tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reports.board import Board, headline, marked, page_of, probe_names
from reports.gaps import Gap, commands, gaps
from reports.groups import Entry, Group
from reports.reference.tables import findings_table, reference_table
from reports.site.pen import Pen, Printed
from reports.table import Column, Row, Table, Value
from rice_core.record import Record


@dataclass(frozen=True)
class Section:
    """A part of a page: any of text, list, commands and tables."""

    title: str = ""
    text: str = ""
    lines: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    tables: tuple[Printed, ...] = ()


def write_cells(pen: Pen, some: Sequence[Board]) -> None:
    """Every cell with its status, headline number and page."""
    rows = [
        Row(label=marked(entry), values=_cell(names[group.key], group, entry, record))
        for board in some
        for names in (probe_names(board.groups),)
        for group in board.groups
        for entry in group.entries
        for record in entry.records
    ]
    columns = _words("probe", "data set", "seed", "status", "headline", "value", "seconds", "marks")
    table = Table(key="cells", title="All cells", columns=columns, rows=tuple(rows))
    lede = [
        "One cell is one encoder, probe, data set and seed. Each has a page with its errors, digests and environment."
    ]
    pen.page("cells.html", "tables.html.j2", heading="Cells", lede=lede, sections=[Section(tables=(pen.table(table),))])


def _cell(name: str, group: Group, entry: Entry, record: Record) -> tuple[Value, ...]:
    column = headline(group)
    metric = next((m for m in record.metrics if m.name == column.key), None)
    number = (
        Value()
        if metric is None
        else Value(value=metric.value, stderr=metric.stderr, text=f"{metric.value:z.{column.decimals}f}")
    )
    return _entries(
        name,
        group.dataset.title + (f", limit {group.limit}" if group.limit else ""),
        record.cell.seed,
        Value(text=record.status.replace("_", " "), href=page_of(entry.cell_id(record)), hint=record.error or ""),
        column.label if metric else "–",
        number,
        Value(value=record.seconds, text=f"{record.seconds:.1f}"),
        "; ".join(record.taints) or "–",
    )


def write_missing(pen: Pen, some: Sequence[Board]) -> None:
    """Gaps of every board with the commands that fill them."""
    sections = []
    for board in some:
        found = gaps(board.groups)
        if found:
            names = probe_names(board.groups)
            rows = tuple(Row(label=gap.label, values=_gap(gap, names[gap.group.key])) for gap in found)
            table = Table(
                key=f"missing-{board.key[:6]}",
                title=f"Without a number on {board.title}",
                columns=_words("probe", "seeds", "state", "reason"),
                rows=rows,
            )
            sections.append(
                Section(board.title, commands=tuple(commands(found)), tables=(pen.table(table, words=True),))
            )
    lede = [
        "Cells without a number, and the commands that fill them. --data takes the folder that the data set was read from."
    ]
    if not sections:
        lede = ["Nothing is missing: every encoder has a number, or a reason, in every probe of its data set."]
    pen.page("missing.html", "tables.html.j2", heading="Missing cells", lede=lede, sections=sections)


def _gap(gap: Gap, name: str) -> tuple[Value, ...]:
    state = Value(text=gap.kind, href=page_of(gap.cell_id) if gap.cell_id else "")
    return _entries(name, ", ".join(map(str, gap.seeds)), state, gap.reason or "never run")


def write_assumptions(pen: Pen, found: Sequence[Group]) -> None:
    """What the paper or the data set does not say and a probe decided."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for group in found:
        for record in _records(group):
            counts[group.probe.name].update(record.assumptions)
    sections = [
        Section(probe, lines=tuple(f"{sentence} ({n} cell{'s' * (n != 1)})" for sentence, n in sorted(said.items())))
        for probe, said in sorted(counts.items())
        if said
    ]
    lede = ["What the paper or the data set does not say, and what the probe decided instead."]
    pen.page("assumptions.html", "tables.html.j2", heading="Assumptions", lede=lede, sections=sections)


def write_provenance(pen: Pen, found: Sequence[Group]) -> None:
    """Encoders with the digests of their weights; code, data, libraries and devices with the number of cells."""
    entries = {entry.key: entry for group in found for entry in group.entries}
    encoders = Table(
        key="encoders",
        title="Encoders",
        columns=_words("asked for as", "weights (sha256)", "parameters", "dim", "patch", "resolution", "facts"),
        rows=tuple(
            Row(label=marked(e), values=_encoder(e))
            for _, e in sorted(entries.items(), key=lambda i: (i[1].label, i[0]))
        ),
    )
    evidence = [record.evidence for group in found for record in _records(group) if record.evidence]
    counted = {
        "code (sha256)": Counter(e.code for e in evidence),
        "commit": Counter(f"{e.commit or 'not from a git checkout'}{' + changes' * bool(e.dirty)}" for e in evidence),
        "device": Counter(e.device for e in evidence),
        **{
            name: Counter(e.libraries[name] for e in evidence if name in e.libraries)
            for name in sorted({name for e in evidence for name in e.libraries})
        },
    }
    made_with = Table(
        key="made-with",
        title="Made with",
        columns=(*_words("is"), Column(key="cells", label="cells", better="neither", decimals=0)),
        rows=tuple(
            Row(label=what, values=_entries(value or "–", Value(value=n)))
            for what, values in counted.items()
            for value, n in sorted(values.items())
        ),
    )
    tables = tuple(pen.table(table, words=True) for table in (encoders, _data(found), made_with))
    lede = ["What the numbers were made from. Two encoders are the same only if their weights have the same digest."]
    pen.page("provenance.html", "tables.html.j2", heading="Provenance", lede=lede, sections=[Section(tables=tables)])


def _encoder(entry: Entry) -> tuple[Value, ...]:
    found = next((record.evidence for record in entry.records if record.evidence), None)
    if found is None:
        return _entries(entry.spec.told().shorthand, *[Value()] * 6)
    return _entries(
        entry.spec.told().shorthand,
        found.weights,
        Value(value=found.n_params, text=f"{found.n_params:,}"),
        found.dim,
        found.patch,
        " × ".join(map(str, found.resolution)),
        "; ".join(f"{key}: {value}" for key, value in sorted(found.encoder_facts.items())) or "–",
    )


def _data(found: Sequence[Group]) -> Table:
    sets = Counter(
        (g.dataset.title, g.dataset.layout, g.dataset.fingerprint, g.data) for g in found for _ in _records(g)
    )
    return Table(
        key="data-sets",
        title="Data sets",
        columns=(
            *_words("layout", "listing (sha256)", "bytes (sha256)"),
            Column(key="cells", label="cells", better="neither", decimals=0),
        ),
        rows=tuple(
            Row(label=name, values=_entries(layout, listing, data or "–", Value(value=n)))
            for (name, layout, listing, data), n in sorted(sets.items())
        ),
    )


def write_paper(pen: Pen) -> None:
    """The paper's Tables 1 to 5 as printed, and what does not add up in them."""
    lede = [
        "These are the paper’s numbers, as printed. None of them was measured here, and no number of this report stands among them.",
        "Every printed average and gain was derived again from the printed cells; what does not agree is marked and explained.",
    ]
    sections = [Section(f"Table {n}", tables=(pen.table(reference_table(n), muted="gains"),)) for n in range(1, 6)]
    sections.append(Section("What does not add up", tables=(pen.table(findings_table(), words=True),)))
    pen.page("paper.html", "tables.html.j2", heading="The paper’s tables", lede=lede, sections=sections)


def _records(group: Group) -> Iterable[Record]:
    return (record for entry in group.entries for record in entry.records)


def _words(*labels: str) -> tuple[Column, ...]:
    return tuple(Column(key=label, label=label, better="neither") for label in labels)


def _entries(*given: str | int | Value) -> tuple[Value, ...]:
    """Words and whole numbers as they are."""
    return tuple(
        each if isinstance(each, Value) else Value(value=None if isinstance(each, str) else each, text=str(each))
        for each in given
    )
