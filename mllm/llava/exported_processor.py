"""The processor of an export: transformers' own, which gives the ids and pixels of the speaker it was made for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from mllm.llava.packing import Anyres, OneVision, Square
from mllm.llava.speaker import Speaker
from mllm.llava.text import PLACEHOLDER
from rice_core.errors import UserError

_TEMPLATE = """\
{%- if messages[0]['role'] != 'system' and SYSTEM -%}
<|im_start|>system
{{ SYSTEM }}<|im_end|>
{% endif -%}
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- set images = message['content'] | selectattr('type', 'equalto', 'image') | list -%}
{%- for image in images -%}<image>{{ ' ' if not loop.last else '\\n' }}{%- endfor -%}
{%- for part in message['content'] if part['type'] == 'text' -%}{{ part['text'] }}{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""
"""ChatML as `text.ChatML` has it, pictures in front."""


def exported_processor(speaker: Speaker, strategy: str, tokenizer: Any) -> Any:
    """What prepares words and pictures as the speaker does.

    Args:
        strategy: how the tower's tokens are selected. tokenizer: with a row for `<image>`.

    Raises:
        UserError: no processor makes the same single tile.
    """
    import transformers

    recipe, pictures = speaker.model.tower.recipe, speaker.pictures
    given: dict[str, Any] = {
        "tokenizer": tokenizer,
        "vision_feature_select_strategy": strategy,
        "image_token": PLACEHOLDER,
        "chat_template": _TEMPLATE.replace("SYSTEM", repr(speaker.format.system)),
    }
    # The class token, which `default` takes away again.
    before = int(strategy == "default")
    counted = {"patch_size": pictures.patch, "num_additional_image_tokens": before}
    pixels: dict[str, Any] = {
        "image_mean": list(recipe.mean),
        "image_std": list(recipe.std),
        "resample": Image.Resampling[recipe.interpolation.upper()],
    }
    side = {"height": pictures.side, "width": pictures.side}
    if isinstance(pictures, OneVision):
        vision: Any = transformers.LlavaOnevisionImageProcessor
        cut = vision(size=side, image_grid_pinpoints=pictures.pinpoints, **pixels)
        videos = transformers.LlavaOnevisionVideoProcessor(size=side, **pixels)
        tokens = (pictures.side // pictures.patch) ** 2 + before
        return transformers.LlavaOnevisionProcessor(
            image_processor=cut, video_processor=videos, num_image_tokens=tokens, **given
        )
    if isinstance(pictures, Anyres):
        next_cut: Any = transformers.LlavaNextImageProcessor
        cut = next_cut(size=side, crop_size=side, image_grid_pinpoints=pictures.pinpoints, **pixels)
        return transformers.LlavaNextProcessor(image_processor=cut, **given, **counted)
    return transformers.LlavaProcessor(image_processor=_square_cut(pictures, speaker, pixels), **given, **counted)


def _square_cut(pictures: Square, speaker: Speaker, pixels: dict[str, Any]) -> Any:
    """The processor of transformers that gives the same pixels.

    Raises:
        UserError: none does.
    """
    import transformers

    side = {"height": pictures.side, "width": pictures.side}
    clip: Any = transformers.CLIPImageProcessor
    padding: Any = transformers.LlavaImageProcessor
    short = {"size": {"shortest_edge": pictures.side}, "crop_size": side, **pixels}
    for cut in (
        clip(**short),
        clip(size=side, do_center_crop=False, **pixels),
        padding(do_pad=True, **short),
    ):
        if all(_same_pixels(pictures, speaker, cut, noise(*size)) for size in ((97, 64), (40, 120))):
            return cut
    raise UserError(
        f"{speaker.model.tower.encoder.spec.title}: no processor of transformers makes a tile as square={pictures.resize} does here; "
        "train with square=crop or tiles=2x2 to export the model."
    )


def _same_pixels(pictures: Square, speaker: Speaker, cut: Any, image: Image.Image) -> bool:
    ours = pictures.tiles(image, speaker.model.tower.recipe)
    theirs = cut(images=[image], return_tensors="pt")["pixel_values"]
    # A grey level is 100 times that.
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=1e-4)


def noise(height: int, width: int) -> Image.Image:
    """A picture on which two ways to resize differ."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
