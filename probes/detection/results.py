"""Results on disk: COCO's own JSON, which any official evaluator or server reads, and beside it what it was made from.

`NAME.json` holds one object a detection: image_id and category_id (the data set's own), bbox (x, y, width, height in
pixels), score, and for masks segmentation (compressed run lengths). `NAME.about.json` says which weights, annotations and
protocol they belong to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probes.detection.truth import GroundTruth
from rice_core.datasets.coco_masks import BadEntry, read_polygons, rle_counts
from rice_core.datasets.entries import Key, as_key, meant, no_json
from rice_core.datasets.runs import fills_of
from rice_core.digest import bytes_digest
from rice_core.disk.files import write_atomically
from rice_core.errors import UserError
from rice_core.record import Skipped

_FAR = 1e7
"""Pixels that a box may reach; what is farther is no coordinate."""


@dataclass(frozen=True)
class Results:
    """What a results file says, as far as it can be judged."""

    entries: list[dict[str, Any]]
    skipped: tuple[Skipped, ...]
    """One a reason, with how many entries it concerns."""
    has_masks: bool
    """Whether every entry has one, and any can be used; an empty file has none."""
    about: dict[str, str] | None
    """None where nothing stands beside the file, or it describes other results."""
    notes: tuple[str, ...] = ()
    """What was decided about the file as a whole: one sentence each."""


def about_path(path: Path) -> Path:
    """Where `write_results` says what a results file was made from."""
    return path.with_name(f"{path.name.removesuffix('.json')}.about.json")


def write_results(path: Path, results: Sequence[Mapping[str, Any]], about: Mapping[str, str]) -> None:
    """Write both files, each whole or not at all.

    Args:
        about: digests of weights and annotations, protocol, backend; the digest of the results is added.

    Raises:
        StoreError: the folder cannot be written.
        ValueError: a number is not finite.
    """
    data = json.dumps([_plain(row) for row in results], allow_nan=False, separators=(",", ":")).encode()
    write_atomically(path, data)
    beside = {**about, "results": bytes_digest(data)}
    write_atomically(about_path(path), (json.dumps(beside, indent=2, sort_keys=True) + "\n").encode())


def read_results(path: Path, truth: GroundTruth) -> Results:
    """Read a results file, ours or another's. A flaw costs the field that has it, or the entry, and is counted by reason.

    Beside a sound box a mask that cannot be used covers nothing, so that it can find nothing; without one by a sound mask a box is
    drawn around that.

    Raises:
        UserError: the file cannot be read, or is no JSON list.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give the path of a results file.") from None
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise no_json(path, data, error, "write it again") from None
    if not isinstance(body, list):
        raise UserError(f"{path} holds no list; COCO results are a list with one object a detection.")
    reader = _Reader(truth)
    left_out = _LeftOut()
    entries = []
    fills = _fills(body) if truth.has_masks else {}
    for place, entry in enumerate(body):
        try:
            read, flaw = reader.entry(entry, fills.get(place))
        except BadEntry as reason:
            left_out.add(str(reason), f"entry {place}")
            continue
        entries.append(read)
        if flaw:
            left_out.add(flaw, f"entry {place}")
    with_masks = sum("segmentation" in entry for entry in entries)
    notes = []
    if 0 < with_masks < len(entries):
        lacking = f"{len(entries) - with_masks} of {len(entries)} entries of {path.name} have no mask"
        notes.append(f"{lacking}, so masks are not judged.")
    elif 0 < with_masks == reader.broken_masks:
        notes.append(f"No mask of {path.name} can be used, so masks are not judged.")
    if reader.other_ids:
        notes.append(
            f"{reader.other_ids} entries of {path.name} write an id otherwise than the annotations do, as text for a number; each is "
            "read as the one that it can only be."
        )
    return Results(
        entries=entries,
        skipped=left_out.skipped(path.name),
        has_masks=reader.broken_masks < with_masks == len(entries),
        about=_about(path, bytes_digest(data)),
        notes=tuple(notes),
    )


