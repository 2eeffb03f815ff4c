"""What patch tokens look like: their pairwise distances (paper Figure 4), PCA colours (Figure 5), t-SNE on a sphere (Figure 1).

`token-distance` has no better direction: noise has the largest. `object-separation` (where objects are annotated) has
one, and its chance is 50. Shapes: N images or objects, C channels, H x W the patch grid, T = H * W tokens, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from probes import pca, sphere
from probes.distances import TokenPairs, token_labels, token_pairs
from rice_core.errors import NotApplicable, UserError
from rice_core.features import IGNORE
from rice_core.light import LightProbe
from rice_core.probe import Read
from rice_core.record import Artifact, Metric, Outcome, Scores
from rice_core.spec import Param
from rice_core.stats.estimates import metric_of

if TYPE_CHECKING:
    from rice_core.features import Encoder
    from rice_core.probe import DenseImage, Items, Work

SHOWN = 8
"""Images in the PCA sheet: the first of the split."""
NEIGHBOURS = 10
LEAST_OBJECTS = 30
BINS = 200
"""Of the histogram that is kept, over [0, 2]."""
FINE = 100
"""Finer bins in each of them, for the median."""
_FIGURE_5 = (
    "The paper's Figure 5 follows clips of 2048 pixels: here one PCA basis and one colour scale are fitted to the first "
    f"{SHOWN} validation images together."
)


@dataclass(frozen=True)
class Tokens(LightProbe):
    """Figures 1, 4 and 5 and the numbers under them. Works on a plain folder of photos, with less to say."""

    name: ClassVar[str] = "tokens"
    summary: ClassVar[str] = "token distances, PCA colours and t-SNE on a sphere (Figures 1, 4, 5)"
    instruments: ClassVar[tuple[str, ...]] = ("scikit-learn", "scipy")

    images: Annotated[int, Field(ge=1, le=10_000)] = 64
    pairs_per_image: Annotated[int, Field(ge=1, le=10**9)] = 2**20
    """Above this (1024 tokens) a seeded sample of tokens is paired with all tokens."""
    tsne_objects: Annotated[int, Field(ge=LEAST_OBJECTS, le=5000)] = 1000
    perplexity: Annotated[float, Field(ge=2, le=1000)] = 30.0

    @property
    def reads(self) -> tuple[Read, ...]:
        return Read("val", "dense", self.images), Read("val", "items")

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        """Measure distances over `images` validation images, and lay out at most `tsne_objects` of their objects.

        Raises:
            NotApplicable: no validation image, or an encoder with one token an image.
            UserError: features that are not finite; the message names the images.
        """
        measured, shown = self._look(encoder, seed, work)
        distances, metrics, scores, notes = _distances(measured)
        colours, picture = _colours(shown, work)
        layout, note = self._layout(encoder, seed, work)
        used: dict[str, Param] = {"images": distances["images"], "pairs_per_image": int(measured[0].counts.sum())}
        used["tsne_objects"] = objects = len(layout["points"]) if layout else 0
        if layout is not None:
            used["perplexity"] = sphere.possible(self.perplexity, objects)
            metrics += (_trust_metric(layout),)
        body = {"distances": distances, "pca": colours, "tsne": layout}
        artifacts = (work.artifact_json("tokens.json", body, figure="tokens"), picture)
        said = (*notes, _FIGURE_5, note)
        return Outcome(metrics=metrics, scores=scores, artifacts=artifacts, assumptions=said, used=used)

    def _look(self, encoder: Encoder, seed: int, work: Work) -> tuple[list[_Measured], list[DenseImage]]:
        generator, bad = np.random.default_rng(seed), []
        measured: list[_Measured] = []
        shown: list[DenseImage] = []
        for image in work.images("val", most=self.images):
            C, H, W = image.dense_CHW.shape
            if H * W < 2:
                raise NotApplicable("the encoder gives one token an image, so there are no pairs of tokens")
            if not np.isfinite(image.dense_CHW).all():
                bad.append(image.id)
                continue
            label_T = None if image.labels_HW is None else token_labels(image.labels_HW, (H, W))
            x_TC = image.dense_CHW.reshape(C, -1).T
            pairs = token_pairs(x_TC, label_T, most=self.pairs_per_image, generator=generator)
            measured.append(_Measured.of(image.id, image.cluster, pairs, label_T))
            if len(shown) < SHOWN:
                shown.append(deepcopy(image))  # its own arrays, so that those of its batch can go
        _refuse(bad, encoder)
        if not measured:
            raise NotApplicable("there is no validation image to look at")
        return measured, shown

    def _layout(self, encoder: Encoder, seed: int, work: Work) -> tuple[dict[str, Any] | None, str]:
        """The t-SNE part of tokens.json, or None, and the sentence that says how or why not."""
        items = work.items(encoder, "val")
        chosen = np.flatnonzero(items.y_N >= 0)
        if len(chosen) > self.tsne_objects:
            chosen = np.sort(np.random.default_rng(seed).choice(chosen, self.tsne_objects, replace=False))
        if len(chosen) < LEAST_OBJECTS:
            why = f"it needs {LEAST_OBJECTS} labelled objects or images, here are {len(chosen)}"
            return None, f"Figure 1 is left out: {why}."
        x_NC = items.x_NC[chosen]
        finite_N = np.isfinite(x_NC).all(1)
        _refuse(sorted({items.ids[row].partition("#")[0] for row in chosen[~finite_N]}), encoder)
        if np.ptp(sphere.normalised(x_NC.astype(np.float64)), axis=0).max() < 1e-6:
            return None, "Figure 1 is left out: all objects have the same features, so none is nearer than another."
        steps = work.progress(range(sphere.STEPS), f"{encoder.spec.title}: t-SNE of {len(chosen)} objects")
        y_N3 = sphere.embed(x_NC, perplexity=self.perplexity, seed=seed, steps=steps)
        used = sphere.possible(self.perplexity, len(chosen))
        why = f" in place of {self.perplexity:g}, a third of the other objects" if used < self.perplexity else ""
        note = (
            "The paper does not say how Figure 1 was laid out: here t-SNE runs on the sphere itself, on mean patch tokens of "
            f"{len(chosen)} objects compared by cosine, perplexity {used:g}{why}."
        )
        return _layout_body(x_NC, y_N3, items, chosen), note


@dataclass(frozen=True)
class _Measured:
    """One image. The counts are of distances rounded to 2 / (BINS * FINE)."""

    image_id: str
    cluster: str
    mean: float
    counts: npt.NDArray[np.int64]
    sampled: bool
    """Whether not all pairs are counted."""
    separation: float | None
    within: float | None
    across: float | None
    tokens: int
    ignored: int
    """Tokens in crowd regions: in no pair of the separation."""

    @classmethod
    def of(cls, image_id: str, cluster: str, pairs: TokenPairs, label_T: npt.NDArray[np.int64] | None) -> _Measured:
        level_P = np.round(pairs.all_P * (BINS * FINE / 2)).astype(np.int64)
        within, across = (float(p.mean(dtype=np.float64)) if len(p) else None for p in (pairs.within_P, pairs.across_P))
        counts = np.bincount(level_P, minlength=BINS * FINE + 1)
        mean = float(pairs.all_P.mean(dtype=np.float64))
        ignored = 0 if label_T is None else int((label_T == IGNORE).sum())
        tokens = 0 if label_T is None else len(label_T)
        return cls(image_id, cluster, mean, counts, pairs.sampled, pairs.separation, within, across, tokens, ignored)


def _distances(measured: Sequence[_Measured]) -> tuple[dict[str, Any], tuple[Metric, ...], Scores, tuple[str, ...]]:
    """The distances part of tokens.json, the metrics, the scores and the assumptions."""
    notes = ["The paper does not say which distance Figure 4 shows: here 1 - cosine of two tokens of one image."]
    if measured[0].sampled:
        notes.append(
            f"{measured[0].counts.sum():,} pairs of an image are measured, of a random sample of its tokens with all, for all "
            "pairs are more than pairs_per_image."
        )
    separable = [image for image in measured if image.separation is not None]
    if separable and len(separable) < len(measured):
        # One set of images for both numbers, so that each score column belongs to the same samples.
        left_out = len(measured) - len(separable)
        notes.append(
            f"{left_out} of {len(measured)} images are left out: no annotated object covers two of their tokens."
        )
    used = separable or list(measured)
    values = {"token-distance": tuple(image.mean for image in used)}
    if separable:
        values["object-separation"] = tuple(image.separation for image in used if image.separation is not None)
    ids = tuple(image.image_id for image in used)
    scores = Scores(sample=ids, cluster=tuple(image.cluster for image in used), values=values)
    metrics = [metric_of(scores, "token-distance", unit="", better="neither", bounds=(0.0, 2.0))]
    counts = np.sum([image.counts for image in used], axis=0)
    body: dict[str, Any] = _histogram(counts) | {"images": len(used), "mean": round(metrics[0].value, 6)}
    if separable:
        levels = {"chance": 50.0, "ceiling": 100.0}
        metrics.append(metric_of(scores, "object-separation", unit="%", better="higher", **levels, bounds=(0.0, 100.0)))
        body["within_object"] = round(float(np.mean([image.within for image in used])), 6)
        body["across_objects"] = round(float(np.mean([image.across for image in used])), 6)
        body["separation"] = round(metrics[1].value, 4)
        notes.append(
            "Objects of one category in an image count as one in object-separation; background pairs are not used."
        )
        if ignored := sum(image.ignored for image in used):
            notes.append(
                f"{ignored} of {sum(image.tokens for image in used)} tokens lie in crowd regions, which are neither object "
                "nor background: object-separation leaves them out, token-distance does not."
            )
    return body, tuple(metrics), scores, tuple(notes)


def _histogram(counts: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Edges and counts of BINS bins, and the median, from counts of finely rounded distances."""
    total = int(counts.sum())
    median = int(np.searchsorted(np.cumsum(counts), (total + 1) // 2)) * 2 / (BINS * FINE)
    coarse = counts[:-1].reshape(BINS, FINE).sum(1)
    coarse[-1] += counts[-1]  # A distance of exactly 2 belongs to the last bin, as in numpy.histogram.
    edges = [round(float(edge), 4) for edge in np.linspace(0, 2, BINS + 1)]
    return {"edges": edges, "counts": coarse.tolist(), "pairs": total, "median": round(median, 4)}


def _colours(shown: Sequence[DenseImage], work: Work) -> tuple[dict[str, Any], Artifact]:
    basis = pca.fit_basis(image.dense_CHW.reshape(len(image.dense_CHW), -1).T for image in shown)
    maps = pca.colours(basis, [image.dense_CHW for image in shown])
    picture = work.artifact_png(
        "pca.png",
        pca.sheet([image.pixels_HW3 for image in shown], maps),
        figure="image",
        title="PCA of patch tokens as colours",
        caption="Three principal components of the patch tokens as red, green and blue; one basis for all images of an encoder"
        " (the paper’s Figure 5). Colours of two encoders have nothing to do with each other.",
    )
    explained = [round(float(share), 6) for share in basis.explained_K]
    return {"images": [image.id for image in shown], "explained_variance_ratio": explained}, picture


def _layout_body(
    x_NC: npt.NDArray[np.float32], y_N3: npt.NDArray[np.floating], items: Items, chosen: npt.NDArray[np.int64]
) -> dict[str, Any]:
    present, label_N = np.unique(items.y_N[chosen], return_inverse=True)
    pure, by_chance = sphere.purity(y_N3, label_N, neighbours=NEIGHBOURS)
    return {
        "points": [[round(float(value), 5) for value in point] for point in y_N3],
        "labels": label_N.tolist(),
        "classes": [items.classes[label] for label in present],
        "neighbours": NEIGHBOURS,
        "trustworthiness": round(sphere.trust(x_NC, y_N3, neighbours=NEIGHBOURS), 6),
        "purity": round(pure, 6),
        "purity_chance": round(by_chance, 6),
    }


def _trust_metric(layout: dict[str, Any]) -> Metric:
    return Metric(
        name="tsne-trustworthiness",
        value=layout["trustworthiness"],
        better="neither",
        n=len(layout["points"]),
        method=f"{layout['neighbours']} neighbours, of the map and not of the encoder",
        chance=0.5,
        ceiling=1.0,
        bounds=(0.0, 1.0),
    )


def _refuse(bad: Sequence[str], encoder: Encoder) -> None:
    if bad:
        names = ", ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
        raise UserError(
            f"{encoder.spec.title} gives features that are not finite for {names}; "
            "try dtype=fp32, or take these images out of the data set."
        )
