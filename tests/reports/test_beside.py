"""The paper's Table 3 with ours beside it: what may stand there, what may not, and what is said of it."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

import pytest
import typer
from typer.testing import CliRunner

from reports import cli
from reports.beside import mapping_of, paper_numbers, read_beside, table_of
from reports.beside.mapping import parse
from reports.beside.source import agreement
from reports.site import build_site
from reports.table import Table, Value
from rice_core.errors import UserError
from rice_core.record import Metric, Record, Scores
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeSpec
from rice_core.stats.estimates import Estimate, metric_of

SIGLIP = "siglip=hf:google/siglip-base-patch16-512"
OTHER = "mine=hf:someone/else"
COCO = DatasetSpec(name="coco", layout="coco", fingerprint="1" * 20)
DET = ProbeSpec(name="coco-det", version=1, recipe="paper@2", params={"backend": "auto", "masks": "auto"})
RF100 = DET.model_copy(update={"name": "rf100-det"})
HOSTILE = "<script>alert(1)</script>\"'onload=x&amp;|\\input{x}\x1b[31m\u202e=cmd|x|"


@pytest.fixture
def put(fake, store):
    """Writes a record of a detection probe into the store."""

    def write(
        encoder=SIGLIP, *, probe=DET, dataset=COCO, seed=0, limit=None, taints=(), n=5000, half=0.1, data="d" * 64, **ap
    ):
        metrics = tuple(
            Metric(
                name=name.replace("_AP", "_ap"),
                value=value,
                unit="%",
                n=n,
                stderr=half / 2,
                ci95=(value - half, value + half),
            )
            for name, value in (ap or {"box_AP": 35.2, "mask_AP": 28.0}).items()
        )
        cell = fake.cell(encoder, probe=probe, dataset=dataset, seed=seed, limit=limit)
        found = fake.evidence(cell.encoder, data=data)
        return store.put(Record(cell=cell, status="done", metrics=metrics, evidence=found, taints=taints))

    return write


def table(store) -> Table:
    return table_of(read_beside("3", store.records(), store))


def cells(made: Table, row: str, column: str) -> tuple[Value, ...]:
    """ours, paper, delta, verdict."""
    values = next(line.values for line in made.rows if line.label.startswith(row))
    return tuple(value for value, head in zip(values, made.columns, strict=True) if head.key.startswith(f"{column}."))


def words(made: Table) -> str:
    return "\n".join(made.notes)


def nothing_of_ours(made: Table) -> bool:
    return all(
        v.value is None for row in made.rows for v, c in zip(row.values, made.columns, strict=True) if c.label == "ours"
    )


def test_a_paper_record_stands_in_its_row_with_delta_and_verdict(put, store) -> None:
    record = put()
    made = table(store)
    ours, paper, delta, verdict = cells(made, "SigLIP", "coco_det")
    assert (ours.value, ours.stderr, ours.href) == (35.2, 0.05, f"records/{record.cell.id}.html")
    assert paper.value == 35.0
    assert delta.value == pytest.approx(0.2)
    assert (delta.text, verdict.text) == ("+0.2", "ok")
    assert [v.text or v.value for v in cells(made, "SigLIP", "coco_seg")] == [28.0, 28.1, "−0.1", "ok"]
    assert cells(made, "SigLIP", "lvis_det")[0] == Value(hint="not run; the notes below the table give the command")
    assert [row.label.split()[0] for row in made.rows] == ["DINOv2", "SigLIP", "MLCD", "RICE"]
    assert "2 of our numbers beside the paper's: 2 ok (2 within the goal, 0 by the interval alone), 0 off." in words(
        made
    )
    assert "recipe paper@2 - 1 seed" in made.title


def test_seeds_are_averaged_and_a_missing_one_is_marked(put, store) -> None:
    put(box_AP=35.0)
    put(box_AP=36.0, seed=1)
    put(OTHER, box_AP=30.0)
    made = table(store)
    ours = cells(made, "SigLIP", "coco_det")[0]
    assert ours.value == 35.5
    assert ours.stderr > 0.4
    assert cells(made, "mine", "coco_det")[0].mark == "‡"
    assert "‡ Not all seeds" in words(made)
    asked = [note for note in made.notes if note.startswith("ricebench run")]
    assert asked[0] == "ricebench run -e mine=hf:someone/else -p coco-det --data FOLDER --seeds 0,1"
    assert all(command.endswith("--seeds 0,1") for command in asked)


@pytest.mark.parametrize(
    ("value", "ci95", "goal", "found"),
    [
        (39.2, None, 0.3, "within the goal"),  # 39.2 - 38.9 > 0.3 in floating point
        (39.21, None, 0.3, "off"),
        (38.59, (38.5, 38.7), 0.3, "off"),
        (38.0, (37.0, 39.0), 0.3, "by the interval alone"),
        (38.0, (37.0, 39.0), 1.0, "within the goal"),
    ],
)
def test_agreement(value, ci95, goal, found) -> None:
    assert agreement(Estimate(value, 0.1, ci95, 10, 10, ""), 38.9, goal) == found


def test_what_is_far_away_is_off_and_domains_have_a_wider_goal(put, store) -> None:
    put(box_AP=36.0)
    put(probe=RF100, dataset=COCO.model_copy(update={"name": "rf"}), n=7, aerial=10.3)
    made = table(store)
    assert cells(made, "SigLIP", "coco_det")[3].text == "off"
    assert [v.text or v.value for v in cells(made, "SigLIP", "aerial")] == [10.3, 9.4, "+0.9", "ok"]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"probe": DET.model_copy(update={"recipe": "mini"})}, "recipe mini"),
        ({"probe": DET.model_copy(update={"recipe": "paperless"})}, "recipe paperless"),
        ({"dataset": COCO.model_copy(update={"name": "mini"})}, "miniature data set mini"),
        ({"dataset": COCO.model_copy(update={"name": "mini-hard"})}, "miniature data set mini-hard"),
        ({"taints": ("uncommitted code",)}, "tainted: uncommitted code"),
        ({"limit": 64}, "tainted: limit 64"),
        ({"probe": DET.model_copy(update={"params": {"iterations": 10}})}, "not the recipe's settings: iterations=10"),
        ({"probe": DET.model_copy(update={"params": {"masks": "off"}})}, "not the recipe's settings: masks=off"),
    ],
)
def test_what_is_no_paper_number_is_left_out_and_said(put, store, how, why) -> None:
    put(**how)
    made = table(store)
    assert nothing_of_ours(made)
    assert f"1 record of these probes left out, since no such number may stand beside the paper's: 1 ({why})." in words(
        made
    )
    assert len(made.rows) == 4


OTHER_READING = DET.model_copy(update={"recipe": "paper-1024@2"})


def test_each_reading_of_the_paper_has_a_section_and_nothing_is_over_two(put, store) -> None:
    put(box_AP=35.1)
    put(box_AP=39.0, probe=OTHER_READING)
    put(OTHER, box_AP=41.0, probe=OTHER_READING)
    put(box_AP=30.0, probe=DET.model_copy(update={"recipe": "paper@1"}))
    made = table(store)
    siglip = {row.section.split(":")[0]: row.values[0].value for row in made.rows if row.label.startswith("SigLIP")}
    assert siglip == {"paper@2": 35.1, "paper-1024@2": 39.0, "paper@1": 30.0}
    assert [row.section.split(":")[0] for row in made.rows] == ["paper@2"] * 4 + ["paper-1024@2"] * 2 + ["paper@1"]
    assert all("the other reading" in row.section for row in made.rows[4:] if "not in the paper" not in row.section)
    assert "paper-1024@2: 1 of our numbers beside the paper's: 0 ok" in words(made)
    assert "recipe paper@2, paper-1024@2, paper@1" in made.title
    assert "Refused" not in words(made)
    assert "left out" not in words(made)


CHOSEN = DET.model_copy(update={"params": {**DET.params, "rate": "chosen"}})


def test_a_rate_of_each_encoder_stands_beside_the_single_one_and_what_it_moves_is_said(put, store) -> None:
    for encoder, single, chosen, rate in ((SIGLIP, 35.1, 36.0, 1e-4), (OTHER, 34.0, 37.0, 3e-4)):
        put(encoder, box_AP=single)
        record = put(encoder, probe=CHOSEN, box_AP=chosen)
        store.put(record.model_copy(update={"used": {"rate": rate}}))
    made = table(store)
    sections = [row.section.split(":")[0] for row in made.rows]
    assert sections == ["paper@2"] * 5 + ["paper@2?rate=chosen"] * 2
    assert [row.values[0].value for row in made.rows[-2:]] == [36.0, 37.0]
    assert "paper@2?rate=chosen, coco-det: the rate is mine 0.0003; siglip 0.0001." in words(made)
    assert "in another order in 1 of 1 columns (COCO Det AP: mine > siglip, not siglip > mine)" in words(made)
    assert "left out" not in words(made)
    put(OTHER, probe=CHOSEN, box_AP=35.5)
    assert "in another order in 0 of 1 columns." in words(table(store))


def test_tidy_rows_say_which_reading_a_difference_is_of(put, store) -> None:
    put(box_AP=35.1)
    put(box_AP=36.0, probe=CHOSEN)
    found = [n for n in paper_numbers(read_beside("3", store.records(), store)) if n.row.startswith("SigLIP")]
    own = [n for n in found if n.column == "coco_det"]
    assert [(n.source, n.recipe, "rate=chosen" in n.parameters) for n in own] == [
        ("ours", "paper@2", False),
        ("paper", "", False),
        ("delta", "paper@2", False),
        ("ours", "paper@2", True),
        ("delta", "paper@2", True),
    ]
    assert [round(n.value, 3) for n in own] == [35.1, 35.0, 0.1, 36.0, 1.0]


def test_a_setting_that_no_reading_names_is_left_out_beside_one_that_is_named(put, store) -> None:
    put(probe=CHOSEN.model_copy(update={"params": {**CHOSEN.params, "iterations": 9}}))
    assert nothing_of_ours(table(store))
    assert "not the recipe's settings: iterations=9)" in words(table(store))


def test_bold_is_given_within_one_reading(fake, store) -> None:
    """One number in each of two sections: neither has a runner-up, though one is ahead of the other by as much as one likes."""
    images = tuple(f"{i:04d}" for i in range(5000))
    for encoder, probe, lift in ((SIGLIP, DET, 0), (OTHER, OTHER_READING, 9)):
        scores = Scores(sample=images, cluster=images, values={"box_ap": tuple(30 + lift + i % 7 for i in range(5000))})
        cell = fake.cell(encoder, probe=probe, dataset=COCO)
        metrics = (metric_of(scores, "box_ap", unit="%", better="higher"),)
        store.put(Record(cell=cell, status="done", metrics=metrics, evidence=fake.evidence(cell.encoder)), scores)
    assert not any(value.bold for row in table(store).rows for value in row.values)


def test_a_recipe_that_is_no_reading_of_the_paper_is_left_out(put, store) -> None:
    put(probe=DET.model_copy(update={"recipe": "paper@3"}))
    assert nothing_of_ours(table(store))
    assert "(recipe paper@3)" in words(table(store))


def test_failed_and_undigested_records_are_left_out(fake, store) -> None:
    cell = fake.cell(SIGLIP, probe=DET, dataset=COCO)
    store.put(Record(cell=cell, status="failed", error="The disk is full."))
    metric = Metric(name="box_ap", value=35.0, unit="%", n=5000)
    store.put(Record(cell=cell.model_copy(update={"seed": 1}), status="done", metrics=(metric,)))
    assert nothing_of_ours(table(store))
    assert "1 (failed), 1 (no digest of weights and data)" in words(table(store))


def test_two_fingerprints_never_share_a_column(put, store) -> None:
    put()
    put(OTHER, dataset=COCO.model_copy(update={"fingerprint": "2" * 20}))
    made = table(store)
    assert nothing_of_ours(made)
    assert "Refused, COCO Det AP, COCO Seg AP" in words(made)
    assert "listing 11111111" in words(made)
    assert "listing 22222222" in words(made)


def test_two_contents_of_one_listing_never_share_a_column(put, store) -> None:
    put()
    put(OTHER, data="e" * 64)
    assert nothing_of_ours(table(store))


def test_the_newest_version_of_a_probe_counts(put, store) -> None:
    put(box_AP=11.0)
    put(probe=DET.model_copy(update={"version": 2}), box_AP=35.0)
    made = table(store)
    assert cells(made, "SigLIP", "coco_det")[0].value == 35.0
    assert "version 1 of coco-det, where 2 is there" in words(made)


def test_another_number_of_images_is_not_the_published_data(put, store) -> None:
    put(n=300)
    assert nothing_of_ours(table(store))
    assert "Not shown, siglip in COCO Det AP: over 300 images, where COCO 2017 has 5,000." in words(table(store))


def test_the_metric_must_have_the_papers_unit(put, store) -> None:
    record = put()
    metrics = tuple(metric.model_copy(update={"unit": "fraction"}) for metric in record.metrics)
    store.put(record.model_copy(update={"metrics": metrics}))
    assert nothing_of_ours(table(store))


def test_encoders_of_ours_stand_below_without_a_paper_number(put, store) -> None:
    put()
    put(OTHER, box_AP=41.0)
    put("synthetic:noise", box_AP=0.1)
    made = table(store)
    assert [(row.label, row.section) for row in made.rows[4:]] == [
        ("mine", "paper@2: not in the paper's table"),
        ("synthetic:noise †", "paper@2: not in the paper's table"),
    ]
    ours, paper, delta, verdict = cells(made, "mine", "coco_det")
    assert ours.value == 41.0
    assert (paper.value, paper.text, delta, verdict) == (None, "–", Value(), Value())


def test_a_name_does_not_make_a_row_and_an_identity_does(put, store) -> None:
    put("SigLIP=hf:someone/else", box_AP=99.0)
    put("anything=hf:google/siglip-base-patch16-512?res=512", box_AP=35.0)
    made = table(store)
    assert cells(made, "SigLIP ViT-B/16 512", "coco_det")[0].value == 35.0
    assert made.rows[4].label == "SigLIP"


def test_two_sets_of_weights_of_one_row_have_a_line_each(put, store, fake) -> None:
    first = put(box_AP=35.0)
    second = first.model_copy(update={"cell": first.cell.model_copy(update={"seed": 1})})
    store.put(second.model_copy(update={"evidence": fake.evidence(first.cell.encoder, weights="9" * 64)}))
    made = table(store)
    lines = [row.label for row in made.rows if row.label.startswith("SigLIP")]
    assert len(lines) == 2
    assert "SigLIP ViT-B/16 512: siglip (weights 99999999)" in lines
    assert all(cells(made, line, "coco_det")[1].value == 35.0 for line in lines)


def test_bold_needs_a_paired_interval(fake, store) -> None:
    def scored(encoder: str, lift: float) -> None:
        images = tuple(f"{i:04d}" for i in range(5000))
        ap = tuple(35 + lift + (i % 7) for i in range(5000))
        scores = Scores(sample=images, cluster=images, values={"box_ap": ap})
        cell = fake.cell(encoder, probe=DET, dataset=COCO)
        metrics = (
            metric_of(scores, "box_ap", unit="%", better="higher"),
            Metric(name="mask_ap", value=30 + lift, unit="%", n=5000),
        )
        store.put(Record(cell=cell, status="done", metrics=metrics, evidence=fake.evidence(cell.encoder)), scores)

    scored(SIGLIP, 0.0)
    scored(OTHER, 1.0)
    made = table(store)
    assert cells(made, "mine", "coco_det")[0].bold
    assert not cells(made, "SigLIP", "coco_det")[0].bold
    assert not cells(made, "mine", "coco_seg")[0].bold  # ahead by as much, and no scores to pair


def test_missing_cells_are_counted_with_their_commands(put, store) -> None:
    put()
    put(OTHER)
    notes = table(store).notes
    assert any(note.startswith("56 of 60 cells of ours missing.") for note in notes)
    assert "ricebench run -e siglip-b16-512 -e mine=hf:someone/else -p lvis-det --data FOLDER@lvis" in notes
    assert not any(note.startswith("ricebench run") and "coco-det" in note for note in notes)
    assert any("RICE ViT-B/16 512: no public weights are known" in note for note in notes)


def test_every_command_is_one_that_run_takes(store) -> None:
    from rice_core.cli import build_app
    from rice_core.spec import ProbeRequest

    (run,) = (command for name, command in typer.main.get_command(build_app()).commands.items() if name == "run")
    options = {option for parameter in run.params for option in parameter.opts}
    commands = [note for note in table(store).notes if note.startswith("ricebench run")]
    assert len(commands) == 3
    for command in commands:
        assert set(re.findall(r" (-{1,2}[a-z]+)", command)) <= options
        assert ProbeRequest.parse(command.split(" -p ")[1].split()[0]).name in mapping_of("3").probes


def test_the_data_is_named_and_what_cannot_be_known_is_said(put, store) -> None:
    put()
    assert "COCO 2017: the numbers come from data set coco (listing 11111111, bytes dddddddd)." in words(table(store))
    assert "not its origin" in words(table(store))
    assert "LVIS v1: the numbers" not in words(table(store))


def test_the_papers_slips_stand_below_and_at_their_cells(store) -> None:
    made = table(store)
    slip = next(note for note in made.notes if "disagrees" in note and "+3.3" in note)
    assert "surpassing the strongest baseline, SigLIP" in slip
    assert slip[1] in cells(made, "MLCD", "coco_det")[1].mark.split(",")
    assert any("in LVIS Det AP MLCD (22.1) is stronger than SigLIP (21.8)" in note for note in made.notes)


def test_the_result_does_not_depend_on_the_order_of_records(put, store) -> None:
    for seed in (0, 1):
        put(seed=seed)
        put(OTHER, seed=seed, taints=("x",) * seed)
    assert table_of(read_beside("3", store.records()[::-1], store)) == table(store)


def test_mappings_name_what_the_probes_measure() -> None:
    """Metrics of `probes.detection`: names of APs, and the domains of rice_core/data/rf100.yaml."""
    from probes.detection import probe, suite
    from probes.detection.recipe import RECIPES
    from rice_core.datasets.suites import rf100_domains

    mapping = mapping_of("3")
    assert set(mapping.probes) == {probe.CocoDetection.name, probe.LvisDetection.name, suite.Rf100Detection.name}
    assert set(mapping.columns) == {column.key for column in mapping.printed.columns}
    ap = dict.fromkeys(rf100_domains(), 10.0)
    measured = {metric.name: metric.n for metric in suite.means(ap, dict(rf100_domains()))[0]}
    assert {f.metric: f.n for f in mapping.columns.values() if f.probe == "rf100-det"} == measured
    assert {f.metric for f in mapping.columns.values() if f.probe != "rf100-det"} == {"box_ap", "mask_ap"}
    assert {reading.recipe for reading in mapping.readings} <= RECIPES.keys()
    assert mapping.readings[0].recipe == suite.Rf100Detection.recipe == probe.CocoDetection.recipe
    assert set(mapping.settings) <= set(suite.Rf100Detection.__dataclass_fields__)


@pytest.mark.parametrize(
    "body",
    [
        "- {table: '9', READINGS, data: {}, columns: {}}",
        "- {table: '3', READINGS, data: {}, columns: {nowhere: {probe: p, data: d, metric: m, goal: 1}}}",
        "- {table: '3', READINGS, data: {}, columns: {coco_det: {probe: p, data: d, metric: m, goal: 1}}}",
        "- {table: '3', READINGS, data: {d: {title: D}}, columns: {coco_det: {probe: p, data: d, metric: m, goal: 0}}}",
        "- {table: '3', READINGS, data: {}, columns: {}, encoders: {nobody: []}}",
        "- {table: '3', READINGS, data: {}, columns: {}, more: 1}",
        "nothing: [",
        "",
    ],
)
def test_a_wrong_mapping_is_refused(body) -> None:
    with pytest.raises(UserError, match="no mapping"):
        parse(body.replace("READINGS", "readings: [{recipe: r, said: s}]"))


def test_another_table_needs_a_mapping_and_no_code(fake, store, monkeypatch) -> None:
    from reports.beside import mapping as module

    text = """
    - table: "4"
      readings: [{recipe: paper@1, said: as printed}]
      data: {got: {title: GOT-10k, names: [got10k]}, la: {title: LaSOT, names: [lasot]}}
      columns:
        got_ao: {probe: track, data: got, metric: ao, goal: 0.5}
        lasot_auc: {probe: track, data: la, metric: auc, goal: 0.5}
    """
    columns = {column.key: column.unit for column in next(t for t in module.printed_tables() if t.id == "4").columns}
    first, second = list(columns)[:2]
    (mapping,) = parse(text.replace("got_ao", first).replace("lasot_auc", second))
    monkeypatch.setattr(module, "mappings", lambda: (mapping,))
    for name, metric in (("got10k", "ao"), ("lasot", "auc")):
        cell = fake.cell(OTHER, probe=ProbeSpec(name="track", version=1, recipe="paper@1"))
        cell = cell.model_copy(update={"dataset": COCO.model_copy(update={"name": name})})
        measured = (Metric(name=metric, value=50.0, unit=columns[first], n=3),)
        store.put(Record(cell=cell, status="done", metrics=measured, evidence=fake.evidence(cell.encoder)))
    made = table_of(read_beside("4", store.records(), store))
    assert [cells(made, "mine", key)[0].value for key in (first, second)] == [50.0, 50.0]
    assert len(made.columns) == 8
    assert "ricebench run" not in cells(made, "mine", first)[0].hint


def run(store, *args: str):
    app = typer.Typer()
    app.callback()(lambda: None)
    cli.register(app)
    return CliRunner().invoke(app, ["table", "--store", str(store.root), *args])


@pytest.mark.parametrize("format_", ["terminal", "md", "tex", "csv", "html"])
def test_all_formats(put, store, format_) -> None:
    put()
    found = run(store, "--paper", "3", "--format", format_, *(["--wide"] if format_ == "csv" else []))
    assert found.exit_code == 0, found.output
    assert "SigLIP" in found.output
    assert "35.2" in found.output
    if format_ == "csv":
        rows = list(csv.DictReader(io.StringIO(found.stdout)))
        assert (rows[1]["coco_det.ours"], rows[1]["coco_det.paper"], rows[1]["coco_det.verdict"]) == (
            "35.2",
            "35.0",
            "ok",
        )
        assert float(rows[1]["coco_det.delta"]) == pytest.approx(0.2)


def test_a_table_that_nothing_fills_is_told(put, store) -> None:
    put()
    found = run(store, "--paper", "2")
    assert isinstance(found.exception, UserError)
    assert "--paper takes 1, 3" in str(found.exception)


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "script":
            self.scripts.append(dict(attrs).get("src", ""))
        assert not any(name.startswith("on") for name, _ in attrs)


def test_hostile_names_are_inert(put, store, fake, tmp_path) -> None:
    spec = EncoderSpec(name=HOSTILE, source="hf", model=HOSTILE)
    dataset = COCO.model_copy(update={"name": HOSTILE, "fingerprint": HOSTILE})
    cell = fake.cell(OTHER, probe=DET, dataset=dataset).model_copy(update={"encoder": spec})
    metric = Metric(name="box_ap", value=35.0, unit="%", n=5000, method=HOSTILE)
    store.put(Record(cell=cell, status="done", metrics=(metric,), evidence=fake.evidence(cell.encoder)))
    put(probe=DET.model_copy(update={"recipe": HOSTILE}), taints=(HOSTILE,))
    for format_ in ("terminal", "md", "tex", "csv", "html"):
        found = run(store, "--paper", "3", "-f", format_)
        assert found.exit_code == 0, found.output
        assert "\u202e" not in found.output
        assert "\x1b[31m" not in found.output
    assert "script" not in Tags(run(store, "--paper", "3", "-f", "html").output).tags
    out = build_site(store, tmp_path / "out").parent
    page = (out / "beside-3.html").read_text()
    assert Tags(page).scripts == ["site.js"]
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page


def test_the_site_has_the_page_and_a_link_to_it(put, store, tmp_path) -> None:
    record = put()
    out = build_site(store, tmp_path / "out").parent
    page = (out / "beside-3.html").read_text()
    assert 'href="beside-3.html"' in (out / "index.html").read_text()
    assert f'href="records/{record.cell.id}.html"' in page
    assert (out / "records" / f"{record.cell.id}.html").is_file()
    assert "<code>ricebench run -e siglip-b16-512 -p lvis-det --data FOLDER@lvis</code>" in page
    assert {path.suffix for path in out.glob("tables/beside-3.*")} == {".csv", ".md", ".tex"}
    assert page.count("surpassing the strongest baseline") >= 2


def test_the_page_is_there_only_where_its_probes_are(fake, store, tmp_path) -> None:
    store.put(fake.simple(fake.cell(OTHER)))
    out = build_site(store, tmp_path / "out").parent
    assert not list(out.glob("beside*"))
    assert "Beside the paper" not in (out / "index.html").read_text()
