"""HTML: one `<table>` element for a page of the site. Every string is escaped by jinja2; no name can become markup."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from reports.render.text import exact, groups, head, is_number, sections, shown
from reports.table import Column, Row, Table, Value
from rice_core.echo import visible


def to_html(table: Table) -> str:
    """A `<table>` fragment, readable without CSS or JavaScript.

    `data-value` holds the number at full precision for sorting, `data-partial` keeps one over fewer parts than its column
    claims out of the order, `data-better` is the direction of a column. Sections are `<tbody>` elements with a heading row, yardsticks have the class `muted`, notes are the `<tfoot>`.
    """
    names = groups(table.columns)
    return template("table.html.j2").render(
        id=re.sub(r"[^A-Za-z0-9-]", "-", table.key),
        title=visible(table.title),
        grouped=any(name for name, _ in names),
        groups=names,
        columns=[{"key": visible(c.key), "better": c.better, "head": head(c)} for c in table.columns],
        sections=[{"name": name, "rows": [_row(row, table) for row in rows]} for name, rows in sections(table.rows)],
        notes=[visible(note) for note in table.notes],
    )


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
def template(name: str) -> Template:
    """One of this folder's."""
    loader = PackageLoader("reports", "render")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(name)
