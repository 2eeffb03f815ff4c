"""Region embeddings of any released MLCD or RICE checkpoint, and of the encoders trained here.

    encoder = RegionEncoder.load("hf:DeepGlint-AI/rice-vit-large-patch14-560")
    embeddings = encoder.encode_regions(images, boxes=[[(10, 20, 200, 180)], ...])

Shapes: B images, N regions of the image that has most, n regions of one image, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from rice_core.datasets.geometry import cell_shares
from rice_core.encoders import load_encoder
from rice_core.encoders.base import TorchEncoder
from rice_core.encoders.preprocess import PixelRecipe, Preprocess
from rice_core.errors import UserError
from rice_core.features import Encoder
from rice_core.model.mlcd import from_mlcd_config, from_mlcd_state_dict
from rice_core.model.regions import RegionViT, usual_layers
from rice_core.model.visibility import box_shares, visible_patches
from rice_core.model.vit import ViT
from rice_core.spec import EncoderSpec

Boxes = Sequence[tuple[float, float, float, float]] | npt.NDArray[np.floating]


class RegionEncoder:
    """A trunk with region attention, and the preprocessing that it was trained with.

    Args:
        layers: R, the last blocks that serve as region layers; None: as many as are usual for the depth.
        overlap: the share of a patch that a region must cover to see it.
    """

    def __init__(self, trunk: ViT, recipe: Preprocess, *, layers: int | None = None, overlap: float = 0.5) -> None:
        self.model = RegionViT(trunk, layers=layers or usual_layers(trunk.config.depth)).eval()
        self.overlap = overlap
        self._recipe = recipe

    @classmethod
    def load(cls, encoder: str | EncoderSpec, *, layers: int | None = None, device: str = "cpu") -> RegionEncoder:
        """From a shorthand, `rice:FOLDER` or `hf:` of an MLCD-class checkpoint, or what `catalogue.resolve` made of a name.

        Region layers and overlap are those that it was trained with, where its folder states them.

        Raises:
            UserError: it cannot be loaded, has another architecture than MLCD's, or learnt regions in layers of their own,
                which are no part of what is exported.
        """
        spec = EncoderSpec.parse(encoder) if isinstance(encoder, str) else encoder
        loaded = load_encoder(spec)
        trunk, own = native_trunk_of(loaded)
        recipe = Preprocess(
            resolution=spec.resolution or own.resolution,
            geometry="squash",
            interpolation=own.interpolation,
            mean=own.mean,
            std=own.std,
        )
        learnt = loaded.regions if isinstance(loaded, TorchEncoder) else None
        if learnt is None:
            return cls(trunk.to(device), recipe, layers=layers)
        if learnt.mode == "head":
            raise UserError(
                f"{spec.title} learnt regions in layers of their own (region_mode: head), which no export keeps; "
                "train with region_mode: shared for region embeddings."
            )
        return cls(trunk.to(device), recipe, layers=layers or learnt.layers, overlap=learnt.overlap)

    @torch.no_grad()
    def encode_regions(
        self,
        images: Sequence[Image.Image],
        *,
        boxes: Sequence[Boxes] | None = None,
        masks: Sequence[npt.NDArray[np.bool_]] | None = None,
        thin: bool = False,
    ) -> list[torch.Tensor]:
        """One embedding a region, (n, D) float32 for each image. The whole image is squashed to the model's resolution.

        Args:
            boxes: for each image n boxes (left, top, right, bottom) in its own pixels.
            masks: instead of boxes, for each image a bool array (n, height, width).
            thin: regions see every patch they touch, as lines of text do in training.

        Raises:
            UserError: neither or both are given, their number is not that of the images, or a shape is wrong.
        """
        shares = _shares(images, boxes, masks, self._grid_hw())
        N = max((len(each) for each in shares), default=0)
        P = int(np.prod(self._grid_hw()))
        visible_BNP = np.zeros((len(images), N, P), dtype=bool)
        for b, shares_nP in enumerate(shares):
            thin_n = np.full(len(shares_nP), thin)
            visible_BNP[b, : len(shares_nP)] = visible_patches(shares_nP, thin_N=thin_n, overlap=self.overlap)
        token = self.model.trunk.class_token
        squash = self._recipe.model_copy(update={"geometry": "squash", "zoom": 1.0})
        pixels_B3HW = squash.prepare(images, *self._recipe.resolution).to(token.device, token.dtype)
        out = self.model(pixels_B3HW, torch.from_numpy(visible_BNP).to(token.device))
        return [out.regions_BND[b, : len(each)].float().cpu() for b, each in enumerate(shares)]

    def _grid_hw(self) -> tuple[int, int]:
        patch = self.model.trunk.config.patch
        h, w = self._recipe.resolution
        return h // patch, w // patch


def native_trunk_of(encoder: Encoder) -> tuple[ViT, PixelRecipe]:
    """The native trunk behind an encoder: its own, or converted from transformers' MLCD class.

    Raises:
        UserError: another architecture; region attention shares the weights of MLCD's blocks.
    """
    module = encoder.module if isinstance(encoder, TorchEncoder) else None
    if isinstance(encoder, TorchEncoder) and isinstance(module, ViT):
        return module, encoder.recipe
    if isinstance(encoder, TorchEncoder) and type(module).__name__ == "MLCDVisionModel":
        vit = ViT(from_mlcd_config(module.config.to_dict()))  # type: ignore[union-attr, operator]
        vit.load_state_dict(from_mlcd_state_dict(encoder.module.state_dict()))
        return vit, encoder.recipe
    raise UserError(
        f"{encoder.spec.title} is no MLCD or RICE encoder; region attention and export know that architecture alone."
    )


def _shares(
    images: Sequence[Image.Image],
    boxes: Sequence[Boxes] | None,
    masks: Sequence[npt.NDArray[np.bool_]] | None,
    grid_hw: tuple[int, int],
) -> list[npt.NDArray[np.floating]]:
    """For each image (n, P): the share of each patch that each region covers."""
    given = boxes if boxes is not None else masks
    if given is None or (boxes is not None and masks is not None):
        raise UserError("give encode_regions either boxes or masks.")
    if len(given) != len(images):
        raise UserError(
            f"{len(images)} images came with regions for {len(given)}; give one list of regions for each image."
        )
    shares: list[npt.NDArray[np.floating]] = []
    for number, (image, regions) in enumerate(zip(images, given, strict=True)):
        if boxes is not None:
            boxes_n4 = np.asarray(regions, dtype=np.float64).reshape(-1, 4)
            shares.append(box_shares(boxes_n4, grid_hw, (image.height, image.width)))
            continue
        masks_nHW = np.asarray(regions, dtype=bool)
        if masks_nHW.shape[1:] != (image.height, image.width):
            raise UserError(
                f"image {number} is {image.height}x{image.width} and its masks are {masks_nHW.shape[1:]}; give (n, height, width)."
            )
        shares.append(
            np.stack([cell_shares(mask, grid_hw).ravel() for mask in masks_nHW])
            if len(masks_nHW)
            else np.zeros((0, grid_hw[0] * grid_hw[1]))
        )
    return shares
