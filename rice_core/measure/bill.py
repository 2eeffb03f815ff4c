"""The bill of a plan: what a run would measure, reuse and cost, without loading an encoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from rice_core.budget import Budget, Passes, Took, budget_of
from rice_core.catalogue import entries
from rice_core.datasets import Dataset
from rice_core.measure.plan import Plan
from rice_core.measure.provenance import number_code
from rice_core.measure.trained import BROKEN, Shelf, all_trained
from rice_core.pooling import Pooling
from rice_core.probe import Live, Probe, Read, lessons, stages_named, untaught
from rice_core.record import Cell, Record
from rice_core.spec import DatasetSpec, EncoderSpec
from rice_core.stage import Stage, StageRequest, chain, request_of
from rice_core.store import Store

_MOST = 8
"""Lines of one kind: a suite has a stage for each of its hundred data sets."""


def bill(plan: Plan, store: Store, space: Budget) -> Iterator[str]:
    """What each data set was read as, one line a cell and a stage, then images, time and disk an encoder.

    Args:
        space: what kept features may take.

    Time is taken from the speed of earlier records of the same encoder, and disk from its recorded width and patch; where
    there is none, the line says how to measure it instead of guessing. A stage is priced once, however many cells need it.
    """
    records = store.records()
    by_id = {record.cell.id: record for record in records}
    shelf, trained = Shelf(store), all_trained(store)
    yield from plan.described()
    for encoder in plan.encoders:
        waiting: list[tuple[Cell, Probe, Dataset]] = []
        for cell, probe in plan.cells(encoder):
            dataset, record = plan.datasets[cell.dataset], by_id.get(cell.id)
            lacking = dataset.lacks(probe.data)
            if not lacking and untaught(probe, dataset):
                lacking = [f"{' and '.join(lessons(probe))} split; add --data train=FOLDER to learn from that"]
            again = _why_again(cell, probe, dataset, record, shelf)
            state = f"not applicable: no {', '.join(lacking)}" if lacking else _state(record, again)
            where = f" / {dataset.spec.name}" if len(plan.datasets) > 1 else ""
            yield f"  {cell.id}  {encoder.title} / {cell.probe.shorthand}{where} / seed {cell.seed}: {state}"
            if not lacking and (again or record is None or record.status == "failed"):
                waiting.append((cell, probe, dataset))
        mine = [each for each in trained if each.request.encoder.identity() == encoder.told().identity()]
        took = tuple(Took(each.request.stage.name, each.request.stage.params, each.seconds) for each in mine)
        budget = replace(_listed(encoder, budget_of(encoder, records, space)), trained=took)
        stages = _stages(waiting)
        missing = []
        for place, (request, stage, needed) in enumerate(stages):
            stands = shelf.digest(request.id) not in (None, BROKEN) and _same_code(request, stage, shelf)
            missing += [] if stands else [stage]
            if place < _MOST:
                state = "trained; reused if weights, data and code are unchanged" if stands else "to be trained, once"
                yield f"  {request.id}  stage {request.title}, for {_several(needed, 'cell')}: {state}"
        if len(stages) > _MOST:
            yield f"  and {len(stages) - _MOST} more; of all {len(stages)} stages {len(missing)} are to be trained, each once"
        trainings = [each for group in _groups(missing) for each in _priced(group, encoder, budget)]
        passes = trainings.copy()
        passes += [probe.passes(dataset, budget) for _, probe, dataset in waiting if isinstance(probe, Live)]
        reasons = Counter(each.why for each in passes if each.why)
        for why, times in reasons.most_common(_MOST):
            yield f"    {f'{times} times ' if times > 1 else ''}{why}"
        if len(reasons) > _MOST:
            yield f"    and {len(reasons) - _MOST} more such lines"
        reads = [(read, dataset) for _, probe, dataset in waiting for read in probe.reads]
        if steps := sum(each.steps for each in trainings):
            yield f"    {steps:,} training steps in all; {_hours(trainings)}"
        yield "    " + _cost(encoder, reads, passes, budget)


def _listed(encoder: EncoderSpec, budget: Budget) -> Budget:
    """With what the catalogue says of an encoder that was never measured: its patch, and its tokens at the size that is asked for."""
    if budget.patch:
        return budget
    bare = encoder.model_copy(update={"resolution": None}).identity()
    row = next((row for row in entries() if EncoderSpec.parse(row.spec).identity() == bare), None)
    if row is None or row.patch is None or not (encoder.resolution or row.resolution):
        return budget
    h, w = encoder.resolution or (row.resolution or 0, row.resolution or 0)
    return replace(budget, patch=row.patch, tokens=(h // row.patch) * (w // row.patch))


def _priced(group: list[Stage], encoder: EncoderSpec, budget: Budget) -> list[Passes]:
    """A training serves its companions by its own passes; stages that make no steps share a process alone, and each has its passes."""
    first = group[0].cost(encoder, budget, companions=len(group) - 1)
    return [first] if first.steps else [first, *(each.cost(encoder, budget) for each in group[1:])]


def _stages(cells: list[tuple[Cell, Probe, Dataset]]) -> list[tuple[StageRequest, Stage, int]]:
    """The trainings that cells need, those that they go on from before them, and how many cells need each."""
    found: dict[str, tuple[StageRequest, Stage]] = {}
    needed: Counter[str] = Counter()
    for cell, probe, dataset in cells:
        named = [stage for each in stages_named(probe, dataset) for stage in reversed([*chain(each)])]
        requests = [(request_of(stage, cell.encoder, cell.seed), stage) for stage in named]
        found |= {request.id: (request, stage) for request, stage in requests if request.id not in found}
        needed.update({request.id for request, _ in requests})
    return [(request, stage, needed[request.id]) for request, stage in found.values()]


def _groups(stages: list[Stage]) -> list[list[Stage]]:
    """Those that can share the passes together."""
    groups: list[list[Stage]] = []
    for stage in stages:
        found = (group for group in groups if type(group[0]) is type(stage) and group[0].shares_with(stage))
        if (group := next(found, None)) is not None:
            group.append(stage)
        else:
            groups.append([stage])
    return groups


def _hours(trainings: list[Passes]) -> str:
    """Of a whole suite, the encoder's passes included, and what that rests on."""
    stepping = [each for each in trainings if each.steps]
    known = [each.seconds for each in stepping if each.seconds is not None]
    if len(known) < len(stepping):
        ways = " or ".join(dict.fromkeys(each.short for each in stepping if each.seconds is None and each.short))
        return (
            f"no finished training of this encoder prices {_several(len(stepping) - len(known), 'training')} of them: a short one "
            f"{f'({ways}) ' if ways else ''}on one data set does"
        )
    return f"about {sum(known) / 3600:.3g} h at what a step of the slowest earlier training of the same head took, on the machine that it ran on"