@dataclass
class _LeftOut:
    counts: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Reason -> how often, and where first."""

    def add(self, reason: str, item: str) -> None:
        count, first = self.counts.get(reason, (0, item))
        self.counts[reason] = (count + 1, first)

    def skipped(self, name: str) -> tuple[Skipped, ...]:
        return tuple(
            Skipped(
                item=f"{name}: {count} {'entry' if count == 1 else 'entries'}, first {first}:", reason=r, times=count
            )
            for r, (count, first) in self.counts.items()
        )


class _Reader:
    """Checks entries against the images and categories of the truth. Reasons hold no ids, so that they can be counted."""

    def __init__(self, truth: GroundTruth) -> None:
        self.has_masks = truth.has_masks
        self.size_of: dict[Key, tuple[int, int] | None] = {image.key: image.size_hw for image in truth.images}
        self.categories = {category.id for category in truth.categories}
        self.broken_masks = self.other_ids = 0
        """Entries whose mask cannot be used, but their box; and those with ids that are written otherwise than in the truth."""

    def entry(self, entry: Any, pixels: int | None) -> tuple[dict[str, Any], str]:
        """The entry as it is judged, and what it cost that a field of it cannot be used, "" where all can.

        Args:
            pixels: of the entry's run lengths, if they are text; -1 where they cannot be read.
        """
        if not isinstance(entry, dict):
            raise BadEntry("is no JSON object")
        image = meant(entry.get("image_id"), self.size_of)
        category = meant(entry.get("category_id"), self.categories)
        if image is None or image not in self.size_of:
            raise BadEntry("is of an image that the annotations do not have")
        if category is None or category not in self.categories:
            raise BadEntry("is of a category that the annotations do not have")
        if not _finite(entry.get("score")):
            raise BadEntry("has no finite score")
        self.other_ids += (image, category) != (as_key(entry["image_id"]), as_key(entry["category_id"]))
        checked: dict[str, Any] = {"image_id": image, "category_id": category, "score": entry["score"]}
        # An empty list is none, as to pycocotools: exporters of masks write "bbox": [].
        box, segmentation = (None if entry.get(key) == [] else entry.get(key) for key in ("bbox", "segmentation"))
        if not self.has_masks and box is not None:
            segmentation = None  # masks are not judged, so whatever stands there costs no box
        if box is None and segmentation is None:
            raise BadEntry("has neither a box nor a mask")
        if segmentation is None:
            return checked | {"bbox": _box(box)}, ""
        size_hw = self.size_of[image]
        try:
            checked["segmentation"] = _mask(segmentation, size_hw, pixels)
        except BadEntry as reason:
            if box is None:
                raise
            checked |= {"bbox": _box(box), "segmentation": _nothing(size_hw)}
            self.broken_masks += 1
            return checked, f"{reason}: the box is judged, and the mask covers nothing"
        try:
            return checked | {"bbox": _around(checked["segmentation"]) if box is None else _box(box)}, ""
        except BadEntry as reason:
            return checked | {"bbox": _around(checked["segmentation"])}, f"{reason}: it is drawn around the mask"


def _box(value: Any) -> list[float]:
    if not isinstance(value, list) or len(value) != 4 or not all(map(_finite, value)):
        raise BadEntry("has no box of four finite numbers")
    if value[2] < 0 or value[3] < 0:
        raise BadEntry("has a box of negative size")
    if max(map(abs, value)) > _FAR:
        raise BadEntry("has a box far outside of any image")
    return value


def _fills(body: list[Any]) -> dict[int, int]:
    """Place -> pixels of the run lengths of all entries that have them as text; -1 where they cannot be read."""
    texts: dict[int, str] = {}
    for place, entry in enumerate(body):
        mask = entry.get("segmentation") if isinstance(entry, dict) else None
        if isinstance(mask, dict) and isinstance(counts := mask.get("counts"), str):
            texts[place] = counts
    return dict(zip(texts, fills_of(list(texts.values()))[0].tolist(), strict=True))


def _mask(value: Any, size_hw: tuple[int, int] | None, pixels: int | None) -> dict[str, Any]:
    """The run lengths as compressed text, checked: evaluators read memory that is not theirs where they do not fit."""
    if isinstance(value, list):
        return _drawn(value, size_hw)
    if not isinstance(value, dict):
        raise BadEntry("has a segmentation that is neither polygons nor run lengths")
    size = list(size_hw) if size_hw is not None else value.get("size")
    if value.get("size") != size or not isinstance(size, list) or len(size) != 2:
        raise BadEntry("has run lengths of another size than the image")
    counts = value.get("counts")
    try:
        runs = rle_counts(counts) if pixels is None or pixels < 0 else []
    except ValueError as error:
        raise BadEntry(f"has run lengths that cannot be read: {error}") from None
    filled = sum(runs) if pixels is None else pixels
    if not all(isinstance(n, int) for n in size) or filled != size[0] * size[1]:
        raise BadEntry("has run lengths that do not fill the mask")
    return {"size": size, "counts": counts} if isinstance(counts, str) else _compressed(runs, size)


def _drawn(polygons: list[Any], size_hw: tuple[int, int] | None) -> dict[str, Any]:
    """Polygons as pycocotools draws them, which takes them in results as in annotations."""
    from pycocotools import mask

    if size_hw is None:
        raise BadEntry("has polygons, and the annotations have no size of its image")
    checked = read_polygons(polygons, size_hw)
    return _plain_mask(mask.merge(mask.frPyObjects(checked, *size_hw)))


def _nothing(size_hw: tuple[int, int] | None) -> dict[str, Any]:
    """A mask without a pixel; where the image's size is not known masks are not judged."""
    height, width = size_hw or (1, 1)
    return _compressed([height * width], [height, width])


def _compressed(runs: list[int], size: list[int]) -> dict[str, Any]:
    from pycocotools import mask

    return _plain_mask(mask.frPyObjects({"size": size, "counts": runs}, *size))


def _around(mask: Mapping[str, Any]) -> list[float]:
    from pycocotools import mask as coco_mask

    return [float(v) for v in coco_mask.toBbox(mask)]


def _finite(value: Any) -> bool:
    # Neither does what is no number lie between two.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1e300 < value < 1e300


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        "image_id": row["image_id"],
        "category_id": row["category_id"],
        "bbox": [float(v) for v in row["bbox"]],
        "score": float(row["score"]),
    }
    return kept | {"segmentation": _plain_mask(row["segmentation"])} if "segmentation" in row else kept


def _plain_mask(mask: Mapping[str, Any]) -> dict[str, Any]:
    counts = mask["counts"]
    return {
        "size": [int(n) for n in mask["size"]],
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }


def _about(path: Path, digest: str) -> dict[str, str] | None:
    try:
        about = json.loads(about_path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(about, dict) or about.get("results") != digest:
        return None
    return {str(key): str(value) for key, value in about.items()}
