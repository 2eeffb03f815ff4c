"""Any encoder as a vision tower of transformers' LLaVA classes. Importing this file makes its kind known to AutoConfig and AutoModel.

transformers' own classes take towers without registers alone, and drop a patch for a class token that is not there. This one holds the
network of an encoder as its library builds it and gives patch tokens, nothing before them: its models say `vision_feature_layer=-1` and
`vision_feature_select_strategy="full"`.

Shapes: K tiles, S pixels along one, T patch tokens of a tile by rows, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from mllm.llava.vision import VisionTower
from rice_core.encoders.base import tokens_of
from rice_core.encoders.blank import built, described
from rice_core.errors import UserError, one_line


class ExportedTowerConfig(PreTrainedConfig):  # type: ignore[misc]
    """What builds the network, and the numbers that LLaVA's classes ask a tower for."""

    model_type = "ricebench_tower"
    network: dict[str, Any] | None = None
    """See `rice_core.encoders.blank`."""
    layer: int = -2
    """Block that is read, from the end."""
    hidden_size: int = 1
    image_size: int = 1
    patch_size: int = 1


class ExportedTower(PreTrainedModel):  # type: ignore[misc]
    """Patch tokens of one block."""

    config_class = ExportedTowerConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ["ExportedTower"]
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = True
    """The network takes what its own library takes."""

    def __init__(self, config: ExportedTowerConfig) -> None:
        super().__init__(config)
        self._trunk = built(config.network, config.image_size)
        self.network = self._trunk.module.eval()
        # Frequencies and the like are in no file: transformers puts empty tensors in their places when it loads, and then asks
        # `_init_weights` for whatever has such a tensor of its own and no mark of being done.
        self._computed = {
            (name, key): value.clone()
            for name, module in self.network.named_modules()
            for key, value in module.named_buffers(recurse=False)
            if key in module._non_persistent_buffers_set
        }
        self.register_buffer("asked", torch.zeros(1), persistent=False)
        self.post_init()
        for part in self.modules():
            part._is_hf_initialized = False  # type: ignore[assignment]

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> BaseModelOutput:
        """Model space [K, 3, S, S] -> [K, T, C], as the last hidden state and the only one."""
        used = self.config.image_size // self._trunk.patch * self._trunk.patch
        blocks = len(self._trunk.blocks)
        (raw_KTC,) = tokens_of(self._trunk, pixel_values[..., :used, :used], [blocks + self.config.layer])
        tokens_KTC = raw_KTC[:, self._trunk.prefix :]
        if self.config.layer == -1 and self._trunk.normed:
            tokens_KTC = self._trunk.norm(tokens_KTC)
        return BaseModelOutput(last_hidden_state=tokens_KTC, hidden_states=(tokens_KTC,))

    def train(self, mode: bool = True) -> ExportedTower:
        """Without effect: dropped paths would be other features than the encoder's."""
        return super().train(False)

    def _init_weights(self, module: nn.Module) -> None:
        """Of itself the last, when all parts have their tensors."""
        if module is self:
            for (name, key), value in self._computed.items():
                getattr(self.network.get_submodule(name), key).copy_(value)


AutoConfig.register(ExportedTowerConfig.model_type, ExportedTowerConfig)
AutoModel.register(ExportedTowerConfig, ExportedTower)


def exported_tower(tower: VisionTower) -> ExportedTower:
    """A copy of a tower, with its weights as they are now.

    Raises:
        UserError: see `rice_core.encoders.blank.described`; or the description is of another network.
    """
    config: Any = ExportedTowerConfig
    made = ExportedTower(
        config(
            network=described(tower.encoder),
            layer=tower.layer,
            hidden_size=tower.dim,
            image_size=tower.side,
            patch_size=tower.patch,
        )
    )
    try:
        made.network.load_state_dict(tower.module.state_dict())
    except RuntimeError as error:
        raise UserError(
            f"{tower.encoder.spec.title}: its library builds another network from its description than it loaded ({one_line(error, 160)}); "
            "report its name."
        ) from error
    return made.to(next(tower.parameters()).device)
