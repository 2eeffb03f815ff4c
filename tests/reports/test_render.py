"""The renderers on ordinary tables: what each one prints, and that the same table always gives the same bytes."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.render import to_csv, to_html, to_latex, to_markdown, to_terminal
from reports.render.fragment import relative
from reports.render.text import shown
from reports.table import Column, Row, Table, Value
from rice_core.echo import visible

TABLE = Table(
    key="detection-3",
    title="Detection probe",
    columns=(
        Column(key="det", label="Det", group="COCO", unit="%"),
        Column(key="seg", label="Seg", group="COCO", unit="%"),
        Column(key="loss", label="Loss", better="lower", decimals=2),
        Column(key="note", label="Why", better="neither"),
    ),
    rows=(
        Row(
            label="rice",
            section="Ours",
            values=(
                Value(38.72, 0.21, bold=True),
                Value(31.3, 0.01, mark="a", href="records/1.html", hint="two seeds"),
                Value(-0.001),
                Value(text="oom"),
            ),
        ),
        Row(
            label="chance",
            section="Yardsticks",
            muted=True,
            values=(Value(9.79, text="+9.79"), Value(), Value(), Value()),
        ),
    ),
    notes=("[a] one seed only, so its error is a guess",),
)


def test_terminal_without_colour_is_plain_aligned_ascii() -> None:
    assert to_terminal(TABLE, width=80, colour=False).splitlines() == [
        "Detection probe",
        "        ------------ COCO ------------",
        "                 Det               Seg  Loss  Why",
        "                 % ^               % ^     v",
        "-------------------------------------------------",
        "Ours",
        "rice     38.7 +- 0.2  31.3 +- <0.1 [a]  0.00  oom",
        "Yardsticks",
        "chance  +9.79            .                 .    .",
        "^ higher is better, v lower is better",
        "[a] one seed only, so its error is a guess",
    ]


def test_terminal_with_colour_styles_and_keeps_signs() -> None:
    out = to_terminal(TABLE, width=80, colour=True)
    assert "\x1b[1m 38.7 ± 0.2" in out
    assert "% ↑" in out
    assert "\x1b[2mchance" in out


def test_terminal_wraps_between_columns_and_loses_no_value() -> None:
    out = to_terminal(TABLE, width=30, colour=False)
    assert max(map(len, out.splitlines())) <= 30
    assert all(out.count(words) == 1 for words in ("38.7 +- 0.2", "31.3 +- <0.1", "0.00", "oom", "+9.79"))
    assert out.count("rice") == out.count("\n\n") + 1 == 3  # three blocks, each with its labels


@given(width=st.integers(20, 160), n=st.integers(0, 12), label=st.text(alphabet="ab 中-", max_size=60))
@settings(max_examples=40, deadline=None)
def test_terminal_never_exceeds_the_width(width: int, n: int, label: str) -> None:
    columns = tuple(Column(key=f"k{i}", label="Acc", group=f"G{i // 3}") for i in range(n))
    table = Table("t", "T", columns, (Row(label, tuple(Value(float(i)) for i in range(n))),))
    assert all(len(line) <= width for line in to_terminal(table, width=width, colour=False).splitlines())


def test_markdown() -> None:
    assert to_markdown(TABLE).splitlines() == [
        "**Detection probe**",
        "",
        "|  | COCO Det (%) ↑ | COCO Seg (%) ↑ | Loss ↓ | Why |",
        "| :-- | --: | --: | --: | --: |",
        "| **Ours** |  |  |  |  |",
        "| rice | **38.7 ± 0.2** | 31.3 ± &#60;0.1<sup>a</sup> | 0.00 | oom |",
        "| **Yardsticks** |  |  |  |  |",
        "| *chance* | +9.79 | · | · | · |",
        "",
        "- &#91;a&#93; one seed only, so its error is a guess",
    ]


def test_latex_has_groups_rules_and_styles() -> None:
    out = to_latex(TABLE)
    assert " & \\multicolumn{2}{c}{COCO} & \\multicolumn{2}{c}{} \\\\\n\\cmidrule(lr){2-3}\n" in out
    assert "rice & \\textbf{38.7 $\\pm$ 0.2} & 31.3 $\\pm$ \\textless{}0.1\\textsuperscript{a} & 0.00 & oom \\\\" in out
    assert "\\textit{chance} & +9.79 & $\\cdot$" in out
    assert to_latex(TABLE, document=False) in out
    assert "documentclass" not in to_latex(TABLE, document=False)


def test_latex_prints_the_signs_of_yardsticks_and_partial_means() -> None:
    table = Table("t", "2 × 3", (Column("a", "A"),), (Row("oracle †", (Value(1.0, mark="‡"),)),), ("† A yardstick",))
    out = to_latex(table)
    assert "oracle \\textdagger{} & 1.0\\textsuperscript{\\textdaggerdbl{}}" in out
    assert "footnotesize \\textdagger{} A yardstick" in out
    assert "\\caption{2 \\texttimes{} 3}" in out
    assert "U+" not in out


def test_a_table_wider_than_a_page_goes_on_below_itself_in_latex() -> None:
    groups = [*("COCO",) * 4, *("LVIS",) * 4, *("", "", ""), *("RF",) * 4]
    columns = tuple(Column(f"c{i}", f"c{i}", group=group) for i, group in enumerate(groups))
    out = to_latex(Table("t", "T", columns, (Row("rice", tuple(Value(float(i)) for i in range(15))),)), document=False)
    assert out.count("\\begin{table}") == out.count("\\caption") == 1
    assert out.count("\\begin{tabular}") == out.count("\\end{tabular}") == 2
    first, second = (line for line in out.splitlines() if line.startswith("rice &"))
    assert first == "rice & " + " & ".join(f"{i}.0" for i in range(11)) + " \\\\"
    assert second == "rice & 11.0 & 12.0 & 13.0 & 14.0 \\\\"
    assert "\\multicolumn{4}{c}{RF}" in out.partition("rice & 0.0")[2]


def test_columns_without_a_head_above_them_may_part_in_latex() -> None:
    wide = Table(
        "t", "T", tuple(Column(f"c{i}", f"c{i}") for i in range(25)), (Row("a", tuple(Value(1.0) for _ in range(25))),)
    )
    assert [line.count("1.0") for line in to_latex(wide).splitlines() if line.startswith("a &")] == [12, 12, 1]


def test_csv_keeps_full_precision_and_standard_errors() -> None:
    table = Table("t", "T", (Column("a", "A"),), (Row("x", (Value(0.1 + 0.2, 1e-9),)), Row("y", (Value(),))))
    assert to_csv(table) == "section,label,a,a stderr\r\n,x,0.30000000000000004,1e-09\r\n,y,,\r\n"
    rows = list(csv.reader(io.StringIO(to_csv(TABLE), newline="")))
    assert rows[1] == ["Ours", "rice", "38.72", "0.21", "31.3", "0.01", "a", "-0.001", "", "oom", ""]
    assert rows[2][2] == "9.79"  # a value with a text of its own still sorts and computes


class Outline(HTMLParser):
    """(tag, attributes, text) of every cell, and the order of all tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[tuple[str, dict[str, str | None], str]] = []
        self.links: list[str | None] = []
        self.open = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag in ("th", "td", "caption"):
            self.cells.append((tag, dict(attrs), ""))
            self.open = True
        if tag == "a":
            self.links.append(dict(attrs)["href"])

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"/{tag}")
        self.open = self.open and tag not in ("th", "td", "caption")

    def handle_data(self, data: str) -> None:
        if self.open:
            tag, attrs, text = self.cells[-1]
            self.cells[-1] = (tag, attrs, text + data)


