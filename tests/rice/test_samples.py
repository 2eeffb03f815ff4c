"""Crops and the regions that follow them, against the pixels; sampling of regions and labels."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from rice_core.datasets.geometry import cell_shares
from rice_core.model.vit import ViTConfig
from rice_core.rice import samples
from rice_core.rice.config import DataConfig, ModelConfig, ObjectiveConfig, ResolutionStage, TrainConfig
from rice_core.rice.crops import ASPECTS, ResizedCrop, random_crop
from rice_core.rice.samples import OBJECT, OCR, Preparer, TrainingExample
from rice_core.rice.streams import RawSample, UnusableSample

W, H, SIDE, PATCH = 96, 72, 64, 8
GRID = SIDE // PATCH
RED = (250, 0, 0)


def preparer(crop: tuple[float, float] = (0.3, 1.0), flip: bool = True, **objective: Any) -> Preparer:
    config = TrainConfig(
        name="t",
        model=ModelConfig(vit=ViTConfig(patch=PATCH, resolution=SIDE)),
        objective=ObjectiveConfig(**objective),
        data=DataConfig(path=Path("unread"), streams=1, crop_scale=crop, flip=flip),
        stages=(ResolutionStage(resolution=SIDE, samples=1),),
        batch=1,
    )
    return Preparer(config, {"object": 100, "ocr": 100, "image": 100}, SIDE)


def raw(
    regions: list[dict[str, Any]], pixels_HW3: np.ndarray | None = None, image_labels: list[int] | None = None
) -> RawSample:
    if pixels_HW3 is None:
        pixels_HW3 = np.full((H, W, 3), 255, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels_HW3).save(file, "PNG")
    body = {
        "width": W,
        "height": H,
        "regions": regions,
        "image_labels": [7, 3] if image_labels is None else image_labels,
    }
    return RawSample("a", {"png": file.getvalue(), "json": json.dumps(body).encode()})


def region(box: tuple[float, float, float, float], *labels: int, type: str = "object", **rest: Any) -> dict[str, Any]:
    return {"type": type, "box": box, "labels": labels or (1,), **rest}


def redness(example: TrainingExample) -> np.ndarray:
    """How much of each pixel the red region covers, as the picture itself says; S x S in [0, 1]."""
    return (255 - example.pixels_3SS[1].astype(float)) / 255


def picture(mask_HW: np.ndarray) -> np.ndarray:
    pixels_HW3 = np.full((H, W, 3), 255, np.uint8)
    pixels_HW3[mask_HW] = RED
    return pixels_HW3


def disc() -> np.ndarray:
    y, x = np.mgrid[:H, :W] + 0.5
    inside: np.ndarray = ((x - 30) / 22) ** 2 + ((y - 40) / 15) ** 2 <= 1
    return inside


@pytest.mark.parametrize("masked", [False, True])
def test_boxes_and_patches_follow_crop_and_flip_as_the_pixels_do(masked: bool) -> None:
    mask_HW = np.zeros((H, W), dtype=bool)
    mask_HW[25:55, 8:52] = True
    if masked:
        mask_HW = disc()
    rle = coco_mask.encode(np.asfortranarray(mask_HW, dtype=np.uint8))
    written = {"rle": {"size": [H, W], "counts": rle["counts"].decode()}} if masked else {}
    sample = raw([region((8, 25, 52, 55), **written)], picture(mask_HW))
    prepare = preparer(regions=1)
    kept = sides = 0
    for epoch in range(60):
        example = prepare(sample, epoch)
        if not example.weight_N[0]:
            continue
        kept += 1
        red_SS = redness(example)
        x0, y0, x1, y1 = example.boxes_N4[0]
        sides += red_SS[:, : SIDE // 2].sum() > red_SS[:, SIDE // 2 :].sum()
        # Nothing red two pixels outside of the box, and it touches every side of it.
        rows, columns = np.flatnonzero((red_SS > 0.5).any(axis=1)), np.flatnonzero((red_SS > 0.5).any(axis=0))
        slack = 2.5 if masked else 1.0
        np.testing.assert_allclose([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], [x0, y0, x1, y1], atol=slack)
        share_P = red_SS.reshape(GRID, PATCH, GRID, PATCH).mean(axis=(1, 3)).ravel()
        clear_P = abs(share_P - 0.5) > 0.06
        assert (example.visible_NP[0] == (share_P > 0.5))[clear_P].all()
    assert kept > 30
    assert 10 < sides < kept - 5  # mirrored and not


def test_a_region_with_less_than_half_of_its_area_left_is_dropped() -> None:
    mask_HW = disc()
    rle = coco_mask.encode(np.asfortranarray(mask_HW, dtype=np.uint8))
    boxes = [(8, 25, 52, 55), (0, 0, 40, 30), (70, 50, 96, 72), (90, -20, 130, 20)]
    regions = [region(box, label) for label, box in enumerate(boxes, 10)]
    regions.append(region((8, 25, 52, 55), 20, rle={"size": [H, W], "counts": rle["counts"].decode()}))
    regions.append(region((30, 30, 30, 50), 30))  # no area
    masks = []
    for left, top, right, bottom in boxes:
        masks.append(np.zeros((H, W), dtype=bool))
        masks[-1][max(top, 0) : bottom, max(left, 0) : right] = True
    masks.append(mask_HW)
    sample, prepare = raw(regions), preparer(regions=6)
    seen = Counter[int]()
    for epoch in range(40):
        crop = drawn_crop(prepare, sample, epoch)
        want = []
        for label, mask in zip((10, 11, 12, 13, 20), masks, strict=True):
            left = crop.mask(mask).sum() / mask.sum()
            want += [label] if left >= 0.5 else []
        if not want:
            continue  # then another crop is drawn
        example = prepare(sample, epoch)
        assert example.objects == want
        assert {label for labels in example.labels for label in labels} == set(want)
        seen.update(want)
    assert all(0 < seen[label] < 40 for label in (11, 12, 13))


def drawn_crop(prepare: Preparer, sample: RawSample, epoch: int) -> ResizedCrop:
    """The crop that the preparer draws in this epoch."""
    found: list[ResizedCrop] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "random_crop", lambda *words: found.append(random_crop(*words)) or found[-1])
        prepare(sample, epoch)
    return found[0]


def test_crops_have_the_area_and_the_aspect_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    crops = [random_crop((640, 480), (0.4, 1.0), True, rng) for _ in range(2000)]
    shares = np.array([crop.width * crop.height / (640 * 480) for crop in crops])
    aspects = np.array([crop.width / crop.height for crop in crops])
    assert shares.min() > 0.395
    assert shares.max() <= 1.0
    assert 0.57 < shares.mean() < 0.65  # below the middle: large draws fit less often, and are drawn again
    assert aspects.min() > ASPECTS[0] - 0.01
    assert aspects.max() < ASPECTS[1] + 0.01
    assert all(crop.left + crop.width <= 640 and crop.top + crop.height <= 480 for crop in crops)
    assert 0.45 < np.mean([crop.flip for crop in crops]) < 0.55
    assert not any(random_crop((640, 480), (0.4, 1.0), False, rng).flip for _ in range(20))
    assert len({(crop.left, crop.top) for crop in crops}) > 1000


def test_the_whole_image_and_what_fits_no_aspect() -> None:
    rng = np.random.default_rng(0)
    assert random_crop((640, 100), (1.0, 1.0), False, rng) == ResizedCrop(0, 0, 640, 100, False)
    assert random_crop((640, 100), (0.9, 1.0), False, rng) == ResizedCrop(253, 0, 133, 100, False)
    assert random_crop((1, 1), (0.4, 1.0), False, rng) == ResizedCrop(0, 0, 1, 1, False)


def test_a_crop_is_what_pillow_cuts_and_resizes() -> None:
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 256, (H, W, 3), dtype=np.uint8))
    want = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(10, 5, 70, 60)))
    for flip in (False, True):
        got = ResizedCrop(10, 5, 60, 55, flip).pixels(image, SIDE)
        np.testing.assert_array_equal(got.transpose(1, 2, 0), want[:, ::-1] if flip else want)
    np.testing.assert_array_equal(
        ResizedCrop(0, 0, W, H, False).boxes(np.array([[-5.0, 0, 48, 99]]), 64), [[0, 0, 32, 64]]
    )
    np.testing.assert_array_equal(
        ResizedCrop(0, 0, W, H, True).boxes(np.array([[-5.0, 0, 48, 99]]), 64), [[32, 0, 64, 64]]
    )


def many(objects: int, lines: int) -> RawSample:
    """Regions that every crop of the whole image keeps; each has a label of its own."""
    boxes = [(4 + 2 * i, 4, 60, 60) for i in range(objects)]
    found = [region(box, i) for i, box in enumerate(boxes)]
    return raw(found + [region((4, 4 + i, 60, 12 + i), 50 + i, type="ocr") for i in range(lines)])


@pytest.mark.parametrize(
    ("objects", "lines", "want_objects", "want_lines"),
    [
        (9, 9, 7, 3),
        (9, 2, 8, 2),
        (4, 9, 4, 6),
        (20, 0, 10, 0),
        (0, 20, 0, 10),
        (5, 5, 5, 5),
        (3, 2, 3, 2),
        (12, 3, 7, 3),
    ],
)
def test_quotas_of_objects_and_lines(objects: int, lines: int, want_objects: int, want_lines: int) -> None:
    example = preparer(crop=(1, 1), regions=10, ocr_share=0.3)(many(objects, lines), 0)
    assert example.weight_N.tolist() == [1.0] * 10
    labels = [label for (label,) in example.labels]
    assert len({label for label in labels if label < 50}) == want_objects
    assert len({label for label in labels if label >= 50}) == want_lines
    assert [label >= 50 for label in labels] == (example.type_N == OCR).tolist()
    if objects + lines >= 10:
        assert len(set(labels)) == 10  # without repeats while there is another
    assert example.objects == list(range(objects))  # all that the crop keeps, sampled or not
    assert example.tokens == list(range(50, 50 + lines))


def test_regions_are_sampled_evenly_and_repeats_are_random() -> None:
    prepare, sample = preparer(crop=(1, 1), regions=4), many(8, 0)
    counts = Counter(label for epoch in range(200) for (label,) in prepare(sample, epoch).labels)
    assert sum(counts.values()) == 800
    assert all(60 < counts[label] < 140 for label in range(8))
    few = many(3, 0)
    repeated = Counter(prepare(few, epoch).labels[3][0] for epoch in range(150))
    assert all(25 < repeated[label] < 80 for label in range(3))


def test_a_line_has_unique_tokens_and_at_most_m_at_random() -> None:
    long, short = region((4, 4, 60, 12), *range(8), type="ocr"), region((4, 40, 60, 50), 9, 9, 11, type="ocr")
    prepare, sample = preparer(crop=(1, 1), regions=2, ocr_labels=5), raw([long, short])
    drawn = Counter[int]()
    for epoch in range(60):
        example = prepare(sample, epoch)
        first, second = sorted(example.labels, key=len, reverse=True)
        assert len(first) == len(set(first)) == 5
        assert set(first) <= set(range(8))
        assert second == [9, 11]
        assert example.tokens == [0, 1, 2, 3, 4, 5, 6, 7, 9, 11]
        drawn.update(first)
    assert all(20 < drawn[token] < 55 for token in range(8))


def test_a_line_sees_what_it_touches_and_an_object_what_it_covers_by_half() -> None:
    thin = (0, 20.0, W, 21.5)  # an eighth of the height of a row of patches
    example = preparer(crop=(1, 1), flip=False, regions=2)(raw([region(thin, type="ocr"), region(thin)]), 0)
    by_type = dict(zip(example.type_N.tolist(), example.visible_NP, strict=True))
    row = int(20.0 * SIDE / H) // PATCH
    np.testing.assert_array_equal(np.flatnonzero(by_type[OCR]), np.arange(row * GRID, (row + 1) * GRID))
    assert by_type[OBJECT].sum() == 1  # the best cell where none passes


def test_the_whole_image_as_one_more_region() -> None:
    prepare = preparer(crop=(1, 1), regions=3, image_region=True)
    example = prepare(many(6, 2), 0)
    assert example.labels[3] == [0, 1, 2, 3, 4, 5]
    assert example.boxes_N4[3].tolist() == [0, 0, SIDE, SIDE]
    assert example.visible_NP[3].all()
    assert (example.type_N[3], example.weight_N[3]) == (OBJECT, 1)
    text_only = prepare(many(0, 2), 0)
    assert (text_only.weight_N[3], text_only.labels[3]) == (0, [])
    other = preparer(crop=(1, 1), regions=3, image_region=True, name="mlcd")(many(6, 2), 0)
    assert len(other.labels) == 3


def test_what_the_objective_cannot_learn_from_is_refused() -> None:
    clusters = {"name": "mlcd", "image_labels": "clusters"}
    unseen = raw([region((8, 8, 8, 40))])  # no width: no crop keeps it
    for sample in (raw([]), unseen):
        with pytest.raises(UnusableSample, match="has no region"):
            preparer(regions=3, image_region=True)(sample, 0)
        with pytest.raises(UnusableSample, match="has no label"):
            preparer(name="mlcd")(sample, 0)
        assert preparer(**clusters)(sample, 0).clusters == [7, 3]
    with pytest.raises(UnusableSample, match="has no label"):
        preparer(**clusters)(raw([region((8, 8, 40, 40))], image_labels=[]), 0)


def test_a_crop_keeps_a_region_for_every_objective() -> None:
    corner = raw([region((0, 0, 6, 6))])  # random crops of a third of the image mostly miss it
    crops = {name: preparer(crop=(0.3, 0.3), name=name) for name in ("rice", "mlcd")}
    for epoch in range(20):
        rice, mlcd = (prepare(corner, epoch) for prepare in crops.values())
        assert rice.weight_N.all()
        np.testing.assert_array_equal(rice.pixels_3SS, mlcd.pixels_3SS)


def test_where_no_random_crop_keeps_a_region_the_whole_image_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def miss(size_wh: tuple[int, int], scale: tuple[float, float], *_: Any) -> ResizedCrop:
        asked.append(scale)
        return (
            ResizedCrop(0, 0, W, H, flip=False) if scale == (1, 1) else ResizedCrop(W // 2, H // 2, 20, 20, flip=False)
        )

    monkeypatch.setattr(samples, "random_crop", miss)
    example = preparer(regions=1)(raw([region((0, 0, 12, 9))]), 0)
    assert asked == [(0.3, 1.0)] * samples.CROP_TRIES + [(1, 1)]
    assert example.boxes_N4[0].tolist() == [0, 0, 8, 8]


def test_the_same_epoch_gives_the_same_example_and_another_one_another() -> None:
    prepare, sample = preparer(regions=4), many(8, 4)
    first, again, later = prepare(sample, 0), prepare(sample, 0), prepare(sample, 1)
    np.testing.assert_array_equal(first.boxes_N4, again.boxes_N4)
    assert first.labels == again.labels
    assert not np.array_equal(first.boxes_N4, later.boxes_N4)


def test_a_mask_is_cut_before_it_is_measured() -> None:
    mask_HW = disc()
    for flip in (False, True):
        part = ResizedCrop(10, 30, 40, 30, flip).mask(mask_HW)
        want = mask_HW[30:60, 10:50]
        np.testing.assert_array_equal(part, want[:, ::-1] if flip else want)
        assert cell_shares(part, (4, 4)).shape == (4, 4)
