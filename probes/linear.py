"""Linear classification of pooled patch features: what a hyperplane can read out.

Letters: N items, D channels, K classes of the train split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from pydantic import Field

from probes.classify import BEST, ItemProbe, outcome
from probes.logistic import PENALTIES, choose_C, fit_logistic, logits, penalties, standardiser
from rice_core.record import Outcome

if TYPE_CHECKING:
    from rice_core.features import Encoder
    from rice_core.probe import Work


@dataclass(frozen=True)
class Linear(ItemProbe):
    """Multinomial logistic regression; C from a grid on held-out train images, then a fit on all of train."""

    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the train images that choose C."""

    name: ClassVar[str] = "linear"
    summary: ClassVar[str] = "linear classification of pooled object (or image) features"
    instruments: ClassVar[tuple[str, ...]] = ("torch", "scipy")

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        """See `rice_core.probe.Probe`. The seed divides the train images into those that fit and those that choose C."""
        import torch

        train, val = self.split(work, encoder)
        classes_K, codes_N = np.unique(train.y_N, return_inverse=True)
        x_ND, val_MD = (torch.from_numpy(split.x_NC).to(encoder.device) for split in (train, val))
        mean_D, scale_D = standardiser(x_ND)
        x_ND, val_MD = (x_ND - mean_D) / scale_D, (val_MD - mean_D) / scale_D
        y_N = torch.from_numpy(codes_N).to(encoder.device)
        grid = work.progress(PENALTIES, f"{encoder.spec.title}: linear probe")
        choice = choose_C(x_ND, y_N, np.array(train.clusters), grid, holdout=self.holdout, seed=seed)
        weight_DK = fit_logistic(x_ND, y_N, len(classes_K), C=choice.C, start_DK=choice.weight_DK)
        # Five of five classes are no guess.
        best = BEST if len(classes_K) > BEST else 1
        order_MK = logits(val_MD, weight_DK).sort(dim=1, descending=True, stable=True).indices
        ranked_MR = classes_K[order_MK[:, :best].cpu().numpy()]
        used = {} if choice.held_out else {"holdout": 0.0}
        said = (
            "Unit vectors are standardised feature by feature with the train split's mean and deviation; "
            f"{penalties(self.holdout)}"
        )
        return outcome(ranked_MR, val, self.pooling, (said, choice.sentence), used)
