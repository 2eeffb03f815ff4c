"""What AP50 is lost to is what a plain reading of TIDE's definitions gives, one detection after another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from probes.detection.annotations import read_ground_truth
from probes.detection.breakdown import KINDS
from probes.detection.evaluate import Judged, score
from probes.detection.truth import GroundTruth

SIDE = 100


def rle(box: list[float]) -> dict[str, Any]:
    """A box with its left upper quarter cut off, so that masks overlap otherwise than boxes."""
    x, y, w, h = (round(v) for v in box)
    mask_HW = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask_HW[y : y + h, x : x + w] = 1
    mask_HW[y : y + h // 2, x : x + w // 2] = 0
    return {"size": [SIDE, SIDE], "counts": coco_mask.encode(mask_HW)["counts"].decode()}


def judged(folder: Path, things: list[dict], rows: list[dict], lvis: bool = False, images: int = 6) -> list[Judged]:
    categories: list[dict[str, Any]] = [{"id": k, "name": f"c{k}"} for k in range(4)]
    entries: list[dict[str, Any]] = [{"id": i, "height": SIDE, "width": SIDE} for i in range(images)]
    if lvis:
        categories = [category | {"frequency": "rcf"[k % 3]} for k, category in enumerate(categories)]
        entries = [entry | {"neg_category_ids": [1], "not_exhaustive_category_ids": [2]} for entry in entries]
    masks = [[thing | {"segmentation": rle(thing["bbox"])} for thing in each] for each in (things, rows)]
    numbered = [thing | {"id": n, "area": thing["bbox"][2] * thing["bbox"][3]} for n, thing in enumerate(masks[0], 1)]
    body = {"images": entries, "annotations": numbered, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(body))
    truth: GroundTruth = read_ground_truth(folder / "truth.json", None, name="truth.json")
    assert truth.skipped == ()
    assert truth.style == ("lvis" if lvis else "coco")
    return list(score(truth, masks[1], masks=True, resamples=0).kinds.values())


def thing(image: int, category: int, box: list[float], **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "iscrowd": 0, **more}


def world(seed: int) -> tuple[list[dict], list[dict]]:
    """Image 5 is empty; category 3 has objects in one image alone, and nothing finds them for odd seeds."""
    rng = np.random.default_rng(seed)
    things = [thing(0, 3, [10, 10, 40, 40])]
    for image in range(5):
        for _ in range(rng.integers(0, 6)):
            w, h = rng.integers(15, 50, 2).tolist()
            box = [int(rng.integers(0, SIDE - w)), int(rng.integers(0, SIDE - h)), w, h]
            things.append(thing(image, int(rng.integers(3)), box, iscrowd=int(rng.random() < 0.15)))
    rows = []
    for image in range(6):
        mine = [each for each in things if each["image_id"] == image]
        for _ in range(rng.integers(0, 20)):
            box = [*rng.integers(0, 60, 2), *rng.integers(8, 40, 2)]
            category = int(rng.integers(3))
            if mine and rng.random() < 0.8:
                near = mine[rng.integers(len(mine))]
                category = near["category_id"] if rng.random() < 0.7 else category
                box = np.clip(
                    np.array(near["bbox"]) + rng.integers(-12, 13, 4), [0, 0, 5, 5], [90, 90, 60, 60]
                ).tolist()
            if category == 3 and seed % 2:
                continue
            box[2:] = [min(box[2], SIDE - box[0]), min(box[3], SIDE - box[1])]
            value = float(rng.choice([rng.random(), 0.5]))
            rows.append(thing(image, category, [float(v) for v in box], score=value))
    return things, rows


def plain(things: list[dict], rows: list[dict], kind: str, lvis: bool) -> dict[str, tuple[int, float]]:
    """TIDE's definitions (section 2), word by word."""

    def iou(one: dict, other: dict, crowd: bool = False) -> float:
        shapes = [np.array([each["bbox"]], float) if kind == "box" else [rle(each["bbox"])] for each in (one, other)]
        return float(coco_mask.iou(*shapes, [crowd])[0, 0])

    if lvis:
        things = [each | {"iscrowd": 0} for each in things]
        present = {(each["image_id"], each["category_id"]) for each in things}
        rows = [r for r in rows if r["category_id"] == 1 or (r["image_id"], r["category_id"]) in present]
    objects = [each for each in things if not each["iscrowd"]]
    points, errors, finder = [], [], {}

    def order(pair: tuple[int, dict]) -> tuple:
        place, row = pair
        return row["image_id"], row["category_id"], -row["score"], place

    for place, row in sorted(enumerate(rows), key=order):
        here = [o for o, each in enumerate(objects) if each["image_id"] == row["image_id"]]
        overlap = {o: iou(row, objects[o]) for o in here}
        own = {o: v for o, v in overlap.items() if objects[o]["category_id"] == row["category_id"]}
        other = {o: v for o, v in overlap.items() if o not in own}
        free = [(v, o) for o, v in own.items() if v >= 0.5 and o not in finder]
        point = {"place": place, "category": row["category_id"], "score": row["score"], "right": bool(free)}
        if free:
            finder[max(free)[1]] = place
            points.append(point)
            continue
        crowds = [each for each in things if each["iscrowd"] and each["image_id"] == row["image_id"]]
        if any(c["category_id"] == row["category_id"] and iou(row, c, True) >= 0.5 for c in crowds):
            continue
        if lvis and row["category_id"] == 2:
            continue
        best_own, best_other = (max(each.values(), default=0.0) for each in (own, other))
        about = None
        if 0.1 <= best_own < 0.5:
            name, about = "localization", next(o for o, v in own.items() if v == best_own)
        elif best_other >= 0.5:
            name, about = "class", next(o for o, v in other.items() if v == best_other)
        elif best_own >= 0.5:
            name = "duplicate"
        elif max(best_own, best_other) < 0.1:
            name = "background"
        else:
            name = "both"
        points.append(point)
        errors.append((name, about, point))
    missed = [o for o in range(len(objects)) if o not in finder and all(about != o for _, about, _ in errors)]
    count = {k: sum(each["category_id"] == k for each in objects) for k in range(4)}
    before = ap50(points, count, count)
    found = {}
    for name in KINDS[:-1]:
        mine = [(about, point) for n, about, point in errors if n == name]
        mended = {}
        for o in {about for about, _ in mine if about is not None and about not in finder}:
            best = max((point for about, point in mine if about == o), key=lambda point: point["score"])
            mended[best["place"]] = best | {"right": True, "category": objects[o]["category_id"]}
        bad = {point["place"] for _, point in mine}
        after = [
            mended.get(point["place"], point)
            for point in points
            if point["place"] in mended or point["place"] not in bad
        ]
        found[name] = (len(mine), ap50(after, count, count) - before)
    left = {k: n - sum(objects[o]["category_id"] == k for o in missed) for k, n in count.items()}
    return found | {"missed": (len(missed), ap50(points, left, count) - before)}


