"""What is learnt: `rice`, `mlcd` and `siglip` on one trunk and one kind of data, so that encoders differ in objective alone.

    rice     every region's embedding against its cluster (objects) or its tokens (text): Eq. 3 and 4 of the paper
    mlcd     the class embedding against the set of all labels in the image: the same clusters, tokens and loss, no regions
    siglip   the class embedding against a caption's, pairwise sigmoid loss (Zhai et al. 2023, Eq. 1)

Shapes: B images, N regions an image, R = B*N, M labels a region, L labels or tokens an image, D embedding width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch.distributed.nn.functional import all_gather

from rice_core.errors import UserError
from rice_core.model.vit import ViT
from rice_core.rice.batch import Batch
from rice_core.rice.captions import caption_tokenizer
from rice_core.rice.config import TrainConfig
from rice_core.rice.loss.centers import ClassCenters
from rice_core.rice.loss.cluster import LossOutput, cluster_loss
from rice_core.rice.loss.holders import Holders
from rice_core.rice.networks import CaptionNetwork, ImageNetwork, ImageTextOutput, Network, RegionNetwork
from rice_core.rice.regions import REGION_TYPES, RegionManifest
from rice_core.rice.start import initial_trunk

Group = Any
"""A torch process group; None is one process."""


class Objective(Protocol):
    """A network, the banks of class centers beside it, and the loss between them.

    `network` is what DDP or FSDP2 wraps: every rank has all of it and gradients are averaged. `banks` are sharded over
    ranks by rows, never averaged, and have an optimizer of their own.
    """

    network: Network
    banks: dict[str, ClassCenters]

    def weights(self, batch: Batch) -> dict[str, float]:
        """What the parts of the loss are divided by, by name: the weight of what counts in this rank's batch."""

    def loss(self, outputs: Any, batch: Batch, *, step: int, totals: Mapping[str, float] | None = None) -> LossOutput:
        """The same value on every rank; the gradient is right once gradients of `network` are averaged over ranks.

        Args:
            totals: of a step in several batches: their `weights`, added up over batches and ranks. Then the losses of the
                batches, and their gradients, add up to those of the step. None: the batch is all of it.
        """


def build_objective(config: TrainConfig, manifest: RegionManifest, *, group: Group = None) -> Objective:
    """The objective of a configuration over the classes of a curated folder, drawn from the configuration's seed.

    Raises:
        UserError: the folder lacks a bank that the objective needs, or `init_from` does not fit the trunk.
    """
    # Weights are drawn on the CPU, the same for every device; the generators of GPUs need no rescue.
    with torch.random.fork_rng(devices=()):
        trunk = initial_trunk(config, manifest)
        match config.objective.name:
            case "rice":
                return Rice(config, manifest, trunk, group)
            case "mlcd":
                return Mlcd(config, manifest, trunk, group)
            case "siglip":
                return Siglip(config, trunk, group)


