"""`ricebench evaluate detection`: any results file in COCO's format, ours or another's. AP and AR in percent."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from rice_core.errors import UserError
from rice_core.scorer import Checked, Rated, Scorecard, rated_difference, told_apart

if TYPE_CHECKING:
    from probes.detection.evaluate import Evaluation
    from probes.detection.results import Results
    from probes.detection.truth import GroundTruth


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles: what is read has none, and going through all of it again and again takes a fifth of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@dataclass(frozen=True)
class DetectionScorer:
    """COCO results JSON against an annotation file: AP and AR of boxes, and of masks where both have them."""

    style: Literal["auto", "coco", "lvis"] = "auto"
    """Whose rules judge; auto takes what the annotations are made for."""
    errors: bool = True
    """With the bootstrap over images."""
    breakdown: bool = True
    """With what AP50 is lost to."""

    summary: ClassVar[str] = "detections in COCO's results format, by COCO's or LVIS's rules (AP, AR)"

    @_uncollected()
    def score(self, results: Path, data: Path) -> Scorecard:
        """See `rice_core.scorer.Scorer`."""
        from probes.detection.evaluate import RESAMPLES, score

        truth, read = self._read(results, data)
        masks = truth.has_masks and read.has_masks
        resamples = RESAMPLES if self.errors else 0
        scored = score(truth, read.entries, masks=masks, resamples=resamples, breakdown=self.breakdown)
        return Scorecard(_checked(truth, read, results, data), tuple(_rows(scored, truth)), across="kind")

    @_uncollected()
    def compare(self, results: Path, against: Path, data: Path) -> Scorecard:
        """See `rice_core.scorer.Comparing`: image by image, all of the truth's; masks where both have them."""
        from probes.detection.evaluate import score

        truth, read = self._read(results, data)
        other = self._read(against, data)[1]
        masks = truth.has_masks and read.has_masks and other.has_masks
        one, two = (score(truth, each.entries, masks=masks, resamples=0, breakdown=False) for each in (read, other))
        names = told_apart(results, against)
        checked = _checked(truth, read, results, data)
        facts = {**checked.facts, "against": against.name, "detections against": len(other.entries)}
        left_out = tuple(
            skip.model_copy(update={"item": f"{name}: {skip.item}"})
            for name, each in zip(names, (read, other), strict=True)
            for skip in each.skipped
        )
        checked = Checked(facts, min(len(read.entries), len(other.entries)), (*truth.skipped, *left_out), checked.notes)
        return Scorecard(checked, tuple(_compared(one, two, names)), across="kind")

    @_uncollected()
    def validate(self, results: Path, data: Path) -> Checked:
        """See `rice_core.scorer.Scorer`."""
        truth, read = self._read(results, data)
        return _checked(truth, read, results, data)

    def _read(self, results: Path, data: Path) -> tuple[GroundTruth, Results]:
        from probes.detection.annotations import read_ground_truth
        from probes.detection.results import read_results

        truth = read_ground_truth(data, None, name=data.name)
        if self.style == "lvis" and truth.style != "lvis":
            raise UserError(
                f"{truth.name} does not say which categories were looked for in an image (neg_category_ids, frequency); "
                "write detection?style=coco."
            )
        if self.style != "auto":
            truth = dataclasses.replace(truth, style=self.style)
        return truth, read_results(results, truth)


def _checked(truth: GroundTruth, read: Results, results: Path, data: Path) -> Checked:
    facts: dict[str, str | int] = {
        **(read.about or {}),
        "results": results.name,
        "annotations": data.name,
        "style": truth.style,
        "detections": len(read.entries),
        "images": len(truth.images),
    }
    return Checked(facts, len(read.entries), (*truth.skipped, *read.skipped), (*truth.notes, *read.notes))


def _compared(one: Evaluation, two: Evaluation, names: tuple[str, str]) -> Iterator[Rated]:
    """AP of both, and how far apart they are."""
    from rice_core.stats.estimates import paired

    scores = one.scores(), two.scores()
    for kind, judged in one.kinds.items():
        for name, value in judged.ap.items():
            column = f"{kind}_{name.lower()}"
            if not all(column in each.values for each in scores):
                continue  # of sizes no image has a part
            for words, ap in (("", value), (", against", two.kinds[kind].ap[name])):
                yield Rated(_labels(kind, name + words), ap, len(one.samples), "%")
            found = paired(*scores, column, better="higher")
            how = f"jackknife over groups of images ({found.clusters})"
            yield rated_difference(_labels(kind, f"{name}, difference"), found, how, names)


def _labels(kind: str, metric: str) -> dict[str, str | None]:
    return {"kind": kind, "metric": metric, "category": None, "frequency": None}


def _rows(scored: Evaluation, truth: GroundTruth) -> Iterator[Rated]:
    """AP and AR over all, of n images; what AP50 is lost to, n errors; and AP by category, of n objects."""
    objects = truth.objects
    for kind, judged in scored.kinds.items():
        for name, value in (judged.ap | judged.ar).items():
            yield Rated(_labels(kind, name), value, len(scored.samples), "%", judged.errors.get(name))
        for name, fault in judged.faults.items():
            yield Rated(_labels(kind, f"AP50 lost: {name}"), fault.lost, fault.times, "%")
        for category, ap in zip(truth.categories, judged.category_ap_K.tolist(), strict=True):
            labels = {"kind": kind, "metric": "AP", "category": category.name, "frequency": category.frequency}
            yield Rated(labels, None if ap != ap else ap, objects[category.id], "%", detail=True)
