"""The checks find what is wrong in the paper by computing it: change a cell and the findings change with it."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from functools import cache

import pytest

from reports.reference.checks import Finding, findings
from reports.reference.finding import half_step, judge, rounded
from reports.reference.paper import PrintedTable, printed_tables


@cache
def paper() -> dict[str, Finding]:
    return by_place(findings())


def by_place(found: tuple[Finding, ...]) -> dict[str, Finding]:
    """`TABLE WHERE` -> the finding with the gravest verdict there."""
    grave = ("agrees", "rounding", "suspect", "disagrees")
    out: dict[str, Finding] = {}
    for finding in sorted(found, key=lambda finding: grave.index(finding.verdict)):
        out[f"{finding.table} {finding.where}"] = finding
    return out


def changed(table: str, row: str, column: str, to: str) -> dict[str, Finding]:
    """The findings about the paper with one cell changed."""
    return by_place(findings([with_cell(t, row, column, to) if t.id == table else t for t in printed_tables()]))


def with_cell(table: PrintedTable, row: str, column: str, to: str) -> PrintedTable:
    at = [c.key for c in table.columns].index(column)
    rows = tuple(
        r.model_copy(update={"cells": (*r.cells[:at], to, *r.cells[at + 1 :])}) if r.key == row else r
        for r in table.rows
    )
    return table.model_copy(update={"rows": rows})


@pytest.mark.parametrize(
    ("place", "verdict", "words"),
    [
        ("1 */other_avg", "disagrees", "/ 6 gives 14 of 14 rows (largest gap 0.018), / 8 gives 0"),
        ("1 prose: docvqa-siglip", "disagrees", "+5.68 is printed; 82.59 - 76.71 = +5.88"),
        ("1 prose: docvqa-clip", "agrees", "79.19 - 75.21"),
        ("1 prose: ocrbench-siglip", "agrees", "588 - 554"),
        ("1 prose: ahead-at-336", "suspect", "POPE"),
        ("1 prose: most-over-clip", "agrees", "ahead in 14 of 16"),
        ("1 gain: RICE-560px vs SigLIPv2-560px/*", "suspect", "leaves out 9 columns, 9 of them losses"),
        ("1-page */*", "agrees", "154 of 154 cells"),
        ("1-page */other_avg", "disagrees", "by up to 3.00"),
        ("2 gain: Avg: +2.00, improvement over CLIP (LLaVA-1.5)/*", "agrees", "+2.00"),
        ("2 gain: Avg: +2.45, improvement over CLIP (LLaVA-NeXT)/*", "agrees", "+2.45"),
        ("2 gain: Avg: +1.30, improvement over MLCD (LLaVA-NeXT)/*", "agrees", "+1.30"),
        ("2 prose: best-of-all", "agrees", "ahead in 76 of 76"),
        ("3 rice/rf_avg", "agrees", "26.500"),
        ("3 siglip/rf_avg", "rounding", "24.043"),
        ("3 prose: coco-det-gain", "agrees", "+3.9"),
        ("3 prose: coco-det-gain, strongest rival", "disagrees", "MLCD (35.6) is stronger than SigLIP (35.0)"),
        ("3 prose: coco-seg-gain, strongest rival", "disagrees", "over it the gain is +2.9"),
        ("3 prose: lvis-det-gain, strongest rival", "suspect", "over it the gain is +4.4"),
        ("3 prose: lvis-seg-gain, strongest rival", "suspect", "over it the gain is +3.6"),
        ("3 prose: microscopic-gain, strongest rival", "agrees", "SigLIP (20.0) is the strongest"),
        ("3 prose: all-metrics", "agrees", "36 of 36"),
        ("3 prose: rf100-vl", "suspect", "not Roboflow100-VL"),
        ("4 prose: all-metrics", "disagrees", "GOT-10k SR-0.5: DINOv2 64.90, RICE 63.50"),
        ("5a prose: ten-boxes", "agrees", "12 of 12"),
        ("5a n1/coco_seg", "suspect", "20.7"),
        ("5b prose: coco-at-1m", "agrees", "6 of 6"),
        ("5b prose: lvis-det-at-2m", "agrees", "3 of 3"),
        ("5b k1m/*", "agrees", "same run"),
        ("5c r01/*", "agrees", "same run"),
        ("5c prose: coco-det-at-005", "agrees", "3 of 3"),
        ("5c prose: others-at-01", "agrees", "9 of 9"),
        ("5c r005/coco_det", "suspect", "38.8"),
    ],
)  # fmt: skip
def test_what_the_paper_says_against_its_cells(place: str, verdict: str, words: str) -> None:
    assert paper()[place].verdict == verdict
    assert words in paper()[place].sentence


def test_no_other_cell_is_out_of_line() -> None:
    out = {(f.table, *cell) for f in findings() if f.where.partition("/")[0] in _settings() for cell in f.cells}
    assert out == {("5a", "n1", "coco_seg"), ("5c", "r005", "coco_det")}
    near_full = [f for f in findings() if f.derived == "full data: 38.9"]
    assert [(f.table, f.where) for f in near_full] == [("5c", "r005/coco_det")]


def _settings() -> set[str]:
    return {row.key for table in printed_tables() if table.ordered for row in table.rows}


def test_all_averages_and_gains_but_the_divisor_follow_from_the_cells() -> None:
    arithmetic = [f for f in findings() if not f.where.startswith("prose") and f.table in ("1", "2", "3")]
    assert {f.where for f in arithmetic if f.verdict == "disagrees"} == {"*/other_avg"}
    assert (
        sum("_avg" in f.where and f.where[0] != "*" for f in arithmetic if not f.where.startswith("gain")) == 14 * 2 + 4
    )


@pytest.mark.parametrize("column", [c.key for c in printed_tables()[0].columns])
def test_a_changed_cell_of_table_1_is_noticed(column: str) -> None:
    table = printed_tables()[0]
    cell = table.printed("rice-336", column)
    average = "ocr_avg" if column in table.averages[0].of or column == "ocr_avg" else "other_avg"
    found = changed("1", "rice-336", column, str(Decimal(cell) + (5 if column != "mme_per" else 50)))
    assert found[f"1 rice-336/{average}"].verdict == "disagrees"
    assert "/ 6 gives" in found["1 */other_avg"].sentence  # one misprint does not hide the divisor


@pytest.mark.parametrize(
    ("cell", "place", "verdict"),
    [
        (("1", "rice-378", "docvqa", "82.39"), "1 prose: docvqa-siglip", "agrees"),
        (("1", "rice-560", "mme_cog", "455"), "1 gain: RICE-560px vs SigLIPv2-560px/mme_cog", "disagrees"),
        (("1-page", "clip-336", "mme_cog", "64.0"), "1-page clip-336/mme_cog", "disagrees"),
        (("2", "rice-next", "refcoco_val", "85.5"), "2 gain: Avg: +1.30, improvement over MLCD (LLaVA-NeXT)/refcoco_val", "disagrees"),
        (("2", "sa2va-26b", "refcoco_val", "83.6"), "2 prose: best-of-all", "disagrees"),
        (("3", "mlcd", "coco_det", "34.9"), "3 prose: coco-det-gain, strongest rival", "agrees"),
        (("3", "rice", "aerial", "24.9"), "3 rice/rf_avg", "disagrees"),
        (("3", "rice", "coco_det", "38.8"), "3 prose: coco-det", "disagrees"),
        (("4", "dinov2", "got10k_sr50", "63.40"), "4 prose: all-metrics", "agrees"),
        (("5a", "n20", "lvis_seg", "20.9"), "5a prose: ten-boxes", "disagrees"),
        (("5b", "k1m", "coco_det", "35.3"), "5b k1m/*", "disagrees"),
        (("5b", "k500k", "lvis_det", "27.6"), "5b k500k/lvis_det", "suspect"),
        (("5c", "r005", "coco_det", "34.2"), "5c prose: coco-det-at-005", "disagrees"),
    ],
)  # fmt: skip
def test_a_changed_cell_changes_the_verdict(cell: tuple[str, str, str, str], place: str, verdict: str) -> None:
    assert changed(*cell)[place].verdict == verdict
    assert place not in paper() or paper()[place].verdict != verdict


def test_a_cell_in_line_with_its_siblings_is_not_suspect() -> None:
    assert "5c r005/coco_det" in paper()
    assert "5c r005/coco_det" not in changed("5c", "r005", "coco_det", "34.2")
    assert "5a n1/coco_seg" not in changed("5a", "n1", "coco_seg", "24.7")


def test_the_divisor_is_computed_not_known() -> None:
    """Averages made with the stated divisors leave nothing to find; with a third divisor, that one is found."""
    table = next(t for t in printed_tables() if t.id == "1")
    for divisor, places in ((8, set()), (5, {"MME-Cog / 5"})):
        remade = table
        for row in table.rows:
            terms = [table.number(row.key, key) or 0 for key in table.averages[1].of]
            scaled = [t / {2: divisor, 3: 20}.get(i, 1) for i, t in enumerate(terms)]
            mean = sum(scaled, Decimal(0)) / 7
            remade = with_cell(remade, row.key, "other_avg", str(mean.quantize(Decimal("0.01"), ROUND_HALF_UP)))
        found = [f for f in findings([remade]) if f.where == "*/other_avg"]
        assert {f.derived for f in found} == places


def test_verdicts() -> None:
    assert half_step("384") == Decimal("0.5")
    assert half_step("+0.09") == Decimal("0.005")
    assert judge("24.1", Decimal("24.05"), slack=Decimal(0)) == "agrees"
    assert judge("24.1", Decimal("24.04"), slack=Decimal(0)) == "disagrees"
    assert judge("24.1", Decimal("24.04"), slack=Decimal("0.01")) == "rounding"
    assert rounded(Decimal("3.9"), "+3.9", sign=True) == "+3.9"
    assert rounded(Decimal("24.043"), "24.1") == "24.04"
