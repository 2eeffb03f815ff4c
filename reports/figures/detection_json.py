"""NAME-ap.json, NAME-training.json and SUITE-det.json as detection probes leave them: the part that figures read, checked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reports.figures.bodies import FigureInput

Percent = Annotated[float, Field(ge=0, le=100.001, allow_inf_nan=False)]
"""A hair above 100 is rounding."""
Count = Annotated[int, Field(ge=0, le=10**12)]
Curve = Annotated[tuple[Percent | None, ...], Field(min_length=101, max_length=101)]
Frequency = Literal["r", "c", "f"]
Loss = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


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
