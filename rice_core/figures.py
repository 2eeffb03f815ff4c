"""Figures that any probe may leave beside its record: what their JSON holds, checked when it is put.

An artifact names the type of its figure (`work.artifact_json("loss.json", body, figure="lines", title=..., caption=...)`); a report
draws the artifacts of one name and type of all encoders together. Every axis says what it shows, and in which unit. A type that is
not here is drawn by whoever brings it (the entry points `ricebench.figures`), and is checked there.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from rice_core.errors import UserError, first_fault
from rice_core.record import Artifact
from rice_core.spec import Frozen

_Words = Annotated[str, Field(max_length=200)]
_MOST = 20_000
_Row = Annotated[tuple[float | None, ...], Field(max_length=_MOST)]
"""None where there is no number: a gap, and never a zero."""
_Count = Annotated[float, Field(ge=0)]


class Axis(Frozen):
    """What is shown along one direction."""

    label: str = Field(min_length=1, max_length=200)
    unit: _Words = ""
    log: bool = False

    @property
    def words(self) -> str:
        """Label and unit, as they stand along the axis."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def check(self, row: tuple[float | None, ...]) -> None:
        if self.log and any(value is not None and value <= 0 for value in row):
            raise ValueError(f"the axis {self.label!r} is logarithmic, and a value is not above 0")


class Series(Frozen):
    """Some points of one kind."""

    label: _Words = ""
    x: Annotated[tuple[float, ...], Field(min_length=1, max_length=_MOST)]
    y: _Row


class Lines(Frozen):
    """`lines`: y over x, the points of a series joined in the order given."""

    x: Axis
    y: Axis
    series: tuple[Series, ...] = Field(min_length=1, max_length=40)

    @model_validator(mode="after")
    def _agree(self) -> Lines:
        for each in self.series:
            if len(each.x) != len(each.y):
                raise ValueError(f"series {each.label!r} has {len(each.x)} x for {len(each.y)} y")
            self.x.check(each.x)
            self.y.check(each.y)
        return self


class Scatter(Lines):
    """`scatter`: the same without the lines."""


class Measured(Frozen):
    """One value a category or bin."""

    label: _Words = ""
    values: _Row
    errors: _Row = ()
    """Standard errors; none where it is empty."""
    intervals: Annotated[tuple[tuple[float, float] | None, ...], Field(max_length=_MOST)] = ()
    """95 % intervals in their place."""


class Bars(Frozen):
    """`bars`: a value a category, from 0."""

    x: Axis
    """What the categories are."""
    y: Axis
    categories: tuple[_Words, ...] = Field(min_length=1, max_length=200)
    series: tuple[Measured, ...] = Field(min_length=1, max_length=40)

    @model_validator(mode="after")
    def _agree(self) -> Bars:
        if self.x.log or self.y.log:
            raise ValueError("bars begin at 0, which no logarithmic axis has")
        for each in self.series:
            if not len(each.values) == len(self.categories) == (len(each.errors) or len(self.categories)):
                raise ValueError(
                    f"series {each.label!r} has {len(each.values)} values for {len(self.categories)} categories"
                )
            if each.intervals and (each.errors or len(each.intervals) != len(each.values)):
                raise ValueError(f"series {each.label!r} needs an interval a value, and then no errors")
        return self


class Counts(Frozen):
    """How many things lie in each bin."""

    label: _Words = ""
    counts: Annotated[tuple[_Count, ...], Field(max_length=_MOST)]


class Histogram(Frozen):
    """`histogram`: counts between edges, drawn as the share of each series that lies in a bin."""

    x: Axis
    edges: Annotated[tuple[float, ...], Field(min_length=2, max_length=_MOST)]
    series: tuple[Counts, ...] = Field(min_length=1, max_length=40)

    @model_validator(mode="after")
    def _agree(self) -> Histogram:
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must rise")
        for each in self.series:
            if len(each.counts) != len(self.edges) - 1 or not sum(each.counts):
                raise ValueError(f"series {each.label!r} needs {len(self.edges) - 1} counts, and one above 0")
        self.x.check(self.edges)
        return self


