"""Pseudo-words of two-letter syllables: text whose labels are the syllables, so that reading is a multi-label task."""

from __future__ import annotations

import numpy as np

SYLLABLES = tuple(f"{consonant}{vowel}" for consonant in "bdfgklmn" for vowel in "aio")
"""24, so chance is 1 in 24."""


def draw_word(rng: np.random.Generator) -> str:
    """Two or three syllables, each equally likely."""
    return "".join(SYLLABLES[k] for k in rng.integers(len(SYLLABLES), size=rng.integers(2, 4)))
