"""Commands that look: list, show, status, verify, doctor, cache."""

from __future__ import annotations

import inspect
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from rice_core.cli.options import DEFAULT_STORE, QuietOption, StoreOption
from rice_core.echo import echo
from rice_core.errors import UserError, did_you_mean, loaded
from rice_core.left_out import left_out

if TYPE_CHECKING:
    from rice_core.record import Record
    from rice_core.stage import Trained


class Listable(StrEnum):
    """What `list` lists."""

    encoders = "encoders"
    probes = "probes"
    layouts = "layouts"
    all = "all"


class CacheAction(StrEnum):
    """What `cache` does."""

    show = "show"
    clear = "clear"


def list_(what: Annotated[Listable, typer.Argument(help="encoders, probes, layouts or all.")] = Listable.all) -> None:
    """List the encoders of the catalogue, the installed probes and the layouts of data sets."""
    if what in (Listable.encoders, Listable.all):
        from rice_core.catalogue import entries

        echo("encoders (any other by its string: hf:ID_OR_PATH, timm:NAME, open_clip:NAME/TAG, rice:FOLDER)")
        rows = [(e.id, e.spec, e.unreadable or ("gated" if e.gated else "")) for e in entries()]
        width = max(len(name) for name, _, _ in rows)
        for name, spec, note in rows:
            echo(f"  {name:<{width}}  {spec}  {note}".rstrip())
    if what in (Listable.probes, Listable.all):
        from rice_core.measure.config import probe_entry_points

        echo("probes (`ricebench show NAME` for parameters)")
        for name, point in sorted(probe_entry_points().items()):
            echo(f"  {name:<12}  {point.value}")
    if what in (Listable.layouts, Listable.all):
        from importlib.metadata import entry_points

        echo("layouts of data sets (found by their looks; FOLDER@NAME where these mislead)")
        for point in sorted(entry_points(group="ricebench.layouts"), key=lambda point: point.name):
            echo(f"  {point.name:<14}  {point.value}")


