"""A small ViT that has learnt to match: what shows the object in one frame is like what shows it in another, and unlike all else.

It learns on clips of a world of another seed: on the clips that a tracker learns from its tokens would be better than on any it is judged on,
and the tracker would learn to rely on what is not there. It sees the same crops as the probe. Shapes: B pairs, K = B * S * S search tokens, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch.nn import functional

from rice_core.datasets import Dataset, open_dataset
from rice_core.encoders.preprocess import CLIP_MEAN, CLIP_STD, Preprocess, normalized
from rice_core.encoders.rice import save_rice
from rice_core.model.vit import ViT, ViTConfig
from rice_core.world.mini import WORLDS, draw
from tracking.loader import pair_batches
from tracking.pairs import PairSequence, sources_of
from tracking.recipe import RECIPES, LearningConfig
from tracking.views import PairViews

VIT = ViTConfig(width=96, depth=2, heads=3, patch=8, resolution=96)
PAIRS = LearningConfig(batch=16, part=16, gap=20, flip_each=0, precision="fp32")
_HEAT = 0.1
"""Temperature of the softmax over likeness."""


@dataclass(frozen=True)
class MatchingEncoders:
    """Folders that `rice:` reads: one network before and after it has learnt."""

    before: Path
    after: Path


def matching_world(folder: Path) -> Dataset:
    """300 clips, none of them among those of `mini-videos`."""
    world = replace(WORLDS["mini-videos"], seed=77, train=300, val=0, test=0)
    return open_dataset(draw(world, folder), name="matching")


def train_matching(
    dataset: Dataset, folder: Path, *, seed: int = 0, steps: int = 600, rate: float = 1e-3
) -> MatchingEncoders:
    """InfoNCE of the object's mean token in a template against all tokens of all search crops of the batch.

    Those that lie in the object's box of the same pair are right; the distractors of the same crop are among the wrong ones.

    Args:
        dataset: with a split `train` of videos.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vit = ViT(VIT)
    save_rice(folder / "before", vit, tags={})
    tracker = RECIPES["mini"].tracker
    views = PairViews(PairSequence(sources_of([dataset]), 1000 + seed, PAIRS.gap), tracker, PAIRS, VIT.patch)
    optimizer = torch.optim.AdamW(vit.parameters(), lr=rate, weight_decay=0.05)
    for step, batch in enumerate(islice(pair_batches(views, PAIRS), steps)):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 20, (steps - step) / (0.3 * steps))
        z_BTTC, x_BSSC = (_tokens(vit, crops.pixels_BSS3) for crops in (batch.template, batch.search))
        loss = _matching_loss(z_BTTC, batch.foreground_BTT, x_BSSC, batch.boxes_B4)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    save_rice(folder / "after", vit, tags={})
    return MatchingEncoders(folder / "before", folder / "after")


def _tokens(vit: ViT, pixels_BSS3: torch.Tensor) -> torch.Tensor:
    """As the probe sees them: mean 0 and deviation 1; here over the root of the channels, so that products are cosines."""
    recipe = Preprocess(resolution=(VIT.resolution, VIT.resolution), mean=CLIP_MEAN, std=CLIP_STD)
    pixels_B3SS = normalized(pixels_BSS3.permute(0, 3, 1, 2).float() / 255, recipe)
    side = pixels_B3SS.shape[-1] // VIT.patch
    tokens_BTC = vit(pixels_B3SS)[0][:, 1:]
    return (functional.layer_norm(tokens_BTC, (VIT.width,)) / VIT.width**0.5).unflatten(1, (side, side))


def _matching_loss(
    z_BTTC: torch.Tensor, foreground_BTT: torch.Tensor, x_BSSC: torch.Tensor, boxes_B4: torch.Tensor
) -> torch.Tensor:
    shown_BTT1 = foreground_BTT[..., None]
    object_BC = functional.normalize((z_BTTC * shown_BTT1).sum((1, 2)) / shown_BTT1.sum((1, 2)), dim=1)
    right_BK = torch.block_diag(*(each.flatten()[None] for each in _inside(boxes_B4, x_BSSC.shape[1]))).bool()
    likeness_BK = object_BC @ x_BSSC.flatten(0, 2).T / _HEAT
    share_B = likeness_BK.logsumexp(1) - likeness_BK.masked_fill(~right_BK, -torch.inf).logsumexp(1)
    return share_B.mean()


def _inside(boxes_B4: torch.Tensor, side: int) -> torch.Tensor:
    """Cells (B, S, S) whose middle is in the box, at least the one that holds the box's middle."""
    middle_S = (torch.arange(side) + 0.5) / side
    half_B2 = boxes_B4[:, 2:].clamp(min=1.01 / side) / 2
    x_BS, y_BS = ((middle_S - boxes_B4[:, axis, None]).abs() <= half_B2[:, axis, None] for axis in (0, 1))
    return y_BS[:, :, None] & x_BS[:, None]
