"""No link below a store leads a write or a removal out of it, and only what has a name of ours is removed."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rice_core.bundle import Bundle
from rice_core.errors import StoreError
from rice_core.measure.cache import FeatureCache
from rice_core.measure.claims import Claims
from rice_core.measure.forget import forget
from rice_core.measure.known import Identity, KnownEncoders
from rice_core.record import Cell, Evidence, Metric, Record, Scores
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeSpec
from rice_core.store import Store
from rice_core.world.mini import World, draw

KEY = "ab" * 32
CELL = Cell(
    encoder=EncoderSpec(source="timm", model="x"),
    probe=ProbeSpec(name="knn", version=1),
    dataset=DatasetSpec(name="d", layout="photos", fingerprint="f"),
)
METRIC = Metric(name="accuracy", value=50.0, unit="%", n=2)
RECORD = Record(cell=CELL, status="done", metrics=(METRIC,), evidence=Evidence(weights="w", data="d", code="c"))
SCORES = Scores(sample=("a", "b"), cluster=("a", "b"), values={"accuracy": (0.0, 100.0)})
TINY = World(name="mini", seed=0, train=1, val=1, size=64)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder elsewhere, with files that look like ours in every place where ours could be looked for."""
    folder = tmp_path / "outside"
    for name in (
        "0123456789abcdef.json",
        "0123456789abcdef-figure.json",
        f"{KEY}.safetensors",
        f"ab/{KEY}.safetensors",
        f"{CELL.id}.json",
        f"{CELL.id}/0123456789abcdef.json",
        f"{CELL.id}-0123456789/head.safetensors",
        f"{'0' * 64}.json",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"precious")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put(store: Store) -> None:
    store.put(RECORD, SCORES)


def put_artifact(store: Store) -> None:
    store.put_artifact(CELL.id, "figure.json", b"{}")


def put_shard(store: Store) -> None:
    FeatureCache(store).put(KEY, Bundle({"x": np.ones(3, np.float32)}, {}))


def open_unfinished(store: Store) -> None:
    store.unfinished(CELL.id, "0123456789abc")


def open_stage(store: Store) -> None:
    store.stage(CELL.id)


def open_exports(store: Store) -> None:
    store.exports(CELL.id)


def know(store: Store) -> None:
    KnownEncoders(store.root / "known").put(
        EncoderSpec.parse("synthetic:noise"), Identity(weights="a", architecture="b")
    )


def draw_world(store: Store) -> None:
    draw(TINY, store.place("worlds"))


@pytest.mark.parametrize(
    ("link", "write"),
    [
        ("records", put),
        (f"records/{CELL.id}.json", put),
        ("scores", put),
        (f"scores/{CELL.id}", put),
        ("artifacts", put_artifact),
        (f"artifacts/{CELL.id}", put_artifact),
        ("cache", put_shard),
        ("cache/ab", put_shard),
        ("unfinished", open_unfinished),
        (f"unfinished/{CELL.id}-0123456789", open_unfinished),
        (f"unfinished/{CELL.id}-0123456789/part", open_unfinished),
        ("stages", open_stage),
        (f"stages/{CELL.id}", open_stage),
        (f"stages/{CELL.id}/part", open_stage),
        ("exports", open_exports),
        (f"exports/{CELL.id}", open_exports),
        ("known", know),
        ("worlds", draw_world),
        ("worlds/mini-seed0-1-1-64", draw_world),
    ],
)
def test_nothing_is_written_through_a_link(
    tmp_path: Path, outside: Path, link: str, write: Callable[[Store], None]
) -> None:
    before = contents(outside)
    path = tmp_path / "store" / link
    path.parent.mkdir(parents=True)
    path.symlink_to(outside)
    if link.startswith("worlds/"):  # it looks like an older world of ours
        (outside / "manifest.json").write_text("{}")
        before = contents(outside)
    with pytest.raises(StoreError, match=rf"store/{link} is a link") as error:
        write(Store(tmp_path / "store"))
    assert "remove it" in str(error.value)
    assert contents(outside) == before
    assert path.is_symlink()


def test_the_store_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "disk")
    store = Store(tmp_path / "store")
    for write in (put, put_artifact, put_shard, open_unfinished, open_exports, know):
        write(store)
    assert store.get(CELL.id) is not None
    assert FeatureCache(store).clear() > 0


@pytest.mark.parametrize("kind", ["scores", "artifacts"])
def test_a_new_record_removes_nothing_behind_a_link(tmp_path: Path, outside: Path, kind: str) -> None:
    before = contents(outside)
    (tmp_path / "store" / kind).mkdir(parents=True)
    (tmp_path / "store" / kind / CELL.id).symlink_to(outside)
    Store(tmp_path / "store").put(RECORD)  # without scores: it only tidies
    assert contents(outside) == before


