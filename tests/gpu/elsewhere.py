"""A second device on a machine that has none: tensors that say they are on `meta` and compute on the CPU.

An operation that mixes them with the CPU's tensors is refused, as CUDA refuses it, and none of them turns into numpy. So code
that would fail on its first GPU fails in a test without one. (torch's own FakeTensorMode has no values, and what is trained
here depends on values: how many regions count, which anchors are positive.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed.tensor  # now, not at the first operation: it wants torch's own Generator
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

THERE = torch.device("meta")
_INDEXES = (torch.ops.aten.index, torch.ops.aten.index_put_, torch.ops.aten._index_put_impl_)
"""They take indices of the CPU as well, on CUDA too."""
_CROSSES = (torch.ops.aten.copy_, torch.ops.aten._to_copy)


class Elsewhere(torch.Tensor):
    """A tensor of the second device; `here` is what it holds."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> Elsewhere:
        kwargs = {"strides": here.stride(), "storage_offset": here.storage_offset(), "dtype": here.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, here.shape, device=THERE, **kwargs)  # type: ignore[attr-defined]
        made.here = here
        return made

    def __repr__(self) -> str:
        return f"Elsewhere({self.here!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Factories(TorchDispatchMode):
    """Catches what has no tensor among its arguments: torch.zeros(..., device=THERE)."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """torch.tensor([1, 2], device=THERE), whose values torch would drop; tolist(), which copies to the CPU by itself."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = dict(kwargs or {})
        if func is torch.Tensor.tolist and isinstance(args[0], Elsewhere):
            return args[0].detach().cpu().tolist()
        if func is torch.Tensor.new_tensor and isinstance(args[0], Elsewhere):
            return torch.tensor(args[1], dtype=options.get("dtype", args[0].dtype)).to(THERE)
        if func in (torch.tensor, torch.as_tensor) and options.get("device") is not None:
            return torch.tensor(*args, **options | {"device": "cpu"}).to(options["device"])
        return func(*args, **options)


@contextlib.contextmanager
def second_device(monkeypatch: Any) -> Iterator[torch.device]:
    """While it lasts, THERE is a device; its generators and its autocast are the CPU's."""
    generator, autocast = torch.Generator, torch.autocast

    class Generator:
        def __new__(cls, device: Any = "cpu") -> Any:
            return generator("cpu") if torch.device(device) == THERE else generator(device)

    def cast(device_type: str, *words: Any, **options: Any) -> Any:
        return autocast("cpu" if device_type == THERE.type else device_type, *words, **options)

    with monkeypatch.context() as patch, _Factories(), _Literals():
        patch.setattr(torch, "Generator", Generator)
        patch.setattr(torch, "autocast", cast)
        yield THERE


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, torch.Tensor)]
    there = any(isinstance(each, Elsewhere) for each in tensors)
    wanted = kwargs.get("device")
    if there and func.overloadpacket not in _CROSSES:
        checked = [args[0]] if func.overloadpacket in _INDEXES else tensors
        # A single number of the CPU goes anywhere.
        strange = [each for each in checked if not isinstance(each, Elsewhere) and each.ndim]
        if strange or (func.overloadpacket in _INDEXES and not isinstance(args[0], Elsewhere)):
            shapes = [tuple(each.shape) for each in tensors]
            raise RuntimeError(f"{func} mixes tensors of two devices: {shapes}")
    plain = dict(kwargs)
    if wanted is not None:
        plain["device"] = torch.device("cpu") if torch.device(wanted) == THERE else wanted
    args_here, kwargs_here = tree_map(_unwrapped, (args, plain))
    out = func(*args_here, **kwargs_here)
    if wanted is not None:
        there = torch.device(wanted) == THERE
    changed = {id(_unwrapped(each)): each for each in tensors}  # of operations in place
    return tree_map(
        lambda each: (
            changed.get(id(each), Elsewhere(each) if there else each) if isinstance(each, torch.Tensor) else each
        ),
        out,
    )


def _unwrapped(value: Any) -> Any:
    return value.here if isinstance(value, Elsewhere) else value
