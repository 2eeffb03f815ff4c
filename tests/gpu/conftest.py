"""`from elsewhere import second_device` in any test of this folder: test files are imported without a package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
