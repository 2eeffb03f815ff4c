"""Which figures can be drawn: the one table from a type that an artifact declares to what draws it.

What draws takes title of an encoder -> body of its artifact, and gives the PNG (or a `reports.table.Table`, or an `ExampleSheet`). Other packages add types by
the entry points `ricebench.figures`. A title and a caption that the artifact itself declares come before those of this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any

from reports.figures.examples import ExampleSheet
from reports.table import Table
from rice_core.errors import UserError, did_you_mean
from rice_core.figures import BODIES


@dataclass(frozen=True)
class Drawing:
    """One figure of an artifact."""

    name: str
    """Of the file."""
    function: str
    """`module:function`; imported when something is drawn."""
    title: str = ""
    caption: str = ""
    part: str = ""
    """Of the body; an encoder without it is left out."""

    def __call__(self, bodies: Mapping[str, Any]) -> bytes | Table | ExampleSheet:
        drawn: bytes | Table | ExampleSheet = resolve_name(self.function)(bodies)
        return drawn


_OURS = {
    "tokens": (
        Drawing(
            "distances",
            "reports.figures:token_distance_figure",
            "How far apart the tokens of one image are",
            "Distribution of 1 − cosine over pairs of patch tokens of one image (the paper’s Figure 4). A larger distance is no"
            " merit by itself: noise has the largest.",
            part="distances",
        ),
        Drawing(
            "tsne",
            "reports.figures:sphere_figure",
            "Objects on a sphere",
            "t-SNE of object features on the sphere itself (the paper’s Figure 1), one colour a category. Trustworthiness says"
            " how far the map may be believed; it describes the map, not the encoder.",
            part="tsne",
        ),
    ),
    "detection-ap": (
        Drawing(
            "precision",
            "reports.figures:precision_recall_figure",
            "Precision by recall",
            "Detections are ordered by score; a curve is the mean over categories at one IoU, or over ten from 0.50 to 0.95."
            " The area under it is the AP beside the name. First finished seed of each encoder.",
        ),
        Drawing(
            "categories",
            "reports.figures:category_figure",
            "AP by category",
            "Mean over IoU 0.50 to 0.95, in the order of the encoder that is best on the whole. A category of few objects has a"
            " large error that is not drawn; where dots coincide the first encoder is on top. Beyond 60 categories a strip counts them by AP, in steps of 5; heights are the"
            " square root of the number.",
        ),
    ),
    "suite-ap": (
        Drawing(
            "datasets",
            "reports.figures:suite_figure",
            "AP by data set",
            "Box AP of one detector a data set, by domain, in the order of the encoder that is best on the whole. A data set"
            " that could not be trained or judged has no dot; where dots coincide the first encoder is on top.",
        ),
    ),
    "examples": (Drawing("examples", "reports.figures.examples:examples", "Questions and answers"),),
    "detector-loss": (
        Drawing(
            "training",
            "reports.figures:training_figure",
            "Loss of the detector in training",
            "The sum of all losses, smoothed over a fiftieth of the training; pale lines, where there are few encoders, are"
            " the losses as they were. A lower loss in training is no better detector.",
        ),
        Drawing(
            "losses",
            "reports.figures:losses_figure",
            "The detector’s losses one by one",
            "What the sum is made of, by iteration: of the proposals, of each stage of the cascade, and of the masks where they are learnt. Each panel has a"
            " scale of its own.",
        ),
    ),
}
_GENERIC = {name: (Drawing(name, f"reports.figures.generic:{name}"),) for name in BODIES}


def drawings(figure: str) -> tuple[Drawing, ...]:
    """What is drawn of artifacts of a type.

    Raises:
        UserError: nothing that is installed draws it.
    """
    if figure in _OURS or figure in _GENERIC:
        return _OURS.get(figure) or _GENERIC[figure]
    others = {point.name: point for point in entry_points(group="ricebench.figures")}
    if figure not in others:
        near = did_you_mean(figure, [*_OURS, *_GENERIC, *others])
        raise UserError(f"nothing here draws {figure!r}; {near}install the package that does.")
    return (Drawing(figure, others[figure].value),)
