"""Figures: plain values in, PNG or SVG bytes out. The same values give the same bytes on one matplotlib version."""

from reports.figures.distances import token_distance_figure
from reports.figures.sphere import sphere_figure

__all__ = ["sphere_figure", "token_distance_figure"]
