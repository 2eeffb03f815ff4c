"""The contact sheet: masks are drawn, right and wrong differ without colour, and nothing leaves its picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from probes.detection import pictures, tiles
from probes.detection.pictures import SIDE, contact_sheet
from probes.detection.tiles import Drawn, colour, tile
from probes.detection.truth import Category, Thing, TruthImage
from rice_core.datasets import Sample
from rice_core.datasets.regions import ANY, ANYWHERE

CATEGORIES = [Category(k, name) for k, name in enumerate(("dog", "a category with a very long name indeed"))]
GREY = 128


def image(folder: Path, *things: Thing, key: int = 0, width: int = 60, height: int = 40, **more: Any) -> TruthImage:
    path = folder / f"{key}.png"
    Image.new("RGB", (width, height), (GREY,) * 3).save(path)
    return TruthImage(key, Sample(str(key), path, key=key), (height, width), things, **more)


def row(box: list[float], category: int = 0, score: float = 0.9, key: int = 0) -> dict[str, Any]:
    return {"image_id": key, "category_id": category, "bbox": box, "score": score}


def drawn(monkeypatch: pytest.MonkeyPatch, *sheet: Any) -> list[list[tuple[str, str]]]:
    """(words, look) of what each tile shows, in their order."""
    shown: list[list[tuple[str, str]]] = []

    def record(image: TruthImage, things: list[Drawn], side: int) -> Image.Image:
        shown.append([(each.words, each.look) for each in things])
        return tile(image, things, side)

    with monkeypatch.context() as patch:
        patch.setattr(pictures, "tile", record)
        contact_sheet(*sheet)
    return shown


def test_what_is_right_wrong_and_forgiven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    things = (Thing((0, 0, 20, 20), 0), Thing((30, 0, 50, 20), 0), Thing((0, 25, 60, 40), 0, crowd=True))
    seen = image(tmp_path, *things, ignored=(Thing((52, 0, 60, 8), ANY),))
    rows = [
        row([1, 0, 20, 20]),
        row([0, 1, 20, 20], score=0.8),
        row([30, 0, 20, 20], category=1, score=0.7),
        row([10, 26, 9, 9], score=0.6),
        row([52, 0, 8, 8], category=1, score=0.5),
        row([30, 0, 20, 20], score=0.2),
    ]
    truth, found = drawn(monkeypatch, [seen], rows, CATEGORIES)
    assert truth == [("dog", "holds"), ("x dog", "fails"), ("dog, crowd", "crowd"), ("not judged", "crowd")]
    assert found == [
        ("dog 0.90", "holds"),
        ("x dog 0.80", "fails"),
        ("x a category with a 0.70", "fails"),
        ("dog 0.60", "crowd"),
        ("a category with a 0.50", "crowd"),
    ]


def test_what_is_not_judged_is_not_drawn_as_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a box without a width a line is known, of one that is none only the image."""
    seen = image(tmp_path, Thing((0, 0, 20, 20), 0), ignored=(Thing((40, 5, 40, 25), 0), Thing(ANYWHERE, 1)))
    rows = [row([0, 0, 20, 20]), row([38, 5, 15, 20]), row([5, 25, 10, 10], category=1), row([0, 30, 5, 5])]
    truth, found = drawn(monkeypatch, [seen], rows, CATEGORIES)
    assert truth == [("dog", "holds"), ("dog, not judged", "crowd")]
    assert [look for _, look in found] == ["holds", "crowd", "crowd", "fails"]


def test_images_stand_in_order_and_none_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [image(tmp_path, Thing((0, 0, 20, 20), 0), key=key) for key in range(11)] + [image(tmp_path, key=11)]
    rows = [row([0, 0, 20, 20], key=key) for key in range(11)]
    rows += [row([40, 20, 9, 9], key=key) for key in range(11) for _ in range(key)]
    order = []
    monkeypatch.setattr(pictures, "tile", lambda image, *_: order.append(image.key) or Image.new("RGB", (9, 9)))
    contact_sheet(seen, rows, CATEGORIES)
    assert order[::2] == [0, 1, 2, 3, 4, 5, 6, 10, 9, 8, 7]
    for few in (1, 4, 9):
        order.clear()
        contact_sheet(seen[:few], rows, CATEGORIES)
        assert sorted(order[::2]) == list(range(few))
    assert contact_sheet([seen[11]], rows, CATEGORIES).shape[2] == 3


def test_the_halves_have_a_gap_and_a_broken_file_costs_its_tile(tmp_path: Path) -> None:
    sound, broken = (image(tmp_path, Thing((0, 0, 20, 20), 0), key=key) for key in range(2))
    (tmp_path / "1.png").write_text("no picture")
    sheet_HW3 = contact_sheet([sound, broken], [], CATEGORIES)
    left = 12 + SIDE
    assert (sheet_HW3[60:, left : left + 6] == 255).all()
    assert (sheet_HW3[240, left + 10] == 255).all() or (sheet_HW3[200, left + 10] == GREY).all()


@pytest.mark.parametrize("box", [(0, 0, 60, 40), (55, 38, 60, 40), (0, 0, 1, 1), (59, 0, 60, 40), (-5, -5, 70, 50)])
def test_words_stay_inside_the_picture(box: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    rectangle = tiles.ImageDraw.ImageDraw.rectangle

    def record(pen: Any, xy: Any, **more: Any) -> None:
        written.extend([xy] if more.get("fill") == (255, 255, 255) else [])
        rectangle(pen, xy, **more)

    monkeypatch.setattr(tiles.ImageDraw.ImageDraw, "rectangle", record)
    words = ["x dog 0.90", "a name that is much wider than any of the pictures here is"]
    things = [Drawn(box, k, text, "fails") for k, text in enumerate(words * 2)]
    shown = tile(image(tmp_path), things, 150)
    assert shown.size == (150, 100)
    assert len(written) == 4
    for x0, y0, x1, y1 in written:
        assert 0 <= x0 < x1 <= 150
        assert 0 <= y0 < y1 <= 100


def test_masks_are_filled_and_lines_of_what_is_wrong_are_broken(tmp_path: Path) -> None:
    pixels_HW = np.zeros((40, 60), np.uint8, order="F")
    pixels_HW[20:30, 20:40] = 1
    rle = coco_mask.encode(pixels_HW)
    box = (10.0, 10.0, 50.0, 35.0)
    shown = {
        look: np.asarray(tile(image(tmp_path), [Drawn(box, 0, "d", look, rle)], 300)).astype(int)
        for look in ("holds", "fails", "crowd")
    }
    ink = np.array(colour(0))
    for pixels_HW3 in shown.values():
        np.testing.assert_allclose(pixels_HW3[125, 150], 0.6 * GREY + 0.4 * ink, atol=1)
        assert (pixels_HW3[80, 150] == GREY).all()
    # Along the left side, how much of the line is ink.
    share = {look: float((pixels_HW3[90:160, 50] == ink).all(-1).mean()) for look, pixels_HW3 in shown.items()}
    assert share["holds"] == 1
    assert 0.5 < share["fails"] < 0.8
    assert 0.3 < share["crowd"] < share["fails"]
