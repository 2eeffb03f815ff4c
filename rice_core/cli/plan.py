"""`ricebench plan`: what a run would measure and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rice_core.cli.options import DEFAULT_STORE, Asked, CacheOption, StoreOption, in_groups, parse_seeds, split_list
from rice_core.echo import echo

if TYPE_CHECKING:
    from rice_core.measure.plan import Plan
    from rice_core.store import Store


@in_groups
def plan(
    table: Annotated[
        str | None,
        typer.Argument(
            help="A table of the paper, as table:1, in the place of --probes; without --data at its published size."
        ),
    ] = None,
    *,
    asked: Asked,
    cache_gb: CacheOption = 50.0,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show the cells that a run would measure, what they cost, and why in this way."""
    from rice_core.measure.bill import bill
    from rice_core.measure.cache import GIB, FeatureCache
    from rice_core.store import Store

    opened = Store(store)
    wanted = _wanted(table or "", asked, opened)
    for line in bill(wanted, opened, FeatureCache(opened, max_bytes=int(cache_gb * GIB)).space()):
        echo(line)


def _wanted(table: str, asked: Asked, store: Store) -> Plan:
    from rice_core.measure.paper_tables import published_plan
    from rice_core.measure.plan import plan_of

    if not table or not asked.encoders or asked.data or asked.annotations or asked.config:
        return plan_of(asked.run_config(table), store, files=True)
    return published_plan(split_list(asked.encoders), asked.requests(table), parse_seeds(asked.seeds or "0"))
