"""The first two stages, chunk by chunk: images -> found regions (proposals and text), found regions -> features.

Each job is a plain value that a worker process or a Ray task runs alone; it writes one piece and returns nothing. An image
that a provider fails on is left out of its piece, with the reason (rice_core.rice.curate.faults).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import ValidationError

from rice_core.disk.files import write_atomically
from rice_core.errors import UserError
from rice_core.images import ImageError, load_image
from rice_core.rice.curate import providers
from rice_core.rice.curate.described import Described
from rice_core.rice.curate.faults import Fault, FaultRow, asked
from rice_core.rice.curate.nouns import Box, DecodedImage, Proposal, SourceImage, TextLine
from rice_core.rice.curate.pieces import write_arrays
from rice_core.rice.curate.settings import CurateSettings
from rice_core.spec import Frozen

FAILED = "failed"
"""The reason of an image that a provider failed on, for counting."""


class FoundRegions(Frozen):
    """One line of a regions piece: an image and what is in it after the filters."""

    id: str
    width: int = 0
    height: int = 0
    objects: tuple[Proposal, ...] = ()
    lines: tuple[TextLine, ...] = ()
    left_out: dict[str, int] = {}
    """Reason -> regions of this image that the filters took away."""
    problem: str | None = None
    """Why the whole image is left out."""
    reason: str | None = None
    """The same as one of a few words, for counting: unreadable, small, or failed (FAILED)."""


@dataclass(frozen=True)
class FindJob:
    sources: tuple[SourceImage, ...]
    settings: CurateSettings
    device: str
    piece: Path


@dataclass(frozen=True)
class DescribeJob:
    sources: tuple[SourceImage, ...]
    settings: CurateSettings
    device: str
    regions: Path
    piece: Path
    whole: bool
    """Describe whole images instead of their objects."""


def find(job: FindJob) -> None:
    """Write the chunk's `FoundRegions` values, one a line.

    Raises:
        UserError: a provider fails on image after image (`FaultRow`).
    """
    row = FaultRow()
    lines = [_find_or_leave_out(source, job, row).model_dump_json() for source in job.sources]
    write_atomically(job.piece, ("\n".join(lines) + "\n").encode())


def read_found(path: Path) -> Iterator[FoundRegions]:
    """The values of a regions piece.

    Raises:
        UserError: it is damaged.
    """
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            yield FoundRegions.model_validate_json(line)
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is damaged ({reason}); run the same command with --fresh.") from None


def describe(job: DescribeJob) -> None:
    """Write the features of the chunk's objects, or of its images, in the order of `FoundRegions`; `Described` says in what form.

    Raises:
        UserError: the featurizer fails on image after image (`FaultRow`).
    """
    described = Described(providers.featurizer(job.settings.features, job.device))
    for source, image, boxes in _wanted(job):
        described.add(source.id, image, boxes)
    write_arrays(job.piece, described.arrays())


def _find_or_leave_out(source: SourceImage, job: FindJob, row: FaultRow) -> FoundRegions:
    try:
        found = _find_one(source, job)
    except Fault as fault:
        row.add(source.id, fault)
        return FoundRegions(id=source.id, problem=str(fault), reason=FAILED)
    except ImageError as error:
        return FoundRegions(id=source.id, problem=str(error), reason="unreadable")
    if found.problem is None:
        row.ends()
    return found


def _find_one(source: SourceImage, job: FindJob) -> FoundRegions:
    proposer = providers.proposer(job.settings.proposals, job.device)
    spotter = providers.spotter(job.settings.text, job.device)
    image = load_image(source.path)
    width, height = image.size
    if source.size_hw is not None and source.size_hw != (height, width):
        tall, wide = source.size_hw
        raise ImageError(f"is {width} x {height} pixels, annotated as {wide} x {tall}")
    if min(width, height) < job.settings.min_image:
        problem = f"is {width} x {height} pixels, its shorter edge below {job.settings.min_image}"
        return FoundRegions(id=source.id, problem=problem, reason="small")
    picture = DecodedImage(source, image)
    proposals: Sequence[Proposal] = ()
    lines: Sequence[TextLine] = ()
    if proposer is not None:
        with asked(proposer):
            proposals = proposer.propose(picture)
    if spotter is not None:
        with asked(spotter):
            lines = spotter.spot(picture)
    left_out: dict[str, int] = {}
    objects = tuple(p for p in proposals if _keep_object(p, image.size, job.settings, left_out))
    words = tuple(line for line in lines if _keep_line(line, image.size, job.settings, left_out))
    return FoundRegions(id=source.id, width=width, height=height, objects=objects, lines=words, left_out=left_out)


def _keep_object(p: Proposal, size_wh: tuple[int, int], settings: CurateSettings, left_out: dict[str, int]) -> bool:
    if not _inside(p.box, size_wh):
        return _drop("objects.outside", left_out)
    if min(p.box[2] - p.box[0], p.box[3] - p.box[1]) < settings.min_box:
        return _drop("objects.small", left_out)
    return True


def _keep_line(line: TextLine, size_wh: tuple[int, int], settings: CurateSettings, left_out: dict[str, int]) -> bool:
    if not _inside(line.box, size_wh):
        return _drop("lines.outside", left_out)
    if line.score is not None and not line.score > settings.min_text_score:
        return _drop("lines.score", left_out)
    return True


def _inside(box: Box, size_wh: tuple[int, int]) -> bool:
    """Whether any pixel of the box lies in the image; a NaN edge is nowhere."""
    wide, tall = min(box[2], size_wh[0]) - max(box[0], 0), min(box[3], size_wh[1]) - max(box[1], 0)
    return wide > 0 and tall > 0 and bool(np.isfinite(box).all())


def _drop(reason: str, left_out: dict[str, int]) -> bool:
    left_out[reason] = left_out.get(reason, 0) + 1
    return False


def _wanted(job: DescribeJob) -> Iterator[tuple[SourceImage, Image.Image, Sequence[Box]]]:
    """Each image that has something to describe, with the boxes."""
    for source, found in zip(job.sources, read_found(job.regions), strict=True):
        whole = [(0.0, 0.0, float(found.width), float(found.height))] if has_regions(found) else []
        boxes = whole if job.whole else [p.box for p in found.objects]
        if boxes:
            try:
                yield source, load_image(source.path), boxes
            except ImageError as error:
                raise UserError(
                    f"{source.id} {error}, and could be read before: something changes the images; run the command again."
                ) from None


def has_regions(found: FoundRegions) -> bool:
    """Whether the image goes on; one without any region is counted and left out."""
    return bool(found.objects or found.lines)
