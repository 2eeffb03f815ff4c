"""Many questions at once have the answers of one at a time, in the order asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_llava import ANYRES, SIDE, SQUARE, clip_encoder, noise, tiny_llava

from mllm.llava.mini_tokenizer import mini_tokenizer
from mllm.llava.model import Llava
from mllm.llava.speaker import Question, Speaker
from mllm.llava.text import ChatML
from rice_core.datasets.nouns import Turn
from rice_core.errors import UserError

MOST = 16
QUESTIONS = (
    Question.of("How many?", [noise(60, 60, 0)]),
    Question.of("Hi"),
    Question.of("What is the word written in the picture? " * 5, [noise(150, 31, 1)]),
    Question.of("Which is larger?", [noise(20, 130, 2), noise(90, 90, 3)]),
    Question.of("First <image> then <image> ?", [noise(31, 31, 4), noise(28, 40, 5)]),
    Question(
        (Turn("user", "<image>\nA?"), Turn("assistant", "Yes"), Turn("user", "And the colour?")), (noise(200, 180, 6),)
    ),
    Question.of("bafo", [noise(300, 260, 7)]),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Llava:
    return tiny_llava(clip_encoder(tmp_path_factory.mktemp("clip")))


def speaker(model: Llava, **other: Any) -> Speaker:
    tokenizer = mini_tokenizer()
    return Speaker(model, tokenizer, ChatML(tokenizer), **{"pictures": ANYRES, **other})


@pytest.mark.parametrize("cut", [ANYRES, SQUARE])
@pytest.mark.parametrize("batch", [2, 3, 8])
def test_batches_give_what_one_at_a_time_does(model: Llava, cut: Any, batch: int) -> None:
    alone = [speaker(model, pictures=cut).answer([each], MOST)[0] for each in QUESTIONS]
    assert speaker(model, pictures=cut, batch=batch).answer(QUESTIONS, MOST) == alone
    assert len(set(alone)) > 3
    assert all(each == each.strip() for each in alone)


def test_answers_come_in_the_order_asked_and_are_told_as_they_come(model: Llava) -> None:
    one = speaker(model, batch=2)
    told: list[tuple[int, str]] = []
    batches: list[int] = []
    generate = model.generate
    model.generate = lambda *given: batches.append(len(told)) or generate(*given)  # type: ignore[method-assign]
    try:
        found = one.answer(QUESTIONS, MOST, lambda *each: told.append(each))
    finally:
        del model.generate
    assert [text for _, text in sorted(told)] == found
    # Longest first, and each batch is told before the next one begins.
    assert [place for place, _ in told] != list(range(len(QUESTIONS)))
    assert (told[0][0], told[-1][0]) == (max(range(len(QUESTIONS)), key=lambda k: length(one, k)), 1)
    assert batches == [0, 2, 4, 6]
    reversed_ = speaker(model, batch=2).answer(QUESTIONS[::-1], MOST)
    assert reversed_ == found[::-1]


def length(one: Speaker, place: int) -> int:
    question = QUESTIONS[place]
    plans = [one.pictures.plan(each.height, each.width) for each in question.pictures]
    return len(one.format.prompt(question.turns, [plan.tokens for plan in plans]))


def test_two_pictures_are_read_in_their_order(model: Llava) -> None:
    one = speaker(model)
    first, second = noise(60, 60, 0), Image.new("RGB", (20, 130), "white")
    shown = []
    embeds = model.embeds
    model.embeds = lambda batch: shown.append(batch) or embeds(batch)  # type: ignore[method-assign]
    try:
        one.answer([Question.of("Which?", [first, second])], 1)
    finally:
        del model.embeds
    (batch,) = shown
    plans = [ANYRES.plan(60, 60), ANYRES.plan(130, 20)]
    assert batch.plans == tuple(plans)
    expected = torch.cat([ANYRES.tiles(each, model.tower.recipe) for each in (first, second)])
    assert torch.equal(batch.tiles_K3SS, expected)


def test_pictures_without_a_placeholder_come_first_as_in_llavas_adapter() -> None:
    one, two = noise(9, 9), noise(8, 8)
    assert Question.of("Hi").turns[0].text == "Hi"
    assert Question.of("Hi", [one]).turns[0].text == "<image>\nHi"
    assert Question.of("Hi", [one, two]).turns[0].text == "<image> <image>\nHi"
    assert Question.of("a <image> b", [one]).turns[0].text == "a <image> b"


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (Question((Turn("user", "Hi"),), (noise(9, 9),)), "question 1 has 0 <image> for 1 picture; write <image> once"),
        (Question.of("<image> or <image>", [noise(9, 9)]), "question 1 has 2 <image> for 1 picture;"),
        (Question(()), "question 1 does not begin with a question;"),
        (Question.of("Hi", [Image.new("F", (9, 9))]), "question 1: its picture has 32-bit pixels"),
    ],
)
def test_what_cannot_be_asked_is_named(model: Llava, question: Question, said: str) -> None:
    with pytest.raises(UserError, match=said):
        speaker(model).answer([QUESTIONS[1], question], MOST)


def full_above(model: Llava, most: int, seen: list[int], error: Exception) -> Any:
    generate = Llava.generate

    def stand_in(self: Llava, batch: Any, *given: Any) -> Any:
        seen.append(len(batch.ids_BT))
        if seen[-1] > most:
            raise error
        return generate(self, batch, *given)

    return stand_in


FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 is full.")


def test_full_memory_halves_the_batch_and_says_so(
    model: Llava, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = speaker(model, batch=1).answer(QUESTIONS, MOST)
    seen: list[int] = []
    monkeypatch.setattr(Llava, "generate", full_above(model, 2, seen, FULL))
    one, told = speaker(model, batch=7), []
    assert one.answer(QUESTIONS, MOST, lambda *each: told.append(each)) == expected
    assert seen == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert len(told) == len(QUESTIONS)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "answering 7 questions at once: memory is full (CUDA out of memory. Tried to allocate 9 GiB); going on with 3.",
        "answering 3 questions at once: memory is full (CUDA out of memory. Tried to allocate 9 GiB); going on with 1.",
    ]
    assert one.settings(MOST)["batch"] == 1


def test_memory_that_is_full_of_one_question_ends_it(model: Llava, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Llava, "generate", full_above(model, 0, [], FULL))
    with pytest.raises(UserError, match=r"answering one question: memory is full .*; use a device with more memory"):
        speaker(model).answer(QUESTIONS, MOST)


def test_another_failure_is_no_empty_answer(model: Llava, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Llava, "generate", full_above(model, 0, [], RuntimeError("a kernel failed")))
    with pytest.raises(RuntimeError, match="a kernel failed"):
        speaker(model).answer(QUESTIONS, MOST)


def test_settings_are_json_and_say_how_answers_were_made(model: Llava) -> None:
    found = speaker(model, batch=4).settings(32)
    assert json.loads(json.dumps(found)) == {
        "most": 32,
        "greedy": True,
        "repetition_penalty": 1.0,
        "batch": 4,
        "padding": "left",
        "precision": "fp32",
        "weights": "float32",
        "device": "cpu",
        "system": "You are a helpful assistant.",
        "pictures": {"tiles": "anyres", "side": SIDE, "patch": 7},
    }
    assert speaker(model, pictures=SQUARE).settings(32)["pictures"] == {
        "tiles": "square",
        "side": SIDE,
        "patch": 7,
        "resize": "pad",
        "ends": False,
    }


def test_bf16_is_said_and_used(model: Llava) -> None:
    one = speaker(model, precision="bf16")
    seen = []
    handle = model.language_model.model.layers[0].mlp.gate_proj.register_forward_hook(
        lambda *given: seen.append(given[2].dtype)
    )
    one.answer(QUESTIONS[:2], 2)
    handle.remove()
    assert set(seen) == {torch.bfloat16}
    assert one.settings(2)["precision"] == "bf16"


def test_a_model_in_training_answers_in_the_mode_of_evaluation(model: Llava) -> None:
    model.train()
    speaker(model)
    assert not model.training
    assert not model.language_model.training


def test_no_question_has_no_answer(model: Llava) -> None:
    assert speaker(model).answer([], MOST) == []


def test_an_answer_has_at_most_as_many_tokens(model: Llava, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    generate = Llava.generate

    def counted(self: Llava, *given: Any) -> Any:
        answers = generate(self, *given)
        found.extend(map(len, answers))
        return answers

    monkeypatch.setattr(Llava, "generate", counted)
    speaker(model).answer(QUESTIONS, 3)
    assert max(found) == 3
