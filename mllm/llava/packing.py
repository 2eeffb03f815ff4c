"""LLaVA-NeXT's pictures: which tiles one is cut into, and how the tokens of the tiles become one sequence.

Anyres (2x2+1), LLaVA-NeXT's: the whole picture in one tile, then a grid of tiles of it, resized and padded to the grid that wastes least. The tokens of
padding are taken away again, and each row of the grid that is left ends with the learnt token `image_newline`.
OneVision (anyres_max_9), LLaVA-OneVision's: grids up to 6x6, whose tokens are resized where they are more than those of nine tiles; of
several pictures in one conversation each is a single tile.

What differs between LLaVA's code and transformers', and what is done here:

    order of grids      LLaVA's, by which ties are broken; `pinpoints` writes transformers' pairs (height first) of the same order
    unpadding           transformers': rounded at 7 decimals before it is cut to a whole number; LLaVA cuts (110x176 at 336/14: 976, not 926)
    range syntax        none: any tile and any patch, and no falling back to 2x2

Shapes: K tiles, the base tile first, S pixels along a tile, T = g * g tokens of a tile, C channels, N tokens of the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms.v2 import functional as tvF
from torchvision.transforms.v2.functional import InterpolationMode

from mllm.llava.recipe import Resize
from rice_core.encoders.preprocess import PixelRecipe, Preprocess
from rice_core.errors import UserError
from rice_core.images import rgb_pixels
from rice_core.spec import Interpolation

GRIDS = ((2, 1), (1, 2), (2, 2), (1, 3), (3, 1))
"""Rows and columns of tiles, in the order of LLaVA's (S,2S) (2S,S) (2S,2S) (3S,S) (S,3S), which are width and height."""

_SIX = range(1, 7)
_TOO_MANY = 1.1
"""Times as many tokens along a side as there may be, from which on they are resized."""
_MODES: dict[Interpolation, InterpolationMode] = {
    "nearest": InterpolationMode.NEAREST_EXACT,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "lanczos": InterpolationMode.LANCZOS,
}


