"""AP of detectors, category by category and data set by data set: a dot an encoder, or histograms where there are many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reports.figures.bodies import ApJson, CategoryAp, Kinds, SuiteJson, read_all
from reports.figures.detection_histograms import histograms
from reports.figures.detection_legend import legend, legend_height, mark, number
from reports.figures.style import INK, MUTED, Format, canvas, drawing, encode, fitted
from rice_core.errors import UserError

_WIDTH = 8.4
_LINE = 0.155
"""Height of a row of dots, in inches."""
_NAMED = 60
"""With more categories than this there is no room for their names."""
_FOLD = 32
"""More lines than this stand in two columns where there is one panel."""
_FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}
Values = tuple[float | None, ...]
"""One an encoder."""


@dataclass(frozen=True)
class ApRow:
    """One category or data set."""

    name: str
    note: str
    group: str
    panels: tuple[Values, ...]


def category_figure(bodies: Mapping[str, Any], *, format: Format = "png") -> bytes:
    """Of NAME-ap.json: AP by category, boxes beside masks; a dot an encoder up to 60 categories, histograms beyond.

    Rows are in order of frequency where it is known, then of the AP of the encoder that is best on the whole. No category: UserError.
    """
    read = {title: body.kinds for title, body in read_all(bodies, ApJson, "the AP file").items()}
    kinds = ["box", "mask"] if any(each.mask for each in read.values()) else ["box"]
    rows = _categories(list(read.values()), kinds)
    titles = [f"{kind} AP (%)" for kind in kinds]
    with drawing():
        if len(rows) > _NAMED:
            values = {
                group: [[[row.panels[k][i] for row in rows if row.group == group] for i in range(len(read))]
                        for k in range(len(kinds))]
                for group in dict.fromkeys(row.group for row in rows)
            }  # fmt: skip
            return encode(histograms(list(read), kinds, values), format)
        means = {title: [number(_whole_mean(rows, k, i)) for k in range(len(kinds))] for i, title in enumerate(read)}
        return encode(_dots(rows, titles, [f"{kind} AP" for kind in kinds], means), format)


def suite_figure(bodies: Mapping[str, Any], *, format: Format = "png") -> bytes:
    """Of SUITE-det.json: box AP by data set, grouped by domain. One that gave an encoder no AP has no dot of it, its means no number."""
    read = read_all(bodies, SuiteJson, "the suite's file")
    found = [{(part.domain, part.name): part for part in body.parts} for body in read.values()]
    judged = {key: part.judged for each in reversed(found) for key, part in each.items() if part.judged is not None}
    rows = [
        ApRow(name, f"{judged[domain, name]:,}" if (domain, name) in judged else "", domain,
            (tuple(each[domain, name].ap if (domain, name) in each else None for each in found),))
        for domain, name in {key: None for each in found for key in each}
    ]  # fmt: skip
    rows = _ordered(rows, {domain: place for place, domain in enumerate(sorted({row.group for row in rows}))})
    numbers = {}
    for i, title in enumerate(read):
        ap = [(row.group, row.panels[0][i]) for row in rows if row.panels[0][i] is not None]
        domains = [_mean(value for each, value in ap if each == domain) for domain in dict.fromkeys(d for d, _ in ap)]
        # A mean over the data sets that are left may gain by what it lacks.
        of_all = (_mean(domains), _mean(value for _, value in ap)) if len(ap) == len(rows) else (None, None)
        numbers[title] = [*map(number, of_all), f"{len(ap)} of {len(rows)}"]
    with drawing():
        headings = ["mean of domains", "mean of data sets", "data sets"]
        return encode(_dots(rows, ["box AP (%)"], headings, numbers, what="data set, images"), format)


def _categories(read: Sequence[Kinds], kinds: Sequence[str]) -> list[ApRow]:
    found = [
        [_numbered(getattr(each, kind).categories if getattr(each, kind) else ()) for each in read] for kind in kinds
    ]
    about = {key: each for kind in reversed(found) for encoder in reversed(kind) for key, each in encoder.items()}
    rows = [
        ApRow(each.name, f"{each.objects:,}", _FREQUENCIES.get(each.frequency or "", ""),
            tuple(tuple(encoder[key].ap if key in encoder else None for encoder in kind) for kind in found))
        for key, each in about.items()
    ]  # fmt: skip
    if not rows:
        raise UserError("No category has an object to find, so there is no AP to draw.")
    return _ordered(rows, {name: place for place, name in enumerate((*_FREQUENCIES.values(), ""))})


def _numbered(categories: Sequence[CategoryAp]) -> dict[tuple[str, int], CategoryAp]:
    """By name and how often it came before: nothing forbids two categories of one name."""
    seen: Counter[str] = Counter()
    found = {}
    for each in categories:
        found[each.name, seen[each.name]] = each
        seen[each.name] += 1
    return found


def _ordered(rows: Sequence[ApRow], places: Mapping[str, int]) -> list[ApRow]:
    """By group, then the AP of the encoder whose mean in the first panel is highest, over the rows that all have, then name."""
    shared = [row.panels[0] for row in rows if None not in row.panels[0]]
    means = [_mean(panel[i] for panel in shared) for i in range(len(rows[0].panels[0]))]
    best = max(range(len(means)), key=lambda i: -1.0 if means[i] is None else float(means[i] or 0))

    def key(row: ApRow) -> tuple[int, float, str]:
        value = row.panels[0][best]
        return places[row.group], 1.0 if value is None else -value, row.name

    return sorted(rows, key=key)


def _whole_mean(rows: Sequence[ApRow], panel: int, encoder: int) -> float | None:
    """The mean over categories that anyone has an AP of; None where this encoder lacks one of them."""
    known = [row.panels[panel] for row in rows if any(value is not None for value in row.panels[panel])]
    values = [each[encoder] for each in known]
    return None if None in values else _mean(values)


def _mean(values: Any) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _dots(
    rows: Sequence[ApRow],
    titles: Sequence[str],
    headings: Sequence[str],
    numbers: Mapping[str, Sequence[str]],
    *,
    what: str = "category, objects",
) -> Figure:
    """A line a row, the panels side by side; many lines of a single panel in two columns."""
    lines = _lines(rows)
    half = -(-len(lines) // 2)
    blocks = [lines] if len(titles) > 1 or len(lines) <= _FOLD else [lines[:half], _continued(lines, half)]
    most = max(map(len, blocks))
    below = legend_height(len(numbers)) + 0.45
    height = below + most * _LINE + 0.32
    figure = canvas(_WIDTH, height)
    named = 1.9 if len(blocks) == 1 else 1.95
    span = _WIDTH / len(blocks)
    panel = (span - named - 0.15) / len(titles)
    end = max([10.0, *(value for row in rows for panel in row.panels for value in panel if value is not None)])
    for b, block in enumerate(blocks):
        for p, title in enumerate(titles):
            left, deep = b * span + named + p * panel, len(block) * _LINE
            place = (left / _WIDTH, (height - 0.3 - deep) / height, (panel - 0.15) / _WIDTH, deep / height)
            axes = figure.add_axes(place)
            _panel(axes, block, p, end)
            axes.set_xlabel(title, fontsize=8, labelpad=2)
            if p == 0:
                _names(axes, block, named, panel - 0.15)
                figure.text((left - 0.08) / _WIDTH, 1 - 0.19 / height, what, color=MUTED, fontsize=7, ha="right")
    legend(figure, headings, numbers, marks=True, left=0.4, step=1.1)
    return figure


def _lines(rows: Sequence[ApRow]) -> list[ApRow | str]:
    """Rows, with the name of each group above it where there are groups."""
    lines: list[ApRow | str] = []
    for i, row in enumerate(rows):
        if row.group and (i == 0 or rows[i - 1].group != row.group):
            lines.append(row.group)
        lines.append(row)
    return lines


def _continued(lines: Sequence[ApRow | str], start: int) -> list[ApRow | str]:
    first = lines[start]
    again = [f"{first.group} (continued)"] if isinstance(first, ApRow) and first.group else []
    return [*again, *lines[start:]]


def _panel(axes: Axes, block: Sequence[ApRow | str], p: int, end: float) -> None:
    for y, row in enumerate(block):
        if isinstance(row, str):
            continue
        values = row.panels[p]
        defined = [value for value in values if value is not None]
        axes.axhline(y, color="#ececec", linewidth=0.6, zorder=1)
        if defined:
            axes.plot([min(defined), max(defined)], [y, y], color="#bdbdbd", linewidth=1.0, zorder=2)
        else:
            axes.text(0, y, " no AP", va="center", fontsize=6.5, color=MUTED)
        # The first encoder last, on top.
        for i, value in reversed(list(enumerate(values))):
            if value is not None:
                axes.plot([value], [y], zorder=3, clip_on=False, **mark(i))
    axes.set(ylim=(len(block) - 0.5, -0.5), xlim=(0, min(100.0, end * 1.03)))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="x", color="#ececec")


def _names(axes: Axes, block: Sequence[ApRow | str], room: float, panel: float) -> None:
    """To the left of a panel that is so many inches wide."""
    for y, row in enumerate(block):
        where: Any = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 7}
        if isinstance(row, str):
            words = fitted(row, room - 0.1, 7, bold=True)
            axes.text(-(room - 0.12) / panel, y, words, weight="bold", color=INK, **where)
            continue
        axes.text(-0.08 / panel, y, row.note, ha="right", color=MUTED, **where)
        axes.text(-0.5 / panel, y, fitted(row.name, room - 0.62, 7), ha="right", **where)
