"""An `nn.Module` of one's own as an encoder, in Python:

    from rice_core.encoders.own import wrap

    encoder = wrap(my_vit, size=224, patch=16, prefix=1, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), name="mine")
    Bench().run([encoder], ["knn"], "photos")

Shapes: B images, C channels, h x w the patch grid, N = prefix + h * w tokens.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rice_core.digest import json_digest, tensors_digest
from rice_core.encoders.base import TorchEncoder, Trunk
from rice_core.encoders.preprocess import Preprocess
from rice_core.errors import UserError, one_line
from rice_core.spec import Channels, Deviations, EncoderSpec, Interpolation

_INSTALLED = {"site-packages", "dist-packages"}


def wrap(
    module: nn.Module,
    *,
    size: int | tuple[int, int],
    patch: int,
    mean: Channels,
    std: Deviations,
    name: str,
    prefix: int = 0,
    class_token: bool = False,
    interpolation: Interpolation = "bicubic",
) -> OwnEncoder:
    """An encoder of a copy of `module`, whose forward gives tokens [B, N, C] or a map [B, C, h, w] of pixels [B, 3, H, W].

    Pictures are resized to cover the size, cut at the centre and normalised. Weights, settings and the source of the module's
    classes, with all that they import, are what its numbers are made from.

    Args:
        size: pixels, height first.
        patch: the side of the square that a token is of.
        mean: of pixels in [0, 1], that the module was trained with.
        std: likewise.
        name: what tables call it, and cells: another module of that name replaces its numbers.
        prefix: tokens before the patch grid. class_token: whether the first of them is one.

    Raises:
        UserError: it is no module, or one whose source nobody can read; or its forward fails, gives something else, or does not
            give the same again.
    """
    if not isinstance(module, nn.Module):
        raise UserError(
            f"{name}: wrap takes an nn.Module, not a {type(module).__name__}; put it into a class of its own."
        )
    if patched := next((part for part in module.modules() if "forward" in vars(part)), None):
        raise UserError(
            f"{name}: the forward of {type(patched).__name__} was replaced, and nobody can tell by what; write a class of its own."
        )
    hw = (size, size) if isinstance(size, int) else size
    sources, libraries = _sources(module, name)
    tokens = _Tokens(copy.deepcopy(module).eval(), name, patch, prefix).float()
    trunk = Trunk(
        module=tokens,
        forward=tokens,
        blocks=[tokens],
        norm=nn.Identity(),
        normed=False,
        prefix=prefix,
        has_cls=class_token and prefix > 0,
        patch=patch,
        dim=_width(tokens, hw, name),
        recipe=Preprocess(resolution=hw, interpolation=interpolation, mean=mean, std=std),
        architecture={"module": _described(module, set()), "prefix": prefix, "libraries": libraries},
        multires=False,
    )
    return OwnEncoder(EncoderSpec(name=name, source="own", model=name), trunk, sources)


class OwnEncoder(TorchEncoder):
    """What `wrap` gives."""

    def __init__(self, spec: EncoderSpec, trunk: Trunk, sources: tuple[str, ...]) -> None:
        super().__init__(spec, trunk)
        self.sources = sources
        """The Python modules whose classes it is made of."""
        self._code = ""

    def made_of(self, code: str) -> OwnEncoder:
        """The same encoder, which knows the digest of its sources and all that they import."""
        told = copy.copy(self)
        told._code = code
        return told

    def architecture_digest(self) -> str:
        return json_digest([super().architecture_digest(), self._code])


class _Tokens(nn.Module):
    """Tokens [B, N, C] of whichever of the two a module gives."""

    def __init__(self, inner: nn.Module, name: str, patch: int, prefix: int) -> None:
        super().__init__()
        self.inner = inner
        self.anchor = nn.Parameter(torch.zeros(0))  # says where it is, of a module that has no weights
        self._name, self._patch, self._prefix = name, patch, prefix

    def forward(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        found = self.inner(pixels_B3HW)
        h, w = (side // self._patch for side in pixels_B3HW.shape[-2:])
        if not isinstance(found, torch.Tensor) or found.ndim not in (3, 4):
            what = f"shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else f"a {type(found).__name__}"
            raise UserError(
                f"{self._name}: its forward gives {what}; give tokens [B, N, C] or a map [B, C, h, w] from a class of its own."
            )
        if found.ndim == 4:
            if tuple(found.shape[2:]) != (h, w):
                raise UserError(
                    f"{self._name}: its map is {tuple(found.shape[2:])} where patch={self._patch} makes {(h, w)}; correct patch."
                )
            return found.flatten(2).transpose(1, 2)
        if found.shape[1] != self._prefix + h * w:
            raise UserError(
                f"{self._name}: it gives {found.shape[1]} tokens where {self._prefix} + {h} x {w} were expected; "
                f"say prefix={max(0, found.shape[1] - h * w)}, or correct size and patch."
            )
        return found


@torch.no_grad()
def _width(tokens: _Tokens, hw: tuple[int, int], name: str) -> int:
    """C of the tokens that it gives; and gives again, whatever other picture is beside."""
    held = (*tokens.inner.parameters(), *tokens.inner.buffers())
    device = next((each.device for each in held), torch.device("cpu"))
    pixels_23HW = torch.zeros(2, 3, *hw, device=device)
    pixels_23HW[0] += torch.linspace(-1, 1, hw[1], device=device)
    with torch.no_grad():
        try:
            alone_1NC = tokens(pixels_23HW[:1])
            before = copy.deepcopy(tokens.state_dict())
            again_1NC, both_2NC = tokens(pixels_23HW[:1]), tokens(pixels_23HW)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{name}: its forward fails at {hw[0]}x{hw[1]} pixels ({one_line(error)}); check size."
            ) from error
    if any(not torch.equal(value, before[key]) for key, value in tokens.state_dict().items()):
        raise UserError(
            f"{name}: its forward changes its own buffers, so that no number could be had again; leave them."
        )
    room = 1e-3 * float(alone_1NC.abs().max().nan_to_num())  # of the same sums in another order
    for found_1NC, when in ((again_1NC, "when it is asked again"), (both_2NC[:1], "where another is beside it")):
        if not torch.allclose(found_1NC, alone_1NC, rtol=0, atol=room, equal_nan=True):
            raise UserError(
                f"{name}: its forward gives something else for a picture {when}; leave out what is random or of the batch."
            )
    return int(alone_1NC.shape[2])


def _sources(module: nn.Module, name: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The modules of its classes, and the versions of the installed libraries that other classes are from."""
    sources: set[str] = set()
    libraries: dict[str, str] = {}
    for kind in {type(part) for part in module.modules()}:
        try:
            file = inspect.getsourcefile(kind)
        except TypeError:
            file = None
        if file is None or not Path(file).is_file():
            raise UserError(
                f"{name}: the source of {kind.__qualname__} cannot be read, so that nobody could tell its numbers from those of "
                "a changed one; put the class into a file."
            )
        top = kind.__module__.split(".")[0]
        if _INSTALLED.isdisjoint(Path(file).parts):
            sources.add(kind.__module__)
        else:
            libraries |= {each: version(each) for each in packages_distributions().get(top, ())}
    return tuple(sorted(sources)), libraries


def _described(value: Any, within: set[int]) -> Any:
    """All that a module holds beside its weights, as JSON: heads, switches, buffers that no file keeps, functions by name."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, torch.Tensor):
        return tensors_digest({"": value})
    if id(value) in within:
        return "again"
    within = within | {id(value)}
    if isinstance(value, nn.Module):
        # What nn.Module itself keeps begins with an underscore; parameters are the weights' business.
        own = {key: each for key, each in vars(value).items() if not key.startswith("_") and key != "training"}
        parts = {**own, **dict(value.named_buffers(recurse=False)), **dict(value.named_children())}
        return [_called(type(value)), repr(value), _described(parts, within)]
    if isinstance(value, Mapping):
        return {str(key): _described(each, within) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        parts_of = sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value
        return [_described(each, within) for each in parts_of]
    if callable(value) and hasattr(value, "__qualname__"):
        return _called(value)
    held = getattr(value, "__dict__", None)
    return [_called(type(value)), str(value) if held is None else _described(held, within)]


def _called(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
