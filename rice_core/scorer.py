"""Scorer: judges a results file, ours or another's, by one benchmark's rules. It gives plain values; the command prints them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from rice_core.errors import UserError
from rice_core.record import Skipped

if TYPE_CHECKING:
    from rice_core.stats.estimates import Estimate, Paired


@dataclass(frozen=True)
class Checked:
    """What a results file is, as far as it can be judged."""

    facts: Mapping[str, str | int | float]
    """What is said of it above all numbers: its name, that of the truth, how many things."""
    usable: int
    """Entries that can be judged. None at all, where `left_out` names some, is no score."""
    left_out: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    """What was decided about a file as a whole: one sentence each."""


@dataclass(frozen=True)
class Rated:
    """One number of a scorecard."""

    labels: Mapping[str, str | None]
    """What it is of, such as {"kind": "box", "metric": "AP"}; all rows of a card have the same keys, in one order."""
    value: float | None
    """None where nothing defines it."""
    n: int
    """What it is over: images, objects, questions."""
    unit: str = ""
    error: Estimate | None = None
    detail: bool = False
    """One of many, such as a category: on a terminal only where `--all` asks for it."""
    said: str = ""
    """What may be said of it in words, such as whether a difference is decisive."""


@dataclass(frozen=True)
class Scorecard:
    """What a results file is worth."""

    checked: Checked
    rows: tuple[Rated, ...]
    across: str = ""
    """The label whose values stand side by side on a terminal; none: one column."""

    def __post_init__(self) -> None:
        """Raises UserError where rows have other labels than the first: their values would stand under its names."""
        labels = list(self.rows[0].labels) if self.rows else []
        odd = next((list(row.labels) for row in self.rows if list(row.labels) != labels), None)
        if odd is not None or (self.rows and self.across not in ("", *labels)):
            raise UserError(
                f"A scorecard's rows have one set of labels, {labels} here, and not {odd or self.across}; mend the scorer."
            )


class Scorer(Protocol):
    """Written as a frozen dataclass whose fields are its settings; an entry point in the group `ricebench.scorers` names it.

    `ricebench evaluate NAME?setting=value` builds it. Its module imports the heavy libraries inside its functions.
    """

    summary: ClassVar[str]
    """One line: what results it judges, and by what."""
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def score(self, results: Path, data: Path) -> Scorecard:
        """Judge.

        Raises:
            UserError: a file that cannot be read at all; the sentence says what to write instead.
        """

    def validate(self, results: Path, data: Path) -> Checked:
        """Say what is wrong with the results, and judge nothing.

        Raises:
            UserError: as `score`.
        """


@runtime_checkable
class Comparing(Protocol):
    """What a scorer adds that can hold one results file against another: `ricebench evaluate --against`."""

    def compare(self, results: Path, against: Path, data: Path) -> Scorecard:
        """Judge both on what both have, and say how far they are apart; what only one of them has is counted.

        Raises:
            UserError: as `Scorer.score`, of either.
        """


def told_apart(results: Path, against: Path) -> tuple[str, str]:
    """What the two of a comparison are called."""
    return (results.name, against.name) if results.name != against.name else ("the first", "the second")


def rated_difference(
    labels: Mapping[str, str | None], found: Paired, how: str, names: tuple[str, str], *, detail: bool = False
) -> Rated:
    """A difference in percent as a row, with whether it is decisive in words.

    Args:
        how: its error was found, such as "clustered by video (280)". names: as `told_apart`.
    """
    from rice_core.stats.estimates import Estimate

    method = f"of the difference: paired, {how}, t interval"
    error = Estimate(found.value, found.stderr, found.ci95, found.n, found.clusters, method)
    return Rated(labels, found.value, found.n, "%", error, detail, found.sentence(*names))
