"""RapidOCR: the PP-OCR models on onnxruntime, with the weights inside the wheel, so that it reads offline."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from rice_core.errors import MissingExtra
from rice_core.rice.curate.nouns import DecodedImage, TextLine


class RapidOcr:
    """Detection and recognition on one thread; worker processes bring the parallelism."""

    name, portable = "rapidocr", True

    def __init__(self) -> None:
        try:
            from rapidocr import RapidOCR
        except ModuleNotFoundError as error:
            raise MissingExtra("The text spotter rapidocr", "curate") from error
        self.version = version("rapidocr")
        threads = {"EngineConfig.onnxruntime.intra_op_num_threads": 1}
        # Its own filter is off: ours (`min_text_score`) counts what it leaves out.
        self._read = RapidOCR(params={"Global.log_level": "error", "Global.text_score": 0.0, **threads})

    def spot(self, picture: DecodedImage) -> Sequence[TextLine]:
        bgr_HW3 = np.ascontiguousarray(np.asarray(picture.image)[:, :, ::-1])
        found: Any = self._read(bgr_HW3)
        if found.boxes is None or found.txts is None or found.scores is None:
            return []
        lines = []
        for corners_42, text, score in zip(found.boxes, found.txts, found.scores, strict=True):
            (left, top), (right, bottom) = np.min(corners_42, axis=0), np.max(corners_42, axis=0)
            lines.append(
                TextLine(box=(float(left), float(top), float(right), float(bottom)), text=str(text), score=float(score))
            )
        return lines
