"""Results against ground truth: COCO's AP and LVIS's AP, by category, as curves, and with an error over images.

The numbers are faster-coco-eval's, which are pycocotools' and the lvis package's. Letters: D detections, I images,
K categories, T IoU thresholds (0.50 to 0.95), A area ranges (all, small, medium, large), R resamples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from probes.detection.matches import Flags, Floats, Ints, Matches, RankedDetections, match
from probes.detection.official import DETECTIONS, LIMITS, CountedRows, Kind, evaluated
from probes.detection.resample import bootstrap, groups_of, image_values
from probes.detection.truth import FREQUENCIES, GroundTruth, Style
from rice_core.record import Metric, Scores
from rice_core.stats.estimates import Estimate

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RESAMPLES = 200
"""Their spread gives the standard error to 5 %."""

_SIZES = ("s", "m", "l")
_MOST_AREA = 1e10
"""A detection that is larger and finds nothing counts neither way, as in pycocotools."""


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
    curves: dict[str, Floats]
    """IoU ("0.50", "0.75", "0.50:0.95") -> precision in percent at recall 0, 0.01, ... 1, the mean over categories."""


@dataclass(frozen=True)
class Evaluation:
    style: Style
    samples: tuple[str, ...]
    """Ids of the images, as `matches` counts them."""
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
        group = [f"group-{number:03d}" for number in groups_of(self.samples)]
        values = {
            f"{kind}_{name.lower()}": tuple(column_I.tolist())
            for kind, judged in self.kinds.items()
            for name, column_I in image_values(judged.matches, self.groups, self.samples).items()
        }
        return Scores(sample=self.samples, cluster=tuple(group), values=values)


def score(
    truth: GroundTruth,
    results: Sequence[Mapping[str, Any]],
    *,
    masks: bool,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Judge results by the rules of the data set's style.

    Args:
        results: as `results.read_results` gives them: image_id, category_id, score, bbox (x, y, width, height) and, with
            `masks`, segmentation (run lengths). Categories that the truth does not have are passed over.
        masks: judge the masks as well; the truth has to have them.
        resamples: of the images, for the errors; 0 leaves them out. The seed alone decides which images are drawn, so
            that two encoders meet the same ones.

    Raises:
        KeyError: a result of an image that the truth does not have.
    """
    rows, groups = CountedRows(truth, results), _groups(truth)
    box = _judge(truth, rows, groups, "box", resamples, seed)
    mask = _judge(truth, rows, groups, "mask", resamples, seed) if masks else None
    return Evaluation(truth.style, tuple(image.sample.id for image in truth.images), groups, box, mask)


def _judge(
    truth: GroundTruth, rows: CountedRows, groups: dict[str, Ints], kind: Kind, resamples: int, seed: int
) -> Judged:
    objects = _objects(truth, rows)
    area_D = _areas(rows.rows, kind)
    chosen, unjudged_D = _chosen(truth, rows, area_D, {(o["image_id"], o["category_id"]) for o in objects})
    found = RankedDetections(rows.image_D[chosen], rows.category_D[chosen], rows.score_D[chosen], unjudged_D)
    detections = [_detection(rows, row, float(area_D[row]), kind) for row in chosen.tolist()]
    precision_TRKA, recall_TKAM, ious = evaluated(truth, rows, objects, detections, kind)
    matches = match(found, _crowds(objects), ious, THRESHOLDS.tolist(), len(truth.categories))
    return Judged(
        ap=_summary(precision_TRKA, groups),
        ar=_recalls(recall_TKAM, LIMITS[truth.style]),
        errors=bootstrap(matches, groups, len(truth.images), resamples, seed) if resamples else {},
        matches=matches,
        category_ap_K=np.array([_percent(precision_TRKA[:, :, k, 0], np.nan) for k in range(len(truth.categories))]),
        curves={
            "0.50": _curve(precision_TRKA[:1]),
            "0.75": _curve(precision_TRKA[5:6]),
            "0.50:0.95": _curve(precision_TRKA),
        },
    )


def _objects(truth: GroundTruth, rows: CountedRows) -> list[dict[str, Any]]:
    """True objects with places for ids; copies, for the evaluator writes into them."""
    objects = [
        entry | {"image_id": rows.images[entry["image_id"]], "category_id": rows.labels[entry["category_id"]]}
        for entry in truth.body["annotations"]
    ]
    if truth.style == "lvis":  # The lvis package knows no crowds, and passes over what has no area.
        objects = [entry | {"iscrowd": 0} for entry in objects if entry["area"] > 0]
    return objects


def _areas(rows: Sequence[Mapping[str, Any]], kind: Kind) -> Floats:
    if kind == "box":
        return np.array([row["bbox"][2] * row["bbox"][3] for row in rows], np.float64)
    from faster_coco_eval.core import mask

    return np.array(mask.area([row["segmentation"] for row in rows]) if rows else [], np.float64)


def _chosen(truth: GroundTruth, rows: CountedRows, area_D: Floats, present: set[tuple[int, int]]) -> tuple[Ints, Flags]:
    """CountedRows that are judged, in the order of evaluation, and which of them count neither way where they find nothing."""
    order = np.lexsort((-rows.score_D, rows.category_D, rows.image_D))
    unjudged = area_D > _MOST_AREA
    if truth.style == "lvis":
        negative = _pairs(truth, rows, "negative") | present
        partial = _pairs(truth, rows, "not_exhaustive")
        pairs = list(zip(rows.image_D.tolist(), rows.category_D.tolist(), strict=True))
        order = np.array([row for row in order if area_D[row] > 0 and pairs[row] in negative], np.int64)
        unjudged |= np.array([pair in partial for pair in pairs], bool)
    else:
        code = rows.image_D[order] * len(truth.categories) + rows.category_D[order]
        rank = np.arange(len(order)) - np.searchsorted(code, code)
        order = order[rank < DETECTIONS["coco"]]
    return order, unjudged[order]


def _pairs(truth: GroundTruth, rows: CountedRows, field: Literal["negative", "not_exhaustive"]) -> set[tuple[int, int]]:
    return {
        (place, rows.labels[category]) for place, image in enumerate(truth.images) for category in getattr(image, field)
    }


def _detection(rows: CountedRows, row: int, area: float, kind: Kind) -> dict[str, Any]:
    shape = "bbox" if kind == "box" else "segmentation"
    return {
        "image_id": int(rows.image_D[row]),
        "category_id": int(rows.category_D[row]),
        "score": float(rows.score_D[row]),
        "area": area,
        "iscrowd": 0,
        shape: rows.rows[row][shape],
    }


def _crowds(objects: Iterable[Mapping[str, Any]]) -> dict[tuple[int, int], Flags]:
    flags: dict[tuple[int, int], list[bool]] = defaultdict(list)
    for entry in objects:
        flags[entry["image_id"], entry["category_id"]].append(bool(entry["iscrowd"]))
    return {pair: np.array(of_pair, bool) for pair, of_pair in flags.items()}


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


def _recalls(recall_TKAM: Floats, limits: Sequence[int]) -> dict[str, float | None]:
    recalls = {f"AR{limit}": _percent(recall_TKAM[:, :, 0, m]) for m, limit in enumerate(limits)}
    return recalls | {f"AR{size}": _percent(recall_TKAM[:, :, a, -1]) for a, size in enumerate(_SIZES, 1)}


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
