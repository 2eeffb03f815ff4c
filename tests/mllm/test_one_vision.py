"""LLaVA-OneVision's pictures, against transformers' own processor and model, and in a training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from tiny_llava import PATCH, SIDE, batch_of, clip_encoder, noise, tiny_llava
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel

from mllm.llava.export import export_llava
from mllm.llava.mini_tokenizer import mini_tokenizer
from mllm.llava.packing import Anyres, OneVision, Square, TilePlan
from mllm.llava.recipe import RECIPES
from mllm.llava.samples import Schooling
from mllm.llava.speaker import Question, Speaker
from mllm.llava.text import IGNORED, ChatML
from mllm.llava.weights import pictures_of
from rice_core.datasets.nouns import Conversation, Turn
from rice_core.encoders.preprocess import Preprocess

ONE_VISION = OneVision(SIDE, PATCH)
SHAPES = {"square": (60, 60), "wide": (20, 130), "tall": (150, 31), "thin": (300, 2), "large": (170, 168)}
"""The large one has more tokens than nine tiles have."""


def sizes(n: int, seed: int) -> list[tuple[int, int]]:
    """From thin to vast, with many that tie: squares, multiples of tiles."""
    rng = np.random.default_rng(seed)
    free = np.exp(rng.uniform(0, np.log(5000), (n, 2))).astype(int)
    square = np.repeat(rng.integers(1, 3000, (n // 10, 1)), 2, axis=1)
    tied = rng.integers(1, 60, (n // 10, 2)) * rng.choice([14, 56, 96], (n // 10, 1))
    return [(int(h), int(w)) for h, w in np.concatenate([free, square, tied])]


def their_processor(pictures: OneVision) -> Any:
    """Without the tokenizer that counting does not ask."""
    found = hf.LlavaOnevisionProcessor.__new__(hf.LlavaOnevisionProcessor)
    side = {"height": pictures.side, "width": pictures.side}
    found.image_processor = hf.LlavaOnevisionImageProcessor(size=side, image_grid_pinpoints=pictures.pinpoints)
    found.num_image_tokens, found.vision_aspect_ratio = (pictures.side // pictures.patch) ** 2, "anyres_max_9"
    return found


def test_grids_go_from_one_tile_to_six_by_six_in_llavas_order() -> None:
    assert len(set(OneVision.grids)) == 36
    # LLaVA's pairs are width and height, the height counting up first.
    assert OneVision.grids[:7] == ((1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (1, 2))
    plan = OneVision(384, 14).plan(384, 384)
    assert (plan.rows, plan.columns, plan.tokens) == (1, 1, 729 + 27 * 28)


@pytest.mark.parametrize(("side", "patch"), [(384, 14), (336, 14), (378, 14), (512, 16)])
def test_counts_are_the_processors(side: int, patch: int) -> None:
    ours = OneVision(side, patch)
    theirs = their_processor(ours)
    capped = 0
    for height, width in sizes(3000, side):
        plan = ours.plan(height, width)
        assert plan.tokens == theirs._get_number_of_features(height, width, side, side)
        capped += plan.rows * plan.columns > 9
    assert capped > 30


@pytest.mark.parametrize("side", [336, 384])
def test_no_grid_has_over_a_fifth_more_tokens_than_nine_tiles(side: int) -> None:
    g = side // 14
    counts = [OneVision(side, 14).plan(height, width) for height, width in sizes(2000, 3)]
    assert max(plan.tokens - g * g for plan in counts) <= 9 * g * g * 1.1**2 + 6 * g
    vast = OneVision(384, 14).plan(2304, 2304)
    # 162 x 162 tokens, twice as many along a side as nine tiles have.
    assert (vast.tiles, vast.tokens) == (37, 729 + 81 * 82)


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_tiles_are_the_processors(shape: str) -> None:
    recipe = Preprocess(resolution=(SIDE, SIDE), interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
    image, side = noise(*SHAPES[shape]), {"height": SIDE, "width": SIDE}
    given: dict[str, Any] = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.25]}
    theirs = hf.LlavaOnevisionImageProcessor(size=side, image_grid_pinpoints=ONE_VISION.pinpoints, **given)
    found = theirs(images=[image], return_tensors="pt")["pixel_values"][0]
    assert torch.equal(ONE_VISION.tiles(image, recipe), found)
    several = theirs(images=[[image, noise(9, 9)]], return_tensors="pt")["pixel_values"][0]
    single = ONE_VISION.among(2)
    assert isinstance(single, Square)
    assert torch.allclose(single.tiles(image, recipe), several, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [*SHAPES.values(), (1000, 1)])
def test_tokens_are_packed_as_in_transformers_model(height: int, width: int) -> None:
    plan = ONE_VISION.plan(height, width)
    tiles_KTC = torch.randn(plan.tiles, (SIDE // PATCH) ** 2, 3)
    newline_C = torch.tensor([7.0, 8.0, 9.0])
    model = LlavaOnevisionModel.__new__(LlavaOnevisionModel)
    torch.nn.Module.__init__(model)
    vision = type("Vision", (), {"image_size": SIDE, "patch_size": PATCH})
    model.config = type("Config", (), {"vision_config": vision, "image_grid_pinpoints": ONE_VISION.pinpoints})
    single = TilePlan(SIDE // PATCH, ends=True)
    theirs, counts = model.pack_image_features([tiles_KTC, tiles_KTC[:1]], [(height, width)] * 2, newline_C)
    for each, expected, n in zip((plan, single), theirs, counts, strict=True):
        found_NC = each.pack(tiles_KTC[: each.tiles], newline_C)
        assert torch.allclose(found_NC, expected, atol=1e-6)
        assert len(found_NC) == each.tokens == int(n)


def test_several_pictures_are_one_tile_each_and_one_alone_is_cut() -> None:
    assert ONE_VISION.among(1) is ONE_VISION
    assert ONE_VISION.among(2) == Square(SIDE, PATCH, "pad", ends=True)
    assert ONE_VISION.among(2).plan(300, 20).tokens == (SIDE // PATCH) ** 2 + 1
    anyres = Anyres(SIDE, PATCH)
    assert anyres.among(2) is anyres


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Speaker:
    tokenizer = mini_tokenizer()
    return Speaker(tiny_llava(clip_encoder(tmp_path_factory.mktemp("clip"))), tokenizer, ChatML(tokenizer), ONE_VISION)


@torch.no_grad()
@pytest.mark.parametrize("shown", [("square",), ("wide",), ("thin",), ("large",), (), ("tall", "wide")], ids=str)
def test_logits_of_an_export_are_ours(speaker: Speaker, tmp_path: Path, shown: tuple[str, ...]) -> None:
    export_llava(speaker, tmp_path)
    auto: Any = hf.AutoModelForImageTextToText
    model, processor = auto.from_pretrained(tmp_path).eval(), hf.AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(model, hf.LlavaOnevisionForConditionalGeneration)
    images = [noise(*SHAPES[name]) for name in shown]
    question = Question.of("bafo", images)
    cut = speaker.cut(question)
    ids = speaker.format.prompt(question.turns, [each.plan.tokens for each in cut])
    batch = batch_of([(list(ids), [IGNORED] * len(ids), cut)])
    found = speaker.model.language_model(inputs_embeds=speaker.model.embeds(batch), attention_mask=batch.mask_BT).logits
    said = [{"role": "user", "content": [*({"type": "image"} for _ in images), {"type": "text", "text": "bafo"}]}]
    prompt = processor.apply_chat_template(said, add_generation_prompt=True)
    given = processor(text=[prompt], images=[images] if images else None, return_tensors="pt")
    assert torch.allclose(model(**given).logits, found, atol=2e-5, rtol=1e-5)
    assert found.std() > 0.1


def test_answers_of_a_batch_are_those_of_one_at_a_time(speaker: Speaker) -> None:
    asked = [
        Question.of("Hi", [noise(170, 168)]),
        Question.of("Which?", [noise(40, 9), noise(9, 9)]),
        Question.of("Hi"),
    ]
    assert speaker.answer(asked, 8) == [speaker.answer([each], 8)[0] for each in asked]


def test_a_conversation_of_several_pictures_is_learnt_from(speaker: Speaker, tmp_path: Path) -> None:
    for name, size in (("a.png", (30, 90)), ("b.png", (170, 168))):
        noise(*size).save(tmp_path / name)
    both = Conversation(
        "two", (Turn("user", "<image> or <image>?"), Turn("assistant", "A")), (tmp_path / "a.png", tmp_path / "b.png")
    )
    one = Conversation("one", (Turn("user", "<image>\nHi"), Turn("assistant", "A")), (tmp_path / "b.png",))
    schooling = Schooling(speaker.format, ONE_VISION, speaker.model.tower.recipe, 2048)
    found, alone = schooling.sample(both), schooling.sample(one)
    assert [each.plan for each in found.pictures] == [TilePlan(SIDE // PATCH, ends=True)] * 2
    assert alone.pictures[0].plan.tiles == 37
    assert (len(found.ids), len(alone.ids)) == (schooling.length(both), schooling.length(one))
    model = speaker.model
    batch = batch_of([(list(each.ids), list(each.labels), list(each.pictures)) for each in (found, alone)])
    loss = model(batch).loss
    loss.backward()
    assert math.isfinite(float(loss))
    assert model.image_newline.grad is not None
    assert model.image_newline.grad.abs().sum() > 0
    model.zero_grad()


def test_the_recipe_says_that_it_gives_no_verdict() -> None:
    recipe = RECIPES["ov@1"]
    assert "six data files of its public recipe are missing" in recipe.reading
    assert "no verdict against the paper" in recipe.reading
    assert (recipe.model.tiles, recipe.instruct.tower_rate, recipe.instruct.batch) == ("6x6", 2e-6, 256)
    assert pictures_of(recipe.model, 384, 14) == OneVision(384, 14)
    assert type(pictures_of(RECIPES["paper@1"].model, 384, 14)) is Anyres
