"""What is kept under a key is believed under that key alone: sound content under another's name is none."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from rice_core.bundle import Bundle
from rice_core.digest import canonical_json
from rice_core.disk.sealed import Damaged, Unsealed, key_of, seal_json, unseal_json
from rice_core.measure.cache import FeatureCache
from rice_core.measure.known import Identity, KnownEncoders
from rice_core.record import Artifact, Cell, Evidence, Record, Scores
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeSpec
from rice_core.store import Store

A, B = "0a" * 32, "0b" * 32


def swap(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def record_of(seed: int, artifacts: tuple[Artifact, ...] = ()) -> Record:
    cell = Cell(
        encoder=EncoderSpec(source="timm", model="x"),
        probe=ProbeSpec(name="knn", version=1),
        dataset=DatasetSpec(name="d", layout="photos", fingerprint="f"),
        seed=seed,
    )
    evidence = Evidence(weights="w", data="d", code="c")
    return Record(cell=cell, status="done", evidence=evidence, artifacts=artifacts)


def scores_of(value: float) -> Scores:
    return Scores(sample=("a",), cluster=("a",), values={"accuracy": (value,)})


def test_two_shards_that_were_swapped_are_misses_and_set_aside(tmp_path: Path) -> None:
    cache = FeatureCache(Store(tmp_path))
    for key, value in ((A, 1.0), (B, 2.0)):
        cache.put(key, Bundle({"x": np.full((2, 3), value, np.float32)}, {}))
    swap(cache.path(A), cache.path(B))
    assert (cache.get(A), cache.get(B)) == (None, None)
    assert len(list((tmp_path / "quarantine").glob("*.safetensors.??????"))) == 2
    cache.put(A, Bundle({"x": np.full((2, 3), 1.0, np.float32)}, {}))
    found = cache.get(A)
    assert found is not None
    assert found.arrays["x"][0, 0] == 1.0


def test_a_shard_copied_to_another_name_is_not_that_ones(tmp_path: Path) -> None:
    cache = FeatureCache(Store(tmp_path))
    cache.put(A, Bundle({"x": np.ones(3, np.float32)}, {"skipped": []}))
    cache.path(B).parent.mkdir()
    shutil.copy(cache.path(A), cache.path(B))
    assert cache.get(B) is None
    assert cache.get(A) is not None


def test_a_key_cannot_be_written_over(tmp_path: Path) -> None:
    """The key is under the checksum: another one in the metadata is damage, not another shard."""
    cache = FeatureCache(Store(tmp_path))
    cache.put(A, Bundle({"x": np.ones(3, np.float32)}, {}))
    data = cache.path(A).read_bytes()
    assert data.count(A.encode()) == 1
    cache.path(B).parent.mkdir()
    cache.path(B).write_bytes(data.replace(A.encode(), B.encode()))
    assert cache.get(B) is None


def test_a_shard_of_a_version_without_keys_is_a_miss_and_no_damage(tmp_path: Path) -> None:
    cache = FeatureCache(Store(tmp_path))
    cache.path(A).parent.mkdir(parents=True)
    save_file({"x": np.ones(3, np.float32)}, cache.path(A), metadata={"sha256": "0" * 64, "notes": "{}"})
    assert cache.get(A) is None
    assert cache.path(A).is_file()
    assert not (tmp_path / "quarantine").exists()
    cache.put(A, Bundle({"x": np.zeros(3, np.float32)}, {}))
    assert cache.get(A) is not None


def test_scores_and_artifacts_that_were_swapped_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = (store.put(record_of(seed), scores_of(50.0 + seed)) for seed in (0, 1))
    swap(*(next(iter(store.files(record))) for record in (first, second)))
    assert (store.scores(first), store.scores(second)) == (None, None)
    entries = tuple(store.put_artifact(first.cell.id, f"{name}.json", name.encode()) for name in ("a", "b"))
    third = store.put(record_of(0, entries))
    swap(*store.files(third))
    assert (store.artifact(third, "a.json"), store.artifact(third, "b.json")) == (None, None)


def test_an_identity_under_another_checkpoints_name_is_not_believed(tmp_path: Path) -> None:
    known = KnownEncoders(tmp_path / "known")
    specs = [EncoderSpec.parse(f"synthetic:{name}") for name in ("noise", "random-weights")]
    identities = [Identity(weights=letter * 64, architecture="0" * 64) for letter in "ab"]
    for spec, identity in zip(specs, identities, strict=True):
        known.put(spec, identity)
    assert [known.get(spec) for spec in specs] == identities
    first, second = sorted((tmp_path / "known").iterdir())
    swap(first, second)
    assert [known.get(spec) for spec in specs] == [None, None]


def test_an_identity_that_was_changed_or_is_an_earlier_versions_is_not_believed(tmp_path: Path) -> None:
    known, spec = KnownEncoders(tmp_path / "known"), EncoderSpec.parse("synthetic:noise")
    identity = Identity(weights="a" * 64, architecture="0" * 64)
    known.put(spec, identity)
    (path,) = (tmp_path / "known").iterdir()
    path.write_bytes(path.read_bytes().replace(b"a" * 64, b"b" * 64))
    assert known.get(spec) is None
    path.write_bytes(canonical_json(identity.model_dump()).encode())
    assert known.get(spec) is None
    known.put(spec, identity)
    assert known.get(spec) == identity


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"{", Damaged),
        (b"[" * 100_000, Damaged),
        (b"[]", Unsealed),
        (b'{"ap": 3}', Unsealed),
        (seal_json("b", 1), Damaged),
        (json.dumps(json.loads(seal_json("a", 1)) | {"body": 2}).encode(), Damaged),
    ],
)
def test_what_is_not_sealed_for_the_key_is_refused(data: bytes, error: type[Exception]) -> None:
    assert unseal_json("a", seal_json("a", {"x": 1})) == {"x": 1}
    with pytest.raises(error):
        unseal_json("a", data)


def test_a_measurements_file_keeps_its_key_when_the_store_moves() -> None:
    assert key_of(Path("/one/unfinished/c-1/part/head.safetensors")) == "c-1/part/head.safetensors"
    assert key_of(Path("/two/unfinished/c-1/head.safetensors")) == key_of(Path("/x/y/unfinished/c-1/head.safetensors"))
