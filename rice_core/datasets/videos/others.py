"""Videos with truth of another kind, many objects or masks: which layout to write instead, as the end of a sentence."""

from __future__ import annotations

from pathlib import Path

from rice_core.datasets.videos.places import inside

_WRITE = "write one object's box of each frame, x,y,w,h a line, to groundtruth.txt beside the frames of a video to read it as videos"


def other_truth(folder: Path) -> str | None:
    """What was seen of MOT's or DAVIS's layout."""
    for place in (folder, *(folder / name for name in inside(folder)[:4])):
        for video in (place, *(place / name for name in inside(place)[:4])):
            for sign in ("gt/gt.txt", "det/det.txt", "seqinfo.ini"):
                if (video / sign).is_file():
                    where = (video / sign).relative_to(folder).as_posix()
                    return f"holds boxes of many objects in MOT's layout ({where}), which are not read; {_WRITE}, or {folder}@photos to take each frame for one"
    pictures, masks = folder / "JPEGImages", folder / "Annotations"
    for size in ("", *inside(masks)[:4]):
        both = {*inside(pictures / size)} & {*inside(masks / size)}
        videos = [name for name in both if not inside(masks / size / name)]
        if videos:
            where = (Path("Annotations") / size / min(videos)).as_posix()
            return f"holds masks of videos in DAVIS's layout ({where}/), which are not read; {_WRITE}, or {folder}@photos to take each frame for one"
    return None
