"""Train the small supervised ViT that the demo shows:  python -m rice_core.rice.demo_encoder --out FOLDER

It is no RICE model: it is told the categories. It stands in the demo for "an encoder that has learnt something" between
random weights and the oracle. It sees the miniature world of another seed than the demo's, so it has seen no image of it.

    loss = cross-entropy of every patch token over 48 categories and background (by what covers most of the patch)
         + cross-entropy of every object's pooled tokens, cosine logits   (what k-NN will look at)
         + 0.2 * binary cross-entropy of the class token over the categories in the image

Shapes: B images, T = h*w patch tokens, N objects of a batch, C width, K = 48 categories.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from rice_core.datasets.geometry import cell_shares
from rice_core.encoders.rice import save_rice
from rice_core.model.vit import ViT, ViTConfig
from rice_core.workers import pool_of
from rice_core.world.layouts.coco import VAL_START
from rice_core.world.scenes import WORLD_VERSION, draw_scene
from rice_core.world.shapes import CATEGORIES

K = len(CATEGORIES)
BACKGROUND = K
MEAN, STD = 0.8, 0.2
"""The world is light: these put its pixels near zero mean and unit variance. The same for R, G and B."""


@dataclass(frozen=True)
class DemoSettings:
    """Everything that fixes the result, up to the arithmetic of the machine."""

    seed: int = 0
    world_seed: int = 1000
    scenes: int = 6_000
    held_out: int = 400
    steps: int = 800
    batch: int = 32
    rate: float = 2e-3
    warm_up: int = 100
    decay: float = 0.05
    threads: int = 1
    """A fixed number, because sums in another order give other weights; one, because two fight on a shared machine."""


@dataclass(frozen=True)
class TrainingScenes:
    """Drawn scenes with the targets of every patch and object."""

    pixels_B3HW: torch.Tensor
    """uint8."""
    tokens_BT: torch.Tensor
    """Category of what covers most of the patch, BACKGROUND where nothing covers a quarter."""
    shares_NT: torch.Tensor
    """The share of every patch that object n covers."""
    labels_N: torch.Tensor
    image_N: torch.Tensor
    """Index of the object's image."""

    def pick(self, images: torch.Tensor) -> TrainingScenes:
        """The scenes at these indices, each at most once, with their objects."""
        place_of = torch.full((len(self.pixels_B3HW),), -1)
        place_of[images] = torch.arange(len(images))
        objects = place_of[self.image_N] >= 0
        return TrainingScenes(
            self.pixels_B3HW[images],
            self.tokens_BT[images],
            self.shares_NT[objects],
            self.labels_N[objects],
            place_of[self.image_N[objects]],
        )


