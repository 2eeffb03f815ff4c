"""Extraction: images through a frozen encoder into cached shards, decoding ahead of the forward pass.

Two geometries. `squash` resizes the whole image to the encoder's resolution, so that every annotated object stays in
the picture; it serves regions and dense views. `native` is the model's own resize and crop; it serves whole images.
Two views: `items` (pooled features of objects or whole images) and `dense` (the patch grid with the pixels seen).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Literal

import torch

from rice_core.bundle import Arrays, Bundle
from rice_core.datasets import Dataset, Sample
from rice_core.datasets.seen import labels_seen
from rice_core.digest import json_digest
from rice_core.errors import UserError, room_for
from rice_core.features import Encoder, Informed, Layered, Truth
from rice_core.images import ImageError
from rice_core.measure.cache import FeatureCache
from rice_core.measure.compact import compact, concatenated
from rice_core.measure.decoded import Decoded, decoded, pooled, seen
from rice_core.pooling import MEAN, blocks_of, class_vectors, side_by_side
from rice_core.probe import Read, View

Geometry = Literal["squash", "native"]
SHARD_IMAGES = 64
Reads = tuple[Read, ...]


class Extractor:
    """Features of one data set under one encoder.

    Args:
        files: sha256 of each image file by sample id, part of every shard's key.
        code: digest of the code and libraries that turn files into features.
        batch: images a forward pass.
        workers: decoding threads. Few serve a GPU best: they share the interpreter's lock (docs/benchmarks.md, On a GPU).
        reads: all that will be asked for, so that one pass serves what it can.
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
        reads: Sequence[Read] = (),
    ) -> None:
        self.images = 0
        """Images that went through the encoder (not through the cache)."""
        self.seconds = 0.0
        """Spent on them, decoding included."""
        self.encoder = encoder
        self._dataset = dataset
        self.cache = cache
        self._files = files
        self._code = code
        self._batch = batch
        self._pool = ThreadPoolExecutor(max_workers=max(1, workers))
        self._reads = tuple(self._numbered(read) for read in reads if self._reaches(read.layer))
        self._pending: dict[tuple[str, Geometry, str, int], list[Future[Decoded]]] = {}
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

    def starts(self, split: str, most: int | None = None) -> range:
        """First image of each shard."""
        n = len(self._dataset.splits.get(split, ()))
        return range(0, n if most is None else min(n, most), SHARD_IMAGES)

    def shard(self, read: Read, start: int) -> Bundle:
        """The shard of a read that begins at image `start`: from the cache, else computed and kept.

        items: x_NC, row_N (the image's position in the shard), region_N (its k-th region; -1 - k where that covers nothing).
        dense: dense_NCHW, pixels_NHW3, image_N2 (decoded height and width), row_N. Empty when no image could be read.
        `notes["skipped"]` lists the images that could not be read, with reasons.

        Raises:
            UserError: the features are not finite, or the size does not suit the encoder.
            StoreError: the disk is full.
        """
        read = replace(self._numbered(read), most=None)
        found = self.cache.get(self._key(read, start))
        if found is not None:
            return found
        began = time.perf_counter()
        advice = (
            f"use a --batch smaller than {self._batch}, or try ?dtype=bf16" if self._batch > 1 else "try ?dtype=bf16"
        )
        with room_for(f"{self.encoder.spec.title} with {self._batch} images at once", advice):
            shards = self._compute(start, self._together(read, start))
        self.seconds += time.perf_counter() - began
        for each, shard in shards.items():
            self.cache.put(self._key(each, start), shard)
        return shards[read]

    def _numbered(self, read: Read) -> Read:
        """The read with its layer by number, as the key has it: the same features for every spec whose last layer that is."""
        if read.layer is not None or read.pooling != MEAN:
            return read
        return replace(read, layer=self.encoder.spec.layers[-1])

    def _reaches(self, layer: int | None) -> bool:
        """Whether there is such a layer: what one probe asks in vain must not fail the pass of another."""
        return layer is None or (isinstance(self.encoder, Layered) and self.encoder.reaches(layer))

    def _together(self, read: Read, start: int) -> Reads:
        """What one pass over these images serves beside a read: all that is wanted of the same pictures, but another pooling."""
        if read.pooling != MEAN:
            return (read,)
        geometry = self.geometry(read.view)
        found = [
            replace(each, most=None)
            for each in (read, *self._reads)
            if (each.split, each.change, each.pooling) == (read.split, read.change, MEAN)
            and self.geometry(each.view) == geometry
            and (each is read or start < (each.most or 1 << 62))
        ]
        if self.geometry("items") == geometry:  # they cost nothing beside the pass, and whoever comes next finds them
            found += [replace(each, view="items") for each in found]
        return tuple(dict.fromkeys(found))

    def _samples(self, split: str, start: int) -> Sequence[Sample]:
        return self._dataset.samples(split)[start : start + SHARD_IMAGES]

    def _key(self, read: Read, start: int) -> str:
        samples = self._samples(read.split, start)
        body: dict[str, Any] = {
            "geometry": self.geometry(read.view),
            "view": read.view,
            # The annotated size decides whether an image is taken, and ids stand in the notes of what was left out.
            "files": [[sample.id, self._files.get(sample.id, ""), sample.size_hw] for sample in samples],
        }
        if read.layer is not None:  # and not all that the spec asks for: of a sweep each layer has a key of its own
            body["layers"] = [read.layer]
        if read.change:
            body["change"] = read.change
        if read.view == "items" or isinstance(self.encoder, Informed):
            body["regions"] = [[r.box_xywh, r.label, _plain(r.segmentation)] for s in samples for r in s.regions]
            body["objects"] = [len(sample.regions) for sample in samples]
        if read.pooling != MEAN:
            body["pooling"] = [read.pooling.kind, read.pooling.layers]
        if isinstance(self.encoder, Informed):
            body["labels"] = [sample.label for sample in samples]
            body["crowds"] = [[[c.box_xywh, _plain(c.segmentation)] for c in sample.crowds] for sample in samples]
        return self.key_of(body)

    def key_of(self, about: Mapping[str, Any]) -> str:
        """The key of what this encoder, with all that it asks for, makes of something."""
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

    def _compute(self, start: int, reads: Reads) -> dict[Read, Bundle]:
        split, samples = reads[0].split, self._samples(reads[0].split, start)
        futures = self._decode(reads[0], start)
        if start + SHARD_IMAGES < len(self._dataset.splits[split]):
            self._decode(reads[0], start + SHARD_IMAGES)  # the next shard, while this one is in the encoder
        del self._pending[self._decoded(reads[0], start)]
        rows: list[int] = []
        ready: list[Decoded] = []
        skipped: list[dict[str, str]] = []
        parts: list[dict[Read, Arrays]] = []
        for row, (sample, future) in enumerate(zip(samples, futures, strict=True)):
            try:
                ready.append(future.result())
                rows.append(row)
            except ImageError as error:
                skipped.append({"item": sample.id, "reason": str(error)})
            if len(ready) == self._batch or (ready and row == len(samples) - 1):
                parts.append(self._forward(samples, rows, ready, reads))
                rows, ready = [], []
        return {read: Bundle(concatenated([part[read] for part in parts]), {"skipped": skipped}) for read in reads}

    def _decoded(self, read: Read, start: int) -> tuple[str, Geometry, str, int]:
        return read.split, self.geometry(read.view), read.change, start

    def _decode(self, read: Read, start: int) -> list[Future[Decoded]]:
        key = self._decoded(read, start)
        if key not in self._pending:
            samples = self._samples(read.split, start)
            self._pending[key] = [
                self._pool.submit(decoded, s, self.encoder, read.change, squash=key[1] == "squash") for s in samples
            ]
        return self._pending[key]

    def _forward(self, of: Sequence[Sample], rows: list[int], ready: list[Decoded], reads: Reads) -> dict[Read, Arrays]:
        batch, geometry = [of[row] for row in rows], self.geometry(reads[0].view)
        model_B3HW = torch.stack([each.model_3HW for each in ready]).to(self.encoder.device)
        if geometry == "squash":
            model_B3HW = self.encoder.normalize(model_B3HW.float() / 255)
        if isinstance(self.encoder, Informed):
            self.encoder.observe([self._truth(s, r, geometry) for s, r in zip(batch, ready, strict=True)])
        out: dict[Read, Arrays] = {}
        with torch.inference_mode():
            encoded = self._encoded(model_B3HW, reads)
            for dense_BCHW, _ in encoded.values():
                finite_B = dense_BCHW.isfinite().flatten(1).all(1).cpu().tolist()
                if not all(finite_B):
                    bad = batch[finite_B.index(False)].id
                    raise UserError(
                        f"{self.encoder.spec.title} gives NaN or infinite features for {bad}; try ?dtype=fp32."
                    )
            for read in reads:
                dense_BCHW, cls_BC = encoded[read.layer]
                if read.view == "dense":
                    out[read] = {"dense_NCHW": compact(dense_BCHW.cpu().numpy()), **seen(rows, ready)}
                    continue
                out[read] = pooled(dense_BCHW, rows, ready, regions="regions" in self._dataset.provides)
                if cls_BC is not None:  # of whole images alone, one row each
                    out[read]["x_NC"] = cls_BC.cpu().numpy()
        self.images += len(rows)
        return out

    def _encoded(
        self, model_B3HW: torch.Tensor, reads: Reads
    ) -> dict[int | None, tuple[torch.Tensor, torch.Tensor | None]]:
        """By layer: patch tokens [B, C, H, W], and what a pooling of class tokens takes of them [B, C]; in one pass."""
        layers = sorted({read.layer for read in reads if read.layer is not None})
        if layers in ([], [self.encoder.spec.layers[-1]]):  # what every encoder can give
            pooling = reads[0].pooling
            blocks = blocks_of(self.encoder, model_B3HW, pooling)
            cls_BC = class_vectors(blocks, pooling) if "cls" in pooling.kind else None
            return {reads[0].layer: (side_by_side(blocks).float(), cls_BC)}
        assert isinstance(self.encoder, Layered)  # CellWork asks no other for a layer
        levels = self.encoder.levels(model_B3HW, layers)
        return {layer: (level.float(), None) for layer, level in zip(layers, levels, strict=True)}

    def _truth(self, sample: Sample, ready: Decoded, geometry: Geometry) -> Truth:
        told = geometry == "squash" and "dense-labels" in self._dataset.provides
        return Truth(labels_seen(sample, self._size_hw, ready.image_hw, ready.box) if told else None, sample.label)


def _plain(segmentation: Any) -> Any:
    """A segmentation as JSON: compressed RLE counts may be bytes."""
    if not isinstance(segmentation, dict):
        return segmentation
    return {key: value.decode() if isinstance(value, bytes) else value for key, value in segmentation.items()}
