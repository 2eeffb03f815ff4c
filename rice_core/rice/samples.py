"""One raw sample of a shard -> what a Batch holds of it: crop, regions that the crop keeps, their labels and patches.

Letters: R regions of the image, N places for regions, P patches, S side of the crop in pixels, M labels a region.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco_mask
from pydantic import ValidationError

from rice_core.datasets.coco_masks import rle_counts
from rice_core.datasets.geometry import cell_shares
from rice_core.errors import first_fault
from rice_core.images import ImageError, decode_image
from rice_core.model.visibility import box_shares, visible_patches
from rice_core.rice.captions import caption_tokenizer
from rice_core.rice.config import TrainConfig
from rice_core.rice.crops import ResizedCrop, area, random_crop
from rice_core.rice.regions import REGION_TYPES, RegionManifest, RegionSample
from rice_core.rice.streams import RawSample, UnusableSample, generator

OBJECT, OCR = REGION_TYPES.index("object"), REGION_TYPES.index("ocr")
IMAGE_MEMBERS = ("jpg", "jpeg", "png")
KEPT = 0.5
"""Share of a region's area that a crop must leave of it."""
CROP_TRIES = 10


@dataclass(frozen=True)
class TrainingExample:
    """One image of a Batch; see there."""

    key: str
    pixels_3SS: npt.NDArray[np.uint8]
    boxes_N4: npt.NDArray[np.float32]
    """In pixels of the squashed crop; for a picture of the example, no part of a batch."""
    visible_NP: npt.NDArray[np.bool_]
    type_N: npt.NDArray[np.int64]
    weight_N: npt.NDArray[np.float32]
    labels: list[list[int]]
    """Of each place; none where there is no region."""
    objects: list[int]
    tokens: list[int]
    clusters: list[int]
    caption: list[int]


@dataclass(frozen=True)
class Kept:
    """A region that the crop keeps."""

    type: int
    box: npt.NDArray[np.float64]
    """In pixels of the squashed crop."""
    labels: list[int]
    rle: dict[str, Any] | None = None
    part: npt.NDArray[np.bool_] | None = None
    """The crop's part of the mask, not squashed, where it is drawn already: drawing one is dear."""


