"""NAME-ap.json, NAME-training.json and SUITE-det.json as detection probes leave them: the part that figures read, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rice_core.errors import UserError

Percent = Annotated[float, Field(ge=0, le=100.001, allow_inf_nan=False)]
"""A hair above 100 is rounding."""
Count = Annotated[int, Field(ge=0, le=10**12)]
Curve = Annotated[tuple[Percent | None, ...], Field(min_length=101, max_length=101)]
Frequency = Literal["r", "c", "f"]
Loss = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class _Part(BaseModel):
    # The probe may come to write more than a figure reads.
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Precision(_Part):
    """Percent at recall 0, 0.01, ... 1, the mean over categories, by IoU; None where nothing defines it."""

    at_50: Curve = Field(alias="0.50")
    at_75: Curve = Field(alias="0.75")
    mean: Curve = Field(alias="0.50:0.95")


class CategoryAp(_Part):
    name: str
    frequency: Frequency | None = None
    """LVIS's: rare, common, frequent."""
    ap: Percent | None
    objects: Count


class Kind(_Part):
    precision: Precision
    categories: tuple[CategoryAp, ...] = Field(max_length=20_000)


class Kinds(_Part):
    box: Kind
    mask: Kind | None = None


class ApJson(_Part):
    kinds: Kinds


class Step(_Part):
    iteration: Loss
    loss: Loss
    """The sum of all."""


class TrainingJson(_Part):
    curve: tuple[Step, ...] = Field(min_length=1, max_length=10_000)


class DataSetAp(_Part):
    """One data set of a suite."""

    name: str
    domain: str
    ap: Percent | None
    """None where it could not be trained or judged."""
    judged: Count | None = None
    """Images."""


class SuiteJson(_Part):
    parts: tuple[DataSetAp, ...] = Field(min_length=1, max_length=400)


Body = TypeVar("Body", bound=_Part)


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
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise UserError(
                f"{file} of {title!r} cannot be drawn ({where}: {first['msg']}); "
                "measure it again with ricebench run --only all."
            ) from None
    return found