class Heatmap(Frozen):
    """`heatmap`: a value a cell."""

    x: Axis
    y: Axis
    value: Axis
    columns: tuple[_Words, ...] = Field(min_length=1, max_length=400)
    rows: tuple[_Words, ...] = Field(min_length=1, max_length=400)
    values: tuple[_Row, ...]
    """By row, the first on top."""

    @model_validator(mode="after")
    def _agree(self) -> Heatmap:
        if self.x.log or self.y.log or self.value.log:
            raise ValueError("a heatmap has no logarithmic axis")
        if len(self.values) != len(self.rows) or any(len(row) != len(self.columns) for row in self.values):
            raise ValueError(f"values must be {len(self.rows)} rows of {len(self.columns)}")
        return self


class Listing(Frozen):
    """`table`: rows below columns, as they are."""

    columns: tuple[Axis, ...] = Field(min_length=1, max_length=40)
    rows: tuple[tuple[str | int | float | None, ...], ...] = Field(max_length=2_000)

    @model_validator(mode="after")
    def _agree(self) -> Listing:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"a row must have {len(self.columns)} entries, one a column")
        return self


class ShownAnswer(Frozen):
    """A question about a picture, and what was answered."""

    id: str = Field(min_length=1, max_length=200)
    """The same for every encoder that was asked."""
    question: str = Field(max_length=4_000)
    target: str = Field(max_length=4_000)
    """What is right, as it is to be read."""
    answer: str = Field(max_length=4_000)
    value: float | None = Field(default=None, ge=0, le=1)
    """How right the answer is: 0 wrong, 1 right; None where that is not known of one question."""
    kind: _Words = ""
    """Of the question."""
    picture: str = Field(default="", max_length=400_000)
    """WebP as base64; empty for none."""

    @model_validator(mode="after")
    def _of_webp(self) -> ShownAnswer:
        try:
            data = base64.b64decode(self.picture, validate=True)
        except binascii.Error:
            data = b"?"
        if data and not (data[:4] == b"RIFF" and data[8:12] == b"WEBP"):
            raise ValueError(f"the picture of {self.id} is no WebP in base64")
        return self


class Examples(Frozen):
    """`examples`: questions, chosen in a way that no answer has a part in, since the encoders' answers stand side by side."""

    questions: tuple[ShownAnswer, ...] = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _apart(self) -> Examples:
        if len({each.id for each in self.questions}) < len(self.questions):
            raise ValueError("two questions share an id")
        return self


BODIES: dict[str, type[Frozen]] = {
    "lines": Lines,
    "scatter": Scatter,
    "bars": Bars,
    "histogram": Histogram,
    "heatmap": Heatmap,
    "table": Listing,
    "examples": Examples,
}
IMAGES = ("image", "wide-image")
"""Types of pictures: of several encoders they stand side by side, or below each other."""


def training_lines(curve: Sequence[Mapping[str, float]], label: str, losses: Sequence[str]) -> dict[str, Any]:
    """The body of "lines" for the curve that a training left (`rice_core.stage.Trained.curve`).

    Args:
        label: of the losses' axis. losses: keys of the curve's points, a line each.
    """
    steps = [point["step"] for point in curve]
    series = [{"label": key, "x": steps, "y": [point[key] for point in curve]} for key in losses]
    return {"x": {"label": "step"}, "y": {"label": label}, "series": series}


def check(artifact: Artifact, data: bytes) -> None:
    """Refuse an artifact that is not what its type of figure says.

    Raises:
        UserError: the sentence names the artifact and the first thing that is wrong.
    """
    name, figure = artifact.name, artifact.figure
    wanted = ("png", "webp") if figure in IMAGES else ("json",) if figure else (artifact.kind,)
    if artifact.kind not in wanted:
        raise UserError(f"{name} cannot be a figure {figure!r}: that is a .{' or .'.join(wanted)} file; name it so.")
    if figure in BODIES:
        try:
            BODIES[figure].model_validate_json(data)
        except ValidationError as error:
            raise UserError(f"{name} is no figure {figure!r}: {first_fault(error)}; see rice_core.figures.") from None
