"""Send every view of a split through the encoder once and keep its features, file by file."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.detection.loader import pool_batches
from probes.detection.recipe import TrainingConfig
from probes.detection.tokens import tokens_of
from probes.detection.truth import GroundTruth
from probes.detection.views import KeptViews, about, opened, packed, shards
from rice_core.bundle import Bundle
from rice_core.features import Encoder, Informed

if TYPE_CHECKING:
    from rice_core.stage import StageWork


def views_kept(truth: GroundTruth, config: TrainingConfig, *, side: int, work: StageWork) -> int:
    """Views that are in the cache already."""
    assert config.views is not None
    found = (each for each in shards(len(truth.images), config.views) if work.has(about(truth, each, side, config)))
    return sum(len(each) * config.views for each in found)


def keep_views(
    encoder: Encoder,
    truth: GroundTruth,
    config: TrainingConfig,
    *,
    side: int,
    what: str,
    work: StageWork,
    workers: int = 0,
) -> KeptViews:
    """The features of all views: those in the cache, and the others made now. Rank 0 makes them, and all ranks read.

    Raises:
        UserError: the features are not finite.
        StoreError: the disk is full.
    """
    assert config.views is not None
    chosen = shards(len(truth.images), config.views)
    paths: list[Path] = []
    files: dict[int, Any] = {}
    for number in work.progress(range(len(chosen)), f"{what}: keeping the features of its views"):
        wanted = about(truth, chosen[number], side, config)
        path = None
        if work.ranks.leads:
            made = partial(_made, encoder, truth, chosen[number], side, config, workers)
            path = work.find(wanted) or work.keep(wanted, made())
            # Another run that shares the cache may have put it out between the two; once open, it stays.
            with contextlib.suppress(FileNotFoundError):
                files[number] = opened(path)
            if number not in files:
                path = work.keep(wanted, made())
        paths.append(work.ranks.agree(path))
        if number not in files:
            files[number] = opened(paths[-1])
    return _listed(paths, len(chosen[0]), files)


def _made(
    encoder: Encoder, truth: GroundTruth, chosen: range, side: int, config: TrainingConfig, workers: int
) -> Bundle:
    """half_NCTU, exponent_N, and of each row image_N, view_N and the image's size_N2; `notes["reasons"]` of images left out."""
    told = isinstance(encoder, Informed)
    names = {truth.images[number].sample.id: number for number in chosen}
    rows: list[dict[str, Any]] = []
    reasons: dict[str, str] = {}
    views = dict.fromkeys(chosen, 0)
    pin = encoder.device.type == "cuda"
    for batch in pool_batches(truth.images, chosen, config, side=side, told=told, workers=workers, pin=pin):
        reasons |= {str(names[skip.item]): skip.reason for skip in batch.skipped}
        if not batch.examples:
            continue
        kept = packed(tokens_of(encoder, batch, config.precision, config.norm))
        for example, half_CTU, exponent in zip(
            batch.examples, kept.half_BCTU.cpu().numpy(), kept.exponent_B.tolist(), strict=True
        ):
            number = names[example.image.sample.id]
            place = {"image": number, "view": views[number], "size": example.placing.image_hw}
            rows.append({"half": half_CTU, "exponent": exponent, **place})
            views[number] += 1
    if not rows:
        return Bundle({}, {"reasons": reasons})
    arrays = {
        "half_NCTU": np.stack([row["half"] for row in rows]),
        "exponent_N": np.array([row["exponent"] for row in rows], dtype=np.int32),
        "image_N": np.array([row["image"] for row in rows], dtype=np.int32),
        "view_N": np.array([row["view"] for row in rows], dtype=np.int32),
        "size_N2": np.array([row["size"] for row in rows], dtype=np.int32),
    }
    return Bundle(arrays, {"reasons": reasons})


def _listed(paths: list[Path], images: int, files: dict[int, Any]) -> KeptViews:
    rows: dict[tuple[int, int], int] = {}
    sizes: dict[int, tuple[int, int]] = {}
    reasons: dict[int, str] = {}
    for _, file in sorted(files.items()):
        notes = json.loads(file.metadata()["notes"])
        reasons |= {int(number): reason for number, reason in notes["reasons"].items()}
        if "image_N" not in file.keys():  # noqa: SIM118 - no mapping
            continue
        image_N, view_N, size_N2 = (file.get_tensor(name) for name in ("image_N", "view_N", "size_N2"))
        for row, (image, view) in enumerate(zip(image_N.tolist(), view_N.tolist(), strict=True)):
            rows[image, view] = row
            sizes[image] = (int(size_N2[row, 0]), int(size_N2[row, 1]))
    return KeptViews(tuple(paths), images, rows, sizes, reasons, files)
