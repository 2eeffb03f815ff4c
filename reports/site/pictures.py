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
    """The same picture of several encoders, side by side."""

    title: str
    caption: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Chart:
    """One chart over several encoders; without a path where it could not be drawn, and the caption says why."""

    title: str
    path: str
    alt: str
    caption: str


@dataclass(frozen=True)
class _Kind:
    part: str
    """Of tokens.json."""
    title: str
    caption: str
    draw: Callable[[dict[str, Any]], bytes]


def _token_distances(bodies: dict[str, Any]) -> bytes:
    from reports.figures import token_distance_figure

    return token_distance_figure(bodies)


def _spheres(bodies: dict[str, Any]) -> bytes:
    from reports.figures import sphere_figure

    return sphere_figure(bodies)


_CHARTS = (
    _Kind(
        "distances",
        "How far apart the tokens of one image are",
        "Distribution of 1 − cosine over pairs of patch tokens of one image (the paper’s Figure 4). A larger distance is no"
        " merit by itself: noise has the largest.",
        _token_distances,
    ),
    _Kind(
        "tsne",
        "Objects on a sphere",
        "t-SNE of object features on the sphere itself (the paper’s Figure 1), one colour a category. Trustworthiness says"
        " how far the map may be believed; it describes the map, not the encoder.",
        _spheres,
    ),
)
_SHEETS = {
    "pca.png": (
        "PCA of patch tokens as colours",
        "Three principal components of the patch tokens as red, green and blue; one basis for all images of an encoder"
        " (the paper’s Figure 5). Colours of two encoders have nothing to do with each other.",
    ),
    "linear-seg.png": (
        "Segmentation by a linear layer",
        "One linear layer on frozen patch tokens. The truth is beside the prediction.",
    ),
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
        """Token distances and spheres of every group of the board that left the numbers for them."""
        return [chart for group in board.groups for chart in self._charts_of(group)]

    def _charts_of(self, group: Group) -> Iterator[Chart]:
        known = [(marked(entry), self._numbers(entry)) for entry in group.entries]
        bodies = {label: body for label, body in known if body is not None}
        for kind in _CHARTS:
            drawn = {label: body for label, body in list(bodies.items()) if body.get(kind.part) is not None}
            shown = dict(list(drawn.items())[:MOST_IN_A_CHART])
            if shown:
                yield self._chart(kind, f"figures/{kind.part}-{group.key}.png", shown, len(drawn) - len(shown))

    def _chart(self, kind: _Kind, path: str, shown: dict[str, Any], left_out: int) -> Chart:
        more = f" {left_out} more encoders are left out." if left_out else ""
        try:
            self._pen.file(path, kind.draw(shown))
        except UserError as error:
            return Chart(kind.title, "", "", f"This figure could not be drawn: {error}")
        return Chart(kind.title, path, ", ".join(shown), kind.caption + more)

    def _numbers(self, entry: Entry) -> dict[str, Any] | None:
        data = self._store.artifact(entry.done[0], "tokens.json") if entry.done else None
        try:
            body = json.loads(data) if data else None
        except ValueError:
            return None
        return body if isinstance(body, dict) else None

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
    title, caption = _SHEETS.get(file, (file.removesuffix(".png"), "A picture that the probe left."))
    return Sheet(f"{title} ({probe})", caption, tuple(pictures))