def test_html_is_one_table_with_scopes_groups_and_sort_keys() -> None:
    out = Outline(to_html(TABLE))
    assert out.tags[0] == "table"
    assert out.tags[-1] == "/table"
    assert out.tags.count("tbody") == 2
    attributes = {text: attrs for _, attrs, text in out.cells}
    assert attributes["COCO"] == {"scope": "colgroup", "colspan": "2"}
    assert attributes["Loss ↓"] == {"scope": "col", "data-key": "loss", "data-better": "lower"}
    assert attributes["Ours"] == {"scope": "rowgroup", "colspan": "5"}
    assert attributes["rice"] == {"scope": "row"}
    assert attributes["38.7 ± 0.2"] == {"data-value": "38.72"}
    assert attributes["31.3 ± <0.1a"] == {"data-value": "31.3", "title": "two seeds"}
    assert attributes["+9.79"] == {"data-value": "9.79"}
    assert out.links == ["records/1.html"]
    assert '<tr class="muted"><th scope="row">chance' in to_html(TABLE)
    assert "<strong>38.7 ± 0.2</strong>" in to_html(TABLE)


@pytest.mark.parametrize(
    ("value", "decimals", "words"),
    [
        (Value(0.04), 1, "0.0"),
        (Value(-0.04), 1, "0.0"),  # never a minus sign on zero
        (Value(2.5, 0.5), 0, "2 ± 0"),
        (Value(2.5, 0.04), 1, "2.5 ± <0.1"),
        (Value(2.5, 0.0), 1, "2.5 ± 0.0"),
        (Value(), 1, "·"),
        (Value(float("nan")), 1, "nan"),
        (Value(1.0, 0.2, text="+1"), 1, "+1 ± 0.2"),
    ],
)
def test_entries(value: Value, decimals: int, words: str) -> None:
    entry = shown(value, Column("a", "A", decimals=decimals))
    assert entry.number + entry.error == words.replace("2 ± 0", "2 ± <1")


