"""Helpers of these tests that several of them import: flaws.py, forked.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
