"""The bill of a plan: what a run would measure, reuse and cost, without loading an encoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rice_core.budget import Budget, Passes, budget_of
from rice_core.datasets.describe import describe
from rice_core.measure.run import Plan
from rice_core.probe import Live, Probe, Read
from rice_core.record import Record
from rice_core.spec import EncoderSpec
from rice_core.store import Store


def bill(plan: Plan, store: Store, space: Budget) -> Iterator[str]:
    """What the data set was read as, one line a cell, then images, time and disk an encoder.

    Args:
        space: what kept features may take.

    Time is taken from the speed of earlier records of the same encoder, and disk from its recorded width and patch; where
    there is none, the line says how to measure it instead of guessing.
    """
    records = store.records()
    by_id = {record.cell.id: record for record in records}
    yield from describe(plan.dataset)
    for encoder in plan.encoders:
        cells = plan.cells(encoder)
        waiting = [(cell, probe) for cell, probe in cells if not _done(by_id.get(cell.id))]
        for cell, probe in cells:
            lacking = probe.data - plan.dataset.provides
            state = "not applicable: no " + ", ".join(sorted(lacking)) if lacking else _state(by_id.get(cell.id))
            yield f"  {cell.id}  {encoder.title} / {cell.probe.shorthand} / seed {cell.seed}: {state}"
        budget = budget_of(encoder, records, space)
        probes = [probe for _, probe in waiting if probe.data <= plan.dataset.provides]
        live = [group[0].passes(len(group), plan.dataset, budget) for group in _groups(probes)]
        for why, times in Counter(passes.why for passes in live).items():
            yield f"    {f'{times} times ' if times > 1 else ''}{why}"
        yield "    " + _cost(plan, encoder, [read for probe in probes for read in probe.reads], live, budget)


def _groups(probes: list[Probe]) -> list[list[Live]]:
    """The probes that send images through the encoder themselves; those that can share the passes together."""
    groups: list[list[Live]] = []
    for probe in probes:
        if not isinstance(probe, Live):
            continue
        found = (group for group in groups if group[0].shares_with(probe))
        if (group := next(found, None)) is not None:
            group.append(probe)
        else:
            groups.append([probe])
    return groups


def _done(record: Record | None) -> bool:
    return record is not None and record.status != "failed"


def _state(record: Record | None) -> str:
    if record is None:
        return "to be measured"
    if record.status == "failed":
        return f"failed before ({record.error}); to be measured"
    return "recorded; reused if weights, data and code are unchanged"


def _cost(plan: Plan, encoder: EncoderSpec, reads: list[Read], live: list[Passes], budget: Budget) -> str:
    if not reads and not live:
        return "nothing to extract"
    held = {split: len(samples) for split, samples in plan.dataset.splits.items()}
    images = {
        (read.split, read.pooling, read.view): min(held.get(read.split, 0), read.most or 1 << 62) for read in reads
    }
    # Both views of a split come from one pass, and every way of pooling but the plain mean takes one of its own.
    shared = {read[:2] for read in images}
    cached = sum(max(n for (*read, _), n in images.items() if tuple(read) == one) for one in shared)
    passes = cached + sum(each.images for each in live)
    parts = [f"at most {passes} images through the encoder" + (" (cached features are reused)" if cached else "")]
    if budget.tokens_per_second and budget.patch:
        tokens = cached * budget.tokens + sum(each.images * (each.side // budget.patch) ** 2 for each in live)
        speed = budget.tokens_per_second
        parts.append(f"about {tokens / speed / 60:.1f} min at the recorded {speed / budget.tokens:.1f} images/s")
    else:
        parts.append(f"no speed on record: `ricebench run -e {encoder.shorthand} -p knn ... --limit 64` measures it")
    dense = sum(n for (_, _, view), n in images.items() if view == "dense")
    if budget.patch and budget.dim and dense:
        size = budget.tokens * (budget.dim * 2 + budget.patch**2 * 3)
        parts.append(f"{dense * size / 1e9:.2f} GB of patch tokens on disk")
    return "; ".join(parts)
