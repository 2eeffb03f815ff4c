"""Tables of the paper as `ricebench plan` and `run` take them: `table:1` stands for its probes, under the recipe that reads the paper."""

from __future__ import annotations

from collections.abc import Sequence

from rice_core.catalogue import resolve
from rice_core.errors import UserError, did_you_mean
from rice_core.measure.config import build_probes
from rice_core.measure.plan import Plan
from rice_core.probe import Published
from rice_core.spec import ProbeRequest

PROBES = {
    "table:1": (
        *("infovqa", "docvqa", "chartqa", "textvqa", "ocrbench", "ocrbench_v2", "livexivqa"),
        *("ai2d", "mmb-en", "mme", "pope", "realworldqa", "mmstar"),
    ),
    "table:3": ("coco-det", "lvis-det", "rf100-det"),
    "table:4": ("lasot", "trackingnet", "got10k", "tnl2k"),
}
"""A test holds them against the columns of the report's tables beside the paper."""


def probes_of(table: str) -> tuple[str, ...]:
    """The probes of a table of the paper.

    Raises:
        UserError: no probes of ours measure encoders for that table.
    """
    if table not in PROBES:
        near = did_you_mean(table, PROBES)
        raise UserError(
            f"{table} is no table of the paper that probes fill; {near}choose from {', '.join(PROBES)}. Studies that train their own encoders "
            "(table:5a) have no plan: run them with --scale smoke first."
        )
    return PROBES[table]


def published_plan(encoders: Sequence[str], requests: Sequence[ProbeRequest], seeds: tuple[int, ...]) -> Plan:
    """Probes over the data that the paper names, of which nothing has to be here: their sizes are known.

    Raises:
        UserError: a probe does not know the size of its published data.
    """
    probes = build_probes(requests)
    if unknown := [probe.name for probe in probes if not isinstance(probe, Published)]:
        raise UserError(f"{unknown[0]} can be priced with its data alone; add --data FOLDER.")
    pairs = tuple((probe, probe.published()) for probe in probes if isinstance(probe, Published))
    return Plan(tuple(map(resolve, encoders)), pairs, seeds)
