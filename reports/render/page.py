"""HTML: several tables as one page that needs nothing beside it."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.render.fragment import to_html
from reports.render.text import visible
from reports.table import Table


def to_page(*tables: Table) -> str:
    """A whole HTML document: the `<table>` fragments of `to_html`, one below the other, with a style of their own."""
    loader = PackageLoader("reports", "render")
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("page.html.j2")
    title = visible(tables[0].title) if len(tables) == 1 else f"{len(tables)} tables"
    return template.render(title=title, tables=[Markup(to_html(table)) for table in tables]) + "\n"
