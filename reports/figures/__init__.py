"""Figures: plain values in, PNG or SVG bytes out. The same values give the same bytes on one matplotlib version.

Those of artifacts take `bodies`: title of an encoder -> what its file holds, in the order of the legend. They raise a `UserError`
that names the encoder whose body is not what the probe writes, and a `ValueError` where there is no body at all.
"""

from reports.figures.detection import precision_recall_figure
from reports.figures.detection_ap import category_figure, suite_figure
from reports.figures.detection_losses import losses_figure, training_figure
from reports.figures.distances import token_distance_figure
from reports.figures.sphere import sphere_figure
from reports.figures.study import Panel, Point, study_figure

__all__ = [
    "Panel",
    "Point",
    "category_figure",
    "losses_figure",
    "precision_recall_figure",
    "sphere_figure",
    "study_figure",
    "suite_figure",
    "token_distance_figure",
    "training_figure",
]