class Supervised(nn.Module):
    """The trunk and the three heads, which are thrown away."""

    def __init__(self, vit: ViT) -> None:
        super().__init__()
        self.vit = vit
        self.token_head = nn.Linear(vit.config.width, K + 1)
        self.object_head = nn.Linear(vit.config.width, K, bias=False)
        self.image_head = nn.Linear(vit.config.width, K)

    def forward(self, pixels_B3HW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 pixels -> (class token after the norm, B x C; raw patch tokens, B x T x C), in float32."""
        tokens_BTC = self.vit(normalize(pixels_B3HW))[0]
        return self.vit.pool(tokens_BTC).float(), tokens_BTC[:, 1:].float()

    def objects(self, patches_BTC: torch.Tensor, batch: TrainingScenes) -> torch.Tensor:
        """Logits N x K: 16 times the cosine to each category's center."""
        x_NC = pool(patches_BTC, batch)
        return 16 * F.normalize(x_NC, dim=-1) @ F.normalize(self.object_head.weight, dim=-1).T

    def loss(self, batch: TrainingScenes) -> torch.Tensor:
        cls_BC, patches_BTC = self(batch.pixels_B3HW)
        tokens = F.cross_entropy(self.token_head(patches_BTC).flatten(0, 1), batch.tokens_BT.flatten())
        objects = F.cross_entropy(self.objects(patches_BTC, batch), batch.labels_N)
        present_BK = torch.zeros(len(cls_BC), K)
        present_BK[batch.image_N, batch.labels_N] = 1
        return tokens + objects + 0.2 * F.binary_cross_entropy_with_logits(self.image_head(cls_BC), present_BK)


def normalize(pixels_B3HW: torch.Tensor) -> torch.Tensor:
    return (pixels_B3HW.float() / 255 - MEAN) / STD


def pool(patches_BTC: torch.Tensor, batch: TrainingScenes) -> torch.Tensor:
    """N x C: the mean of the patch tokens that an object covers, weighted by its share of each."""
    weights_NT = batch.shares_NT / batch.shares_NT.sum(dim=1, keepdim=True)
    return torch.einsum("nt,ntc->nc", weights_NT, patches_BTC[batch.image_N])


def draw(world_seed: int, indices: range, config: ViTConfig, *, workers: int = 1) -> TrainingScenes:
    """Draw scenes of a world; the result does not depend on the number of workers."""
    one = partial(_draw_one, world_seed, config.resolution, config.resolution // config.patch)
    if workers > 1:
        with pool_of(workers) as executor:
            drawn = list(executor.map(one, indices, chunksize=64))
    else:
        drawn = [one(index) for index in indices]
    shares, labels = [np.stack(d[1]) for d in drawn], [d[2] for d in drawn]
    tokens = [_token_targets(s, lab) for s, lab in zip(shares, labels, strict=True)]
    return TrainingScenes(
        torch.from_numpy(np.stack([d[0] for d in drawn])),
        torch.from_numpy(np.stack(tokens)),
        torch.from_numpy(np.concatenate(shares)),
        torch.from_numpy(np.concatenate(labels)),
        torch.from_numpy(np.repeat(np.arange(len(drawn)), [len(lab) for lab in labels])),
    )


def train(settings: DemoSettings, config: ViTConfig, scenes: TrainingScenes) -> Supervised:
    """AdamW with warm-up and cosine decay, in bfloat16 where autocast allows. Moves the global torch seed."""
    torch.manual_seed(settings.seed)
    model = Supervised(ViT(config))
    optimizer = torch.optim.AdamW(_groups(model, settings.decay), lr=settings.rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("training", total=settings.steps)
        for step, images in zip(range(settings.steps), _batches(settings, len(scenes.pixels_B3HW)), strict=False):
            # The fused attention's backward is slow on a CPU.
            with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16):
                loss = model.loss(scenes.pick(images))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            shown = f"training, loss {loss.item():.3f}" if step % 20 == 0 else None
            progress.update(task, advance=1, description=shown)
            if not progress.console.is_terminal and step % 100 == 0:
                print(f"step {step} of {settings.steps}, loss {loss.item():.3f}", flush=True)
    return model.eval()


@torch.no_grad()
def object_accuracy(model: Supervised, scenes: TrainingScenes) -> float:
    """Share of the objects whose pooled tokens the object head puts into the right category."""
    hits = 0
    total = len(scenes.pixels_B3HW)
    for start in range(0, total, 64):
        batch = scenes.pick(torch.arange(start, min(start + 64, total)))
        hits += int((model.objects(model(batch.pixels_B3HW)[1], batch).argmax(dim=1) == batch.labels_N).sum())
    return hits / len(scenes.labels_N)


def main(arguments: list[str] | None = None) -> None:
    """Train, measure on scenes held out from the same world, write the folder."""
    parser = argparse.ArgumentParser(description="Train the demo's supervised ViT on the miniature world.")
    parser.add_argument("--out", type=Path, required=True, help="folder for encoder.safetensors and encoder.json")
    parser.add_argument("--seed", type=int, default=DemoSettings.seed)
    parser.add_argument("--steps", type=int, default=DemoSettings.steps)
    parser.add_argument("--scenes", type=int, default=DemoSettings.scenes)
    parser.add_argument(
        "--held-out", type=int, default=DemoSettings.held_out, help="scenes that accuracy is measured on"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that draw the scenes")
    given = parser.parse_args(arguments)
    config = ViTConfig()
    settings = DemoSettings(seed=given.seed, steps=given.steps, scenes=given.scenes, held_out=given.held_out)
    torch.set_num_threads(settings.threads)
    scenes = draw(settings.world_seed, range(settings.scenes), config, workers=given.workers)
    held_out = draw(settings.world_seed, range(VAL_START, VAL_START + settings.held_out), config, workers=given.workers)
    model = train(settings, config, scenes)
    # Rounded before it is measured and saved, so that half the bytes hold exactly what was measured.
    model.vit.load_state_dict({name: tensor.half().float() for name, tensor in model.vit.state_dict().items()})
    accuracy = object_accuracy(model, held_out)
    tags = _tags(settings, accuracy, len(held_out.labels_N))
    save_rice(given.out, model.vit.half(), tags=tags, mean=(MEAN,) * 3, std=(STD,) * 3)
    print(f"held-out accuracy over pooled objects {accuracy:.3f} (n = {len(held_out.labels_N)}, chance {1 / K:.3f})")


def _tags(settings: DemoSettings, accuracy: float, n: int) -> dict[str, str]:
    return {
        "objective": "supervised: category of every patch, object and image of the miniature world",
        "world": f"version {WORLD_VERSION}, easy, seed {settings.world_seed}, scenes 0 to {settings.scenes - 1}",
        "steps": f"{settings.steps} of {settings.batch} images",
        "seed": str(settings.seed),
        "command": f"python -m rice_core.rice.demo_encoder --seed {settings.seed} --steps {settings.steps} "
        f"--scenes {settings.scenes} --out FOLDER",
        "held_out": f"accuracy {accuracy:.3f} over {n} pooled objects of scenes {VAL_START} and up of the same world",
        "rounding": "every weight is a float16",
    }


def _draw_one(
    world_seed: int, size: int, grid: int, index: int
) -> tuple[npt.NDArray[np.uint8], list[npt.NDArray[np.float32]], list[int]]:
    scene = draw_scene(world_seed, index, size=size)
    shares = [cell_shares(thing.mask_HW, (grid, grid)).ravel() for thing in scene.things]
    return scene.pixels_HW3.transpose(2, 0, 1).copy(), shares, [thing.category for thing in scene.things]


def _token_targets(shares_nT: npt.NDArray[np.float32], labels: list[int]) -> npt.NDArray[np.int64]:
    return np.where(shares_nT.max(axis=0) >= 0.25, np.asarray(labels)[shares_nT.argmax(axis=0)], BACKGROUND)


def _groups(model: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weight decay for matrices alone."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    return [
        {"params": matrices, "weight_decay": decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]


def _rate(step: int, settings: DemoSettings) -> float:
    """Linear warm-up, then cosine to zero."""
    if step < settings.warm_up:
        return (step + 1) / settings.warm_up
    done = (step - settings.warm_up) / max(1, settings.steps - settings.warm_up)
    return 0.5 * (1 + float(np.cos(np.pi * min(1.0, done))))


def _batches(settings: DemoSettings, n: int) -> Iterator[torch.Tensor]:
    """Epoch after epoch in an order of its own generator; a last short batch is left out."""
    generator, batch = torch.Generator().manual_seed(settings.seed), min(settings.batch, n)
    while True:
        order = torch.randperm(n, generator=generator)
        yield from (order[start : start + batch] for start in range(0, n - batch + 1, batch))


if __name__ == "__main__":
    main()
