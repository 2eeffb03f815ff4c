"""The trunk before the first step: drawn from the configuration's seed, or taken from a checkpoint.

A plain start (standard deviation .02 throughout) suits widths of 768 and more, and long trainings: in a narrow trunk those
weights are so small that Adam's steps of 1e-3 scramble them before anything is learnt. The `whitened` start is for trainings
of a few hundred steps and uses no label: the patch convolution whitens the patches of the training images (as the first layer
of short CIFAR trainings does, Jordan 2024, section 3.2), what reads the residual stream is drawn at unit gain, and every
block begins as the identity. It is a choice of weights alone; the architecture stays MLCD's.
"""

from __future__ import annotations

from itertools import islice
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from rice_core.errors import UserError
from rice_core.model.vit import Block, ViT
from rice_core.rice.config import TrainConfig
from rice_core.rice.loader import RegionLoader
from rice_core.rice.regions import RegionManifest
from rice_core.spec import EncoderSpec

IMAGES = 512
"""That the patches are taken from: 144 patches each at 96 pixels are 170 for each of the 432 numbers that a 12-pixel patch has."""
RIDGE = 1e-3
"""Of the largest second moment, added to all: what is weaker than this is noise, and not brought up to the rest."""
SIZE = 4.0
"""Of the whitened patches. The norm behind them takes it out again; Adam's steps, which are of one size, turn axes more slowly."""


def initial_trunk(config: TrainConfig, manifest: RegionManifest) -> ViT:
    """The trunk before the first step. Moves the global torch seed.

    Args:
        manifest: of the curated folder; a whitened start looks at its images.

    Raises:
        UserError: `init_from` does not fit the trunk, or a whitened start cannot read the data.
    """
    torch.manual_seed(config.seed)
    vit = ViT(config.model.trunk)
    if config.model.start == "whitened":
        _unit_gain(vit)
        vit.patch_embed.weight.data.copy_(_whitening(config, manifest).view_as(vit.patch_embed.weight))
    if config.model.init_from:
        _load(vit, config.model.init_from)
    return vit


def _unit_gain(vit: ViT) -> None:
    """Blocks that are the identity, behind queries, keys, values and hidden units of the size of what they read."""
    for block in cast("list[Block]", list(vit.blocks)):
        nn.init.trunc_normal_(block.attention.qkv.weight, std=vit.config.width**-0.5)
        nn.init.trunc_normal_(block.mlp_in.weight, std=vit.config.width**-0.5)
        nn.init.zeros_(block.attention.out.weight)
        nn.init.zeros_(block.mlp_out.weight)


def _whitening(config: TrainConfig, manifest: RegionManifest) -> torch.Tensor:
    """(D, 3 p p): the D strongest principal axes of the normalised patches, each brought to one second moment, turned at random.

    The random turn spreads axes over channels, so that a head's share of them holds no special ones.
    """
    D, patch = config.model.trunk.width, config.model.trunk.patch
    moment = torch.zeros(3 * patch**2, 3 * patch**2, dtype=torch.float64)
    # The first images of the first stage, in the order of one process: the same on every rank.
    loader = RegionLoader(config, manifest, stage=config.stages[0])
    mean, std = (torch.tensor(values)[:, None, None] for values in (config.mean, config.std))
    batches = -(-IMAGES * config.accumulate // config.batch)
    for batch in islice(loader, batches):
        pixels_B3HW = (batch.pixels_B3HW / 255 - mean) / std
        patches_CP = F.unfold(pixels_B3HW, patch, stride=patch).transpose(0, 1).flatten(1).double()
        moment += patches_CP @ patches_CP.T / (patches_CP.shape[1] * batches)
    power, axes = torch.linalg.eigh(moment)
    power, axes = power.flip(0)[:D], axes.flip(1)[:, :D]
    turned, _ = torch.linalg.qr(torch.randn(D, len(power), dtype=torch.float64))
    return cast(torch.Tensor, SIZE * turned @ (axes / (power + RIDGE * power[0]).sqrt()).T).float()


def _load(vit: ViT, text: str) -> None:
    from rice_core.encoders import load_encoder
    from rice_core.encoders.regions import native_trunk_of

    start, _ = native_trunk_of(load_encoder(EncoderSpec.parse(text)))
    try:
        vit.load_state_dict(start.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"init_from {text} does not fit the trunk ({reason}); give the same vit.") from None
