"""The paper as data: nothing lost, nothing typed wrong that arithmetic can notice, and the loader refuses what it does not know."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from importlib.resources import files

import pytest

from reports.reference.arithmetic import placed
from reports.reference.paper import MISSING, PrintedTable, parse, printed_tables
from reports.reference.tables import findings_table, reference_table
from reports.render import to_csv, to_html, to_latex, to_markdown, to_terminal
from rice_core.catalogue import entries
from rice_core.errors import UserError

TABLES = {table.id: table for table in printed_tables()}


def test_every_printed_cell_is_there() -> None:
    printed = {t.id: sum(cell != MISSING for row in t.rows for cell in row.cells) for t in printed_tables()}
    assert printed == {
        "1": 14 * 16,
        "1-page": 12 * 16,
        "2": 13 * 8 - 4 * 5,  # four of the previous methods report the three val splits only
        "3": 4 * 12,
        "4": 4 * 12,
        "5a": 16,
        "5b": 16,
        "5c": 16,
        "5d": 16,
    }
    assert [len(gain.printed) for gain in TABLES["1"].gains] == [14, 11, 7, 16]
    assert [(len(gain.printed), gain.average) for gain in TABLES["2"].gains] == [
        (8, "+2.00"),
        (8, "+2.45"),
        (8, "+1.30"),
    ]


@pytest.mark.parametrize("table", printed_tables(), ids=lambda table: table.id)
def test_cells_have_the_decimals_and_the_range_of_their_column(table: PrintedTable) -> None:
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell != MISSING:
                assert len(cell.partition(".")[2]) == column.decimals, (row.key, column.key, cell)
                most = {"of 1000": 1000, "of 800": 800, "of 2000": 2000, "%": 100}[column.unit]
                assert 0 <= Decimal(cell) <= most, (row.key, column.key, cell)


def test_known_cells() -> None:
    assert TABLES["1"].printed("clip-336", "docvqa") == "75.21"
    assert TABLES["1"].printed("rice-ov-378", "infovqa") == "73.57"
    assert TABLES["1-page"].printed("rice-ov15-560", "other_avg") == "73.4"
    assert TABLES["2"].number("llava-g", "refcoco_testa") is None
    assert TABLES["2"].number("rice-next", "refcocop_testb") == Decimal("75.4")
    assert TABLES["3"].printed("mlcd", "rf_avg") == "17.3"
    assert TABLES["4"].printed("rice", "tnl2k_suc") == "45.70"
    assert TABLES["5a"].printed("n1", "coco_seg") == "20.7"
    assert TABLES["5d"].printed("m10", "ocrbench") == "403"


def test_every_mended_cell_says_what_was_read_and_how_it_was_mended() -> None:
    repairs = [repair for table in printed_tables() for repair in table.repairs]
    assert {repair.how for repair in repairs} >= {"Decimal points lost in the scan; the project page prints them."}
    assert all(repair.how and repair.read.replace(",", "") == repair.value.replace(".", "") for repair in repairs)
    (docvqa,) = [r for r in TABLES["1"].repairs if (r.row, r.column) == ("clip-336", "docvqa")]
    assert (docvqa.read, docvqa.value) == ("7521", "75.21")
    (seg,) = [r for r in TABLES["5a"].repairs if (r.row, r.column) == ("n1", "coco_seg")]
    assert (seg.read, seg.value) == ("207", "20.7")


def test_gains_find_their_columns() -> None:
    first, _, third, last = TABLES["1"].gains
    left_out = {column.key for column in TABLES["1"].columns} - set(placed(TABLES["1"], first))
    assert left_out == {"chartqa", "mmb_en"}
    assert placed(TABLES["1"], third) == {
        "infovqa": "+2.92",
        "docvqa": "+1.18",
        "chartqa": "+0.68",
        "livexivqa": "+0.09",
        "ocr_avg": "+0.18",
        "mmb_en": "+2.15",
        "mme_cog": "+22",
    }
    assert tuple(placed(TABLES["1"], last).values()) == last.printed


def test_catalogue_ids_exist() -> None:
    known = {entry.id for entry in entries()}
    named = {row.catalogue for table in printed_tables() for row in table.rows if row.catalogue}
    assert named <= known
    assert {"clip-l14-336", "siglip-so400m-384", "rice-l14-560", "mlcd-l14-336"} <= named


SMALL = """
- id: "9"
  title: small
  source: a test
  columns: [{key: a, label: A}, {key: b, label: B}]
  rows:
    - {key: x, label: X, encoder: E, cells: 1.00 2.00, scan: 100 2.00, repair: point lost}
    - {key: y, label: Y, encoder: E, cells: 3.00 -}
