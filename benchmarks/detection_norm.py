"""The norm before the pyramid, and the rate of each encoder: `python -m benchmarks.detection_norm`, 5 minutes of a core a seed.

Encoders differ in the scale of their tokens by where they are read: behind a final norm or before it. A detector's head starts from
one initialisation under one rate, so it may rank scales. Here tokens that say the same are read at a tenth, at once and at ten times
their scale, on the miniature world, with the norms of `TrainingConfig.norm` and three rates. Heads of one encoder at three rates
share its passes; the best of them is over the judged images, so a bound on what choosing a rate gives. The seed draws the head, the
views and their order; errors are over seeds, paired. Not among `python -m benchmarks`: it measures no speed.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t as student

from benchmarks.measuring import keep, machine
from probes.detection.annotations import read_ground_truth
from probes.detection.backend import build_detector
from probes.detection.detect import Detecting
from probes.detection.evaluate import score
from probes.detection.learner import trainee
from probes.detection.recipe import HeadConfig, Norm, TrainingConfig
from probes.detection.train import train
from probes.detection.training import save_weights
from probes.detection.truth import GroundTruth
from rice_core.datasets import open_dataset
from rice_core.encoders import load_encoder
from rice_core.features import Encoder, Features
from rice_core.ranks import Ranks
from rice_core.spec import EncoderSpec
from rice_core.world.layouts.coco import write_coco

ENCODERS = {"last": "rice:builtin/mini-supervised", "before": "rice:builtin/mini-supervised?layers=-2"}
"""The shipped ViT, read after its last block and after the one before: both before the final norm, and of natural scales 3.2 and 1.8."""
SCALES = (0.1, 1.0, 10.0)
RATES = (1 / 3, 1.0, 3.0)
SEEDS = range(3)
TRAIN, VAL = 240, 80
HEAD = HeadConfig(rpn_width=32, conv_width=32, fc_width=64, regions=32, proposals=64)
TRAINING = TrainingConfig(
    side=96, iterations=120, batch=2, rate=1e-3, warm_up=12, jitter=(0.8, 1.25), flip=False, precision="fp32"
)


class ScaledTokens:
    """An encoder whose tokens are so many times another's."""

    def __init__(self, inner: Any, scale: float) -> None:
        self._inner, self._scale = inner, scale

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def encode(self, pixels_B3HW: torch.Tensor) -> Features:
        found: Features = self._inner.encode(pixels_B3HW)
        return dataclasses.replace(found, dense_BCHW=found.dense_BCHW * self._scale, levels=())


@dataclasses.dataclass(frozen=True)
class Run:
    """One head: its encoder, scale, norm, rate and seed, and the box AP it came to in percent."""

    encoder: str
    scale: float
    norm: str
    rate: float
    seed: int
    ap: float


def main() -> None:
    """Train all heads; a claim a question."""
    before = machine()
    torch.set_num_threads(1)
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as name:
        dataset = open_dataset(write_coco(Path(name) / "w", seed=5, train=TRAIN, val=VAL), name="mini")
        truths = [read_ground_truth(dataset.annotations[s], dataset.samples(s), name=s) for s in ("train", "val")]
        for seed, (title, spec) in itertools.product(SEEDS, ENCODERS.items()):
            inner = load_encoder(EncoderSpec.parse(spec))
            for scale, norm in _conditions(title):
                # The stand-in has all of an encoder by delegation.
                encoder: Encoder = inner if scale == 1 else ScaledTokens(inner, scale)
                folder = Path(name) / f"{title}-{scale}-{norm}-{seed}"
                found = list(_runs(encoder, norm, truths[0], truths[1], seed, folder))
                runs += [Run(title, scale, norm, rate, seed, ap) for rate, ap in found]
                print(f"{title} x{scale:g} norm={norm} seed {seed}: {[round(ap, 2) for _, ap in found]}", flush=True)
    keep(
        "detection_norm", claims(runs), {"recipe": _recipe(), "runs": [dataclasses.asdict(run) for run in runs]}, before
    )


def _conditions(title: str) -> Iterator[tuple[float, Norm]]:
    if title == "last":
        yield from ((scale, "none") for scale in SCALES)
        yield 1.0, "final"
    else:
        yield 1.0, "none"
    # The same tokens at every scale (tests/probes/detection/test_norm.py), so one scale stands for all.
    yield 1.0, "layer"


