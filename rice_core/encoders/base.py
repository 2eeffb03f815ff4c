"""What all adapters share: an adapter fills a `Trunk`, and `TorchEncoder` makes an `Encoder` of it.

Tokens are read where they arise, at the output of each transformer block, so every family gives the same thing: the raw
residual stream, and the final norm only where it is asked for or where the model's own forward applies it.

Shapes: B images, H x W pixels, h x w the patch grid, T = prefix + h*w tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import nn

from rice_core.digest import json_digest, tensors_digest
from rice_core.encoders.preprocess import PixelRecipe, normalized
from rice_core.encoders.sizes import fitted, floored, input_size
from rice_core.errors import UserError, one_line
from rice_core.features import Features
from rice_core.model.regions import RegionSettings
from rice_core.spec import EncoderSpec


@dataclass(frozen=True)
class Trunk:
    """A loaded vision transformer and the facts that its configuration states."""

    module: nn.Module
    forward: Callable[[torch.Tensor], object]
    """Model space (B, 3, H, W) through all blocks; what it returns is not used."""
    blocks: Sequence[nn.Module]
    norm: nn.Module
    """The final norm over channels."""
    normed: bool
    """Whether the model's own last hidden state is behind that norm."""
    prefix: int
    """Tokens before the grid: class token, registers. Checked against what the blocks give."""
    has_cls: bool
    """Whether the first of them is a class token."""
    patch: int
    dim: int
    recipe: PixelRecipe
    architecture: Mapping[str, Any]
    """The model's configuration and library, as JSON, without names and paths."""
    multires: bool = True
    """Whether it takes any multiple of the patch, or its spec's size alone."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """For the record: training tags, the hub's commit."""
    regions: RegionSettings | None = None
    """How it learnt to answer for regions, where that is known."""


