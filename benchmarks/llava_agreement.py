"""Whether a language model on an encoder ranks encoders as frozen probes do: `python -m benchmarks.llava_agreement`, hours of two cores.

`ricebench run` trains LLaVA-NeXT's two stages with each of six encoders that need no network and asks the 13 benchmarks of the miniature
world; knn, linear and linear-seg measure the same encoders on its scenes. Three of the six are the shipped encoder with noise on its
weights, so that there is an order to be found. A language model's score is the mean over the columns of Table 1 of where the number lies between
nothing and a perfect model's; the claims say over how many, since the scorer of OCRBench v2 wants packages that nothing else wants. Kendall's tau is over encoders, with an interval of resampled encoders. `python -m benchmarks.llava_agreement
smoke` tries it all with the recipe of that name, and writes nothing. Not among `python -m benchmarks`: it measures no speed.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import kendalltau

from benchmarks.measuring import Lap, keep, machine, process, timed
from mllm.evaluate.columns import COLUMNS, ScoreColumn
from mllm.evaluate.requirements import requirements_of
from rice_core.encoders.rice import CONFIG, WEIGHTS, save_rice
from rice_core.model.vit import ViT, ViTConfig
from rice_core.store import Store
from rice_core.world.mini import WORLDS, draw

FROZEN = ("knn?recipe=mini", "linear?recipe=mini", "linear-seg?grid=12&recipe=mini")
SEEDS = (0, 1)
NOISE = (0.25, 0.5, 1.0)
"""Standard deviations of what is added to the shipped encoder's weights, in those of each tensor."""
VIT = ViTConfig(width=96, depth=4, heads=3, patch=8, resolution=96)
"""The shipped encoder's."""
_DRAWS = 2000


def main() -> None:
    """Measure all encoders in both ways; a claim a question."""
    recipe = sys.argv[1] if len(sys.argv) > 1 else "mini"
    seeds = SEEDS if recipe == "mini" else SEEDS[:1]
    before, columns = machine(), [each for each in COLUMNS if not any(map(requirements_of, each.tasks))]
    probes = dict.fromkeys(each.probe for each in columns)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = {name: draw(WORLDS[name], folder / "worlds") for name in ("mini", "mini-llava")}
        laps = {"encoders": timed(lambda: _make(folder / "encoders"))}
        made = {path.name: f"rice:{path}" for path in sorted((folder / "encoders").iterdir())}
        words = {"random-weights": "random-weights", "mini-supervised": "mini-supervised", **made}
        spoken: dict[str, list[float]] = {}
        frozen: dict[str, dict[str, float]] = {}
        for title, encoder in words.items():
            store = folder / "stores" / str(len(spoken))
            common = ("-m", "rice_core.cli", "run", "-e", encoder, "--store", str(store), "-q")
            asked = (
                "-p",
                ",".join(f"{probe}?recipe={recipe}" for probe in probes),
                "--seeds",
                ",".join(map(str, seeds)),
            )
            laps[f"{title}, asked"], _ = process(*common, *asked, "--data", str(data["mini-llava"]))
            laps[f"{title}, frozen"], _ = process(*common, "-p", ",".join(FROZEN), "--data", str(data["mini"]))
            spoken[title], frozen[title] = _spoken(Store(store), seeds, columns), _frozen(Store(store))
            print(f"{title}: {spoken[title]} {frozen[title]}", flush=True)
    body = {
        "recipe": recipe,
        "spoken": spoken,
        "frozen": frozen,
        "cpu_seconds": {what: round(lap.cpu, 1) for what, lap in laps.items()},
    }
    said = [
        f"asked: {len(columns)} of {len(COLUMNS)} columns, recipe {recipe}, {len(seeds)} seeds",
        *claims(spoken, frozen, laps),
    ]
    if recipe == "mini":
        keep("llava_agreement", said, body, before)
    else:
        print("\n".join(said))


