"""Tokens and labels of conversations and captions, by the small tokenizer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from mllm.llava.mini_tokenizer import ROWS, mini_tokenizer
from mllm.llava.text import IGNORED, IMAGE, Captions, ChatML, Markers, NothingToLearn, Tokenized, check_rows
from rice_core.datasets.nouns import Turn
from rice_core.errors import UserError


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return mini_tokenizer()


def talk(*texts: str) -> list[Turn]:
    """User and assistant by turns."""
    return [Turn("assistant" if k % 2 else "user", text) for k, text in enumerate(texts)]


def learnt(tokenizer: Any, sample: Tokenized) -> list[str]:
    return tokenizer.convert_ids_to_tokens([each for each in sample.labels if each != IGNORED])


def spelt(tokenizer: Any, sample: Tokenized) -> str:
    return "".join("#" if each == IMAGE else tokenizer.decode([each]) for each in sample.ids)


def test_stage_1_is_picture_caption_newline(tokenizer: Any) -> None:
    sample = Captions(tokenizer).sample(talk("Describe it.<image>", "a cat"), [4])
    assert spelt(tokenizer, sample) == "####a cat\n"
    assert learnt(tokenizer, sample) == ["a", "Ġcat", "Ċ"]
    assert sample.labels[:4] == (IGNORED,) * 4


def test_a_caption_and_its_newline_are_tokenised_at_once_as_published(tokenizer: Any) -> None:
    assert learnt(tokenizer, Captions(tokenizer).sample(talk("<image>", "a cat."), [1])) == ["a", "Ġcat", ".Ċ"]


def test_labels_by_policy(tokenizer: Any) -> None:
    turns = talk("<image>\nHi", "Yes")
    published = ChatML(tokenizer, labels="published").sample(turns, [4])
    answer = ChatML(tokenizer, labels="answer").sample(turns, [4])
    start, end, newline, header = "<|im_start|>", "<|im_end|>", "Ċ", ["<|im_start|>", "assistant", "Ċ"]
    assert published.ids == answer.ids
    assert learnt(tokenizer, published) == [
        *(start, newline, end, newline),
        *(start, newline, newline, end, newline),
        *(*header, "Yes", end, newline),
    ]
    assert sum(each != IGNORED for each in published.labels[1:]) == 14
    assert learnt(tokenizer, answer) == ["Yes", end]
    assert spelt(tokenizer, answer) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n####\nHi<|im_end|>\n"
        "<|im_start|>assistant\nYes<|im_end|>\n"
    )


def by_the_published_code(tokenizer: Any, turns: list[Turn]) -> tuple[list[int], list[int]]:
    """LLaVA-NeXT's preprocess_qwen in its own order: each turn tokenised whole, then newlines and markers unmasked."""
    ids: list[int] = []
    labels: list[int] = []
    for turn in [Turn("system", "You are a helpful assistant."), *turns]:
        whole = f"<|im_start|>{turn.speaker}\n{turn.text}<|im_end|>\n"
        parts = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in whole.split("<image>")]
        for k, part in enumerate(parts):
            found = [*([IMAGE] if k else []), *part]
            ids += found
            labels += found if turn.speaker == "assistant" else [IGNORED] * len(found)
    unmasked = {198, *(tokenizer.get_vocab()[name] for name in ("<|im_start|>", "<|im_end|>"))}
    return ids, [each if each in unmasked else label for each, label in zip(ids, labels, strict=True)]


def test_published_is_what_the_published_code_gives(tokenizer: Any) -> None:
    rng = np.random.default_rng(0)
    words = ["a cat", " ", "\n", ".", "What?\n", "bafo", "é", "1,5", "  two", "Yes", "\n\n", "日本", "'s"]
    for _ in range(300):
        texts = ["x" + "".join(rng.choice(words, rng.integers(0, 8))) for _ in range(2 * rng.integers(1, 4))]
        texts[0] = f"<image>\n{texts[0]}"
        ids, labels = by_the_published_code(tokenizer, talk(*texts))
        found = ChatML(tokenizer, labels="published").sample(talk(*texts), [1])
        assert (list(found.ids), list(found.labels)) == (ids, labels)


@pytest.mark.parametrize("labels", ["published", "answer"])
def test_what_is_asked_is_what_was_learnt_up_to_the_answer(tokenizer: Any, labels: Any) -> None:
    chat = ChatML(tokenizer, labels=labels)
    for answer in ("Yes", "", "\n\nYes", " bafo\n", "."):
        prompt = chat.prompt(talk("<image>\nWhat?"), [3])
        sample = chat.sample(talk("<image>\nWhat?", answer), [3])
        assert sample.ids[: len(prompt)] == prompt
        rest = sample.ids[len(prompt) :]
        assert tokenizer.decode(rest) == f"{answer}<|im_end|>\n"
        assert sample.labels[len(prompt) : -1] == rest[:-1]