class TorchEncoder:
    """An `Encoder` over a `Trunk`.

    With `spec.norm_last` None the tokens of the last block are as the model's own last hidden state, earlier blocks are
    raw, and the class token of the last block is normed, as every family's pooled output is. True norms every layer
    asked for, False none. Features are float32 whatever the weights are.
    """

    def __init__(self, spec: EncoderSpec, trunk: Trunk) -> None:
        """Freeze the geometry.

        Raises:
            UserError: a resolution that the model cannot take, layers or a norm that it does not have, or a forward that fails.
        """
        if spec.norm_last and isinstance(trunk.norm, nn.Identity):
            raise UserError(
                f"{spec.title}: it has no final norm over its tokens (it norms after pooling); leave out norm=1."
            )
        self._trunk = trunk
        self.dim, self.patch, self.facts, self.regions = trunk.dim, trunk.patch, trunk.facts, trunk.regions
        self._layers = _layers(spec, len(trunk.blocks))
        self._size_hw = input_size(spec, trunk.patch, trunk.recipe.resolution)
        self._spec = spec.model_copy(update={"resolution": self._size_hw})
        self._digest: str | None = None
        trunk.module.eval()
        for parameter in trunk.module.parameters():
            # Buffers stay: angles and frequencies of RoPE lose their meaning in half precision.
            parameter.data = parameter.data.to(getattr(torch, spec.dtype))
        self._try()

    @property
    def spec(self) -> EncoderSpec:
        return self._spec

    @property
    def n_params(self) -> int:
        return sum(parameter.numel() for parameter in self._trunk.module.parameters())

    @property
    def provides(self) -> frozenset[str]:
        optional = {"cls": self._trunk.has_cls, "multires": self._trunk.multires}
        return frozenset({"dense", "levels", "grad"} | {name for name, given in optional.items() if given})

    @property
    def device(self) -> torch.device:
        return next(self._trunk.module.parameters()).device

    @property
    def module(self) -> nn.Module:
        """The loaded network itself, for converting it."""
        return self._trunk.module

    @property
    def recipe(self) -> PixelRecipe:
        return self._trunk.recipe

    def to(self, device: torch.device | str) -> TorchEncoder:
        if torch.device(device).type == "cuda":
            # cuDNN rounds float32 to ten bits (TF32) unless told otherwise, and torch's matrix products do not: the patch
            # embedding alone, a convolution, would be other numbers than the dtype says and the CPU gives.
            torch.backends.cudnn.allow_tf32 = False
        self._trunk.module.to(device)
        return self

    def preprocess(self, images: Sequence[Image.Image]) -> torch.Tensor:
        own, (h, w) = self._trunk.recipe.resolution, self._size_hw
        # A published size that the patch does not divide (384 / 14): the model's own first layer drops the rest, at the
        # right and bottom.
        size = own if (h, w) == floored(own, self.patch) else (h, w)
        return self._trunk.recipe.prepare(images, *size)[..., :h, :w]

    def normalize(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        return normalized(pixels_B3HW, self._trunk.recipe)

    def encode(self, pixels_B3HW: torch.Tensor) -> Features:
        grids, last_BTC = self._levels(pixels_B3HW, self._layers)
        cls_BC = self._class_token(last_BTC, self._normed(self._layers[-1], native=True))
        return Features(grids[-1], cls_BC, grids if len(grids) > 1 else ())

    @property
    def normed(self) -> bool:
        return not isinstance(self._trunk.norm, nn.Identity)

    def reaches(self, layer: int) -> bool:
        return -len(self._trunk.blocks) <= layer < len(self._trunk.blocks)

    def levels(self, pixels_B3HW: torch.Tensor, layers: Sequence[int]) -> tuple[torch.Tensor, ...]:
        asked = [
            _layers(self._spec.model_copy(update={"layers": (layer,)}), len(self._trunk.blocks))[0] for layer in layers
        ]
        return self._levels(pixels_B3HW, asked)[0]

    def _levels(
        self, pixels_B3HW: torch.Tensor, layers: Sequence[int]
    ) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """The grids of these blocks, and all tokens of the last of them as they are."""
        pixels_B3HW = self._fit(pixels_B3HW.to(self.device, getattr(torch, self._spec.dtype)))
        h, w = (side // self.patch for side in pixels_B3HW.shape[-2:])
        raw = tokens_of(self._trunk, pixels_B3HW, layers)
        normed = [self._normed(layer, native=self._trunk.normed) for layer in layers]
        return tuple(self._grid(raw_BTC, h, w, each) for raw_BTC, each in zip(raw, normed, strict=True)), raw[-1]

    @torch.no_grad()
    def skip_behind(self, layer: int) -> None:
        """Let the blocks behind one hand on what they are given: for a copy of which nothing else is read. Their weights stay.

        Args:
            layer: from the end, or from the start.
        """
        behind = list(self._trunk.blocks)[range(len(self._trunk.blocks))[layer] + 1 :]
        given: list[object] = []
        hooks = [block.register_forward_hook(lambda *seen: given.append(seen[2])) for block in behind]
        side = 2 * self.patch if self._trunk.multires else self._size_hw[0]
        self._trunk.forward(torch.zeros(1, 3, side, side, device=self.device, dtype=getattr(torch, self._spec.dtype)))
        for hook in hooks:
            hook.remove()
        for block, output in zip(behind, given, strict=True):
            block.forward = _handed_on_in_a_tuple if isinstance(output, tuple) else _handed_on

    def blocks(self, pixels_B3HW: torch.Tensor, n: int) -> tuple[Features, ...]:
        last = self._layers[-1]
        if not 1 <= n <= last + 1:
            read = (
                "" if last == len(self._trunk.blocks) - 1 else f" up to the one that its layers= names (block {last})"
            )
            raise UserError(f"{self._spec.title} has {last + 1} blocks{read}; write layers=1 to layers={last + 1}.")
        pixels_B3HW = self._fit(pixels_B3HW.to(self.device, getattr(torch, self._spec.dtype)))
        h, w = (side // self.patch for side in pixels_B3HW.shape[-2:])
        normed = self._spec.norm_last is not False
        raw = tokens_of(self._trunk, pixels_B3HW, range(last - n + 1, last + 1))
        return tuple(Features(self._grid(each, h, w, normed), self._class_token(each, normed)) for each in raw)

    def weights_digest(self) -> str:
        """Computed once: ask again from a new encoder after training the weights."""
        if self._digest is None:
            self._digest = tensors_digest(self._trunk.module.state_dict())
        return self._digest

    def architecture_digest(self) -> str:
        trunk = self._trunk
        body = {
            "model": trunk.architecture,
            "recipe": trunk.recipe.described(),
            "normed": trunk.normed,
            "torch": torch.__version__,
        }
        return json_digest(body)

    @torch.no_grad()
    def _try(self) -> None:
        """One picture prepared and one of few patches encoded: what cannot work fails here, not in the middle of a run."""
        try:
            # Few patches: a whole picture takes a large model seconds on a CPU. Not square: a table resized to the wrong
            # shape fails too.
            pixels_B3HW = self.preprocess([Image.new("RGB", (3, 2))])
            found = self.encode(
                pixels_B3HW[..., : 2 * self.patch, : 3 * self.patch] if self._trunk.multires else pixels_B3HW
            )
            if not found.dense_BCHW.isfinite().all():
                half = "" if self._spec.dtype == "float32" else ", or leave out dtype="
                raise UserError(
                    f"{self._spec.title}: its features of a plain picture are not finite numbers; fetch its weights again{half}."
                )
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{self._spec.title}: a forward pass fails ({one_line(error)}); choose another checkpoint, or another res=."
            ) from error

    def _fit(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        pixels_B3HW = fitted(self._spec, self.patch, pixels_B3HW)
        h, w = pixels_B3HW.shape[-2:]
        if not self._trunk.multires and (h, w) != self._size_hw:
            own_h, own_w = self._size_hw
            raise UserError(
                f"{self._spec.title} was loaded for {own_h}x{own_w} pixels and takes no other size; "
                f"load it with res={h}x{w} for this one."
            )
        return pixels_B3HW

    def _grid(self, raw_BTC: torch.Tensor, h: int, w: int, normed: bool) -> torch.Tensor:
        """Tokens of one block -> (B, C, h, w) without the prefix."""
        prefix = self._trunk.prefix
        if raw_BTC.shape[1] != prefix + h * w:
            raise UserError(
                f"{self._spec.title} gives {raw_BTC.shape[1]} tokens where {prefix} + {h} x {w} were expected, "
                "so its patch grid is not known; use a plain vision transformer."
            )
        patches_BTC = raw_BTC[:, prefix:]
        if normed:
            patches_BTC = self._trunk.norm(patches_BTC)
        return patches_BTC.float().transpose(1, 2).reshape(raw_BTC.shape[0], -1, h, w)

    def _class_token(self, raw_BTC: torch.Tensor, normed: bool) -> torch.Tensor | None:
        """(B, C), or None where the model has none."""
        if not self._trunk.has_cls:
            return None
        first_BC = raw_BTC[:, 0]
        first_BC = self._trunk.norm(first_BC) if normed else first_BC
        return first_BC.float()

    def _normed(self, layer: int, *, native: bool) -> bool:
        """What the spec asks for; else the model's own way, which knows a norm after the last block alone."""
        if self._spec.norm_last is not None:
            return self._spec.norm_last
        return native and layer == len(self._trunk.blocks) - 1


def tokens_of(trunk: Trunk, pixels_B3HW: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
    """The raw output of each of these blocks, (B, T, C) each, of pixels in model space."""
    if torch.is_inference_mode_enabled():
        # What a model keeps of a forward pass (BEiT its relative positions) has to serve training too.
        with torch.inference_mode(False), torch.no_grad():
            return tokens_of(trunk, pixels_B3HW, layers)
    seen: dict[int, torch.Tensor] = {}

    def keep(layer: int) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: Any) -> None:
            seen[layer] = output[0] if isinstance(output, tuple) else output

        return hook

    # Not a library's hidden states: whether the last of them is behind the final norm differs by family.
    hooks = [trunk.blocks[layer].register_forward_hook(keep(layer)) for layer in layers]
    try:
        trunk.forward(pixels_B3HW)
    finally:
        for handle in hooks:
            handle.remove()
    return [seen[layer] for layer in layers]


def _handed_on(tokens_BTC: torch.Tensor | None = None, *_: object, **named: torch.Tensor) -> torch.Tensor:
    return named["hidden_states"] if tokens_BTC is None else tokens_BTC


def _handed_on_in_a_tuple(*given: torch.Tensor, **named: torch.Tensor) -> tuple[torch.Tensor]:
    return (_handed_on(*given, **named),)


def _layers(spec: EncoderSpec, depth: int) -> tuple[int, ...]:
    """Block numbers from 0, shallow to deep."""
    wanted = tuple(layer + depth if layer < 0 else layer for layer in spec.layers)
    if not all(0 <= layer < depth for layer in wanted):
        raise UserError(f"{spec.title} has {depth} blocks; give layers= from {-depth} to {depth - 1}.")
    if list(wanted) != sorted(set(wanted)):
        raise UserError(f"{spec.title}: list layers= once each, shallow to deep, such as layers=-4,-1.")
    return wanted
