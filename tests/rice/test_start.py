"""Weights before the first step: plain, whitened, or from a checkpoint (test_objectives)."""

from itertools import islice
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from shards import write_shards

from rice_core.rice.config import TrainConfig
from rice_core.rice.loader import RegionLoader
from rice_core.rice.regions import read_region_manifest
from rice_core.rice.start import SIZE, initial_trunk


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> TrainConfig:
    folder: Path = write_shards(tmp_path_factory.mktemp("data") / "shards")
    vit = {"width": 32, "depth": 2, "heads": 2, "patch": 8, "resolution": 48}
    return TrainConfig.model_validate(
        {
            "name": "start",
            "model": {"vit": vit, "region_layers": 1, "start": "whitened"},
            "data": {"path": str(folder)},
            "stages": [{"resolution": 48, "samples": 64}],
            "batch": 16,
        }
    )


def _pixels(config: TrainConfig) -> torch.Tensor:
    """The normalised images that the start looks at: 512, some of them more than once."""
    manifest = read_region_manifest(config.data.path)
    batches = islice(RegionLoader(config, manifest, stage=config.stages[0]), 512 // 16)
    pixels = torch.cat([batch.pixels_B3HW for batch in batches]) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.mean, config.std))
    return (pixels - mean) / std


def test_a_whitened_start_has_uncorrelated_patches(config):
    vit = initial_trunk(config, read_region_manifest(config.data.path))
    with torch.no_grad():
        patches_PD = vit.patch_embed(_pixels(config)).flatten(2).transpose(1, 2).flatten(0, 1)
    moment = patches_PD.T @ patches_PD / len(patches_PD) / SIZE**2
    # The ridge keeps the weak axes below one, so the spectrum is what can be said exactly.
    raw = F.unfold(_pixels(config), 8, stride=8).transpose(0, 1).flatten(1).double()
    power = torch.linalg.eigvalsh(raw @ raw.T / raw.shape[1]).flip(0)[:32]
    want = power / (power + 1e-3 * power[0])
    torch.testing.assert_close(
        torch.linalg.eigvalsh(moment.double()).flip(0), want.sort(descending=True)[0], atol=1e-3, rtol=0
    )
    assert want[0] > 0.99


def test_blocks_begin_as_the_identity(config):
    vit = initial_trunk(config, read_region_manifest(config.data.path))
    pixels = _pixels(config)[:2]
    with torch.no_grad():
        torch.testing.assert_close(vit(pixels)[0], vit.embed(pixels)[0])


def test_the_start_depends_on_the_seed_and_the_data_alone(config):
    manifest = read_region_manifest(config.data.path)
    first, again = (initial_trunk(config, manifest).state_dict() for _ in range(2))
    other = initial_trunk(config.model_copy(update={"seed": 1}), manifest).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["patch_embed.weight"], other["patch_embed.weight"])


def test_fewer_axes_than_channels_are_enough(config):
    """A wide trunk on small patches has more channels than a patch has numbers."""
    vit = {"width": 64, "depth": 1, "heads": 2, "patch": 4, "resolution": 48}
    wide = config.model_copy(update={"model": config.model.model_copy(update={"vit": type(config.model.vit)(**vit)})})
    weight = initial_trunk(wide, read_region_manifest(wide.data.path)).patch_embed.weight
    assert weight.shape == (64, 3, 4, 4)
    assert weight.isfinite().all()