@dataclass(frozen=True)
class Preparer:
    """Makes examples for one stage of a training; calling it is a pure function of the sample and the epoch."""

    config: TrainConfig
    classes: dict[str, int]
    """Of each bank of the manifest."""
    resolution: int

    @classmethod
    def of(cls, config: TrainConfig, manifest: RegionManifest, resolution: int) -> Preparer:
        return cls(config, {name: bank.classes for name, bank in manifest.banks.items()}, resolution)

    @property
    def captions(self) -> bool:
        """Whether the objective reads captions: then an image without one is of no use to it."""
        return self.config.objective.name == "siglip"

    @property
    def places(self) -> int:
        """N: regions an image, with the one that is the whole image where the objective asks for it."""
        return self.config.objective.regions + int(self._image_region)

    def __call__(self, raw: RawSample, epoch: int) -> TrainingExample:
        """Crop, region sampling and labels, drawn from (seed, epoch, key).

        Raises:
            UnusableSample: the image or its JSON cannot be read, they disagree, a label has no class in its bank, or there is
                nothing in it that the objective could learn.
        """
        sample = _parsed(raw)
        self._check(sample)
        caption = self._caption(sample)
        image = _decoded(raw, sample)
        rng = generator(self.config.seed, epoch, f"crop of {raw.key}")
        crop, kept = self._crop(sample, image.size, rng)
        places = [kept[index] for index in self._choose([region.type for region in kept], rng)]
        objects, tokens = (_union(kept, type_) for type_ in (OBJECT, OCR))
        if self._image_region and objects:
            places.append(Kept(OBJECT, np.array([0.0, 0.0, self.resolution, self.resolution]), objects))
        example = TrainingExample(
            key=raw.key,
            pixels_3SS=crop.pixels(image, self.resolution),
            **self._arrays(places, self._shares(places, sample, crop)),
            labels=[self._labels(region, rng) for region in places] + [[]] * (self.places - len(places)),
            objects=objects,
            tokens=tokens,
            clusters=list(sample.image_labels),
            caption=caption,
        )
        self._check_use(example)
        return example

    @property
    def _grid(self) -> int:
        return self.resolution // self.config.model.trunk.patch

    @property
    def _image_region(self) -> bool:
        return self.config.objective.name == "rice" and self.config.objective.image_region

    def _check(self, sample: RegionSample) -> None:
        """Every label has a class in its bank."""
        named = [(region.type, label) for region in sample.regions for label in region.labels]
        for bank, label in [*named, *(("image", label) for label in sample.image_labels)]:
            if not 0 <= label < self.classes.get(bank, 0):
                raise UnusableSample(
                    f"label {label} is none of the {self.classes.get(bank, 0)} classes of the bank {bank!r}"
                )

    def _caption(self, sample: RegionSample) -> list[int]:
        if not self.captions:
            return []
        if not (sample.caption and sample.caption.strip()):
            raise UnusableSample("has no caption")
        objective = self.config.objective
        return caption_tokenizer(objective.tokenizer)(sample.caption, objective.text_tokens)

    def _crop(
        self, sample: RegionSample, size_wh: tuple[int, int], rng: np.random.Generator
    ) -> tuple[ResizedCrop, list[Kept]]:
        """A random crop that keeps a region, else the whole image; for every objective, so that all see the same crops."""
        data = self.config.data
        for _ in range(CROP_TRIES if sample.regions else 1):
            crop = random_crop(size_wh, data.crop_scale, data.flip, rng)
            if kept := _kept(sample, crop, self.resolution):
                return crop, kept
        if sample.regions:
            crop = random_crop(size_wh, (1, 1), data.flip, rng)
        return crop, _kept(sample, crop, self.resolution)

    def _check_use(self, example: TrainingExample) -> None:
        """An image of which nothing can be learnt would be a place in the batch without a loss."""
        objective = self.config.objective
        if objective.name == "rice":
            useful = bool(example.weight_N.any())
        elif objective.name == "mlcd":
            clusters = objective.image_labels == "clusters"
            useful = bool(example.clusters if clusters else example.objects or example.tokens)
        else:
            useful = True  # a caption is all that siglip needs, and a missing one is refused before the image is read
        if not useful:
            raise UnusableSample("has no region" if objective.name == "rice" else "has no label")

    def _choose(self, types: list[int], rng: np.random.Generator) -> list[int]:
        """Indices of the regions for the N places, as the paper samples them; none where there is no region.

        More than N: N at random, without repeats and within the quota of each type. Fewer: all, then random repeats.
        """
        places = self.config.objective.regions
        by_type = [rng.permutation(np.flatnonzero(np.array(types) == type_)) for type_ in (OBJECT, OCR)]
        lines = min(
            len(by_type[OCR]), max(round(self.config.objective.ocr_share * places), places - len(by_type[OBJECT]))
        )
        chosen = [*by_type[OBJECT][: places - lines].tolist(), *by_type[OCR][:lines].tolist()]
        repeats = rng.choice(chosen, places - len(chosen)).tolist() if chosen else []
        return chosen + repeats

    def _labels(self, region: Kept, rng: np.random.Generator) -> list[int]:
        """All labels, or M at random where a line has more tokens."""
        most = self.config.objective.ocr_labels
        if region.type != OCR or len(region.labels) <= most:
            return region.labels
        return cast(list[int], rng.choice(region.labels, most, replace=False).tolist())

    def _shares(self, places: list[Kept], sample: RegionSample, crop: ResizedCrop) -> npt.NDArray[np.float64]:
        """(n, P): the share of each patch that each region covers."""
        grid_hw, size_hw = (self._grid, self._grid), (self.resolution, self.resolution)
        shares_nP = box_shares(np.array([region.box for region in places]).reshape(-1, 4), grid_hw, size_hw)
        masks: dict[int, npt.NDArray[np.float32]] = {}  # a repeated region is the same object
        for n, region in enumerate(places):
            if region.rle is not None:
                if id(region) not in masks:
                    part = crop.mask(_mask(region.rle, sample)) if region.part is None else region.part
                    masks[id(region)] = cell_shares(part, grid_hw).ravel()
                shares_nP[n] = masks[id(region)]
        return shares_nP

    def _arrays(self, places: list[Kept], shares_nP: npt.NDArray[np.float64]) -> dict[str, Any]:
        """The regions in N places, those at the end with weight 0."""
        N, n = self.places, len(places)
        boxes_N4, visible_NP = np.zeros((N, 4), np.float32), np.zeros((N, self._grid**2), np.bool_)
        type_N, weight_N = np.zeros(N, np.int64), np.zeros(N, np.float32)
        if n:
            boxes_N4[:n], type_N[:n] = [region.box for region in places], [region.type for region in places]
            visible_NP[:n] = visible_patches(shares_nP, thin_N=type_N[:n] == OCR, overlap=self.config.data.overlap)
            weight_N[:n] = visible_NP[:n].any(axis=1)
        return {"boxes_N4": boxes_N4, "visible_NP": visible_NP, "type_N": type_N, "weight_N": weight_N}


