"""What is wrong with the folders that a store keeps beside its records: trainings, stages, drawn worlds, exports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from rice_core.digest import file_digest
from rice_core.disk.exports import about_of
from rice_core.disk.problems import printable
from rice_core.disk.sealed import Damaged, Unsealed, key_of, read_arrays, unseal_json
from rice_core.measure.trained import read_trained
from rice_core.record import Record
from rice_core.stage import STAGE_JSON

_STEP = re.compile(r"step-\d{8}")
"""A checkpoint: its files are sealed together (rice_core.train.checkpoint)."""


def read_state(path: Path) -> object:
    """What a file of an unfinished measurement holds, where it is one that carries a seal.

    Raises:
        Damaged: it is torn, changed, or another measurement's. Unsealed: it carries none. OSError: it cannot be read.
    """
    if _STEP.fullmatch(path.parent.name):
        from rice_core.train.checkpoint import check_file  # torch, which few stores ask for

        return check_file(path)
    if path.suffix == ".json":
        return unseal_json(key_of(path), path.read_bytes())
    if path.suffix == ".safetensors":
        return read_arrays(key_of(path), path)
    raise Unsealed


def faults_of_stage(folder: Path, files: set[Path]) -> Iterator[tuple[Path, str]]:
    """What is wrong with a stage's folder, file by file."""
    path = folder / STAGE_JSON
    try:
        listed = {folder / name: sha256 for name, sha256 in read_trained(path).files.items()}
    except Damaged as damage:
        yield path, str(damage)
        return
    except (OSError, Unsealed):
        yield path, "cannot be read" if path in files else "is not there"
        return
    for extra in sorted(files - listed.keys() - {path}):
        yield extra, "its stage.json does not name it"
    for named, sha256 in listed.items():
        if named not in files:
            yield named, "is not there"
        elif file_digest(named) != sha256:
            yield named, "its bytes do not match its stage's checksum"


def fault_of_world(folder: Path, files: set[Path]) -> str | None:
    """Why a drawn world cannot be believed; None where it can."""
    from rice_core.world.layouts.folder import MANIFEST, read_manifest
    from rice_core.world.mini import world_called

    manifest, called = read_manifest(folder), world_called(folder.name)
    if manifest is None:
        return f"its {MANIFEST} cannot be read"
    asked = {"layout": "coco"} | manifest.request
    if called is not None and any(asked[key] != value for key, value in vars(called).items() if key in asked):
        return "it holds another world than its name says"
    listed = {folder / name: digest for name, digest in manifest.files.items()}
    extra = sorted(files - listed.keys() - {folder / MANIFEST})
    if extra:
        return f"{printable(extra[0].relative_to(folder))} was not drawn"
    for path, digest in listed.items():
        if path not in files:
            return f"{printable(path.relative_to(folder))} is missing"
        if file_digest(path) != digest:
            return f"{printable(path.relative_to(folder))} does not match its digest"
    return None


def faults_of_export(place: Path, files: set[Path], record: Record) -> Iterator[tuple[Path, str]]:
    """What is wrong with an export, file by file, by what lies beside it (rice_core.disk.exports).

    Args:
        place: the file, or the folder of `files`.
    """
    try:
        about = json.loads(about_of(place).read_bytes())
        listed = about["files"] if place.is_dir() else {"": about.get("results")}
        digests = {place / name: digest for name, digest in listed.items()}
        weights, cell = about.get("weights"), about.get("cell", record.cell.id)
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        yield place, "nothing beside it says what it was made from"
        return
    for path in sorted(files | digests.keys()):
        if path not in files or file_digest(path) != digests.get(path):
            yield path, "it does not match the digest beside it"
            return
    if cell != record.cell.id or (record.evidence is not None and weights not in (None, record.evidence.weights)):
        yield place, "it holds the results of another cell"
