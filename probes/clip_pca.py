"""PCA of the patch tokens of consecutive frames (paper, Figure 5): one basis a clip, so that a colour means one thing throughout.

The paper shows pictures alone. The number beside them says what the eye looks for there: that the object keeps its colour from frame to
frame and differs from what is around it.

    colour_stability = (D_background - D_object) / max(D_background, D_object)

where, over all pairs of different frames s, t of a clip, D is the mean distance of the tokens of s from the object's mean colour in t: of
those in the object's box, and of those outside it: the silhouette of Rousseeuw (1987) over time. 1 where the object has one colour
throughout that nothing else has, 0 in expectation for features that are independent of the image; below 0 the background is more like
the object than the object is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rice_core.errors import NotApplicable, UserError
from rice_core.light import LightProbe, Work
from rice_core.record import Outcome, Scores

if TYPE_CHECKING:
    from PIL import Image

    from rice_core.budget import Budget, Passes
    from rice_core.datasets import Dataset, Track, Video
    from rice_core.features import Encoder

_SPLITS = ("val", "test", "all", "train")
"""Of which the first that is there, and whose truth goes beyond the first frame, is looked at."""
_CELL = 160
"""Least height of a picture in the sheet, in pixels."""
_GAP = 6
_INK = (20, 110, 40)
"""Of the object's frame: tracking's strips draw what is true so."""


@dataclass(frozen=True)
class Frame:
    """One frame of a clip, as the encoder saw it."""

    picture: Image.Image
    """At the encoder's input size, h x w."""
    tokens_CHW: npt.NDArray[np.float32]
    box_xywh: npt.NDArray[np.float64]
    """Pixels of `picture`, from 0."""

    @property
    def inside_HW(self) -> npt.NDArray[np.bool_]:
        """Tokens whose centre is in the box; the nearest one where there is none."""
        H, W = self.tokens_CHW.shape[1:]
        y_H = (np.arange(H) + 0.5) * self.picture.height / H
        x_W = (np.arange(W) + 0.5) * self.picture.width / W
        x, y, w, h = self.box_xywh
        found_HW = ((y_H >= y) & (y_H < y + h))[:, None] & ((x_W >= x) & (x_W < x + w))
        if not found_HW.any():
            found_HW[np.abs(y_H - y - h / 2).argmin(), np.abs(x_W - x - w / 2).argmin()] = True
        return np.asarray(found_HW)


