"""Finding: one number or sentence of the paper, derived again from the cells."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Verdict = Literal["agrees", "rounding", "disagrees", "suspect"]
"""agrees: derived again and rounded as printed, it is the same. rounding: off by no more than the rounding of the cells
explains. disagrees: the cells say otherwise. suspect: nothing contradicts it, but a reader should know."""


@dataclass(frozen=True)
class Finding:
    """What was printed, what the cells give, and the verdict in a sentence."""

    table: str
    """Id of the printed table: 1, 1-page, 2, 3, 4, 5a ... 5d."""
    where: str
    """`ROW/COLUMN`, `*/COLUMN`, `gain: LABEL/COLUMN`, or `prose: KEY`."""
    printed: str
    derived: str
    verdict: Verdict
    sentence: str
    cells: tuple[tuple[str, str], ...] = ()
    """The (row, column) keys that a reader should look at."""


def half_step(printed: str) -> Decimal:
    """Half of the last printed place: how far the number behind it can be from what is printed."""
    exponent = Decimal(printed).as_tuple().exponent
    return Decimal(5).scaleb(int(exponent) - 1)


def judge(printed: str, derived: Decimal, *, slack: Decimal) -> Verdict:
    """Compare a printed number with a derived one whose own inputs may be off by `slack` through their rounding."""
    gap = abs(Decimal(printed) - derived)
    if gap <= half_step(printed):
        return "agrees"
    return "rounding" if gap <= half_step(printed) + slack else "disagrees"


def rounded(value: Decimal, like: str, *, sign: bool = False) -> str:
    """The number with the decimals of a printed one, and one more where rounding would hide the gap between them."""
    places = max(0, -int(Decimal(like).as_tuple().exponent))
    text = f"{value:+.{places}f}" if sign else f"{value:.{places}f}"
    if Decimal(text) == Decimal(like) or abs(Decimal(text) - value) < Decimal("1e-12"):
        return text
    return f"{value:+.{places + 1}f}" if sign else f"{value:.{places + 1}f}"