Scored = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Embeddings (R, D), their labels in one bank (R, M), and their weights (R,)."""


class _OverBanks:
    """Cluster discrimination: the weighted sum of a loss over each bank, their statistics side by side."""

    def __init__(
        self, config: TrainConfig, manifest: RegionManifest, network: Network, types: tuple[str, ...], group: Group
    ) -> None:
        self.network = network
        self.banks = _banks(config, manifest, types, network.dim, group)
        self._config, self._group = config.objective, group

    def scored(self, outputs: torch.Tensor, batch: Batch) -> dict[str, Scored]:
        """What is scored against each bank."""
        raise NotImplementedError

    def loss(
        self, outputs: torch.Tensor, batch: Batch, *, step: int, totals: Mapping[str, float] | None = None
    ) -> LossOutput:
        parts = {
            name: cluster_loss(
                *scored,
                self.banks[name],
                self._config.loss,
                step=step,
                mean_reduction=Holders.of(self._group).world > 1,
                weight_total=None if totals is None else torch.tensor(totals[name], device=outputs.device),
            )
            for name, scored in self.scored(outputs, batch).items()
        }
        weights = cast(dict[str, float], self._config.type_weights)
        total = torch.stack([weights.get(name, 1.0) * part.loss for name, part in parts.items()]).sum()
        stats = {f"{name}/{key}": value for name, part in parts.items() for key, value in part.stats.items()}
        return LossOutput(total, stats | {f"{name}/loss": part.loss.detach() for name, part in parts.items()})


class Rice(_OverBanks):
    """Region cluster discrimination."""

    def __init__(self, config: TrainConfig, manifest: RegionManifest, trunk: ViT, group: Group) -> None:
        super().__init__(config, manifest, RegionNetwork(config, trunk, config.model.projection), REGION_TYPES, group)

    def weights(self, batch: Batch) -> dict[str, float]:
        labelled_BN = (batch.labels_BNM >= 0).any(dim=-1)
        return {
            name: float((batch.weight_BN * labelled_BN * (batch.type_BN == _type(name))).sum()) for name in self.banks
        }

    def scored(self, outputs: torch.Tensor, batch: Batch) -> dict[str, Scored]:
        x_RD, type_R = outputs.flatten(0, 1), batch.type_BN.flatten()
        labels_RM, weight_R = batch.labels_BNM.flatten(0, 1), batch.weight_BN.flatten()
        rows = {name: ((type_R == _type(name)) & (weight_R > 0)).nonzero()[:, 0] for name in self.banks}
        return {name: (x_RD[own], labels_RM[own], weight_R[own]) for name, own in rows.items()}


class Mlcd(_OverBanks):
    """Multi-label cluster discrimination of whole images (An et al. 2024), over the labels that their regions have."""

    def __init__(self, config: TrainConfig, manifest: RegionManifest, trunk: ViT, group: Group) -> None:
        types = REGION_TYPES if config.objective.image_labels == "regions" else ("image",)
        super().__init__(config, manifest, ImageNetwork(config, trunk, config.model.projection), types, group)

    def weights(self, batch: Batch) -> dict[str, float]:
        return {name: float((_image_labels(batch, name) >= 0).any(dim=1).sum()) for name in self.banks}

    def scored(self, outputs: torch.Tensor, batch: Batch) -> dict[str, Scored]:
        labels = {name: _image_labels(batch, name) for name in self.banks}
        return {name: (outputs, own_BL, (own_BL >= 0).any(dim=1).float()) for name, own_BL in labels.items()}


class Siglip:
    """Sigmoid loss of image-caption pairs."""

    def __init__(self, config: TrainConfig, trunk: ViT, group: Group) -> None:
        vocabulary = caption_tokenizer(config.objective.tokenizer).size
        self.network: Network = CaptionNetwork(config, trunk, vocabulary)
        self.banks: dict[str, ClassCenters] = {}
        self._group = group

    def weights(self, batch: Batch) -> dict[str, float]:
        return {"pairs": float(len(batch.caption_BL))}

    def loss(
        self, outputs: ImageTextOutput, batch: Batch, *, step: int, totals: Mapping[str, float] | None = None
    ) -> LossOutput:
        if not batch.caption_BL.shape[1]:
            raise UserError("the curated folder has no captions; curate it with --captions, or train rice or mlcd.")
        image_BD, text_BD = F.normalize(outputs.image_BD.float(), dim=-1), F.normalize(outputs.text_BD.float(), dim=-1)
        ranks, own = Holders.of(self._group), len(image_BD)
        everyone_GD, first = text_BD, 0
        if ranks.world > 1:
            everyone_GD = torch.cat(all_gather(text_BD, group=self._group))  # type: ignore[no-untyped-call]
            first = ranks.rank * own
        logits_BG = image_BD @ everyone_GD.T * outputs.scale + outputs.bias
        sign_BG = -torch.ones_like(logits_BG)
        rows = torch.arange(own, device=logits_BG.device)
        sign_BG[rows, first + rows] = 1
        # Averaged over ranks with the gradients, this is the mean over all images.
        local = -F.logsigmoid(sign_BG * logits_BG).sum() / (own if totals is None else totals["pairs"] / ranks.world)
        top1 = (logits_BG.argmax(dim=1) == first + rows).float().mean()
        stats = torch.stack([local.detach(), top1, outputs.scale.detach(), outputs.bias.detach()])
        stats = ranks.total(stats) / ranks.world
        named = dict(zip(("loss", "top1", "scale", "bias"), stats, strict=True))
        # The value is everyone's, the gradient its own.
        return LossOutput(local + (named.pop("loss") - local.detach()), named)


def _type(bank: str) -> int:
    """The region type that a bank's classes are of, as batches write it."""
    return REGION_TYPES.index(cast(Any, bank))


def _image_labels(batch: Batch, bank: str) -> torch.Tensor:
    """(B, L)"""
    return {"object": batch.image_objects_BL, "ocr": batch.image_tokens_BL, "image": batch.image_clusters_BL}[bank]


def _banks(
    config: TrainConfig, manifest: RegionManifest, types: tuple[str, ...], dim: int, group: Group
) -> dict[str, ClassCenters]:
    """The banks that the folder has of those wanted; a folder without text has no `ocr` bank."""
    found = {name: manifest.banks[name] for name in types if name in manifest.banks}
    if not found:
        raise UserError(
            f"the curated folder has labels for {', '.join(sorted(manifest.banks)) or 'nothing'} and "
            f"{config.objective.name} needs {' or '.join(types)}; curate it again with what is missing."
        )
    return {
        # Far apart, so that no bank of this training shares its draws with one of the next seed's.
        name: ClassCenters(bank.classes, dim, group=group, seed=config.seed * 1009 + number)
        for number, (name, bank) in enumerate(found.items())
    }