@dataclass(frozen=True)
class ClipPca(LightProbe):
    """Frames are spread evenly over those in which the object can be seen; of `every` > 0, so many frames apart from the first on."""

    clips: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Measured; the first four are drawn."""
    frames: Annotated[int, Field(ge=2, le=256)] = 6
    """Of a clip."""
    every: Annotated[int, Field(ge=0, le=10_000)] = 0
    size: Annotated[int, Field(ge=0, le=4096)] = 0
    """Pixels of the longer side of what the encoder sees, in the frame's own shape (the paper: 2048); 0: of its own resolution."""

    name: ClassVar[str] = "clip-pca"
    summary: ClassVar[str] = "PCA of consecutive frames as colours, and how stable the object's colour is (Figure 5)"
    needs: ClassVar[frozenset[str]] = frozenset({"dense", "multires"})
    data: ClassVar[frozenset[str]] = frozenset({"videos"})
    instruments: ClassVar[tuple[str, ...]] = ("torch",)

    def passes(self, dataset: Dataset, budget: Budget) -> Passes:
        """See `rice_core.probe.Live`."""
        from rice_core.budget import Passes

        most = max((len(items) for items in dataset.splits.values()), default=0)
        return Passes(min(self.clips, most) * self.frames, self.size or 224, f"{self.frames} frames of each clip")

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        """See `rice_core.probe.Probe`; nothing is drawn by the seed."""
        from rice_core.stats.estimates import metric_of

        stability: dict[str, float] = {}
        rows: list[npt.NDArray[np.uint8]] = []
        explained: list[list[float]] = []
        split, chosen, there = self._chosen(work)
        for video in work.progress(chosen, f"{encoder.spec.title}: clips"):
            try:
                track = video.track()
            except UserError as error:  # large data sets are not looked through when they are opened
                work.skip(video.id, str(error).rstrip("."))
                continue
            shown = self._frames(encoder, video, track, work)
            if len(shown) < 2:
                work.skip(video.id, "has fewer than 2 frames that can be read and show the object")
                continue
            colours, shares = _coloured(shown)
            explained.append(shares)
            if (value := colour_stability(colours, [each.inside_HW for each in shown])) is None:
                work.skip(video.id, "is filled by the object, so that there is no background to tell it from")
                continue
            stability[video.id] = value
            if len(rows) < 4:
                rows.append(_strip(shown, colours))
        if not stability:
            raise NotApplicable("no clip has two frames that can be read and show an object before a background")
        ids = tuple(stability)
        scores = Scores(sample=ids, cluster=ids, values={"colour_stability": tuple(stability.values())})
        metric = metric_of(
            scores,
            "colour_stability",
            unit="",
            better="higher",
            chance=0.0,
            ceiling=1.0,
            bounds=(-1.0, 1.0),
            by="video",
        )
        sheet = work.artifact_webp(
            "clip-pca.webp",
            _sheet(rows),
            figure="wide-image",
            title="PCA of consecutive frames as colours",
            caption="Each clip's frames with the object's box, and below them three principal components of their patch tokens as red, "
            "green and blue; one basis and one scaling a clip (the paper's Figure 5). Colours of two clips, or of two encoders, have nothing to do with each other.",
        )
        clips = f"Of {len(stability)} clips of the {there} videos of {split}, spread evenly."
        note = f"The basis explains {100 * float(np.mean([sum(each) for each in explained])):.0f} % of the variance of a clip's tokens, on average."
        return Outcome(metrics=(metric,), scores=scores, artifacts=(sheet,), assumptions=(clips, note))

    def _chosen(self, work: Work) -> tuple[str, list[Video], int]:
        """The split, clips spread evenly over it, and how many it has."""
        from rice_core.datasets import Video

        for split in _SPLITS:
            try:
                videos = work.samples(split, Video)
            except NotApplicable:
                continue
            places = np.linspace(0, len(videos) - 1, min(self.clips, len(videos))).round().astype(int)
            chosen = [videos[place] for place in places]
            if any(_rows(video) > 1 for video in chosen):
                return split, chosen, len(videos)
        raise NotApplicable(
            "clip-pca needs videos whose truth goes beyond the first frame; those of a server's test split do not tell it"
        )

    def _frames(self, encoder: Encoder, video: Video, track: Track, work: Work) -> list[Frame]:
        from rice_core.images import ImageError, load_image

        shown = list[Frame]()
        size_hw: tuple[int, int] | None = None
        for place in self._places(track, len(video.frames)):
            try:
                picture = load_image(video.frames[place])
            except ImageError as error:
                work.skip(f"{video.id}, frame {place}", f"{error}")
                continue
            size_hw = size_hw or self._size(encoder, picture)
            h, w = size_hw
            scale = np.array([w / picture.width, h / picture.height] * 2)
            x, y, *wh = track.boxes_T4[place]
            box = np.array([x - video.origin, y - video.origin, *wh]) * scale
            small = picture.resize((w, h))
            shown.append(Frame(small, _tokens(encoder, small, box, video.id), box))
        return shown

    def _places(self, track: Track, frames: int) -> list[int]:
        """Of the frames that are shown."""
        (seen,) = np.nonzero(track.usable_T[:frames])
        if not len(seen):
            return []
        if self.every:
            wanted = seen[0] + self.every * np.arange(self.frames)
            return sorted({*wanted.tolist()} & {*seen.tolist()})
        return sorted({*seen[np.linspace(0, len(seen) - 1, self.frames).round().astype(int)].tolist()})

    def _size(self, encoder: Encoder, picture: Image.Image) -> tuple[int, int]:
        """Height and width of the encoder's input, in the frame's shape, in whole patches."""
        longer = self.size or max(encoder.spec.resolution or (224, 224))
        scale = longer / max(picture.size)
        h, w = (max(1, round(side * scale / encoder.patch)) * encoder.patch for side in (picture.height, picture.width))
        return h, w