def test_a_new_record_removes_the_files_of_the_one_before_and_no_others(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = store.put(RECORD, SCORES)
    (replaced,) = store.files(first)
    foreign = [replaced.with_name(name) for name in ("notes.txt", "0123.json", "0123456789abcdeg.json")]
    for path in foreign:
        path.write_bytes(b"precious")
    replaced.with_name("0" * 16 + ".json").mkdir()
    kept = store.put(RECORD, SCORES.model_copy(update={"values": {"accuracy": (100.0, 0.0)}}))
    assert not replaced.exists()
    assert all(path.read_bytes() == b"precious" for path in foreign)
    assert store.scores(kept) is not None


@pytest.mark.parametrize("link", ["cache", "cache/ab", f"cache/ab/{KEY}.safetensors"])
def test_the_cache_neither_counts_nor_clears_nor_evicts_behind_a_link(tmp_path: Path, outside: Path, link: str) -> None:
    before = contents(outside)
    path = tmp_path / "store" / link
    path.parent.mkdir(parents=True)
    path.symlink_to(outside / f"{KEY}.safetensors" if link.endswith("safetensors") else outside)
    cache = FeatureCache(Store(tmp_path / "store"), max_bytes=1)
    assert cache.get(KEY) is None
    assert cache.size() == 0
    assert cache.clear() == 0
    if link != "cache":
        cache.put("cd" * 32, Bundle({"x": np.ones(3, np.float32)}, {}))
    cache._evict()
    assert contents(outside) == before
    assert path.is_symlink()


def test_the_cache_clears_shards_and_nothing_else(tmp_path: Path) -> None:
    cache = FeatureCache(Store(tmp_path))
    put_shard(Store(tmp_path))
    foreign = [
        cache.root / name
        for name in ("ab/notes.txt", "ab/model.safetensors", f"cd/{KEY}.safetensors", "mine/weights.safetensors")
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"precious")
    (cache.root / "ab" / f"ab{'0' * 62}.safetensors").mkdir()
    assert cache.clear() > 0
    assert not cache.path(KEY).exists()
    assert all(path.read_bytes() == b"precious" for path in foreign)


@pytest.mark.parametrize("link", ["unfinished", f"unfinished/{CELL.id}-0123456789"])
def test_a_finished_cell_drops_nothing_behind_a_link(tmp_path: Path, outside: Path, link: str) -> None:
    before = contents(outside)
    path = tmp_path / "store" / link
    path.parent.mkdir(parents=True)
    path.symlink_to(outside)
    Store(tmp_path / "store").drop_unfinished(CELL.id)
    assert contents(outside) == before


def test_a_finished_cell_drops_its_states_and_no_others(tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = [f"{CELL.id}-0123456789", f"{CELL.id}-fedcba9876", f"{CELL.id}-backup", f"{'0' * 20}-0123456789"]
    for name in names:
        (tmp_path / "unfinished" / name).mkdir(parents=True)
    store.drop_unfinished(CELL.id)
    assert sorted(path.name for path in (tmp_path / "unfinished").iterdir()) == sorted(names[2:])


@pytest.mark.parametrize("link", ["records", "quarantine"])
def test_what_is_damaged_behind_a_link_stays_there(tmp_path: Path, outside: Path, link: str) -> None:
    before = contents(outside)
    path = tmp_path / "store" / link
    path.parent.mkdir(parents=True)
    path.symlink_to(outside)
    torn = tmp_path / "store" / "records" / f"{CELL.id}.json"
    torn.parent.mkdir(exist_ok=True)
    if link == "quarantine":
        torn.write_bytes(b"torn")
    records, problems = Store(tmp_path / "store").scan()
    assert records == []
    assert f"records/{CELL.id}.json" in [problem.file for problem in problems]
    assert not any(problem.moved for problem in problems)
    assert torn.exists()
    assert contents(outside) == before


def test_sound_content_behind_a_link_is_not_taken_and_not_touched(tmp_path: Path) -> None:
    """A shard that is used is given a new time, which would be a write; an identity is believed without a look at weights."""
    store, other, spec = Store(tmp_path / "store"), Store(tmp_path / "other"), EncoderSpec.parse("synthetic:noise")
    put_shard(other)
    know(other)
    shard, identity = FeatureCache(other).path(KEY), next((other.root / "known").iterdir())
    os.utime(shard, (1000, 1000))
    for path in (shard, identity):
        mine = store.root / path.relative_to(other.root)
        mine.parent.mkdir(parents=True)
        mine.symlink_to(path)
    assert FeatureCache(store).get(KEY) is None
    assert KnownEncoders(store.root / "known").get(spec) is None
    assert shard.stat().st_mtime == 1000
    assert FeatureCache(other).get(KEY) is not None
    assert KnownEncoders(other.root / "known").get(spec) is not None


def test_a_folder_where_a_file_has_to_be_stays_and_is_a_sentence(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = store.put(RECORD, SCORES)
    (path,) = store.files(record)
    path.unlink()
    (path / "precious").mkdir(parents=True)
    assert store.scores(record) is None
    assert not store.intact(record)
    assert (path / "precious").is_dir()
    with pytest.raises(StoreError, match="is a folder where a file has to be; move it away"):
        store.put(RECORD, SCORES)


def test_a_shard_in_another_shards_folder_is_not_counted_twice(tmp_path: Path) -> None:
    cache = FeatureCache(Store(tmp_path))
    put_shard(Store(tmp_path))
    size = cache.path(KEY).stat().st_size
    (cache.root / "cd").mkdir()
    (cache.root / "cd" / f"{KEY}.safetensors").write_bytes(b"precious")
    assert cache.size() == size


@pytest.mark.parametrize("kind", ["records", "scores", "exports"])
def test_forget_removes_nothing_behind_a_link(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path / "store")
    put(store)
    (store.exports(CELL.id)).mkdir(parents=True)
    (store.exports(CELL.id) / "results.json").write_text("[]")
    (store.root / kind).rename(tmp_path / "elsewhere")
    (store.root / kind).symlink_to(tmp_path / "elsewhere")
    before = contents(tmp_path / "elsewhere")
    forget(store, CELL.id)
    assert contents(tmp_path / "elsewhere") == before != {}
    assert not list((store.root / ("exports" if kind == "scores" else "scores")).iterdir())


def test_nothing_is_claimed_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "claims").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="claims is a link"):
        Claims(tmp_path / "store" / "claims").take(CELL.id)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_store_that_is_a_link_has_the_claims_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "store")
    with Claims(tmp_path / "link" / "claims").taken(CELL.id) as mine:
        assert mine
        assert not Claims(tmp_path / "store" / "claims").take(CELL.id)
