"""Pen: writes the files of one site. Pages come from templates that escape every string; the same values, the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from reports.render import to_csv, to_html, to_latex, to_markdown
from reports.table import Table
from rice_core import __version__
from rice_core.echo import visible

Track = Callable[[Sequence[Any], str], Iterable[Any]]
"""What shows progress while something of known length is iterated over."""

NAVIGATION = (
    ("index.html", "Results"),
    ("compare.html", "Compare"),
    ("cells.html", "Cells"),
    ("missing.html", "Missing"),
    ("assumptions.html", "Assumptions"),
    ("provenance.html", "Provenance"),
    ("paper.html", "The paper’s tables"),
)


@dataclass(frozen=True)
class PageLink:
    """A page as the first page names it."""

    title: str
    path: str
    summary: str = ""


@dataclass(frozen=True)
class Printed:
    """A table on a page; `key` names its downloads. Notes stand below it, so that they never widen it."""

    key: str
    title: str
    html: Markup
    notes: tuple[str, ...]
    words: bool
    """Mostly words: its entries may wrap."""
    muted: str
    """What its muted rows are, for the box that hides them."""


class Pen:
    """Writes into one folder.

    Args:
        title: of the whole report.
    """

    def __init__(self, folder: Path, title: str) -> None:
        self._folder = folder
        self._title = title
        self._made: set[Path] = set()

    def page(self, path: str, template: str, **values: Any) -> None:
        """One page; its links are relative to its own depth below the root."""
        here = path if "/" not in path else ""
        root = "../" * path.count("/")
        site = {"site_title": self._title, "version": __version__, "root": root, "here": here}
        site["navigation"] = _navigation(root, here)
        rendered = _environment().get_template(template).render(site | values)
        self.file(path, rendered.encode("utf-8", "replace"))

    def table(self, table: Table, *, csv: str = "", words: bool = False, muted: str = "yardsticks") -> Printed:
        """A table for a page, and the same table as CSV, Markdown and LaTeX beside it.

        Args:
            csv: its numbers as tidy rows; as it is printed where there are none.
        """
        for suffix, text in (("csv", csv or to_csv(table)), ("md", to_markdown(table)), ("tex", to_latex(table))):
            self.file(f"tables/{table.key}.{suffix}", text.encode("utf-8", "replace"))
        html = Markup(to_html(replace(table, notes=())))
        return Printed(table.key, table.title, html, table.notes, words, muted)

    def file(self, path: str, data: bytes) -> None:
        """One file as it is."""
        target = self._folder / path
        if target.parent not in self._made:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(target.parent)
        target.write_bytes(data)

    def static(self) -> None:
        """The style sheet and the script."""
        for name in ("style.css", "site.js"):
            self.file(name, (Path(__file__).parent / "static" / name).read_bytes())


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports", "site/templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_safe_to_see,
    )
    return environment


@cache
def _navigation(root: str, here: str) -> Markup:
    """The list of pages; the same on every record page, so it is rendered once."""
    return Markup(_environment().get_template("navigation.html.j2").render(pages=NAVIGATION, root=root, here=here))


def _safe_to_see(value: Any) -> Any:
    """Every string passes here on its way into a page: no name can hide characters or turn the text around it."""
    return visible(value) if type(value) is str and not value.isprintable() else value
