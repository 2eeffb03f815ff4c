"""What a data set is asked for by (fingerprint) and what it really holds (data digest). Both are the same on any machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rice_core.datasets.nouns import Dataset, Region, Sample
from rice_core.digest import canonical_json, file_digest, json_digest

UNREADABLE = "unreadable"


def fingerprint(
    layout: str, classes: tuple[str, ...], splits: Mapping[str, tuple[Sample, ...]], annotations: Mapping[str, str]
) -> str:
    """20 hex digits over names, splits and annotations.

    Labels that live in files of their own count by those files' bytes (`annotations`: relative name -> sha256), and the
    image sizes with them; elsewhere an image's size in bytes stands for it. So the miniature world, whose PNG bytes
    depend on the zlib at hand, is one data set everywhere.
    """
    names: dict[str, list[list[Any]]] = {
        split: [[s.id, s.label, None if annotations else s.path.stat().st_size] for s in samples]
        for split, samples in splits.items()
    }
    return json_digest([layout, classes, names, dict(annotations)])[:20]


def file_digests(dataset: Dataset, *, threads: int = 8) -> dict[str, str]:
    """sha256 of the bytes of every image by sample id; `unreadable` where the file cannot be opened."""
    samples = [sample for split in dataset.splits.values() for sample in split]
    with ThreadPoolExecutor(threads) as pool:  # hashlib lets go of the interpreter lock
        return dict(zip((s.id for s in samples), pool.map(_digest, (s.path for s in samples)), strict=True))


def data_digest(dataset: Dataset, files: Mapping[str, str] | None = None) -> str:
    """sha256 over the bytes of the images, their labels, regions and crowds, split by split.

    Args:
        files: `file_digests(dataset)`, where it is at hand already.
    """
    files = file_digests(dataset) if files is None else files
    digest = hashlib.sha256(canonical_json(dataset.classes).encode())
    for split, samples in sorted(dataset.splits.items()):
        for sample in samples:
            line = [split, sample.id, files[sample.id], sample.label, sample.size_hw, _plain(sample.regions)]
            if sample.crowds:  # without any, the digest of a data set is what it always was
                line.append(_plain(sample.crowds))
            if sample.target:
                line.append(_digest(sample.target))
            digest.update(canonical_json(line).encode())
    return digest.hexdigest()


def _plain(regions: tuple[Region, ...]) -> list[list[Any]]:
    return [[region.box_xywh, region.label, region.segmentation] for region in regions]


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError:
        return UNREADABLE
