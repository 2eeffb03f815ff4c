"""The reader of plain photographs: images in a folder or below it, of which nothing more is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rice_core.datasets.coco_files import annotation_files
from rice_core.datasets.digests import fingerprint
from rice_core.datasets.doubts import doubt_about_photos
from rice_core.datasets.layout import Sighting
from rice_core.datasets.nouns import Dataset, Sample
from rice_core.datasets.splits import Judge, by_id, no_test
from rice_core.datasets.walk import holds_images, images_below, relative
from rice_core.errors import UserError
from rice_core.record import Skipped
from rice_core.spec import DatasetSpec


@dataclass(frozen=True)
class Photos:
    """Images without labels. Nothing is trained on them, so all of them are `val`."""

    layout: str = "photos"

    def recognises(self, folder: Path) -> Sighting | None:
        if annotation_files(folder) or not holds_images(folder):
            return None
        if words := doubt_about_photos(folder):
            return Sighting("doubtful", words)
        return Sighting("last resort", "images and no labels")

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        skipped: list[Skipped] = []
        samples = by_id(Sample(id=relative(p, folder), path=p) for p in images_below(folder, folder, skipped))
        if not samples:
            raise UserError(
                f"{folder} holds no images and no annotations/instances_*.json; give a folder of photos, a folder with "
                "one folder a class, or one in COCO format."
            )
        if judge == "test":
            raise no_test(folder)
        splits = {"val": samples}
        spec = DatasetSpec(name=name, layout="photos", fingerprint=fingerprint("photos", (), splits, {}))
        saw = "images and no labels; all of them are val"
        return Dataset(spec, (), splits, frozenset(), tuple(skipped), saw=saw)
