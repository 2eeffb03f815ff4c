"""`synthetic:KIND`: encoders with known answers, the controls of every probe.

    noise             features drawn from the bytes of the image alone: chance
    constant          the same features for every image
    random-weights    the native ViT, untrained; random-weights/7 is another draw. A floor, not chance
    oracle            told the truth: a fixed random unit code of each category. The ceiling. Of ignored pixels it is told nothing
    oracle/0.5        that share of the oracle's signal replaced by noise; oracle/1 is noise

Shapes: B images, H x W pixels, h x w the patch grid, U distinct labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from rice_core.digest import bytes_digest, json_digest
from rice_core.encoders.base import TorchEncoder
from rice_core.encoders.preprocess import Preprocess, normalized
from rice_core.encoders.rice import native_trunk
from rice_core.encoders.sizes import fitted, input_size
from rice_core.errors import UserError, did_you_mean
from rice_core.features import BACKGROUND, IGNORE, Encoder, Features, Truth
from rice_core.model.vit import ViT, ViTConfig
from rice_core.spec import EncoderSpec

SIDE, PATCH, DIM = 96, 8, 64
KINDS = ("noise", "constant", "random-weights", "oracle")


def load(spec: EncoderSpec) -> Encoder:
    """Build one of the kinds above.

    Raises:
        UserError: no such kind, or a setting that it does not have.
    """
    kind, slash, setting = spec.model.partition("/")
    if kind not in KINDS or spec.revision or (slash and kind in ("noise", "constant")):
        near = did_you_mean(kind, KINDS)
        raise UserError(f"{spec.title} is no synthetic encoder; {near}there are {', '.join(KINDS)} and oracle/SHARE.")
    try:
        seed = int(setting) if slash and kind == "random-weights" else 0
        share = float(setting) if slash and kind == "oracle" else float(kind == "noise")
        if seed < 0 or not 0 <= share <= 1:
            raise ValueError
    except ValueError:
        raise UserError(
            f"{spec.title}: give a seed from 0 (random-weights/7), or a share from 0 to 1 (oracle/0.5)."
        ) from None
    if spec.pixels:
        raise UserError(f"{spec.title} was trained on no pixels; leave out {' and '.join(spec.pixels)}.")
    if kind == "random-weights":
        return _random_weights(spec, seed)
    if spec.layers != (-1,) or spec.norm_last is not None or spec.dtype != "float32":
        raise UserError(f"{spec.title} has one layer, no norm and no weights; leave out layers, norm and dtype.")
    return Oracle(spec, share) if kind == "oracle" else Untold(spec, kind)


class Untold:
    """noise and constant: what is known without looking."""

    patch, dim, n_params = PATCH, DIM, 0

    def __init__(self, spec: EncoderSpec, kind: str) -> None:
        self.spec = spec.model_copy(update={"resolution": input_size(spec, PATCH, (SIDE, SIDE))})
        self.device = torch.device("cpu")
        self._kind = kind
        self._recipe = Preprocess(resolution=(SIDE, SIDE))

    @property
    def provides(self) -> frozenset[str]:
        return frozenset({"dense", "cls", "multires"})

    def to(self, device: torch.device | str) -> Self:
        self.device = torch.device(device)
        return self

    def preprocess(self, images: Sequence[Image.Image]) -> torch.Tensor:
        assert self.spec.resolution is not None
        return self._recipe.prepare(images, *self.spec.resolution)

    def normalize(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        return normalized(pixels_B3HW, self._recipe)

    def encode(self, pixels_B3HW: torch.Tensor) -> Features:
        pixels_B3HW = fitted(self.spec, PATCH, pixels_B3HW)
        B, h, w = pixels_B3HW.shape[0], pixels_B3HW.shape[2] // PATCH, pixels_B3HW.shape[3] // PATCH
        if self._kind == "constant":
            return Features(torch.ones(B, DIM, h, w, device=self.device), torch.ones(B, DIM, device=self.device))
        return noise(pixels_B3HW, h, w, self.device)

    @property
    def normed(self) -> bool:
        return False

    def blocks(self, pixels_B3HW: torch.Tensor, n: int) -> tuple[Features, ...]:
        """See `rice_core.features.Layered`: what is known is known in every block."""
        return (self.encode(pixels_B3HW),) * n

    def reaches(self, layer: int) -> bool:
        return True

    def levels(self, pixels_B3HW: torch.Tensor, layers: Sequence[int]) -> tuple[torch.Tensor, ...]:
        return (self.encode(pixels_B3HW).dense_BCHW,) * len(layers)

    def weights_digest(self) -> str:
        return bytes_digest(f"synthetic {self._kind}".encode())

    def architecture_digest(self) -> str:
        recipe = self._recipe.described()
        return json_digest({"patch": PATCH, "dim": DIM, "recipe": recipe, "torch": torch.__version__})


class Oracle(Untold):
    """Dense tokens are the coverage-weighted mean of the codes of the categories in their cell, over the pixels that are not
    ignored; zero where all are.

    Where there are no masks or boxes, every token carries the code of the whole image's class; the class token always does,
    or the mean of the patch tokens where that class is unknown.
    """

    def __init__(self, spec: EncoderSpec, share: float) -> None:
        super().__init__(spec, f"oracle, share of noise {share}")
        self._share = share
        self._truths: list[Truth] = []
        self._codes: dict[int, npt.NDArray[np.float32]] = {}

    def observe(self, truths: Sequence[Truth]) -> None:
        self._truths = list(truths)

    def encode(self, pixels_B3HW: torch.Tensor) -> Features:
        truths, self._truths = self._truths, []
        if len(truths) != pixels_B3HW.shape[0]:
            raise UserError(
                f"{self.spec.title} must be told the truth of each image first; this probe needs a real encoder."
            )
        H, W = pixels_B3HW.shape[-2:]
        pixels_B3HW = fitted(self.spec, PATCH, pixels_B3HW)
        h, w = pixels_B3HW.shape[2] // PATCH, pixels_B3HW.shape[3] // PATCH
        signal = [self._signal(truth, (H, W), h, w) for truth in truths]
        dense_BCHW = torch.from_numpy(np.stack([dense for dense, _ in signal])).to(self.device)
        cls_BC = torch.from_numpy(np.stack([cls for _, cls in signal])).to(self.device)
        if self._share:
            other = noise(pixels_B3HW, h, w, self.device)
            assert other.cls_BC is not None
            dense_BCHW = dense_BCHW.lerp(other.dense_BCHW, self._share)
            cls_BC = cls_BC.lerp(other.cls_BC, self._share)
        return Features(dense_BCHW, cls_BC)

    def _signal(
        self, truth: Truth, size_hw: tuple[int, int], h: int, w: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """(C, h, w) and (C,)."""
        label = BACKGROUND if truth.label is None else truth.label
        if truth.labels_HW is None:
            dense_CHW = np.broadcast_to(self._code(label)[:, None, None], (DIM, h, w)).copy()
        else:
            dense_CHW = self._dense(truth.labels_HW, size_hw, h, w)
        return dense_CHW, dense_CHW.mean((1, 2)) if truth.label is None else self._code(label)

    def _dense(
        self, labels_HW: npt.NDArray[np.int64], size_hw: tuple[int, int], h: int, w: int
    ) -> npt.NDArray[np.float32]:
        if labels_HW.shape != size_hw:
            raise ValueError(f"labels are {labels_HW.shape}, the image {size_hw}")
        H, W = size_hw
        labels_HW = np.pad(labels_HW, ((0, h * PATCH - H), (0, w * PATCH - W)), constant_values=BACKGROUND)
        cells = labels_HW.reshape(h, PATCH, w, PATCH)
        known_U = np.setdiff1d(labels_HW, [IGNORE])
        if not len(known_U):
            return np.zeros((DIM, h, w), np.float32)
        share_Uhw = np.stack([(cells == label).mean((1, 3), dtype=np.float32) for label in known_U])
        share_Uhw /= np.maximum(
            share_Uhw.sum(0), np.float32(1 / PATCH**2)
        )  # of what is known: a pixel or more, else none
        codes_UC = np.stack([self._code(int(label)) for label in known_U])
        dense_CHW: npt.NDArray[np.float32] = np.einsum("uc,uhw->chw", codes_UC, share_Uhw)
        return dense_CHW

    def _code(self, label: int) -> npt.NDArray[np.float32]:
        """A fixed random direction; two of them are nearly orthogonal."""
        # One-hot codes would need as many channels as a data set has categories.
        if label not in self._codes:
            draw = np.random.default_rng((DIM, label + 1)).standard_normal(DIM).astype(np.float32)
            self._codes[label] = draw / np.linalg.norm(draw)
        return self._codes[label]


def noise(pixels_B3HW: torch.Tensor, h: int, w: int, device: torch.device) -> Features:
    """Standard normal features. The bytes of an image are only the seed, so equal images stay equal and nothing else is told."""
    draws_BCT = []
    for image_3HW in pixels_B3HW:
        seed = int(bytes_digest(image_3HW.detach().float().cpu().numpy().tobytes())[:15], 16)
        draws_BCT.append(torch.randn(DIM, 1 + h * w, generator=torch.Generator().manual_seed(seed)))
    draw_BCT = torch.stack(draws_BCT).to(device)
    return Features(draw_BCT[:, :, 1:].reshape(-1, DIM, h, w), draw_BCT[:, :, 0])


def _random_weights(spec: EncoderSpec, seed: int) -> TorchEncoder:
    config = ViTConfig(width=96, depth=4, heads=3, patch=PATCH, resolution=SIDE)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs too
        vit = ViT(config)
    recipe = Preprocess(resolution=(SIDE, SIDE))
    return TorchEncoder(spec, native_trunk(vit, recipe, {"training": f"none; random weights, seed {seed}"}))
