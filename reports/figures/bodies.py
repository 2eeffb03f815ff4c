"""The JSON artifacts that figures are drawn from, checked before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from rice_core.errors import UserError, first_fault


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
