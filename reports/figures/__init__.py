"""Figures: plain values in, PNG or SVG bytes out. The same values give the same bytes on one matplotlib version."""

from reports.figures.detection import precision_recall_figure, training_figure
from reports.figures.detection_ap import category_figure, suite_figure
from reports.figures.distances import token_distance_figure
from reports.figures.sphere import sphere_figure
from reports.figures.study import Panel, Point, study_figure

__all__ = [
    "Panel",
    "Point",
    "category_figure",
    "precision_recall_figure",
    "sphere_figure",
    "study_figure",
    "suite_figure",
    "token_distance_figure",
    "training_figure",
]
