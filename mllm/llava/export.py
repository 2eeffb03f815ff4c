"""A trained model as transformers' own: `AutoModelForImageTextToText` and `AutoProcessor` load the folder.

Anyres is LLaVA-NeXT's format, OneVision its own; a single tile is LLaVA-1.5's. A tower that those classes take stays what it is; any other becomes an
`exported_tower.ExportedTower`, for which this package has to be imported before it is loaded. Before anything is written the same
weights in transformers' classes have to give the same tokens of text and the same logits.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mllm.llava.batch import collated
from mllm.llava.exported_processor import exported_processor, noise
from mllm.llava.model import Llava
from mllm.llava.packing import Anyres, OneVision, Square
from mllm.llava.speaker import Question, Speaker
from mllm.llava.text import IMAGE, PLACEHOLDER
from mllm.llava.vision import VisionTower
from rice_core.encoders.hub import quiet
from rice_core.errors import UserError


@dataclass(frozen=True)
class ReadTower:
    """How transformers' classes read a tower."""

    module: Any
    layer: int
    strategy: str
    """default: without the first token. full: all tokens."""

    @property
    def own(self) -> bool:
        """Whether it is transformers'."""
        return type(self.module).__module__.startswith("transformers.")


def export_llava(speaker: Speaker, out: Path, about: str = "") -> None:
    """Write the folder.

    Args:
        out: made where it is not there.
        about: what it is, a line of its README.

    Raises:
        UserError: transformers' classes cannot say the same.
    """
    tower = as_transformers_reads(speaker.model.tower)
    tokenizer, image_id = _with_placeholder(speaker)
    model = _model(speaker, tower, image_id)
    processor = exported_processor(speaker, tower.strategy, tokenizer)
    _check(speaker, model, processor, image_id)
    with quiet():
        model.save_pretrained(out)
        processor.save_pretrained(out)
    (out / "README.md").write_text(_readme(tower, about), encoding="utf-8")


@torch.no_grad()
def as_transformers_reads(tower: VisionTower) -> ReadTower:
    """The network itself where transformers would build it again and read the same tokens of it."""
    import transformers

    from mllm.llava.exported_tower import exported_tower

    module: Any = tower.module
    if isinstance(module, transformers.PreTrainedModel) and _rebuilt(module) and _sized(module.config, tower):
        pixels_13SS = torch.randn(1, 3, tower.side, tower.side, generator=torch.Generator().manual_seed(0))
        pixels_13SS = pixels_13SS.to(next(module.parameters()).device)
        expected_1TC = tower(pixels_13SS)
        states_1NC = module(pixels_13SS, output_hidden_states=True).hidden_states[tower.layer]
        for strategy, found_1TC in (("default", states_1NC[:, 1:]), ("full", states_1NC)):
            if found_1TC.shape == expected_1TC.shape and torch.equal(found_1TC.float(), expected_1TC):
                return ReadTower(module, tower.layer, strategy)
    return ReadTower(exported_tower(tower), -1, "full")


def _rebuilt(module: Any) -> bool:
    """Whether its configuration alone builds it again: not what was taken out of a larger model, or loaded without a part."""
    import transformers

    with torch.device("meta"):
        again = transformers.AutoModel.from_config(copy.deepcopy(module.config))
    return type(again) is type(module) and again.state_dict().keys() == module.state_dict().keys()


def _sized(config: Any, tower: VisionTower) -> bool:
    """Whether tiles are of the size that it was published for: positions of another would have to be computed at each pass."""
    return (getattr(config, "image_size", None), config.patch_size) == (tower.side, tower.patch)


def _with_placeholder(speaker: Speaker) -> tuple[Any, int]:
    """A copy of the tokenizer that knows `<image>`, and its id. The language model grows where it has no row for it."""
    from transformers import AddedToken

    tokenizer = copy.deepcopy(speaker.tokenizer)
    tokenizer.add_special_tokens({"extra_special_tokens": [AddedToken(PLACEHOLDER, special=True, normalized=False)]})
    tokenizer.padding_side = "left"
    image_id = int(tokenizer.convert_tokens_to_ids(PLACEHOLDER))
    words = speaker.model.language_model
    if image_id >= words.get_input_embeddings().num_embeddings:
        words.resize_token_embeddings(image_id + 1, mean_resizing=False)
    return tokenizer, image_id


