"""What is asked, as a plan: words become encoders, probes and data sets. Nothing is loaded and nothing measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rice_core.catalogue import resolve
from rice_core.datasets.describe import describe
from rice_core.digest import json_digest
from rice_core.disk.paths import at_home
from rice_core.errors import UserError
from rice_core.measure.config import RunConfig, build_probes
from rice_core.measure.data import open_annotated, open_data
from rice_core.measure.roles import TRAIN, address, addressed, parted, taught
from rice_core.probe import Learns, Probe, lessons
from rice_core.record import Cell
from rice_core.spec import DatasetSpec, EncoderSpec
from rice_core.store import Store

if TYPE_CHECKING:
    from rice_core.datasets import Dataset


@dataclass(frozen=True)
class Plan:
    """What is to be measured: every encoder under every pair of a probe and a data set, with every seed."""

    encoders: tuple[EncoderSpec, ...]
    pairs: tuple[tuple[Probe, Dataset], ...]
    """Data sets are already limited."""
    seeds: tuple[int, ...] = (0,)
    limit: int | None = None

    @classmethod
    def over(
        cls,
        encoders: Sequence[EncoderSpec],
        probes: Sequence[Probe],
        dataset: Dataset,
        seeds: tuple[int, ...] = (0,),
        limit: int | None = None,
    ) -> Plan:
        """Every probe over one data set."""
        return cls(tuple(encoders), tuple((probe, dataset) for probe in probes), seeds, limit)

    @cached_property
    def datasets(self) -> Mapping[DatasetSpec, Dataset]:
        """By what cells call them, in the order of the pairs."""
        return {dataset.spec: dataset for _, dataset in self.pairs}

    def cells(self, encoder: EncoderSpec) -> list[tuple[Cell, Probe]]:
        """The cells of one encoder, which they name without a machine's paths."""
        told = encoder.told()
        return [
            (Cell(encoder=told, probe=probe.spec, dataset=dataset.spec, seed=seed, limit=self.limit), probe)
            for probe, dataset in self.pairs
            for seed in self.seeds
        ]

    def called(self, cell: Cell) -> str:
        """A cell in a line for people; settings and data set are named where there are several, the seed where it is not 0."""
        place = f" / {cell.dataset.name}" if len(self.datasets) > 1 else ""
        alike = {probe.spec.shorthand for probe, _ in self.pairs if probe.name == cell.probe.name}
        probe = cell.probe.shorthand if len(alike) > 1 else cell.probe.name
        return f"{cell.encoder.title} / {probe}{place}" + (f" / seed {cell.seed}" if cell.seed else "")

    def described(self) -> Iterator[str]:
        """What each data set was read as, and, of several, which probes it is for."""
        probes = {probe.name: probe for probe, _ in self.pairs}
        for dataset in self.datasets.values():
            yield from describe(dataset)
            mine = dict.fromkeys(probe.name for probe, other in self.pairs if other.spec == dataset.spec)
            if len(self.datasets) > 1:
                yield f"  for {', '.join(mine)}"
            if learn := [name for name in mine if isinstance(probes[name], Learns)]:
                own = f"its own {' and '.join(lessons(probes[learn[0]]))} split"
                names = " + ".join(each.spec.name for each in dataset.learnt_from) or own
                yield f"  {', '.join(learn)} {'learns' if len(learn) == 1 else 'learn'} from {names}"
            for name, probe in probes.items() if len(self.datasets) > 1 else ():
                if name not in mine and (lacking := dataset.lacks(probe.data)):
                    yield f"  not for {name}: no {', '.join(lacking)}"
        judged = {dataset.alone.spec for dataset in self.datasets.values()}
        others = {each.spec: each for dataset in self.datasets.values() for each in dataset.learnt_from}
        for spec, dataset in others.items():
            if spec not in judged:
                yield from describe(dataset)


def plan_of(config: RunConfig, store: Store, *, files: bool = False) -> Plan:
    """The plan of a configuration; what is named twice is measured once, and opened once.

    Args:
        files: whether a probe may be a file of the user's (`build_probes`).

    Raises:
        UserError: no such encoder, probe, parameter or role, a probe without data, data without a probe, or a data set that
            cannot be read.
    """
    # What is cheap to check comes first: names before data, data before weights.
    specs = (resolve(asked) if isinstance(asked, str) else asked for asked in config.encoders)
    encoders = {json_digest(spec.identity()): spec for spec in specs}
    built = build_probes(config.probe_requests(), files=files)
    probes = tuple({json_digest(probe.spec.model_dump()): probe for probe in built}.values())
    if config.images is not None:
        dataset = open_annotated(config.annotations, config.images, limit=config.limit)
        pairs = tuple((probe, dataset) for probe in probes)
    else:
        pairs = _pairs(probes, config.data, store, config.limit)
    return Plan(tuple(encoders.values()), pairs, tuple(dict.fromkeys(config.seeds)), config.limit)


def _pairs(
    probes: Sequence[Probe], data: Sequence[str], store: Store, limit: int | None
) -> tuple[tuple[Probe, Dataset], ...]:
    """Which probe is measured on which data set, by the words of `--data`."""
    words = address(parted(data), probes)
    opened = _opened([folder for _, folder in words], store, limit)
    given = [(role, opened[_place(folder)]) for role, folder in words]
    pairs = addressed(probes, [pair for pair in given if pair[0] != TRAIN])
    used = {dataset.spec for _, dataset in pairs}
    if unused := [folder for role, folder in words if role != TRAIN and opened[_place(folder)].spec not in used]:
        raise UserError(
            f"--data {unused[0]} is for no probe here: each has data of its own, or cannot use it; leave it out, or name the probe "
            f"that it is for, as in --data {probes[0].name}={unused[0]}."
        )
    return taught(
        pairs, [(f"--data {TRAIN}={folder}", opened[_place(folder)]) for role, folder in words if role == TRAIN]
    )


def _opened(folders: Sequence[str], store: Store, limit: int | None) -> dict[tuple[Path, str], Dataset]:
    """Each folder's data set, by its place.

    Raises:
        UserError: one cannot be read, or two cannot be told apart in records.
    """
    opened: dict[tuple[Path, str], Dataset] = {}
    known: dict[DatasetSpec, tuple[str, Dataset]] = {}
    for folder in folders:
        if _place(folder) in opened:
            continue
        dataset = open_data(folder, store.place("worlds"), limit=limit)
        first, same = known.setdefault(dataset.spec, (folder, dataset))
        if same.splits != dataset.splits and _place(first)[0] != _place(folder)[0]:
            raise UserError(
                f"{first} and {folder} are both called {dataset.spec.name} and list the same files, so that their records "
                "could not be told apart; rename one of the folders."
            )
        opened[_place(folder)] = same
    return opened


def _place(folder: str) -> tuple[Path, str]:
    """One spelling for all of a folder's (`photos`, `./photos`, a link to it), and the layout behind an @."""
    before, at, layout = folder.rpartition("@")
    if at and before and not at_home(folder).is_dir() and at_home(before).is_dir():
        return at_home(before).resolve(), layout
    return at_home(folder).resolve(), ""
