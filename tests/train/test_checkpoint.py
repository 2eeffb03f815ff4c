"""Checkpoints: whole or not there, checked when read, never pickled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint import state_dict_saver

from rice_core.errors import StoreError, UserError
from rice_core.ranks import Ranks
from rice_core.train.checkpoint import STATE, Checkpoints, State

ALONE = Ranks(0, 1, torch.device("cpu"))


def tensors(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return {
        "network.weight": torch.randn(5, 3, generator=generator),
        "network.half": torch.randn(4, generator=generator).bfloat16(),
        "network.scale": torch.tensor(float(step)),
        "banks.object.row_steps": torch.arange(7, dtype=torch.int32) + step,
    }


def state(step: int, ends_stage: bool = False) -> State:
    return State(
        step=step,
        ends_stage=ends_stage,
        data="d",
        positions={0: (1, 2, 3)},
        counts={"a": 4.0},
        generators=({"cpu": "00"},),
    )


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def kept(tmp_path: Path, said: list[str]) -> Checkpoints:
    return Checkpoints(
        tmp_path, ALONE, said.append, data="d", foreign="it is another's", advice="start again with --fresh"
    )


def names(kept: Checkpoints) -> list[str]:
    return sorted(path.name for path in kept.folder.iterdir())


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_what_is_read_is_what_was_written(kept: Checkpoints) -> None:
    path = kept.save(tensors(3), state(3))
    found = kept.newest()
    assert found is not None
    assert found.model_copy(update={"files": {}}) == state(3)
    into = {name: torch.full_like(value, 9) for name, value in tensors(3).items()}
    kept.load(found, into)
    assert all(torch.equal(into[name], value) for name, value in tensors(3).items())
    # Every file is JSON or safetensors, whose header is JSON: nothing in it can run code.
    for file in path.iterdir():
        body = file.read_bytes()
        json.loads(body if file.suffix == ".json" else body[8 : 8 + int.from_bytes(body[:8], "little")])


def test_what_another_training_wrote_is_refused(tmp_path: Path, kept: Checkpoints) -> None:
    kept.save(tensors(1), state(1))
    other = Checkpoints(tmp_path, ALONE, print, data="e", foreign="it is another's", advice="begin anew")
    with pytest.raises(UserError, match=r"it is another's; begin anew\."):
        other.newest()
    assert names(kept) == ["step-00000001"]


def test_nothing_there_is_no_error(kept: Checkpoints) -> None:
    assert kept.newest() is None


def test_the_last_two_and_the_ends_of_stages_stay(kept: Checkpoints) -> None:
    for step in range(1, 6):
        kept.save(tensors(step), state(step, ends_stage=step == 2))
    assert names(kept) == ["step-00000002", "step-00000004", "step-00000005"]


@pytest.mark.parametrize("file", [STATE, "shard-00001-model-00001-of-00001.safetensors"])
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_damaged_one_is_named_and_the_one_before_used(
    kept: Checkpoints, said: list[str], file: str, how: str
) -> None:
    kept.save(tensors(1), state(1))
    path = kept.save(tensors(2), state(2)) / file
    damage(path) if how == "changed" else path.unlink()
    found = kept.newest()
    assert found is not None
    assert found.step == 1
    assert len(said) == 1
    assert "step-00000002 is damaged" in said[0]
    assert names(kept) == ["damaged-step-00000002", "step-00000001"]
    kept.save(tensors(2), state(2))  # the resumed training gets there again
    assert names(kept)[-1] == "step-00000002"


def test_with_all_damaged_a_training_does_not_silently_start_again(kept: Checkpoints) -> None:
    damage(kept.save(tensors(1), state(1)) / STATE)
    for _ in range(2):
        with pytest.raises(UserError, match="--fresh"):
            kept.newest()


def test_a_state_with_another_number_inside_is_refused(kept: Checkpoints) -> None:
    path = kept.save(tensors(1), state(1)) / STATE
    path.write_text(path.read_text().replace('"step": 1', '"step": 2'))
    with pytest.raises(UserError, match="damaged"):
        kept.newest()


def test_a_kill_while_writing_leaves_the_one_before(kept: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.save(tensors(1), state(1))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            kept.save(tensors(2), state(2))
    found = kept.newest()
    assert found is not None
    assert found.step == 1
    kept.save(tensors(2), state(2))  # over what the kill left
    assert names(kept) == ["step-00000001", "step-00000002"]


def test_a_full_disk_is_a_sentence(kept: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.save(tensors(1), state(1))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state_dict_saver, "save", full)
    with pytest.raises(StoreError, match="No space left"):
        kept.save(tensors(2), state(2))
    found = kept.newest()
    assert found is not None
    assert found.step == 1


@pytest.mark.parametrize(
    "other",
    [{"network.weight": torch.zeros(5, 4)}, {"network.weight": torch.zeros(6, 3)}, {"network.new": torch.zeros(1)}],
)
def test_tensors_that_do_not_fit_are_refused(kept: Checkpoints, other: dict[str, torch.Tensor]) -> None:
    kept.save(tensors(1), state(1))
    found = kept.newest()
    assert found is not None
    with pytest.raises(UserError, match="does not fit"):
        kept.load(found, tensors(1) | other)
    assert names(kept) == ["step-00000001"]
