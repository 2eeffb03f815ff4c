"""HTML: several tables as one page that needs nothing beside it."""

from __future__ import annotations

from dataclasses import replace

from markupsafe import Markup

from reports.render.fragment import template, to_html
from reports.table import Table
from rice_core.echo import visible


def to_page(*tables: Table) -> str:
    """A whole HTML document: the `<table>` fragments of `to_html`, one below the other, with a style of their own.

    Links lead to other pages of a report, which are not beside this one, so there are none.
    """
    title = visible(tables[0].title) if len(tables) == 1 else f"{len(tables)} tables"
    return (
        template("page.html.j2").render(title=title, tables=[Markup(to_html(_unlinked(table))) for table in tables])
        + "\n"
    )


def _unlinked(table: Table) -> Table:
    rows = (replace(row, values=tuple(replace(value, href="") for value in row.values)) for row in table.rows)
    return replace(table, rows=tuple(rows))
