"""The JSON artifacts that figures are drawn from: the parts of them that are read, checked before anything is drawn.

tokens.json as the probe `tokens` leaves it; NAME-ap.json, NAME-training.json and SUITE-det.json as detection probes do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rice_core.errors import UserError, first_fault

Finite = Annotated[float, Field(allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100.001, allow_inf_nan=False)]
"""A hair above 100 is rounding."""
Count = Annotated[int, Field(ge=0, le=10**12)]
Curve = Annotated[tuple[Percent | None, ...], Field(min_length=101, max_length=101)]
Frequency = Literal["r", "c", "f"]
Loss = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class FigureInput(BaseModel):
    """What a figure reads; the probe may come to write more."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


Body = TypeVar("Body", bound=BaseModel)


def read_all(bodies: Mapping[str, Any], model: type[Body], file: str) -> dict[str, Body]:
    """Title -> the checked body, in the given order.

    Args:
        file: how the message calls it.

    Raises:
        UserError: a body that is not what the probe writes; the message names the title.
        ValueError: nothing given.
    """
    if not bodies:
        raise ValueError("a figure needs at least one encoder")
    found = {}
    for title, body in bodies.items():
        try:
            found[title] = model.model_validate(body)
        except ValidationError as error:
            raise UserError(
                f"{file} of {title!r} cannot be drawn ({first_fault(error)}); measure it again with ricebench run --only all."
            ) from None
    return found


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


class Precision(FigureInput):
    """Percent at recall 0, 0.01, ... 1, the mean over categories, by IoU; None where nothing defines it."""

    at_50: Curve = Field(alias="0.50")
    at_75: Curve = Field(alias="0.75")
    mean: Curve = Field(alias="0.50:0.95")


class CategoryAp(FigureInput):
    name: str
    frequency: Frequency | None = None
    """LVIS's: rare, common, frequent."""
    ap: Percent | None
    objects: Count


class KindAp(FigureInput):
    precision: Precision
    categories: tuple[CategoryAp, ...] = Field(max_length=20_000)


class Kinds(FigureInput):
    box: KindAp
    mask: KindAp | None = None


class ApJson(FigureInput):
    kinds: Kinds


class Step(FigureInput):
    iteration: Loss
    loss: Loss
    """The sum of all."""
    parts: dict[str, Loss] = Field({}, max_length=30)
    """Each by its name, as detectron2 calls it."""

    @model_validator(mode="before")
    @classmethod
    def _gathered(cls, body: Any) -> Any:
        if not isinstance(body, Mapping):
            return body
        return {**body, "parts": {name: value for name, value in body.items() if str(name).startswith("loss_")}}


class TrainingJson(FigureInput):
    curve: tuple[Step, ...] = Field(min_length=1, max_length=10_000)


class DataSetAp(FigureInput):
    """One data set of a suite."""

    name: str
    domain: str
    ap: Percent | None
    """None where it could not be trained or judged."""
    judged: Count | None = None
    """Images."""


class SuiteJson(FigureInput):
    parts: tuple[DataSetAp, ...] = Field(min_length=1, max_length=400)
