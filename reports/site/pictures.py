"""Pictures that probes left beside their records, and charts drawn from the numbers they left."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from reports.board import Board, marked, page_of, probe_names
from reports.groups import Entry, Group
from reports.site.pen import Pen
from rice_core.errors import UserError
from rice_core.record import Record
from rice_core.store import Store

MOST_IN_A_CHART = 12


@dataclass(frozen=True)
class Picture:
    """One image file of the site."""

    name: str
    path: str
    label: str
    page: str


@dataclass(frozen=True)
class Sheet:
    """The same picture of several encoders, side by side; below each other where they are wide."""

    title: str
    caption: str
    pictures: tuple[Picture, ...]
    wide: bool = False


@dataclass(frozen=True)
class Chart:
    """One chart over several encoders; without a path where it could not be drawn, and the caption says why."""

    title: str
    path: str
    alt: str
    caption: str


@dataclass(frozen=True)
class _Kind:
    name: str
    """Of the file."""
    artifact: str
    """How the name of the artifact with its numbers ends."""
    title: str
    caption: str
    draw: Callable[[dict[str, Any]], bytes]
    part: str = ""
    """Of the body; an encoder without it is left out."""


def _token_distances(bodies: dict[str, Any]) -> bytes:
    from reports.figures import token_distance_figure

    return token_distance_figure(bodies)


def _spheres(bodies: dict[str, Any]) -> bytes:
    from reports.figures import sphere_figure

    return sphere_figure(bodies)


def _precision(bodies: dict[str, Any]) -> bytes:
    from reports.figures import precision_recall_figure

    return precision_recall_figure(bodies)


def _categories(bodies: dict[str, Any]) -> bytes:
    from reports.figures import category_figure

    return category_figure(bodies)


def _suites(bodies: dict[str, Any]) -> bytes:
    from reports.figures import suite_figure

    return suite_figure(bodies)


def _training(bodies: dict[str, Any]) -> bytes:
    from reports.figures import training_figure

    return training_figure(bodies)


_CHARTS = (
    _Kind(
        "distances",
        "tokens.json",
        "How far apart the tokens of one image are",
        "Distribution of 1 − cosine over pairs of patch tokens of one image (the paper’s Figure 4). A larger distance is no"
        " merit by itself: noise has the largest.",
        _token_distances,
        part="distances",
    ),
    _Kind(
        "tsne",
        "tokens.json",
        "Objects on a sphere",
        "t-SNE of object features on the sphere itself (the paper’s Figure 1), one colour a category. Trustworthiness says"
        " how far the map may be believed; it describes the map, not the encoder.",
        _spheres,
        part="tsne",
    ),
    _Kind(
        "precision",
        "-ap.json",
        "Precision by recall",
        "Detections are ordered by score; a curve is the mean over categories at one IoU, or over ten from 0.50 to 0.95."
        " The area under it is the AP beside the name. First finished seed of each encoder.",
        _precision,
    ),
    _Kind(
        "categories",
        "-ap.json",
        "AP by category",
        "Mean over IoU 0.50 to 0.95, in the order of the encoder that is best on the whole. A category of few objects has a"
        " large error that is not drawn; where dots coincide the first encoder is on top. Beyond 60 categories a strip counts them by AP, in steps of 5; heights are the"
        " square root of the number.",
        _categories,
    ),
    _Kind(
        "datasets",
        "-det.json",
        "AP by data set",
        "Box AP of one detector a data set, by domain, in the order of the encoder that is best on the whole. A data set"
        " that could not be trained or judged has no dot; where dots coincide the first encoder is on top.",
        _suites,
    ),
    _Kind(
        "training",
        "-training.json",
        "Loss of the detector in training",
        "The sum of all losses, smoothed over a fiftieth of the training; pale lines, where there are few encoders, are"
        " the losses as they were. A lower loss in training is no better detector.",
        _training,
    ),
)


@dataclass(frozen=True)
class _Words:
    title: str
    caption: str
    wide: bool = False


_DETECTIONS = _Words(
    "Objects that were found",
    "Best, median and worst images: the truth is on the left of each pair, what was found on the right. Images are chosen for"
    " each encoder by its own F1, so they differ from encoder to encoder.",
    wide=True,
)
_SHEETS = {
    "pca.png": _Words(
        "PCA of patch tokens as colours",
        "Three principal components of the patch tokens as red, green and blue; one basis for all images of an encoder"
        " (the paper’s Figure 5). Colours of two encoders have nothing to do with each other.",
    ),
    "linear-seg.png": _Words(
        "Segmentation by a linear layer",
        "One linear layer on frozen patch tokens. The truth is beside the prediction.",
    ),
    "coco-det.png": _DETECTIONS,
    "lvis-det.png": _DETECTIONS,
    "coco-format-det.png": _DETECTIONS,
}


class Pictures:
    """Copies artifacts into the site, each once and only where its bytes are what the record says."""

    def __init__(self, store: Store, pen: Pen) -> None:
        self._store = store
        self._pen = pen
        self._copied: dict[str, bool] = {}

    def of(self, entry: Entry, record: Record) -> list[Picture]:
        """The pictures of one record."""
        names = [artifact.name for artifact in record.artifacts if artifact.kind == "png"]
        return [picture for name in sorted(names) if (picture := self._copy(entry, record, name, entry.label))]

    def sheets(self, board: Board) -> list[Sheet]:
        """One sheet for each kind of picture of each probe: the first finished seed of every encoder."""
        found: dict[tuple[str, str], list[Picture]] = defaultdict(list)
        for group, name in zip(board.groups, probe_names(board.groups), strict=True):
            for entry in group.entries:
                for artifact in sorted(entry.done[0].artifacts if entry.done else (), key=lambda a: a.name):
                    if artifact.kind == "png" and (
                        picture := self._copy(entry, entry.done[0], artifact.name, marked(entry))
                    ):
                        found[name, artifact.name].append(picture)
        return [_sheet(name, file, pictures) for (name, file), pictures in found.items()]

    def charts(self, board: Board) -> list[Chart]:
        """Every kind of chart of every group of the board that left the numbers for it."""
        named = zip(board.groups, probe_names(board.groups), strict=True)
        return [chart for group, name in named for chart in self._charts_of(group, name)]

    def _charts_of(self, group: Group, probe: str) -> Iterator[Chart]:
        for kind in _CHARTS:
            drawn = {marked(entry): body for entry in group.entries for body in self._numbers(entry, kind)}
            shown = dict(list(drawn.items())[:MOST_IN_A_CHART])
            if shown:
                title = f"{kind.title} ({probe})"
                yield self._chart(kind, title, f"figures/{kind.name}-{group.key}.png", shown, len(drawn) - len(shown))

    def _chart(self, kind: _Kind, title: str, path: str, shown: dict[str, Any], left_out: int) -> Chart:
        more = f" {left_out} more encoders are left out." if left_out else ""
        try:
            self._pen.file(path, kind.draw(shown))
        except UserError as error:
            return Chart(title, "", "", f"This figure could not be drawn: {error}")
        return Chart(title, path, ", ".join(shown), kind.caption + more)

    def _numbers(self, entry: Entry, kind: _Kind) -> Iterator[Any]:
        """What the entry left for this kind of chart, if anything. What is no JSON is for the figure to refuse by name."""
        record = entry.done[0] if entry.done else None
        names = sorted(each.name for each in record.artifacts if each.name.endswith(kind.artifact)) if record else []
        data = self._store.artifact(record, names[0]) if record and names else None
        if data is None:
            return
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            body = "no JSON"
        if not kind.part or not isinstance(body, dict) or body.get(kind.part) is not None:
            yield body

    def _copy(self, entry: Entry, record: Record, name: str, label: str) -> Picture | None:
        cell_id = entry.cell_id(record)
        path = f"figures/{cell_id}-{name}"
        if path not in self._copied:
            data = self._store.artifact(record, name)
            self._copied[path] = data is not None
            if data is not None:
                self._pen.file(path, data)
        return Picture(name, path, label, page_of(cell_id)) if self._copied[path] else None


def _sheet(probe: str, file: str, pictures: list[Picture]) -> Sheet:
    words = _SHEETS.get(file, _Words(file.removesuffix(".png"), "A picture that the probe left."))
    return Sheet(f"{words.title} ({probe})", words.caption, tuple(pictures), words.wide)
