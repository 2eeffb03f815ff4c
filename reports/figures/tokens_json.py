"""tokens.json as the probe `tokens` leaves it: the part of it that figures read, checked before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rice_core.errors import UserError

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # The probe may come to write more than a figure reads.


class Distances(_Part):
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


class Layout(_Part):
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


class TokensJson(_Part):
    distances: Distances
    tsne: Layout | None = None


def read_all(bodies: Mapping[str, Any]) -> dict[str, TokensJson]:
    """Title -> the checked body, in the given order.

    Raises:
        UserError: a body that is not what the probe writes; the message names the title.
        ValueError: nothing given.
    """
    if not bodies:
        raise ValueError("a figure needs at least one encoder")
    found = {}
    for title, body in bodies.items():
        try:
            found[title] = TokensJson.model_validate(body)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise UserError(
                f"tokens.json of {title!r} cannot be drawn ({where}: {first['msg']}); "
                "measure it again with ricebench run --probes tokens --only all."
            ) from None
    return found