@pytest.mark.parametrize("href", ["a.html", "../b/c.html#x", "a/b:c", "?q=1", "#top", "r/%3A.html"])
def test_links_inside_the_site_stay(href: str) -> None:
    assert relative(href) == href


@pytest.mark.parametrize(
    "href",
    [
        "javascript:alert(1)", "JaVaScRiPt:x", "java\nscript:alert(1)", " javascript:x", "\x01javascript:x",
        "//host/x", "/etc/passwd", "\\\\host\\x", "a\\b", "http://host", "data:text/html,x", "vbscript:x", "file:///x", "a b",
    ],
)  # fmt: skip
def test_links_that_leave_the_site_are_dropped(href: str) -> None:
    table = Table("t", "T", (Column("a", "A"),), (Row("r", (Value(1.0, href=href),)),))
    assert relative(href) == ""
    assert Outline(to_html(table)).links == []


def test_same_table_same_bytes_whatever_the_environment() -> None:
    code = (
        "import hashlib,runpy,sys;"
        f"m=runpy.run_path({__file__!r});t=m['TABLE'];"
        "o=m['to_terminal'](t,width=24,colour=True)+m['to_csv'](t)+m['to_html'](t)+m['to_latex'](t)+m['to_markdown'](t);"
        "print(hashlib.sha256(o.encode()).hexdigest())"
    )
    here = "".join(
        [to_terminal(TABLE, width=24, colour=True), to_csv(TABLE), to_html(TABLE), to_latex(TABLE), to_markdown(TABLE)]
    )
    environment = {
        "PYTHONHASHSEED": "7",
        "COLUMNS": "11",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(here.encode()).hexdigest()


def test_latex_compiles(pdflatex) -> None:  # type: ignore[no-untyped-def]
    assert pdflatex(to_latex(TABLE)) == 1


@given(st.text())
def test_visible_leaves_no_control_or_direction_character_and_changes_nothing_else(text: str) -> None:
    seen = visible(text)
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c\ufeff]", seen)
    assert visible(seen) == seen
    if text.isprintable():
        assert seen == text
