"""One page for each table of the paper that our probes fill, where the records hold any of those probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.beside import Mapping, beside_table, mappings
from reports.judge import ScoreSource
from reports.site.facts import Section
from reports.site.pen import Pen
from rice_core.record import Record

_LEDE = (
    "Our number, the paper’s, the difference, and whether ours reproduces it. Ours come from records under the paper recipe"
    " alone, over the whole data set; what may not stand here is counted below the table.",
    "A dot is a number that is not there; the notes say why. A verdict is about agreement with the paper, not about which encoder is better.",
)


@dataclass(frozen=True)
class BesideLink:
    """A page as the first page names it."""

    title: str
    path: str


def write_beside(pen: Pen, records: Sequence[Record], store: ScoreSource) -> list[BesideLink]:
    """Write the pages; returns links for the first page."""
    probes = {record.cell.probe.name for record in records}
    return [_write(pen, mapping, records, store) for mapping in mappings() if probes & set(mapping.probes)]


def _write(pen: Pen, mapping: Mapping, records: Sequence[Record], store: ScoreSource) -> BesideLink:
    heading, path = f"The paper’s Table {mapping.table}, ours beside it", f"beside-{mapping.table}.html"
    table = pen.table(beside_table(mapping.table, records, store))
    pen.page(path, "tables.html.j2", heading=heading, lede=_LEDE, sections=[Section(tables=(table,))])
    return BesideLink(heading, path)
