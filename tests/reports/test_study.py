"""Studies: means, intervals and paired differences over trainings against scipy; bold, gaps, controls, hostile facts."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from scipy import stats

from reports.render import to_csv, to_html, to_latex, to_markdown, to_terminal
from reports.study import Study, metric_table, paper_table, replicates_table, studies, study_table
from reports.study.lines import ArmSummary, levels, lines, reference_of
from rice_core.digest import bytes_digest
from rice_core.record import Metric, Record
from rice_core.spec import DatasetSpec, ProbeSpec

RICE, MLCD, SIGLIP = [61.0, 63.5, 62.2], [55.0, 58.1, 55.9], [62.5, 61.0, 61.9]


@pytest.fixture(scope="module")
def made(fake):
    """Records of an arm: one value a training seed."""

    def records(
        arm: str, values: Sequence[float | None], *, better: str = "higher", dataset=None, probe=None, **facts: str
    ):
        found = []
        for seed, value in enumerate(values):
            if value is None:
                continue
            asked = fake.cell(
                f"{arm.replace('=', '').replace(' ', '-') or 'x'}=rice:s/{bytes_digest(arm.encode())[:6]}-{seed}-{facts.get('control', '')}",
                seed=seed,
                dataset=dataset or fake.MINI,
                probe=probe or fake.KNN,
            )
            record = fake.simple(asked)
            metric = Metric(
                name="accuracy", value=value, unit="%", better=better, n=100, stderr=9.0, ci95=(0, 99), chance=2.0, ceiling=100.0
            )  # fmt: skip
            place = {"study": "s", "arm": arm, "train_seed": str(seed), **facts}
            kept = {name: fact for name, fact in place.items() if fact}
            evidence = record.evidence.model_copy(update={"encoder_facts": kept})
            found.append(record.model_copy(update={"metrics": (metric,), "evidence": evidence}))
        return found

    return records


def only(found: Sequence[Study]) -> Study:
    (study,) = found
    return study


def by_arm(records: Sequence[Record]) -> Mapping[str, ArmSummary]:
    (control,) = only(studies(records)).controls
    (measure,) = control.measures
    return {line.arm.label: line for line in lines(control, measure, measure.columns[0])}


def test_means_and_intervals_are_scipys(made) -> None:
    line = by_arm(made("rice", RICE))["rice"]
    assert line.mean.value == pytest.approx(np.mean(RICE))
    assert line.mean.stderr == pytest.approx(stats.sem(RICE))
    assert line.mean.ci95 == pytest.approx(stats.t.interval(0.95, 2, np.mean(RICE), stats.sem(RICE)))
    assert line.mean.n == 3


def test_the_interval_of_a_metric_with_bounds_stays_within_them(made) -> None:
    """98, 99 and 100 % would be 96.5 to 101.5 %."""
    records = made("rice", [98.0, 99.0, 100.0])
    bounded = [
        record.model_copy(update={"metrics": (record.metrics[0].model_copy(update={"bounds": (0.0, 100.0)}),)})
        for record in records
    ]
    plain, line = by_arm(records)["rice"], by_arm(bounded)["rice"]
    assert plain.mean.ci95[1] > 101
    assert 90 < line.mean.ci95[0] < 98
    assert 99 < line.mean.ci95[1] < 100
    assert (line.mean.value, line.mean.stderr) == (plain.mean.value, plain.mean.stderr)
    # Records of before have no bounds: nothing is known of their range.
    assert by_arm([records[0], *bounded[1:]])["rice"].mean.ci95 == plain.mean.ci95


def test_differences_are_scipys_paired_t(made) -> None:
    found = by_arm([*made("rice", RICE, reference="1"), *made("mlcd", MLCD), *made("siglip", SIGLIP)])
    assert found["rice"].difference is None
    for name, values in (("mlcd", MLCD), ("siglip", SIGLIP)):
        want = stats.ttest_rel(values, RICE)
        paired = found[name].difference
        assert paired is not None
        assert paired.value == pytest.approx(np.mean(np.subtract(values, RICE)))
        assert paired.ci95 == pytest.approx(tuple(want.confidence_interval(0.95)))
        assert paired.pvalue == pytest.approx(want.pvalue)
        assert paired.decisive == (want.pvalue < 0.05)
    assert found["mlcd"].difference.decisive
    assert not found["siglip"].difference.decisive


def test_pairs_are_of_the_seeds_that_both_have(made) -> None:
    found = by_arm([*made("rice", RICE, reference="1"), *made("mlcd", [None, 58.1, 55.9, 10.0])])
    paired = found["mlcd"].difference
    assert paired is not None
    assert paired.n == 2
    assert paired.value == pytest.approx(np.mean([58.1 - 63.5, 55.9 - 62.2]))
    none = by_arm([*made("rice", RICE, reference="1"), *made("mlcd", [None, None, None, 55.0])])
    assert none["mlcd"].difference is None


def test_bold_needs_a_paired_interval_that_excludes_zero(made) -> None:
    apart = by_arm([*made("rice", RICE), *made("mlcd", MLCD)])
    assert (apart["rice"].leads, apart["mlcd"].leads) == (True, False)
    close = by_arm([*made("rice", RICE), *made("siglip", SIGLIP), *made("mlcd", MLCD)])
    assert not any(line.leads for line in close.values())
    # The unpaired intervals overlap; what differs is the same in every seed.
    shared = by_arm([*made("rice", [50.0, 60.0, 70.0]), *made("mlcd", [49.1, 58.9, 69.0])])
    assert shared["rice"].leads
    lower = by_arm([*made("rice", RICE, better="lower"), *made("mlcd", MLCD, better="lower")])
    assert (lower["rice"].leads, lower["mlcd"].leads) == (False, True)
    neither = by_arm([*made("rice", RICE, better="neither"), *made("mlcd", MLCD, better="neither")])
    assert not any(line.leads for line in neither.values())


def test_a_yardstick_neither_leads_nor_stops_a_leader(made) -> None:
    arms = [*made("rice", RICE), *made("mlcd", MLCD), *made("told the truth", [90.0, 91.0, 92.0], yardstick="1")]
    found = by_arm(arms)
    assert found["rice"].leads
    assert not found["told the truth"].leads
    study = only(studies(arms))
    table = study_table(study, study.controls[0])
    assert [row.label for row in table.rows if "†" in row.label] == ["told the truth †"]


def test_equal_differences_in_few_trainings_are_no_certainty(made) -> None:
    found = by_arm([*made("rice", [60.0, 61.0], reference="1"), *made("mlcd", [58.0, 59.0])])
    assert not found["mlcd"].difference.decisive
    assert not found["rice"].leads


def test_one_training_has_no_interval_and_says_so(made) -> None:
    study = only(studies([*made("rice", [61.0], reference="1"), *made("mlcd", [55.0])]))
    control = study.controls[0]
    line = lines(control, control.measures[0], control.measures[0].columns[0])[1]
    assert line.mean.stderr is None
    assert line.mean.ci95 is None
    table = metric_table(study, control, control.measures[0], control.measures[0].columns[0])
    words = to_markdown(table)
    assert "no interval" in words
    assert "one training seed in common: nothing can be said" in words
    assert (
        "±"
        not in to_terminal(study_table(study, control), width=120, colour=False).split("Miniature")[0].split("\n", 1)[1]
    )


def test_missing_trainings_are_said(made) -> None:
    study = only(studies([*made("rice", RICE), *made("mlcd", [55.0, None, 57.0])]))
    control = study.controls[0]
    overview = study_table(study, control)
    assert "knn: mlcd has 2 of 3 training seeds (without 1)." in overview.notes
    assert [row.values[0].mark for row in overview.rows if row.label in ("rice", "mlcd")] in (["‡", ""], ["", "‡"])
    full = metric_table(study, control, control.measures[0], control.measures[0].columns[0])
    assert {row.label: row.values[0].text for row in full.rows[:2]} == {"rice": "3", "mlcd": "2 of 3"}
    rows = {row.label: row.values[0].value for row in replicates_table(study, control).rows}
    assert rows["mlcd, seed 1"] is None
    assert rows["mlcd, seed 2"] == 57.0


def test_without_one_reference_no_difference_is_shown(made) -> None:
    for marks in ({"rice": "", "mlcd": ""}, {"rice": "1", "mlcd": "1"}):
        study = only(
            studies([*made("rice", RICE, reference=marks["rice"]), *made("mlcd", MLCD, reference=marks["mlcd"])])
        )
        control = study.controls[0]
        assert reference_of(control) is None
        table = metric_table(study, control, control.measures[0], control.measures[0].columns[0])
        assert any("no differences" in note for note in table.notes)
        assert all(row.values[3].value is None for row in table.rows)


def test_arms_stand_in_their_own_order_and_chance_and_ceiling_below(made) -> None:
    arms = [*made("b", RICE, arm_order="0"), *made("a", MLCD, arm_order="10"), *made("c", SIGLIP, arm_order="2")]
    study = only(studies(arms))
    table = study_table(study, study.controls[0])
    assert [row.label for row in table.rows] == ["b", "c", "a", "chance", "ceiling"]
    assert [row.values[0].value for row in table.rows[3:]] == [2.0, 100.0]
    assert levels(study.controls[0].measures[0], study.controls[0].measures[0].columns[0]) == {
        "chance": 2.0,
        "ceiling": 100.0,
    }


def test_controls_have_tables_of_their_own_and_share_arms_that_have_none(made) -> None:
    arms = [
        *made("rice", RICE, control="equal compute"),
        *made("rice", [value + 9 for value in RICE], control="converged"),
        *made("random weights", [20.0, 21.0, 22.0], yardstick="1"),
    ]
    study = only(studies(arms))
    assert [control.name for control in study.controls] == ["converged", "equal compute"]
    for control, mean in zip(study.controls, (np.mean(RICE) + 9, np.mean(RICE)), strict=True):
        found = {
            line.arm.label: line.mean.value
            for line in lines(control, control.measures[0], control.measures[0].columns[0])
        }
        assert found == pytest.approx({"rice": mean, "random weights": 21.0})


def test_studies_and_scales_are_kept_apart_and_other_records_are_no_part(made, fake) -> None:
    records = [*made("rice", RICE), *made("mlcd", MLCD, study="t"), *made("siglip", SIGLIP, scale="smoke")]
    found = studies([*records, fake.simple(fake.cell("plain=hf:x/1"))])
    assert [(study.name, study.scale) for study in found] == [("s", ""), ("s", "smoke"), ("t", "")]
    assert len({study.key for study in found}) == 3
    assert [arm.label for study in found for arm in study.controls[0].arms] == ["rice", "siglip", "mlcd"]


def test_a_place_that_two_encoders_claim_holds_neither(made) -> None:
    stale = made("rice", [10.0])[0]
    cell = stale.cell.model_copy(update={"encoder": stale.cell.encoder.model_copy(update={"model": "s/older"})})
    study = only(studies([*made("rice", RICE), stale.model_copy(update={"cell": cell})]))
    control = study.controls[0]
    line = lines(control, control.measures[0], control.measures[0].columns[0])[0]
    assert dict(line.values) == {1: RICE[1], 2: RICE[2]}
    assert any("training seed 0 of 'rice'" in sentence and cell.id in sentence for sentence in study.left_out)


def test_several_probe_seeds_of_one_training_are_one_replicate(made) -> None:
    records = made("rice", RICE)
    again = records[0].metrics[0].model_copy(update={"value": 71.0})
    other = records[0].model_copy(update={"cell": records[0].cell.model_copy(update={"seed": 9}), "metrics": (again,)})
    line = by_arm([*records, other])["rice"]
    assert line.mean.n == 3
    assert line.values[0] == pytest.approx((RICE[0] + 71.0) / 2)


@pytest.mark.parametrize("seed", ["", "-1", "one", "1.5", "²", "9" * 5000])
def test_a_training_seed_that_is_no_number_is_left_out_and_said(made, seed: str) -> None:
    lost = made("mlcd", [55.0], train_seed=seed)[0]
    study = only(studies([*made("rice", RICE), lost]))
    assert [arm.label for arm in study.controls[0].arms] == ["rice"]
    assert any(lost.cell.id in sentence for sentence in study.left_out)
    assert any(lost.cell.id in note for note in study_table(study, study.controls[0]).notes)


def test_probes_on_several_data_sets_are_told_apart(made) -> None:
    words = DatasetSpec(name="mini-words", layout="coco", fingerprint="w" * 64)
    more = ProbeSpec(name="knn", version=1, params={"k": 20})
    arms = [*made("rice", RICE), *made("rice", MLCD, dataset=words), *made("rice", SIGLIP, probe=more)]
    control = only(studies(arms)).controls[0]
    names = [measure.name for measure in control.measures]
    assert len(set(names)) == 3
    assert any("mini-words" in name for name in names)
    found = {measure.name: lines(control, measure, measure.columns[0])[0].mean.value for measure in control.measures}
    assert sorted(found.values()) == pytest.approx(sorted(map(np.mean, (RICE, MLCD, SIGLIP))))


def test_the_order_of_the_records_changes_nothing(made) -> None:
    arms = [*made("rice", RICE, reference="1"), *made("mlcd", MLCD), *made("siglip", [60.0, None, 62.0])]
    shuffled = random.Random(0).sample(arms, len(arms))
    one, other = only(studies(arms)), only(studies(shuffled))
    assert study_table(one, one.controls[0]) == study_table(other, other.controls[0])


def test_the_papers_table_stands_apart_and_never_as_a_row(made) -> None:
    study = only(studies(made("N = 10", RICE, study="table:5a", axis="N", value="10")))
    paper = paper_table(study)
    assert paper is not None
    assert "another data set" in paper.notes[0]
    overview = study_table(study, study.controls[0])
    assert any(note.startswith("Miniature numbers") for note in overview.notes)
    printed = {value.value for row in paper.rows for value in row.values}
    assert not printed & {value.value for row in overview.rows for value in row.values}
    assert paper_table(only(studies(made("rice", RICE, study="table:5x")))) is None
    assert paper_table(only(studies(made("rice", RICE, study="mini:encoders")))) is None


def test_a_tainted_replicate_is_marked(made) -> None:
    records = made("rice", RICE)
    records[1] = records[1].model_copy(update={"taints": ("limit 8",)})
    study = only(studies(records))
    table = study_table(study, study.controls[0])
    assert table.rows[0].values[0].mark == "*"
    assert any("limit 8" in note for note in table.notes)


def test_hostile_facts_are_inert(made) -> None:
    hostile = "<script>alert(1)</script>\"'|$\\input{x}\u202e=cmd\x1b[31m\n"
    study = only(studies(made(hostile, RICE, study=hostile, axis=hostile, control=hostile, value="nan", arm_order="²")))
    control = study.controls[0]
    tables = [
        study_table(study, control),
        metric_table(study, control, control.measures[0], control.measures[0].columns[0]),
    ]
    for table in [*tables, replicates_table(study, control)]:
        assert table.key.replace("-", "").isalnum()
        assert "<script>" not in to_html(table)
        assert "\\input{" not in to_latex(table)
        for render in (to_csv, to_html, to_markdown):
            assert "\u202e" not in render(table)
            assert "\x1b" not in render(table)
        assert "\x1b" not in to_terminal(table, width=100, colour=False)
    assert control.arms[0].value is None
