"""Does the paper add up? Every printed average, gain and claim is derived again from the printed cells.

Nothing here knows an answer: findings come from the cells, the declared averages and the claims alone, so a changed
cell changes the findings. The rules for suspect cells are stated in `reports.reference.outliers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from reports.reference.arithmetic import average_findings, default_findings, gain_findings, twin_findings
from reports.reference.finding import Finding, Verdict
from reports.reference.outliers import outlier_findings
from reports.reference.paper import PrintedTable, printed_tables
from reports.reference.prose import prose_findings

__all__ = ["Finding", "Verdict", "findings"]


def findings(tables: Sequence[PrintedTable] | None = None) -> tuple[Finding, ...]:
    """All findings about the given tables (the paper's own by default), in their order."""
    return _paper_findings() if tables is None else _findings(tables)


@cache
def _paper_findings() -> tuple[Finding, ...]:
    return _findings(printed_tables())


def _findings(given: Sequence[PrintedTable]) -> tuple[Finding, ...]:
    by_id = {table.id: table for table in given}
    out: list[Finding] = []
    for table in given:
        out += average_findings(table)
        if table.twin_of:
            out += twin_findings(table, by_id[table.twin_of])
        out += gain_findings(table)
        out += prose_findings(table)
    out += default_findings(list(given))
    out += outlier_findings(given)
    order = list(by_id)
    return tuple(sorted(out, key=lambda finding: order.index(finding.table)))
