"""Curation: a folder of images -> WebDataset shards of regions with pseudo-labels (rice_core.rice.regions)."""

from rice_core.rice.curate.pipeline import curate
from rice_core.rice.curate.settings import CurateSettings

__all__ = ["CurateSettings", "curate"]
