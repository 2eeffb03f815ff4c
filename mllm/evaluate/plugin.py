"""How lmms-eval finds our model: the entry point of the group `lmms_eval.models`."""

from __future__ import annotations

from typing import Any

NAME = "ricebench_llava"


def manifest() -> Any:
    """Raises ModuleNotFoundError where lmms-eval is not installed; only lmms-eval asks."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id=NAME, simple_class_path="mllm.evaluate.lmms_model.LlavaOfLmmsEval")
