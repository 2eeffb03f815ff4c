"""Features and Encoder: what every adapter gives and every probe takes.

Shapes: B images, C channels (= encoder.dim), H x W the patch grid, row-major, top-left first; N, T as named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from rice_core.spec import EncoderSpec

if TYPE_CHECKING:  # `list` and `show` read probes and their needs without torch
    import numpy as np
    import numpy.typing as npt
    import torch
    from PIL import Image

BACKGROUND = -1
IGNORE = -2
"""Labels of pixels beside the categories, which count from 0. Of an ignored one (a crowd region) nothing is known: it is
neither object nor background, and takes no part in training and judging."""

Norm = Literal["none", "final", "layer"]
"""Of patch tokens, for what is trained on them (`rice_core.encoders.normed`). none: as the model gives them. final: behind its own
final norm. layer: each token to mean 0 and deviation 1 over its channels, without a parameter, the same for every encoder."""


@dataclass(frozen=True)
class Features:
    """The output of one forward pass. Prefix tokens (CLS, registers) are already gone from the grids."""

    dense_BCHW: torch.Tensor
    cls_BC: torch.Tensor | None = None
    """None where the model has no class token (SigLIP, AIMv2); the probe says what it does then."""
    levels: tuple[torch.Tensor, ...] = ()
    """Every layer of `spec.layers` on the same grid, shallow to deep; the last is `dense_BCHW`. Empty for one layer."""

    def __post_init__(self) -> None:
        if self.dense_BCHW.ndim != 4:
            raise ValueError(f"dense features are B, C, H, W; got shape {tuple(self.dense_BCHW.shape)}")
        B, _, H, W = self.dense_BCHW.shape
        if self.cls_BC is not None and (self.cls_BC.ndim != 2 or self.cls_BC.shape[0] != B):
            raise ValueError(f"class features are B, C; got shape {tuple(self.cls_BC.shape)} for {B} images")
        for level in self.levels:
            if level.ndim != 4 or (level.shape[0], *level.shape[2:]) != (B, H, W):
                raise ValueError(f"a level has shape {tuple(level.shape)}, not the grid of {(B, H, W)}")


@runtime_checkable
class Encoder(Protocol):
    """A frozen vision model behind one face. Adapters are built by `rice_core.encoders.load_encoder(spec)`."""

    @property
    def spec(self) -> EncoderSpec:
        """The spec it was loaded from, with `resolution` filled in."""

    @property
    def dim(self) -> int:
        """C of `dense_BCHW`."""

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""

    @property
    def n_params(self) -> int:
        """Number of parameters of the vision model alone."""

    @property
    def provides(self) -> frozenset[str]:
        """Of "dense", "cls", "levels", "grad" (encode is differentiable), "multires" (any multiple of the patch)."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def to(self, device: torch.device | str) -> Encoder:
        """Move the weights; returns self."""

    def preprocess(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """RGB images of any size -> (B, 3, H, W) in model space, by the model's own resize, crop, mean and std."""

    def normalize(self, pixels_B3HW: torch.Tensor) -> torch.Tensor:
        """Pixels in [0, 1] -> model space by mean and std alone. For probes that own the geometry."""

    def encode(self, pixels_B3HW: torch.Tensor) -> Features:
        """Model space (B, 3, H, W) -> Features. Differentiable where "grad" is provided; the caller chooses no_grad.

        Raises:
            UserError: H or W is no multiple of the patch, or a size the model cannot take.
        """

    def weights_digest(self) -> str:
        """sha256 over the sorted (name, dtype, shape, bytes) of all weights and buffers; independent of the file."""

    def architecture_digest(self) -> str:
        """Over all that shapes the features besides the weights: configuration, mean and std, resize, library version."""


@dataclass(frozen=True)
class Truth:
    """What is known about one image, in the geometry of the pixels that the encoder is about to see."""

    labels_HW: npt.NDArray[np.int64] | None
    """Category of each input pixel, else BACKGROUND or IGNORE; None where the data set has no masks or boxes."""
    label: int | None
    """Class of the whole image."""


@runtime_checkable
class Informed(Protocol):
    """An encoder that is told the truth before it encodes: `synthetic:oracle`, the ceiling. No real encoder is one."""

    def observe(self, truths: Sequence[Truth]) -> None:
        """The truth of the images of the next `encode` call, in order."""


@runtime_checkable
class Layered(Protocol):
    """An encoder whose blocks can be read together, whatever its spec asks for."""

    @property
    def normed(self) -> bool:
        """Whether it has a final norm over its tokens, which `blocks` reads behind."""

    def reaches(self, layer: int) -> bool:
        """Whether `levels` can be asked for it."""

    def levels(self, pixels_B3HW: torch.Tensor, layers: Sequence[int]) -> tuple[torch.Tensor, ...]:
        """Patch tokens (B, C, H, W) after each of these blocks, as `encode` gives them where the spec asks for that layer alone.

        Raises:
            UserError: it has no such block; and as `encode`.
        """

    def blocks(self, pixels_B3HW: torch.Tensor, n: int) -> tuple[Features, ...]:
        """Patch and class tokens of the last `n` blocks, shallow to deep, each behind the final norm.

        That is DINOv2's `get_intermediate_layers(n, return_class_token=True, norm=True)`. `layers=` of the spec says which
        block is the last, and `norm=0` leaves the norm out.

        Raises:
            UserError: it has fewer; and as `encode`.
        """