def _make(folder: Path) -> None:
    """Encoders as folders that `rice:` reads: the shipped one with noise on its weights, and its network before the first step."""
    shipped = Path(str(files("rice_core") / "data" / "mini-supervised"))
    weights = load_file(shipped / WEIGHTS)
    for sigma in NOISE:
        own, generator = folder / f"noise {sigma:g}", torch.Generator().manual_seed(0)
        own.mkdir(parents=True)
        # A tensor of one number has no deviation.
        spread = {key: float(tensor.float().std(correction=0)) for key, tensor in weights.items()}
        noisy = {
            key: tensor + sigma * spread[key] * torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
            for key, tensor in weights.items()
        }
        save_file(noisy, own / WEIGHTS)
        (own / CONFIG).write_bytes((shipped / CONFIG).read_bytes())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_rice(folder / "untrained", ViT(VIT), tags={})


def _spoken(store: Store, seeds: Sequence[int], columns: Sequence[ScoreColumn]) -> list[float]:
    """The mean over all of these columns, one a seed, in percent of what a perfect model has.

    Raises:
        RuntimeError: a column is missing.
    """
    found = {
        (record.cell.seed, metric.name): metric.value
        for record in store.records()
        if record.cell.dataset.layout == "llava"
        for metric in record.metrics
    }
    if missing := [each.key for each, seed in itertools.product(columns, seeds) if (seed, each.key) not in found]:
        raise RuntimeError(f"no number of {', '.join(missing)}")
    return [statistics.fmean(100 * found[seed, each.key] / each.best for each in columns) for seed in seeds]


def _frozen(store: Store) -> dict[str, float]:
    """The headline of each probe."""
    return {
        record.cell.probe.name: record.metrics[0].value
        for record in store.records()
        if record.cell.dataset.layout != "llava"
    }


def claims(
    spoken: Mapping[str, Sequence[float]], frozen: Mapping[str, Mapping[str, float]], laps: Mapping[str, Lap]
) -> list[str]:
    """What the two ways to judge an encoder have in common."""
    means = {title: statistics.fmean(each) for title, each in spoken.items()}
    said = [
        f"{title}: {means[title]:.1f} % asked ({', '.join(f'{each:.1f}' for each in spoken[title])}); "
        + ", ".join(f"{probe} {value:.1f}" for probe, value in frozen[title].items())
        for title in sorted(means, key=means.__getitem__)
    ]
    for probe in next(iter(frozen.values())):
        said.append(f"{probe}: {agreement(list(means.values()), [frozen[title][probe] for title in means])}")
    several = [each for each in spoken.values() if len(each) > 1]
    if several:
        said.append(
            f"the language model with itself at another seed: {agreement(*zip(*[each[:2] for each in several], strict=True))}"
        )
    asked, quick = (sum(lap.cpu for what, lap in laps.items() if what.endswith(end)) for end in (", asked", ", frozen"))
    runs = sum(map(len, spoken.values()))
    said.append(
        f"{asked / runs:.0f} s of a core an encoder and seed to train and ask, {quick / len(spoken):.0f} s an encoder for the frozen probes"
    )
    return said


def agreement(one: Sequence[float], other: Sequence[float]) -> str:
    """Kendall's tau-b of two scores of the same encoders, with the interval that resampled encoders give (percentiles)."""
    if min(len(set(one)), len(set(other))) < 2:
        return "no order to agree on, since one of the two gives all encoders the same"
    found = kendalltau(one, other)
    rng, N = np.random.default_rng(0), len(one)
    drawn = [rng.integers(N, size=N) for _ in range(_DRAWS)]
    taus = [kendalltau(np.take(one, places), np.take(other, places)).statistic for places in drawn]
    low, high = np.nanpercentile(taus, (2.5, 97.5))
    return f"Kendall's tau {found.statistic:.2f} (95 % interval {low:.2f} to {high:.2f} over {N} encoders; exact p {found.pvalue:.2g})"


if __name__ == "__main__":
    main()