def _rows(video: Video) -> int:
    """Of its truth; none where that cannot be read."""
    try:
        return len(video.track().boxes_T4)
    except UserError:
        return 0


def colour_stability(
    colours_NHW3: Sequence[npt.NDArray[np.float64]], inside_NHW: Sequence[npt.NDArray[np.bool_]]
) -> float | None:
    """See this file's docstring; None where a frame has nothing but the object. Constant colours, which tell nothing apart, give 0."""
    if any(inside_HW.all() for inside_HW in inside_NHW):
        return None
    mean_N3 = np.stack([c_HW3[inside_HW].mean(0) for c_HW3, inside_HW in zip(colours_NHW3, inside_NHW, strict=True)])
    object_, background = [], []
    for s, (c_HW3, inside_HW) in enumerate(zip(colours_NHW3, inside_NHW, strict=True)):
        for mean_3 in np.delete(mean_N3, s, axis=0):
            distance_HW = np.linalg.norm(c_HW3 - mean_3, axis=2)
            object_.append(distance_HW[inside_HW].mean())
            background.append(distance_HW[~inside_HW].mean())
    own, around = float(np.mean(object_)), float(np.mean(background))
    return (around - own) / max(around, own) if max(around, own) > 0 else 0.0


def _tokens(
    encoder: Encoder, picture: Image.Image, box_xywh: npt.NDArray[np.float64], name: str
) -> npt.NDArray[np.float32]:
    import torch

    from rice_core.features import BACKGROUND, Informed, Truth

    pixels_HW3 = np.array(picture)
    if isinstance(encoder, Informed):
        labels_HW = np.full(pixels_HW3.shape[:2], BACKGROUND)
        x, y, w, h = box_xywh.round().astype(int)
        labels_HW[max(0, y) : max(0, y + h), max(0, x) : max(0, x + w)] = 0
        encoder.observe([Truth(labels_HW, None)])
    with torch.inference_mode():
        pixels_13HW = torch.from_numpy(pixels_HW3)[None].to(encoder.device).movedim(3, 1).float() / 255
        tokens_CHW = encoder.encode(encoder.normalize(pixels_13HW)).dense_BCHW[0].float().cpu().numpy()
    if not np.isfinite(tokens_CHW).all():
        raise UserError(f"{encoder.spec.title} gives NaN or infinite features for {name}; try ?dtype=fp32.")
    return np.asarray(tokens_CHW)


def _coloured(shown: Sequence[Frame]) -> tuple[list[npt.NDArray[np.float64]], list[float]]:
    """Colours in [0, 1], one H x W x 3 map a frame, and the shares of variance of the three components."""
    from probes import pca

    basis = pca.fit_basis(each.tokens_CHW.reshape(len(each.tokens_CHW), -1).T for each in shown)
    maps = pca.colours(basis, [each.tokens_CHW for each in shown])
    return [each.astype(np.float64) / 255 for each in maps], basis.explained_K.tolist()


def _strip(shown: Sequence[Frame], colours: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.uint8]:
    """The frames of a clip with their boxes above their colours, whose tokens stay squares."""
    from PIL import Image, ImageDraw

    from rice_core.outlines import framed

    columns = []
    for each, c_HW3 in zip(shown, colours, strict=True):
        scale = -(-_CELL // c_HW3.shape[0])
        map_HW3 = np.round(255 * c_HW3).astype(np.uint8).repeat(scale, axis=0).repeat(scale, axis=1)
        h, w = map_HW3.shape[:2]
        picture = each.picture.resize((w, h), Image.Resampling.BICUBIC)
        x, y, bw, bh = each.box_xywh * (np.array([w, h] * 2) / np.array([each.picture.width, each.picture.height] * 2))
        framed(ImageDraw.Draw(picture), (x, y, x + bw - 1, y + bh - 1), _INK)
        columns.append(np.concatenate([np.asarray(picture), np.full((2, w, 3), 255, np.uint8), map_HW3]))
    between = np.full((len(columns[0]), 2, 3), 255, np.uint8)
    parts = [part for column in columns for part in (between, column)][1:]
    return np.concatenate(parts, axis=1)


def _sheet(rows: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Strips below each other on white."""
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded)[:-_GAP]
