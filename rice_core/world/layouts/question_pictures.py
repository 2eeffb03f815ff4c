"""The pictures that one table of the miniature benchmarks asks about."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rice_core.world.asking import AskedKind, PlainQuestion, ask
from rice_core.world.layouts.folder import encode
from rice_core.world.plain import PlainScene, draw_plain

Rows = list[dict[str, Any]]
_APART = 10_000_000
"""Between the first pictures of two tables, and before the first table's: no picture is in two, and none was learnt from."""
_SALT = 0x51


@dataclass(frozen=True)
class AskedPicture:
    """One picture and its file."""

    number: int
    scene: PlainScene
    data: bytes


class AskedPictures:
    """The pictures of one table, one after another, and its generator."""

    def __init__(self, seed: int, table: int, size: int) -> None:
        self.rng = np.random.Generator(np.random.PCG64([seed, table, _SALT]))
        self.digest = hashlib.sha256()
        """Of what was drawn."""
        self.size = size
        self._seed, self._first, self._drawn = seed, (table + 1) * _APART, 0

    def next(self) -> AskedPicture:
        scene = draw_plain(self._seed, self._first + self._drawn, size=self.size)
        self._drawn += 1
        self.digest.update(scene.pixels_HW3.tobytes())
        return AskedPicture(self._drawn, scene, encode(scene.pixels_HW3, ".png"))

    def asked(
        self, kinds: Sequence[AskedKind], count: int, each: int = 1
    ) -> Iterator[tuple[int, AskedPicture, PlainQuestion]]:
        """Questions of these kinds in turn, with their numbers.

        Args:
            each: questions a picture.
        """
        picture = None
        for k in range(count):
            picture = picture if picture and k % each else self.next()
            yield k, picture, ask(picture.scene, kinds[k % len(kinds)], self.rng)
