"""Whether images are label maps of other images: few values, in flat areas, of the same size and name as a picture.

A few of them are decoded. Flatness and few values alone are no sign (icons, drawings and scanned characters have them): it
is that one folder has them, another has photographs, and the files belong together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from rice_core.datasets.frames import numbered
from rice_core.datasets.walk import image_names, images_below
from rice_core.images import ImageError, load_image

_LOOKED_AT = 5
_FEW_FOLDERS = 8
_ON_EDGES = 1.3
"""Of COCO's own masks 99.8 % of five are above on average, and 25 % of five of other images."""
_LOSSLESS = frozenset({".png", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".webp"})
_OF_A_MASK = re.compile(
    r"(.+?)[ _.-]+(?:masks?|seg|segmentation|labels?|labelids|labeltrainids|gt|annotation|trimap|matte)(?:[ _.-]?\d+)?$",
    re.IGNORECASE,
)


def masks_beside(children: Sequence[Path]) -> tuple[Path, Path] | None:
    """Of folders, one with label maps of the pictures of another: a picture and its map."""
    if not 2 <= len(children) <= _FEW_FOLDERS:
        return None
    listed = {child: list(images_below(child, child, [])) for child in children}
    for child, maps in listed.items():
        for other, pictures in listed.items():
            if child != other and (pair := _pair(maps, pictures)):
                return pair
    return None


def masks_among(folder: Path) -> tuple[Path, Path] | None:
    """In one folder, a picture and its label map: `a.jpg` and `a.png`, or `a.png` and `a_mask.png`."""
    names = image_names(folder)
    by_stem: dict[str, Path] = {}
    twice: list[tuple[Path, Path]] = []
    for name in names:
        path = folder / name
        if path.stem in by_stem:
            pair = (by_stem[path.stem], path)
            twice.append(pair if path.suffix.lower() in _LOSSLESS else pair[::-1])
        else:
            by_stem[path.stem] = path
    told = [
        (by_stem[m[1]], path) for stem, path in by_stem.items() if (m := _OF_A_MASK.match(stem)) and m[1] in by_stem
    ]
    # Names with the word for it say that the files belong together; so does one name with two endings.
    return _first_of_maps(_spread(told or twice), sure=True)


def _pair(maps: list[Path], pictures: list[Path]) -> tuple[Path, Path] | None:
    """A picture and its map, where nearly all of `maps` are called like a picture and those looked at are maps."""
    by_stem = {path.stem: path for path in pictures}
    called = [(by_stem[stem], path) for path in maps if (stem := _stem_of_picture(path.stem, by_stem))]
    if not called or len(called) < 0.8 * len(maps):
        return None
    return _first_of_maps(_spread(called), sure=not numbered(by_stem))


def _first_of_maps(pairs: list[tuple[Path, Path]], *, sure: bool) -> tuple[Path, Path] | None:
    """The first pair, where all are a picture and a flat image of its size.

    Args:
        sure: the names alone say that they belong together; else the edges of the flat image have to be edges of the picture.
    """
    steps = [_step_at_borders(mask, picture) for picture, mask in pairs]
    known = [step for step in steps if step is not None]
    if not pairs or len(known) < len(pairs) or not any(known):
        return None
    return pairs[0] if sure or np.mean([step for step in known if step]) >= _ON_EDGES else None


def _stem_of_picture(stem: str, by_stem: dict[str, Path]) -> str | None:
    """The name of the picture that a map is called after: its own, or one that it continues after a separator."""
    ends = [len(stem), *(m.start() for m in reversed(list(re.finditer(r"[ _.-]", stem))))]
    return next((stem[:end] for end in ends if stem[:end] in by_stem), None)


def _spread(pairs: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """A few, from the first to the last."""
    return pairs[:: max(1, (len(pairs) - 1) // (_LOOKED_AT - 1))] if len(pairs) > _LOOKED_AT else pairs


def _step_at_borders(mask: Path, picture: Path) -> float | None:
    """How much larger the steps of a picture are between the areas of a flat image than all over it.

    0 where there is one area alone; None where this is no flat image, or none of the size of the picture.
    """
    if mask.suffix.lower() not in _LOSSLESS:
        return None
    try:
        with Image.open(mask) as opened:
            mask_HWc = np.asarray(opened)
        picture_HW3 = np.asarray(load_image(picture))
    except (OSError, ValueError, ImageError, Image.DecompressionBombError):
        return None
    value_HW = _values(mask_HWc)
    if value_HW.shape != picture_HW3.shape[:2] or not _is_flat(value_HW) or _is_flat(_values(picture_HW3)):
        return None
    step_HW = np.abs(np.diff(picture_HW3.astype(np.float32), axis=1)).sum(2)
    border_HW = value_HW[:, 1:] != value_HW[:, :-1]
    return float(step_HW[border_HW].mean() / step_HW.mean()) if border_HW.any() else 0.0


def _values(pixels_HWc: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """One number a pixel: a label map may be painted in colours."""
    value_HWc = pixels_HWc.astype(np.int64)
    if value_HWc.ndim == 2:
        return value_HWc
    value_HW: npt.NDArray[np.int64] = value_HWc[..., :3] @ np.array([1, 256, 65536])[: value_HWc.shape[2]]
    return value_HW


def _is_flat(value_HW: npt.NDArray[Any]) -> bool:
    """Values that stand next to their like, each in many pixels. Handwritten digits have too many values for their size."""
    many = value_HW.size / len(np.unique(value_HW)) >= 100
    return many and float((value_HW[:, 1:] == value_HW[:, :-1]).mean()) >= 0.9
