"""Curation: a folder of images -> WebDataset shards of regions with pseudo-labels (rice_core.regions)."""

from rice_core.curate.pipeline import curate
from rice_core.curate.settings import CurateSettings

__all__ = ["CurateSettings", "curate"]
