"""A pair as the network is shown it: two jittered crops, and where the object is in the second. After OSTrack's `STARKProcessing`.

A template crop has T x T pixels, a search crop S x S; G cells a side of the template.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch.utils.data import Dataset

from rice_core.errors import UserError
from rice_core.features import Truth
from rice_core.images import ImageError, load_image
from rice_core.record import Skipped
from tracking.crops import cut, foreground, truth
from tracking.geometry import Crop
from tracking.pairs import TRIES, VIEW, Floats, PairSequence, Shot, Unusable
from tracking.recipe import LearningConfig, TrackerConfig
from tracking.tokens import sizes_of

Pixels = npt.NDArray[np.uint8]
_GREY = np.array([0.299, 0.587, 0.114])
"""Of red, green and blue (ITU-R BT.601), as OpenCV weighs them."""


class Astray(Exception):
    """The object's middle was jittered out of the crop: nobody's fault."""


@dataclass(frozen=True)
class View:
    """One crop."""

    item: str
    pixels_SS3: Pixels
    box_4: npt.NDArray[np.float32]
    """Centre x, y, width, height of what the frame shows of the object, in sides of the crop; parts may lie outside of it."""
    truth: Truth | None
    """For an encoder that is told it."""


@dataclass(frozen=True)
class PairView:
    """One pair."""

    template: View
    search: View
    foreground_TT: npt.NDArray[np.bool_]
    """Cells of the template that show the object."""
    skipped: tuple[Skipped, ...] = ()
    redrawn: int = 0
    """Draws before it that came to nothing."""


@dataclass(frozen=True)
class PairViews(Dataset["PairView | UserError"]):
    """Pairs by their places.

    Args:
        patch: of the encoder: a crop has as many tokens a side as the recipe says.
        told: also give the truth that an informed encoder asks for.
    """

    pairs: PairSequence
    tracker: TrackerConfig
    learning: LearningConfig
    patch: int
    told: bool = False

    def __getitem__(self, place: int) -> PairView | UserError:
        skipped: list[Skipped] = []
        for attempt in range(TRIES):
            try:
                template, search = self.pairs.draw(place, attempt)
                view = self._view(template, search, np.random.default_rng([self.pairs.seed, VIEW, place, attempt]))
            except Unusable as found:
                skipped.append(Skipped(item=found.item, reason=found.reason))
                continue
            except Astray:
                continue
            return replace(view, skipped=tuple(dict.fromkeys(skipped)), redrawn=attempt)
        # As a value: DataLoader would wrap a raised one in the worker's traceback.
        name = self.pairs.source(place).name
        first = (
            f"{skipped[0].item} {skipped[0].reason}" if skipped else "search_jitter= moves the object out of its crop"
        )
        return UserError(
            f"{name}: none of {TRIES} draws gave a pair to learn from; the first: {first}; mend that, or leave {name} out of the training."
        )

    def _view(self, template: Shot, search: Shot, rng: np.random.Generator) -> PairView:
        """
        Raises:
            Unusable: a frame cannot be read, or shows nothing of the object. Astray: a crop does not show its middle.
        """
        z_frame = _frame(template)
        x_frame = z_frame if search.path == template.path else _frame(search)
        tracker, learning = self.tracker, self.learning
        z_size, x_size = sizes_of(tracker, self.patch)
        z_crop = self._around(template, learning.template_jitter, tracker.template_factor, z_size, rng)
        x_crop = self._around(search, learning.search_jitter, tracker.search_factor, x_size, rng)
        gray, both = rng.random() < learning.gray, rng.random() < learning.flip
        z_flip, x_flip = both ^ (rng.random(2) < learning.flip_each)
        z_light, x_light = rng.uniform(max(0.0, 1 - learning.brightness), 1 + learning.brightness, 2)
        z_view = self._crop(template, z_frame, z_crop, gray=gray, flip=z_flip, light=z_light)
        x_view = self._crop(search, x_frame, x_crop, gray=gray, flip=x_flip, light=x_light)
        cells_TT = foreground(z_crop, seen(template, z_frame.size), tracker.template_grid)
        return PairView(z_view, x_view, np.ascontiguousarray(cells_TT[:, ::-1]) if z_flip else cells_TT)

    def _around(
        self, shot: Shot, jitter: tuple[float, float], factor: float, size: int, rng: np.random.Generator
    ) -> Crop:
        try:
            return Crop.around(jittered(shot.box_4, jitter, rng).tolist(), factor, size, self.tracker.geometry)
        except ValueError:
            raise Unusable(shot.of, "has a box too large to have an area") from None

    def _crop(self, shot: Shot, frame: Image.Image, crop: Crop, *, gray: bool, flip: bool, light: float) -> View:
        box = seen(shot, frame.size)
        cx, cy, w, h = crop.into(box)
        if not (0 <= cx < 1 and 0 <= cy < 1):
            raise Astray
        pixels_SS3 = lit(cut(frame, crop), light, gray=gray)
        labels_SS = truth(crop, box).labels_HW if self.told else None
        if flip:
            pixels_SS3, cx = np.ascontiguousarray(pixels_SS3[:, ::-1]), 1 - cx
            labels_SS = None if labels_SS is None else np.ascontiguousarray(labels_SS[:, ::-1])
        known = None if labels_SS is None else Truth(labels_SS, None)
        return View(shot.item, pixels_SS3, np.array([cx, cy, w, h], np.float32), known)


def jittered(box_4: Floats, jitter: tuple[float, float], rng: np.random.Generator) -> Floats:
    """The box that a crop is made around, OSTrack's `_get_jittered_box`.

    Width and height are each times exp(scale z), z normal; then the middle moves in x and in y by up to half of `centre` times the
    side sqrt(w h) of that.

    Args:
        box_4: x, y, w, h. jitter: centre and scale.
    """
    centre, scale = jitter
    size_2 = box_4[2:] * np.exp(rng.standard_normal(2) * scale)
    with np.errstate(over="ignore", invalid="ignore"):  # of boxes without bounds, which `Crop.around` refuses
        middle_2 = box_4[:2] + box_4[2:] / 2 + np.sqrt(size_2.prod()) * centre * (rng.random(2) - 0.5)
    return np.concatenate([middle_2 - size_2 / 2, size_2])


def seen(shot: Shot, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """What the frame shows of the box, x, y, w, h: boxes of TrackingNet and GOT-10k may leave it.

    Args:
        size: width and height of the frame.

    Raises:
        Unusable: less than a pixel.
    """
    low_2, high_2 = np.maximum(shot.box_4[:2], 0), np.minimum(shot.box_4[:2] + shot.box_4[2:], size)
    (x, y), (w, h) = low_2.tolist(), (high_2 - low_2).tolist()
    if w * h < 1 or min(w, h) <= 0:
        raise Unusable(shot.of, "has a box of which less than a pixel is in the image")
    return x, y, w, h


def lit(pixels_SS3: Pixels, light: float, *, gray: bool) -> Pixels:
    """Without colours where it is to be gray, and times a brightness."""
    if gray:
        pixels_SS3 = np.repeat((pixels_SS3 @ _GREY).round().astype(np.uint8)[..., None], 3, axis=2)
    table = (np.arange(256) * light).round().clip(0, 255).astype(np.uint8)
    return table[pixels_SS3]


def _frame(shot: Shot) -> Image.Image:
    """
    Raises:
        Unusable: it cannot be read, or has another size than annotated.
    """
    try:
        image = load_image(shot.path)
    except ImageError as error:
        raise Unusable(shot.item, str(error)) from None
    if shot.size_hw not in (None, (image.height, image.width)):
        raise Unusable(
            shot.item, f"is {image.width}x{image.height} pixels, annotated as {shot.size_hw[1]}x{shot.size_hw[0]}"
        )
    return image
