"""The language model: one of transformers by name or folder, or the small one that learns to speak on the miniature world."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from mllm.llava.mini_tokenizer import ROWS, mini_tokenizer
from mllm.llava.recipe import MINI_LM
from mllm.llava.text import check_rows
from rice_core.digest import file_digest, json_digest
from rice_core.disk.paths import at_home
from rice_core.errors import UserError
from rice_core.spec import EncoderSpec

Precision = Literal["bf16", "fp32"]
_READ = (".json", ".safetensors", ".txt", ".model", ".jinja")
"""Files of a folder that a language model and its tokenizer depend on."""
MINI_CONFIG: dict[str, Any] = {
    "vocab_size": ROWS,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    # At Qwen2's own .02 attention of so few channels is all but even, and hundreds of steps pass before a picture is looked at.
    "initializer_range": 128**-0.5,
}
"""0.7 M parameters."""


def load_language_model(name: str, *, seed: int = 0, precision: Precision = "fp32") -> tuple[Any, Any]:
    """A causal language model of transformers and its tokenizer, on the CPU.

    Args:
        name: `mini`, a folder, or a name of the hub, with @revision where it is not the newest.
        seed: of the weights of `mini`.
        precision: of the weights. Small steps are lost in bf16: what is trained is loaded in fp32.

    Raises:
        UserError: there is none, its files are not complete, or its tokenizer is not ChatML's or not its own.
    """
    model, tokenizer = _mini(seed) if name == MINI_LM else _read(name)
    check_rows(tokenizer, model.get_input_embeddings().num_embeddings)
    return model.to(dtype_of(precision)).eval(), tokenizer


def dtype_of(precision: Precision) -> Any:
    """torch's."""
    import torch

    return torch.bfloat16 if precision == "bf16" else torch.float32


def identity(name: str) -> str:
    """What of a language model is part of a training's key: a folder's last name with the digest of its bytes, never its path; the name of
    the hub as it is written, whose commit the training notes.

    Raises:
        UserError: a folder without files of a model.
    """
    path = at_home(name)
    if name == MINI_LM or not path.is_dir():
        return name
    files = sorted(each for each in path.iterdir() if each.suffix in _READ and each.is_file())
    if not any(each.suffix == ".safetensors" for each in files):
        raise UserError(
            f"{path.name}: the folder holds no .safetensors of a language model; give one that `save_pretrained` wrote, or a name of the hub."
        )
    digests = {each.name: _digest(each, each.stat().st_size, each.stat().st_mtime_ns) for each in files}
    return f"{path.resolve().name}:{json_digest(digests)[:20]}"


def parameters_of(name: str) -> float | None:
    """Weights of a language model, without reading them: by its name or the size of its files; None where neither tells, and of `mini`."""
    folder = at_home(name)
    if folder.is_dir():
        # Two bytes each, as nearly all are published.
        return sum(each.stat().st_size for each in folder.glob("*.safetensors")) / 2
    found = re.search(r"(?<![\d.])(\d+(?:\.\d+)?)([bm])(?![a-z])", name.rpartition("/")[2].lower())
    return float(found[1]) * {"b": 1e9, "m": 1e6}[found[2]] if found else None


def _mini(seed: int) -> tuple[Any, Any]:
    import torch
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.AutoModelForCausalLM.from_config(transformers.Qwen2Config(**MINI_CONFIG)), mini_tokenizer()


def _read(name: str) -> tuple[Any, Any]:
    import transformers

    # Not above: `plan` asks for identities without torch.
    from rice_core.encoders.hub import explained

    folder = at_home(name)
    path, _, revision = (str(folder), "", "") if folder.is_dir() else name.partition("@")
    given: dict[str, Any] = {"revision": revision or "main", "trust_remote_code": False}
    with explained(EncoderSpec(name=f"language model {Path(path).name}", source="hf", model=path)):
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, **given)
        model = transformers.AutoModelForCausalLM.from_pretrained(path, use_safetensors=True, dtype="auto", **given)
    # The checkpoint's own (Qwen2.5: repetition penalty 1.05) would be those of every answer, and of what a training leaves.
    model.generation_config = transformers.GenerationConfig()
    return model, tokenizer


@lru_cache
def _digest(path: Path, _size: int, _changed: int) -> str:
    """Once for every cell and seed that is planned."""
    return file_digest(path)
