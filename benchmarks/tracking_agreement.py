"""Whether `template-match` ranks encoders as the trained tracker does: `python -m benchmarks.tracking_agreement`, an hour of a core.

`ricebench run` measures both probes on the miniature videos' 48 judged clips, over encoders that need no network; both in GOT-10k's AO.
Two of them are one network before and after it has learnt to match (`benchmarks.matching_encoder`). The trained probe has two seeds;
`template-match` draws nothing. Kendall's tau and Spearman's rho are over encoders, once more without the controls, which any probe has at the
ends. Not among `python -m benchmarks`: it measures no speed.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from scipy.stats import kendalltau, spearmanr

from benchmarks.matching_encoder import matching_world, train_matching
from benchmarks.measuring import Lap, keep, machine, process, timed
from rice_core.record import Record
from rice_core.store import Store
from rice_core.world.mini import WORLDS, draw

TRAINED, MATCHED = "got10k?recipe=mini", "template-match?template_grid=6&search_grid=12"
"""On the same crops and grids."""
SEEDS = (0, 1)
CONTROLS = ("noise", "oracle")
CATALOGUE = (*CONTROLS, "random-weights", "mini-supervised", "mini-supervised?layers=-2")


def main() -> None:
    """Measure all encoders with both probes; a claim a question."""
    before = machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        videos = draw(WORLDS["mini-videos"], folder / "worlds")
        learnt = timed(lambda: train_matching(matching_world(folder / "worlds"), folder / "encoders"))
        own = {"matching, before": folder / "encoders/before", "matching, after": folder / "encoders/after"}
        words = {**{each: each for each in CATALOGUE}, **{title: f"rice:{where}" for title, where in own.items()}}
        scores: dict[str, dict[str, list[float]]] = {}
        laps: dict[str, Lap] = {"matching": learnt}
        for title, encoder in words.items():
            store = folder / "stores" / str(len(laps))
            common = ("-m", "rice_core.cli", "run", "-e", encoder, "--data", str(videos), "--store", str(store), "-q")
            lap, _ = process(*common, "-p", TRAINED, "--seeds", ",".join(map(str, SEEDS)))
            quick, _ = process(*common, "-p", MATCHED)
            laps |= {f"{title}, trained": lap, f"{title}, matched": quick}
            scores[title] = _scores(Store(store))
            print(f"{title}: {scores[title]}", flush=True)
    body = {"scores": scores, "cpu_seconds": {what: round(lap.cpu, 1) for what, lap in laps.items()}}
    keep("tracking_agreement", claims(scores, laps), body, before)


def _scores(store: Store) -> dict[str, list[float]]:
    """AO by probe, one a seed."""
    found: dict[str, list[float]] = {"trained": [], "matched": []}
    for record in sorted(store.records(), key=lambda record: record.cell.seed):
        name = record.cell.probe.name
        found["matched" if name == "template-match" else "trained"].append(_ao(store, record))
    return found


def _ao(store: Store, record: Record) -> float:
    """In GOT-10k's dialect, which is not the headline of `template-match`."""
    table = json.loads(store.artifact(record, f"{record.cell.probe.name}-dialects.json"))
    return next(float(row[2]) for row in table["rows"] if row[:2] == ["got10k", "ao"])


def claims(scores: Mapping[str, Mapping[str, Sequence[float]]], laps: Mapping[str, Lap]) -> list[str]:
    """What the two probes have in common."""
    means = {title: statistics.fmean(each["trained"]) for title, each in scores.items()}
    matched = {title: each["matched"][0] for title, each in scores.items()}
    said = [
        f"{title}: AO {means[title]:.1f} trained ({', '.join(f'{each:.1f}' for each in scores[title]['trained'])}), {matched[title]:.1f} matched"
        for title in sorted(scores, key=means.__getitem__)
    ]
    real = [title for title in scores if title not in CONTROLS]
    said += [_agreement("all", means, matched, list(scores)), _agreement("the controls left out", means, matched, real)]
    first, second = ([each["trained"][k] for each in scores.values()] for k in (0, 1))
    said.append(f"the trained probe agrees with itself at another seed: tau {kendalltau(first, second).statistic:.2f}")
    trained, quick = (
        sum(lap.cpu for what, lap in laps.items() if what.endswith(end)) for end in (", trained", ", matched")
    )
    said.append(
        f"{trained / len(scores) / len(SEEDS):.0f} s of a core an encoder and seed for the trained probe, {quick / len(scores):.0f} s for the other"
    )
    return said


def _agreement(which: str, one: Mapping[str, float], other: Mapping[str, float], titles: Sequence[str]) -> str:
    pair = [[each[title] for title in titles] for each in (one, other)]
    tau, rho = kendalltau(*pair), spearmanr(*pair)
    return f"{which} ({len(titles)} encoders): Kendall's tau {tau.statistic:.2f} (exact p {tau.pvalue:.2g}), Spearman's rho {rho.statistic:.2f}"


if __name__ == "__main__":
    main()