def ap50(points: list[dict], left: dict[int, int], count: dict[int, int]) -> float:
    aps = []
    for category in [k for k, n in count.items() if n]:
        mine = sorted((p for p in points if p["category"] == category), key=lambda p: -p["score"])
        if not left[category]:
            aps += [0.0] if mine else []
            continue
        precision, recall, right = [], [], 0
        for n, point in enumerate(mine, 1):
            right += point["right"]
            precision.append(right / n)
            recall.append(right / left[category])
        reached = [
            max((p for p, r in zip(precision, recall, strict=True) if r >= wanted), default=0.0)
            for wanted in np.linspace(0, 1, 101)
        ]
        aps.append(float(np.mean(reached)))
    return 100 * float(np.mean(aps))


@pytest.mark.parametrize("lvis", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_the_breakdown_is_the_plain_one(seed: int, lvis: bool, tmp_path: Path) -> None:
    things, rows = world(seed)
    for kind, each in zip(("box", "mask"), judged(tmp_path, things, rows, lvis), strict=True):
        expected = plain(things, rows, kind, lvis)
        assert list(each.faults) == list(KINDS)
        assert {name: fault.times for name, fault in each.faults.items()} == {k: v[0] for k, v in expected.items()}
        for name, fault in each.faults.items():
            assert fault.lost == pytest.approx(expected[name][1], abs=1e-9), (kind, name)


def test_each_kind_by_hand(tmp_path: Path) -> None:
    """One error of each kind, among as many right ones as keep AP50 above 0."""
    things = [thing(i, 0, [10, 10, 40, 40]) for i in range(6)] + [thing(1, 1, [60, 60, 30, 30])]
    rows = [
        thing(0, 0, [10, 10, 40, 40], score=0.9),
        thing(0, 0, [12, 10, 40, 40], score=0.8),  # duplicate
        thing(1, 1, [10, 10, 40, 40], score=0.7),  # class, about an object that nothing finds
        thing(2, 0, [30, 10, 40, 40], score=0.6),  # localization: IoU 1/3
        thing(3, 1, [30, 10, 40, 40], score=0.5),  # both
        thing(4, 0, [80, 80, 10, 10], score=0.4),  # background
        thing(1, 1, [60, 60, 30, 30], score=0.3),
    ]
    faults = judged(tmp_path, things, rows)[0].faults
    assert [fault.times for fault in faults.values()] == [1, 1, 1, 1, 1, 3]
    # Category 0: one of six found. With the bad place mended two are, behind one wrong: 17 recalls at 1, 17 at 2/3.
    assert faults["localization"].lost == pytest.approx((17 + 17 * 2 / 3 - 17) / 101 * 100 / 2)
    # Category 1 finds its object behind two wrong ones, then behind one; the mended one is second of category 0.
    assert faults["class"].lost == pytest.approx(((1 / 2 - 1 / 3) * 101 + 17 * 2 / 3) / 101 * 100 / 2)
    assert faults["both"].lost == pytest.approx((1 / 2 - 1 / 3) * 100 / 2)
    assert faults["duplicate"].lost == faults["background"].lost == 0  # behind the last right one of category 0
    assert faults["missed"].lost == pytest.approx((34 - 17) / 101 * 100 / 2)  # 1 of 3 is left to find


def test_nothing_found_is_all_missed_and_all_found_loses_nothing(tmp_path: Path) -> None:
    things = [thing(i, i % 2, [10, 10, 40, 40]) for i in range(4)]
    faults = judged(tmp_path, things, [])[0].faults
    assert [fault.times for fault in faults.values()] == [0, 0, 0, 0, 0, 4]
    assert {fault.lost for fault in faults.values()} == {0.0}
    faults = judged(tmp_path, things, [each | {"score": 0.5} for each in things])[1].faults
    assert {(fault.times, fault.lost) for fault in faults.values()} == {(0, 0.0)}
