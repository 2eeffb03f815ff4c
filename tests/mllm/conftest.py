"""Helpers of these tests that several of them import: tiny_llava.py and talks.py here, and forked.py of detection's."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "probes" / "detection")]
