"""What a data set is asked for by (fingerprint) and what it really holds (data digest). Both are the same on any machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rice_core.datasets.known_files import KnownFiles
from rice_core.datasets.nouns import Conversation, Dataset, Expression, Item, Region, Sample, Video
from rice_core.datasets.tracks import Track
from rice_core.digest import canonical_json, file_digest, json_digest
from rice_core.disk.paths import as_text

UNREADABLE = "unreadable"
_BLOCK = 4096


@runtime_checkable
class ListedAtOnce(Protocol):
    """A split that says what its items are without making each: a million rows of one file, whose bytes count anyway."""

    @property
    def listing(self) -> list[Any]:
        """What stands for the names of its items; JSON."""


def fingerprint(
    layout: str, classes: tuple[str, ...], splits: Mapping[str, Sequence[Item]], annotations: Mapping[str, str]
) -> str:
    """20 hex digits over names, splits and annotations.

    Labels that live in files of their own count by those files' bytes (`annotations`: relative name -> sha256), and the
    image sizes with them; elsewhere an image's size in bytes stands for it. So the miniature world, whose PNG bytes
    depend on the zlib at hand, is one data set everywhere. Of a video the sizes of its annotation files stand for it: none of
    its frames is listed.
    """
    names = {
        split: items.listing
        if isinstance(items, ListedAtOnce)
        else [_listed(item, sized=not annotations) for item in items]
        for split, items in splits.items()
    }
    return json_digest([layout, classes, names, dict(annotations)])[:20]


def _listed(item: Item, *, sized: bool) -> list[Any]:
    if isinstance(item, Video):
        return [item.id, item.origin, *(path.stat().st_size for path in item.truth.files)]
    if not isinstance(item, Sample):
        return [item.id]
    return [item.id, item.label, *([path.stat().st_size for path in item.files] if sized else [None])]


def file_digests(dataset: Dataset, *, known: KnownFiles | None = None, threads: int = 8) -> dict[str, str]:
    """sha256 of the bytes of every item by its id, `unreadable` where a file cannot be opened; of several files, over theirs.

    Args:
        known: what was read before; None reads every file.
    """
    read = partial(_digest, read=file_digest if known is None else known.digest)
    # A file that holds many items, as a table does, is read once.
    left = iter(dict.fromkeys(path for item in _items(dataset) for path in item.files))
    of_path: dict[Path, str] = {}
    with ThreadPoolExecutor(threads) as pool:  # hashlib lets go of the interpreter lock
        # In blocks: a pool holds all that it was given.
        while block := list(islice(left, _BLOCK)):
            of_path |= zip(block, pool.map(read, block), strict=True)
    return {item.id: item_digest(item, of_path.__getitem__) for item in _items(dataset)}


def _items(dataset: Dataset) -> Iterator[Item]:
    """One by one: a split may have a million, which it reads when they are asked for."""
    return (item for split in dataset.splits.values() for item in split)


def data_digest(dataset: Dataset, files: Mapping[str, str] | None = None) -> str:
    """sha256 over the bytes of the items and all that is known of them, split by split.

    Args:
        files: `file_digests(dataset)`, where it is at hand already.
    """
    files = file_digests(dataset) if files is None else files
    digest = hashlib.sha256(canonical_json(dataset.classes).encode())
    for split, items in sorted(dataset.splits.items()):
        for item in items:
            digest.update(canonical_json([split, item.id, files[item.id], *_told(item)]).encode())
    return digest.hexdigest()


def _told(item: Item) -> list[Any]:
    """What is known of an item beside its files' bytes."""
    match item:
        case Sample():
            told: list[Any] = [item.label, item.size_hw, _plain(item.regions)]
            if item.crowds or item.label_map:  # without any, the digest of a data set is what it always was
                told.append(_plain(item.crowds))
            if item.label_map:
                told.append(sorted(item.label_map.meaning.items()))
            if item.target:  # no part of what features depend on, so not among the item's files
                told.append(_digest(item.target, file_digest))
            return told
        case Video():
            names = _names(item)
            known = [] if item.truth.files else [_track(item.track())]
            return [names, item.origin, dict(item.attributes), *known]
        case Conversation():
            turns = [[turn.speaker, turn.text] for turn in item.turns]
            return [turns, item.answers, item.cluster, dict(item.attributes)]
        case Expression():
            mask = _plain((item.mask,)) if isinstance(item.mask, Region) else None
            return [item.text, mask, item.cluster, item.size_hw]


def _names(video: Video) -> list[str]:
    try:
        return [as_text(frame.name) for frame in video.frames]
    except OSError:
        return [UNREADABLE]


def _track(track: Track) -> str:
    """Of truth that lies in no file."""
    arrays = (track.boxes_T4, track.absent_T, *(track.flags[name] for name in sorted(track.flags)))
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def _plain(regions: tuple[Region, ...]) -> list[list[Any]]:
    return [[region.box_xywh, region.label, region.segmentation] for region in regions]


def item_digest(item: Item, read: Callable[[Path], str] = file_digest) -> str:
    """sha256 of the bytes of an item's file, `unreadable` where it cannot be opened; of several, over theirs."""
    digests = [_digest(path, read) for path in item.files]
    return digests[0] if len(digests) == 1 else json_digest(digests)


def _digest(path: Path, read: Callable[[Path], str]) -> str:
    try:
        return read(path)
    except OSError:
        return UNREADABLE
