"""Tiles and tokens of a picture, against LLaVA's numbers and transformers' own processor and model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlavaNextImageProcessor
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel
from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor

from mllm.llava.packing import Anyres, Square, TilePlan
from rice_core.encoders.preprocess import Preprocess
from rice_core.errors import UserError

SHAPES = [(336, 14), (378, 14), (384, 14), (560, 14), (512, 16)]


EXACT = [(100, 50), (82, 41), (43, 129), (49, 49), (86, 43), (200, 100)]
"""Of a grid's own shape, where a rounded product is more than the grid."""


def tokens(side: int, patch: int, height: int, width: int) -> int:
    return Anyres(side, patch).plan(height, width).tokens


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    draw = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(draw)


def sizes(n: int, seed: int) -> list[tuple[int, int]]:
    """From thin to vast, with many that tie: squares, multiples of tiles."""
    rng = np.random.default_rng(seed)
    free = np.exp(rng.uniform(0, np.log(4000), (n, 2))).astype(int)
    square = np.repeat(rng.integers(1, 2500, (n // 10, 1)), 2, axis=1)
    tied = rng.integers(1, 60, (n // 10, 2)) * rng.choice([14, 56, 96], (n // 10, 1))
    return [(int(h), int(w)) for h, w in np.concatenate([free, square, tied])]


def their_processor(side: int, patch: int, pinpoints: list[list[int]]) -> Any:
    """LlavaNextProcessor for a tower without class token, without the tokenizer that counting does not ask."""
    processor = LlavaNextProcessor.__new__(LlavaNextProcessor)
    processor.image_processor = image_processor(side, pinpoints)
    processor.patch_size, processor.num_additional_image_tokens = patch, 0
    return processor


def image_processor(side: int, pinpoints: list[list[int]], **other: Any) -> LlavaNextImageProcessor:
    square = {"height": side, "width": side}
    return LlavaNextImageProcessor(size=square, crop_size=square, image_grid_pinpoints=pinpoints, **other)


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(61, 285, 726), (200, 180, 1226), (300, 200, 1476), (336, 336, 1176)]
)
def test_ties_are_broken_as_llava_does(height: int, width: int, expected: int) -> None:
    assert tokens(336, 14, height, width) == expected


def test_a_square_picture_is_two_rows_of_one_tile() -> None:
    plan = Anyres(336, 14).plan(336, 336)
    assert (plan.rows, plan.columns, plan.tiles) == (2, 1, 3)


def test_unpadding_rounds_before_it_cuts() -> None:
    assert tokens(336, 14, 110, 176) == 976  # LLaVA's own code: 926


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (480, 640, (2340, 2929, 3800)),
        (1080, 1920, (1948, 2379, 5326)),
        (427, 640, (2144, 2709, 4040)),
        (1000, 1, (648, 891, 1680)),
    ],
)
def test_known_counts(height: int, width: int, expected: tuple[int, ...]) -> None:
    assert tuple(tokens(side, 14, height, width) for side in (336, 378, 560)) == expected


@pytest.mark.parametrize(("side", "most"), [(336, 2928), (378, 3699), (560, 8080)])
def test_no_picture_has_more_than_the_full_grid(side: int, most: int) -> None:
    found = [tokens(side, 14, height, width) for height, width in sizes(2000, 1)]
    assert max(found) == tokens(side, 14, 2 * side, 2 * side) == most


@pytest.mark.parametrize(("side", "patch"), SHAPES)
def test_counts_are_the_processors(side: int, patch: int) -> None:
    ours = Anyres(side, patch)
    theirs = their_processor(side, patch, ours.pinpoints)
    for height, width in sizes(5000, side):
        assert ours.plan(height, width).tokens == theirs._get_number_of_features(height, width, side, side)


@pytest.mark.parametrize(("side", "least"), [(336, 0.03), (560, 0.1)])
def test_pinpoints_as_llava_writes_them_are_another_processor(side: int, least: float) -> None:
    ours = Anyres(side, 14)
    unreversed = their_processor(side, 14, [[wide, tall] for tall, wide in ours.pinpoints])
    drawn = np.random.default_rng(0).integers(50, 1200, (1000, 2)).tolist()
    wrong = [
        ours.plan(height, width).tokens != unreversed._get_number_of_features(height, width, side, side)
        for height, width in drawn
    ]
    assert np.mean(wrong) > least
    assert unreversed._get_number_of_features(61, 285, side, side) == 1066 or side != 336


@pytest.mark.parametrize(("side", "patch"), SHAPES)
def test_tiles_without_a_class_token_lose_no_patch(side: int, patch: int) -> None:
    assert Square(side, patch, "own").plan(10, 20) == TilePlan(side // patch)
    assert Square(side, patch, "own").plan(10, 20).tokens == (side // patch) ** 2
    if (side, patch) == (384, 14):
        assert (side // patch) ** 2 == 729


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest", "lanczos"])
def test_tiles_are_the_processors(interpolation: str) -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    recipe = Preprocess(resolution=(56, 56), interpolation=interpolation, mean=mean, std=std)
    ours = Anyres(56, 14)
    resample = Image.Resampling[interpolation.upper()]
    theirs = image_processor(56, ours.pinpoints, image_mean=list(mean), image_std=list(std), resample=resample)
    for k, (height, width) in enumerate(
        [(56, 56), (40, 97), (131, 33), (300, 200), (9, 200), (1, 70), (57, 113), *EXACT]
    ):
        image = noise(height, width, k)
        found = ours.tiles(image, recipe)
        assert found.shape[0] == ours.plan(height, width).tiles
        assert torch.equal(found, theirs(images=[image], return_tensors="pt")["pixel_values"][0])


def test_tiles_lie_by_rows_behind_the_base_tile() -> None:
    quadrants = np.kron(np.array([[10, 20], [30, 40]], np.uint8), np.ones((28, 28), np.uint8))
    image = Image.fromarray(np.repeat(quadrants[..., None], 3, axis=2))
    recipe = Preprocess(resolution=(28, 28), interpolation="bilinear", mean=(0, 0, 0), std=(1 / 255,) * 3)
    means = Anyres(28, 14).tiles(image, recipe).mean((1, 2, 3))
    assert means.round().tolist() == [25, 10, 20, 30, 40]


def test_padding_is_black_before_normalising() -> None:
    recipe = Preprocess(resolution=(28, 28), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    white = Image.new("RGB", (56, 20), "white")
    tiles = Anyres(28, 14).tiles(white, recipe)
    assert tiles.shape == (3, 3, 28, 28)
    assert tiles[0].min() == 1  # the base tile has no padding
    assert tiles[1:].unique().tolist() == [-1, 1]
    assert (tiles[1, 0, :, 0] == -1).nonzero().flatten().tolist() == [0, 1, 2, 3, 24, 25, 26, 27]


@pytest.mark.parametrize(("height", "width"), [(56, 56), (40, 97), (131, 33), (300, 200), (9, 200), (1000, 1)])
def test_tokens_are_packed_as_in_transformers_model(height: int, width: int) -> None:
    side, patch, channels = 56, 14, 3
    anyres = Anyres(side, patch)
    plan = anyres.plan(height, width)
    tiles_KTC = torch.randn(plan.tiles, (side // patch) ** 2, channels)
    newline_C = torch.tensor([7.0, 8.0, 9.0])
    model = LlavaNextModel.__new__(LlavaNextModel)
    torch.nn.Module.__init__(model)
    vision = type("Vision", (), {"image_size": side, "patch_size": patch})
    model.config = type("Config", (), {"vision_config": vision, "image_grid_pinpoints": anyres.pinpoints})
    (expected,), (n,) = model.pack_image_features([tiles_KTC], [(height, width)], "full", newline_C)
    packed_NC = plan.pack(tiles_KTC, newline_C)
    assert torch.equal(packed_NC, expected)
    assert len(packed_NC) == plan.tokens == int(n)


def test_each_row_of_the_grid_ends_with_a_newline_and_the_base_tile_has_none() -> None:
    plan = TilePlan(grid=2, rows=1, columns=2, top=0, left=1)
    tiles_KTC = torch.arange(12.0).reshape(3, 4, 1)
    found = plan.pack(tiles_KTC, torch.tensor([-1.0])).flatten().tolist()
    assert found == [0, 1, 2, 3, 5, 8, -1, 7, 10, -1]


def test_a_single_tile_has_no_newline() -> None:
    tiles_KTC = torch.arange(4.0).reshape(1, 4, 1)
    assert torch.equal(TilePlan(grid=2).pack(tiles_KTC, torch.tensor([-1.0])), tiles_KTC[0])


@pytest.mark.parametrize(
    ("resize", "ends"), [("crop", False), ("squash", True), ("pad", True), ("own", False)], ids=lambda v: str(v)
)
def test_square_shows_the_ends_of_a_wide_picture_or_not_as_named(resize: Any, ends: bool) -> None:
    wide = np.full((20, 80, 3), 127, np.uint8)
    wide[:, :15], wide[:, -15:] = (255, 0, 0), (0, 0, 255)
    recipe = Preprocess(resolution=(28, 28), geometry="crop", mean=(0, 0, 0), std=(1, 1, 1))
    tile = Square(28, 14, resize).tiles(Image.fromarray(wide), recipe)
    assert tile.shape == (1, 3, 28, 28)
    middle_3W = tile[0, :, 14]
    seen = bool(middle_3W[0, 1] > 0.9 and middle_3W[2, 1] < 0.1) and bool(middle_3W[2, -2] > 0.9)
    assert seen == ends


def test_square_pads_with_the_mean_colour() -> None:
    recipe = Preprocess(resolution=(28, 28), mean=(0.2, 0.4, 0.6), std=(1, 1, 1))
    tile = Square(28, 14, "pad").tiles(Image.new("RGB", (56, 28), "white"), recipe)
    assert tile[0, :, 0].abs().max() < 1 / 255
    assert torch.allclose(tile[0, :, 14, 14], torch.tensor([0.8, 0.6, 0.4]))


def test_own_is_what_the_encoders_processor_does() -> None:
    recipe = Preprocess(resolution=(28, 28), geometry="squash", zoom=1.2)
    image = noise(50, 70)
    assert torch.equal(Square(28, 14, "own").tiles(image, recipe), recipe.prepare([image], 28, 28))


@pytest.mark.parametrize("make", [Anyres, lambda side, patch: Square(side, patch, "pad")])
def test_a_tile_smaller_than_its_patch_is_refused(make: Any) -> None:
    with pytest.raises(UserError, match="a tile of 13 pixels holds no patch of 14"):
        make(13, 14)
