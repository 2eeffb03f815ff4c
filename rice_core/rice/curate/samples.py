"""Found regions and labels -> the samples of the shards, with a count of what was kept and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from rice_core.rice.curate.find import FoundRegions, has_regions, read_found
from rice_core.rice.curate.label import Clusters
from rice_core.rice.curate.nouns import SourceImage, Tokenizer
from rice_core.rice.curate.shards import ShardSample
from rice_core.rice.regions import RegionSample, TrainingRegion


def labelled(
    parts: Sequence[Sequence[SourceImage]],
    pieces: Sequence[Path],
    *,
    objects: Clusters | None,
    images: Clusters | None,
    tokenizer: Tokenizer | None,
    counts: Counter[str],
) -> Iterator[ShardSample]:
    """Every image that keeps a region and was described, in the order of the parts.

    Args:
        pieces: the regions piece of each part.
        counts: grows by images, regions.object, regions.ocr, left_out.images.no_region and left_out.lines.no_tokens.
    """
    for number, (part, piece) in enumerate(zip(parts, pieces, strict=True)):
        label_N = objects.labels(number)[:, 0].tolist() if objects else []
        image_NM = images.labels(number).tolist() if images else []
        object_at = image_at = 0
        for source, found in zip(part, read_found(piece), strict=True):
            labels = label_N[object_at : object_at + len(found.objects)]
            object_at += len(found.objects)
            image_labels = image_NM[image_at] if images and has_regions(found) else ()
            image_at += has_regions(found)
            if -1 in labels or -1 in image_labels:
                continue  # it could not be described, which is counted there
            regions = _regions(found, labels, tokenizer, counts)
            if regions:
                yield ShardSample(source, _sample(source, found, regions, image_labels))
            elif found.problem is None:
                counts["left_out.images.no_region"] += 1


def _regions(
    found: FoundRegions, labels: Sequence[int], tokenizer: Tokenizer | None, counts: Counter[str]
) -> list[TrainingRegion]:
    regions = [
        TrainingRegion(type="object", box=p.box, labels=(label,), rle=p.rle, score=p.score)
        for p, label in zip(found.objects, labels, strict=True)
    ]
    for line in found.lines:
        tokens = tokenizer.tokens(line.text) if tokenizer else ()
        if tokens:
            regions.append(TrainingRegion(type="ocr", box=line.box, labels=tokens, text=line.text, score=line.score))
        else:
            counts["left_out.lines.no_tokens"] += 1
    for region in regions:
        counts[f"regions.{region.type}"] += 1
    counts["images"] += bool(regions)
    return regions


def _sample(
    source: SourceImage, found: FoundRegions, regions: Sequence[TrainingRegion], image_labels: Sequence[int]
) -> RegionSample:
    return RegionSample(
        width=found.width,
        height=found.height,
        regions=tuple(regions),
        image_labels=tuple(image_labels),
        caption=source.caption,
        source=source.id,
    )