def _runs(
    encoder: Encoder, norm: Norm, truth: GroundTruth, val: GroundTruth, seed: int, folder: Path
) -> Iterator[tuple[float, float]]:
    """Rate and AP of three heads on one pass."""
    config = TRAINING.model_copy(update={"norm": norm})
    ranks = Ranks(0, 1, encoder.device)
    heads, trainees = [], []
    for rate in RATES:
        torch.manual_seed(seed)
        detector, _ = build_detector(
            HEAD, channels=encoder.dim, classes=len(truth.categories), patch=encoder.patch, masks=False, backend="ops"
        )
        heads.append(detector)
        trainees.append(trainee(detector, config, seed=seed, folder=folder / f"{rate:.2f}", ranks=ranks, scale=rate))
    quiet = lambda sequence, what: iter(sequence)  # noqa: E731 - no bar
    train(encoder, trainees, truth.images, config, masks=False, seed=seed, progress=quiet, what="heads")
    for rate, head, each in zip(RATES, heads, trainees, strict=True):
        if each.lost:  # it diverged
            yield rate, 0.0
            continue
        save_weights(head, each.checkpoints.folder.parent)
        detecting = Detecting(
            head=HEAD,
            backend="ops",
            masks=False,
            frequencies=None,
            folder=each.checkpoints.folder.parent,
            categories=truth.categories,
            images=tuple(val.images),
            training=config,
            what="val",
            workers=0,
        )
        found = detecting.run(encoder, ranks, quiet)
        ap = score(val, found.results, masks=False, resamples=0).box.ap["AP"]
        yield rate, round(ap or 0.0, 2)


def claims(runs: Sequence[Run]) -> list[str]:
    """What the runs say, each difference with its 95 % interval over seeds."""
    table = {(run.encoder, run.scale, run.norm, run.rate, run.seed): run.ap for run in runs}

    def of(encoder: str, scale: float, norm: str, rate: float | None) -> dict[int, float]:
        """AP by seed; at the best of the rates where none is named."""
        seeds = {run.seed for run in runs if (run.encoder, run.scale, run.norm) == (encoder, scale, norm)}
        rates = RATES if rate is None else (rate,)
        return {seed: max(table[encoder, scale, norm, each, seed] for each in rates) for seed in seeds}

    def over(one: dict[int, float], other: dict[int, float]) -> str:
        return _mean({seed: one[seed] - other[seed] for seed in one.keys() & other.keys()})

    def both(one: tuple[str, float, str], other: tuple[str, float, str]) -> str:
        at = [over(of(*one, rate), of(*other, rate)) for rate in (1.0, None)]
        return f"{at[0]} at one rate, {at[1]} at the best of three"

    said = [
        f"the same tokens at x{scale:g}, norm=none: AP {_mean(of('last', scale, 'none', 1.0))} at one rate, "
        f"{_mean(of('last', scale, 'none', None))} at the best of three"
        for scale in SCALES
    ]
    said += [
        f"the same tokens at x{scale:g} over x1, norm=none: {both(('last', scale, 'none'), ('last', 1.0, 'none'))}"
        for scale in (0.1, 10.0)
    ]
    said += [
        f"norm={norm}, at any scale: AP {_mean(of('last', 1.0, norm, 1.0))} at one rate, {_mean(of('last', 1.0, norm, None))} at the best of "
        f"three; over none at x1 {both(('last', 1.0, norm), ('last', 1.0, 'none'))}"
        for norm in ("layer", "final")
    ]
    said += [
        f"the last block over the one before it, the {what}, {both(('last', scale, norm), ('before', 1.0, norm))}"
        for what, scale, norm in (
            ("last as it is, norm=none", 1.0, "none"),
            ("last at a tenth, norm=none", 0.1, "none"),
            ("last at any scale, norm=layer", 1.0, "layer"),
        )
    ]
    return said


def _mean(by_seed: dict[int, float]) -> str:
    """`1.2 [0.3, 2.1]`: Student's interval over seeds; of one seed there is none."""
    values = list(by_seed.values())
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.1f} (one seed)"
    half = float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.1f} [{mean - half:.1f}, {mean + half:.1f}]"


def _recipe() -> dict[str, Any]:
    return {
        "head": HEAD.model_dump(mode="json"),
        "training": TRAINING.model_dump(mode="json"),
        "images": {"train": TRAIN, "val": VAL},
        "rates": list(RATES),
    }


if __name__ == "__main__":
    main()
