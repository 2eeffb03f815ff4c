"""`ricebench plan`: what a run would measure and cost."""

from __future__ import annotations

from rice_core.cli.options import DEFAULT_STORE, Asked, CacheOption, StoreOption, in_groups
from rice_core.echo import echo


@in_groups
def plan(asked: Asked, cache_gb: CacheOption = 50.0, store: StoreOption = DEFAULT_STORE) -> None:
    """Show the cells that a run would measure, what they cost, and why in this way."""
    from rice_core.measure.bill import bill
    from rice_core.measure.cache import GIB, FeatureCache
    from rice_core.measure.plan import plan_of
    from rice_core.store import Store

    opened = Store(store)
    wanted = plan_of(asked.run_config(), opened, files=True)
    for line in bill(wanted, opened, FeatureCache(opened, max_bytes=int(cache_gb * GIB)).space()):
        echo(line)
