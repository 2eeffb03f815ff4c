"""The model: vision tower, projector (mlp2x_gelu), any causal language model of transformers, and the learnt `image_newline`.

For the same weights its logits are those of transformers' LlavaNextForConditionalGeneration, which has no single tile without newline
(stage 1) and takes fewer towers.

Shapes: B samples, T tokens, K tiles, N tokens of the pictures or labels, C channels of the language model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mllm.llava.batch import LlavaBatch
from mllm.llava.text import IGNORED, IMAGE, Markers
from mllm.llava.vision import VisionTower


@dataclass(frozen=True)
class SummedLoss:
    """Of the labels of a batch. A mean is taken once, over all micro-batches and ranks: the mean of means weighs their tokens differently."""

    loss: torch.Tensor
    """Sum of cross entropies, float32; 0 with gradients of 0 where there is no label."""
    tokens: int
    """Labels in it."""


class Llava(nn.Module):
    """Args:
    language_model: of `AutoModelForCausalLM`. Its embeddings are not resized: pictures need no row of the vocabulary.
    """

    def __init__(self, tower: VisionTower, language_model: Any) -> None:
        super().__init__()
        width = language_model.get_input_embeddings().embedding_dim
        self.tower = tower
        self.projector = nn.Sequential(nn.Linear(tower.dim, width), nn.GELU(), nn.Linear(width, width))
        self.image_newline = nn.Parameter(torch.randn(width) / width**0.5)
        self.language_model = language_model

    def forward(self, batch: LlavaBatch) -> SummedLoss:
        """Loss of the labels, each from the token before it."""
        targets_BT = F.pad(batch.labels_BT[:, 1:], (0, 1), value=IGNORED)
        learnt_BT = targets_BT != IGNORED
        # A vocabulary of 152,064 by 8,000 tokens is 5 GB: logits are computed where there is a label.
        logits_NV = self.language_model(
            inputs_embeds=self.embeds(batch), attention_mask=batch.mask_BT, use_cache=False, logits_to_keep=learnt_BT
        ).logits
        loss = F.cross_entropy(logits_NV.float(), targets_BT[learnt_BT], reduction="sum")
        return SummedLoss(loss, int(learnt_BT.sum()))

    def embeds(self, batch: LlavaBatch) -> torch.Tensor:
        """What the language model reads [B, T, C]: embeddings of the text, with the pictures' tokens in their places.

        Raises:
            ValueError: places and tokens are not as many.
        """
        embeds_BTC: torch.Tensor = self.language_model.get_input_embeddings()(batch.ids_BT.clamp(min=0))
        images_NC = self._images(batch).to(embeds_BTC.dtype)
        placed_BT = batch.ids_BT == IMAGE
        if int(placed_BT.sum()) != len(images_NC):
            raise ValueError(f"{int(placed_BT.sum())} places for {len(images_NC)} tokens of pictures")
        return embeds_BTC.masked_scatter(placed_BT[..., None], images_NC) + self._untouched(batch)

    @torch.no_grad()
    def generate(self, batch: LlavaBatch, markers: Markers, most: int) -> list[tuple[int, ...]]:
        """The likeliest next token, again and again, for all samples at once: ids of each answer, without its end.

        Args:
            batch: padded at the left.
            most: tokens of an answer.
        """
        import transformers

        config: Any = transformers.GenerationConfig  # its constructor has no types
        stops = [markers.end, markers.padding]
        settings = config(
            max_new_tokens=most,
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            use_cache=True,
            eos_token_id=stops,
            pad_token_id=markers.padding,
        )
        # What is not said here would be taken from the checkpoint's own settings (Qwen2.5: repetition penalty 1.05).
        own, self.language_model.generation_config = self.language_model.generation_config, config()
        try:
            found_BT = self.language_model.generate(
                inputs_embeds=self.embeds(batch), attention_mask=batch.mask_BT, generation_config=settings
            )
        finally:
            self.language_model.generation_config = own
        return [_up_to(row, stops) for row in found_BT.tolist()]

    def _images(self, batch: LlavaBatch) -> torch.Tensor:
        """Tokens of all pictures [N, C]."""
        if batch.tiles_K3SS is None:
            return self.image_newline.new_zeros(0, len(self.image_newline))
        tokens_KTC = self.projector(self.tower(batch.tiles_K3SS))
        each = tokens_KTC.split([plan.tiles for plan in batch.plans])
        packed = [plan.pack(part_KTC, self.image_newline) for plan, part_KTC in zip(batch.plans, each, strict=True)]
        return torch.cat(packed)

    def _untouched(self, batch: LlavaBatch) -> torch.Tensor:
        """Nothing, by way of each part that this batch does not need.

        Ranks exchange the weights and gradients of a part at its turn, and would wait for one that has text alone.
        """
        nothing = 0.0 * self.image_newline.float().sum()
        if batch.tiles_K3SS is None and torch.is_grad_enabled():
            blank = torch.zeros(1, 3, self.tower.side, self.tower.side, device=batch.ids_BT.device)
            nothing = nothing + 0.0 * self.projector(self.tower(blank)).float().sum()
        return nothing.to(self.image_newline.dtype)


def _up_to(ids: list[int], stops: list[int]) -> tuple[int, ...]:
    end = next((k for k, each in enumerate(ids) if each in stops), len(ids))
    return tuple(ids[:end])
