"""Trackers in reports: Table 4 beside the paper's, and what was learnt from wherever a data set is named."""

from __future__ import annotations

import pytest

from reports.beside import mapping_of, read_beside, table_of
from reports.board import boards, overview_table
from reports.compare import unlike
from reports.gaps import commands, gaps
from reports.groups import groups, is_miniature
from reports.judge import Judge
from reports.site import build_site
from reports.table import Table
from rice_core.record import Metric, Record
from rice_core.spec import DatasetSpec, ProbeSpec

SIGLIP = "siglip=hf:google/siglip-base-patch16-512"
COLUMNS = {
    "lasot": ("success", "precision", "norm_precision"),
    "trackingnet": ("success", "precision", "norm_precision"),
    "got10k": ("ao", "sr50", "sr75"),
    "tnl2k": ("success", "precision", "norm_precision"),
}


def made_of(name: str, layout: str = "", **more) -> DatasetSpec:
    return DatasetSpec(name=name, layout=layout or name, fingerprint=name[:1] * 20, **more)


FOUR = tuple(made_of(name) for name in ("coco", "got10k", "lasot", "trackingnet"))
LASOT = made_of("lasot", learnt_from=FOUR)


@pytest.fixture
def put(fake, store):
    """Writes a record of a tracking probe into the store."""

    def write(
        encoder=SIGLIP, *, probe="lasot", dataset=LASOT, recipe="paper@1", n=280, values=(55.0, 56.0, 65.0), **of
    ):
        spec = ProbeSpec(name=probe, version=1, recipe=recipe, **of)
        cell = fake.cell(encoder, probe=spec, dataset=dataset)
        metrics = tuple(
            Metric(name=name, value=value, unit="%", n=n, stderr=0.5, ci95=(value - 1, value + 1))
            for name, value in zip(COLUMNS[probe], values, strict=True)
        )
        return store.put(Record(cell=cell, status="done", metrics=metrics, evidence=fake.evidence(cell.encoder)))

    return write


def table(store) -> Table:
    return table_of(read_beside("4", store.records(), store))


def ours(made: Table) -> dict[str, float]:
    """Of all rows together, by the paper's column."""
    return {
        head.key.removesuffix(".ours"): value.value
        for row in made.rows
        for head, value in zip(made.columns, row.values, strict=True)
        if head.label == "ours" and value.value is not None
    }


def test_every_column_of_the_paper_has_its_probe_and_metric() -> None:
    mapping = mapping_of("4")
    assert [*mapping.columns] == [column.key for column in mapping.printed.columns]
    found = {probe: tuple(f.metric for f in mapping.columns.values() if f.probe == probe) for probe in mapping.probes}
    assert found == COLUMNS
    assert {filling.probe: filling.n for filling in mapping.columns.values()} == {
        "lasot": 280,
        "trackingnet": 511,
        "got10k": 180,
        "tnl2k": 700,
    }
    assert {filling.goal for filling in mapping.columns.values()} == {1.0}


def test_the_mapping_names_what_the_probes_measure() -> None:
    """Metrics and settings of `tracking`."""
    from tracking import probe
    from tracking.dialects import DIALECTS, OFFICIAL, PUBLISHED
    from tracking.recipe import RECIPES

    kinds = (probe.LasotTracking, probe.TrackingNetTracking, probe.Got10kTracking, probe.Tnl2kTracking)
    mapping = mapping_of("4")
    assert {kind.name: tuple(DIALECTS[OFFICIAL[kind.layout]].of) for kind in kinds} == COLUMNS
    judged = {kind.name: PUBLISHED[kind.layout, "val" if kind.name == "got10k" else "test"] for kind in kinds}
    assert {filling.probe: filling.n for filling in mapping.columns.values()} == judged
    assert {reading.recipe for reading in mapping.readings} <= RECIPES.keys()
    assert {kind().spec.recipe for kind in kinds} == {mapping.readings[0].recipe}
    assert [kind().spec.params for kind in kinds] == [{}] * 4


