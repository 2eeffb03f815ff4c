"""LlavaLearner: the model in training, whatever of it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from mllm.llava.batch import LlavaBatch
from mllm.llava.model import Llava, SummedLoss
from mllm.llava.recipe import LlavaLearning
from mllm.llava.text import IGNORED
from rice_core.ranks import Ranks, spread
from rice_core.train.adam import Adam
from rice_core.train.learner import StepOutcome

if TYPE_CHECKING:
    from mllm.llava.loader import LlavaPart

_LINES = 200
"""Points of the loss curve."""
_BIG = 10**9
"""Weights of a language model from which on each block's insides are computed again for its gradients: a fifth more time, and memory for
thousands of tokens."""

_NONE_BT = torch.zeros(1, 2, dtype=torch.long)
_NOTHING = LlavaBatch(_NONE_BT, torch.ones_like(_NONE_BT), torch.full_like(_NONE_BT, IGNORED), None, ())
"""In the place of a part without samples: its rank has to make the same exchanges as the others."""


class LlavaLearner:
    """The model with its optimizer; see `rice_core.train.learner.Learner`. Its rate is the projector's, and the others' are in proportion.

    A checkpoint holds what is trained alone: the rest is where it was loaded from.

    Args:
        model: with the weights that the training begins with; it is frozen in part, moved and wrapped here.
        steps: of the whole training.
    """

    def __init__(self, model: Llava, config: LlavaLearning, *, steps: int, ranks: Ranks) -> None:
        self.model, self._config, self._ranks, self._steps = model, config, ranks, steps
        factors = _freeze(model, config)
        blocks = blocks_of(model)
        if sum(each.numel() for each in model.language_model.parameters()) >= _BIG:
            recomputed(blocks)
        if ranks.control is None:
            model.to(ranks.device)
        self._spread = spread(_Losses(model, config, ranks.device), blocks, ranks, "fsdp2")
        self._adam = Adam(
            model, rate=config.projector_rate, weight_decay=config.weight_decay, clip=config.clip, factors=factors
        )
        self.curve: list[dict[str, float]] = []
        """Now and then: step, rate of the projector, loss a label, labels of the step, and how many steps so far had none."""
        self.skipped: dict[str, str] = {}
        """What was left out, with the reasons."""
        self._bare = 0

    def step(self, parts: Sequence[LlavaPart], *, step: int, rate: float) -> StepOutcome:
        """See `rice_core.train.learner.Learner`. The loss is a mean over the labels of all parts of all ranks, each of one weight."""
        self.model.train()
        labels = self._ranks.total([float(sum(part.labels for part in parts))])[0]
        summed = torch.zeros((), dtype=torch.float64, device=self._ranks.device)
        for part in parts:
            found: SummedLoss = self._spread(part.batch or _NOTHING)
            # FSDP2 takes the mean of the ranks' gradients. They are exchanged after each part: until the last one each rank would hold
            # the whole model's, 30 GB of 7B.
            (found.loss * (self._ranks.size / max(1.0, labels))).backward()
            summed += found.loss.detach()
        loss = self._ranks.total([float(summed)])[0] / max(1.0, labels)
        norm = self._adam.gradient_norm()
        outcome = StepOutcome(
            loss, float(norm.full_tensor() if isinstance(norm, DTensor) else norm), {"labels": labels}
        )
        outcome.check(self._ranks)
        self._adam.update(norm, rate)
        self._note(parts, outcome, step, rate)
        return outcome

    def _note(self, parts: Sequence[LlavaPart], outcome: StepOutcome, step: int, rate: float) -> None:
        self.skipped |= {skip.item: skip.reason for part in parts for skip in part.skipped}
        labels = float(outcome.stats["labels"])
        self._bare += not labels
        if step % max(1, self._steps // _LINES) == 0 or step + 1 == self._steps:
            told = {"step": step, "rate": rate, "loss": outcome.loss, "labels": labels, "without labels": self._bare}
            self.curve.append({name: float(value) for name, value in told.items()})

    def tensors(self) -> dict[str, torch.Tensor]:
        """See `rice_core.train.learner.Learner`."""
        trained = {f"network.{name}" for name, each in self._adam.parameters().items() if each.requires_grad}
        return {
            name: each
            for name, each in self._adam.tensors().items()
            if name in trained or not name.startswith("network.")
        }

    def counts(self) -> dict[str, Any]:
        """See `rice_core.train.learner.Learner`; of what was left out, that of all ranks."""
        skipped = {item: reason for each in self._ranks.gather(self.skipped) for item, reason in each.items()}
        return self._adam.counts() | {"curve": self.curve, "skipped": skipped, "bare": self._bare}

    def recount(self, counts: Mapping[str, Any]) -> None:
        """See `rice_core.train.learner.Learner`."""
        self._adam.recount(counts)
        self.curve, self.skipped = list(counts["curve"]), dict(counts["skipped"])
        self._bare = int(counts["bare"])


def blocks_of(model: Llava) -> list[nn.Module]:
    """Of the tower and of the language model: what is gathered, and computed again, at a time."""
    kinds = set(getattr(model.language_model, "_no_split_modules", None) or ())
    return [*model.tower.blocks, *(each for each in model.language_model.modules() if type(each).__name__ in kinds)]


def recomputed(blocks: Sequence[nn.Module]) -> None:
    """Keep of each block its input alone, where gradients are asked for."""
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _freeze(model: Llava, config: LlavaLearning) -> dict[str, float]:
    """What has no rate; of the rest, by name, its rate as a multiple of the projector's, which is that of all but the two."""
    whole = config.projector_rate
    rates = {"tower": config.tower_rate, "language_model": config.lm_rate}
    factors = {}
    for name, parameter in model.named_parameters():
        rate = rates.get(name.partition(".")[0], whole)
        if rate is None:
            parameter.requires_grad_(False)
        else:
            factors[name] = rate / whole
    return factors


class _Losses(nn.Module):
    """The model's loss as a forward pass in the training's precision, for FSDP2."""

    def __init__(self, model: Llava, config: LlavaLearning, device: torch.device) -> None:
        super().__init__()
        self.model, self._device, self._bf16 = model, device, config.precision == "bf16"

    def forward(self, batch: LlavaBatch) -> SummedLoss:
        # A weight is read once in a pass: kept in half precision until the end of it, all of them were there at once on each rank.
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16, cache_enabled=False):
            found: SummedLoss = self.model(batch.to(self._device))
        return found
