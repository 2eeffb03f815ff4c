"""tokens.json as the probe `tokens` leaves it: the part of it that figures read, checked before anything is drawn."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from reports.figures.bodies import FigureInput

Finite = Annotated[float, Field(allow_inf_nan=False)]


class Distances(FigureInput):
    """A histogram of cosine distances between the tokens of one image."""

    edges: tuple[Finite, ...] = Field(min_length=2)
    counts: tuple[Annotated[int, Field(ge=0)], ...]
    mean: Finite
    median: Finite
    images: int

    @model_validator(mode="after")
    def _agree(self) -> Distances:
        if len(self.edges) != len(self.counts) + 1 or not sum(self.counts):
            raise ValueError("edges and counts do not agree, or all counts are zero")
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must rise")
        return self


class Layout(FigureInput):
    """Objects on the unit sphere. `labels` index `classes`."""

    points: tuple[tuple[Finite, Finite, Finite], ...] = Field(min_length=1)
    labels: tuple[Annotated[int, Field(ge=0)], ...]
    classes: tuple[str, ...]
    neighbours: int
    trustworthiness: Finite
    purity: Finite
    purity_chance: Finite

    @model_validator(mode="after")
    def _agree(self) -> Layout:
        if len(self.labels) != len(self.points) or max(self.labels) >= len(self.classes):
            raise ValueError("points, labels and classes do not agree")
        return self


class TokensJson(FigureInput):
    distances: Distances
    tsne: Layout | None = None
