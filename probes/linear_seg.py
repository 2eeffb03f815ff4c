"""Linear segmentation: the category of each patch token by one linear classifier, mIoU on a grid that encoders share.

Letters: N images, C channels, h x w the encoder's patch grid, G x G the common grid, K categories with background (0),
T tokens, L categories met in training.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from probes.label_maps import IGNORED, Labels, SheetPanel, contact_sheet, counts, majority
from probes.logistic import PENALTIES, choose_C, fit_logistic, penalties, standardiser
from rice_core.errors import NotApplicable, UserError
from rice_core.light import LightProbe
from rice_core.probe import Read
from rice_core.record import Metric, Outcome, Scores
from rice_core.spec import Param
from rice_core.stats.estimates import Floats, bootstrap, codes, metric_of
from rice_core.stats.ratios import mean_of_ratios

if TYPE_CHECKING:
    import torch

    from rice_core.features import Encoder
    from rice_core.probe import Work

_HOLDOUT = 0.2
Count = Annotated[int, Field(ge=1)]
_PICTURES = 6


@dataclass(frozen=True)
class LinearSeg(LightProbe):
    """Multinomial logistic regression on patch tokens, judged on `grid` x `grid` cells."""

    grid: Count = 32
    images: Count = 3000
    """Train images at most; with `tokens_per_image` this bounds the memory (three copies of 1.3 GB for 768 channels)."""
    tokens_per_image: Count = 144

    name: ClassVar[str] = "linear-seg"
    summary: ClassVar[str] = "linear segmentation of patch tokens (mIoU)"
    data: ClassVar[frozenset[str]] = frozenset({"dense-labels"})
    instruments: ClassVar[tuple[str, ...]] = ("torch", "scipy")

    @property
    def reads(self) -> tuple[Read, ...]:
        return Read("train", "dense", self.images), Read("val", "dense")

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        """See `rice_core.probe.Probe`. The seed draws the train tokens and the images that choose C."""
        head, how, used = self._fit(encoder, seed, work)
        ids, scenes, cells_N3K, panels = self._judge_cells(head, encoder, work)
        judged_N = cells_N3K[:, 2].any(1)
        for image in ids[~judged_N]:
            work.skip(
                str(image),
                "is ignored as a whole (crowd regions, or what its label map leaves open), so nothing of it can be judged",
            )
        names, clusters = (tuple(each[judged_N].tolist()) for each in (ids, scenes))
        scores, metrics = judge(names, cells_N3K[judged_N], seed, clusters)
        ignored = len(ids) * self.grid**2 - int(cells_N3K[:, 2].sum())
        return Outcome(
            metrics=metrics,
            scores=scores,
            artifacts=(
                work.artifact_png(
                    "linear-seg.png",
                    contact_sheet(panels, len(work.classes) + 1),
                    figure="image",
                    title="Segmentation by a linear layer",
                    caption="One linear layer on frozen patch tokens. The truth is beside the prediction.",
                ),
                work.artifact_json("linear-seg.json", by_category(work.classes, cells_N3K)),
            ),
            assumptions=(
                *self._assumptions(),
                *_left_out(ignored, len(ids) * self.grid**2, "validation cells", "judged"),
                *how,
            ),
            used=used,
        )

    def _judge_cells(
        self, head: Head, encoder: Encoder, work: Work
    ) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_], npt.NDArray[np.int64], list[SheetPanel]]:
        """The val images by name, their scenes and `counts`, and the first few to show."""
        kinds = len(work.classes) + 1
        ids: list[str] = []
        scenes: list[str] = []
        cells: list[npt.NDArray[np.int64]] = []
        panels: list[SheetPanel] = []
        for batch in work.dense(encoder, "val"):
            labels_NHW = categories(batch.labels_NHW)
            if self.grid > min(labels_NHW.shape[1:]):
                raise UserError(
                    f"linear-seg: grid={self.grid} is finer than the encoder's input of {min(labels_NHW.shape[1:])} "
                    f"pixels; write a smaller grid."
                )
            truth_NGG = [majority(labels_HW, (self.grid, self.grid), kinds) for labels_HW in labels_NHW]
            guess_NGG = head.guess(batch.dense_NCHW, self.grid)
            ids += batch.ids
            scenes += batch.scenes or batch.ids
            cells += [counts(guess, truth, kinds) for guess, truth in zip(guess_NGG, truth_NGG, strict=True)]
            for row in range(min(len(batch.ids), _PICTURES - len(panels))):
                panels.append(SheetPanel(batch.pixels_NHW3[row], labels_NHW[row], guess_NGG[row]))
        if not cells:
            raise NotApplicable("segmentation needs val images, and none could be read")
        order = np.argsort(np.array(ids))
        return np.array(ids)[order], np.array(scenes)[order], np.stack(cells)[order], panels

    def _fit(self, encoder: Encoder, seed: int, work: Work) -> tuple[Head, tuple[str, ...], dict[str, Param]]:
        """The classifier, how it came about, and the parameters as they were used."""
        import torch

        found: dict[str, tuple[npt.NDArray[np.float32], Labels]] = {}
        ignored = patches = 0
        for image in work.images("train", most=self.images):
            tokens_CT = image.dense_CHW.reshape(encoder.dim, -1)
            truth_hw = majority(categories(image.labels_HW), image.dense_CHW.shape[1:], len(work.classes) + 1)
            # By the image's name, so that the draw does not depend on the order of the images.
            rng = np.random.default_rng([seed, zlib.crc32(image.id.encode())])
            order = rng.permutation(truth_hw.size)
            chosen = order[truth_hw.ravel()[order] != IGNORED][: self.tokens_per_image]
            found[image.id] = tokens_CT[:, chosen].T, truth_hw.ravel()[chosen]
            patches, ignored = patches + truth_hw.size, ignored + int((truth_hw == IGNORED).sum())
        images = sorted(found)
        labels_T = np.concatenate([found[image][1] for image in images]) if images else np.zeros(0, np.int64)
        met_L, codes_T = np.unique(labels_T, return_inverse=True)
        if len(met_L) < 2:
            raise NotApplicable(f"segmentation needs two categories in the train split, and it has {len(met_L)}")
        x_TC = torch.from_numpy(np.concatenate([found[image][0] for image in images])).to(encoder.device)
        if not x_TC.isfinite().all():
            raise UserError("The encoder gives features that are not finite; try dtype=fp32 in its spec.")
        mean_C, scale_C = standardiser(x_TC)
        x_TC = (x_TC - mean_C) / scale_C
        image_T = np.repeat(np.array(images), [len(found[image][1]) for image in images])
        grid = work.progress(PENALTIES, f"{encoder.spec.title}: linear segmentation")
        y_T = torch.from_numpy(codes_T).to(encoder.device)
        choice = choose_C(x_TC, y_T, image_T, grid, holdout=_HOLDOUT, seed=seed)
        weight_CL = fit_logistic(x_TC, y_T, len(met_L), C=choice.C, start_DK=choice.weight_DK)
        left_out = _left_out(ignored, patches, "patches of the train images", "trained on")
        most = max(len(labels_T) for _, labels_T in found.values())
        how = f"{choice.sentence} The classifier learnt from {len(labels_T):,} tokens, at most {most} of each of {len(images)} images."
        used: dict[str, Param] = {"images": len(images), "tokens_per_image": most}
        return Head(mean_C, scale_C, weight_CL, met_L), (*left_out, how), used

    def _assumptions(self) -> tuple[str, ...]:
        return (
            f"Images are squashed to the encoder's input; at most {self.tokens_per_image} random tokens of each of at most "
            f"{self.images} train images, standardised, are labelled with the majority category of their patch, "
            "background included.",
            f"Logits are resized (bilinear, antialiased) to {self.grid} x {self.grid} cells for every encoder, and the truth "
            "of a cell is its majority category; so the ceiling of an encoder with a coarser patch grid is below 100.",
            "miou and macc are means over the categories present in the validation split's cells, background included.",
            penalties(_HOLDOUT),
        )


@dataclass(frozen=True)
class Head:
    """The trained classifier: standardise, then one linear map."""

    mean_C: torch.Tensor
    scale_C: torch.Tensor
    weight_CL: torch.Tensor
    """The intercept is the last row."""
    met_L: Labels
    """The category behind each output."""

    def guess(self, dense_NCHW: npt.NDArray[np.float32], grid: int) -> Labels:
        """The category of each of G x G cells, [N, G, G]."""
        import torch

        x_NCHW = torch.from_numpy(np.ascontiguousarray(dense_NCHW)).to(self.mean_C.device)
        x_NCHW = (x_NCHW - self.mean_C[:, None, None]) / self.scale_C[:, None, None]
        logits_NLHW = torch.einsum("nchw,cl->nlhw", x_NCHW, self.weight_CL[:-1])
        # Where the patch grid is the common grid, this changes nothing. The intercept is the same everywhere.
        cells_NLGG = torch.nn.functional.interpolate(logits_NLHW, (grid, grid), mode="bilinear", antialias=True)
        best_NGG = (cells_NLGG + self.weight_CL[-1][:, None, None]).argmax(1)
        return np.asarray(self.met_L[best_NGG.cpu().numpy()], dtype=np.int64)


def categories(labels: Labels | None) -> Labels:
    """The pixel labels of an image or a batch with background as 0, the first category as 1, and IGNORED.

    Raises:
        NotApplicable: the data set has neither regions nor label maps.
    """
    if labels is None:
        raise NotApplicable("segmentation needs boxes, masks or label maps, and this data set has none")
    return labels + 1  # of IGNORE this makes IGNORED


def judge(
    ids: tuple[str, ...], cells_N3K: npt.NDArray[np.int64], seed: int, scenes: tuple[str, ...] | None = None
) -> tuple[Scores, tuple[Metric, ...]]:
    """`miou` and `macc` in percent, over the categories that are true somewhere; one sample an image.

    Args:
        scenes: of each image, by which errors are clustered; None: each image by itself.

    Raises:
        NotApplicable: fewer than two categories are.
    """
    present_P = np.flatnonzero(cells_N3K[:, 2].sum(0))
    if len(present_P) < 2:
        raise NotApplicable("segmentation needs two categories in the val split, background included")
    right_NP, guess_NP, truth_NP = np.moveaxis(cells_N3K[:, :, present_P], 1, 0).astype(np.float64)
    union_NP = guess_NP + truth_NP - right_NP
    clusters = scenes or ids
    code_N, G = codes(clusters, len(ids))
    columns = {"miou": _per_image(right_NP, union_NP, code_N), "macc": _per_image(right_NP, truth_NP, code_N)}
    scores = Scores(sample=ids, cluster=clusters, values=columns)
    bounds = (0.0, 100.0)
    sums_G3P = np.zeros((G, 3, len(present_P)))
    np.add.at(sums_G3P, code_N, np.stack([right_NP, union_NP, truth_NP], 1))
    error = bootstrap(mean_iou, sums_G3P, bounds=bounds, seed=seed)
    miou = metric_of(scores, "miou", unit="%", better="higher", ceiling=100.0, bounds=bounds)
    by = "image" if len(ids) == G else "scene"
    method = error.method.replace("clusters", f"{by}s").replace("one cluster", f"one {by}")
    miou = miou.model_copy(update={"stderr": error.stderr, "ci95": error.ci95, "method": method})
    chance = 100.0 / len(present_P)
    levels = {"chance": chance, "ceiling": 100.0}
    macc = metric_of(scores, "macc", unit="%", better="higher", **levels, bounds=bounds, by=by)
    return scores, (miou, macc)


def mean_iou(sums_R3P: Floats) -> Floats:
    """Percent, from sums of right, union and true cells [R, 3, P]; a category that a resample lacks is left out."""
    right_RP, union_RP, truth_RP = np.moveaxis(sums_R3P, 1, 0)
    iou_RP = 100 * right_RP / np.maximum(union_RP, 1)
    return np.asarray(iou_RP.sum(1) / (truth_RP > 0).sum(1), dtype=np.float64)


def by_category(classes: tuple[str, ...], cells_N3K: npt.NDArray[np.int64]) -> dict[str, object]:
    """IoU and accuracy in percent of each category that is true somewhere, and its true cells."""
    right_K, guess_K, truth_K = cells_N3K.sum(0)
    return {
        "categories": [
            {
                "name": ("background", *classes)[k],
                "iou": 100 * float(right_K[k] / (guess_K[k] + truth_K[k] - right_K[k])),
                "accuracy": 100 * float(right_K[k] / truth_K[k]),
                "cells": int(truth_K[k]),
            }
            for k in np.flatnonzero(truth_K)
        ]
    }


def _left_out(n: int, of: int, what: str, done: str) -> tuple[str, ...]:
    """What was ignored, in words."""
    if not n:
        return ()
    return (
        f"{n} of {of} {what} hold more pixels of a crowd region, or left open by a label map, than of any category, so they are "
        f"not {done}: those are neither object nor background. Smaller objects and crowds lie on top of larger ones.",
    )


def _per_image(num_NP: Floats, den_NP: Floats, code_N: npt.NDArray[np.int64]) -> tuple[float, ...]:
    row, group = np.nonzero(den_NP)
    num, den = 100 * num_NP[row, group], den_NP[row, group]
    _, values_N = mean_of_ratios(num, den, group_E=group, row_E=row, cluster_E=code_N[row])
    return tuple(values_N.tolist())
