"""Data sets on disk, in three layouts, found by looking at the folder:

coco           annotations/instances_<split>*.json with images in <split>*/ or images/<split>*/ or images/; also
               <split>/_annotations.coco.json (Roboflow)
class-folders  <class>/*.jpg, or train/<class>/*.jpg and val/<class>/*.jpg
photos         images in the folder or below it, without labels
"""

from rice_core.datasets.digests import data_digest, file_digests
from rice_core.datasets.geometry import coverage, label_map, region_mask
from rice_core.datasets.nouns import Dataset, Region, Sample
from rice_core.datasets.reading import open_dataset
from rice_core.datasets.splits import limit

__all__ = [
    "Dataset",
    "Region",
    "Sample",
    "coverage",
    "data_digest",
    "file_digests",
    "label_map",
    "limit",
    "open_dataset",
    "region_mask",
]
