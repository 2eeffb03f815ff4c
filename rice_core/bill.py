"""The bill of a plan: what a run would measure, reuse and cost, without loading an encoder."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from rice_core.probe import Read
from rice_core.record import Record
from rice_core.run import Plan
from rice_core.spec import EncoderSpec
from rice_core.store import Store


def bill(plan: Plan, store: Store) -> Iterator[str]:
    """One line a cell, then images, time and disk an encoder.

    Time is taken from the speed of earlier records of the same encoder, and disk from its recorded width and patch; where
    there is none, the line says how to measure it instead of guessing.
    """
    records = store.records()
    by_id = {record.cell.id: record for record in records}
    sizes = ", ".join(f"{len(samples)} {split}" for split, samples in plan.dataset.splits.items())
    yield f"data set {plan.dataset.spec.name} ({plan.dataset.spec.layout}): {sizes} images, {len(plan.dataset.classes)} classes"
    for encoder in plan.encoders:
        cells = plan.cells(encoder)
        waiting = [(cell, probe) for cell, probe in cells if not _done(by_id.get(cell.id))]
        for cell, probe in cells:
            lacking = probe.data - plan.dataset.provides
            state = "not applicable: no " + ", ".join(sorted(lacking)) if lacking else _state(by_id.get(cell.id))
            yield f"  {cell.id}  {encoder.title} / {cell.probe.shorthand} / seed {cell.seed}: {state}"
        reads = [read for _, probe in waiting if probe.data <= plan.dataset.provides for read in probe.reads]
        yield "    " + _cost(
            plan, encoder, reads, [r for r in records if r.cell.encoder.identity() == encoder.identity()]
        )


def _done(record: Record | None) -> bool:
    return record is not None and record.status != "failed"


def _state(record: Record | None) -> str:
    if record is None:
        return "to be measured"
    if record.status == "failed":
        return f"failed before ({record.error}); to be measured"
    return "recorded; reused if weights, data and code are unchanged"


def _cost(plan: Plan, encoder: EncoderSpec, reads: list[Read], known: list[Record]) -> str:
    if not reads:
        return "nothing to extract"
    held = {split: len(samples) for split, samples in plan.dataset.splits.items()}
    images = {
        (read.split, read.view): min(held.get(read.split, 0), read.most or 1 << 62)
        for read in reads
        if read.view != "live"
    }
    cached = sum(max(n for (s, _), n in images.items() if s == split) for split in {split for split, _ in images})
    # Of a suite each part is trained on, and all of its images are judged.
    live = sum(
        held.get(read.split, 0) if read.most is None else read.most * max(1, len(plan.dataset.parts))
        for read in reads
        if read.view == "live"
    )
    passes = cached + live
    parts = [f"at most {passes} images through the encoder" + (" (cached features are reused)" if cached else "")]
    speeds = [record.images_per_second for record in known if record.images_per_second]
    if speeds:
        parts.append(f"about {passes / median(speeds) / 60:.1f} min at the recorded {median(speeds):.1f} images/s")
    else:
        parts.append(f"no speed on record: `ricebench run -e {encoder.shorthand} ... --limit 64` measures it")
    evidence = next((record.evidence for record in known if record.evidence and record.evidence.patch), None)
    dense = sum(n for (_, view), n in images.items() if view == "dense")
    if evidence and dense:
        h, w = evidence.resolution
        tokens = (h // evidence.patch) * (w // evidence.patch)
        parts.append(f"{dense * (tokens * evidence.dim * 2 + h * w * 3) / 1e9:.2f} GB of patch tokens on disk")
    return "; ".join(parts)
