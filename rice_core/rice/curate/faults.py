"""Faults: a provider that raises what nobody expected. It costs the image, until it is plain that no image is the reason."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rice_core.errors import UserError
from rice_core.images import ImageError
from rice_core.rice.curate.nouns import Provider

IN_A_ROW = 16
"""Images come in a random order: where a tenth of them makes a provider fail, so many one after the other are not met."""

MEND = "mend that or choose another provider"
"""The next step, for the user."""


class Fault(ImageError):
    """A provider failed on an image, without meaning to: the message names it, and what it raised."""


@contextmanager
def asked(provider: Provider) -> Iterator[None]:
    """Around one question to a provider: whatever unexpected comes out of it becomes a `Fault`.

    Raises:
        Fault: the image may be the reason.
        ImageError: the provider says that it is.
        UserError, OSError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError: they say nothing about the image,
            and are passed on.
    """
    try:
        yield
    except (ImageError, UserError, OSError, MemoryError):
        raise
    except Exception as error:  # a library may raise anything on an image that its authors did not think of
        if _of_the_device(error):
            raise
        raise Fault(f"makes {provider.name}@{provider.version} fail ({_said(error)})") from error


class FaultRow:
    """Counts images that failed one after the other, of those that one job asked about."""

    def __init__(self) -> None:
        self._n = 0

    def ends(self) -> None:
        """An image went through."""
        self._n = 0

    def add(self, image: str, fault: ImageError) -> None:
        """One more image failed.

        Raises:
            UserError: IN_A_ROW did, so the provider is broken, not they.
        """
        self._n += 1
        if self._n == IN_A_ROW:
            raise UserError(
                f"{image} {fault}, as did the {IN_A_ROW - 1} images before it; {MEND}, then run the command again."
            ) from fault


def _of_the_device(error: Exception) -> bool:
    """Out of memory, or an error after which the process can use its GPU no more."""
    # Most providers need no torch; where it is not loaded, the error is none of its.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, (torch.OutOfMemoryError, torch.AcceleratorError))


def _said(error: Exception) -> str:
    """Class and first line of the message."""
    library = type(error).__module__.partition(".")[0]
    name = type(error).__name__ if library == "builtins" else f"{library}.{type(error).__name__}"
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{name}: {first[:200]}" if first else name