def _several(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _why_again(cell: Cell, probe: Probe, dataset: Dataset, record: Record | None, shelf: Shelf) -> str:
    """Why a run would measure anew what is recorded, as far as can be said without reading weights and data; else empty."""
    if record is None or record.evidence is None:
        return ""
    if record.evidence.code != number_code(type(probe), cell.encoder.source):
        return "by other code"
    if any(shelf.lacks_files(used.id) for used in record.evidence.stages):
        return "over a training whose files are gone"
    used = {stage.id for stage in record.evidence.stages}
    for named in stages_named(probe, dataset) if used else ():
        for stage in chain(named):
            request = request_of(stage, cell.encoder, cell.seed)
            if request.id in used and not _same_code(request, stage, shelf):
                return "over a training by other code"
    return ""


def _same_code(request: StageRequest, stage: Stage, shelf: Shelf) -> bool:
    """Whether a training was made by today's code; one that was removed counts as it was."""
    trained = shelf.find(request.id)
    return trained is None or trained.evidence.code == number_code(type(stage), request.encoder.source, training=True)


def _state(record: Record | None, again: str) -> str:
    if record is None:
        return "to be measured"
    if record.status == "failed":
        return f"failed before ({record.error}); to be measured"
    if again:
        return f"recorded {again}; to be measured again"
    return "recorded; reused if weights, data and code are unchanged"


def _cost(encoder: EncoderSpec, reads: list[tuple[Read, Dataset]], live: list[Passes], budget: Budget) -> str:
    if not reads and not live:
        return "nothing to extract"
    images = {
        (dataset.spec, read): min(len(dataset.samples(read.split)), read.most or 1 << 62) for read, dataset in reads
    }
    # Both views of a split and all its layers come from one pass; every change, and every way of pooling but the plain mean,
    # takes one of its own.
    passes_of: dict[tuple[DatasetSpec, str, Pooling, str], int] = {}
    for (data, read), n in images.items():
        one = (data, read.split, read.pooling, read.change)
        passes_of[one] = max(n, passes_of.get(one, 0))
    cached = sum(passes_of.values())
    passes = cached + sum(each.images for each in live)
    parts = [f"at most {passes} images through the encoder" + (" (cached features are reused)" if cached else "")]
    if budget.tokens_per_second and budget.patch:
        tokens = cached * budget.tokens + sum(each.images * (each.side // budget.patch) ** 2 for each in live)
        speed = budget.tokens_per_second
        parts.append(f"about {tokens / speed / 60:.1f} min at the recorded {speed / budget.tokens:.1f} images/s")
    else:
        parts.append(f"no speed on record: `ricebench run -e {encoder.shorthand} -p knn ... --limit 64` measures it")
    kept: dict[tuple[DatasetSpec, Read], int] = {}
    for (data, read), n in images.items():
        if read.view == "dense":
            one_kept = (data, replace(read, most=None))
            kept[one_kept] = max(n, kept.get(one_kept, 0))
    dense = sum(kept.values())
    if budget.patch and budget.dim and dense:
        size = budget.tokens * (budget.dim * 2 + budget.patch**2 * 3)
        parts.append(f"{dense * size / 1e9:.2f} GB of patch tokens on disk")
    return "; ".join(parts)
