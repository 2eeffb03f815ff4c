"""Images in, features out: what one encoder says of a handful of images, without a data set, a cache or a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from rice_core.disk.paths import at_home
from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.features import Encoder, Features, Informed
from rice_core.images import ImageError, load_image, rgb_image
from rice_core.measure.subject import pick_device
from rice_core.spec import EncoderSpec


def encode_images(
    spec: EncoderSpec, images: Sequence[str | Path | Image.Image], *, device: str = "auto", batch: int = 32
) -> Features:
    """The features of B images, by the encoder's own resize, crop and normalisation.

    Args:
        images: files, or Pillow images of any mode and size.
        batch: images a forward pass.

    Returns:
        float32 on the CPU, without gradients (but not inference tensors: a head can be trained on them).

    Raises:
        UserError: an encoder that cannot be loaded or has to be told the truth, no image, a file that is none, or a device
            that is not there.
    """
    if not images:
        raise UserError("There is no image to encode; give files or Pillow images.")
    if batch < 1:
        raise UserError(f"A batch of {batch} images holds none; give 1 or more.")
    encoder = load_encoder(spec).to(pick_device(device))
    if isinstance(encoder, Informed):
        raise UserError(
            f"{spec.title} answers with the truth of a data set and knows none of loose images; choose another encoder."
        )
    read = [_read(image, place) for place, image in enumerate(images)]
    return _joined([_encode(encoder, read[start : start + batch]) for start in range(0, len(read), batch)])


def _read(image: str | Path | Image.Image, place: int) -> Image.Image:
    try:
        return rgb_image(image) if isinstance(image, Image.Image) else load_image(at_home(image))
    except ImageError as error:
        name = f"image {place}" if isinstance(image, Image.Image) else str(image)
        raise UserError(f"{name} {error}; leave it out or mend it.") from None


@torch.no_grad()
def _encode(encoder: Encoder, images: Sequence[Image.Image]) -> Features:
    found = encoder.encode(encoder.preprocess(images))
    return Features(
        found.dense_BCHW.float().cpu(),
        None if found.cls_BC is None else found.cls_BC.float().cpu(),
        tuple(level.float().cpu() for level in found.levels),
    )


def _joined(parts: Sequence[Features]) -> Features:
    cls = [part.cls_BC for part in parts if part.cls_BC is not None]
    return Features(
        torch.cat([part.dense_BCHW for part in parts]),
        torch.cat(cls) if cls else None,
        tuple(torch.cat(level) for level in zip(*(part.levels for part in parts), strict=True)),
    )
