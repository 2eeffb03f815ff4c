"""What a command writes of several tables is one document, and its CSV is tidy: as pandas, LaTeX and a browser read it."""

from __future__ import annotations

import io
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from reports import cli
from reports.frame import Number, frame_of, numbers
from reports.groups import groups
from reports.render import to_latex, to_tidy_csv
from reports.render.spreadsheet import _MISSING
from reports.table import Column, Row, Table, Value
from rice_core.errors import UserError
from rice_core.record import Metric, Record
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeSpec

COLUMNS = [
    "encoder", "shorthand", "probe", "parameters", "recipe", "dataset", "seed", "metric", "value", "unit", "stderr", "low",
    "high", "n", "chance", "ceiling", "taints",
]  # fmt: skip
RNG = np.random.default_rng(2)
BASE = RNG.normal(60, 8, 40)
COCO = DatasetSpec(name="coco", layout="coco", fingerprint="1" * 20)
DET = ProbeSpec(name="coco-det", version=1, recipe="paper@2", params={"backend": "auto"})
SIGLIP = "siglip=hf:google/siglip-base-patch16-512"


def run(store, command: str, *words: str):
    app = typer.Typer()
    app.callback()(lambda: None)
    cli.register(app)
    found = CliRunner().invoke(app, [command, *words, "--store", str(store.root)])
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def read(store, command: str, *words: str) -> pd.DataFrame:
    """As anybody reads a CSV."""
    return pd.read_csv(io.StringIO(run(store, command, *words, "-f", "csv").stdout))


def test_the_csv_of_a_store_is_one_row_a_number(full_store) -> None:
    frame = read(full_store, "table", "--all")
    records = full_store.records()
    assert list(frame.columns)[:17] == COLUMNS
    assert len(frame) == sum(len(record.metrics) for record in records)
    wanted = {(r.cell.id, m.name): (r, m) for r in records for m in r.metrics}
    for row in frame.to_dict("records"):
        record, metric = wanted[row["cell"], row["metric"]]
        cell = record.cell
        assert (row["encoder"], row["shorthand"]) == (cell.encoder.title, cell.encoder.shorthand)
        assert (row["probe"], row["seed"], row["dataset"]) == (cell.probe.name, cell.seed, "mini")
        assert f"{row['probe']}?{row['parameters']}" == cell.probe.shorthand
        assert (row["value"], row["stderr"], row["n"]) == (metric.value, metric.stderr, metric.n)  # to the last bit
        assert (row["low"], row["high"]) == metric.ci95
        for level in ("chance", "ceiling"):
            known = getattr(metric, level)
            assert row[level] == known if known is not None else np.isnan(row[level])
        assert row["taints"] == "uncommitted code" if record.taints else pd.isna(row["taints"])
    assert frame.dtypes[["value", "stderr", "low", "high", "chance", "ceiling"]].eq("float64").all()
    assert frame.dtypes[["seed", "n", "version"]].eq("int64").all()


def test_the_csv_and_the_frame_of_the_records_are_the_same(full_store) -> None:
    frame = frame_of(Number, numbers(full_store.records()))
    read_back = read(full_store, "table", "--all")
    assert list(frame.columns) == list(read_back.columns)
    for name in frame.columns:
        if frame[name].dtype == object:
            assert read_back[name].fillna("").tolist() == frame[name].tolist(), name
        else:
            pd.testing.assert_series_equal(read_back[name], frame[name], check_dtype=name != "limit")


def test_without_all_there_are_headlines_alone(full_store) -> None:
    frame = read(full_store, "table")
    assert frame.groupby("probe").metric.unique().map(list).to_dict() == {
        "knn": ["accuracy"],
        "linear": ["accuracy"],
        "linear-seg": ["miou"],
        "tokens": ["object-separation"],
    }


def test_rows_that_may_be_ranked_together_share_a_key(full_store) -> None:
    assert set(read(full_store, "table").comparable) == {group.key for group in groups(full_store.records())}


def test_cells_without_a_number_are_counted_beside_the_csv(full_store) -> None:
    found = run(full_store, "table", "-f", "csv")
    assert "1 failed, 2 not applicable" in found.stderr
    assert "status" in found.stderr


