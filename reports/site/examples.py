"""Example questions on the site: the first few beside the charts, and all of a probe on a page of their own."""

from __future__ import annotations

from dataclasses import dataclass

from reports.figures.examples import ExampleSheet, JoinedQuestion
from reports.site.pen import Pen

FIRST = 3
"""Questions on the results page."""


@dataclass(frozen=True)
class QuestionView:
    """A question with its picture as a file of the site."""

    asked: JoinedQuestion
    picture: str
    """From the site's root; empty for none."""


@dataclass(frozen=True)
class ExamplesView:
    """What the results page shows: a few questions, how all of them came out, and where they are."""

    path: str
    summary: str
    first: tuple[QuestionView, ...]


def write_examples(pen: Pen, key: str, title: str, caption: str, sheet: ExampleSheet) -> ExamplesView:
    """Write the pictures and the page of all questions."""
    views = {}
    for number, asked in enumerate(sheet.questions):
        picture = f"figures/{key}-{number}.webp" if asked.picture else ""
        if picture:
            pen.file(picture, asked.picture)
        views[asked.id] = QuestionView(asked, picture)
    parts = [(part.title, [views[asked.id] for asked in part.questions]) for part in sheet.parts]
    path = f"{key}.html"
    counts = ", ".join(f"{part.title[0].lower()}{part.title[1:]}: {len(part.questions)}" for part in sheet.parts)
    summary = f"{len(views)} question{'s' * (len(views) != 1)}; {counts}"
    pen.page(path, "examples.html.j2", heading=title, caption=caption, summary=summary, parts=parts)
    return ExamplesView(path, summary, tuple(views.values())[:FIRST])
