"""Whether the folders that look like classes are videos: files numbered without a gap whose neighbours look alike.

Numbers alone are no sign: many exports number the images of each class. In a video the next frame is much more like a
frame than one half a video away; in a class the next image is not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rice_core.datasets.walk import first_folders, image_names
from rice_core.images import ImageError, load_image

_LEAST_FRAMES = 8
_LOOKED_AT = 6
_LEAST_CONTRAST = 4.0
"""Grey levels. A row of plain colours is no video."""
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)$", re.DOTALL)


def are_videos(children: Sequence[Path]) -> bool:
    """Whether most of some folders hold the frames of a video."""
    chosen = children[:: max(1, len(children) // _LOOKED_AT)][:_LOOKED_AT]
    verdicts = [_is_video(place) for child in chosen if (place := _with_images(child))]
    return sum(verdicts) > len(verdicts) / 2


def numbered(stems: Collection[str]) -> bool:
    """Whether names are nothing but a count: alike but for a number that goes up in even steps, or leaves few out."""
    numbers = _numbers(stems)
    return len({b - a for a, b in pairwise(numbers)}) <= 1 < len(numbers) or _dense(numbers)


def _numbers(stems: Collection[str]) -> list[int]:
    """The numbers in names that are alike but for one; none where they are not."""
    found = [_NUMBERED.match(stem) for stem in stems]
    if not all(found) or len({(m[1], m[3]) for m in found if m}) > 1:
        return []
    return sorted(int(m[2]) for m in found if m)


def _dense(numbers: Sequence[int]) -> bool:
    return len(numbers) > 0 and numbers[-1] - numbers[0] < 2 * len(numbers)


def _with_images(child: Path) -> Path | None:
    """The class folder, or the first below it that holds images itself."""
    return next((place for place in first_folders(child, depth=2, each=1) if image_names(place)), None)


def _is_video(place: Path) -> bool:
    names = image_names(place)
    # Even steps of more than one are no frames: views of an object are numbered by their angle.
    if len(names) < _LEAST_FRAMES or not _dense(_numbers({Path(name).stem for name in names})):
        return False
    names.sort(key=lambda name: int(_NUMBERED.match(Path(name).stem)[2]))  # type: ignore[index]
    half = len(names) // 2
    near, far = [], []
    for start in np.linspace(0, half - 1, min(_LEAST_FRAMES, half)).astype(int):
        shown = [_thumbnail(place / names[k]) for k in (start, start + 1, start + half)]
        frames = [frame for frame in shown if frame is not None]
        if len(frames) == 3 and all(frame.std() >= _LEAST_CONTRAST for frame in frames):
            near.append(float(np.abs(frames[1] - frames[0]).mean()))
            far.append(float(np.abs(frames[2] - frames[0]).mean()))
    return bool(far) and sum(near) < 0.5 * sum(far)


def _thumbnail(path: Path) -> npt.NDArray[np.float32] | None:
    try:
        return np.asarray(load_image(path).convert("L").resize((16, 16)), dtype=np.float32)
    except ImageError:
        return None
