"""A mean over fewer parts than it claims: marked, in no order, never bold or decisive, never held against the paper."""

from __future__ import annotations

import re

import numpy as np
import pytest

from reports.beside import read_beside, table_of
from reports.board import boards, group_table, overview_table
from reports.compare import compare
from reports.figures import Panel, Point, category_figure, suite_figure
from reports.figures import detection_ap as ap_figures
from reports.groups import groups
from reports.judge import Judge
from reports.render import to_html
from reports.site.forest import forest
from reports.study import metric_table, studies, study_table
from reports.study.lines import lines
from reports.verdicts import verdict
from rice_core.record import Metric, Record
from rice_core.spec import DatasetSpec, ProbeSpec

RNG = np.random.default_rng(5)
BASE = RNG.normal(60, 5, 80)
COCO = DatasetSpec(name="coco", layout="coco", fingerprint="1" * 20)
DET = ProbeSpec(name="coco-det", version=1, recipe="paper@2", params={"backend": "auto"})
SIGLIP = "siglip=hf:google/siglip-base-patch16-512"


def failed(store, cell):
    return store.put(Record(cell=cell, status="failed", error="The disk is full."))


@pytest.fixture
def gains_by_failing(fake, store):
    """`lucky` is better in seed 0 and failed in seed 1, where `steady` and `worse` finished both."""
    fake.scored(store, fake.cell("lucky=hf:x/1"), BASE + 9)
    failed(store, fake.cell("lucky=hf:x/1", seed=1))
    for seed in (0, 1):
        fake.scored(store, fake.cell("steady=hf:x/2", seed=seed), BASE + 5)
        fake.scored(store, fake.cell("worse=hf:x/3", seed=seed), BASE)
    return store


def tables_of(store):
    (board,) = boards(groups(store.records()))
    judges = {group.key: Judge(group, store) for group in board.groups}
    return [overview_table(board, judges), *map(group_table, judges.values())]


def test_a_board_neither_ranks_nor_sets_bold_what_lacks_a_seed(gains_by_failing) -> None:
    for table in tables_of(gains_by_failing):
        rows = [(row.label, row.values[0]) for row in table.rows if not row.muted]
        assert [label for label, _ in rows] == ["steady", "worse", "lucky"]
        steady, worse, lucky = (value for _, value in rows)
        assert (steady.bold, worse.bold, lucky.bold) == (True, False, False)
        assert (steady.mark, worse.mark, lucky.mark) == ("", "", "‡")
        assert lucky.value == pytest.approx(BASE.mean() + 9)
        assert any(note.startswith("‡ Not all seeds") and "not ranked" in note for note in table.notes)
        assert len(re.findall("data-partial", to_html(table))) == 1
    (group,) = groups(gains_by_failing.records())
    assert verdict(Judge(group, gains_by_failing)).sentence.startswith("steady leads worse by 5.0")


def test_with_one_whole_encoder_there_is_nothing_to_rank(fake, store) -> None:
    fake.scored(store, fake.cell("lucky=hf:x/1"), BASE + 9)
    failed(store, fake.cell("lucky=hf:x/1", seed=1))
    for seed in (0, 1):
        fake.scored(store, fake.cell("steady=hf:x/2", seed=seed), BASE)
    (group,) = groups(store.records())
    assert not any(row.values[0].bold for row in group_table(Judge(group, store)).rows)
    assert "that have a number in every seed" in verdict(Judge(group, store)).sentence


def test_a_finished_record_that_lacks_the_metric_counts_as_a_missing_part(fake, store) -> None:
    """As a suite's mean that one seed could not give, because a data set failed."""
    for seed in (0, 1):
        fake.scored(store, fake.cell("steady=hf:x/2", seed=seed), BASE)
        record = fake.scored(store, fake.cell("lucky=hf:x/1", seed=seed), BASE + 9)
    other = Metric(name="other", value=1.0, unit="%", n=80)
    store.put(record.model_copy(update={"metrics": (other,)}), store.scores(record))
    (group,) = groups(store.records())
    column = next(column for column in group.columns if column.key == "accuracy")
    ranking = Judge(group, store).ranking(column)
    assert [(at.entry.label, at.partial) for at in ranking] == [("steady", False), ("lucky", True)]
    assert Judge(group, store).lead(column) is None


