"""Pseudo-words of two-letter syllables: text whose labels are the syllables, so that reading is a multi-label task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SYLLABLES = tuple(f"{consonant}{vowel}" for consonant in "bdfgklmn" for vowel in "aio")
"""24, so chance is 1 in 24."""


@dataclass(frozen=True)
class Word:
    """A word that can be read in a scene."""

    text: str
    box_xywh: tuple[int, int, int, int]
    """Around its ink, the part that an object hides included."""
    edges: tuple[float, ...] = ()
    """x in pixels where each syllable begins, and where the last one ends."""

    @property
    def syllables(self) -> tuple[tuple[str, tuple[float, float, float, float]], ...]:
        """Each syllable with its box (x, y, width, height), as wide as the font sets it and as high as the word."""
        _, y, _, h = self.box_xywh
        spans = zip(self.edges, self.edges[1:], strict=False)
        return tuple((self.text[2 * k : 2 * k + 2], (x, y, end - x, h)) for k, (x, end) in enumerate(spans))


def draw_word(rng: np.random.Generator) -> str:
    """Two or three syllables, each equally likely."""
    return "".join(SYLLABLES[k] for k in rng.integers(len(SYLLABLES), size=rng.integers(2, 4)))
