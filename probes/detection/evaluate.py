"""Results against ground truth: COCO's AP and LVIS's AP, by category, as curves, and with an error over images.

The numbers are pycocotools' and the lvis package's. Letters: K categories, T IoU thresholds (0.50 to 0.95), R recalls,
A area ranges (all, small, medium, large), M limits of detections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probes.detection.breakdown import ErrorKind, faults_of
from probes.detection.columns import Columns, Floats, Ints, Kind
from probes.detection.curves import curves_of
from probes.detection.forgiven import as_judged
from probes.detection.matches import Matches, match
from probes.detection.overlaps import Overlaps
from probes.detection.resample import bootstrap, groups_of, image_values
from probes.detection.truth import FREQUENCIES, GroundTruth, Style
from rice_core.record import Metric, Scores
from rice_core.stats.estimates import Estimate

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RESAMPLES = 200
"""Their spread gives the standard error to 5 %."""

LIMITS: dict[Style, list[int]] = {"coco": [1, 10, 100], "lvis": [300]}
"""Detections that AR is given for."""
_SIZES = ("s", "m", "l")
_RANGES = ((0.0, 1e10), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10))
"""Square pixels of all objects, then by size."""


@dataclass(frozen=True)
class Judged:
    """The score of the boxes or of the masks. AP in percent."""

    ap: dict[str, float | None]
    """AP, AP50, AP75, APs, APm, APl; with LVIS APr, APc, APf. None where no object is of the kind."""
    ar: dict[str, float | None]
    """Average recall, percent: AR1, AR10, AR100 by detections of an image and category (LVIS: AR300, of an image), then ARs, ARm, ARl."""
    errors: dict[str, Estimate]
    """Of AP, AP50, AP75, APr, APc, APf; empty without resamples."""
    category_ap_K: Floats
    """NaN for a category without objects."""
    matches: Matches
    """Which detections were right: what errors and per-image values are made from."""
    faults: dict[str, ErrorKind]
    """What AP50 is lost to, by kind; empty where it is not asked for."""
    curves: dict[str, Floats]
    """IoU ("0.50", "0.75", "0.50:0.95") -> precision in percent at recall 0, 0.01, ... 1, the mean over categories."""


@dataclass(frozen=True)
class Evaluation:
    style: Style
    samples: tuple[str, ...]
    """Ids of the images, as `matches` counts them."""
    scenes: tuple[str, ...]
    """What each shows, which its error is clustered by; an image alone is its own."""
    groups: dict[str, Ints]
    """AP, APr, APc, APf -> the categories that it is the mean over."""
    box: Judged
    mask: Judged | None

    @property
    def kinds(self) -> dict[str, Judged]:
        """What was judged: "box", and "mask" where there are masks."""
        return {"box": self.box} | ({} if self.mask is None else {"mask": self.mask})

    def metrics(self) -> tuple[Metric, ...]:
        """`box_ap`, `box_ap50`, ..., `mask_ap`, ...; without those that are not defined on this data set."""
        return tuple(
            _metric(f"{kind}_{name.lower()}", value, judged.errors.get(name), len(self.samples))
            for kind, judged in self.kinds.items()
            for name, value in judged.ap.items()
            if value is not None
        )

    def scores(self) -> Scores:
        """What each image adds to AP, AP50, AP75, APr, APc, APf, so that two encoders can be compared image by image.

        The plain mean is the metric, and its error clustered by group of images is the jackknife's (see `resample`).
        """
        group = [f"group-{number:03d}" for number in groups_of(self.scenes)]
        values = {
            f"{kind}_{name.lower()}": tuple(column_I.tolist())
            for kind, judged in self.kinds.items()
            for name, column_I in image_values(judged.matches, self.groups, self.scenes).items()
        }
        return Scores(sample=self.samples, cluster=tuple(group), values=values)


def score(
    truth: GroundTruth,
    results: Sequence[Mapping[str, Any]],
    *,
    masks: bool,
    resamples: int = RESAMPLES,
    seed: int = 0,
    breakdown: bool = True,
) -> Evaluation:
    """Judge results by the rules of the data set's style.

    Args:
        results: as `results.read_results` gives them: image_id, category_id, score, bbox (x, y, width, height) and, with
            `masks`, segmentation (run lengths). Categories that the truth does not have are passed over.
        masks: judge the masks as well; the truth has to have them.
        resamples: of the images, for the errors; 0 leaves them out. The seed alone decides which images are drawn, so
            that two encoders meet the same ones.
        breakdown: say what AP50 is lost to.

    Raises:
        KeyError: a result of an image that the truth does not have.
    """
    groups, mask = _groups(truth), None
    columns = Columns(*as_judged(truth, results, "box"))
    box = _judge(columns, groups, "box", resamples, seed, breakdown)
    if masks:
        of_masks, rows = as_judged(truth, results, "mask")
        if of_masks is not columns.truth:
            columns = Columns(of_masks, rows)
        mask = _judge(columns, groups, "mask", resamples, seed, breakdown)
    samples = tuple(image.sample.id for image in truth.images)
    return Evaluation(truth.style, samples, scenes_of(truth), groups, box, mask)


def scenes_of(truth: GroundTruth) -> tuple[str, ...]:
    """The scene of each image."""
    return tuple(image.sample.cluster for image in truth.images)


def _judge(columns: Columns, groups: dict[str, Ints], kind: Kind, resamples: int, seed: int, breakdown: bool) -> Judged:
    truth, found = columns.truth, columns.found(kind)
    K, limits = len(truth.categories), LIMITS[truth.style]
    overlaps = Overlaps(columns, found, kind)
    kept: list[Matches] = []
    curves_A = []
    for matches in match(found, columns.objects, overlaps.pairs(), THRESHOLDS.tolist(), _RANGES, K):
        kept = kept or [matches]  # of all areas; of LVIS's detections the others would fill the memory
        curves_A.append(curves_of(matches, limits))
    of_all = kept[0]
    precision_TRKA, recall_TKMA = (np.stack(parts, axis=-1) for parts in zip(*curves_A, strict=True))
    return Judged(
        ap=_summary(precision_TRKA, groups),
        ar=_recalls(recall_TKMA, limits),
        errors=bootstrap(of_all, groups, scenes_of(truth), resamples, seed) if resamples else {},
        matches=of_all,
        faults=faults_of(found, columns.objects, of_all, overlaps) if breakdown else {},
        category_ap_K=np.array([_percent(precision_TRKA[:, :, k, 0], np.nan) for k in range(K)]),
        curves={
            "0.50": _curve(precision_TRKA[:1]),
            "0.75": _curve(precision_TRKA[5:6]),
            "0.50:0.95": _curve(precision_TRKA),
        },
    )


def _groups(truth: GroundTruth) -> dict[str, Ints]:
    """Name of a mean -> the categories that it is over."""
    groups = {"AP": np.arange(len(truth.categories))}
    if truth.style == "lvis":
        of_category = np.array([category.frequency for category in truth.categories])
        groups |= {f"AP{frequency}": np.flatnonzero(of_category == frequency) for frequency in FREQUENCIES}
    return groups


def _summary(precision_TRKA: Floats, groups: Mapping[str, Ints]) -> dict[str, float | None]:
    summary = {
        "AP": _percent(precision_TRKA[..., 0]),
        "AP50": _percent(precision_TRKA[0, ..., 0]),
        "AP75": _percent(precision_TRKA[5, ..., 0]),
    }
    summary |= {f"AP{size}": _percent(precision_TRKA[..., a]) for a, size in enumerate(_SIZES, 1)}
    return summary | {name: _percent(precision_TRKA[:, :, labels, 0]) for name, labels in groups.items()}


def _recalls(recall_TKMA: Floats, limits: Sequence[int]) -> dict[str, float | None]:
    recalls = {f"AR{limit}": _percent(recall_TKMA[:, :, m, 0]) for m, limit in enumerate(limits)}
    return recalls | {f"AR{size}": _percent(recall_TKMA[:, :, -1, a]) for a, size in enumerate(_SIZES, 1)}


def _percent(precision: Floats, undefined: float | None = None) -> Any:
    """The mean over what is defined, in percent; `undefined` where nothing is."""
    defined = precision[precision > -1]
    return 100 * float(defined.mean()) if defined.size else undefined


def _curve(precision_TRKA: Floats) -> Floats:
    return np.array([_percent(precision_TRKA[:, r, :, 0], np.nan) for r in range(precision_TRKA.shape[1])])


def _metric(name: str, value: float, error: Estimate | None, images: int) -> Metric:
    return Metric(
        name=name,
        value=value,
        unit="%",
        better="higher",
        n=images,
        stderr=error.stderr if error else None,
        ci95=error.ci95 if error else None,
        method=error.method if error else "",
        bounds=(0.0, 100.0),
    )