def test_an_encoder_without_the_headline_makes_no_other_metric_the_headline(fake, store) -> None:
    """It stands first by its name, and has the second metric alone: a suite whose mean a failed data set took."""
    second = Metric(name="aerial", value=30.0, unit="%", n=9)
    for name in ("a", "b"):
        record = fake.simple(fake.cell(f"{name}=hf:x/{name}"))
        store.put(record.model_copy(update={"metrics": (second,) if name == "a" else (*record.metrics, second)}))
    overview, table = tables_of(store)
    assert overview.columns[0].label == table.columns[0].label == "accuracy"
    assert [row.label for row in table.rows] == ["b", "a"]
    assert next(row.values[0].text for row in overview.rows if row.label == "a") == "–"


def test_trainings_with_a_probe_seed_each_lack_nothing(fake, store) -> None:
    for seed in (0, 1, 2):
        fake.scored(store, fake.cell(f"training-{seed}=hf:x/{seed}", seed=seed), BASE + seed)
    table = tables_of(store)[1]
    assert [row.label for row in table.rows if not row.muted] == ["training-2", "training-1", "training-0"]
    assert not any(value.mark for row in table.rows for value in row.values)


def test_the_forest_lists_it_last_and_marked(gains_by_failing) -> None:
    (group,) = groups(gains_by_failing.records())
    plot = forest(Judge(group, gains_by_failing), group.columns[0])
    assert [row.label for row in plot.rows] == ["steady", "worse", "lucky ‡"]
    assert "‡" in plot.caption


def test_a_comparison_is_of_the_seeds_that_both_have_and_decides_nothing(gains_by_failing) -> None:
    records = gains_by_failing.records()
    lucky, steady, worse = (
        [r for r in records if r.cell.encoder.name == name] for name in ("lucky", "steady", "worse")
    )
    comparison = compare(lucky, worse, gains_by_failing)
    (found,) = comparison.differences
    assert (found.seeds, found.left_out) == ((0,), (1,))
    assert found.a.value - found.b.value == pytest.approx(found.paired.value) == pytest.approx(9)
    assert found.paired.decisive
    assert not found.decisive
    assert "over seed 0 alone" in found.sentence
    assert "nothing is decided" in found.sentence
    (row,) = comparison.table().rows
    assert (row.values[2].bold, row.values[2].mark, row.values[7].text) == (False, "‡", "not decisive")
    assert any(note.startswith("‡") for note in comparison.table().notes)
    (whole,) = compare(steady, worse, gains_by_failing).differences
    assert whole.decisive
    assert whole.left_out == ()


def test_both_sides_of_a_comparison_are_over_the_same_seeds(fake, store) -> None:
    a = [fake.scored(store, fake.cell("a=hf:x/1", seed=seed), BASE + 10 * seed) for seed in (0, 1)]
    b = [fake.scored(store, fake.cell("b=hf:x/2", seed=1), BASE)]
    (found,) = compare(a, b, store).differences
    assert (found.a.value, found.b.value) == pytest.approx((BASE.mean() + 10, BASE.mean()))
    assert found.paired.value == pytest.approx(10)


def test_samples_that_only_one_has_are_counted(fake, store) -> None:
    a = fake.scored(store, fake.cell("a=hf:x/1"), BASE)
    b = fake.scored(store, fake.cell("b=hf:x/2"), (BASE + RNG.normal(0, 1, 80))[:77])
    assert "paired over 77 samples, 3 that only one has left out" in compare([a], [b], store).differences[0].sentence


def test_levels_that_differ_by_encoder_give_no_number_between_them(fake, store) -> None:
    for name, chance in (("a", 2.0), ("b", 10.0)):
        record = fake.simple(fake.cell(f"{name}=hf:x/{name}"))
        metric = record.metrics[0].model_copy(update={"chance": chance})
        store.put(record.model_copy(update={"metrics": (metric,)}))
    row = next(row for row in tables_of(store)[1].rows if row.label == "chance")
    assert (row.values[0].value, row.values[0].text) == (None, "2.0 to 10.0")


