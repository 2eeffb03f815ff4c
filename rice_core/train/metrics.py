"""metrics.jsonl, one JSON object a line: what a training logged; and curves.png, drawn from it."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rice_core.disk.files import write_atomically

METRICS, CURVES = "metrics.jsonl", "curves.png"
HELD_OUT = "held_out"
"""In a line of `val/...`: the digest of the manifest of the images that it was measured on."""
_NOT_DRAWN = {"step", "stage", "resolution", "images", "skipped"}
_COLUMNS = 4


class MetricsLog:
    """The log of one training; every line has `step`, the optimizer steps done."""

    def __init__(self, folder: Path) -> None:
        self._path, self._curves = folder / METRICS, folder / CURVES

    def rewind(self, step: int) -> None:
        """Drop what was logged after `step`, and a line that a kill tore, so that no step is there twice."""
        self.drop(lambda row: row["step"] > step)

    def drop(self, unwanted: Callable[[Mapping[str, Any]], bool]) -> None:
        """Remove the lines for which it is true."""
        write_atomically(self._path, "".join(_line(row) for row in self.rows() if not unwanted(row)).encode())

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a line; NaN and infinity become null, since JSON has neither."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(row))

    def rows(self) -> list[dict[str, Any]]:
        """The whole lines."""
        if not self._path.is_file():
            return []
        found = []
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:  # torn
                continue
        return found

    def draw(self) -> None:
        """Redraw the picture: a panel a quantity over steps, the banks' or probes' own in one panel."""
        panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
        for row in self.rows():
            for key, value in row.items():
                if key not in _NOT_DRAWN and isinstance(value, int | float):
                    owner, _, quantity = key.rpartition("/")
                    panels.setdefault(quantity, {}).setdefault(owner, []).append((row["step"], value))
        if panels:
            write_atomically(self._curves, _picture(panels))


def _line(row: Mapping[str, Any]) -> str:
    plain = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()
    }
    return json.dumps(plain, allow_nan=False) + "\n"


def _picture(panels: Mapping[str, Mapping[str, list[tuple[int, float]]]]) -> bytes:
    """PNG; quantity -> owner -> points."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    lines = -(-len(panels) // _COLUMNS)
    with matplotlib.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(3 * _COLUMNS, 2.2 * lines))
        FigureCanvasAgg(figure)
        for place, (quantity, curves) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(lines, _COLUMNS, place)
            colours: dict[str, str] = {}
            for owner, points in curves.items():
                # A bank has one colour; dashed is what it comes to on held-out images.
                held_out = owner == "val" or owner.startswith("val/")
                colour = colours.setdefault(owner.removeprefix("val").removeprefix("/"), f"C{len(colours)}")
                axes.plot(
                    *zip(*points, strict=True),
                    color=colour,
                    linewidth=1,
                    linestyle="--" if held_out else "-",
                    marker="." if len(points) < 30 else "",
                    label=owner or "training",
                )
            axes.set_title(quantity)
            axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            if any(curves):
                axes.legend(frameon=False)
        # A computed layout draws everything twice, which takes longer than many a step.
        figure.subplots_adjust(0.05, 0.06, 0.98, 0.94, wspace=0.3, hspace=0.45)
        file = io.BytesIO()
        # Without it the file would differ from one version of the library to the next.
        figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return file.getvalue()
