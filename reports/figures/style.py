"""What all figures share: one look, names made safe to print, and bytes that do not depend on the day or the machine."""

from __future__ import annotations

import colorsys
import io
import unicodedata
import warnings
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

Format = Literal["png", "svg"]
Colour = tuple[float, float, float]

INK = "#222222"
MUTED = "#767676"
_OKABE_ITO = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#8c6d31")
"""Told apart with every common colour-blindness; their yellow, too pale for a line, is a brown here."""
COLOURS = len(_OKABE_ITO)

_RC: Any = {  # Not every release of matplotlib knows the same keys by type.
    "font.family": "DejaVu Sans",  # Comes with matplotlib, so it is the same everywhere.
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # A name with dollar signs is a name.
    "text.usetex": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.dpi": 200,
    "savefig.dpi": 200,
    "svg.hashsalt": "ricebench",
    "svg.fonttype": "path",
}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in here: matplotlib's defaults and ours, whatever the user's own settings are."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A glyph that the font lacks is drawn as a box; that is no news for the terminal.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def canvas(width: float, height: float) -> Figure:
    """An empty figure, in inches, without pyplot's global state."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def encode(figure: Figure, format: Format) -> bytes:
    """The file, without date or version of the program."""
    buffer = io.BytesIO()
    nothing = {"Software": None} if format == "png" else {"Date": None, "Creator": None}
    figure.savefig(buffer, format=format, metadata=nothing)
    return buffer.getvalue()


def fitted(name: str, inches: float, size: float, *, bold: bool = False) -> str:
    """The name on one line that is no wider than this at the font size; what is too long loses its middle.

    The middle, because a model's family stands at the start and its size and settings at the end. Control characters
    become spaces. Call it while `drawing`.
    """
    font = FontProperties(size=size, weight="bold" if bold else "normal")
    # "Other" characters (controls, unpaired surrogates, unassigned) have no glyph, and some end the line or the program.
    clean = " ".join("".join(" " if unicodedata.category(c)[0] == "C" else c for c in name).split())

    def cut(most: int) -> str:
        tail = (most - 1) // 2
        return clean if len(clean) <= most else clean[: most - 1 - tail] + "…" + clean[len(clean) - tail :]

    # The longest that fits, by bisection: measuring one is what takes time.
    return cut(bisect_left(range(2, 121), True, key=lambda n: _width(cut(n), font) > inches) + 1)


def _width(text: str, font: FontProperties) -> float:
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def line_colour(i: int) -> str:
    """The colour of the i-th of a few lines; they start again after `COLOURS`, so change the dashes then."""
    return _OKABE_ITO[i % COLOURS]


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Plain ticks on a logarithmic axis from low to high; matplotlib's own would be mathematics, and one number or twenty."""
    if high / low < 8:
        axis.set_major_locator(MaxNLocator(6))
    elif high / low < 300:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def class_colours(count: int) -> list[Colour]:
    """One colour a class. Up to eight are safe for the colour-blind; beyond that hues go round the wheel on three levels
    of lightness, and neighbours differ in both."""
    if count <= COLOURS:
        return [matplotlib.colors.to_rgb(colour) for colour in _OKABE_ITO[:count]]
    levels = ((0.40, 0.95), (0.62, 0.75), (0.52, 0.45))
    return [colorsys.hls_to_rgb(i * 0.618034 % 1, *levels[i % 3]) for i in range(count)]