def test_the_order_of_the_records_is_no_matter(full_store) -> None:
    records = full_store.records()
    assert numbers(records[::-1]) == numbers(records)


def test_the_downloads_of_the_report_are_tidy(site, full_store) -> None:
    """Of every overview and every probe's table: pandas reads numbers in all of them."""
    tables = {path.name: pd.read_csv(path) for path in (site / "tables").glob("*.csv")}
    overview = next(frame for name, frame in tables.items() if name.startswith("board-mini-"))
    knn = next(frame for name, frame in tables.items() if name.startswith("knn-mini-"))
    assert list(overview.columns[:17]) == list(knn.columns[:17]) == COLUMNS
    every = read(full_store, "table", "--all")
    assert sorted(knn.value) == sorted(every[every.probe == "knn"].value)
    assert sorted(overview.value) == sorted(read(full_store, "table").value)


NAMES = [
    "NA", "nan", "NULL", "None", "-nan", "1", "1e5", "007", "inf", "True", "1_000", 'a "quoted", name', "comma,comma", "名前 🍚",
    "it's", "=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "a\nb\r\nc", "\u202eabc", "%", "  x ",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_stays_a_name_and_runs_nothing(fake, name) -> None:
    """Alone in its column too, where pandas would make numbers of it."""
    spec = EncoderSpec(name=name, source="hf", model="x/y")
    cell = fake.cell("a=hf:x/y", dataset=DatasetSpec(name=name, layout="coco", fingerprint="f")).model_copy(
        update={"encoder": spec}
    )
    text = to_tidy_csv(Number, numbers([fake.simple(cell, taints=(name,))]))
    frame = pd.read_csv(io.StringIO(text))
    (row,) = frame.to_dict("records")
    for column in ("encoder", "dataset", "taints"):
        assert isinstance(row[column], str), column
        assert not row[column].lstrip().startswith(("=", "+", "-", "@", "|", "%")) or row[column] == "%"
    plain = name.isprintable() and row["encoder"] == name
    assert plain or row["encoder"].startswith("'") or not name.isprintable()
    assert plain or row["encoder"].removeprefix("'") == name or not name.isprintable()
    assert (row["unit"], row["value"], row["n"]) == ("%", 50.0, 100)
    assert frame.dtypes[["value", "stderr", "low"]].eq("float64").all()
    assert not {"\n", "\r", "\u202e"} & set(row["encoder"])


def test_every_word_that_pandas_takes_for_missing_is_known() -> None:
    from pandas._libs.parsers import STR_NA_VALUES

    assert STR_NA_VALUES - {""} == _MISSING


def test_an_empty_frame_has_the_same_columns_and_dtypes(fake) -> None:
    full, empty = frame_of(Number, numbers([fake.simple(fake.cell("a=hf:x/y"))])), frame_of(Number, [])
    assert len(empty) == 0
    assert full.dtypes.equals(empty.dtypes)
    assert full.limit.isna().all()


def test_wide_csv_of_several_tables_has_one_header(full_store) -> None:
    frame = read(full_store, "table", "--all", "--wide")
    assert list(frame.columns[:3]) == ["table", "section", "label"]
    assert frame.table.nunique() == 5
    knn = frame[frame.table.str.startswith("knn on mini")]
    judged = {r.cell.encoder.title: r for r in full_store.records() if r.cell.probe.name == "knn"}
    row = knn[knn.label == "mlcd"].iloc[0]
    assert float(row["accuracy"]) == pytest.approx(judged["mlcd"].metric("accuracy").value, abs=3)
    assert pd.isna(row["miou"])
    overview = frame[frame.table.str.startswith("All probes")]
    assert overview[overview.label == "mlcd"]["linear-seg.miou mark"].tolist() == ["‡"]


def test_comparisons_are_tidy(fake, store) -> None:
    fake.scored(store, fake.cell("a=hf:x/1"), BASE + 3)
    fake.scored(store, fake.cell("b=hf:x/2"), BASE + RNG.normal(0, 1, 40))
    store.put(fake.simple(fake.cell("a=hf:x/1", probe=ProbeSpec(name="linear", version=1))))
    (row,) = read(store, "compare", "a", "b").to_dict("records")
    assert list(row)[:19] == [
        "a", "b", "probe", "parameters", "recipe", "dataset", "metric", "unit", "a_value", "b_value", "difference", "low", "high",
        "stderr", "n", "clusters", "p", "mde", "decisive",
    ]  # fmt: skip
    assert (row["a"], row["b"], row["probe"], row["parameters"], row["metric"], row["unit"]) == (
        "a", "b", "knn", "k=10", "accuracy", "%",
    )  # fmt: skip
    assert row["a_value"] - row["b_value"] == pytest.approx(row["difference"])
    assert row["low"] < row["difference"] < row["high"]
    assert row["a_value"] == pytest.approx(BASE.mean() + 3)
    assert (row["n"], row["clusters"], row["decisive"], row["seeds"]) == (40, 40, True, 1)
    assert row["p"] < 1e-6
    assert "not compared: linear" in run(store, "compare", "a", "b", "-f", "csv").stderr
    wide = read(store, "compare", "a", "b", "--wide")
    assert wide.columns[:3].tolist() == ["section", "label", "a"]


def test_a_comparison_that_lacks_a_seed_says_so_in_its_row(fake, store) -> None:
    for seed in (0, 1):
        fake.scored(store, fake.cell("a=hf:x/1", seed=seed), BASE + 3)
    fake.scored(store, fake.cell("b=hf:x/2"), BASE)
    (row,) = read(store, "compare", "a", "b").to_dict("records")
    assert (row["decisive"], row["taints"]) == (False, "over 1 of 2 seeds")


@pytest.fixture
def studied(fake, store):
    """rice has all three trainings, mlcd lacks one."""
    for arm, values in {"rice": [61.0, 63.5, 62.2], "mlcd": [55.0, 58.1], "plain": [50.0, 52.0, 53.0]}.items():
        for seed, value in enumerate(values):
            record = fake.simple(fake.cell(f"{arm}=rice:s/{arm}-{seed}", seed=seed), value)
            facts = {"study": "table:5a", "arm": arm, "train_seed": str(seed), "axis": "N", "value": str(len(arm))}
            facts |= {"reference": "1"} if arm == "plain" else {}
            evidence = record.evidence.model_copy(update={"encoder_facts": facts})
            store.put(record.model_copy(update={"evidence": evidence}))
    return store


def test_studies_are_tidy(studied) -> None:
    frame = read(studied, "study", "table:5a")
    assert len(frame) == 3  # the paper's own table is no row among ours
    rows = {row["arm"]: row for row in frame.to_dict("records")}
    rice, mlcd, plain = rows["rice"], rows["mlcd"], rows["plain"]
    assert (rice["study"], rice["axis"], rice["place"], rice["metric"], rice["unit"]) == (
        "table:5a",
        "N",
        4,
        "accuracy",
        "%",
    )
    assert (rice["value"], rice["n"]) == (pytest.approx(62.23333), 3)
    assert rice["difference"] == pytest.approx(np.mean([11.0, 11.5, 9.2]))
    assert rice["difference_low"] < rice["difference"] < rice["difference_high"]
    assert (rice["reference"], rice["decisive"], rice["difference_n"]) == ("plain", True, 3)
    assert (mlcd["taints"], mlcd["decisive"], mlcd["difference_n"]) == ("over 2 of 3 training seeds", False, 2)
    assert pd.isna(plain["reference"])
    assert np.isnan(plain["difference"])
    assert frame.decisive.dtype == bool
    assert "Table 5a as printed" in run(studied, "study", "table:5a", "-f", "csv", "--wide").stdout


def test_the_papers_table_is_tidy_and_says_whose_number_it_is(fake, store) -> None:
    cell = fake.cell(SIGLIP, probe=DET, dataset=COCO)
    metric = Metric(name="box_ap", value=35.1, unit="%", n=5000, stderr=0.1, ci95=(34.9, 35.3))
    store.put(Record(cell=cell, status="done", metrics=(metric,), evidence=fake.evidence(cell.encoder)))
    store.put(fake.simple(fake.cell(SIGLIP, probe=DET.model_copy(update={"recipe": "mini"}), dataset=COCO)))
    frame = read(store, "table", "--paper", "3")
    mine = frame[(frame.row == "SigLIP ViT-B/16 512") & (frame.column == "coco_det")].set_index("source")
    assert mine.value.to_dict() == {"ours": 35.1, "paper": 35.0, "delta": pytest.approx(0.1)}
    assert mine.loc["delta", "verdict"] == "within the goal"
    assert mine.loc["ours", ["encoder", "probe", "n", "low"]].tolist() == ["siglip", "coco-det", 5000, 34.9]
    assert mine.loc["paper", "encoder"] is np.nan or pd.isna(mine.loc["paper", "encoder"])
    assert set(frame.source) == {"ours", "paper", "delta"}
    assert set(frame.table) == {"Table 3"}
    assert (frame.source == "ours").sum() == 1
    assert "recipe mini" in run(store, "table", "--paper", "3", "-f", "csv").stderr
    store.put(Record(cell=cell.model_copy(update={"seed": 1}), status="failed", error="no"))
    frame = read(store, "table", "--paper", "3")
    assert frame[frame.source == "ours"].taints.tolist() == ["over 1 of 2 seeds"]
    assert (frame.source == "delta").sum() == 0


@pytest.mark.parametrize("words", [("table", "--all"), ("study", "table:5a", "--all")])
def test_tex_is_one_document_or_fragments(studied, words) -> None:
    text = run(studied, *words, "-f", "tex").stdout
    n = text.count("\\begin{table}")
    assert n >= 2
    assert [text.count(each) for each in ("\\documentclass", "\\begin{document}", "\\end{document}")] == [1, 1, 1]
    assert text.rstrip().endswith("\\end{document}")
    assert text.count("\\clearpage") == n - 1
    fragments = run(studied, *words, "-f", "tex", "--fragment").stdout
    assert fragments.count("\\begin{table}") == n
    assert not {"documentclass", "begin{document}", "clearpage"} & set(fragments.replace("\\", " ").split())
    assert "document" not in fragments


def test_many_tables_compile_to_as_many_pages(pdflatex) -> None:
    """More than LaTeX keeps back as floats, which is where it would stop."""
    many = [
        Table(f"t{i}", f"Table {i}", (Column("a", "A"),), tuple(Row(f"row {j}", (Value(1.0),)) for j in range(25)))
        for i in range(60)
    ]
    assert pdflatex(to_latex(*many)) == 60


def test_a_wide_table_with_signs_and_many_notes_compiles_to_a_page(pdflatex) -> None:
    columns = tuple(Column(f"c{i}", f"c{i}", group=f"group {i // 4}") for i in range(48))
    row = Row("oracle † ‡ ×", tuple(Value(float(i)) for i in range(48)))
    assert pdflatex(to_latex(Table("t", "T", columns, (row,) * 4, tuple(f"note {i}" for i in range(20))))) == 1


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1


def test_html_is_one_page_or_fragments(full_store) -> None:
    page = run(full_store, "table", "--all", "-f", "html").stdout
    tags = Tags(page).count
    assert page.startswith("<!doctype html>")
    assert [tags[each] for each in ("html", "head", "body", "title", "table")] == [1, 1, 1, 1, 5]
    assert not {"script", "link", "img", "a"} & set(tags)
    fragments = Tags(run(full_store, "table", "--all", "-f", "html", "--fragment").stdout).count
    assert fragments["table"] == 5
    assert not {"html", "head", "body"} & set(fragments)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("table", "--wide"), "--wide is a shape of CSV"),
        (("table", "--paper", "3", "--fragment", "-f", "csv"), "--fragment leaves the document away"),
        (("compare", "a", "b", "--fragment", "-f", "md"), "--fragment leaves the document away"),
        (("study", "--wide", "-f", "tex"), "--wide is a shape of CSV"),
    ],
)
def test_shapes_that_a_format_does_not_have_are_refused(full_store, words, said) -> None:
    with pytest.raises(UserError, match=said):
        run(full_store, *words)
