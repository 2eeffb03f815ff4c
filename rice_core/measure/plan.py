"""What is asked, as a plan: words become encoders, probes and a data set. Nothing is loaded and nothing measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rice_core.catalogue import resolve
from rice_core.digest import json_digest
from rice_core.measure.config import RunConfig, build_probes
from rice_core.measure.run import Plan
from rice_core.store import Store

if TYPE_CHECKING:
    from rice_core.datasets import Dataset


def plan_of(config: RunConfig, store: Store) -> Plan:
    """The plan of a configuration; what is named twice is measured once.

    Raises:
        UserError: no such encoder, probe or parameter, or a data set that cannot be read.
    """
    # What is cheap to check comes first: names before data, data before weights.
    encoders = tuple(resolve(asked) if isinstance(asked, str) else asked for asked in config.encoders)
    probes = build_probes(config.probe_requests(), files=True)
    dataset = open_data(config.data, store, limit=config.limit)
    encoders = tuple({json_digest(spec.identity()): spec for spec in encoders}.values())
    probes = tuple({json_digest(probe.spec.model_dump()): probe for probe in probes}.values())
    return Plan(encoders, probes, dataset, tuple(dict.fromkeys(config.seeds)), config.limit)


def open_data(text: str, store: Store, *, limit: int | None) -> Dataset:
    """The data set behind `--data`; worlds are drawn into the store.

    Raises:
        UserError: the folder is not there or holds no layout that can be read.
    """
    from rice_core.datasets import limit as limited
    from rice_core.world import mini

    dataset = mini.open_data(text, store.place("worlds"))
    return dataset if limit is None else limited(dataset, limit)
