"""Greedy answers of a batch are those of one sample at a time without a cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from tiny_llava import clip_encoder, noise, picture, tiny_llava

from mllm.llava.batch import LlavaBatch, collated
from mllm.llava.mini_tokenizer import mini_tokenizer
from mllm.llava.model import Llava
from mllm.llava.text import ChatML, Markers
from rice_core.datasets.nouns import Turn

SIZES = [(60, 60), (20, 130), (150, 31), (300, 260)]
MOST = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Llava:
    return tiny_llava(clip_encoder(tmp_path_factory.mktemp("clip")))


@pytest.fixture(scope="module")
def chat() -> ChatML:
    return ChatML(mini_tokenizer())


@pytest.fixture(scope="module")
def asked(model: Llava, chat: ChatML) -> list[Any]:
    """(ids, pictures) of each question, the last of them without a picture."""
    words = ["How many?", "bafo", "What is the word written in the picture? " * 3, "Yes"]
    out: list[Any] = []
    for k, (size, text) in enumerate(zip(SIZES, words, strict=True)):
        shown = [picture(model, noise(*size, k))]
        out.append((chat.prompt([Turn("user", f"<image>\n{text}")], [shown[0].plan.tokens]), shown))
    return [*out, (chat.prompt([Turn("user", "Hi")], []), [])]


def batch(asked: list[Any], side: Any = "left") -> LlavaBatch:
    ids, pictures = zip(*asked, strict=True)
    return collated(ids, pictures, padding=989, side=side)


@torch.no_grad()
def step_by_step(model: Llava, asked: Any, stops: set[int], most: int) -> tuple[int, ...]:
    """The likeliest token, all of the sequence read anew at each step."""
    ids, pictures = asked
    found: list[int] = []
    while len(found) < most:
        one = collated([[*ids, *found]], [pictures], padding=0, side="right")
        logits = model.language_model(inputs_embeds=model.embeds(one)).logits[0, -1]
        token = int(logits.argmax())
        if token in stops:
            break
        found.append(token)
    return tuple(found)


def test_a_batch_padded_at_the_left_gives_what_one_at_a_time_does(model: Llava, chat: ChatML, asked: Any) -> None:
    stops = {chat.markers.end, chat.markers.padding}
    found = model.generate(batch(asked), chat.markers, MOST)
    assert found == [step_by_step(model, each, stops, MOST) for each in asked]
    assert found == [model.generate(batch([each]), chat.markers, MOST)[0] for each in asked]
    assert len({len(each[0]) for each in asked}) == len(asked)
    assert len(set(found)) > 1


def test_padding_at_the_right_would_change_answers(model: Llava, chat: ChatML, asked: Any) -> None:
    left, right = (model.generate(batch(asked, side), chat.markers, MOST) for side in ("left", "right"))
    assert left != right


def test_an_answer_stops_at_its_end_while_others_go_on(model: Llava, chat: ChatML, asked: Any) -> None:
    whole = model.generate(batch(asked), chat.markers, MOST)
    # Another token taken for the end: one that comes in the middle of the first answer.
    end = whole[0][3]
    markers = Markers(chat.markers.start, end, chat.markers.newline, chat.markers.padding)
    found = model.generate(batch(asked), markers, MOST)
    assert found == [each[: each.index(end)] if end in each else each for each in whole]
    assert len({len(each) for each in found}) > 1


@pytest.mark.filterwarnings("ignore:Passing `")
def test_settings_of_a_checkpoint_change_no_answer(model: Llava, chat: ChatML, asked: Any) -> None:
    plain = model.generate(batch(asked), chat.markers, MOST)
    own = hf.GenerationConfig(
        repetition_penalty=1.3, do_sample=True, temperature=5.0, top_k=3, no_repeat_ngram_size=1, min_new_tokens=3
    )
    model.language_model.generation_config, before = own, model.language_model.generation_config
    try:
        assert model.generate(batch(asked), chat.markers, MOST) == plain
        assert model.language_model.generation_config is own
        by_itself = model.language_model.generate(
            inputs_embeds=model.embeds(batch(asked)), attention_mask=batch(asked).mask_BT, max_new_tokens=MOST
        )
        assert [tuple(row) for row in by_itself.tolist()] != plain
    finally:
        model.language_model.generation_config = before


def test_ids_and_embeddings_give_the_same_text(model: Llava, chat: ChatML, asked: Any) -> None:
    ids = torch.tensor([asked[-1][0]])
    by_ids = model.language_model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=MOST, do_sample=False, repetition_penalty=1.0
    )
    whole = tuple(by_ids[0, ids.shape[1] :].tolist())
    found = model.generate(batch(asked[-1:]), chat.markers, MOST)[0]
    assert whole[: len(found)] == found
    assert len(found) > 1


def test_each_token_after_the_first_is_read_alone(model: Llava, chat: ChatML, asked: Any) -> None:
    read = []
    layer = model.language_model.model.layers[0]
    handle = layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].shape[1]))
    model.generate(batch(asked), chat.markers, 5)
    handle.remove()
    assert read == [max(len(ids) for ids, _ in asked), 1, 1, 1, 1]
