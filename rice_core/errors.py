"""Errors a user can cause. Each message is one sentence that ends in the next step; the command line prints it bare."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pydantic import ValidationError


class UserError(Exception):
    """A mistake the user can mend. The message says what is wrong and what to do next. Exit code 2."""


class UnknownModel(UserError):
    """The hub has no model of that name, or shows it to nobody. Who knows names can add those like it."""

    def __init__(self, message: str, model: str) -> None:
        super().__init__(message)
        self.model = model


class MissingExtra(UserError):
    """A library behind an optional extra is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f'{what} needs an optional library that is not installed; run: pip install "ricebench[{extra}]"'
        )


class StoreError(UserError):
    """The store cannot be written (full disk, no permission): the run stops, and what was finished is safe."""


class TrainingLost(StoreError):
    """A training failed on this rank while others wait for it: the run stops as for a store, and the same command goes on."""


class NotApplicable(Exception):
    """A probe cannot say anything about this encoder or data set (no masks, no labels). Reported, never a failure."""


def first_fault(error: ValidationError) -> str:
    """Where and what, in one line: `model.vit.width: Input should be greater than 0`."""
    problem = error.errors()[0]
    where = ".".join(map(str, problem["loc"]))
    said = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def one_line(error: BaseException, most: int = 300) -> str:
    """Its kind and its words, which may go over several lines."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:most]


def loaded(point: EntryPoint, what: str) -> Any:
    """What an installed package names in an entry point.

    Args:
        what: "probe", "scorer".

    Raises:
        UserError: it cannot be imported.
    """
    try:
        return point.load()
    except Exception as error:  # a package of others may fail in any way
        raise UserError(
            f"the {what} {point.name} ({point.value}) cannot be loaded: {one_line(error)}; mend it, or uninstall what brings it."
        ) from error


def did_you_mean(name: str, known: Iterable[str], also: Mapping[str, str] | None = None) -> str:
    """`did you mean a, b or c? ` of the names most like a wrong one, whatever their case; empty where none is.

    Args:
        also: other words that people use -> the known name.
    """
    words = dict(also or {}) | {each.casefold(): each for each in sorted(known)}
    wrong = name.casefold()
    found = [wrong] if wrong in words else difflib.get_close_matches(wrong, words, n=3, cutoff=0.5)
    near = list(dict.fromkeys(words[each] for each in found if words[each] != name))
    return f"did you mean {', '.join(near[:-1])}{' or ' if near[1:] else ''}{near[-1]}? " if near else ""


def lacks_memory(error: BaseException) -> str:
    """What a device or the machine said when its memory was full; empty where the error is another.

    torch is not asked: who never loaded it can have no error of it.
    """
    said = " ".join(str(error).split())
    full = isinstance(error, MemoryError) or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    # A CPU's allocator and MPS raise what is not told from any other RuntimeError.
    words = ("out of memory", "not enough memory", "can't allocate memory")
    full |= isinstance(error, RuntimeError) and any(each in said.lower() for each in words)
    return (
        f"memory is full ({'. '.join(said.split('. ')[:2])[:160].rstrip('.') or type(error).__name__})" if full else ""
    )


@contextlib.contextmanager
def room_for(what: str, advice: str) -> Iterator[None]:
    """Around what may take more memory than there is.

    Args:
        advice: what to change.

    Raises:
        UserError: memory is full.
    """
    try:
        yield
        return
    except (MemoryError, RuntimeError) as error:
        if not (full := lacks_memory(error)):
            raise
    # Not before the block has ended: the error's traceback holds the tensors that filled it.
    raise UserError(f"{what}: {full}; {advice}.")