def test_earlier_turns_are_part_of_a_prompt(tokenizer: Any) -> None:
    chat = ChatML(tokenizer)
    sample = chat.sample(talk("<image>\nHi", "Yes", "What?", "No"), [3])
    prompt = chat.prompt(talk("<image>\nHi", "Yes", "What?"), [3])
    assert sample.ids[: len(prompt)] == prompt


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("What?<image>", "#\nWhat?"),
        ("What?\n<image>", "#\nWhat?"),
        ("<image>\nWhat?", "#\nWhat?"),
        ("<image>What?", "#What?"),
        (" What <image> is? ", "#\nWhat  is?"),
        ("<image>", "#"),
        (" <image>", "#"),
    ],
)
def test_a_lone_placeholder_moves_to_the_front(tokenizer: Any, said: str, read: str) -> None:
    sample = ChatML(tokenizer, system="").sample(talk(said, "Yes"), [1])
    assert spelt(tokenizer, sample).startswith(f"<|im_start|>user\n{read}<|im_end|>")


def test_several_placeholders_stay_where_they_are(tokenizer: Any) -> None:
    sample = ChatML(tokenizer, system="").sample(talk("a <image> and <image>?", "Yes"), [2, 3])
    assert spelt(tokenizer, sample).startswith("<|im_start|>user\na ## and ###?<|im_end|>")


def test_no_system_text_slips_in_and_a_conversations_own_replaces_ours(tokenizer: Any) -> None:
    assert spelt(tokenizer, ChatML(tokenizer, system="").sample(talk("Hi", "Yes"), [])).startswith("<|im_start|>user")
    own = ChatML(tokenizer).sample([Turn("system", "Be short."), *talk("Hi", "Yes")], [])
    assert spelt(tokenizer, own).startswith("<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user")


def test_ids_are_whole_numbers(tokenizer: Any) -> None:
    chat = ChatML(tokenizer)
    for ids in (chat.sample(talk("Hi", "Yes"), []).ids, chat.prompt(talk("Hi"), [])):
        assert {type(each) for each in ids} == {int}


def test_what_content_says_of_markers_is_text(tokenizer: Any) -> None:
    sample = ChatML(tokenizer, labels="answer", system="").sample(talk("<|im_end|>", "say <|im_start|>"), [])
    vocabulary = tokenizer.get_vocab()
    assert sample.ids.count(vocabulary["<|im_start|>"]) == sample.ids.count(vocabulary["<|im_end|>"]) == 2
    assert "say <|im_start|><|im_end|>" in spelt(tokenizer, sample)


@pytest.mark.parametrize(
    ("turns", "images", "reason"),
    [
        (talk("What?", "Yes"), 1, "has 0 <image> for 1 picture"),
        (talk("<image><image>", "Yes"), 1, "has 2 <image> for 1 picture"),
        (talk("<image>", "Yes"), 0, "has 1 <image> for 0 pictures"),
        (talk("<image>", "see <image>"), 2, "has <image> beside its questions"),
        ([Turn("assistant", "Yes"), *talk("Hi", "No")], 0, "does not begin with a question"),
        ([Turn("system", "Yes")], 0, "does not begin with a question"),
        ([], 0, "does not begin with a question"),
        (talk("Hi"), 0, "has no answer"),
    ],
)
def test_an_unusable_conversation_is_told_why(tokenizer: Any, turns: list[Turn], images: int, reason: str) -> None:
    with pytest.raises(NothingToLearn, match=f"^{reason}$"):
        ChatML(tokenizer).sample(turns, [2] * images)


@pytest.mark.parametrize("turns", [talk("<image>"), talk("<image>", "a cat", "And?", "a dog")])
def test_stage_1_wants_one_caption(tokenizer: Any, turns: list[Turn]) -> None:
    with pytest.raises(NothingToLearn, match=r"has 1 pictures and \d captions, not one of each"):
        Captions(tokenizer).sample(turns, [2])


def test_an_overlong_answer_is_cut_and_the_cut_counted(tokenizer: Any) -> None:
    chat = ChatML(tokenizer, labels="answer")
    whole = chat.sample(talk("<image>\nHi", "Yes " * 2500), [8])
    cut = chat.sample(talk("<image>\nHi", "Yes " * 2500), [8], most=100)
    assert whole.cut == 0
    assert (len(cut.ids), cut.cut) == (100, len(whole.ids) - 100)
    assert (cut.ids, cut.labels) == (whole.ids[:100], whole.labels[:100])


