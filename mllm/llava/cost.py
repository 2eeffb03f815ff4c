"""What a training costs, before it has begun: by what its like took, else by arithmetic, in a sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence

from mllm.llava.language_model import parameters_of
from mllm.llava.packing import Anyres, Square
from mllm.llava.recipe import LlavaConfig, LlavaLearning
from rice_core.budget import Budget, Passes, Took
from rice_core.spec import EncoderSpec, Param
from rice_core.stage import StageSpec

_SIDE, _PATCH = 336, 14
"""Of an encoder that was never loaded."""
_USUAL = (480, 640)
"""Height and width of a picture, where nobody has looked."""
_TEXT = 150
"""Tokens of a conversation beside its pictures, system turn and markers among them."""
_GPUS, _PEAK, _USED = 8, 989e12, 0.4
"""H100s, operations a second of each in bf16, and how much of that trainings of this kind reach."""
_GB = 1e9
_DEAR = ("batch", "part", "context", "precision")
"""Of the settings of a training those that decide what a step takes."""


def cost_of(
    spec: StageSpec,
    model: LlavaConfig,
    learning: LlavaLearning,
    samples: int,
    pictures: Callable[[int, int], Anyres | Square],
    encoder: EncoderSpec,
    budget: Budget,
) -> Passes:
    """See `rice_core.stage.Stage.cost`."""
    side, patch = max(encoder.resolution or (budget.side or _SIDE,)), budget.patch or _PATCH
    cut = pictures(side, patch)
    plan, most = cut.plan(*_USUAL), cut.plan(2 * side, 2 * side)
    made, steps = samples * learning.epochs, learning.steps(samples)
    seconds = seconds_a_step(spec, budget.trained)
    weights = parameters_of(model.lm)
    said = [f"{spec.name}: {made:,} samples in {steps:,} steps"]
    if seconds is not None:
        said.append(f"about {steps * seconds / 3600:.2g} h")
    elif weights is not None:
        each = [made * _operations(weights, tokens + _TEXT, learning) for tokens in sorted({plan.tokens, most.tokens})]
        hours = " to ".join(f"{operations / (_GPUS * _PEAK * _USED) / 3600:.2g}" for operations in each)
        said.append(f"about {hours} h of {_GPUS} H100 by arithmetic, which the size of the pictures decides")
    if weights is not None:
        said.append(_room(weights, learning))
    total = None if seconds is None else steps * seconds
    return Passes(made * plan.tiles, side, "; ".join(said), steps, total, f"--limit {20 * learning.batch}")


def seconds_a_step(spec: StageSpec, trained: Sequence[Took]) -> float | None:
    """The slowest of finished trainings of the same model with the same batch, however long; None without one.

    One that was resumed knows its last session alone, and looks fast.
    """

    def told(params: Mapping[str, Param]) -> tuple[list[object], int]:
        """What makes a step dear, and how many there are."""
        learning = json.loads(str(params["learning"]))
        rates = [learning[name] is None for name in ("tower_rate", "lm_rate")]
        kind = [json.loads(str(params["model"])), rates, *(learning[name] for name in _DEAR)]
        return kind, learning["epochs"] * math.ceil(int(params["samples"]) / learning["batch"])

    kind, _ = told(spec.params)
    like = [(each.seconds, *told(each.params)) for each in trained if each.stage == spec.name]
    return max((seconds / steps for seconds, made, steps in like if seconds and made == kind), default=None)


def _operations(weights: float, tokens: int, learning: LlavaLearning) -> float:
    """Of one sample in the language model, beside which an encoder is small: forward 2 a weight and token, backward 2 through frozen
    weights and 4 through trained ones, which are computed twice."""
    return tokens * weights * (4 if learning.lm_rate is None else 8)


def _room(weights: float, learning: LlavaLearning) -> str:
    """In words, of the language model."""
    if learning.lm_rate is None:
        return f"memory over all ranks: {_gb(weights * (2 if learning.precision == 'bf16' else 4))} of frozen weights"
    left = weights * (2 if learning.precision == "bf16" else 4)
    # Weights, gradients and two moments of 4 bytes; a checkpoint holds all but the gradients, and two of them stay.
    return (
        f"memory over all ranks: {_gb(16 * weights)} of weights, gradients and moments; disk: {_gb(2 * 12 * weights)} of checkpoints while it "
        f"trains, {_gb(left)} in the end"
    )


def _gb(size: float) -> str:
    return f"{size / _GB:.2g} GB" if size < 10 * _GB else f"{size / _GB:.0f} GB"
