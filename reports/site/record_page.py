"""One page a record: its numbers with errors, and everything it was made from."""

from __future__ import annotations

from collections.abc import Sequence

from reports.board import page_of
from reports.gaps import Gap
from reports.groups import Entry, Group
from reports.site.pen import Pen, Track
from reports.site.pictures import Pictures
from reports.used import replaced
from rice_core.record import Metric, Record

_STATUS = {"done": "finished", "failed": "failed", "not_applicable": "not applicable"}


def write_records(pen: Pen, found: Sequence[Group], pictures: Pictures, track: Track) -> None:
    """All record pages."""
    cells = [(group, entry, record) for group in found for entry in group.entries for record in entry.records]
    for group, entry, record in track(cells, "record pages"):
        pen.page(
            page_of(entry.cell_id(record)),
            "record.html.j2",
            label=entry.label,
            group=group,
            record=record,
            status=_STATUS[record.status],
            cell_id=entry.cell_id(record),
            siblings=[(seed, cell_id) for seed, cell_id in entry.cell_ids.items() if seed != record.cell.seed],
            command=_command(group, entry, record),
            metrics=[_metric(metric) for metric in record.metrics],
            pictures=pictures.of(entry, record),
            extras=pictures.extras(entry, record),
            facts=_facts(record),
        )


def _command(group: Group, entry: Entry, record: Record) -> str:
    if record.status != "failed":
        return ""
    return Gap("failed", entry.label, entry.spec, group, (record.cell.seed,)).command


def _metric(metric: Metric) -> tuple[str, ...]:
    interval = f"{metric.ci95[0]:.4g} to {metric.ci95[1]:.4g}" if metric.ci95 else "–"
    numbers = (f"{number:.4g}" if number is not None else "–" for number in (metric.stderr,))
    levels = (f"{number:.4g}" if number is not None else "–" for number in (metric.chance, metric.ceiling))
    unit = f" {metric.unit}" if metric.unit else ""
    value = f"{metric.value:.4g}{unit}"
    return (metric.name, value, *numbers, interval, *levels, str(metric.n), metric.better, metric.method or "–")


def _facts(record: Record) -> list[tuple[str, str, bool]]:
    """(name, words, whether the words are a digest)."""
    facts = [
        ("encoder", record.cell.encoder.told().shorthand, True),
        ("probe", f"{record.cell.probe.shorthand}, version {record.cell.probe.version}", False),
        *(("not used as asked", said, False) for said in replaced(record)),
        ("data set", f"{record.cell.dataset.name} ({record.cell.dataset.layout})", False),
        ("listing", record.cell.dataset.fingerprint, True),
        *(
            (f"learnt from {each.name} ({each.layout})", f"listing {each.fingerprint}", True)
            for each in record.cell.dataset.learnt_from
        ),
        *(("of the data", note, False) for note in record.notes),
    ]
    if record.evidence:
        found = record.evidence
        facts += [
            ("weights", found.weights, True),
            ("data", found.data, True),
            ("code", found.code, True),
            *((f"stage {used.name}", f"{used.id}, files {used.digest}", True) for used in found.stages),
            ("commit", f"{found.commit or 'not from a git checkout'}{' + changes' * bool(found.dirty)}", True),
            ("scores", record.scores_sha256 or "none kept", True),
            ("encoder size", f"{found.n_params:,} parameters, {found.dim} channels, patch {found.patch}", False),
            ("resolution", " × ".join(map(str, found.resolution)), False),
            ("device", f"{found.device or '–'}{', deterministic' * found.deterministic}", False),
            ("libraries", ", ".join(f"{name} {version}" for name, version in sorted(found.libraries.items())), False),
        ]
        facts += [(f"tag {key}", value, False) for key, value in sorted(found.encoder_facts.items())]
    facts += [(f"file {artifact.name}", artifact.sha256, True) for artifact in record.artifacts]
    speed = f", {record.images_per_second:g} images/s" if record.images_per_second else ""
    return [*facts, ("took", f"{record.seconds:.1f} s{speed}", False), ("made", record.created or "–", False)]
