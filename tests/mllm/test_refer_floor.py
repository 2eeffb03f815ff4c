"""Miniature referring expressions through the reader and the scorer, and what a model gets on them that never sees a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mllm.lisa.scorer import ReferringScorer
from mllm.readers.refer import ReferLayout
from rice_core.datasets import Dataset, Expression, Region, open_dataset, region_mask
from rice_core.world.mini import World, draw
from rice_core.world.plain import PLACES


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    preset = World(name="mini-refer", seed=0, train=200, val=60, test=2, layout="refer")
    return draw(preset, tmp_path_factory.mktemp("worlds"))


@pytest.fixture(scope="module")
def data(world: Path) -> Dataset:
    return open_dataset(world, reader=ReferLayout())


def items(data: Dataset, split: str) -> list[Expression]:
    return [item for item in data.splits[split] if isinstance(item, Expression)]


def mask_of(item: Expression) -> np.ndarray:
    assert isinstance(item.mask, Region)
    found = region_mask(item.mask, (96, 96))
    assert found is not None
    return found


def run_lengths(mask_HW: np.ndarray) -> dict[str, Any]:
    packed = coco_mask.encode(np.asfortranarray(mask_HW, np.uint8))
    return {"size": packed["size"], "counts": packed["counts"].decode()}


def scored(
    world: Path, place: Path, answered: Sequence[Expression], mask: Callable[[Expression], np.ndarray]
) -> dict[str | None, float | None]:
    entries = [{"expression": item.id, "segmentation": run_lengths(mask(item))} for item in answered]
    place.write_text(json.dumps(entries))
    card = ReferringScorer().score(place, world)
    assert card.checked.left_out == ()
    return {row.labels["metric"]: row.value for row in card.rows}


def test_the_drawn_folder_is_read_as_it_was_drawn(world: Path, data: Dataset) -> None:
    assert (data.spec.layout, data.provides, data.skipped) == ("refer", {"expressions"}, ())
    assert list(data.splits) == ["test", "train", "val"]
    assert data.notes == ("mini: 3 expressions name an object without a mask, which is empty here",)
    val = items(data, "val")
    assert all(item.image.is_file() and item.size_hw == (96, 96) for item in val)
    assert len({item.cluster for item in val}) == 60
    assert sum(not mask_of(item).any() for item in val) == 1
    assert open_dataset(world).spec == data.spec.model_copy(update={"name": world.name})


def test_the_truth_is_perfect(world: Path, data: Dataset, tmp_path: Path) -> None:
    found = scored(world, tmp_path / "true.json", items(data, "val"), mask_of)
    rounded = {name: value for name, value in found.items() if name != "gIoU, empty union 0"}
    assert set(rounded.values()) == {100.0}


def test_without_a_picture_little_can_be_had(world: Path, data: Dataset, tmp_path: Path) -> None:
    """The mean mask of train, cut where it does best there, and the best for each wording: floors of every model."""
    train = items(data, "train")
    mean_HW = np.mean([mask_of(item) for item in train], axis=0)

    def ciou(cut: float, among: Sequence[Expression], mean_HW: np.ndarray) -> float:
        predicted_HW = mean_HW >= cut
        pairs = [(predicted_HW & mask_of(item), predicted_HW | mask_of(item)) for item in among]
        return float(sum(i.sum() for i, _ in pairs) / sum(u.sum() for _, u in pairs))

    cut = max(np.quantile(mean_HW, np.linspace(0, 0.95, 20)), key=lambda cut: ciou(cut, train[::5], mean_HW))
    blind = scored(world, tmp_path / "mean.json", items(data, "val"), lambda item: mean_HW >= cut)
    # Who reads the expression alone knows the place where it says one.
    places = {name: np.mean([mask_of(i) for i in train if name in i.text] or [mean_HW], axis=0) for name in PLACES}
    read = scored(
        world,
        tmp_path / "place.json",
        items(data, "val"),
        lambda item: next((m >= 0.4 for name, m in places.items() if name in item.text), mean_HW >= cut),
    )
    assert blind["cIoU"] == pytest.approx(13.6, abs=0.5)
    assert read["cIoU"] == pytest.approx(16.4, abs=0.5)
    assert (blind["Pr@0.5"], read["Pr@0.9"]) == (0.0, 0.0)
