"""What a training says of its regions is what `encode_regions` does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shards import write_shards
from training import no_pictures, run, tiny  # noqa: F401

from rice_core.encoders.regions import RegionEncoder
from rice_core.errors import UserError
from rice_core.model.vit import PRESETS
from rice_core.rice.config import ModelConfig, TrainConfig
from rice_core.rice.loader import RegionLoader
from rice_core.rice.objectives import build_objective
from rice_core.rice.regions import read_region_manifest

VIT = {"width": 16, "depth": 3, "heads": 2, "patch": 8, "resolution": 32}
ONE_STEP = [{"resolution": 32, "samples": 8}]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


def _trained(data: Path, folder: Path, layers: int, mode: str = "shared", name: str = "rice") -> TrainConfig:
    config = tiny(
        data,
        model={"vit": VIT, "region_layers": layers, "region_mode": mode},
        objective={"name": name, "regions": 3, "loss": {"rho": 0.5, "margin": "cos"}},
        stages=ONE_STEP,
        ema=None,
    )
    config = config.model_copy(update={"data": config.data.model_copy(update={"overlap": 0.2})})
    run(config, folder)
    return config


@pytest.mark.parametrize("layers", [1, 3])
def test_regions_are_encoded_as_they_were_trained(data: Path, tmp_path: Path, layers: int) -> None:
    config = _trained(data, tmp_path, layers)
    batch = next(iter(RegionLoader(config, read_region_manifest(data), stage=config.stages[0])))
    network = build_objective(config, read_region_manifest(data)).network.eval()
    for source in (f"rice:{tmp_path / 'encoder'}", f"hf:{tmp_path / 'hf'}"):
        encoder = RegionEncoder.load(source)
        network.vit.trunk.load_state_dict(encoder.model.trunk.state_dict())
        with torch.no_grad():
            trained_BND = network(batch)
            encoded_BND = encoder.model(network.normalize(batch.pixels_B3HW), batch.visible_BNP).regions_BND
        torch.testing.assert_close(encoded_BND, trained_BND, atol=1e-5, rtol=1e-5)
        assert encoder.overlap == 0.2


def test_other_layers_can_be_asked_for(data: Path, tmp_path: Path) -> None:
    _trained(data, tmp_path, 1)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    found = [
        RegionEncoder.load(f"rice:{tmp_path / 'encoder'}", layers=layers).encode_regions(
            [image], boxes=[[(4, 4, 20, 20)]]
        )
        for layers in (None, 1, 3)
    ]
    assert torch.equal(found[0][0], found[1][0])
    assert not torch.equal(found[0][0], found[2][0])


def test_a_head_is_not_exported_and_so_gives_no_region_embeddings(data: Path, tmp_path: Path) -> None:
    _trained(data, tmp_path, 1, mode="head")
    with pytest.raises(UserError, match="layers of their own"):
        RegionEncoder.load(f"rice:{tmp_path / 'encoder'}")


def test_an_objective_without_regions_says_nothing_of_them(data: Path, tmp_path: Path) -> None:
    _trained(data, tmp_path, 1, name="mlcd")
    assert RegionEncoder.load(f"rice:{tmp_path / 'encoder'}").model.layers == 2


def test_layers_where_none_are_given() -> None:
    assert {name: ModelConfig(vit=name).layers for name in PRESETS} == {"Ti/16": 2, "S/16": 2, "B/16": 2, "L/14": 4}


def test_regions_of_an_encoder_in_half_precision(data: Path, tmp_path: Path) -> None:
    _trained(data, tmp_path, layers=1)
    images, boxes = [Image.new("RGB", (40, 40), "red")], [[(0, 0, 20, 20)]]
    whole, half = (
        RegionEncoder.load(f"rice:{tmp_path / 'encoder'}?dtype={dtype}").encode_regions(images, boxes=boxes)[0]
        for dtype in ("fp32", "bf16")
    )
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, whole, rtol=0.1, atol=0.1)
