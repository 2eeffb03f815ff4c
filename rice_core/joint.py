"""What several cells of a run do at once, on behalf of `ricebench run --together`.

A probe whose longest part is an errand (`rice_core.probe.Work.share`) may let the errands of several cells be done together,
of several encoders too, before the cells are measured one by one: what is read for all of them is then read once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rice_core.features import Encoder

if TYPE_CHECKING:
    from rice_core.probe import Work


class JointErrand(Protocol):
    """A `rice_core.probe.Errand` that keeps what it has done."""

    @staticmethod
    def together(
        parts: Sequence[tuple[Encoder, Any]], progress: Callable[[Sequence[Any], str], Iterator[Any]]
    ) -> Sequence[str]:
        """Do what errands of this class can share, and keep it where each of them finds it when it is run by itself.

        Args:
            parts: errands, each with its encoder; those of one encoder have the same object.

        Returns:
            What to say of those that failed: each will fail again, or go on, by itself.

        Raises:
            StoreError: nothing can be kept.
        """


@runtime_checkable
class Joins(Protocol):
    """What a probe adds whose errand can be done with those of other cells."""

    def errand(self, encoder: Encoder, work: Work) -> JointErrand:
        """The one that `run` will share; its stages are trained.

        Raises:
            NotApplicable, UserError: as `run`.
        """
