"""Annotations without frames, as LaSOT's and TNL2K's toolkits carry them: enough to judge result files on, and nothing else.

annos/VIDEO.txt            LaSOT, beside annos/absent/VIDEO.txt and annos/att/VIDEO.txt
annos/gt_rect/VIDEO.txt    TNL2K, beside the same
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rice_core.datasets.nouns import Dataset, Video
from rice_core.datasets.tracks import Track
from rice_core.datasets.videos import lasot, tnl2k
from rice_core.datasets.videos.opening import dataset
from rice_core.datasets.videos.places import leave_out
from rice_core.datasets.videos.rows import read_flags, read_rows
from rice_core.datasets.videos.subsets import LASOT, TNL2K, subsets
from rice_core.datasets.walk import file_names
from rice_core.errors import UserError
from rice_core.record import Skipped


@dataclass(frozen=True)
class ToolkitTrack:
    """A video's file of boxes and that of its absent flags. It is a `TrackFile`."""

    boxes: Path
    absent: Path
    called: str
    """What the flags are called in `Track.flags`."""

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.boxes, self.absent)

    def read(self) -> Track:
        """Rows and flags as they stand; flags past the last row are left out (TNL2K has a video with one).

        Raises:
            UserError: a file cannot be read, or there are fewer flags than rows.
        """
        boxes_T4, flags_T = read_rows(self.boxes), read_flags(self.absent)
        if len(flags_T) < len(boxes_T4):
            raise UserError(f"{self.absent.name} has {len(flags_T)} flags for {len(boxes_T4)} boxes; get it again.")
        flags_T = flags_T[: len(boxes_T4)]
        return Track(boxes_T4, np.asarray(flags_T > 0), {self.called: flags_T}, flagged=True)


def toolkit_annotations(folder: Path) -> Dataset | None:
    """The data set of a toolkit's folder, or of its annos/; None where it is neither. Its videos have no frames.

    Raises:
        UserError: none of its videos has both boxes and flags.
    """
    # TNL2K's archive of annos/ is in annos/.
    places = (folder / "annos" / "annos", folder / "annos", folder)
    annos = next((place for place in places if (place / "absent").is_dir()), None)
    if annos is None:
        return None
    of_tnl2k = (annos / "gt_rect").is_dir()
    boxes = annos / "gt_rect" if of_tnl2k else annos
    names = [name[:-4] for name in file_names(boxes, ".txt") if name[0] != "."]
    if not names:
        return None
    skipped: list[Skipped] = []
    flagged = {*file_names(annos / "absent", ".txt")}
    skipped += leave_out([name for name in names if f"{name}.txt" not in flagged], "has no file in absent/")
    names = [name for name in names if f"{name}.txt" in flagged]
    splits: Mapping[str, list[str]]
    if of_tnl2k:
        placed = tnl2k.splits_of(annos, [annos / name for name in names])
        splits = {split: [place.name for place in places] for split, places in placed.items()}
    else:
        splits = lasot.splits_of(folder, names, skipped)
    found = {split: [_video(annos, boxes, name, of_tnl2k) for name in of_split] for split, of_split in splits.items()}
    note = "the toolkit's annotations alone, without frames: dialects that need a frame's size are left out"
    layout, saw = ("tnl2k", "annos/gt_rect/") if of_tnl2k else ("lasot", "annos/")
    return dataset(layout, folder, found, skipped, name=folder.name, judge="val", saw=saw, notes=[note])


def _video(annos: Path, boxes: Path, name: str, of_tnl2k: bool) -> Video:
    file, known = (f"{name}_attribute.txt", TNL2K) if of_tnl2k else (f"{name}.txt", LASOT)
    # pytracking reads LaSOT's flags and not TNL2K's, so that they cannot be called alike.
    called = "absent" if of_tnl2k else "full_occlusion or out_of_view"
    truth = ToolkitTrack(boxes / f"{name}.txt", annos / "absent" / f"{name}.txt", called)
    return Video(name, (), truth, 0 if of_tnl2k else 1, subsets(annos, file, known))
