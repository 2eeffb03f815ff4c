"""The files of a checkpoint on disk: what its loader reads, and which string reads what somebody points at. Imports no torch."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from rice_core.disk.paths import at_home
from rice_core.errors import UserError
from rice_core.spec import EncoderSpec

BUILTIN = "builtin/"
LOCAL_DIR = "local-dir:"
INDEX = ".index.json"
RICE = "encoder.json"
WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
_OF_A_FOLDER = re.compile(r"(encoder|((open_clip_)?(pytorch_)?model)(-\d+-of-\d+)?)\.(safetensors|bin|pth)")
"""Files that a folder's own configuration describes."""


def folder_of(spec: EncoderSpec) -> Path | None:
    """The local folder that an encoder is read from; None where it is a hub id, a library's name, or not there."""
    if spec.source == "rice" and spec.model.startswith(BUILTIN):
        folder = Path(str(files("rice_core"))) / "data" / spec.model.removeprefix(BUILTIN)
    elif spec.source in ("hf", "rice"):
        folder = at_home(spec.model)
    elif spec.model.startswith(LOCAL_DIR):
        folder = at_home(spec.model.removeprefix(LOCAL_DIR))
    else:
        return None
    return folder if folder.is_dir() else None


def checkpoint_files(folder: Path) -> dict[str, Path]:
    """By their name below `folder`: all files at its top level, and what its configuration and indexes name below that.

    timm and open_clip read the top level alone. transformers joins the folder with any name that stands in an index, and
    with `transformers_weights` of config.json; links are followed by all.

    Raises:
        UserError: an index names a file outside the folder.
    """
    found = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
    explicit = _json(folder / "config.json").get("transformers_weights")
    if isinstance(explicit, str):
        found |= _named(folder, [explicit], "config.json")
    for name, path in list(found.items()):
        if name.endswith(INDEX):
            weight_map = _json(path).get("weight_map")
            shards = weight_map.values() if isinstance(weight_map, dict) else ()
            found |= _named(folder, [shard for shard in shards if isinstance(shard, str)], name)
    return found


def refuse_another_kind(spec: EncoderSpec) -> None:
    """Nothing where the encoder's own source reads what its string points at, or nobody does.

    Raises:
        UserError: it is a file, or another kind of folder; the message says the string that reads it.
    """
    model = spec.model.removeprefix(LOCAL_DIR)
    bare = spec.source in ("timm", "open_clip") and model == spec.model
    place = at_home(model)
    # A name of timm or open_clip may also be called as a folder is, and open_clip:NAME/FILE ends in one.
    if spec.model.startswith(BUILTIN) or (bare and "/" not in model and place.suffix not in WEIGHTS):
        return
    strings = reading_strings(place)
    prefix = spec.model[: len(spec.model) - len(model)]
    own = EncoderSpec(source=spec.source, model=f"{prefix}{place}").shorthand
    if strings and own not in strings:
        raise UserError(f"{spec.title}: {model} is not read in that way; write {' or '.join(strings)}.")


def reading_strings(place: Path) -> tuple[str, ...]:
    """The strings by which encoders are read from a file or folder, the surest first; empty where nothing is known of it."""
    if place.is_dir():
        config = _json(place / "config.json")
        found = {
            f"rice:{place}": (place / RICE).is_file(),
            f"hf:{place}": "model_type" in config,
            f"open_clip:{LOCAL_DIR}{place}": (place / "open_clip_config.json").is_file(),
            f"timm:{LOCAL_DIR}{place}": "architecture" in config and "model_type" not in config,
            f"rice:{place / 'encoder'}": (place / "encoder" / RICE).is_file(),
        }
        return tuple(_typed(string) for string, there in found.items() if there)
    if not place.is_file():
        return ()
    part = place.suffix == ".json" or _OF_A_FOLDER.fullmatch(place.name)
    if part and (strings := reading_strings(place.parent)):
        return strings
    return (EncoderSpec(source="timm", model="NAME", weights=str(place)).shorthand,) if place.suffix in WEIGHTS else ()


def _typed(string: str) -> str:
    source, _, model = string.partition(":")
    return EncoderSpec.model_validate({"source": source, "model": model}).shorthand


def _named(folder: Path, names: list[str], where: str) -> dict[str, Path]:
    """Those of `names` that are there. What is missing is the loader's to report."""
    for name in set(names):
        parts = (PurePosixPath(name), PureWindowsPath(name))
        if any(path.is_absolute() or path.drive or ".." in path.parts for path in parts):
            raise UserError(
                f"{where} of {folder} names {name!r}, which is outside the folder and is never read; "
                "put the weights into the folder and name them there."
            )
    return {name: folder / name for name in sorted(set(names)) if (folder / name).is_file()}


def _json(path: Path) -> dict[str, Any]:
    """Empty where it is no JSON object: the loader reports that."""
    try:
        body = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
