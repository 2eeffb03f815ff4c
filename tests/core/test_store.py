"""The store: whole files or none, damage noticed and set aside, no way out of its folder."""

import errno
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from rice_core.disk.files import write_atomically
from rice_core.disk.temporaries import sweep
from rice_core.errors import StoreError, UserError
from rice_core.record import SCHEMA_VERSION, Artifact, Cell, Evidence, Metric, Record, Scores
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeSpec
from rice_core.store import Store


def make_record(seed: int = 0, **changes: object) -> Record:
    cell = Cell(
        encoder=EncoderSpec(source="timm", model="x"),
        probe=ProbeSpec(name="knn", version=1),
        dataset=DatasetSpec(name="d", layout="photos", fingerprint="f"),
        seed=seed,
    )
    metric = Metric(name="accuracy", value=50.0, unit="%", n=2, stderr=1.0)
    return Record(
        cell=cell, status="done", metrics=(metric,), evidence=Evidence(weights="w", data="d", code="c")
    ).model_copy(update=changes)


SCORES = Scores(sample=("a", "b"), cluster=("a", "b"), values={"accuracy": (0.0, 100.0)})


def test_a_record_comes_back_equal_with_scores_and_artifacts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = make_record()
    artifact = store.put_artifact(record.cell.id, "figure.json", b"{}")
    kept = store.put(record.model_copy(update={"artifacts": (artifact,)}), SCORES)
    assert store.get(record.cell.id) == kept
    assert store.scores(kept) == SCORES
    assert store.artifact(kept, "figure.json") == b"{}"
    assert store.artifact(kept, "other.json") is None
    assert store.intact(kept)


def test_every_flipped_bit_of_a_record_is_noticed_and_set_aside(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = store.put(make_record())
    path = tmp_path / "records" / f"{record.cell.id}.json"
    sound = path.read_bytes()
    rng = random.Random(0)
    unnoticed = 0
    for _ in range(200):
        position, bit = rng.randrange(len(sound)), rng.randrange(8)
        damaged = bytearray(sound)
        damaged[position] ^= 1 << bit
        path.write_bytes(bytes(damaged))
        found = store.get(record.cell.id)
        # White space between JSON tokens is the one place where a changed bit changes no value.
        assert found is None or found == record
        unnoticed += found is not None
    assert unnoticed < 20
    assert any((tmp_path / "quarantine").iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b'{"sha256": "x"}', b"\xff\xfe", b"[" * 100_000])
def test_a_torn_record_is_quarantined_with_its_reason(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    store.put(make_record(1))
    torn = tmp_path / "records" / f"{make_record(0).cell.id}.json"
    torn.write_bytes(content)
    records, problems = store.scan()
    assert [r.cell.seed for r in records] == [1]
    assert [(p.file, p.moved) for p in problems] == [(f"records/{torn.name}", True)]
    assert not torn.exists()
    assert store.scan()[1] == []


def test_a_record_under_another_cells_name_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = store.put(make_record(0))
    other = make_record(1).cell.id
    (tmp_path / "records" / f"{record.cell.id}.json").rename(tmp_path / "records" / f"{other}.json")
    assert store.get(other) is None


def test_a_newer_schema_is_refused_and_an_older_one_read(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="newer ricebench"):
        Record.model_validate(make_record().model_dump(mode="json") | {"schema_version": SCHEMA_VERSION + 1})
    golden = Path(__file__).parent / "golden" / "record-v1.json"
    store = Store(tmp_path)
    target = tmp_path / "records"
    target.mkdir()
    body = json.loads(golden.read_text())
    (target / f"{Record.model_validate(body['record']).cell.id}.json").write_bytes(golden.read_bytes())
    records, problems = store.scan()
    assert problems == []
    assert records[0].metrics[0].value == 61.5


def test_damaged_scores_and_artifacts_are_not_handed_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = store.put_artifact(make_record().cell.id, "a.json", b"{}")
    record = store.put(make_record().model_copy(update={"artifacts": (artifact,)}), SCORES)
    for folder in ("scores", "artifacts"):
        path = next(p for p in (tmp_path / folder).rglob("*") if p.is_file())
        path.write_bytes(path.read_bytes() + b" ")
    assert not store.intact(record)
    assert store.scores(record) is None
    assert store.artifact(record, "a.json") is None


@pytest.mark.parametrize("name", ["../x.json", "/etc/passwd", "a/b.json", "..", ".hidden", "", "a\x00b", "a" * 101])
def test_no_artifact_name_leaves_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValidationError):
        Store(tmp_path).put_artifact(make_record().cell.id, name, b"")
    with pytest.raises(ValidationError):
        Artifact(name=name, sha256="0" * 64, kind="json")


@pytest.mark.parametrize("cell_id", ["../../etc/passwd", "", "0" * 19, "0" * 21, "G" * 20, "0" * 20 + "\n"])
def test_no_cell_id_leaves_the_store(tmp_path: Path, cell_id: str) -> None:
    with pytest.raises(UserError, match="no cell id"):
        Store(tmp_path).get(cell_id)


def test_a_full_disk_leaves_the_old_file_and_a_plain_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    record = store.put(make_record())

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="disk is full"):
        store.put(record.model_copy(update={"seconds": 9.0}))
    assert store.get(record.cell.id) == record
    assert [p.name for p in (tmp_path / "records").iterdir()] == [f"{record.cell.id}.json"]


def test_what_a_killed_process_left_half_written_is_swept(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)
from rice_core.disk.files import write_atomically
write_atomically(Path({str(tmp_path)!r}) / "records" / "x.json", b"half")
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert [p.suffix for p in (tmp_path / "records").iterdir()] == [".tmp"]
    write_atomically(tmp_path / "records" / "y.json", b"whole")
    assert sweep(tmp_path) == 1
    assert [p.name for p in (tmp_path / "records").iterdir()] == ["y.json"]


def test_a_live_writers_file_is_not_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept = []
    monkeypatch.setattr(os, "fsync", lambda _: swept.append(sweep(tmp_path)))
    write_atomically(tmp_path / "a.json", b"1")
    assert swept == [0]
    assert (tmp_path / "a.json").read_bytes() == b"1"