@pytest.mark.parametrize("labels", ["published", "answer"])
@pytest.mark.parametrize("most", [1, 20, 30, 31])
def test_a_sample_whose_picture_pushes_its_answer_out_is_refused_not_masked(
    tokenizer: Any, labels: Any, most: int
) -> None:
    chat = ChatML(tokenizer, labels=labels)
    first = len(chat.prompt(talk("<image>\nHi"), [10]))
    assert first == 31
    with pytest.raises(NothingToLearn, match=f"has 34 tokens, of which the {most} that fit hold no answer"):
        chat.sample(talk("<image>\nHi", "Yes"), [10], most=most)
    assert chat.sample(talk("<image>\nHi", "Yes"), [10], most=first + 1).cut == 2


def test_a_picture_is_never_cut(tokenizer: Any) -> None:
    turns = talk("Hi", "Yes", "<image>\nHi", "No")
    with pytest.raises(NothingToLearn, match="not all of a picture"):
        ChatML(tokenizer).sample(turns, [50], most=40)


def test_a_caption_that_does_not_fit_is_refused(tokenizer: Any) -> None:
    with pytest.raises(NothingToLearn, match="hold no answer"):
        Captions(tokenizer).sample(talk("<image>", "a cat"), [9], most=9)
    assert Captions(tokenizer).sample(talk("<image>", "a cat"), [9], most=10).cut == 2


def test_padding_is_not_the_end(tokenizer: Any) -> None:
    found, vocabulary = Markers.of(tokenizer), tokenizer.get_vocab()
    assert (found.padding, found.end) == (vocabulary["<|endoftext|>"], vocabulary["<|im_end|>"])
    confused = mini_tokenizer()
    confused.pad_token = "<|im_end|>"
    assert Markers.of(confused).padding == vocabulary["<|endoftext|>"]


class Words:
    """A tokenizer of these pieces alone, a character each otherwise."""

    pad_token_id = None

    def __init__(self, *pieces: str) -> None:
        self._vocabulary = {piece: k for k, piece in enumerate(pieces)}

    def get_vocab(self) -> dict[str, int]:
        return self._vocabulary

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [self._vocabulary[each] for each in text if each in self._vocabulary]}


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (("\n", "<|endoftext|>", "<|im_end|>"), "no <|im_start|>"),
        (("<|im_start|>", "<|im_end|>", "<|endoftext|>"), "newline of one token"),
        (("\n", "<|im_start|>", "<|im_end|>"), "no padding token beside its end"),
    ],
)
def test_a_tokenizer_of_another_format_is_refused(pieces: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=said.replace("|", r"\|")):
        Markers.of(Words(*pieces))


def test_more_embeddings_than_ids_are_usual_and_fewer_refused(tokenizer: Any) -> None:
    highest = max(tokenizer.get_vocab().values())
    check_rows(tokenizer, ROWS)
    check_rows(tokenizer, highest + 1)
    with pytest.raises(UserError, match=f"ids up to {highest} and the language model {highest} embeddings"):
        check_rows(tokenizer, highest)


def test_the_small_tokenizer_spells_any_text_and_knows_the_worlds_words(tokenizer: Any, tmp_path: Path) -> None:
    for text in ("bafo and gilade", "日本 é\n\n\t x", "1,000.5%"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.tokenize("a striped triangle, bafo") == ["a", "Ġstriped", "Ġtriangle", ",", "Ġba", "fo"]
    for words in (
        "What colour is the star?",
        "Please answer directly with only the letter of the correct option and nothing else.",
    ):
        assert len(tokenizer.tokenize(words)) == len(words.split()) + 1
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again.get_vocab() == tokenizer.get_vocab()
    assert (again.pad_token, again.eos_token) == ("<|endoftext|>", "<|im_end|>")
    assert again.decode(ChatML(again).prompt(talk("Hi"), []), skip_special_tokens=True) == (
        "system\nYou are a helpful assistant.\nuser\nHi\nassistant\n"
    )


def test_the_small_tokenizer_is_the_same_on_every_machine(tokenizer: Any) -> None:
    code = "from mllm.llava.mini_tokenizer import mini_tokenizer; print(mini_tokenizer().backend_tokenizer.to_str())"
    other = os.environ | {"RAYON_NUM_THREADS": "3", "PYTHONHASHSEED": "5", "TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run([sys.executable, "-c", code], env=other, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == tokenizer.backend_tokenizer.to_str().strip()
