"""PP-OCR's own models in transformers: one finds lines of text, the other reads them.

--text pp-ocr:PaddlePaddle/PP-OCRv5_server_det_safetensors+PaddlePaddle/PP-OCRv5_server_rec_safetensors
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rice_core.digest import tensors_digest
from rice_core.errors import UserError
from rice_core.rice.curate.nouns import Box, DecodedImage, TextLine

BATCH = 16
"""Lines read at once; they are padded to the widest."""


class PpOcr:
    """Lines with the reader's mean confidence.

    Args:
        models: detector and reader, hub ids or folders with safetensors weights, joined by "+".
    """

    portable = False

    def __init__(self, models: str, *, device: str) -> None:
        detector, plus, reader = models.partition("+")
        if not plus or not detector or not reader:
            raise UserError(f"--text pp-ocr:{models} names one model; write pp-ocr:DETECTOR+READER.")
        try:
            from transformers import AutoImageProcessor, AutoModelForObjectDetection, AutoModelForTextRecognition

            self._find = _load(AutoModelForObjectDetection, detector, device)
            self._read = _load(AutoModelForTextRecognition, reader, device)
            processor: Any = AutoImageProcessor
            self._find_pixels = processor.from_pretrained(detector)
            self._read_pixels = processor.from_pretrained(reader)
        except ImportError:
            raise UserError(
                '--text pp-ocr needs transformers 5.23 or newer; run: pip install -U "transformers>=5.23"'
            ) from None
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise UserError(
                f"--text pp-ocr:{models} cannot be loaded ({' '.join(str(error).split())[:120]}); check both names."
            ) from None
        self.name = f"pp-ocr:{models}"
        weights = {f"find.{k}": v for k, v in self._find.state_dict().items()}
        weights |= {f"read.{k}": v for k, v in self._read.state_dict().items()}
        self.version = tensors_digest(weights)[:12]

    def spot(self, picture: DecodedImage) -> Sequence[TextLine]:
        boxes = self._boxes(picture)
        lines = []
        for start in range(0, len(boxes), BATCH):
            part = boxes[start : start + BATCH]
            crops = [
                picture.image.crop((int(x), int(y), int(right) + 1, int(bottom) + 1)) for x, y, right, bottom in part
            ]
            pixels = self._read_pixels(images=crops, return_tensors="pt").to(self._read.device)
            with torch.inference_mode():
                read = self._read_pixels.post_process_text_recognition(self._read(**pixels))
            for box, said in zip(part, read, strict=True):
                if said["text"]:
                    lines.append(TextLine(box=box, text=said["text"], score=float(said["score"])))
        return lines

    def _boxes(self, picture: DecodedImage) -> list[Box]:
        """Of the lines, inside the image, from top to bottom."""
        width, height = picture.image.size
        pixels = self._find_pixels(images=picture.image, return_tensors="pt").to(self._find.device)
        with torch.inference_mode():
            found = self._find(pixel_values=pixels["pixel_values"])
        sizes = torch.tensor([[height, width]])
        (regions,) = self._find_pixels.post_process_object_detection(found, target_sizes=sizes)
        boxes: list[Box] = []
        for left, top, right, bottom in regions["boxes"].reshape(-1, 4).tolist():
            box = (max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom))
            if box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
                boxes.append(box)
        return sorted(boxes, key=lambda box: (box[1], box[0]))


def _load(kind: Any, model: str, device: str) -> Any:
    return kind.from_pretrained(model, use_safetensors=True).to(device).eval()
