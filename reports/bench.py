"""Bench: a store, from Python. What the commands do, as values: records, a pandas frame, features, a comparison.

    bench = Bench("ricebench-runs")
    bench.run(["mini-supervised", "random-weights"], ["knn", "linear"], "photos")
    numbers = bench.frame()
    print(bench.compare("mini-supervised", "random-weights"))
    features = bench.encode("mini-supervised", ["portrait.jpg"])

A mistake raises `rice_core.errors.UserError`, a sentence with the next step; nothing exits, and nothing is printed unless
`progress` is asked for. What is cheap to import is all that importing this costs: torch and pandas come when they are needed.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rice_core.disk.paths import at_home
from rice_core.errors import UserError, first_fault

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from reports.compare import Comparison
    from rice_core.features import Encoder, Features
    from rice_core.measure.config import RunConfig
    from rice_core.measure.run import Only
    from rice_core.measure.summary import Summary
    from rice_core.record import Record
    from rice_core.spec import EncoderSpec


class Bench:
    """One folder of records, the one that `--store` names.

    Args:
        store: the folder; made when something is first written.
        progress: show bars or lines on stderr while a run works.
    """

    def __init__(self, store: str | Path = "ricebench-runs", *, progress: bool = False) -> None:
        from rice_core.store import Store

        self.store = Store(at_home(store))
        self._progress = progress

    def __repr__(self) -> str:
        return f"Bench({str(self.store.root)!r})"

    def run(
        self,
        encoders: str | Encoder | Sequence[str | Encoder],
        probes: str | Sequence[str],
        data: str | Path | Sequence[str | Path],
        *,
        seeds: int | Sequence[int] = 0,
        limit: int | None = None,
        device: str = "auto",
        batch: int = 32,
        workers: int = 4,
        only: Only = "missing",
        cache_gb: float = 50.0,
    ) -> Summary:
        """Measure what is missing, as `ricebench run`. The same call again resumes and reuses.

        An interruption loses no finished cell. A cell that fails does not stop the others: it is warned of and counted.

        Args:
            encoders: catalogue names or strings, as `hf:./checkpoint?res=560`; or what `rice_core.encoders.own.wrap` makes of a
                module of yours.
            probes: as `knn?k=20`, or `FILE.py:NAME`.
            data: a folder, or a miniature world such as "mini"; or several, as `--data` takes them: ["photos", "coco-det=coco"].
            seeds: of the probes.
            limit: images of each split; marks the records.
            device: auto, cpu, cuda, cuda:1 or mps.
            batch: images a forward pass. workers: decoding threads.
            only: missing, failed, or all, which measures everything again.
            cache_gb: size of the feature cache.

        Returns:
            The records of the cells asked for, and how many came out how.

        Raises:
            UserError: no such encoder, probe, parameter, data set or device. StoreError: the store cannot be written.
        """
        from rice_core.measure.plan import plan_of
        from rice_core.measure.run import Runner, Settings
        from rice_core.progress import Progress

        _check(only, batch, workers, cache_gb)
        asked = (seeds,) if isinstance(seeds, int) else tuple(seeds)
        several = encoders if isinstance(encoders, Sequence) and not isinstance(encoders, str) else [encoders]
        own = [encoder for encoder in several if not isinstance(encoder, str)]
        specs = tuple(encoder if isinstance(encoder, str) else encoder.spec for encoder in several)
        plan = plan_of(_config(specs, _listed(probes), _listed(data), asked, limit), self.store, files=True)
        from rice_core.measure.subject import pick_device  # torch, which a misspelt name need not wait for

        settings = Settings(device=pick_device(device), batch=batch, workers=workers, only=only, cache_gb=cache_gb)
        with Progress(quiet=not self._progress) as progress:
            summary = Runner(self.store, settings, progress, own=own).run(plan)
        if summary.errors:
            n = len(summary.errors)
            words = f"{n} cell{'s' * (n != 1)} of {summary.counts.total()} failed; the first: {summary.errors[0]}"
            warnings.warn(words, stacklevel=2)
        return summary

    def records(self) -> list[Record]:
        """All records, whatever came of them, in the order of their ids. Damaged ones go to quarantine with a warning."""
        records, problems = self.store.scan()
        for problem in problems:
            warnings.warn(f"quarantined {problem.file}: {problem.reason}; run its cell again.", stacklevel=2)
        return records

    def frame(self) -> pd.DataFrame:
        """Every number of the store, one row each; columns are the fields of `reports.frame.Number`.

        The rows are those of `ricebench table --all -f csv`. Cells without a number (failed, not applicable) have no row;
        `records()` has them.
        """
        from reports.frame import Number, frame_of, numbers

        return frame_of(Number, numbers(self.records()))

    def compare(self, a: str, b: str, *, every_metric: bool = False) -> Comparison:
        """Two encoders, paired sample by sample. Printed, it is one sentence a metric; `.frame()` has the numbers.

        Args:
            a: a name as tables show it, or a full string.
            b: the other one's.
            every_metric: of each probe, not the headline alone.

        Raises:
            UserError: there is no record of one of them, or nothing of theirs is comparable.
        """
        from reports.compare import compare_named

        return compare_named(a, b, self.records(), self.store, every_metric=every_metric)

    def encode(
        self,
        encoder: str,
        images: str | Path | Image.Image | Sequence[str | Path | Image.Image],
        *,
        device: str = "auto",
        batch: int = 32,
    ) -> Features:
        """The features of B images, by the encoder's own resize, crop and normalisation. Nothing is stored.

        The weights are loaded at every call, so give all images at once.

        Args:
            encoder: a catalogue name or a string, as in `run`.
            images: files, or Pillow images of any mode and size; one or several.
            device: where the encoder runs. batch: images a forward pass.

        Returns:
            float32 tensors on the CPU, without gradients: `dense_BCHW` (C channels, H x W patches, row-major), `cls_BC` or None,
            and `levels` where the string names several layers. `.numpy()` of each is an array.

        Raises:
            UserError: an encoder that cannot be loaded or needs to be told the truth, no image, or a file that is none.
        """
        from rice_core.catalogue import resolve
        from rice_core.measure.encode import encode_images

        several = [images] if isinstance(images, str) or not isinstance(images, Sequence) else images
        return encode_images(resolve(encoder), several, device=device, batch=batch)


def _check(only: str, batch: int, workers: int, cache_gb: float) -> None:
    if only not in ("missing", "failed", "all") or batch < 1 or workers < 1 or not cache_gb > 0:
        raise UserError(
            f"Bench.run: only={only!r}, batch={batch}, workers={workers}, cache_gb={cache_gb}; "
            "only is missing, failed or all, batch and workers are 1 or more, cache_gb is above 0."
        )


def _listed(names: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    return (str(names),) if isinstance(names, (str, Path)) else tuple(map(str, names))


def _config(
    encoders: tuple[str | EncoderSpec, ...],
    probes: tuple[str, ...],
    data: tuple[str, ...],
    seeds: tuple[int, ...],
    limit: int | None,
) -> RunConfig:
    from pydantic import ValidationError

    from rice_core.measure.config import RunConfig

    try:
        return RunConfig(encoders=encoders, probes=probes, data=data, seeds=seeds, limit=limit)
    except ValidationError as error:
        raise UserError(f"Bench.run: {first_fault(error)}; see help(Bench.run).") from None
