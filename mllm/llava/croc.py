"""Croc (Xie et al. 2024, 2410.14332): a stage between the two of LLaVA in which the language model learns to read pictures as a language.

Of a picture's tokens three quarters are replaced by tokens of a learnt pool, those that are most like them; the language model sees the
picture's tokens in both directions and its caption in one, says the caption, and a head on its output says what every token of the picture
was. Pool and head are gone afterwards.

As in the published code: 2048 tokens, SmoothL1 (beta 0.01) times 10 over all tokens of a picture, whose truth is of length 1 and without
gradient; a head of one transformer block. Other than there:

    match            `hungarian` as in the paper, where no two tokens of a picture become the same; the published code imports that algorithm
                     and takes the `nearest`
    what is replaced a function of the caption, so that neither ranks nor resumes change it
    weights          a picture's by the labels of its caption: the step has one denominator
    tokens           not of length 1 where the language model reads them: nothing else of the model knows them so
    captions         of the align split; the paper's are detailed ones

Shapes: B pictures with their captions, T tokens, G tokens of a picture, R of them replaced, P in the pool, C channels.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import nn

from mllm.llava.batch import LlavaBatch
from mllm.llava.model import Llava, SummedLoss
from mllm.llava.recipe import CrocLearning, Match
from mllm.llava.text import IGNORED, IMAGE
from mllm.llava.vision import VisionTower
from rice_core.errors import UserError

_BETA = 0.01
"""Below it the loss is quadratic."""


class Croc(Llava):
    """The model with what this stage alone has.

    Raises:
        UserError: a picture has more tokens to replace than the pool holds.
    """

    def __init__(self, tower: VisionTower, language_model: Any, config: CrocLearning) -> None:
        super().__init__(tower, language_model)
        width, tokens = len(self.image_newline), (tower.side // tower.patch) ** 2
        self._config, self._replaced = config, tokens - int(tokens * (1 - config.replaced))
        if config.match == "hungarian" and self._replaced > config.pool:
            raise UserError(
                f"a picture has {self._replaced} tokens to replace by different ones of {config.pool}; give a larger pool or match=nearest."
            )
        self.pool = nn.Parameter(torch.randn(config.pool, width) / width**0.5)
        self.positions = nn.Parameter(torch.randn(tokens, width) / width**0.5)
        self.head = nn.Sequential(
            nn.TransformerEncoderLayer(
                width, max(1, width // 64), 4 * width, dropout=0.0, activation="gelu", batch_first=True
            ),
            nn.Linear(width, width),
        )

    def forward(self, batch: LlavaBatch) -> SummedLoss:
        """Of captions, each behind its picture in one tile."""
        if batch.tiles_K3SS is None:
            return self._of_nothing(batch)
        embeds_BTC, truth_BGC = self._replacing(batch)
        targets_BT = F.pad(batch.labels_BT[:, 1:], (0, 1), value=IGNORED)
        learnt_BT = targets_BT != IGNORED
        found = self.language_model(
            inputs_embeds=embeds_BTC,
            attention_mask=mixed(batch),
            use_cache=False,
            logits_to_keep=learnt_BT,
            output_hidden_states=True,
        )
        said = F.cross_entropy(found.logits.float(), targets_BT[learnt_BT], reduction="sum")
        read_BGC = found.hidden_states[-1][batch.ids_BT == IMAGE].view_as(truth_BGC)
        guess_BGC = self.head(read_BGC + self.positions)
        seen_B = F.smooth_l1_loss(guess_BGC.float(), truth_BGC, beta=_BETA, reduction="none").mean((1, 2))
        labels_B = learnt_BT.sum(1)
        nothing = 0.0 * (self.pool.sum() + self.image_newline.sum()).float()
        return SummedLoss(said + self._config.weight * (seen_B * labels_B).sum() + nothing, int(labels_B.sum()))

    def _replacing(self, batch: LlavaBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """What the language model reads [B, T, C], and the truth of the pictures [B, G, C]."""
        placed_BT = batch.ids_BT == IMAGE
        tokens_BGC = self._images(batch).view(len(batch.ids_BT), -1, len(self.image_newline))
        truth_BGC = F.normalize(tokens_BGC.detach().float(), dim=-1)
        shown = []
        for tokens_GC, ids_T in zip(tokens_BGC, batch.ids_BT, strict=True):
            replaced_R = replaced_of(ids_T, len(tokens_GC), self._replaced).to(tokens_GC.device)
            chosen_R = matched(tokens_GC[replaced_R], self.pool, self._config.match)
            shown.append(tokens_GC.index_copy(0, replaced_R, self.pool[chosen_R].to(tokens_GC.dtype)))
        embeds_BTC = self.language_model.get_input_embeddings()(batch.ids_BT.clamp(min=0))
        images_NC = torch.cat(shown).to(embeds_BTC.dtype)
        return embeds_BTC.masked_scatter(placed_BT[..., None], images_NC), truth_BGC

    def _of_nothing(self, batch: LlavaBatch) -> SummedLoss:
        """0, by way of all that other ranks use; of a part without samples."""
        found = super().forward(batch)
        head = 0.0 * self.head(self.positions[None]).float().sum()
        return SummedLoss(found.loss + head + 0.0 * self.pool.float().sum(), found.tokens)


def replaced_of(ids_T: torch.Tensor, tokens: int, replaced: int) -> torch.Tensor:
    """Which of a picture's tokens [R], in rising order: drawn from its caption, whatever pads it."""
    words_T = ids_T[ids_T != IMAGE].cpu().numpy()
    words_T = np.trim_zeros(words_T, "b")
    drawn = np.random.default_rng(zlib.crc32(words_T.tobytes())).permutation(tokens)[:replaced]
    return torch.from_numpy(np.sort(drawn))


@torch.no_grad()
def matched(tokens_RC: torch.Tensor, pool_PC: torch.Tensor, match: Match) -> torch.Tensor:
    """Of each token the one of the pool that is most like it, by distance [R]; hungarian: each other's, with the least distance in all."""
    apart_RP = torch.cdist(tokens_RC.float(), pool_PC.float())
    if match == "nearest":
        return apart_RP.argmin(1)
    _, chosen_R = linear_sum_assignment(apart_RP.cpu().numpy())
    return torch.from_numpy(chosen_R).to(tokens_RC.device)


def mixed(batch: LlavaBatch) -> torch.Tensor:
    """Who sees whom [B, 1, T, T]: tokens of a picture each other, all others what comes before them; nobody what pads."""
    T = batch.ids_BT.shape[1]
    placed_BT = batch.ids_BT == IMAGE
    causal_TT = torch.ones(T, T, dtype=torch.bool, device=batch.ids_BT.device).tril()
    sees_BTT = causal_TT | (placed_BT[:, :, None] & placed_BT[:, None, :])
    return (sees_BTT & batch.mask_BT[:, None, :].bool())[:, None]
