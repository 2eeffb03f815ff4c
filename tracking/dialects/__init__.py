"""Dialects by name, the official one of each layout, and how many videos the published sets have.

Identical result files score differently by toolkit: TNL2K's success is 46.7 in the official code and 48.3 in OSTrack's. So every number names its dialect.
"""

from __future__ import annotations

from tracking.dialects.base import Dialect
from tracking.dialects.got10k import Got10kDialect, Got10kLasotDialect
from tracking.dialects.lasot import LasotDialect
from tracking.dialects.pytracking import OSTrackDialect, PytrackingDialect
from tracking.dialects.trackingnet import TrackingNetDialect
from tracking.dialects.visible import VisibleDialect

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        LasotDialect(),
        PytrackingDialect(),
        OSTrackDialect(),
        VisibleDialect(),
        Got10kDialect(),
        Got10kLasotDialect(),
        TrackingNetDialect(),
    )
}

OFFICIAL: dict[str, str] = {
    "lasot": "lasot",
    "tnl2k": "lasot",
    "trackingnet": "trackingnet",
    "got10k": "got10k",
    "videos": "visible",
}
"""Layout -> dialect. A user's own videos have no toolkit."""

PUBLISHED: dict[tuple[str, str], int] = {
    ("lasot", "train"): 1120,
    ("lasot", "test"): 280,
    ("lasot", "extension"): 150,
    ("tnl2k", "train"): 1300,
    ("tnl2k", "test"): 700,
    ("trackingnet", "test"): 511,
    ("got10k", "train"): 9335,
    ("got10k", "val"): 180,
    ("got10k", "test"): 180,
}
"""(layout, split) -> videos. A mean over fewer is no number of a paper (SiamDW #34 printed 279, CSWinTT #7 214)."""


def of_published(videos: int, layout: str, split: str) -> str:
    """How many videos a number is over, for people: "250 of the 511 videos of trackingnet test"; a count alone where nothing is published."""
    there, more = PUBLISHED.get((layout, split)), PUBLISHED.get((layout, "extension"))
    if there is None:
        return f"{videos} videos"
    aside = f", or all {more} of its extension" if videos == more and split == "test" else ""
    return f"{videos} of the {there} videos of {layout} {split}{aside}"