def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A probe (or FILE.py:NAME), a scorer, an encoder of the catalogue, or the id of a cell or stage."
        ),
    ],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show one probe, scorer, catalogue entry, record or stage."""
    from rice_core.catalogue import entries
    from rice_core.cli.evaluate import scorer_entry_points
    from rice_core.measure.config import probe_entry_points, probe_kind
    from rice_core.measure.probe_files import names_a_file
    from rice_core.measure.trained import all_trained
    from rice_core.store import Store

    points, scorers = probe_entry_points(), scorer_entry_points()
    if name in points or names_a_file(name):
        kind = probe_kind(name, files=True)
        _show_kind(f"{kind.name} (version {kind.version})", kind)
        return
    if name in scorers:
        _show_kind(f"{name} (ricebench evaluate {name})", loaded(scorers[name], "scorer"))
        return
    for entry in entries():
        if entry.id == name:
            for key, value in entry.model_dump(exclude_none=True).items():
                echo(f"{key:<16}{value}")
            return
    if re.fullmatch(r"[0-9a-f]{20}", name):
        record = Store(store).get(name)
        trained = next((each for each in all_trained(Store(store)) if each.request.id == name), None)
        if record is not None:
            _show_record(record)
        elif trained is not None:
            _show_stage(trained)
        else:
            raise UserError(f"There is no record or stage {name} in {store}; `ricebench status` lists what there is.")
        return
    near = did_you_mean(
        name,
        [
            *points,
            *scorers,
            *(entry.id for entry in entries()),
            *(path.stem for path in (store / "records").glob("*.json")),
        ],
    )
    raise UserError(
        f"{name!r} is no probe, scorer, catalogue entry or cell id; {near}see `ricebench list` and `ricebench status`."
    )


def _show_kind(title: str, kind: type) -> None:
    import dataclasses

    echo(f"{title}: {kind.summary}")  # type: ignore[attr-defined]
    echo(inspect.cleandoc(inspect.getmodule(kind).__doc__ or ""))
    echo("\nparameters")
    for field in dataclasses.fields(kind):
        echo(f"  {field.name} = {field.default}")


def _show_record(record: Record) -> None:
    cell = record.cell
    echo(f"{cell.encoder.title} / {cell.probe.shorthand} / {cell.dataset.title} / seed {cell.seed}: {record.status}")
    if record.error:
        echo(record.error)
    for m in record.metrics:
        error = f" +- {m.stderr:.3f} ({m.method})" if m.stderr is not None else ""
        yard = "".join(f", {k} {v:.2f}" for k, v in (("chance", m.chance), ("ceiling", m.ceiling)) if v is not None)
        echo(f"  {m.name:<22}{m.value:.3f}{m.suffix}{error}, n {m.n}{yard}")
    for key, value in record.used.items():
        asked = cell.probe.params.get(key, "what the recipe says")
        echo(f"  used {key}={value} in place of {asked}")
    for label, sentences in (("assumptions", record.assumptions), ("marks", record.taints)):
        if sentences:
            echo(f"{label}: " + "; ".join(sentences))
    for line in (*(f"note: {note}" for note in record.notes), *left_out(record.skipped)):
        echo(line)
    if record.evidence:
        for key, value in record.evidence.model_dump(exclude={"libraries"}).items():
            echo(f"  {key:<16}{value}")


def _show_stage(trained: Trained) -> None:
    request = trained.request
    echo(f"stage {request.title}: trained {trained.created} in {trained.seconds:.1f} s")
    for key, value in sorted(request.stage.params.items()):
        echo(f"  {key} = {value}")
    if trained.curve:
        echo("  ends at " + ", ".join(f"{key} {value:.4g}" for key, value in trained.curve[-1].items()))
    for name, sha256 in trained.files.items():
        echo(f"  {name:<22}{sha256}")
    for line in left_out(trained.skipped):
        echo(line)
    for key, value in trained.evidence.model_dump(exclude={"libraries"}).items():
        echo(f"  {key:<16}{value}")


def status(store: StoreOption = DEFAULT_STORE) -> None:
    """List the cells of the store, how they stand, and who works on which."""
    from rice_core.measure.claims import Claims
    from rice_core.measure.trained import Shelf, all_trained
    from rice_core.store import Store

    opened = Store(store)
    records, problems = opened.scan()
    stages, shelf = all_trained(opened), Shelf(opened)
    in_work = Claims(opened.root / "claims").held()
    for name, holder in in_work.items():
        echo(f"{name}  {'in work':<14}  {holder.what}, by {holder.words}")
    if not records and not problems and not in_work and not stages:
        echo(f"{store} holds no records; `ricebench demo` or `ricebench run` makes some.")
        raise typer.Exit(1)
    for r in sorted(
        records, key=lambda r: (r.cell.dataset.title, r.cell.probe.shorthand, r.cell.encoder.title, r.cell.seed)
    ):
        marks = f"  [{', '.join(r.taints)}]" if r.taints else ""
        echo(
            f"{r.cell.id}  {r.status:<14}  {r.cell.dataset.title} / {r.cell.probe.shorthand} / {r.cell.encoder.title} / seed {r.cell.seed}  {r.first or r.error or ''}{marks}"
        )
    for trained in stages:
        needed = sum(trained.request.id in {used.id for used in r.evidence.stages} for r in records if r.evidence)
        cells = f"{needed} cell{'s' * (needed != 1)} rest{'s' * (needed == 1)} on it"
        state = "incomplete" if shelf.lacks_files(trained.request.id) else "trained"
        echo(f"{trained.request.id}  {state:<14}  stage {trained.request.title}  {trained.seconds:.0f} s, {cells}")
    for problem in problems:
        echo(str(problem), err=True)


def verify(store: StoreOption = DEFAULT_STORE, quiet: QuietOption = False) -> None:
    """Read all that numbers rest on; what is damaged is quarantined, what is not ours is named, metrics are computed anew."""
    from rice_core.measure.verify import verify as verify_store
    from rice_core.progress import Progress
    from rice_core.store import Store

    with Progress(quiet=quiet) as progress:
        found = verify_store(Store(store), progress)
    echo("Sound: " + (", ".join(f"{n:,} {kind}" for kind, n in found.sound.items() if n) or "nothing") + ".")
    for what, n in found.notes.items():
        if n:
            echo(f"Not verified: {n:,} {what}.")
    for problem in found.problems:
        echo(str(problem))
    if found.problems:
        raise typer.Exit(1)


def doctor(store: StoreOption = DEFAULT_STORE) -> None:
    """Say what this machine has: libraries, device, disk, hub access."""
    from rice_core.cli.doctor import findings

    for line in findings(store):
        echo(line)


def cache(
    action: Annotated[CacheAction, typer.Argument(help="show or clear.")] = CacheAction.show,
    stages: Annotated[
        bool, typer.Option("--stages", help="Clear trained stages too: what needs one again has to train it again.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show or empty the feature cache; records are never touched, and trained stages only where --stages says so."""
    from rice_core.measure.cache import FeatureCache
    from rice_core.measure.claims import Claims
    from rice_core.measure.trained import clear_stages, size_of_stages
    from rice_core.store import Store

    opened = Store(store)
    features = FeatureCache(opened)
    if action is CacheAction.clear:
        opened.place("cache")
        freed = features.clear() + (clear_stages(opened, Claims(opened.root / "claims")) if stages else 0)
        echo(f"{freed / 1e6:.1f} MB freed.")
        return
    echo(f"{features.size() / 1e6:.1f} MB of features in {features.root}.")
    n, size = size_of_stages(opened)
    if n:
        echo(f"{size / 1e6:.1f} MB of {n} trained stage{'s' * (n != 1)} in {opened.root / 'stages'}.")
