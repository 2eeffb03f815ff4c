"""A small easy world, curated once a session, and what reads shards back without the code that wrote them."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rice_core.progress import Progress
from rice_core.rice.curate import CurateSettings, curate
from rice_core.rice.regions import RegionManifest
from rice_core.world.layouts.coco import write_coco

QUIET = Progress(quiet=True)


def world_settings(**changes: Any) -> CurateSettings:
    """Of the miniature world."""
    small = {
        "proposals": "coco",
        "text": "annotations",
        "tokenizer": "syllables",
        "captions": "coco",
        "classes": 60,
        "min_image": 0,
        "min_box": 0,
        "shard_samples": 128,
    }
    return CurateSettings(**(small | changes))


def read_members(folder: Path, manifest: RegionManifest) -> list[tuple[dict[str, Any], Image.Image]]:
    """(json, image) of every sample of a folder, in order."""
    found = []
    for shard in manifest.shards:
        parts: dict[str, dict[str, bytes]] = {}
        with tarfile.open(folder / shard.file) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                file = tar.extractfile(member)
                assert file is not None
                parts.setdefault(key, {})[suffix] = file.read()
        assert len(parts) == shard.samples
        for part in parts.values():
            body = json.loads(part.pop("json"))
            (image,) = part.values()
            found.append((body, Image.open(io.BytesIO(image))))
    return found


@pytest.fixture(scope="session")
def settings() -> Callable[..., CurateSettings]:
    return world_settings


@pytest.fixture(scope="session")
def members() -> Callable[[Path, RegionManifest], list[tuple[dict[str, Any], Image.Image]]]:
    return read_members


@pytest.fixture(scope="session")
def quiet() -> Progress:
    return QUIET


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = write_coco(tmp_path_factory.mktemp("world") / "coco", seed=3, train=300, val=4)
    return folder


@pytest.fixture(scope="session")
def curated(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RegionManifest]:
    out = tmp_path_factory.mktemp("curated") / "out"
    return out, curate(world, out, world_settings(), progress=QUIET)
