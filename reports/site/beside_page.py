"""One page for each table of the paper that our probes fill, where the records hold any of those probes."""

from __future__ import annotations

from collections.abc import Sequence

from reports.beside import Mapping, PaperNumber, mappings, paper_numbers, read_beside, table_of
from reports.judge import ScoreSource
from reports.render import to_tidy_csv
from reports.site.facts import Section
from reports.site.pen import PageLink, Pen
from rice_core.record import Record

_LEDE = (
    "Our number, the paper’s, the difference, and whether ours reproduces it. Ours come from records under a recipe that reads the"
    " paper, over the whole data set, with a section for each way to read it; what may not stand here is counted below the table.",
    "A dot is a number that is not there; the notes say why. A verdict is about agreement with the paper, not about which encoder is better.",
)


def write_beside(pen: Pen, records: Sequence[Record], store: ScoreSource) -> list[PageLink]:
    """Write the pages; returns links for the first page."""
    probes = {record.cell.probe.name for record in records}
    return [_write(pen, mapping, records, store) for mapping in mappings() if probes & set(mapping.probes)]


def _write(pen: Pen, mapping: Mapping, records: Sequence[Record], store: ScoreSource) -> PageLink:
    heading, path = f"The paper’s Table {mapping.table}, ours beside it", f"beside-{mapping.table}.html"
    made = read_beside(mapping.table, records, store)
    table = pen.table(table_of(made), csv=to_tidy_csv(PaperNumber, paper_numbers(made)))
    pen.page(path, "tables.html.j2", heading=heading, lede=_LEDE, sections=[Section(tables=(table,))])
    return PageLink(heading, path)