def _parsed(raw: RawSample) -> RegionSample:
    if "json" not in raw.members:
        raise UnusableSample("has no .json member")
    try:
        return RegionSample.model_validate_json(raw.members["json"])
    except ValidationError as error:
        raise UnusableSample(f"its JSON is no RegionSample ({first_fault(error)})") from None


def _decoded(raw: RawSample, sample: RegionSample) -> Image.Image:
    data = next((raw.members[name] for name in IMAGE_MEMBERS if name in raw.members), None)
    if data is None:
        raise UnusableSample(f"has no image member ({', '.join(IMAGE_MEMBERS)})")
    try:
        image = decode_image(io.BytesIO(data))
    except ImageError as error:
        raise UnusableSample(f"its image {error}") from None
    if image.size != (sample.width, sample.height):
        raise UnusableSample(
            f"its image has {image.width} x {image.height} pixels where its JSON says {sample.width} x {sample.height}"
        )
    return image


def _kept(sample: RegionSample, crop: ResizedCrop, side: int) -> list[Kept]:
    """The regions of which the crop leaves at least half, by the area of the mask, else of the box in the image."""
    if not sample.regions:
        return []
    boxes_R4 = np.array([region.box for region in sample.regions], dtype=np.float64)
    boxes_R4 = boxes_R4.clip(0, [sample.width, sample.height] * 2)
    moved_R4 = crop.boxes(boxes_R4, side)
    whole_R = area(boxes_R4) * (side * side / (crop.width * crop.height))
    left_R = np.divide(area(moved_R4), whole_R, out=np.zeros_like(whole_R), where=whole_R > 0)
    kept = []
    for region, box, left in zip(sample.regions, moved_R4, left_R.tolist(), strict=True):
        part = None
        # Only where the crop cuts the box does the mask decide.
        if region.rle is not None and 0 < left < 1 - 1e-9:
            mask_HW = _mask(region.rle, sample)
            part = crop.mask(mask_HW)
            left = int(np.count_nonzero(part)) / max(int(np.count_nonzero(mask_HW)), 1)
        # Rounding must not drop a region that is cut in exact halves.
        if left >= KEPT - 1e-9:
            labels = list(dict.fromkeys(region.labels))
            kept.append(Kept(REGION_TYPES.index(region.type), box, labels, region.rle, part))
    return kept


def _mask(rle: dict[str, Any], sample: RegionSample) -> npt.NDArray[np.bool_]:
    """H x W. Everything is checked before pycocotools sees it: it reads beyond run lengths that do not fill the mask."""
    size = [sample.height, sample.width]
    if list(rle.get("size") or ()) != size:
        raise UnusableSample(f"a mask has the size {rle.get('size')} where the image has {size}")
    try:
        filled = sum(rle_counts(rle.get("counts"))) == sample.height * sample.width
    except ValueError as error:
        raise UnusableSample(f"a mask's {error}") from None
    if not filled:
        raise UnusableSample("a mask's run lengths do not fill it")
    return cast(npt.NDArray[np.bool_], coco_mask.decode({"size": size, "counts": rle["counts"]}).view(np.bool_))


def _union(regions: Iterable[Kept], type_: int) -> list[int]:
    return sorted({label for region in regions if region.type == type_ for label in region.labels})