@dataclass(frozen=True)
class TilePlan:
    """What becomes of one picture's tiles."""

    grid: int
    """g: tokens along a side of a tile."""
    rows: int = 0
    """Of tiles beside the base tile; 0: there is no other, and no newline either."""
    columns: int = 0
    top: int = 0
    """Rows of tokens that are padding, as many at the bottom."""
    left: int = 0
    """Columns of tokens that are padding, as many at the right."""
    most: int = 0
    """Tiles whose tokens the grid may have as many of; where it has over a fifth more, they are resized to that. 0: any number."""
    ends: bool = False
    """Whether a single tile ends with a newline."""

    @property
    def tiles(self) -> int:
        """K."""
        return 1 + self.rows * self.columns

    @property
    def tokens(self) -> int:
        """N."""
        height, width = self._shown
        return self.grid**2 + (height * (width + 1) if self.rows else int(self.ends))

    def pack(self, tiles_KTC: torch.Tensor, newline_C: torch.Tensor) -> torch.Tensor:
        """Projected tokens of the tiles -> the sequence [N, C] that the language model reads."""
        base_TC, grid_KTC = tiles_KTC[0], tiles_KTC[1:]
        if not self.rows:
            return torch.cat([base_TC, newline_C[None].to(base_TC.dtype)]) if self.ends else base_TC
        height, width = self.rows * self.grid, self.columns * self.grid
        in_tiles = grid_KTC.reshape(self.rows, self.columns, self.grid, self.grid, -1)
        map_hwC = in_tiles.transpose(1, 2).reshape(height, width, -1)
        kept_hwC = map_hwC[self.top : height - self.top, self.left : width - self.left]
        if self._shown != kept_hwC.shape[:2]:
            resized_1Chw = F.interpolate(kept_hwC.permute(2, 0, 1)[None], self._shown, mode="bilinear")
            kept_hwC = resized_1Chw[0].permute(1, 2, 0)
        newlines_h1C = newline_C.expand(kept_hwC.shape[0], 1, -1)
        return torch.cat([base_TC, torch.cat([kept_hwC, newlines_h1C], dim=1).flatten(0, 1)])

    @property
    def _shown(self) -> tuple[int, int]:
        """Height and width of the grid in tokens, without padding."""
        height, width = self.rows * self.grid - 2 * self.top, self.columns * self.grid - 2 * self.left
        times = math.sqrt(height * width / (self.most * self.grid**2)) if self.most else 0.0
        return (int(height // times), int(width // times)) if times > _TOO_MANY else (height, width)


@dataclass(frozen=True)
class Anyres:
    """2x2+1 of tiles of S pixels, for a patch that need not divide S: what is left over is seen by no token."""

    side: int
    """S."""
    patch: int

    grids: ClassVar[tuple[tuple[int, int], ...]] = GRIDS
    most: ClassVar[int] = 0
    """See `TilePlan`."""

    def __post_init__(self) -> None:
        _check(self.side, self.patch)

    def among(self, pictures: int) -> Anyres | Square:
        """How each is cut of that many in one conversation."""
        return self

    @property
    def pinpoints(self) -> list[list[int]]:
        """`image_grid_pinpoints` of transformers (height, width) that choose as this does."""
        return [[rows * self.side, columns * self.side] for rows, columns in self.grids]

    def plan(self, height: int, width: int) -> TilePlan:
        """Of a picture of that many pixels."""
        rows, columns = self._best(height, width)
        g = self.side // self.patch
        top = left = 0
        if width / height > columns / rows:
            top = (rows * g - _rounded(height * (columns * g / width))) // 2
        else:
            left = (columns * g - _rounded(width * (rows * g / height))) // 2
        return TilePlan(g, rows, columns, top, left, self.most)

    def tiles(self, image: Image.Image, recipe: PixelRecipe) -> torch.Tensor:
        """A picture -> [K, 3, S, S] in the model space of `recipe`: the base tile, then the grid's by rows, padded with black.

        Raises:
            ImageError: of unknown value range.
        """
        pixels_3HW = tvF.pil_to_tensor(rgb_pixels(image))
        height, width = pixels_3HW.shape[1:]
        rows, columns = self._best(height, width)
        padded_3HW = self._padded(pixels_3HW, rows * self.side, columns * self.side, recipe.interpolation)
        tiles = padded_3HW.reshape(3, rows, self.side, columns, self.side).permute(1, 3, 0, 2, 4).flatten(0, 1)
        # The base tile shows all of the picture, its aspect ratio lost.
        base = _resized(pixels_3HW, self.side, self.side, recipe.interpolation)
        mean, std = (torch.tensor(value)[:, None, None] * 255 for value in (recipe.mean, recipe.std))
        return (torch.cat([base[None], tiles]).float() - mean) / std

    def _best(self, height: int, width: int) -> tuple[int, int]:
        """The grid that keeps most pixels, and of those the one that wastes least; the first of equals."""
        best, most, least = self.grids[0], 0, math.inf
        for rows, columns in self.grids:
            tall, wide = rows * self.side, columns * self.side
            scale = min(wide / width, tall / height)
            kept = min(int(width * scale) * int(height * scale), width * height)
            wasted = tall * wide - kept
            if kept > most or (kept == most and wasted < least):
                best, most, least = (rows, columns), kept, wasted
        return best

    def _padded(self, pixels_3HW: torch.Tensor, tall: int, wide: int, interpolation: Interpolation) -> torch.Tensor:
        """Resized to fit, in the middle of black [3, tall, wide]; an odd pixel of padding is at the bottom or right."""
        height, width = pixels_3HW.shape[1:]
        if wide / width < tall / height:
            h, w = math.ceil(height * (wide / width)), wide
        else:
            # A product such as 28.000000000000004 is no 29.
            h, w = tall, min(math.ceil(width * (tall / height)), wide)
        top, left = (tall - h) // 2, (wide - w) // 2
        padded_3HW = pixels_3HW.new_zeros(3, tall, wide)
        padded_3HW[:, top : top + h, left : left + w] = _resized(pixels_3HW, h, w, interpolation)
        return padded_3HW


@dataclass(frozen=True)
class OneVision(Anyres):
    """LLaVA-OneVision's anyres_max_9."""

    grids: ClassVar[tuple[tuple[int, int], ...]] = tuple((rows, columns) for columns in _SIX for rows in _SIX)
    """In the order of LLaVA's (1x1), (1x2), ... (6x6), which are width and height."""
    most: ClassVar[int] = 9

    def among(self, pictures: int) -> Anyres | Square:
        """One alone in tiles, of several each in one square tile and a newline."""
        return self if pictures < 2 else Square(self.side, self.patch, "pad", ends=True)


@dataclass(frozen=True)
class Square:
    """One tile, and no newline in stage 1."""

    side: int
    patch: int
    resize: Resize
    ends: bool = False
    """See `TilePlan`."""

    def __post_init__(self) -> None:
        _check(self.side, self.patch)

    def among(self, pictures: int) -> Square:
        """How each is cut of that many in one conversation."""
        return self

    def plan(self, height: int, width: int) -> TilePlan:
        """The same for every picture."""
        return TilePlan(self.side // self.patch, ends=self.ends)

    def tiles(self, image: Image.Image, recipe: PixelRecipe) -> torch.Tensor:
        """A picture -> [1, 3, S, S] in the model space of `recipe`.

        Raises:
            ImageError: of unknown value range, or the encoder's own library cannot resize it.
        """
        if self.resize == "own":
            return recipe.prepare([image], self.side, self.side)
        ours = Preprocess(
            resolution=(self.side, self.side),
            geometry="squash" if self.resize == "squash" else "crop",
            interpolation=recipe.interpolation,
            mean=recipe.mean,
            std=recipe.std,
        )
        shown = _on_square(rgb_pixels(image), recipe) if self.resize == "pad" else image
        return ours.prepare([shown], self.side, self.side)


def _check(side: int, patch: int) -> None:
    if not 1 <= patch <= side:
        raise UserError(f"a tile of {side} pixels holds no patch of {patch}; give a tile of {patch} pixels or more.")


def _rounded(tokens: float) -> int:
    # A product such as 23.999999999999996 is 24.
    return int(round(tokens, 7))


def _resized(pixels_3HW: torch.Tensor, height: int, width: int, interpolation: Interpolation) -> torch.Tensor:
    # What transformers' processor of an export calls, so that both give the same bits.
    resized: torch.Tensor = tvF.resize(pixels_3HW, [height, width], interpolation=_MODES[interpolation], antialias=True)
    return resized


def _on_square(image: Image.Image, recipe: PixelRecipe) -> Image.Image:
    """In the middle of a square of the encoder's mean colour."""
    side = max(image.size)
    red, green, blue = (int(255 * value) for value in recipe.mean)
    square = Image.new("RGB", (side, side), (red, green, blue))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
