"""What a killed training left half-written is gone when the next one starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from shards import write_shards
from training import run, tiny

from rice_core.disk.temporaries import beside
from rice_core.errors import StoreError


def test_drafts_of_a_killed_training_are_swept_and_a_living_ones_are_not(
    tmp_path: Path, left_by_a_dead_process
) -> None:
    data, out = write_shards(tmp_path / "shards"), tmp_path / "out"
    drafts = [
        left_by_a_dead_process(out / name)
        for name in ("encoder", "checkpoints/step-00000003", "exports/step-00000003/encoder")
    ]
    living = beside(out / "checkpoints" / "step-00000003")
    for draft in (*drafts, living):
        draft.mkdir(parents=True)
        (draft / "model.safetensors").write_bytes(b"half")
    assert run(tiny(data), out)
    assert [draft for draft in drafts if draft.exists()] == []
    assert living.exists()
    assert sorted(path.name for path in out.rglob("*.tmp")) == [living.name]


def test_fresh_removes_nothing_behind_a_link(tmp_path: Path) -> None:
    data, out, disk = write_shards(tmp_path / "shards"), tmp_path / "out", tmp_path / "disk"
    assert run(tiny(data), out)
    disk.mkdir()
    (disk / "precious").touch()
    (out / "exports").symlink_to(disk)
    with pytest.raises(StoreError, match="exports is a link"):
        run(tiny(data), out, fresh=True)
    assert [path.name for path in disk.iterdir()] == ["precious"]
    assert (out / "checkpoints").is_dir()