def _model(speaker: Speaker, tower: ReadTower, image_id: int) -> Any:
    """transformers' model around the very parts of ours, without a copy."""
    import transformers

    ours: Llava = speaker.model
    words: Any = ours.language_model
    given: dict[str, Any] = {
        "vision_config": _nameless(tower.module.config),
        "text_config": _nameless(words.config),
        "image_token_index": image_id,
        "vision_feature_layer": tower.layer,
        "vision_feature_select_strategy": tower.strategy,
        "projector_hidden_act": "gelu",
        "tie_word_embeddings": words.config.tie_word_embeddings,
    }
    anyres = isinstance(speaker.pictures, Anyres)
    if isinstance(speaker.pictures, Anyres):
        given["image_grid_pinpoints"] = speaker.pictures.pinpoints
    kinds = {Anyres: "LlavaNext", OneVision: "LlavaOnevision", Square: "Llava"}
    name = kinds[type(speaker.pictures)]
    config = getattr(transformers, f"{name}Config")(**given)
    with torch.device("meta"):
        made: Any = getattr(transformers, f"{name}ForConditionalGeneration")(config)
    inner = made.model
    inner.vision_tower = tower.module
    inner.multi_modal_projector.linear_1, inner.multi_modal_projector.linear_2 = ours.projector[0], ours.projector[2]
    if anyres:
        inner.image_newline = ours.image_newline
    inner.language_model = getattr(words, words.base_model_prefix)
    made.lm_head = words.get_output_embeddings()
    markers = speaker.format.markers
    generation: Any = transformers.GenerationConfig
    made.generation_config = generation(
        do_sample=False,
        repetition_penalty=1.0,
        eos_token_id=[markers.end, markers.padding],
        pad_token_id=markers.padding,
    )
    return made.eval()


def _nameless(config: Any) -> Any:
    """A copy that does not name the folder that it was read from."""
    copied = copy.deepcopy(config)
    copied._name_or_path = ""
    return copied


@torch.no_grad()
def _check(speaker: Speaker, model: Any, processor: Any, image_id: int) -> None:
    """One question about a wide picture to both.

    Raises:
        UserError: they read it differently.
    """
    ours, image = speaker.model, noise(speaker.pictures.side, 2 * speaker.pictures.side)
    question = Question.of("What is written here?", [image])
    shown = speaker.cut(question)
    ids = speaker.format.prompt(question.turns, [each.plan.tokens for each in shown])
    device = next(ours.parameters()).device
    batch = collated([ids], [shown], padding=speaker.format.markers.padding, side="left").to(device)
    found = ours.language_model(inputs_embeds=ours.embeds(batch), attention_mask=batch.mask_BT).logits
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is written here?"}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    given = processor(text=[text], images=[image], return_tensors="pt").to(device)
    title = ours.tower.encoder.spec.title
    if given["input_ids"][0].tolist() != [image_id if each == IMAGE else each for each in ids]:
        raise UserError(
            f"{title}: the tokenizer divides a question otherwise once {PLACEHOLDER} is part of it; export nothing, and report the language model's name."
        )
    expected = model(**given).logits
    near = 1e-4 if found.dtype == torch.float32 else 0.05
    if found.shape != expected.shape or not torch.allclose(
        found.float(), expected.float(), atol=near * float(found.std()), rtol=near
    ):
        raise UserError(
            f"{title}: transformers' {type(model).__name__} gives other logits for these weights; use a language model that does no more "
            "behind its last layer than project, as Qwen2.5."
        )


def _readme(tower: ReadTower, about: str) -> str:
    first = "" if tower.own else "import mllm.llava.exported_tower  # of ricebench: pip install ricebench[encoders]\n"
    said = (
        "Nothing beside transformers is needed."
        if tower.own
        else "Its vision tower is none that transformers' LLaVA classes take: ricebench has to be installed, and the first line below run."
    )
    return f"""---
library_name: transformers
pipeline_tag: image-text-to-text
---
{about}

{said}

```python
{first}from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained(FOLDER)
processor = AutoProcessor.from_pretrained(FOLDER)
chat = [{{"role": "user", "content": [{{"type": "image"}}, {{"type": "text", "text": "What is written here?"}}]}}]
text = processor.apply_chat_template(chat, add_generation_prompt=True)
inputs = processor(text=[text], images=[image], return_tensors="pt")
ids = model.generate(**inputs, max_new_tokens=64)
print(processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```
"""
