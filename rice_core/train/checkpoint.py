"""Checkpoints: folders that are whole or not there, and that any number of ranks can read.

    FOLDER/step-00000123/    shard-*.safetensors     tensors, by torch.distributed.checkpoint: each rank writes its own
                             state.json              {"sha256": ..., "state": {...}}: everything else, and digests of the tensor files

A folder is written beside and renamed, so a kill at any moment leaves the one before. What does not match its digests is set
aside as damaged-step-00000123. Nothing is pickled.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter

from rice_core.digest import file_digest, json_digest
from rice_core.disk.files import write_atomically
from rice_core.disk.sealed import Damaged, Unsealed, key_of
from rice_core.disk.temporaries import beside
from rice_core.errors import StoreError, UserError
from rice_core.ranks import Ranks
from rice_core.spec import Frozen

STATE = "state.json"
_NAME = re.compile(r"step-(\d{8})")
_KEPT = 2
"""Newest checkpoints that stay, beside the ends of stages: should the last one be damaged, there is one before it."""

Position = tuple[int, int, int]


class State(Frozen):
    """What a checkpoint holds beside tensors."""

    format: Literal[1] = 1
    step: int = Field(ge=0)
    """Optimizer steps done."""
    ends_stage: bool
    data: str
    """What it was trained on, or whose it is; nothing else goes on from it."""
    positions: dict[int, Position]
    """Of every data stream, whichever rank reads it."""
    counts: dict[str, Any]
    """What the learner holds beside tensors: the optimizers' step counts, what it noted."""
    generators: tuple[dict[str, str], ...]
    """Of each rank: the state of torch's generators in hex, by device."""
    files: dict[str, str] = {}
    """Name of each tensor file -> sha256."""


