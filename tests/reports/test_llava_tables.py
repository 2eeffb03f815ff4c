"""Table 1 beside ours: both frameworks' rows, both ways to make its averages, and what gets no verdict or no place."""

from __future__ import annotations

import math

import pytest

from reports.beside import mapping_of, paper_numbers, read_beside, table_of
from reports.beside.average import derived
from reports.groups import column_of
from reports.site import build_site
from reports.table import Table, Value
from rice_core.record import Metric, Record
from rice_core.spec import DatasetSpec, ProbeSpec

DATA = DatasetSpec(name="llava", layout="llava", fingerprint="7" * 20)
RICE = "rice=hf:DeepGlint-AI/rice-vit-large-patch14-560"
SIGLIP = "siglip=hf:google/siglip-so400m-patch14-384"
ROW, NEXT, OTHER = "RICE ViT-L-14-560px", "LLaVA-NeXT framework", "LLaVA-OneVision framework"


@pytest.fixture
def put(fake, store):
    """Writes the records of all probes of Table 1 with a row of the paper as their numbers."""

    def write(encoder=RICE, *, row="rice-560", recipe="paper@1", data=DATA, seed=0, lift=0.0, leave=(), **params):
        mapping = mapping_of("1")
        for probe in mapping.probes:
            metrics = tuple(
                Metric(
                    name=filling.metric,
                    value=(value := float(mapping.printed.exact(row, key)) + lift),
                    unit=mapping.printed.column(key).unit,
                    n=filling.n or 700,
                    stderr=0.5,
                    ci95=(value - 1, value + 1),
                )
                for key, filling in mapping.columns.items()
                if filling.probe == probe and key not in leave
            )
            spec = ProbeSpec(name=probe, version=1, recipe=recipe, params=params)
            cell = fake.cell(encoder, probe=spec, dataset=data, seed=seed)
            if metrics:
                store.put(Record(cell=cell, status="done", metrics=metrics, evidence=fake.evidence(cell.encoder)))

    return write


def table(store) -> Table:
    return table_of(read_beside("1", store.records(), store))


def cells(made: Table, row: str, column: str) -> tuple[Value, ...]:
    """ours, paper, delta, verdict of the first row of that name."""
    values = next(line.values for line in made.rows if line.label == row)
    return tuple(value for value, head in zip(values, made.columns, strict=True) if head.key.startswith(f"{column}."))


def words(made: Table) -> str:
    return "\n".join(made.notes)


def numbers_of_ours(made: Table) -> list[str]:
    return [
        f"{row.label} {head.key}"
        for row in made.rows
        for value, head in zip(row.values, made.columns, strict=True)
        if head.label == "ours" and value.value is not None
    ]


def test_the_papers_own_numbers_agree_in_every_column_and_in_both_averages(put, store) -> None:
    put()
    made = table(store)
    for key in (*mapping_of("1").columns, *mapping_of("1").averages):
        ours, paper, delta, verdict = cells(made, ROW, key)
        assert ours.value == pytest.approx(paper.value, abs=0.02), key
        assert delta.value == pytest.approx(0, abs=0.02)
        assert verdict.text == "ok"
    assert cells(made, ROW, "other_avg")[1].value == 73.46
    assert cells(made, ROW, "other_avg_caption")[1].value == pytest.approx(70.786, abs=1e-3)
    assert "paper@1: 14 of our numbers beside the paper's: 14 ok (14 within the goal" in words(made)


def test_one_way_of_the_average_is_what_is_printed_and_the_other_is_not() -> None:
    """Where it is not, the caption's divisor is wrong, and the paper's number beside ours has to be made in the same way."""
    mapping = mapping_of("1")
    for name, mean in mapping.averages.items():
        gaps = [
            abs(derived(mapping, name, row.key) - float(mapping.printed.exact(row.key, mean.column)))
            for row in mapping.printed.rows
        ]
        assert (max(gaps) < 0.03) == mean.printed, name
        assert mean.printed or min(gaps) > 1


def test_an_average_claims_no_column_that_is_missing(put, store) -> None:
    put(leave=("mmstar",))
    made = table(store)
    for key in ("other_avg", "other_avg_caption"):
        ours, paper, delta, verdict = cells(made, ROW, key)
        assert (ours.value, delta, verdict) == (None, Value(), Value())
        assert ours.hint == "over 6 of 7 columns: no whole number of MMStar"
        assert paper.value
    assert cells(made, ROW, "ocr_avg")[0].value == pytest.approx(61.06, abs=0.01)


def test_errors_of_an_average_are_those_of_its_columns_and_of_the_seeds(put, store) -> None:
    put()
    one = cells(table(store), ROW, "ocr_avg")[0]
    assert one.stderr == pytest.approx(0.5 * math.sqrt(6 + 0.01) / 7)
    put(seed=1, lift=7.0)  # of each column, a tenth of it of OCRBench
    two = cells(table(store), ROW, "ocr_avg")[0]
    assert two.value == pytest.approx(one.value + 3.5 * 6.1 / 7, abs=1e-6)
    assert two.stderr == pytest.approx(math.hypot(one.stderr, 7 * 6.1 / 7 / 2), rel=1e-3)
    assert not two.bold


def test_an_average_is_over_the_same_seeds_of_all_columns(put, store) -> None:
    every = tuple(mapping_of("1").columns)
    put(leave=("mmstar",))
    put(leave=[key for key in every if key != "mmstar"], seed=1)
    ours = cells(table(store), ROW, "other_avg")[0]
    assert (ours.value, ours.hint) == (None, "columns of other seeds")


