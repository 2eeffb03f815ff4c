"""Pictures that probes left beside their records, and charts drawn from the numbers they left."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from reports.board import Board, marked, page_of, probe_names
from reports.figures.examples import ExampleSheet
from reports.figures.older import declared
from reports.figures.types import Drawing, drawings
from reports.groups import Entry, Group
from reports.site.examples import ExamplesView, write_examples
from reports.site.pen import Pen, Printed
from reports.table import Table
from rice_core.errors import UserError
from rice_core.record import Artifact, Record
from rice_core.store import Store

MOST_IN_A_CHART = 12


@dataclass(frozen=True)
class Picture:
    """One file of the site that a probe left: an image, or what else a page links to."""

    title: str
    caption: str
    path: str
    label: str
    page: str


@dataclass(frozen=True)
class Sheet:
    """The same picture of several encoders, side by side; below each other where they are wide."""

    title: str
    caption: str
    """Empty where each picture has its own."""
    pictures: tuple[Picture, ...]
    wide: bool = False


@dataclass(frozen=True)
class Chart:
    """One chart over several encoders, a table, or questions with answers; with none where it could not be drawn, and the caption says why."""

    title: str
    path: str
    alt: str
    caption: str
    table: Printed | None = None
    examples: ExamplesView | None = None


class Pictures:
    """Copies artifacts into the site, each once and only where its bytes are what the record says."""

    def __init__(self, store: Store, pen: Pen) -> None:
        self._store = store
        self._pen = pen
        self._copied: dict[str, bool] = {}

    def of(self, entry: Entry, record: Record) -> list[Picture]:
        """The pictures of one record."""
        own = filter(_is_picture, _sorted(record))
        return [copy for artifact in own if (copy := self._copy(entry, record, artifact, entry.label))]

    def extras(self, entry: Entry, record: Record) -> list[Picture]:
        """What else one record left under a title."""
        others = [artifact for artifact in _sorted(record) if artifact.title and not _is_picture(artifact)]
        return [copy for artifact in others if (copy := self._copy(entry, record, artifact, ""))]

    def sheets(self, board: Board) -> list[Sheet]:
        """One sheet for each kind of picture of each probe: the first finished seed of every encoder."""
        sheets, names = [], probe_names(board.groups)
        for group in board.groups:
            for artifact, entries in _left(group, _is_picture):
                copies = [
                    self._copy(entry, entry.done[0], own, marked(entry)) for entry, own in _own(entries, artifact)
                ]
                pictures = tuple(picture for picture in copies if picture)
                if pictures:
                    title = artifact.title or artifact.name.rpartition(".")[0]
                    captions = {picture.caption for picture in pictures}
                    caption = (captions.pop() or "A picture that the probe left.") if len(captions) == 1 else ""
                    sheets.append(
                        Sheet(f"{title} ({names[group.key]})", caption, pictures, artifact.figure == "wide-image")
                    )
        return sheets

    def charts(self, board: Board) -> list[Chart]:
        """Every figure of every group of the board that left the numbers for it."""
        names = probe_names(board.groups)
        return [chart for group in board.groups for chart in self._charts_of(group, names[group.key])]

    def _charts_of(self, group: Group, probe: str) -> Iterator[Chart]:
        for artifact, entries in _left(group, lambda each: each.kind == "json" and bool(each.figure)):
            found = {marked(entry): body for entry in entries for body in self._body(entry, artifact.name)}
            try:
                kinds = drawings(artifact.figure)
            except UserError as error:
                yield Chart(artifact.title or artifact.name, "", "", f"This figure could not be drawn: {error}")
                continue
            for kind in kinds:
                drawn = {title: body for title, body in found.items() if _has(body, kind.part)}
                shown = dict(list(drawn.items())[:MOST_IN_A_CHART])
                if shown:
                    key = f"{kind.name}-{artifact.name.removesuffix('.json')}-{group.key}"
                    title = f"{artifact.title or kind.title or artifact.name} ({probe})"
                    caption = _caption(_own(entries, artifact), shown) or kind.caption
                    yield self._chart(kind, key, title, caption, shown, len(drawn) - len(shown))

    def _chart(self, kind: Drawing, key: str, title: str, caption: str, shown: dict[str, Any], left_out: int) -> Chart:
        more = f" {left_out} more encoders are left out." if left_out else ""
        try:
            drawn = kind(shown)
        except UserError as error:
            return Chart(title, "", "", f"This figure could not be drawn: {error}")
        if isinstance(drawn, Table):
            return Chart(title, "", "", caption + more, self._pen.table(replace(drawn, key=_key(key), title=title)))
        if isinstance(drawn, ExampleSheet):
            view = write_examples(self._pen, _key(key), title, caption + more, drawn)
            return Chart(title, "", "", caption + more, examples=view)
        self._pen.file(f"figures/{key}.png", drawn)
        return Chart(title, f"figures/{key}.png", ", ".join(shown), caption + more)

    def _body(self, entry: Entry, name: str) -> Iterator[Any]:
        """What the entry left, if it is whole. What is no JSON is for the figure to refuse by the encoder's name."""
        data = self._store.artifact(entry.done[0], name)
        if data is None:
            return
        try:
            yield json.loads(data)
        except (ValueError, RecursionError):
            yield "no JSON"

    def _copy(self, entry: Entry, record: Record, artifact: Artifact, label: str) -> Picture | None:
        cell_id = entry.cell_id(record)
        path = f"{'figures' if _is_picture(artifact) else 'files'}/{cell_id}-{artifact.name}"
        if path not in self._copied:
            data = self._store.artifact(record, artifact.name)
            self._copied[path] = data is not None
            if data is not None:
                self._pen.file(path, data)
        if not self._copied[path]:
            return None
        return Picture(artifact.title or artifact.name, artifact.caption, path, label, page_of(cell_id))


def _is_picture(artifact: Artifact) -> bool:
    return artifact.kind in ("png", "webp")


def _sorted(record: Record) -> list[Artifact]:
    return sorted(map(declared, record.artifacts), key=lambda artifact: artifact.name)


def _left(group: Group, wanted: Callable[[Artifact], bool]) -> list[tuple[Artifact, list[Entry]]]:
    """Artifacts of the first finished seed by name and type of figure, with who left one."""
    found: dict[tuple[str, str], tuple[Artifact, list[Entry]]] = {}
    for entry in group.entries:
        for artifact in filter(wanted, _sorted(entry.done[0]) if entry.done else ()):
            found.setdefault((artifact.name, artifact.figure), (artifact, []))[1].append(entry)
    return list(found.values())


def _own(entries: list[Entry], artifact: Artifact) -> list[tuple[Entry, Artifact]]:
    """Each entry with its own artifact of that name and figure: captions may differ."""
    return [
        (entry, own)
        for entry in entries
        for own in _sorted(entry.done[0])
        if (own.name, own.figure) == (artifact.name, artifact.figure)
    ]


def _caption(owned: list[tuple[Entry, Artifact]], shown: Mapping[str, Any]) -> str:
    """What all say of one chart; where they differ, each behind its encoder's name."""
    said = {label: own.caption for entry, own in owned if (label := marked(entry)) in shown}
    return next(iter(said.values())) if len({*said.values()}) == 1 else " ".join(f"{k}: {v}" for k, v in said.items())


def _has(body: Any, part: str) -> bool:
    return not part or not isinstance(body, dict) or body.get(part) is not None


def _key(text: str) -> str:
    """As tables are named: letters, digits and dashes."""
    return re.sub(r"[^A-Za-z0-9-]", "-", text)