def det(fake, store, encoder, seed, ap):
    cell = fake.cell(encoder, probe=DET, dataset=COCO, seed=seed)
    metric = Metric(name="box_ap", value=ap, unit="%", n=5000, stderr=0.1, ci95=(ap - 0.2, ap + 0.2))
    return store.put(Record(cell=cell, status="done", metrics=(metric,), evidence=fake.evidence(cell.encoder)))


def paper_cells(store):
    made = table_of(read_beside("3", store.records(), store))
    values = next(row.values for row in made.rows if row.label.startswith("SigLIP"))
    head = [column.key for column in made.columns]
    return made, [values[head.index(f"coco_det.{part}")] for part in ("ours", "paper", "delta", "verdict")]


@pytest.mark.parametrize("others", [(), ("mine=hf:someone/else",)])
def test_a_paper_table_takes_no_delta_of_what_lacks_a_seed(fake, store, others) -> None:
    """The paper has 35.0: the finished seed alone would agree."""
    det(fake, store, SIGLIP, 0, 35.1)
    failed(store, fake.cell(SIGLIP, probe=DET, dataset=COCO, seed=1))
    for other in others:
        for seed in (0, 1):
            det(fake, store, other, seed, 30.0)
    made, (ours, paper, delta, agreed) = paper_cells(store)
    assert (ours.value, ours.mark, ours.partial, ours.bold) == (35.1, "‡", True, False)
    assert paper.value == 35.0
    assert (delta.value, delta.text, agreed.text) == (None, "", "")
    assert not any("of our numbers beside" in note for note in made.notes)
    assert any("--seeds 0,1" in note and "siglip" in note for note in made.notes if note.startswith("ricebench run"))
    det(fake, store, SIGLIP, 1, 35.3)
    _, (ours, _, delta, agreed) = paper_cells(store)
    assert (ours.mark, delta.value, agreed.text) == ("", pytest.approx(0.2), "ok")


def test_a_failure_of_a_newer_version_hides_no_finished_number(fake, store) -> None:
    det(fake, store, SIGLIP, 0, 35.1)
    newer = DET.model_copy(update={"version": 2})
    failed(store, fake.cell(SIGLIP, probe=newer, dataset=COCO))
    failed(store, fake.cell(SIGLIP, probe=DET.model_copy(update={"recipe": "mini"}), dataset=COCO, seed=1))
    _, (ours, _, delta, _) = paper_cells(store)
    assert (ours.value, ours.mark, delta.value) == (35.1, "", pytest.approx(0.1))


@pytest.fixture
def trained(fake):
    """Records of an arm, one a training; None is a cell that failed after its encoder was loaded."""

    def records(arm, values, *, reference="", probe_seed=None):
        found = []
        for seed, value in enumerate(values):
            cell = fake.cell(f"{arm}=rice:s/{arm}-{seed}", seed=seed if probe_seed is None else probe_seed)
            record = fake.simple(cell, value or 0.0)
            facts = {"study": "s", "arm": arm, "train_seed": str(seed), "reference": reference}
            evidence = record.evidence.model_copy(update={"encoder_facts": facts})
            record = record.model_copy(update={"evidence": evidence})
            if value is None:
                record = record.model_copy(update={"status": "failed", "metrics": (), "error": "out of memory"})
            found.append(record)
        return found

    return records


def control_of(records):
    (study,) = studies(records)
    (control,) = study.controls
    (measure,) = control.measures
    return study, control, measure, {line.arm.label: line for line in lines(control, measure, measure.columns[0])}


def test_an_arm_that_lacks_a_training_neither_leads_nor_differs_for_certain(trained) -> None:
    rice, mlcd, plain = [61.0, 63.5, 62.2], [71.0, 73.4, None], [51.0, 53.6, 52.1]
    records = [*trained("rice", rice), *trained("mlcd", mlcd), *trained("plain", plain, reference="1")]
    study, control, measure, found = control_of(records)
    assert control.seeds == (0, 1, 2)
    assert {name: line.partial for name, line in found.items()} == {"rice": False, "mlcd": True, "plain": False}
    assert {name: line.leads for name, line in found.items()} == {"rice": True, "mlcd": False, "plain": False}
    assert found["mlcd"].difference.n == 2
    assert (found["mlcd"].difference_partial, found["rice"].difference_partial) == (True, False)
    rows = {row.label: row.values for row in metric_table(study, control, measure, measure.columns[0]).rows}
    assert (rows["mlcd"][1].mark, rows["mlcd"][1].partial, rows["mlcd"][3].mark) == ("‡", True, "‡")
    assert rows["mlcd"][6].text == "over 2 training seeds alone, where others are missing: not decisive"
    assert rows["rice"][6].text == "better"
    overview = study_table(study, control)
    assert any(note.startswith("‡") for note in overview.notes)
    assert any("mlcd has 2 of 3 training seeds (without 2)" in note for note in overview.notes)


