"""Data sets on disk, in layouts that are found by looking at the folder. Ours are:

    coco           annotations/instances_<split>*.json with images in <split>*/ or images/<split>*/ or images/; also LVIS's
                   files, and what Roboflow, FiftyOne and Label Studio export (coco_files)
    class-folders  <class>/*.jpg, or train/<class>/*.jpg and val/<class>/*.jpg
    ade20k, voc, cityscapes
                   a label map beside each picture (segmentation)
    got10k, lasot, trackingnet, tnl2k, videos
                   videos with one object's box a frame (rice_core.datasets.videos); `videos` are anybody's own
    photos         images in the folder or below it, without labels and so without splits

Each layout has a reader (layout.Reader), installed by an entry point of the group `ricebench.layouts` as those of other
packages are; it says what it recognises. What looks like something else (doubts) is refused.
A suite is a folder of Roboflow exports, each a data set, such as the hundred of RF100.
"""

from rice_core.datasets.digests import data_digest, file_digests
from rice_core.datasets.geometry import coverage, label_map, read_label_map, region_mask
from rice_core.datasets.narrowed import only, training_sets
from rice_core.datasets.nouns import Conversation, Dataset, Expression, Item, LabelMap, Region, Sample, Turn, Video
from rice_core.datasets.reading import layouts, open_dataset
from rice_core.datasets.splits import Judge, limit
from rice_core.datasets.suites import Suite, is_suite, joined, open_suite
from rice_core.datasets.tracks import KnownTrack, Track, TrackFile

__all__ = [
    "Conversation",
    "Dataset",
    "Expression",
    "Item",
    "Judge",
    "KnownTrack",
    "LabelMap",
    "Region",
    "Sample",
    "Suite",
    "Track",
    "TrackFile",
    "Turn",
    "Video",
    "coverage",
    "data_digest",
    "file_digests",
    "is_suite",
    "joined",
    "label_map",
    "layouts",
    "limit",
    "only",
    "open_dataset",
    "open_suite",
    "read_label_map",
    "region_mask",
    "training_sets",
]
