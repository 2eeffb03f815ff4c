"""Conversations with their pictures as samples: what a user would expect of odd ones, each named where it is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mllm.llava.mini_tokenizer import mini_tokenizer
from mllm.llava.packing import Anyres, Square
from mllm.llava.samples import Schooling, by_reason
from mllm.llava.text import IGNORED, IMAGE, Captions, ChatML, NothingToLearn
from rice_core.datasets import Conversation, Turn
from rice_core.encoders.preprocess import Preprocess
from rice_core.images import ImageError, load_image, upright_size

RECIPE = Preprocess(resolution=(28, 28), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
ANYRES, SQUARE = Anyres(28, 7), Square(28, 7, "squash")
TOKENIZER = mini_tokenizer()
CHAT, CAPTIONS = ChatML(TOKENIZER, labels="answer"), Captions(TOKENIZER)
CHATTING, CAPTIONING = Schooling(CHAT, ANYRES, RECIPE, 4096), Schooling(CAPTIONS, SQUARE, RECIPE, 4096)


def saved(place: Path, size: tuple[int, int] = (40, 30), mode: str = "RGB", **asked: Any) -> Path:
    """A picture of noise, width and height as given."""
    noise_HW3 = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise_HW3).convert(mode).save(place, **asked)
    return place


def talk(*texts: str, images: tuple[Path, ...] = ()) -> Conversation:
    """User and assistant take turns."""
    turns = tuple(Turn("assistant" if k % 2 else "user", text) for k, text in enumerate(texts))
    return Conversation("instruct/0000007", turns, images)


def why(schooling: Schooling, item: Conversation) -> str:
    with pytest.raises(NothingToLearn) as reason:
        schooling.sample(item)
    return str(reason.value)


def spoken(ids: tuple[int, ...], labels: tuple[int, ...]) -> str:
    assert all(label in (own, IGNORED) for own, label in zip(ids, labels, strict=True))
    text: str = TOKENIZER.decode([label for label in labels if label != IGNORED])
    return text


def test_a_conversation_about_a_picture(tmp_path: Path) -> None:
    item = talk("<image>\nWhat is it?", "a star", "Is it red?", "Yes", images=(saved(tmp_path / "a.png"),))
    sample = CHATTING.sample(item)
    (picture,) = sample.pictures
    assert sample.ids.count(IMAGE) == picture.plan.tokens == ANYRES.plan(30, 40).tokens
    assert picture.tiles_K3SS.shape == (picture.plan.tiles, 3, 28, 28)
    assert spoken(sample.ids, sample.labels) == "a star<|im_end|>Yes<|im_end|>"
    assert (sample.cut, CHATTING.length(item)) == (0, len(sample.ids))


def test_a_caption_is_learnt_with_its_end_of_line_and_one_tile(tmp_path: Path) -> None:
    item = talk("Describe it.\n<image>", "a red star", images=(saved(tmp_path / "a.jpg"),))
    sample = CAPTIONING.sample(item)
    assert sample.pictures[0].tiles_K3SS.shape == (1, 3, 28, 28)
    assert spoken(sample.ids, sample.labels) == "a red star\n"
    assert CAPTIONING.length(item) == len(sample.ids) == 16 + 4


def test_text_alone_has_a_negative_length() -> None:
    item = talk("What is red?", "a star")
    sample = CHATTING.sample(item)
    assert (sample.pictures, CHATTING.length(item)) == ((), -len(sample.ids))


def test_a_lone_placeholder_moves_to_the_front(tmp_path: Path) -> None:
    picture = saved(tmp_path / "a.png")
    one, other = (
        CHATTING.sample(talk(text, "a star", images=(picture,))) for text in ("What?<image>", "<image>\nWhat?")
    )
    assert one.ids == other.ids


def test_two_pictures_take_two_places(tmp_path: Path) -> None:
    wide, tall = saved(tmp_path / "a.png", (60, 20)), saved(tmp_path / "b.png", (20, 60))
    sample = CHATTING.sample(talk("<image> and <image>: alike?", "No", images=(wide, tall)))
    assert [picture.plan for picture in sample.pictures] == [ANYRES.plan(20, 60), ANYRES.plan(60, 20)]
    assert sample.ids.count(IMAGE) == sum(picture.plan.tokens for picture in sample.pictures)


ODD = {
    "has 0 <image> for 1 picture": ("What is it?", "a star"),
    "has 2 <image> for 1 picture": ("<image><image>\nWhat is it?", "a star"),
    "has <image> beside its questions": ("<image>\nWhat is it?", "an <image>"),
    "has an empty answer": ("<image>\nWhat is it?", ""),
    "has no answer": ("<image>\nWhat is it?",),
}


@pytest.mark.parametrize("reason", ODD)
def test_what_cannot_be_learnt_is_said(tmp_path: Path, reason: str) -> None:
    item = talk(*ODD[reason], images=(saved(tmp_path / "a.png"),))
    assert why(CHATTING, item) == reason
    assert (CHATTING.length(item), CHATTING.trouble(item)) == (0, reason)


def test_answers_of_spaces_and_conversations_that_begin_with_the_answer_are_left_out() -> None:
    assert why(CHATTING, talk("Hi", "Yes", "And?", " \n")) == "has an empty answer"
    first = Conversation("instruct/0000000", (Turn("assistant", "Hello"), Turn("user", "Hi")))
    assert why(CHATTING, first) == "does not begin with a question"
    assert why(CHATTING, talk("<image>\nWhat?", "a star")) == "has 1 <image> for 0 pictures"
    assert why(CAPTIONING, talk("What?", "a star")) == "has 0 pictures and 1 captions, not one of each"


def test_an_answer_of_ten_thousand_characters(tmp_path: Path) -> None:
    item = talk("<image>\nTell me more.", "a star " * 1429, images=(saved(tmp_path / "a.png"),))
    whole = CHATTING.sample(item)
    assert (whole.cut, len(whole.ids)) == (0, CHATTING.length(item))
    few = Schooling(CHAT, ANYRES, RECIPE, 512)
    sample = few.sample(item)
    assert (len(sample.ids), sample.cut) == (512, len(whole.ids) - 512)
    assert sample.ids == whole.ids[:512]
    # Cut as it is, it has no end: to stop is not learnt in the middle of a sentence.
    assert spoken(sample.ids, sample.labels).endswith("a star a")
    assert few.length(item) == 512
    # So long a question leaves no room for the answer.
    assert why(few, talk("a star " * 1429, "Yes")).endswith("that fit hold no answer or not all of a picture")


BAD = {
    "is empty (0 bytes)": b"",
    "is no image in a known format, or its header is damaged": b"GET /cat.jpg: 404 not found",
}


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    asked = ("<image>\nWhat?", "a star")
    missing = talk(*asked, images=(tmp_path / "cat.jpg",))
    assert why(CHATTING, missing) == "shows cat.jpg, which cannot be read: No such file or directory"
    assert CHATTING.length(missing) == 0
    for reason, data in BAD.items():
        (tmp_path / "cat.jpg").write_bytes(data)
        assert why(CHATTING, missing) == f"shows cat.jpg, which {reason}"
    saved(tmp_path / "cat.jpg", (400, 300))
    whole = (tmp_path / "cat.jpg").read_bytes()
    (tmp_path / "cat.jpg").write_bytes(whole[: len(whole) // 2])
    assert why(CHATTING, missing).startswith("shows cat.jpg, which is truncated or damaged")
    # Its header is sound, so its length is counted, and it is found out when it is decoded.
    assert CHATTING.length(missing) > 0


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("cmyk.jpg", {"mode": "CMYK"}),
        ("grey.png", {"mode": "L"}),
        ("bits.png", {"mode": "1"}),
        ("palette.gif", {"mode": "P"}),
        ("clear.png", {"mode": "RGBA"}),
        ("hour.webp", {}),
    ],
)
def test_pictures_of_any_kind_are_tiles_of_three_channels(tmp_path: Path, name: str, asked: dict[str, Any]) -> None:
    path = saved(tmp_path / name, **asked)
    sample = CHATTING.sample(talk("<image>\nWhat?", "a star", images=(path,)))
    assert sample.pictures[0].tiles_K3SS.shape[1:] == (3, 28, 28)
    assert torch.isfinite(sample.pictures[0].tiles_K3SS).all()
    assert CHATTING.length(talk("<image>\nWhat?", "a star", images=(path,))) == len(sample.ids)


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((30, 30), 32768, np.uint16)).save(tmp_path / "deep.png")
    sample = CAPTIONING.sample(talk("<image>", "grey", images=(tmp_path / "deep.png",)))
    assert sample.pictures[0].tiles_K3SS.mean().item() == pytest.approx(128 / 255, abs=1e-3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_counted_as_it_is_shown(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.jpg", (120, 30), exif=exif)
    shown = load_image(path)
    assert upright_size(path) == (shown.height, shown.width) == ((120, 30) if orientation > 4 else (30, 120))
    item = talk("<image>\nWhat?", "a star", images=(path,))
    assert CHATTING.length(item) == len(CHATTING.sample(item).ids)


def test_a_size_is_read_from_the_header_or_refused_like_the_picture(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"^cannot be read: No such file"):
        upright_size(tmp_path / "none.png")
    with pytest.raises(ImageError, match="40 x 30 pixels, more than the limit of 1000"):
        upright_size(saved(tmp_path / "a.png"), most_pixels=1000)


def test_many_that_are_left_out_for_one_reason_are_one_line_that_counts_them() -> None:
    few = {f"instruct/{k}": f"shows {k}.jpg, which is not there" for k in range(1000)}
    assert [(skip.item, skip.times) for skip in by_reason(few)] == [(item, 1) for item in few]
    many = few | {f"instruct/{k}": f"has {k} tokens, of which the last {k - 7} do not fit" for k in range(1000, 1010)}
    assert [(skip.item, skip.reason, skip.times) for skip in by_reason(many)] == [
        ("instruct/0", "shows 0.jpg, which is not there", 1000),
        ("instruct/1000", "has 1000 tokens, of which the last 993 do not fit", 10),
    ]
