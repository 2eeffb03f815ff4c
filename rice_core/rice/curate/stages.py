"""One curation, stage by stage: find, describe, cluster, write. Every stage is keyed by all that it depends on."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rice_core.datasets.coco import CROWDS
from rice_core.digest import canonical_json
from rice_core.disk.files import write_atomically
from rice_core.errors import UserError
from rice_core.progress import Progress
from rice_core.record import Skipped
from rice_core.rice.curate import providers
from rice_core.rice.curate.cards import write_cards
from rice_core.rice.curate.cluster import FaissKmeans
from rice_core.rice.curate.earlier import Earlier
from rice_core.rice.curate.faults import MEND
from rice_core.rice.curate.find import (
    FAILED,
    DescribeJob,
    FindJob,
    FoundRegions,
    describe,
    find,
    has_regions,
    read_found,
)
from rice_core.rice.curate.label import Clusters, cluster_regions, label_regions, told_clusters
from rice_core.rice.curate.nouns import SourceImage
from rice_core.rice.curate.pieces import Workplace
from rice_core.rice.curate.quality import quality
from rice_core.rice.curate.samples import labelled
from rice_core.rice.curate.settings import CurateSettings
from rice_core.rice.curate.shards import write_shards
from rice_core.rice.curate.sources import category_names, list_sources
from rice_core.rice.curate.stream import FeatureStream
from rice_core.rice.regions import CENTERS, IMAGE_CENTERS, MANIFEST, Bank, RegionManifest, Shard

CODE_VERSION = 1
"""Rises when the same settings come to write other shards."""

CHUNK = 128
"""Images of one piece of work."""

LEFT_OUT = "left_out.jsonl"
_SHARD = re.compile(r"shard-\d{6,}\.tar")


@dataclass
class Curation:
    """One run; methods stand in the order of the stages."""

    images: Path
    out: Path
    settings: CurateSettings
    chosen: providers.Chosen
    place: Workplace
    progress: Progress
    workers: int
    device: str
    spread_over: Callable[..., None]
    asked: dict[str, Any]
    """The settings, the fingerprint of the images and the code's version: what the manifest says."""
    earlier: Earlier | None = None
    """Whose centers label the regions; None: their own."""
    parts: list[tuple[SourceImage, ...]] = field(default_factory=list)
    pieces: list[Path] = field(default_factory=list)
    """Of the found regions, one a part."""
    counts: Counter[str] = field(default_factory=Counter)
    left_out: list[Skipped] = field(default_factory=list)
    """What LEFT_OUT lists."""
    lost: set[str] = field(default_factory=set)
    """Images that could not be described."""

    def run(self) -> RegionManifest:
        sources, skipped = list_sources(self.images, self.settings)
        self.parts = [tuple(sources[start : start + CHUNK]) for start in range(0, len(sources), CHUNK)]
        found_key = self._find()
        self._count(sources, skipped)
        s, objects, images = self.settings, None, None
        if s.proposals != "none":
            told = s.labels == "truth"
            objects = self._told(found_key) if told else self._cluster(found_key, whole=False, k=s.classes, most=1)
        if s.image_classes:
            images = self._cluster(found_key, whole=True, k=s.image_classes, most=s.image_labels)
        shards = self._write(objects, images)
        manifest = self._manifest(objects, images, shards)
        if objects is not None:
            write_atomically(self.out / CENTERS, (objects.folder / CENTERS).read_bytes())
            write_cards(self.out, objects, self.parts, self.pieces, manifest, s.seed)
        if images is not None:
            write_atomically(self.out / IMAGE_CENTERS, (images.folder / CENTERS).read_bytes())
        write_atomically(self.out / MANIFEST, (manifest.model_dump_json(indent=1) + "\n").encode())
        self.place.tidy()
        return manifest

    def _find(self) -> list[Any]:
        s = self.settings
        key = [CODE_VERSION, self.asked["source"], self.chosen.only("proposer", "text_spotter"), s.split, s.limit]
        key += [s.captions, s.min_image, s.min_box, s.min_text_score]
        folder = self.place.stage("regions", key)
        self.pieces = [folder / f"{number:06d}.jsonl" for number in range(len(self.parts))]
        jobs = [FindJob(part, s, self.device, piece) for part, piece in zip(self.parts, self.pieces, strict=True)]
        self._spread(find, jobs, self.chosen.find_portable, "proposals and text")
        return key

    def _count(self, sources: Sequence[SourceImage], skipped: Sequence[Skipped]) -> None:
        """Counts of what was found, and the list of what was left out."""
        listed = list(skipped)
        if bad := sum(each.reason != CROWDS for each in skipped):
            self.counts["left_out.annotations"] = bad
        if (crowds := sum(source.crowds for source in sources)) and self.settings.proposals == "coco":
            self.counts["left_out.crowds"] = crowds
        some, through, failed = False, False, None
        for found in self._found():
            some, through = some or has_regions(found), through or found.problem is None
            self.counts["images.listed"] += 1
            for reason, n in found.left_out.items():
                self.counts[f"left_out.{reason}"] += n
            if found.problem is not None:
                self.counts[f"left_out.images.{found.reason}"] += 1
                listed.append(Skipped(item=found.id, reason=found.problem))
                failed = failed or (found if found.reason == FAILED else None)
            elif not has_regions(found):
                listed.append(Skipped(item=found.id, reason="has no region that passes the filters"))
        self._leave_out(listed)
        if not some:
            reasons = ", ".join(f"{what.removeprefix('left_out.')} {n}" for what, n in sorted(self.counts.items()))
            step = "; smaller --min-image, --min-box or --min-text-score, or other --proposals, keep more."
            if failed is not None and not through:
                step = f": {failed.id} {failed.problem}; {MEND}, then run again with --fresh."
            raise UserError(f"no region is left of {self.images} ({reasons}){step}")

    def _leave_out(self, more: Sequence[Skipped]) -> None:
        """Add to the list, and say the first few."""
        self.left_out += more
        lines = [canonical_json({"item": each.item, "reason": each.reason}) + "\n" for each in self.left_out]
        write_atomically(self.out / LEFT_OUT, "".join(lines).encode())
        for each in more[:5]:
            self.progress.say(f"left out: {each.item} {each.reason}")
        if len(more) > 5:
            self.progress.say(f"left out: {len(more) - 5} more; {LEFT_OUT} lists them all")

    def _found(self) -> Iterator[FoundRegions]:
        for piece in self.pieces:
            yield from read_found(piece)

    def _cluster(self, found_key: list[Any], *, whole: bool, k: int, most: int) -> Clusters:
        """Features of regions, or of whole images, and their clusters."""
        s, what = self.settings, "images" if whole else "regions"
        features_key = [found_key, self.chosen.only("featurizer"), whole]
        folder = self.place.stage("features", features_key)
        jobs = [
            DescribeJob(part, s, self.device, piece, folder / f"{piece.stem}.safetensors", whole)
            for part, piece in zip(self.parts, self.pieces, strict=True)
        ]
        self._spread(describe, jobs, self.chosen.describe_portable, f"features of {what}")
        reduction = self.chosen.components if self.earlier is None else self.earlier.pca(whole=whole)
        stream = FeatureStream([job.piece for job in jobs], reduction)
        self._lose(stream, what)
        if self.earlier is not None:
            key = [features_key, self.chosen.only("clusterer"), self.earlier.digest, whole, most]
            self.progress.say(f"    {stream.rows} {what} by the centers of {self.earlier.folder}")
            folder = self.place.stage("clusters", key)
            return label_regions(stream, self._clusterer(), self.earlier.file(whole=whole), folder, most=most)
        key = [features_key, self.chosen.only("clusterer"), k, most]
        key += [s.seed, s.iterations, s.refine, s.fit_rows, s.min_cluster]
        self.progress.say(f"    {stream.rows} {what} into {k} clusters")
        return cluster_regions(
            stream,
            self._clusterer(),
            self.place.stage("clusters", key),
            k=k,
            most=most,
            smallest=s.min_cluster,
            say=self.progress.say,
            what=what,
        )

    def _lose(self, stream: FeatureStream, what: str) -> None:
        """Leave out the images that could not be described."""
        new = {image: problem for image, problem in stream.problems.items() if image not in self.lost}
        if new:
            self.lost |= set(new)
            self.counts[f"left_out.images.{FAILED}"] += len(new)
            self._leave_out([Skipped(item=image, reason=problem) for image, problem in new.items()])
        if stream.problems and not stream.rows:
            image, problem = next(iter(stream.problems.items()))
            raise UserError(
                f"none of the {what} could be described: {image} {problem}; {MEND}, then run again with --fresh."
            )

    def _told(self, found_key: list[Any]) -> Clusters:
        chunks = [[p.truth for found in read_found(piece) for p in found.objects] for piece in self.pieces]
        found = told_clusters(chunks, category_names(self.images), self.place.stage("clusters", [found_key, "truth"]))
        if self.earlier is not None and not self.earlier.has(found):
            raise UserError(
                f"the annotations of {self.images} have other categories, or in another order, than those of "
                f"{self.earlier.folder}; write the same categories into both."
            )
        return found

    def _clusterer(self) -> FaissKmeans:
        s = self.settings
        return FaissKmeans(iterations=s.iterations, refine=s.refine, fit_rows=s.fit_rows, seed=s.seed)

    def _write(self, objects: Clusters | None, images: Clusters | None) -> list[Shard]:
        per_shard = self.settings.shard_samples
        clusters = [None if each is None else each.folder.name for each in (objects, images)]
        tokenizer = [self.chosen.only("tokenizer"), self.settings.tokenizer]
        notes = self.place.stage("shards", [self.pieces[0].parent.name, clusters, tokenizer, per_shard])
        (self.out / MANIFEST).unlink(missing_ok=True)
        if not notes.is_dir():
            # Notes of other settings go before their shards do, so that none ever describes a shard of these.
            for other in self.place.root.glob("shards-*"):
                shutil.rmtree(other)
            for path in self.out.glob("shard-*.tar"):
                if _SHARD.fullmatch(path.name):
                    path.unlink()
            notes.mkdir(parents=True)
        samples = labelled(
            self.parts,
            self.pieces,
            objects=objects,
            images=images,
            tokenizer=self.chosen.tokenizer,
            counts=self.counts,
        )
        most = range(-(-self.counts["images.listed"] // per_shard))
        written = write_shards(self.out, samples, per_shard=per_shard, notes=notes)
        # The shards come first in the pair: their generator runs to its end, and with it the counts.
        return [shard for shard, _ in zip(written, self.progress.track(most, "shards"), strict=False)]

    def _manifest(self, objects: Clusters | None, images: Clusters | None, shards: list[Shard]) -> RegionManifest:
        versions = self.chosen.versions
        banks: dict[str, Bank] = {}
        measured: dict[str, float] = {}
        if objects is not None:
            told = self.settings.labels == "truth"
            what = "categories of the annotations" if told else f"clusters of {versions['featurizer']} features"
            banks["object"] = Bank(classes=objects.classes, what=what)
            measured |= {"inertia": objects.inertia} | self._quality(objects)
            self.counts["clusters.pruned"] = objects.pruned
        if self.chosen.tokenizer is not None:
            banks["ocr"] = Bank(classes=self.chosen.tokenizer.classes, what=f"tokens of {versions['tokenizer']}")
        if images is not None:
            what = f"clusters of {versions['featurizer']} features of whole images"
            banks["image"] = Bank(classes=images.classes, what=what)
            measured["image_inertia"] = images.inertia
        return RegionManifest(
            providers=versions,
            banks=banks,
            shards=tuple(shards),
            settings=self.asked,
            counts=dict(sorted(self.counts.items())),
            quality={name: round(value, 6) for name, value in measured.items()},
        )

    def _quality(self, objects: Clusters) -> dict[str, float]:
        """Against the categories that the proposer knows; nothing where it knows none."""
        truth = [p.truth for found in self._found() for p in found.objects]
        if not truth or any(label is None for label in truth):
            return {}
        label_N = np.concatenate([objects.labels(number)[:, 0] for number in range(len(self.parts))]).astype(np.int64)
        described_N = label_N >= 0
        return quality(label_N[described_N], np.array(truth, np.int64)[described_N], self.settings.seed)

    def _spread(self, job: Callable[[Any], object], jobs: Sequence[Any], portable: bool, what: str) -> None:
        """Run the jobs whose piece is missing."""
        missing = [each for each in jobs if not each.piece.is_file()]
        self.spread_over(job, missing, workers=self.workers if portable else 1, progress=self.progress, what=what)
