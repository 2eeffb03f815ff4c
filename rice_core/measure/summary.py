"""How a run came out: records, counts, and one line a cell for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rice_core.record import Record


@dataclass
class Summary:
    """How a run came out."""

    records: list[Record] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """By outcome: done, reused, failed, not_applicable, left (not asked for by --only)."""
    errors: list[str] = field(default_factory=list)

    def add(self, record: Record, outcome: str, called: str) -> None:
        """Count a cell that came out so; `called` is its name in a line for people."""
        self.records.append(record)
        self.counts[outcome] += 1
        if outcome == "failed":
            self.errors.append(f"{called}: {record.error}")

    def not_loaded(self, cells: int, error: str) -> None:
        """An encoder could not be loaded, so `cells` cells have no record."""
        self.counts["failed"] += cells
        self.errors.append(error)


def headline(record: Record, outcome: str, standing: Record | None = None, *, deterministic: bool = False) -> str:
    """What a cell came to, and why a number that stood (`standing`) was not reused, or is not what was asked for."""
    if record.status != "done":
        text = f"{record.status.replace('_', ' ')}: {record.error}" + (" (reused)" if outcome == "reused" else "")
    else:
        first = next((m for m in record.metrics if m.better != "neither"), next(iter(record.metrics), None))
        number = f"{first.name} {first.value:.{1 if first.unit else 3}f}{first.suffix}" if first else record.error or ""
        text = f"{number} (reused)" if outcome == "reused" else f"{number} ({record.seconds:.1f} s)"
    if outcome == "reused" and deterministic and record.evidence and not record.evidence.deterministic:
        text += ", measured without --deterministic; --only all measures anew"
    new = record.evidence.new_since(standing.evidence) if record.evidence and standing and standing.evidence else ""
    return f"{text}, measured again for new {new}" if new else text