def test_trackers_stand_beside_the_papers(put, store) -> None:
    put()
    put(probe="got10k", dataset=made_of("got10k"), n=180, values=(53.0, 63.0, 35.0))
    put(probe="tnl2k", dataset=made_of("tnl2k", learnt_from=FOUR), n=700, values=(43.0, 39.0, 50.0))
    made = table(store)
    assert ours(made) == {
        "lasot_suc": 55.0,
        "lasot_pre": 56.0,
        "lasot_norm": 65.0,
        "got10k_ao": 53.0,
        "got10k_sr50": 63.0,
        "got10k_sr75": 35.0,
        "tnl2k_suc": 43.0,
        "tnl2k_pre": 39.0,
        "tnl2k_norm": 50.0,
    }
    words = "\n".join(made.notes)
    assert "9 of our numbers beside the paper's: 8 ok (8 within the goal, 0 by the interval alone), 1 off." in words
    assert "data set lasot, learnt from coco + got10k + lasot + trackingnet (listing" in words
    assert (
        "ricebench run -e siglip-b16-512 -p trackingnet --data FOLDER,train=COCO,train=GOT10K,train=LASOT,train=TRACKINGNET"
        in made.notes
    )
    assert "GOT-10k over the 180 videos of its val" in made.rows[0].section


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"dataset": made_of("lasot")}, "learnt from its own train split"),
        ({"dataset": made_of("lasot", learnt_from=FOUR[:3])}, "learnt from coco + got10k + lasot"),
        (
            {"dataset": made_of("lasot", learnt_from=(*FOUR, made_of("x")))},
            "learnt from coco + got10k + lasot + trackingnet + x",
        ),
        ({"dataset": made_of("mini-lasot", "lasot", learnt_from=FOUR)}, "miniature data set mini-lasot"),
        (
            {"dataset": made_of("lasot", learnt_from=(*FOUR[1:], made_of("mini", "coco")))},
            "miniature data set lasot",
        ),
        ({"recipe": "mini"}, "recipe mini"),
        ({"params": {"epochs": 3}}, "not the recipe's settings: epochs=3"),
    ],
)
def test_what_is_no_number_of_table_4_is_left_out_and_said(put, store, how, why) -> None:
    put(**how)
    made = table(store)
    assert ours(made) == {}
    assert any("1 record of these probes left out" in note and why in note for note in made.notes)


def test_got10k_learns_from_its_own_alone(put, store) -> None:
    got10k = {"probe": "got10k", "n": 180, "values": (53.0, 63.0, 35.0)}
    put(dataset=made_of("got10k", learnt_from=FOUR), **got10k)
    assert ours(table(store)) == {}
    put(dataset=made_of("val", "got10k", learnt_from=(made_of("train", "got10k"),)), **got10k)
    assert ours(table(store))["got10k_ao"] == 53.0


def test_other_numbers_of_videos_are_not_the_published_set(put, store) -> None:
    put(n=279)
    made = table(store)
    assert ours(made) == {}
    assert any("over 279 videos, where LaSOT (280 test videos) has 280" in note for note in made.notes)


def test_the_papers_slip_stands_beside_table_4(put, store, tmp_path) -> None:
    """The text calls RICE the best on all metrics; the table has DINOv2 above it in one."""
    put()
    made = table(store)
    (slip,) = [note for note in made.notes if "disagrees" in note]
    assert "RICE achieves the best performance across all metrics on the above four datasets" in slip
    assert "ahead in 35 of 36 comparisons" in slip
    assert "GOT-10k SR-0.5: DINOv2 64.90, RICE 63.50" in slip
    row = next(row for row in made.rows if row.label == "DINOv2")
    marked = [head.key for head, value in zip(made.columns, row.values, strict=True) if value.mark]
    assert marked == ["got10k_sr50.paper"]
    build_site(store, tmp_path / "site")
    assert "GOT-10k SR-0.5: DINOv2 64.90, RICE 63.50" in (tmp_path / "site" / "beside-4.html").read_text("utf-8")


def test_trackers_that_learnt_from_other_data_share_no_table(put, store) -> None:
    other = made_of("lasot", learnt_from=FOUR[:1])
    put()
    put("mine=hf:someone/else", dataset=other)
    found = groups(store.records())
    assert [group.title for group in found] == [
        "lasot on lasot, learnt from coco, recipe paper@1@1",
        "lasot on lasot, learnt from coco + got10k + lasot + trackingnet, recipe paper@1@1",
    ]
    titles = [overview_table(board, {g.key: Judge(g, store) for g in board.groups}).title for board in boards(found)]
    assert [title.split(",")[1] for title in titles] == [
        " learnt from coco",
        " learnt from coco + got10k + lasot + trackingnet",
    ]
    assert unlike(*found) == (
        "other data set (lasot, learnt from coco against lasot, learnt from coco + got10k + lasot + trackingnet)"
    )


def test_a_gap_is_filled_with_what_was_learnt_from(put, store) -> None:
    put()
    put("mine=hf:someone/else", dataset=made_of("tnl2k", learnt_from=FOUR), probe="tnl2k", n=700)
    lasot, tnl2k = (group for group in groups(store.records()))
    train = " ".join(f"--data train={each.name}" for each in FOUR)
    assert commands(gaps([lasot, tnl2k])) == [
        f"ricebench run --encoders mine=hf:someone/else --probes 'lasot?recipe=paper@1' --data lasot {train} --only missing",
        f"ricebench run --encoders {SIGLIP} --probes 'tnl2k?recipe=paper@1' --data tnl2k {train} --only missing",
    ]


def test_a_record_page_names_what_was_learnt_from(put, store, tmp_path) -> None:
    record = put()
    build_site(store, tmp_path / "site")
    page = (tmp_path / "site" / "records" / f"{record.cell.id}.html").read_text("utf-8")
    assert "learnt from got10k (got10k)" in page
    assert f"listing {'g' * 20}" in page


def test_what_was_learnt_from_the_drawn_world_is_miniature() -> None:
    assert is_miniature(made_of("lasot", learnt_from=(made_of("mini-videos", "got10k"),)))
    assert not is_miniature(LASOT)
