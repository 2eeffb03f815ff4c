"""Bundle: what is kept of a few images together, as one file of the feature cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Bundle:
    """Arrays of some images, and what is not an array (ids left out, with reasons)."""

    arrays: Arrays
    notes: dict[str, Any]
