"""Data sets on disk, in three layouts, found by looking at the folder:

coco           annotations/instances_<split>*.json with images in <split>*/ or images/<split>*/ or images/; also LVIS's
               files, and what Roboflow, FiftyOne and Label Studio export (coco_files)
class-folders  <class>/*.jpg, or train/<class>/*.jpg and val/<class>/*.jpg
photos         images in the folder or below it, without labels and so without splits

Each layout has a reader (layout.Reader) that says what it recognises. What looks like something else (doubts) is refused.
A suite is a folder of Roboflow exports, each a data set, such as the hundred of RF100.
"""

from rice_core.datasets.digests import data_digest, file_digests
from rice_core.datasets.geometry import coverage, label_map, region_mask
from rice_core.datasets.narrowed import only
from rice_core.datasets.nouns import Dataset, Region, Sample
from rice_core.datasets.reading import READERS, open_dataset
from rice_core.datasets.splits import Judge, limit
from rice_core.datasets.suites import Suite, is_suite, joined, open_suite

__all__ = [
    "READERS",
    "Dataset",
    "Judge",
    "Region",
    "Sample",
    "Suite",
    "coverage",
    "data_digest",
    "file_digests",
    "is_suite",
    "joined",
    "label_map",
    "limit",
    "only",
    "open_dataset",
    "open_suite",
    "region_mask",
]