"""


def test_a_small_table_loads() -> None:
    (table,) = parse(SMALL)
    assert table.number("x", "b") == 2
    assert table.number("y", "b") is None
    assert [(r.row, r.column, r.read, r.value, r.how) for r in table.repairs] == [
        ("x", "a", "100", "1.00", "point lost")
    ]


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("title: small", "titel: small", "titel"),
        ("label: A}", "label: A, sort: up}", "sort"),
        ("encoder: E, cells: 3.00", "encoder: E, weights: w, cells: 3.00", "weights"),
        ("cells: 1.00 2.00,", "cells: 1.00 2.00 3.00,", "3 cells"),
        ("scan: 100", "scan: 700", "cannot be 1.00"),
        ("3.00 -", "3.00 n/a", "not a printed number"),
        ("key: b", "key: a", "share a key"),
        ("key: y", "key: x", "share a key"),
        ("  rows:", "  default_row: z\n  rows:", "no such row or column: z"),
        ("  rows:", "  averages: [{column: c, of: [a], stated_in: x}]\n  rows:", "no such row or column: c"),
        ("  rows:", "  claims: [{kind: guess, key: k, sentence: s, basis: b}]\n  rows:", "guess"),
        (SMALL, "just words", "valid dictionary"),
        (SMALL, "- [", "reports/reference"),
    ],
)
def test_the_loader_refuses(before: str, after: str, says: str) -> None:
    assert before in SMALL
    with pytest.raises(UserError, match="reports/reference") as caught:
        parse(SMALL.replace(before, after, 1), name="small.yaml")
    assert says in str(caught.value)


@pytest.mark.parametrize("which", [1, 2, 3, 4, 5, "1-page", "5a"])
def test_reference_tables_show_the_cells_as_printed(which: int | str) -> None:
    table = reference_table(which)
    wanted = [t for t in printed_tables() if t.id == str(which) or (which == 5 and t.id.startswith("5"))]
    shown = [row for row in table.rows if not row.muted]
    assert [row.label for row in shown] == [row.label for part in wanted for row in part.rows]
    keys = [column.key for column in table.columns]
    for part in wanted:
        for row in part.rows:
            (at,) = [
                r
                for r, (t, p) in zip(shown, ((t, p) for t in wanted for p in t.rows), strict=True)
                if t is part and p is row
            ]
            for column, cell in zip(part.columns, row.cells, strict=True):
                value = at.values[keys.index(column.key)].value
                assert MISSING if value is None else f"{value:.{column.decimals}f}" == cell
    for render in (to_markdown, to_latex, to_csv, to_html):
        assert wanted[0].rows[0].label.split()[0] in render(table)
    assert max(map(len, to_terminal(table, width=110, colour=False).splitlines())) <= 110


def test_reference_table_marks_the_cells_that_its_notes_are_about() -> None:
    table = reference_table(5)
    keys = [column.key for column in table.columns]
    (row,) = [row for row in table.rows if row.label == "ρ = 0.05"]
    marks = row.values[keys.index("coco_det")].mark.split(",")
    notes = [note for note in table.notes if any(note.startswith(f"[{mark}] suspect:") for mark in marks)]
    assert len(notes) == len(marks) == 2
    assert row.values[keys.index("coco_seg")].mark == ""
    gains = [row for row in reference_table(1).rows if row.muted]
    assert [sum(bool(value.text) for value in row.values) for row in gains] == [14, 11, 7, 16]
    assert gains[0].values[0].text == "+9.79"


def test_findings_table_lists_what_does_not_agree_and_counts_the_rest() -> None:
    table, full = findings_table(), findings_table(everything=True)
    assert "agrees" not in {row.values[2].text for row in table.rows}
    assert len(full.rows) > 150 > len(table.rows)
    assert table.notes[-1] == full.notes[-1]
    assert len(table.notes) == len(table.rows) + 1


def test_an_unknown_table_is_refused_with_the_choices() -> None:
    for which in (6, 0, "5e", "", "page"):
        with pytest.raises(UserError, match="choose 1, 2, 3, 4, 5 or one of"):
            reference_table(which)


def test_the_data_files_are_packaged_and_nothing_imports_torch() -> None:
    assert all((files("reports.reference") / f"table{n}.yaml").is_file() for n in range(1, 6))
    code = (
        "import sys, reports.render; from reports.reference.tables import reference_table, findings_table;"
        "reference_table(1); findings_table(); print(sorted({'torch', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
