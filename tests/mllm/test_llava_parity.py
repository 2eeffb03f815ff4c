"""The same weights in transformers' LlavaNextForConditionalGeneration."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from tiny_llava import ANYRES, CLIP, QWEN, SIDE, batch_of, clip_encoder, noise, picture, tiny_llava

from mllm.llava.model import Llava
from mllm.llava.text import IGNORED, IMAGE

IMAGE_ID = 1000
"""A row of the vocabulary, which transformers' model needs for its pictures."""
SHAPES = {"square": (60, 60), "wide": (20, 130), "tall": (150, 31), "thin": (90, 1), "large": (300, 260)}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Llava:
    return tiny_llava(clip_encoder(tmp_path_factory.mktemp("clip")))


@pytest.fixture(scope="module")
def theirs(ours: Llava) -> Any:
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**CLIP),
        text_config=hf.Qwen2Config(**QWEN),
        image_token_index=IMAGE_ID,
        image_grid_pinpoints=ANYRES.pinpoints,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
        tie_word_embeddings=False,
    )
    model = hf.LlavaNextForConditionalGeneration(config).eval()
    inner = model.model
    inner.vision_tower.load_state_dict(ours.tower.module.state_dict())
    inner.multi_modal_projector.linear_1.load_state_dict(ours.projector[0].state_dict())
    inner.multi_modal_projector.linear_2.load_state_dict(ours.projector[2].state_dict())
    inner.image_newline.data.copy_(ours.image_newline)
    inner.language_model.load_state_dict(ours.language_model.model.state_dict())
    model.lm_head.load_state_dict(ours.language_model.lm_head.state_dict())
    return model


@torch.no_grad()
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_logits_and_loss_are_theirs(ours: Llava, theirs: Any, shape: str) -> None:
    image = noise(*SHAPES[shape])
    shown = picture(ours, image)
    ids = [5, 6, *[IMAGE] * shown.plan.tokens, 7, 8, 9, 10]
    labels = [IGNORED] * (len(ids) - 3) + ids[-3:]
    batch = batch_of([(ids, labels, [shown])])
    found = ours.language_model(inputs_embeds=ours.embeds(batch), attention_mask=batch.mask_BT).logits
    square = {"height": SIDE, "width": SIDE}
    processor = hf.LlavaNextImageProcessor(size=square, crop_size=square, image_grid_pinpoints=ANYRES.pinpoints)
    expected = theirs(
        input_ids=batch.ids_BT.masked_fill(batch.ids_BT == IMAGE, IMAGE_ID),
        attention_mask=batch.mask_BT,
        labels=batch.labels_BT,
        **processor(images=[image], return_tensors="pt"),
    )
    assert torch.allclose(found, expected.logits, atol=1e-5, rtol=1e-5)
    assert found.std() > 0.1
    summed = ours(batch)
    assert summed.tokens == 3
    assert torch.allclose(summed.loss / 3, expected.loss, atol=1e-5)


@torch.no_grad()
def test_logits_of_several_pictures_in_one_batch_are_theirs(ours: Llava, theirs: Any) -> None:
    images = [noise(60, 60, 1), noise(20, 130, 2), noise(40, 40, 3)]
    shown = [picture(ours, image) for image in images]
    assert len({each.plan.tiles for each in shown}) > 1
    first = [5, *[IMAGE] * shown[0].plan.tokens, 6, *[IMAGE] * shown[1].plan.tokens, 7]
    second = [*[IMAGE] * shown[2].plan.tokens, 8]
    batch = batch_of([(first, [IGNORED] * len(first), shown[:2]), (second, [IGNORED] * len(second), shown[2:])])
    found = ours.language_model(inputs_embeds=ours.embeds(batch), attention_mask=batch.mask_BT).logits
    square = {"height": SIDE, "width": SIDE}
    processor = hf.LlavaNextImageProcessor(size=square, crop_size=square, image_grid_pinpoints=ANYRES.pinpoints)
    expected = theirs(
        input_ids=batch.ids_BT.masked_fill(batch.ids_BT == IMAGE, IMAGE_ID),
        attention_mask=batch.mask_BT,
        **processor(images=images, return_tensors="pt"),
    ).logits
    there = batch.mask_BT.bool()
    assert torch.allclose(found[there], expected[there], atol=1e-5, rtol=1e-5)


def test_gradients_are_theirs(ours: Llava, theirs: Any) -> None:
    image = noise(50, 90)
    shown = picture(ours, image)
    ids = [5, *[IMAGE] * shown.plan.tokens, 7, 8]
    batch = batch_of([(ids, [IGNORED] * (len(ids) - 2) + [7, 8], [shown])])
    ours.zero_grad()
    theirs.zero_grad()
    ours(batch).loss.backward()
    square = {"height": SIDE, "width": SIDE}
    processor = hf.LlavaNextImageProcessor(size=square, crop_size=square, image_grid_pinpoints=ANYRES.pinpoints)
    input_ids = batch.ids_BT.masked_fill(batch.ids_BT == IMAGE, IMAGE_ID)
    (
        2 * theirs(input_ids=input_ids, labels=batch.labels_BT, **processor(images=[image], return_tensors="pt")).loss
    ).backward()
    expected = dict(theirs.model.vision_tower.named_parameters())
    for name, parameter in ours.tower.module.named_parameters():
        wanted = expected[name].grad
        assert (parameter.grad is None) == (wanted is None)
        if wanted is not None:
            assert torch.allclose(parameter.grad, wanted, atol=1e-5, rtol=1e-3)
    assert torch.allclose(ours.image_newline.grad, theirs.model.image_newline.grad, atol=1e-5, rtol=1e-3)
