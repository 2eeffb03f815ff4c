"""Batches: the same whoever loads them, resumed exactly, damage counted; and what the configuration refuses."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
from collections.abc import Iterator
from itertools import islice
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch
from shards import draw, write_samples, write_shards

from rice_core.errors import UserError
from rice_core.model.vit import ViTConfig
from rice_core.ranks import Ranks
from rice_core.rice.batch import Batch
from rice_core.rice.config import DataConfig, ModelConfig, ObjectiveConfig, ResolutionStage, TrainConfig
from rice_core.rice.loader import RegionLoader
from rice_core.rice.regions import Bank, read_region_manifest

SIDE, PATCH = 32, 8
BANKS = {
    "object": Bank(classes=10, what="colours"),
    "ocr": Bank(classes=12, what="bars"),
    "image": Bank(classes=10, what="colours"),
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("loader"), samples=40, shards=8, size=40)


def configured(folder: Path, *, streams: int = 4, batch: int = 8, accumulate: int = 1, **objective: Any) -> TrainConfig:
    return TrainConfig(
        name="t",
        model=ModelConfig(vit=ViTConfig(patch=PATCH, resolution=SIDE)),
        objective=ObjectiveConfig(**{"regions": 4, "tokenizer": "words", "text_tokens": 6} | objective),
        data=DataConfig(path=folder, streams=streams, flip=True),
        stages=(ResolutionStage(resolution=SIDE, samples=batch),),
        batch=batch,
        accumulate=accumulate,
    )


def batches(config: TrainConfig, count: int, **settings: Any) -> list[Batch]:
    manifest = read_region_manifest(config.data.path)
    return list(islice(RegionLoader(config, manifest, stage=config.stages[0], **settings), count))


def content(batch: Batch) -> dict[str, Any]:
    return {name: value.tolist() if isinstance(value, torch.Tensor) else value for name, value in vars(batch).items()}


def by_image(batch: Batch) -> Iterator[tuple[str, Any]]:
    """What does not depend on the neighbours in a batch: their widths pad the labels."""
    for b, key in enumerate(batch.keys):
        labels = [[label for label in row if label >= 0] for row in batch.labels_BNM[b].tolist()]
        yield key, (batch.pixels_B3HW[b].tolist(), batch.visible_BNP[b].tolist(), labels)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker")
@pytest.mark.parametrize("objective", [{"image_region": True}, {"name": "siglip"}])
def test_any_number_of_workers_gives_the_same_batches_in_the_same_order(folder: Path, objective: Any) -> None:
    config = configured(folder, **objective)
    want = [content(batch) for batch in batches(config, 8)]  # 64 samples: past the end of the epoch
    for workers in (1, 2, 3) if "name" not in objective else (2,):
        got = [content(batch) for batch in batches(config, 8, workers=workers)]
        assert got == want
    assert active_children() == []


def test_more_workers_than_streams_are_not_started(folder: Path) -> None:
    config = configured(folder, streams=2)
    assert [content(b) for b in batches(config, 2, workers=5)] == [content(b) for b in batches(config, 2)]


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_together_see_what_one_sees(folder: Path, world: int) -> None:
    config = configured(folder)
    want = batches(config, 7)
    ranks = [batches(config, 7, ranks=Ranks(rank, world, CPU)) for rank in range(world)]
    for step, whole in enumerate(want):
        shares = [rank[step] for rank in ranks]
        assert {len(share.keys) for share in shares} == {8 // world}
        together = dict(found for share in shares for found in by_image(share))
        assert together == dict(by_image(whole))
        positions: dict[int, tuple[int, int, int]] = {}
        for share in shares:
            positions |= share.positions or {}
        assert dict(sorted(positions.items())) == whole.positions


def test_resumed_at_any_step_on_any_layout_equals_uninterrupted(folder: Path) -> None:
    config = configured(folder, accumulate=2)
    whole = batches(config, 14)
    assert {len(batch.keys) for batch in whole} == {4}
    for stop in (1, 2, 5, 9, 10, 13):
        rest = batches(config, 14 - stop, start=whole[stop - 1].positions, workers=2 if stop == 5 else 0)
        assert [content(batch) for batch in rest] == [content(batch) for batch in whole[stop:]]
    half = batches(config, 4, start=whole[9].positions, ranks=Ranks(1, 2, CPU))
    for share, batch in zip(half, whole[10:], strict=True):
        assert dict(by_image(share)).items() <= dict(by_image(batch)).items()


def test_parts_of_a_batch_are_the_batch(folder: Path) -> None:
    parts, whole = batches(configured(folder, accumulate=2), 6), batches(configured(folder), 3)
    for step, batch in enumerate(whole):
        pair = parts[2 * step : 2 * step + 2]
        assert dict(found for part in pair for found in by_image(part)) == dict(by_image(batch))
        assert pair[1].positions == batch.positions


def test_an_epoch_shows_every_image_once_and_the_next_one_other_crops(folder: Path) -> None:
    drawn = batches(configured(folder), 10)
    first, second = drawn[:5], drawn[5:]
    assert sorted(key for batch in first for key in batch.keys) == [f"{index:09d}" for index in range(40)]
    before, after = ({k: v for batch in half for k, v in by_image(batch)} for half in (first, second))
    assert before.keys() == after.keys()
    assert [key for batch in first for key in batch.keys] != [key for batch in second for key in batch.keys]
    assert sum(before[key][0] == after[key][0] for key in before) <= 2


def test_loading_draws_nothing_from_the_global_generator(folder: Path) -> None:
    torch.manual_seed(3)
    want = torch.rand(3)
    for workers in (0, 1):
        torch.manual_seed(3)
        batches(configured(folder), 1, workers=workers)
        assert torch.equal(torch.rand(3), want)


def test_shapes_and_types_are_those_of_a_batch(folder: Path) -> None:
    batch = batches(configured(folder, ocr_labels=2), 1)[0]
    assert batch.pixels_B3HW.shape == (8, 3, SIDE, SIDE)
    assert batch.pixels_B3HW.dtype == torch.uint8
    assert batch.visible_BNP.shape == (8, 4, (SIDE // PATCH) ** 2)
    assert batch.visible_BNP.dtype == torch.bool
    assert batch.type_BN.dtype == batch.labels_BNM.dtype == batch.image_clusters_BL.dtype == torch.int64
    assert batch.labels_BNM.shape[2] <= 2
    assert batch.weight_BN.dtype == torch.float32
    assert batch.caption_BL.shape == (8, 0)
    assert ((batch.weight_BN > 0) == batch.visible_BNP.any(-1)).all()
    assert batch.image_clusters_BL.shape == (8, 1)


def broken(folder: Path, changes: dict[int, dict[str, Any]], count: int = 8) -> Path:
    """One shard of `count` samples, some with changed members; a JSON is given as the fields to replace."""
    samples = [draw(index, 40, 10, 12, True, 0) for index in range(count)]
    for index, change in changes.items():
        for name, value in change.items():
            if isinstance(value, dict):
                value = json.dumps(json.loads(samples[index][name]) | value).encode()
            samples[index][name] = value
        samples[index] = {name: value for name, value in samples[index].items() if value is not None}
    return write_samples(folder, [samples], BANKS)


def region(**fields: Any) -> dict[str, Any]:
    return {"regions": [{"type": "object", "box": [0, 0, 20, 20], "labels": [1]} | fields]}


DAMAGE = {
    "no bytes": ({"jpg": b""}, "its image is no image in a known format, or its header is damaged"),
    "truncated": ({"jpg": draw(1, 40, 10, 12, True, 0)["jpg"][:700]}, "its image is truncated or damaged"),
    "no image": ({"jpg": None}, r"has no image member \(jpg, jpeg, png\)"),
    "no json": ({"json": None}, "has no .json member"),
    "json": ({"json": b"{"}, r"its JSON is no RegionSample \(Invalid JSON"),
    "field": ({"json": {"regions": [{"type": "thing"}]}}, r"its JSON is no RegionSample \(regions.0"),
    "size": ({"json": {"width": 41}}, "its image has 40 x 40 pixels where its JSON says 41 x 40"),
    "label": ({"json": region(labels=[10])}, "label 10 is none of the 10 classes of the bank 'object'"),
    "negative": ({"json": region(labels=[-1])}, "label -1 is none of the 10 classes of the bank 'object'"),
    "token": ({"json": region(type="ocr", labels=[3, 12])}, "label 12 is none of the 12 classes of the bank 'ocr'"),
    "cluster": ({"json": {"image_labels": [10]}}, "label 10 is none of the 10 classes of the bank 'image'"),
    "box": (
        {"json": region(box=[0, 0, float("nan"), 4])},
        r"its JSON is no RegionSample \(regions.0.box.2: Input should be a finite number\)",
    ),
    "mask size": ({"json": region(rle={"size": [4, 4], "counts": "o1"})}, r"a mask has the size \[4, 4\]"),
    "mask": ({"json": region(rle={"size": [40, 40], "counts": "~~"})}, "a mask's counts are no compressed run lengths"),
    "short mask": ({"json": region(rle={"size": [40, 40], "counts": "11"})}, "a mask's run lengths do not fill it"),
    "no counts": ({"json": region(rle={"size": [40, 40]})}, "a mask's counts are neither a list nor a plain text"),
    "list counts": ({"json": region(rle={"size": [40, 40], "counts": [10**18]})}, "a mask's"),
}


def test_damage_is_counted_with_its_reason_and_nothing_else_is_lost(tmp_path: Path) -> None:
    folder = broken(tmp_path, {index: change for index, (change, _) in enumerate(DAMAGE.values())}, count=20)
    sound = len(DAMAGE)
    config = configured(folder, streams=1, batch=20 - sound)
    for workers in (0, 1):
        first, second = batches(config, 2, workers=workers)
        assert sorted(first.keys) == [f"{index:09d}" for index in range(sound, 20)]
        # What lies behind the last sound sample is met on the way to the next.
        told = {skip.item: skip.reason for batch in (first, second) for skip in batch.skipped}
        for index, (_, reason) in enumerate(DAMAGE.values()):
            assert re.match(reason, told[f"shard-000000.tar: {index:09d}"])
        assert len(told) == sound


def test_nothing_usable_in_an_epoch_is_one_sentence_from_a_worker_too(tmp_path: Path) -> None:
    folder = broken(tmp_path, {index: {"jpg": b"x"} for index in range(8)})
    for workers in (0, 1):
        with pytest.raises(UserError, match=r"^stream 0 of 1 found nothing .*its image is no image") as error:
            batches(configured(folder, streams=1), 1, workers=workers)
        assert "\n" not in str(error.value)
        assert active_children() == []


def test_an_image_without_regions_is_left_out_and_counted(tmp_path: Path) -> None:
    changes = {index: {"json": {"regions": []}} for index in (1, 4)}
    folder = broken(tmp_path, changes)
    for name, reason in (("rice", "has no region"), ("mlcd", "has no label")):
        found = batches(configured(folder, streams=1, batch=6, name=name), 2)
        skips = {(skip.item, skip.reason) for batch in found for skip in batch.skipped}
        assert [why for _, why in skips] == [reason] * 2
        assert all(batch.weight_BN.any(dim=1).all() for batch in found)
        assert all((batch.labels_BNM >= 0).flatten(1).any(dim=1).all() for batch in found)
    assert batches(configured(folder, streams=1, batch=6, name="siglip"), 1)[0].skipped == ()


def test_a_folder_without_any_region_trains_nothing(tmp_path: Path) -> None:
    folder = broken(tmp_path, {index: {"json": {"regions": []}} for index in range(8)})
    with pytest.raises(UserError, match=r"^stream 0 of 1 found nothing .*has no region"):
        batches(configured(folder, streams=1, image_region=True), 1)


def test_captions_are_for_the_objective_that_reads_them(tmp_path: Path) -> None:
    folder = broken(tmp_path, {2: {"json": {"caption": None}}, 5: {"json": {"caption": " "}}})
    batch, after = batches(configured(folder, streams=1, batch=6, name="siglip"), 2)
    assert batch.caption_BL.shape == (6, 6)
    assert (batch.caption_BL[:, 0] > 0).all()
    told = {(skip.item, skip.reason) for found in (batch, after) for skip in found.skipped}
    assert told == {(f"shard-000000.tar: {index:09d}", "has no caption") for index in (2, 5)}
    assert batches(configured(folder, streams=1), 1)[0].skipped == ()
    bare = write_shards(tmp_path / "bare", samples=8, shards=1, size=16, captions=False)
    with pytest.raises(UserError, match=r"has no caption \(8 times\)"):
        batches(configured(bare, streams=1, name="siglip"), 1)


def test_a_killed_worker_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configured(folder)
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    found = iter(RegionLoader(config, read_region_manifest(folder), stage=config.stages[0], workers=1))
    next(found)
    (child,) = active_children()
    assert child.pid is not None
    # torch also raises from a signal handler, in whatever runs when the signal comes: here that may be pytest itself. So it
    # is put back only when nothing holds the loader any more, as the exception that pytest.raises keeps would.
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    said = ""
    try:
        os.kill(child.pid, signal.SIGKILL)
        list(islice(found, 50))
    except UserError as error:
        said = str(error)
    del found
    gc.collect()
    signal.signal(signal.SIGCHLD, handler)
    assert re.search(r"a process that loads images died .* fewer workers", said)


@pytest.mark.parametrize(
    ("settings", "words", "message"),
    [
        ({"streams": 16, "batch": 16}, {}, r"8 shards for 16 streams, .* write data.streams: 8\."),
        (
            {"streams": 4, "batch": 24},
            {"ranks": Ranks(0, 3, CPU)},
            r"4 data streams cannot be divided among 3 ranks; write data.streams: 6\.",
        ),
        (
            {"streams": 8, "batch": 8, "accumulate": 2},
            {},
            r"no multiple of 8 data streams a part; write data.streams: 4\.",
        ),
        ({"streams": 1, "batch": 7}, {"ranks": Ranks(0, 3, CPU)}, r"no number of streams fits 8 shards, 3 ranks"),
        ({}, {"start": {0: (0, 0, 0), 1: (0, 0, 0)}}, r"other data streams \(2 positions\) than the configuration's 4"),
        (
            {},
            {"start": dict.fromkeys(range(8), (0, 0, 0))},
            r"other data streams \(8 positions\) than the configuration's 4",
        ),
        ({"name": "siglip", "tokenizer": "nope"}, {}, "there is no caption tokenizer"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(folder: Path, settings: Any, words: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        batches(configured(folder, **settings), 1, **words)


def test_a_missing_shard_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    folder = write_shards(tmp_path, samples=8, shards=2, size=16)
    (folder / "shard-000001.tar").unlink()
    config = configured(folder, streams=1)
    with pytest.raises(UserError, match=r"shard-000001\.tar is named by the manifest and missing"):
        RegionLoader(config, read_region_manifest(folder), stage=config.stages[0])
