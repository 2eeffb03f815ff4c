"""A data set of annotation files in COCO's format that are named, wherever they and their images lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rice_core.datasets.coco import Coco, read_splits
from rice_core.datasets.digests import fingerprint
from rice_core.datasets.layout import Sighting
from rice_core.datasets.nouns import Dataset
from rice_core.datasets.splits import Judge, role
from rice_core.disk.paths import at_home
from rice_core.errors import UserError
from rice_core.spec import DatasetSpec

_EXAMPLE = "--annotations FILE, or --annotations train=FILE,val=FILE"


def annotation_words(words: Sequence[str]) -> dict[str, Path]:
    """The words of `--annotations`: "train" and "val", or "all" for one file that is to be divided -> its path.

    A file that has a `=` in its own name comes first.

    Raises:
        UserError: no such file, or it is not clear which file is for what.
    """
    found: dict[str, Path] = {}
    for word in words:
        split, equals, name = word.partition("=")
        whole = not equals or at_home(word).is_file()
        path, part = at_home(word if whole else name), "all" if whole else role(split)
        if part not in ("all", "train", "val"):
            raise UserError(f"--annotations {word}: {split!r} is neither train nor val; write {_EXAMPLE}.")
        if not path.is_file():
            raise UserError(f"--annotations {word}: there is no file {path}; give the path of a file in COCO's format.")
        if part in found:
            which = "are both for " + part if part != "all" else "do not say which is for what"
            raise UserError(f"--annotations: {found[part]} and {path} {which}; write {_EXAMPLE}.")
        found[part] = path
    if found.keys() not in ({"all"}, {"train", "val"}):
        there = " and ".join(f"{part}={path}" if part != "all" else str(path) for part, path in found.items())
        raise UserError(
            f"--annotations {there}: train and val have to be there both, or one file alone; write {_EXAMPLE}."
        )
    return found


@dataclass(frozen=True)
class NamedFiles:
    """The reader (`layout.Reader`) of annotation files that are named; it is no layout of a folder."""

    files: dict[str, Path]
    """Of `annotation_words`."""
    layout: str = "coco"

    def recognises(self, folder: Path) -> Sighting | None:
        return None

    def open(self, folder: Path, *, name: str, judge: Judge) -> Dataset:
        """The data set; `folder` is that of the images, and the files say themselves what is judged.

        Raises:
            UserError: a file is not in COCO's format, no image is where it says, or one is in train and in val.
        """
        by_part = {part: (part if part != "all" else path.stem, path) for part, path in self.files.items()}
        coco = read_splits(folder, by_part, [], told=True)
        ids = [{sample.id for sample in coco.splits.get(split, ())} for split in ("train", "val")]
        if both := sorted(ids[0] & ids[1]):
            raise UserError(
                f"{len(both)} images are in train and in val, {both[0]} the first; leave them out of one of the two files."
            )
        spec = DatasetSpec(
            name=name, layout="coco", fingerprint=fingerprint("coco", coco.classes, coco.splits, coco.annotations)
        )
        provides = frozenset({"labels", "regions"}) if coco.n_regions else frozenset[str]()
        return Dataset(
            spec, coco.classes, coco.splits, provides, coco.skipped, coco.files, saw=_saw(coco), notes=coco.notes
        )


def _saw(coco: Coco) -> str:
    names = list(coco.annotations)
    return " and ".join(names)
