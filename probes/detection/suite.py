"""Detection on a suite of small data sets: one detector a data set, one number a domain (Table 3's Roboflow 100 columns)."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from probes.detection.probe import CocoFormatDetection
from rice_core.disk.files import write_atomically
from rice_core.disk.sealed import Damaged, Unsealed, key_of, seal_json, unseal_json
from rice_core.errors import NotApplicable, StoreError, UserError
from rice_core.record import Metric, Outcome, Scores
from rice_core.stats.estimates import mean_clustered, metric_of

if TYPE_CHECKING:
    from probes.detection.recipe import Recipe
    from probes.detection.training import DetectorTraining
    from rice_core.datasets import Dataset
    from rice_core.features import Encoder
    from rice_core.probe import Work
    from rice_core.spec import Param
    from rice_core.stage import Stage


@dataclass(frozen=True)
class Rf100Detection(CocoFormatDetection):
    """Roboflow 100: seven domains of 5 to 50 data sets. AVG is the plain mean of the domains, as in the paper."""

    name: ClassVar[str] = "rf100-det"
    summary: ClassVar[str] = "Cascade R-CNN on a frozen encoder, Roboflow 100 (box AP of seven domains and their mean)"
    data: ClassVar[frozenset[str]] = frozenset({"suite"})
    by_domain: ClassVar[bool] = True

    def stages(self, dataset: Dataset) -> tuple[Stage, ...]:
        """See `rice_core.probe.Staged`: one detector a data set. One that cannot be read has none, and says so when it is measured."""
        found = []
        for name, part in dataset.parts.items():
            with contextlib.suppress(UserError, NotApplicable, OSError, KeyError):
                share = shares_of(dataset.parts)[name]
                found.append(self.training_on(part, masks=False, part=name, share=share))
        return tuple(found)

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        """See `rice_core.probe.Probe`. A data set that is finished is not trained again after an interruption."""
        done = {name: self._part(encoder, name, part, seed, work) for name, part in work.parts.items()}
        ap = {name: done[name]["ap"] if name in done else None for name in work.domain}
        judged = {name: body for name, body in done.items() if body["ap"] is not None}
        if not judged:
            raise NotApplicable(
                "none of the suite's data sets gave an AP; the first: " + next(iter(done.values()))["why"]
            )
        domain = work.domain if self.by_domain else dict.fromkeys(work.domain, "all")
        metrics, scores = means(ap, domain)
        lacking = sorted(name for name, value in ap.items() if value is None)
        if not metrics:
            raise UserError(
                f"{len(lacking)} of the suite's {len(ap)} data sets gave no AP ({_some(lacking)}), so no mean of it can be given; "
                "mend them or take them out, then run again: what is trained is kept."
            )
        unread = {name: {"ap": None, "why": "It could not be read."} for name in work.domain if name not in done}
        figures = [
            {"name": name, "domain": work.domain[name], **each} for name, each in sorted((done | unread).items())
        ]
        first = next(iter(judged.values()))
        return Outcome(
            metrics=metrics,
            scores=scores,
            artifacts=(work.artifact_json(f"{self.name}.json", {"parts": figures}, figure="suite-ap"),),
            assumptions=(
                *first["assumptions"],
                *_lengths(self.settings(), list(judged.values())),
                *_rates(list(judged.values())),
                *_without_a_mean(lacking, ap, domain),
                *(note for body in judged.values() for note in body.get("notes", ())),
            ),
            used=first["used"] | _rate_used(list(judged.values())),
        )

    def _part(self, encoder: Encoder, name: str, part: Dataset, seed: int, work: Work) -> dict[str, Any]:
        """AP of one data set, or None and why."""
        from probes.detection.annotations import read_ground_truth
        from probes.detection.evaluate import score
        from probes.detection.outcome import assumptions, exported, used_of, without
        from probes.detection.trained import check_splits, found_in

        path = work.folder / f"{name}.json"
        try:
            train, val = (
                read_ground_truth(part.annotations[split], part.splits[split], name=f"{name}/{split}")
                for split in ("train", "val")
            )
            check_splits(train, val, "off")
            stage = next(each for each in cast("tuple[DetectorTraining, ...]", work.stages) if each.part == name)
            ready = work.stage(stage)
            if (finished := _finished(path, ready.trained.used.digest)) is not None:
                return finished
            learnt = found_in(encoder, train, val, stage, ready, self.settings(), work=work)
        except StoreError:
            raise
        except (UserError, NotApplicable) as error:
            # One broken export of a hundred costs its own number alone.
            work.skip(name, str(error))
            return {"ap": None, "why": str(error)}
        val = without(val, learnt.found.skipped)
        found = exported(work, name, encoder, val, self.settings(), learnt)
        scored = score(val, found, masks=False, resamples=0)
        body = {
            "ap": scored.box.ap["AP"],
            "ap50": scored.box.ap["AP50"],
            "train": len(train.images),
            "judged": len(val.images),
            "categories": len(train.categories),
            "steps": stage.training.iterations,
            "assumptions": assumptions(self.settings(), encoder, learnt),
            "notes": learnt.notes,
            "used": used_of(self.settings(), encoder, learnt),
            "choice": None if learnt.choice is None else learnt.choice.model_dump(),
        }
        write_atomically(path, seal_json(key_of(path), body | {"detector": ready.trained.used.digest}))
        return body


def _finished(path: Path, detector: str) -> dict[str, Any] | None:
    """What a data set came to before an interruption; None where it is not finished, or the file is another's.

    Args:
        detector: digest of the detector that it is judged with now.
    """
    try:
        body = dict(unseal_json(key_of(path), path.read_bytes()))
    except (OSError, Damaged, Unsealed):
        return None
    return body if body.pop("detector", None) == detector else None


@dataclass(frozen=True)
class Rf100VlDetection(Rf100Detection):
    """Roboflow 100-VL, the later selection of 100 data sets; its number is their plain mean."""

    name: ClassVar[str] = "rf100vl-det"
    summary: ClassVar[str] = "Cascade R-CNN on a frozen encoder, Roboflow 100-VL (mean box AP)"
    by_domain: ClassVar[bool] = False


def shares_of(parts: Mapping[str, Dataset]) -> dict[str, float]:
    """Of the cache, by training images: all parts are wanted again for the next seed."""
    images = {name: len(part.splits.get("train", ())) for name, part in parts.items()}
    return {name: n / max(1, sum(images.values())) for name, n in images.items()}


def means(ap: Mapping[str, float | None], domain: Mapping[str, str]) -> tuple[tuple[Metric, ...], Scores | None]:
    """`rf_avg`, the mean over domains of the mean over their data sets, and each domain; without those of which a part is missing.

    The error of a domain is over its data sets; that of the mean over all of them, each weighing what it weighs in the mean.
    A mean over what is there would rise when a hard data set fails.

    Args:
        ap: by data set; None, or nothing, where one gave none.
        domain: of every data set of the suite.
    """
    of_domain: dict[str, list[str]] = defaultdict(list)
    for name in sorted(domain):
        of_domain[domain[name]].append(name)
    known = {name: value for name, value in ap.items() if value is not None}
    metrics, scores = [], None
    if known.keys() >= domain.keys():
        names = sorted(domain)
        weight = {name: len(names) / (len(of_domain) * len(of_domain[domain[name]])) for name in names}
        values = tuple(weight[name] * known[name] for name in names)
        scores = Scores(sample=tuple(names), cluster=tuple(names), values={"rf_avg": values})
        metrics.append(metric_of(scores, "rf_avg", unit="%", better="higher", bounds=(0.0, 100.0), by="data set"))
    for each, parts in of_domain.items() if len(of_domain) > 1 else ():
        if not known.keys() >= set(parts):
            continue
        found = mean_clustered([known[name] for name in parts], parts, (0.0, 100.0))
        metrics.append(
            Metric(
                name=each,
                value=found.value,
                unit="%",
                better="higher",
                n=found.n,
                stderr=found.stderr,
                ci95=found.ci95,
                method=found.method.replace("clusters", "data sets"),
                bounds=(0.0, 100.0),
            )
        )
    return tuple(metrics), scores


def _lengths(recipe: Recipe, judged: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    from probes.detection.outcome import length

    # What was finished before there were epochs does not know its steps.
    said = length(recipe, [body["steps"] for body in judged if "steps" in body])
    return said or ("Each data set is trained with the same settings, whatever its size.",)


def _rates(judged: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Which rates were chosen, and in how many data sets each."""
    won = Counter(body["used"]["rate"] for body in judged if body.get("choice"))
    if not won:
        return ()
    said = ", ".join(f"{rate:.3g} in {n}" for rate, n in sorted(won.items()))
    return (
        f"The rate of each data set was chosen by the box AP on scenes of its train images that were held out ({said}); the detector was then "
        "trained on all of train.",
    )


def _rate_used(judged: Sequence[Mapping[str, Any]]) -> dict[str, Param]:
    won = sorted({body["used"]["rate"] for body in judged if body.get("choice")})
    return {"rate": won[0] if len(won) == 1 else f"{won[0]:.3g} to {won[-1]:.3g}"} if won else {}


def _without_a_mean(lacking: Sequence[str], ap: Mapping[str, object], domain: Mapping[str, str]) -> tuple[str, ...]:
    if not lacking:
        return ()
    broken = sorted({domain[name] for name in lacking})
    return (
        f"{len(lacking)} of the suite's {len(ap)} data sets gave no AP ({_some(lacking)}), so there is no rf_avg and no number for "
        f"{', '.join(broken)}: a mean over fewer parts is not the suite's.",
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