def test_a_seed_that_failed_in_every_arm_is_missed_all_the_same(trained) -> None:
    *_, found = control_of([*trained("rice", [61.0, 63.0, None]), *trained("mlcd", [55.0, 58.0, None])])
    assert all(line.partial for line in found.values())
    assert not any(line.leads for line in found.values())


def test_a_reference_that_lacks_a_training_makes_no_difference_decisive(trained) -> None:
    records = [*trained("rice", [61.0, 63.5, 62.2]), *trained("plain", [51.0, 53.6, None], reference="1")]
    *_, found = control_of(records)
    assert found["rice"].difference_partial
    assert not found["rice"].partial


def test_a_training_that_lacks_a_probe_seed_of_others_is_no_whole_replicate(trained) -> None:
    whole = trained("rice", [61.0, 63.5]) + trained("rice", [61.5, 63.0], probe_seed=9)
    lacking = trained("mlcd", [71.0, 73.5]) + trained("mlcd", [71.5, None], probe_seed=9)
    *_, found = control_of([*whole, *lacking])
    assert {name: line.partial for name, line in found.items()} == {"rice": False, "mlcd": True}


def drawn(monkeypatch, draw):
    """The legend's numbers, by title."""
    seen = {}
    kept = ap_figures.legend
    monkeypatch.setattr(
        ap_figures, "legend", lambda f, heads, rows, **k: (seen.update(rows), kept(f, heads, rows, **k))
    )
    draw()
    return {title: list(numbers) for title, numbers in seen.items()}


def test_a_suite_without_a_part_has_no_mean_in_its_figure(monkeypatch) -> None:
    parts = [{"name": f"set {k}", "domain": f"domain {k % 2}", "ap": 10.0 * k, "judged": 5} for k in range(4)]
    lost = [part | ({"ap": None} if part["name"] == "set 0" else {}) for part in parts]
    bodies = {"whole": {"parts": parts}, "lacking": {"parts": lost}}
    assert drawn(monkeypatch, lambda: suite_figure(bodies)) == {
        "whole": ["15.0", "15.0", "4 of 4"],
        "lacking": ["–", "–", "3 of 4"],
    }


def test_categories_that_an_encoder_lacks_leave_it_without_a_mean(monkeypatch) -> None:
    def body(*aps):
        categories = [{"name": f"c{k}", "frequency": None, "ap": ap, "objects": 3} for k, ap in enumerate(aps)]
        curve = [50.0] * 101
        precision = dict.fromkeys(("0.50", "0.75", "0.50:0.95"), curve)
        return {"kinds": {"box": {"precision": precision, "categories": categories}}}

    # The third category has no object at all, so nobody lacks it.
    bodies = {"whole": body(10.0, 30.0, None), "lacking": body(None, 30.0, None)}
    assert drawn(monkeypatch, lambda: category_figure(bodies)) == {"whole": ["20.0"], "lacking": ["–"]}


def test_the_order_of_a_figure_is_that_of_the_best_over_what_all_have() -> None:
    def row(name, *aps):
        return ap_figures.ApRow(name, "", "", (aps,))

    # Over its own rows the first has 90; over those that both have it has 40, the second 60.
    rows = [row("a", 40.0, 50.0), row("b", 40.0, 70.0), row("c", 190.0, None)]
    assert [each.name for each in ap_figures._ordered(rows, {"": 0})] == ["b", "a", "c"]


def test_a_mean_of_few_trainings_is_drawn_hollow() -> None:
    from reports.figures import study_figure

    whole, lacking = (
        study_figure([Panel("p", "%", (Point("rice", None, 60.0, (58.0, 62.0), (59.0, 61.0), partial=partial),))])
        for partial in (False, True)
    )
    assert whole != lacking
