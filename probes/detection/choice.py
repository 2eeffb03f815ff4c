"""A rate that was chosen on a held-out part of train: what a search leaves, and the detector's training goes on from."""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import Field

from rice_core.spec import Frozen

RATES_JSON = "rates.json"


class RateChoice(Frozen):
    """What came of each rate, and which won."""

    factors: tuple[float, ...] = Field(min_length=1)
    """Of the recipe's rate, ascending."""
    rate: float
    """The recipe's."""
    ap: tuple[float | None, ...]
    """Box AP of each on the held-out part, percent; None where the training diverged."""
    held_out: int
    """Images."""
    scenes: int
    """That they are of; no scene is on both sides."""
    learnt: int
    """Images that the heads of the search were trained on."""

    @property
    def factor(self) -> float:
        """The best one's; of equals the one that is nearest to the recipe's."""
        order = sorted(zip(self.factors, self.ap, strict=True), key=lambda each: abs(math.log(each[0])))
        return max(order, key=lambda each: -1.0 if each[1] is None else each[1])[0]

    @property
    def sentence(self) -> str:
        """For the record."""
        came = ", ".join(
            f"{self.rate * factor:.3g}: {'diverged' if ap is None else format(ap, '.1f')}"
            for factor, ap in zip(self.factors, self.ap, strict=True)
        )
        return (
            f"The rate {self.rate * self.factor:.3g} was chosen among {len(self.factors)} by the box AP on {self.held_out} train images of "
            f"{self.scenes} scenes that were held out ({came}), after trainings as long on the other {self.learnt}; the detector was then "
            "trained on all of train."
        )


def read_choice(folder: Path) -> RateChoice | None:
    """What the training in a folder was told; None where its rate was the recipe's."""
    path = folder / RATES_JSON
    return RateChoice.model_validate_json(path.read_bytes()) if path.is_file() else None
