"""`from elsewhere import second_device` in any test of this folder: test files are imported without a package."""

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def device() -> torch.device:
    """What tests marked gpu run on."""
    if os.environ.get("RICEBENCH_GPU_TESTS") == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda:0")
