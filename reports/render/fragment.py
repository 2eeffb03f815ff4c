"""HTML: a `<table>` for a page of the site, or a page of its own. Every string is escaped by jinja2; no name can become markup."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from reports.render.text import exact, groups, head, is_number, sections, shown
from reports.table import Column, Row, Table, Value
from rice_core.echo import visible


def to_html(table: Table) -> str:
    """A `<table>` fragment, readable without CSS or JavaScript.

    `data-value` holds the number at full precision for sorting, `data-partial` keeps one over fewer parts than its column
    claims out of the order, `data-better` is the direction of a column. Sections are `<tbody>` elements with a heading row, yardsticks have the class `muted`, notes are the `<tfoot>`.
    """
    names = groups(table.columns)
    return _template("table.html.j2").render(
        id=re.sub(r"[^A-Za-z0-9-]", "-", table.key),
        title=visible(table.title),
        grouped=any(name for name, _ in names),
        groups=names,
        columns=[{"key": visible(c.key), "better": c.better, "head": head(c)} for c in table.columns],
        sections=[{"name": name, "rows": [_row(row, table) for row in rows]} for name, rows in sections(table.rows)],
        notes=[visible(note) for note in table.notes],
    )


def to_page(*tables: Table) -> str:
    """A whole HTML document: the `<table>` fragments of `to_html`, one below the other, with a style of their own.

    Links lead to other pages of a report, which are not beside this one, so there are none.
    """
    title = visible(tables[0].title) if len(tables) == 1 else f"{len(tables)} tables"
    return (
        _template("page.html.j2").render(title=title, tables=[Markup(to_html(_unlinked(table))) for table in tables])
        + "\n"
    )


def _unlinked(table: Table) -> Table:
    rows = (replace(row, values=tuple(replace(value, href="") for value in row.values)) for row in table.rows)
    return replace(table, rows=tuple(rows))


def relative(href: str) -> str:
    """The link if it stays inside the site, else nothing: no scheme, no host, no root, no character browsers drop."""
    unsafe = href.startswith("/") or "\\" in href or any(ord(char) <= 0x20 or ord(char) == 0x7F for char in href)
    path = re.split(r"[/?#]", href, maxsplit=1)[0]  # a colon is a scheme only before the first of these
    return "" if unsafe or ":" in path else href


def _row(row: Row, table: Table) -> dict[str, Any]:
    cells = [_cell(value, column) for value, column in zip(row.values, table.columns, strict=True)]
    return {"label": visible(row.label), "cells": cells, "muted": row.muted}


def _cell(value: Value, column: Column) -> dict[str, Any]:
    entry = shown(value, column)
    return {
        "words": entry.number + entry.error,
        "sort": exact(value.value) if value.value is not None and is_number(value) else "",
        "partial": value.partial,
        "mark": entry.mark,
        "href": visible(relative(value.href)),
        "hint": visible(value.hint),
        "bold": value.bold,
    }


@cache
def _template(name: str) -> Template:
    """One of this folder's."""
    loader = PackageLoader("reports", "render")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(name)
