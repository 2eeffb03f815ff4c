"""Extraction: images through a frozen encoder into cached shards, decoding ahead of the forward pass.

Two geometries. `squash` resizes the whole image to the encoder's resolution, so that every annotated object stays in
the picture; it serves regions and dense views. `native` is the model's own resize and crop; it serves whole images.
Two views: `items` (pooled features of objects or whole images) and `dense` (the patch grid with the pixels seen).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from rice_core.budget import Budget
from rice_core.bundle import Arrays, Bundle
from rice_core.datasets import Dataset, Sample, coverage, label_map
from rice_core.digest import json_digest
from rice_core.errors import UserError
from rice_core.features import Encoder, Informed, Truth
from rice_core.images import ImageError, load_image
from rice_core.measure.cache import FeatureCache
from rice_core.measure.compact import compact, concatenated
from rice_core.pooling import MEAN, Pooling, blocks_of, class_vectors, side_by_side
from rice_core.probe import View

Geometry = Literal["squash", "native"]
SHARD_IMAGES = 64
_Asked = tuple[Geometry, set[View], Pooling]  # of a pass over a shard's images


@dataclass(frozen=True)
class _Ready:
    """One decoded image, ready for the encoder."""

    model_3HW: torch.Tensor
    """uint8 pixels under `squash`, model space under `native`."""
    image_hw: tuple[int, int]
    cover_RHW: npt.NDArray[np.float32] | None
    """Share of each patch cell that a region covers; None without regions."""


class Extractor:
    """Features of one data set under one encoder.

    Args:
        files: sha256 of each image file by sample id, part of every shard's key.
        code: digest of the code and libraries that turn files into features.
        batch: images a forward pass.
        workers: decoding threads.
        dense_too: images of each split whose dense view will be wanted as well; the pass that pools items keeps them.
    """

    def __init__(
        self,
        encoder: Encoder,
        dataset: Dataset,
        cache: FeatureCache,
        *,
        files: dict[str, str],
        code: str,
        batch: int = 32,
        workers: int = 2,
        dense_too: dict[str, int] | None = None,
    ) -> None:
        self.images = 0
        """Images that went through the encoder (not through the cache)."""
        self.seconds = 0.0
        """Spent on them, decoding included."""
        self.encoder = encoder
        self._dataset = dataset
        self._cache = cache
        self._files = files
        self._code = code
        self._batch = batch
        self._pool = ThreadPoolExecutor(max_workers=max(1, workers))
        self._dense_too = dense_too or {}
        self._pending: dict[tuple[str, Geometry, int], list[Future[_Ready]]] = {}
        resolution = encoder.spec.resolution
        if resolution is None:
            raise ValueError("an encoder must fill in spec.resolution")
        self._size_hw = resolution

    def close(self) -> None:
        """Drop what was decoded ahead."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def geometry(self, view: View) -> Geometry:
        """Regions and dense views keep the whole image; whole-image items are cropped as the model was trained."""
        return "squash" if view == "dense" or "regions" in self._dataset.provides else "native"

    def space(self) -> Budget:
        """What `keep` may take."""
        return self._cache.space()

    def has(self, about: Mapping[str, Any]) -> bool:
        """Whether there is something for `find`, sound or not."""
        return self._cache.has(self._key_of(about))

    def find(self, about: Mapping[str, Any]) -> Path | None:
        """Where arrays that a probe made itself are kept, verified. `about` says what they depend on beside the encoder."""
        key = self._key_of(about)
        return self._cache.path(key) if self._cache.get(key) is not None else None

    def keep(self, about: Mapping[str, Any], shard: Bundle) -> Path:
        """Keep such arrays."""
        key = self._key_of(about)
        self._cache.put(key, shard)
        return self._cache.path(key)

    def starts(self, split: str, most: int | None = None) -> range:
        """First image of each shard."""
        n = len(self._dataset.splits.get(split, ()))
        return range(0, n if most is None else min(n, most), SHARD_IMAGES)

    def shard(self, split: str, view: View, start: int, pooling: Pooling = MEAN) -> Bundle:
        """The shard of `view` that begins at image `start`: from the cache, else computed and kept.

        items: x_NC, row_N (the image's position in the shard), region_N (its k-th region; -1 - k where that covers nothing).
        dense: dense_NCHW, pixels_NHW3, image_N2 (decoded height and width), row_N. Empty when no image could be read.
        `notes["skipped"]` lists the images that could not be read, with reasons.

        Raises:
            UserError: the features are not finite, or the size does not suit the encoder.
            StoreError: the disk is full.
        """
        found = self._cache.get(self._key(split, view, start, pooling))
        if found is not None:
            return found
        views: set[View] = {view}
        geometry = self.geometry(view)
        if geometry == "squash" and self.geometry("items") == "squash" and pooling == MEAN:
            # One forward pass for both views where another probe of this run wants the other one; another pooling has its own.
            views.add("items")
            if start < self._dense_too.get(split, 0):
                views.add("dense")
        began = time.perf_counter()
        shards = self._compute(split, start, (geometry, views, pooling))
        self.seconds += time.perf_counter() - began
        for each, shard in shards.items():
            self._cache.put(self._key(split, each, start, pooling), shard)
        return shards[view]

    def _samples(self, split: str, start: int) -> tuple[Sample, ...]:
        return self._dataset.splits[split][start : start + SHARD_IMAGES]

    def _key(self, split: str, view: View, start: int, pooling: Pooling) -> str:
        samples = self._samples(split, start)
        body: dict[str, Any] = {
            "geometry": self.geometry(view),
            "view": view,
            # The annotated size decides whether an image is taken, and ids stand in the notes of what was left out.
            "files": [[sample.id, self._files.get(sample.id, ""), sample.size_hw] for sample in samples],
        }
        if view == "items" or isinstance(self.encoder, Informed):
            body["regions"] = [[r.box_xywh, r.label, _plain(r.segmentation)] for s in samples for r in s.regions]
            body["objects"] = [len(sample.regions) for sample in samples]
        if pooling != MEAN:
            body["pooling"] = [pooling.kind, pooling.layers]
        if isinstance(self.encoder, Informed):
            body["labels"] = [sample.label for sample in samples]
            body["crowds"] = [[[c.box_xywh, _plain(c.segmentation)] for c in sample.crowds] for sample in samples]
        return self._key_of(body)

    def _key_of(self, about: Mapping[str, Any]) -> str:
        spec = self.encoder.spec
        body: dict[str, Any] = {
            "weights": self.encoder.weights_digest(),
            "architecture": self.encoder.architecture_digest(),
            "source": spec.source,
            "layers": spec.layers,
            "norm_last": spec.norm_last,
            "dtype": spec.dtype,
            "size": self._size_hw,
            "pad": spec.pad_to_patch,
            "code": self._code,
        }
        return json_digest(body | dict(about))

    def _compute(self, split: str, start: int, asked: _Asked) -> dict[View, Bundle]:
        samples, (geometry, views, _) = self._samples(split, start), asked
        futures = self._decode(split, geometry, start)
        if start + SHARD_IMAGES < len(self._dataset.splits[split]):
            self._decode(split, geometry, start + SHARD_IMAGES)  # the next shard, while this one is in the encoder
        del self._pending[split, geometry, start]
        rows: list[int] = []
        ready: list[_Ready] = []
        skipped: list[dict[str, str]] = []
        parts: list[dict[View, Arrays]] = []
        for row, (sample, future) in enumerate(zip(samples, futures, strict=True)):
            try:
                ready.append(future.result())
                rows.append(row)
            except ImageError as error:
                skipped.append({"item": sample.id, "reason": str(error)})
            if len(ready) == self._batch or (ready and row == len(samples) - 1):
                parts.append(self._forward(samples, rows, ready, asked))
                rows, ready = [], []
        return {view: Bundle(concatenated([part[view] for part in parts]), {"skipped": skipped}) for view in views}

    def _decode(self, split: str, geometry: Geometry, start: int) -> list[Future[_Ready]]:
        key = (split, geometry, start)
        if key not in self._pending:
            self._pending[key] = [self._pool.submit(self._prepare, s, geometry) for s in self._samples(split, start)]
        return self._pending[key]

    def _prepare(self, sample: Sample, geometry: Geometry) -> _Ready:
        image = load_image(sample.path)
        image_hw = (image.height, image.width)
        if sample.size_hw is not None and sample.size_hw != image_hw:
            raise ImageError(
                f"is {image_hw[1]}x{image_hw[0]} pixels, annotated as {sample.size_hw[1]}x{sample.size_hw[0]}"
            )
        h, w = self._size_hw
        if geometry == "native":
            return _Ready(self.encoder.preprocess([image])[0], image_hw, None)
        pixels = np.asarray(image.resize((w, h), Image.Resampling.BICUBIC))
        grid = (h // self.encoder.patch, w // self.encoder.patch)
        cover = np.stack([coverage(region, grid, image_hw) for region in sample.regions]) if sample.regions else None
        return _Ready(torch.from_numpy(pixels.copy()).permute(2, 0, 1), image_hw, cover)

    def _forward(self, of: Sequence[Sample], rows: list[int], ready: list[_Ready], asked: _Asked) -> dict[View, Arrays]:
        batch, (geometry, views, pooling) = [of[row] for row in rows], asked
        model_B3HW = torch.stack([each.model_3HW for each in ready]).to(self.encoder.device)
        if geometry == "squash":
            model_B3HW = self.encoder.normalize(model_B3HW.float() / 255)
        if isinstance(self.encoder, Informed):
            self.encoder.observe([self._truth(s, r, geometry) for s, r in zip(batch, ready, strict=True)])
        with torch.inference_mode():
            blocks = blocks_of(self.encoder, model_B3HW, pooling)
            dense_BCHW = side_by_side(blocks).float()
            finite_B = dense_BCHW.isfinite().flatten(1).all(1).cpu().tolist()
            if not all(finite_B):
                bad = batch[finite_B.index(False)].id
                raise UserError(f"{self.encoder.spec.title} gives NaN or infinite features for {bad}; try ?dtype=fp32.")
            out: dict[View, Arrays] = {}
            if "items" in views:
                out["items"] = self._pool_items(dense_BCHW, rows, ready)
                if "cls" in pooling.kind:  # of whole images alone, one row each
                    out["items"]["x_NC"] = class_vectors(blocks, pooling).cpu().numpy()
            if "dense" in views:
                pixels = torch.stack([each.model_3HW for each in ready]).permute(0, 2, 3, 1).numpy()
                hw = np.array([each.image_hw for each in ready], dtype=np.int32)
                dense = compact(dense_BCHW.cpu().numpy())
                out["dense"] = {"dense_NCHW": dense, "pixels_NHW3": pixels, "image_N2": hw, "row_N": _rows(rows)}
        self.images += len(rows)
        return out

    def _pool_items(self, dense_BCHW: torch.Tensor, rows: list[int], ready: list[_Ready]) -> Arrays:
        """Coverage-weighted mean of the patch tokens of each region; the plain mean where the data set has no regions."""
        x, row, region = [], [], []
        for b, (position, each) in enumerate(zip(rows, ready, strict=True)):
            dense_CHW = dense_BCHW[b]
            if "regions" not in self._dataset.provides:
                x.append(dense_CHW.mean((1, 2))[None])
                row.append(position)
                region.append(0)
            elif each.cover_RHW is not None:
                weight_RHW = torch.from_numpy(each.cover_RHW).to(dense_CHW.device)
                total_R = weight_RHW.sum((1, 2))
                x.append(torch.einsum("rhw,chw->rc", weight_RHW, dense_CHW) / total_R.clamp_min(1e-12)[:, None])
                # A region that covers nothing (degenerate after clipping) keeps a row of zeros, marked by -1 - k.
                keep = (total_R > 0).tolist()
                row.extend([position] * len(keep))
                region.extend(k if kept else -1 - k for k, kept in enumerate(keep))
        x_NC = torch.cat(x).cpu().numpy() if x else np.zeros((0, dense_BCHW.shape[1]), np.float32)
        return {"x_NC": x_NC.astype(np.float32), "row_N": _rows(row), "region_N": _rows(region)}

    def _truth(self, sample: Sample, ready: _Ready, geometry: Geometry) -> Truth:
        regions = geometry == "squash" and "regions" in self._dataset.provides
        return Truth(label_map(sample, self._size_hw, ready.image_hw) if regions else None, sample.label)


def _rows(values: list[int]) -> npt.NDArray[np.int32]:
    return np.array(values, dtype=np.int32)


def _plain(segmentation: Any) -> Any:
    """A segmentation as JSON: compressed RLE counts may be bytes."""
    if not isinstance(segmentation, dict):
        return segmentation
    return {key: value.decode() if isinstance(value, bytes) else value for key, value in segmentation.items()}