class Checkpoints:
    """The checkpoints of one training, in one folder that all ranks share. Every rank makes every call.

    Args:
        say: where sentences about damaged checkpoints go.
        data: as in `State`. foreign: the sentence for a checkpoint of other data, up to the advice.
        advice: how to begin again.
    """

    def __init__(
        self, folder: Path, ranks: Ranks, say: Callable[[str], None], *, data: str, foreign: str, advice: str
    ) -> None:
        self.folder, self._ranks, self._say = folder, ranks, say
        self.data, self._foreign, self._advice = data, foreign, advice

    def save(self, tensors: Mapping[str, torch.Tensor], state: State) -> Path:
        """Write a checkpoint, then drop the older ones that are no longer kept.

        Raises:
            StoreError: the folder cannot take it; the checkpoints before it are whole.
        """
        final = self.folder / f"step-{state.step:08d}"
        draft = self._ranks.agree(beside(final))
        try:
            if self._ranks.leads:
                draft.mkdir(parents=True)
            self._ranks.wait()
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="torch.distributed is disabled")
                state_dict_saver.save(
                    dict(tensors),
                    storage_writer=HuggingFaceStorageWriter(str(draft), save_distributed=True),
                    process_group=self._ranks.control,
                    no_dist=self._ranks.control is None,
                )
            state = state.model_copy(update={"files": self._digests(draft)})
            if self._ranks.leads:
                self._publish(draft, final, state)
        except (OSError, CheckpointException) as error:
            reason = " ".join(str(error).split())[-160:]
            raise StoreError(
                f"checkpoint {final} could not be written ({reason}); free some space, then run the same command again."
            ) from error
        finally:
            if self._ranks.leads:
                shutil.rmtree(draft, ignore_errors=True)  # renamed, where all went well
        self._ranks.wait()
        return final

    def newest(self) -> State | None:
        """The state of the last sound checkpoint; None where there never was one. Damaged ones are named and set aside.

        Raises:
            UserError: there are checkpoints and all are damaged, or they are of other data.
        """
        found = self._ranks.agree([path.name for path in self._all()])
        for name in reversed(found):
            state = self._read(self.folder / name)
            if isinstance(state, State):
                if state.data != self.data:
                    raise UserError(f"{self._foreign}; {self._advice}.")
                return state
            self._say(
                f"checkpoint {self.folder / name} is damaged ({state}); it is set aside and the one before is used."
            )
            if self._ranks.leads:
                self._set_aside(self.folder / name)
        if found or self._ranks.agree(any(self.folder.glob("damaged-*"))):
            raise UserError(f"every checkpoint in {self.folder} is damaged; {self._advice}.")
        return None

    def last_written(self) -> Path | None:
        """The newest folder, for a sentence."""
        return next(reversed(self._all()), None)

    def load(self, state: State, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write the tensors of a checkpoint into those given, whatever number of ranks wrote it.

        Raises:
            UserError: the checkpoint has other tensors: it was written by another version of the program.
        """
        path = self.folder / f"step-{state.step:08d}"
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="torch.distributed is disabled")
                state_dict_loader.load(
                    dict(tensors),
                    storage_reader=HuggingFaceStorageReader(str(path)),
                    process_group=self._ranks.control,
                    no_dist=self._ranks.control is None,
                )
        except (RuntimeError, ValueError, CheckpointException) as error:
            reason = " ".join(str(error).split())[-160:]
            raise UserError(f"{path} does not fit this training ({reason}); {self._advice}.") from error

    def _all(self) -> list[Path]:
        """Oldest first."""
        return sorted(path for path in self.folder.glob("step-*") if _NAME.fullmatch(path.name))

    def _digests(self, folder: Path) -> dict[str, str]:
        """Of all tensor files; the ranks share the work."""
        names = sorted(path.name for path in folder.glob("*.safetensors"))
        own = {name: file_digest(folder / name) for name in names[self._ranks.rank :: self._ranks.size]}
        return {name: digest for part in self._ranks.gather(own) for name, digest in part.items()}

    def _publish(self, draft: Path, final: Path, state: State) -> None:
        body = state.model_dump(mode="json")
        write_atomically(draft / STATE, json.dumps({"sha256": json_digest(body), "state": body}, indent=1).encode())
        _flush(draft)
        if final.exists():  # left by a training that went on from an older one
            shutil.rmtree(final)
        draft.rename(final)
        _flush(self.folder)
        for path in self._all()[:-_KEPT]:
            kept = state_of(path)
            if not isinstance(kept, State) or not kept.ends_stage:
                shutil.rmtree(path)

    def _read(self, path: Path) -> State | str:
        """The state, or what is wrong; the same on every rank."""
        state: State | str = self._ranks.agree(state_of(path) if self._ranks.leads else None)
        if isinstance(state, str):
            return state
        try:
            found = self._digests(path)
        except OSError as error:
            return str(error)
        for name in sorted(state.files.keys() | found.keys()):
            if state.files.get(name) != found.get(name):
                return f"{name} {'does not match its digest' if name in found else 'is missing'}"
        return state

    def _set_aside(self, path: Path) -> None:
        target = path.with_name(f"damaged-{path.name}")
        shutil.rmtree(target, ignore_errors=True)
        path.rename(target)


def state_of(path: Path) -> State | str:
    """state.json of a checkpoint, or what is wrong with it."""
    try:
        envelope: Any = json.loads((path / STATE).read_bytes())
        if json_digest(envelope["state"]) != envelope["sha256"]:
            return f"{STATE} does not match its digest"
        return State.model_validate(envelope["state"])
    except OSError as error:
        return f"{STATE}: {error.strerror}"
    except (ValueError, KeyError, TypeError, ValidationError):
        return f"{STATE} cannot be read"


def check_file(path: Path) -> State:
    """The state of the checkpoint that a file belongs to, where the file is what was written.

    Raises:
        Damaged: it is not what was written. Unsealed: what the others were is not known, since state.json is damaged.
        OSError: it cannot be read.
    """
    state = state_of(path.parent)
    if path.name == STATE and isinstance(state, str):
        raise Damaged(state)
    if isinstance(state, str):
        raise Unsealed
    if path.name != STATE and state.files.get(path.name) != file_digest(path):
        raise Damaged("does not match its digest")
    return state


def _flush(folder: Path) -> None:
    """Make the names in a folder last through a crash of the machine."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checkpoints_below(folder: Path, ranks: Ranks) -> Checkpoints:
    """Those of a stage's training, in `folder`/checkpoints; they belong to a folder of this name wherever it lies."""
    kept = folder / "checkpoints"
    return Checkpoints(
        kept,
        ranks,
        logging.getLogger("ricebench.train").warning,
        data=key_of(kept),
        foreign=f"{kept} holds what belongs to another name",
        advice=f"remove {kept} to begin again",
    )
