"""A copy of an encoder for whoever trains its weights, and what tells whether one is still as it was loaded."""

from __future__ import annotations

import copy
from types import CellType, FunctionType
from typing import Any, TypeVar

import torch
from torch import nn

from rice_core.digest import tensors_digest
from rice_core.errors import UserError
from rice_core.features import Encoder

E = TypeVar("E", bound=Encoder)


def private(encoder: E) -> E:
    """A deep copy that shares no weight with `encoder`, whose weights can be trained: `copy.module` is the network.

    Raises:
        UserError: it has no weights, gives no gradients, or cannot be copied.
    """
    title = encoder.spec.title
    if not isinstance(getattr(encoder, "module", None), nn.Module) or "grad" not in encoder.provides:
        raise UserError(f"{title} has no weights that can be trained; choose another encoder.")
    memo: dict[int, Any] = {}
    # deepcopy takes a function as it is, so that a forward pass that closes over its network would go on using the shared one.
    for function in _functions(encoder):
        memo[id(function)] = _bound(function, memo)
    own = copy.deepcopy(encoder, memo)
    module: nn.Module = own.module  # type: ignore[attr-defined]
    if hasattr(own, "_digest"):
        own._digest = None  # of weights that are about to change
    module.requires_grad_(False)
    pixels = torch.zeros(1, 3, *(encoder.spec.resolution or (encoder.patch, encoder.patch)), device=encoder.device)
    with torch.enable_grad():
        frozen = own.encode(pixels).dense_BCHW.requires_grad
        module.requires_grad_(True)
        trained = own.encode(pixels).dense_BCHW.requires_grad
    if frozen or not trained:
        raise UserError(
            f"{title} cannot be copied: its forward pass does not use its own network; choose another encoder."
        )
    return own


def weights_now(encoder: Encoder) -> str:
    """`Encoder.weights_digest()`, read anew: that of an encoder is computed once."""
    module = getattr(encoder, "module", None)
    return tensors_digest(module.state_dict()) if isinstance(module, nn.Module) else encoder.weights_digest()


def set_up_now(encoder: Encoder) -> list[Any]:
    """What of its network changes its features and is no weight: mode, hooks, and a forward put in the place of its class's."""
    module = getattr(encoder, "module", None)
    return [
        (name, part.training, *map(tuple, (part._forward_pre_hooks, part._forward_hooks)), vars(part).get("forward"))
        for name, part in (module.named_modules() if isinstance(module, nn.Module) else ())
    ]


def _functions(encoder: object) -> list[FunctionType]:
    """Those that the encoder and its trunk hold and that close over something."""
    held = [*vars(encoder).values()]
    held += [value for each in held if hasattr(each, "__dict__") for value in vars(each).values()]
    return [each for each in held if isinstance(each, FunctionType) and each.__closure__]


def _bound(function: FunctionType, memo: dict[int, Any]) -> FunctionType:
    cells = tuple(CellType(copy.deepcopy(cell.cell_contents, memo)) for cell in function.__closure__ or ())
    made = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, cells)
    made.__kwdefaults__ = function.__kwdefaults__
    return made