def test_both_frameworks_have_their_rows_and_one_gets_no_verdict(put, store) -> None:
    put(SIGLIP, row="siglip-384")
    put(SIGLIP, row="siglip-ov-384", recipe="ov@1")
    made = table(store)
    first, second = ([row for row in made.rows if row.section.startswith(recipe)] for recipe in ("paper@1: ", "ov@1: "))
    assert (len(first), len(second)) == (12, 2)
    by_key = {head.key: i for i, head in enumerate(made.columns)}
    of_both = [next(row for row in rows if row.label.startswith("SigLIP ViT")) for rows in (first, second)]
    assert [row.values[by_key["docvqa.ours"]].value for row in of_both] == [76.71, 87.5]
    assert [row.values[by_key["docvqa.delta"]].text for row in of_both] == ["+0.00", "+0.00"]
    assert [row.values[by_key["docvqa.verdict"]].text for row in of_both] == ["ok", "no verdict"]
    assert [row.values[by_key["other_avg.verdict"]].text for row in of_both] == ["ok", "no verdict"]
    assert "six data files" in of_both[1].values[by_key["docvqa.verdict"]].hint
    assert "ov@1: no verdict: LLaVA-OneVision cannot be reproduced" in words(made)
    assert "14 of our numbers beside the paper's: 14 ok" in words(made)
    assert "28 of our" not in words(made)
    found = paper_numbers(read_beside("1", store.records(), store))
    verdicts = {(n.section, n.column): n.verdict for n in found if n.source == "delta"}
    assert verdicts[NEXT, "docvqa"] == verdicts[NEXT, "ocr_avg"] == "within the goal"
    assert verdicts[OTHER, "docvqa"] == verdicts[OTHER, "ocr_avg"] == ""


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"recipe": "mini"}, "recipe mini"),
        ({"recipe": "smoke"}, "recipe smoke"),
        ({"recipe": "ladder-0.5b"}, "recipe ladder-0.5b"),
        ({"lm": "Qwen/Qwen2.5-0.5B-Instruct"}, "not the recipe's settings: lm=Qwen/Qwen2.5-0.5B-Instruct"),
        ({"lm": "mini"}, "not the recipe's settings: lm=mini"),
        ({"data": DATA.model_copy(update={"name": "mini-llava"})}, "miniature data set mini-llava"),
    ],
)
def test_only_the_papers_recipe_and_language_model_stand_beside_it(put, store, how, why) -> None:
    put(**how)
    made = table(store)
    assert not numbers_of_ours(made)
    assert f"13 ({why})" in words(made)


def test_language_model_recipe_and_what_was_assumed_are_said(put, store, tmp_path) -> None:
    put()
    said = words(table(store)) + "".join(row.section for row in table(store).rows)
    for part in (
        "LLaVA-NeXT with Qwen2.5-7B-Instruct",
        "recipe paper@1",
        "one checkpoint was released, of 560 pixels",
        "MME is asked with lmms-eval's words",
        "is MME-Cog / 6 in all its rows, where its caption says / 8",
        "10 for OCRBench; 8 for MME-Cog; 20 for MME-Per",
    ):
        assert part in said + table(store).title
    page = (build_site(store, tmp_path / "out").parent / "beside-1.html").read_text()
    assert "one checkpoint was released, of 560 pixels" in page


def test_what_is_missing_is_filled_by_one_command(put, store) -> None:
    put(leave=("docvqa", "mmstar"))
    commands = [note for note in table(store).notes if note.startswith("ricebench run")]
    others = " ".join(
        f"-e {name}" for name in ("clip-l14-336", "mlcd-l14-336", "timm:aimv2_large_patch14_336.apple_pt")
    )
    every = ",".join(mapping_of("1").probes)
    assert len(commands) == 2
    assert any(
        command.startswith(f"ricebench run {others}") and " -p docvqa,mmstar " in command for command in commands
    )
    assert all(command.endswith(" --data llava=FOLDER") for command in commands)
    assert every.count(",") == 12
    assert "qwen2.5-vl-vit" not in "".join(commands), "it cannot be read"
    assert "Qwen2.5-ViT ViT-H-14-560px" in words(table(store))


def test_the_mapping_names_what_the_probes_measure() -> None:
    from mllm.evaluate.columns import COLUMNS

    mapping = mapping_of("1")
    ours = {column.key: (column.probe, column.key, column.unit) for column in COLUMNS}
    theirs = {
        key: (filling.probe, filling.metric, mapping.printed.column(key).unit)
        for key, filling in mapping.columns.items()
    }
    assert theirs == ours


@pytest.mark.parametrize("setting", ["part", "at_once"])
def test_what_is_a_matter_of_memory_leaves_a_number_beside_the_paper(put, store, setting) -> None:
    put(**{setting: 2})
    assert f"{ROW} docvqa.ours" in numbers_of_ours(table(store))


def test_units_in_words_stand_apart_from_their_numbers() -> None:
    metric = Metric(name="mme_cog", value=437.5, unit="of 800", n=130)
    assert f"{metric.value:.1f}{metric.suffix}" == "437.5 of 800"
    assert f"{metric.value:.1f}{metric.model_copy(update={'unit': '%'}).suffix}" == "437.5%"
    assert column_of(metric).decimals == 1
    assert column_of(metric.model_copy(update={"unit": "nats"})).decimals == 3
