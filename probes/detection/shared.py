"""The truth of a split as bytes that a process and those who decode for it share."""

from __future__ import annotations

from dataclasses import replace

from probes.detection.truth import GroundTruth
from rice_core.datasets.in_bytes import InBytes


def shared(truth: GroundTruth) -> GroundTruth:
    """What a training needs of its truth: no body for evaluators, and images that can be shared."""
    return replace(truth, images=InBytes(truth.images), body={})
