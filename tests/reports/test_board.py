"""What may stand in one table, who is bold, and what is said about cells without a number."""

import random
import re
import shlex

import numpy as np
import pytest

from probes.knn import Knn
from reports.board import boards, group_table, overview_table
from reports.gaps import commands, gaps
from reports.groups import groups, is_miniature
from reports.judge import Judge
from reports.render import to_markdown
from reports.verdicts import checks, verdict
from reports.versions import made_by_other_code, versions_of_code
from rice_core.measure.provenance import number_code
from rice_core.record import TOO_HIGH, Record
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeRequest, ProbeSpec
from rice_core.stats.estimates import paired

RNG = np.random.default_rng(3)
BASE = RNG.normal(60, 10, 80)
NOISE = RNG.normal(0, 10, 80)


def board_of(store):
    found = groups(store.records())
    (board,) = boards(found)
    judges = {group.key: Judge(group, store) for group in found}
    return board, overview_table(board, judges), [group_table(judge) for judge in judges.values()]


def entry(table, label, column=0):
    return next(row.values[column] for row in table.rows if row.label == label)


OTHERS = {
    "recipe": lambda fake: (
        fake.cell("b=hf:x/b", probe=ProbeSpec(name="knn", version=1, recipe="paper", params={"k": 10})),
        {},
    ),
    "version": lambda fake: (fake.cell("b=hf:x/b", probe=ProbeSpec(name="knn", version=2, params={"k": 10})), {}),
    "settings": lambda fake: (fake.cell("b=hf:x/b", probe=ProbeSpec(name="knn", version=1, params={"k": 20})), {}),
    "limit": lambda fake: (fake.cell("b=hf:x/b", limit=8), {}),
    "data version": lambda fake: (
        fake.cell("b=hf:x/b", dataset=fake.MINI.model_copy(update={"fingerprint": "e" * 64})),
        {},
    ),
    "bytes of the data": lambda fake: (fake.cell("b=hf:x/b"), {"data": "e" * 64}),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_not_comparable_never_shares_a_group(fake, what):
    other, facts = OTHERS[what](fake)
    same = fake.simple(fake.cell("c=hf:x/c", seed=1))
    found = groups([fake.simple(fake.cell("a=hf:x/a")), fake.simple(other, **facts), same])
    assert sorted(sorted(e.label for e in group.entries) for group in found) == [["a", "c"], ["b"]]


def test_groups_do_not_depend_on_the_order_of_the_records(full_store):
    records = full_store.records()
    shuffled = random.Random(5).sample(records, len(records))
    assert groups(shuffled) == groups(records)


def test_encoders_of_one_name_are_told_apart(fake):
    by_spec = groups([fake.simple(fake.cell("a=hf:x/one")), fake.simple(fake.cell("a=hf:x/two"))])[0]
    assert [e.label for e in by_spec.entries] == ["a (hf:x/one)", "a (hf:x/two)"]
    by_weights = groups(
        [
            fake.simple(fake.cell("a=hf:x/one"), weights="1" * 64),
            fake.simple(fake.cell("a=hf:x/one", seed=1), weights="2" * 64),
        ]
    )[0]
    assert [e.label for e in by_weights.entries] == ["a (weights 11111111)", "a (weights 22222222)"]


def test_one_encoder_under_two_names_is_one_row(fake):
    (group,) = groups([fake.simple(fake.cell("a=hf:x/one")), fake.simple(fake.cell("b=hf:x/one", seed=1))])
    assert [(e.label, len(e.records)) for e in group.entries] == [("a", 2)]


def test_a_cell_that_failed_early_joins_its_encoder(fake):
    early = Record(cell=fake.cell("a=hf:x/one", seed=1), status="failed", error="no network")
    (group,) = groups([fake.simple(fake.cell("a=hf:x/one")), early])
    assert [len(e.records) for e in group.entries] == [2]


def test_bold_needs_a_decisive_paired_interval(fake, store):
    fake.scored(store, fake.cell("first=hf:x/1"), BASE + 2)
    fake.scored(store, fake.cell("second=hf:x/2"), BASE + NOISE / 20)
    _, overview, (table,) = board_of(store)
    # Each mean is known to 1.1 alone: only the pairing makes a lead of 2 decisive.
    assert abs(entry(table, "first").value - entry(table, "second").value) < 2 * entry(table, "first").stderr
    assert entry(table, "first").bold
    assert entry(overview, "first").bold
    assert not entry(table, "second").bold


def test_a_lead_within_the_noise_is_not_bold(fake, store):
    fake.scored(store, fake.cell("first=hf:x/1"), BASE + 1)
    fake.scored(store, fake.cell("second=hf:x/2"), BASE + NOISE)
    _, overview, tables = board_of(store)
    assert not any(value.bold for table in [overview, *tables] for row in table.rows for value in row.values)


def test_lower_is_better_where_it_is_declared(fake, store):
    fake.scored(store, fake.cell("big=hf:x/1"), BASE + 5, better="lower")
    fake.scored(store, fake.cell("small=hf:x/2"), BASE + NOISE / 20, better="lower")
    _, _, (table,) = board_of(store)
    assert entry(table, "small").bold
    assert not entry(table, "big").bold
    assert [row.label for row in table.rows][:2] == ["small", "big"]


@pytest.mark.parametrize("shift", [50, -50])
def test_without_a_better_direction_nothing_is_bold(fake, store, shift):
    fake.scored(store, fake.cell("a=hf:x/1"), BASE + shift, better="neither")
    fake.scored(store, fake.cell("b=hf:x/2"), BASE, better="neither")
    _, _, (table,) = board_of(store)
    assert not any(row.values[0].bold for row in table.rows)


def test_yardsticks_compete_but_are_never_bold(fake, store):
    fake.scored(store, fake.cell("synthetic:oracle"), np.full(80, 100.0))
    fake.scored(store, fake.cell("first=hf:x/1"), BASE + 5)
    fake.scored(store, fake.cell("second=hf:x/2"), BASE + NOISE / 20)
    _, _, (table,) = board_of(store)
    assert [row.label for row in table.rows][:3] == ["synthetic:oracle †", "first", "second"]
    assert not entry(table, "synthetic:oracle †").bold
    assert entry(table, "first").bold
    assert any(note.startswith("†") for note in table.notes)


@pytest.mark.parametrize(
    ("fact", "marked"), [("supervised", True), ("self-supervised", False), ("unsupervised", False), ("regions", False)]
)
def test_an_encoder_trained_on_labels_is_a_yardstick(fake, fact, marked):
    record = fake.simple(fake.cell("a=rice:runs/a"))
    facts = record.evidence.model_copy(update={"encoder_facts": {"objective": fact}})
    (group,) = groups([record.model_copy(update={"evidence": facts})])
    assert group.entries[0].yardstick is marked


def test_no_bold_without_per_sample_scores(fake, store):
    store.put(fake.simple(fake.cell("a=hf:x/1"), 90))
    store.put(fake.simple(fake.cell("b=hf:x/2"), 10))
    _, _, (table,) = board_of(store)
    assert not entry(table, "a").bold
    (group,) = groups(store.records())
    assert "no per-sample scores" in verdict(Judge(group, store)).sentence


def test_the_spread_between_seeds_widens_the_interval(fake, store):
    for seed, shift in ((0, 1.0), (1, 4.0)):
        fake.scored(store, fake.cell("a=hf:x/1", seed=seed), BASE + shift)
        fake.scored(store, fake.cell("b=hf:x/2", seed=seed), BASE + NOISE / 100)
    (group,) = groups(store.records())
    judge = Judge(group, store)
    a, b = group.entries
    both = judge.difference(a, b, group.columns[0])
    one = paired(store.scores(a.records[0]), store.scores(b.records[0]), "accuracy", better="higher")
    assert one.decisive
    assert both.value == pytest.approx(2.5, abs=0.1)
    # Two seeds that are 3 apart leave t(0.975, 1) * 1.5 = 19 on either side.
    assert not both.decisive
    assert both.ci95[1] - both.value == pytest.approx(12.706 * 1.5, rel=0.01)


def test_one_image_gives_no_interval_however_many_seeds(fake, store):
    for seed in (0, 1):
        fake.scored(store, fake.cell("a=hf:x/1", seed=seed), [60.0 + seed])
        fake.scored(store, fake.cell("b=hf:x/2", seed=seed), [50.0])
    (group,) = groups(store.records())
    found = Judge(group, store).difference(*group.entries, group.columns[0])
    assert (found.stderr, found.ci95, found.mde, found.decisive) == (None, None, None, False)
    assert "one cluster only" in verdict(Judge(group, store)).sentence


def test_only_seeds_that_both_have_are_paired(fake, store):
    fake.scored(store, fake.cell("a=hf:x/1", seed=0), BASE + 5)
    fake.scored(store, fake.cell("a=hf:x/1", seed=1), BASE + 50)
    fake.scored(store, fake.cell("b=hf:x/2", seed=0), BASE)
    fake.scored(store, fake.cell("c=hf:x/3", seed=2), BASE)
    (group,) = groups(store.records())
    judge, (a, b, c) = Judge(group, store), group.entries
    assert judge.difference(a, b, group.columns[0]).value == pytest.approx(5)
    with pytest.raises(Exception, match="no seed that both finished"):
        judge.difference(a, c, group.columns[0])


def test_marks_and_words_for_cells_that_are_not_plain_numbers(full_store):
    _, overview, _ = board_of(full_store)
    columns = [column.group for column in overview.columns]
    assert columns == ["knn", "linear", "linear-seg", "tokens"]
    assert entry(overview, "mini-vit", 1).mark == "*"
    assert entry(overview, "mini-vit", 0).mark == ""
    assert any("uncommitted code" in note for note in overview.notes)
    assert entry(overview, "mlcd", 2).mark == "‡"
    assert entry(overview, "mlcd", 2).value is not None
    assert entry(overview, "synthetic:noise †", 2).text == "n/a"
    missing = entry(overview, "synthetic:random-weights †", 1)
    assert missing.value is None
    assert missing.text == ""


def test_an_encoder_whose_every_seed_failed_says_failed(fake, store):
    store.put(fake.simple(fake.cell("a=hf:x/1")))
    store.put(Record(cell=fake.cell("b=hf:x/2"), status="failed", error="out of memory"))
    _, _, (table,) = board_of(store)
    assert (entry(table, "b").text, entry(table, "b").hint) == ("failed", "out of memory")


def test_chance_and_ceiling_are_muted_rows(full_store):
    _, overview, _ = board_of(full_store)
    yardsticks = {row.label: row for row in overview.rows if row.muted}
    assert set(yardsticks) == {"chance", "ceiling"}
    assert yardsticks["chance"].values[0].value == 12.5
    assert yardsticks["chance"].values[2].text == "–"


def test_the_commands_fill_exactly_the_gaps(full_store):
    (board,) = boards(groups(full_store.records()))
    asked = [shlex.split(line) for line in commands(gaps(board.groups))]
    read = [dict(zip(words[2::2], words[3::2], strict=True)) for words in asked]
    assert all(words[:2] == ["ricebench", "run"] for words in asked)
    found = {
        (EncoderSpec.parse(r["--encoders"]).title, ProbeRequest.parse(r["--probes"]).name, r["--seeds"], r["--only"])
        for r in read
    }
    assert found == {("mlcd", "linear-seg", "1", "failed"), ("synthetic:random-weights", "linear", "0,1", "missing")}
    assert {r["--data"] for r in read} == {"mini"}
    assert ProbeRequest.parse(read[0]["--probes"]).params == {"grid": 12}


def test_gaps_of_other_seeds_are_other_commands(fake):
    linear = ProbeSpec(name="linear", version=1)
    cells = [fake.cell("a=hf:x/1", seed=s, probe=p) for s in (0, 1) for p in (fake.KNN, linear)]
    cells += [fake.cell("b=hf:x/2", seed=0), fake.cell("c=hf:x/3", seed=0), fake.cell("c=hf:x/3", seed=1)]
    (board,) = boards(groups(fake.simple(cell) for cell in cells))
    lines = commands(gaps(board.groups))
    assert [line.split("--probes ")[1] for line in lines] == [
        "'knn?k=10' --data mini --seeds 1 --only missing",
        "linear --data mini --seeds 0,1 --only missing",
        "linear --data mini --seeds 0,1 --only missing",
    ]


def test_a_quick_look_with_a_limit_does_not_make_full_cells_missing(fake):
    found = groups([fake.simple(fake.cell("a=hf:x/1")), fake.simple(fake.cell("b=hf:x/2", limit=4))])
    assert [gaps(board.groups) for board in boards(found)] == [[], []]


def test_probes_of_other_settings_have_names_of_their_own(fake, store):
    store.put(fake.simple(fake.cell("a=hf:x/1")))
    store.put(fake.simple(fake.cell("a=hf:x/1", probe=ProbeSpec(name="knn", version=1, params={"k": 20}))))
    _, overview, _ = board_of(store)
    assert [column.group for column in overview.columns] == ["knn?k=10", "knn?k=20"]


def test_other_code_is_said(fake, store):
    store.put(fake.simple(fake.cell("a=hf:x/1"), code="1" * 64))
    store.put(fake.simple(fake.cell("b=hf:x/2"), code="2" * 64))
    _, overview, _ = board_of(store)
    assert any("2 versions of the code" in note for note in overview.notes)


def test_adapters_of_several_sources_are_no_other_code(fake, store):
    record = fake.simple(fake.cell("a=hf:x/1"), code="1" * 64)
    twin = fake.simple(fake.cell("b=timm:x"), code="2" * 64)
    for each, shared in ((record, "3" * 64), (twin, "3" * 64)):
        store.put(each.model_copy(update={"evidence": each.evidence.model_copy(update={"shared_code": shared})}))
    _, overview, _ = board_of(store)
    assert not any("of the code" in note for note in overview.notes)


@pytest.mark.parametrize(
    ("sources", "codes", "shared", "versions"),
    [
        (("hf", "timm"), ("1", "2"), ("3", "4"), 2),
        (("hf", "timm"), ("1", "2"), ("", "2"), 2),  # a record of an older version, whose code knew no adapter
        (("hf", "hf"), ("1", "2"), ("3", "3"), 2),  # the adapter changed
        (("hf", "hf"), ("1", "1"), ("3", "3"), 1),
        (("hf", "timm"), ("1", "1"), ("", ""), 1),
    ],
)
def test_versions_of_the_code_are_counted(fake, sources, codes, shared, versions):
    made = []
    for i, (source, code, common) in enumerate(zip(sources, codes, shared, strict=True)):
        record = fake.simple(fake.cell(f"e{i}={source}:x{i}"), code=code)
        made.append(record.model_copy(update={"evidence": record.evidence.model_copy(update={"shared_code": common})}))
    assert versions_of_code(made) == versions


def test_numbers_of_other_code_are_marked(fake, monkeypatch):
    monkeypatch.setattr("reports.versions.commit", lambda modules: ("here", False))
    today = number_code(Knn, "synthetic")

    def made(code, commit):
        record = fake.simple(fake.cell("synthetic:noise"), code=code)
        return record.model_copy(update={"evidence": record.evidence.model_copy(update={"commit": commit})})

    assert made_by_other_code([made("1", "there")])
    assert not made_by_other_code([made(today, "there")])
    assert not made_by_other_code([made("1", "here"), made("1", None)])
    for code, marked in (("1", True), (today, False)):
        found = groups([made(code, "there")])
        table = overview_table(boards(found)[0], {group.key: Judge(group, None) for group in found})
        note = "knn: made by other code than is here now; the next run of these cells measures them anew."
        assert (note in table.notes) is marked


def test_probes_have_code_of_their_own(fake):
    other = fake.cell("a=hf:x", probe=ProbeSpec(name="linear", version=1))
    assert versions_of_code([fake.simple(fake.cell("a=hf:x"), code="1"), fake.simple(other, code="2")]) == 1
    assert versions_of_code([]) == 0


def test_verdicts_name_a_winner_only_where_the_data_decide(full_store):
    records = [record for record in full_store.records() if record.cell.seed == 0]
    said = {group.probe.name: verdict(Judge(group, full_store)) for group in groups(records)}
    assert said["linear-seg"].kind == "decisive"
    assert said["linear-seg"].sentence.startswith("mlcd leads mini-vit by")
    assert said["knn"].kind == "open"
    assert "includes zero" in said["knn"].sentence
    low, high = map(float, re.search(r"interval ([\d.]+) to ([\d.]+)", said["linear-seg"].sentence).groups())
    assert 0 < low < high


def test_yardsticks_are_checked(fake, store):
    fake.scored(store, fake.cell("synthetic:noise"), RNG.normal(10, 3, 80))
    fake.scored(store, fake.cell("synthetic:oracle"), np.full(80, 97.0))
    (group,) = groups(store.records())
    assert [check.passed for check in checks(Judge(group, store))] == [True, False]
    broken = fake.scored(store, fake.cell("synthetic:noise"), RNG.normal(30, 3, 80))
    (group,) = groups([broken])
    assert [check.passed for check in checks(Judge(group, store))] == [False]


def test_names_of_the_drawn_world():
    names = {"mini": True, "mini-easy": True, "minivan": False, "coco": False}
    assert {n: is_miniature(DatasetSpec(name=n, layout="coco", fingerprint="")) for n in names} == names


def test_same_records_same_markdown(full_store):
    first, second = (
        [to_markdown(table) for table in (board_of(full_store)[1], *board_of(full_store)[2])] for _ in range(2)
    )
    assert first == second


def test_what_train_and_val_share_stands_below_the_numbers(fake, store):
    said = f"2 of 8 images in val show scenes that train shows too, such as v/1.jpg and t/1.jpg: {TOO_HIGH}"
    record = fake.simple(fake.cell("a=hf:x/1"))
    store.put(record.model_copy(update={"notes": (said, "1 of 3 classes in val have nothing in train: cat")}))
    _, overview, table = board_of(store)
    for each in (overview, *table):
        assert [note for note in each.notes if "show scenes" in note] == [f"{record.cell.dataset.name}: {said}."]
        assert not any("nothing in train" in note for note in each.notes)
