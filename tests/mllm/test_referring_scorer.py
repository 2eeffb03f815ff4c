"""`ricebench evaluate referring`: anyone's masks against REFER's folders; what is missing or doubled is said, and never guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from refer_folder import BESIDE, SIZE_HW, SQUARE, annotation, reference, write_refer

from mllm.lisa.scorer import ReferringScorer
from rice_core.cli.scorecard import to_csv, to_json, to_terminal
from rice_core.errors import UserError
from rice_core.scorer import Comparing, Scorecard

H, W = SIZE_HW
NOTHING = {"size": [H, W], "counts": [H * W]}


def box(x: int, y: int, w: int, h: int) -> dict[str, Any]:
    """Run lengths of a rectangle, down the columns."""
    counts = [x * H + y, *([h, H - h] * w)]
    return {"size": [H, W], "counts": [*counts[:-1], H * W - sum(counts[:-1])]}


SQUARE_MASK, HALF = box(10, 10, 10, 10), box(10, 10, 5, 10)
REFS = [
    reference(1, "val", ["one", "uno"]),
    reference(2, "val", ["two"]),
    reference(3, "testA", ["three"]),
    reference(4, "train", ["four"]),
]
TRUTH = [annotation(1, [SQUARE]), annotation(2, [SQUARE, BESIDE]), annotation(3, []), annotation(4, [SQUARE])]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_refer(tmp_path / "data" / "refcoco", REFS, TRUTH)
    return tmp_path / "data"


def written(data: Path, masks: dict[Any, Any] | list[Any], name: str = "masks.json") -> Path:
    entries = masks if isinstance(masks, list) else [{"expression": k, "segmentation": v} for k, v in masks.items()]
    path = data.parent / name
    path.write_text(json.dumps(entries))
    return path


VAL = {"refcoco/1/10": SQUARE_MASK, "1/11": HALF, 20: SQUARE_MASK}


def values(card: Scorecard) -> dict[tuple[str | None, str | None], float | None]:
    return {(row.labels["metric"], row.labels["split"]): row.value for row in card.rows}


def test_masks_are_judged_by_every_definition(data: Path) -> None:
    card = ReferringScorer().score(written(data, VAL), data)
    found = values(card)
    assert found["cIoU", "val"] == pytest.approx(100 * (100 + 50 + 100) / (100 + 100 + 184))
    assert found["gIoU", "val"] == pytest.approx(100 * (1 + 0.5 + 100 / 184) / 3)
    assert found["Pr@0.5", "val"] == pytest.approx(100.0)
    assert found["Pr@0.6", "val"] == pytest.approx(100 / 3)
    assert found["gIoU, by picture", "val"] == pytest.approx(100 * (0.75 + 100 / 184) / 2)
    assert {split for _, split in found} == {"val"}  # the other splits are no part of the results
    assert card.checked.facts == {"results": "masks.json", "data": "data, val", "expressions": 3, "pictures": 2}
    error = card.rows[0].error
    assert error is not None
    assert (error.clusters, error.method) == (2, "clustered by picture (2), Wilson interval")
    assert "refcoco val has 3 expressions, and Table 2 is over 10834" in card.checked.notes
    assert [row.labels["metric"] for row in card.rows if row.detail] == [
        *("gIoU, empty union 0", "gIoU, empty union dropped", "gIoU, by picture")
    ]
    assert "cIoU" in to_terminal(card.checked, card, details=False)
    assert json.loads(to_json(card.checked, card))["numbers"][0]["metric"] == "cIoU"
    assert to_csv(card.checked, card).splitlines()[0] == "metric,split,value,unit,stderr,low,high,n"


def test_an_empty_target_wants_an_empty_mask(data: Path) -> None:
    right = values(ReferringScorer().score(written(data, {30: NOTHING}), data))
    assert (right["cIoU", "testA"], right["gIoU", "testA"]) == (None, 100.0)
    wrong = values(ReferringScorer().score(written(data, {30: HALF}), data))
    assert (wrong["cIoU", "testA"], wrong["gIoU", "testA"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({20: None}, "refcoco/2/20 has no run lengths; write COCO's size and counts"),
        (
            {20: {"size": [H * 2, W * 2], "counts": [4 * H * W]}},
            "refcoco/2/20 is of 120 x 80 pixels, and the picture has 60 x 40",
        ),
        ({20: {"size": [H, W], "counts": [7]}}, "refcoco/2/20 has run lengths that do not fill the picture"),
    ],
)
def test_a_mask_that_cannot_be_judged_refuses_the_split(data: Path, change: dict[Any, Any], reason: str) -> None:
    file = written(data, VAL | change)
    with pytest.raises(UserError, match=r"1 of the 3 expressions of val have no mask that can be judged") as refused:
        ReferringScorer().score(file, data)
    assert reason in str(refused.value)
    card = ReferringScorer(partial=True).score(file, data)
    assert values(card)["cIoU", "val"] == pytest.approx(75.0)
    assert [f"{skip.item} {skip.reason}"[: len(reason)] for skip in card.checked.left_out] == [reason]
    assert ReferringScorer().validate(file, data) == card.checked


def test_what_is_missing_or_there_twice_is_never_guessed(data: Path) -> None:
    lacking = written(data, {10: SQUARE_MASK, 11: SQUARE_MASK})
    with pytest.raises(UserError, match=r"\(refcoco/2/20 has no mask\).*or write partial=yes"):
        ReferringScorer().score(lacking, data)
    twice = [*({"expression": k, "segmentation": v} for k, v in VAL.items()), {"expression": 20, "segmentation": HALF}]
    card = ReferringScorer(partial=True).score(written(data, twice), data)
    assert [(skip.item, skip.reason, skip.times) for skip in card.checked.left_out] == [
        ("refcoco/2/20", "has 2 masks", 2),
        ("refcoco/2/20", "has no mask", 1),
    ]
    assert values(card)["cIoU", "val"] == pytest.approx(75.0)


def test_entries_for_nothing_are_left_out(data: Path) -> None:
    entries = [{"expression": k, "segmentation": v} for k, v in VAL.items()]
    odd = [7, {"segmentation": HALF}, {"expression": True}, {"expression": [1]}, {"expression": "refcoco/9/90"}]
    card = ReferringScorer().score(written(data, [*entries, *odd]), data)
    assert [skip.reason for skip in card.checked.left_out] == [
        *["has no expression"] * 4,
        "is of 'refcoco/9/90', which is no expression of the data",
    ]
    assert card.checked.usable == 3


def test_a_split_is_asked_for_by_name(data: Path) -> None:
    file = written(data, VAL | {30: NOTHING})
    card = ReferringScorer(split="val").score(file, data)
    assert {split for _, split in values(card)} == {"val"}
    assert "1 masks are of other splits, and not judged." in card.checked.notes
    with pytest.raises(UserError, match=r"has no split 'dev'; it has testA, train, val"):
        ReferringScorer(split="dev").score(file, data)
    with pytest.raises(UserError, match=r"has no mask of an expression of train; give one for each"):
        ReferringScorer(split="train").score(file, data)


def test_files_that_hold_nothing_are_refused(data: Path) -> None:
    with pytest.raises(UserError, match=r"has no mask of an expression of testA train val; give one for each"):
        ReferringScorer().score(written(data, []), data)
    path = data.parent / "dict.json"
    path.write_text("{}")
    with pytest.raises(UserError, match=r'is no list; write \[\{"expression"'):
        ReferringScorer().score(path, data)
    for text in ("", "nothing", "[" * 100_000):
        path.write_text(text)
        with pytest.raises(UserError, match=r"is no JSON"):
            ReferringScorer().score(path, data)
    with pytest.raises(UserError, match=r"is no folder; give the one that holds refcoco"):
        ReferringScorer().score(written(data, VAL), data / "x")


CELLS = {
    "refcoco": ("val", "testA", "testB"),
    "refcoco+": ("val", "testA", "testB"),
    "refcocog": ("val", "test"),
}


@pytest.fixture
def eight(tmp_path: Path) -> Path:
    for name, splits in CELLS.items():
        refs = [reference(k + 1, split, ["x", "y"]) for k, split in enumerate(splits)]
        file = "refs(umd).p" if name == "refcocog" else "refs(unc).p"
        write_refer(tmp_path / "data" / name, refs, [annotation(k, [SQUARE]) for k in (1, 2, 3)], file=file)
    return tmp_path / "data"


def test_all_eight_cells_stand_side_by_side_with_their_mean(eight: Path) -> None:
    masks = {
        f"{name}/{k + 1}/{10 * (k + 1) + n}": HALF if name == "refcocog" else SQUARE_MASK
        for name, splits in CELLS.items()
        for k in range(len(splits))
        for n in (0, 1)
    }
    card = ReferringScorer().score(written(eight, masks), eight)
    found = {split: value for (metric, split), value in values(card).items() if metric == "cIoU"}
    assert found == pytest.approx(
        {
            **{f"refcoco+_{split}": 100.0 for split in ("val", "testA", "testB")},
            **{f"refcoco_{split}": 100.0 for split in ("val", "testA", "testB")},
            **{f"refcocog_{split}": 50.0 for split in ("val", "test")},
            "mean": (6 * 100 + 2 * 50) / 8,
        }
    )
    part = values(ReferringScorer(split="val").score(written(eight, masks), eight))
    assert {split for _, split in part} == {"refcoco_val", "refcoco+_val", "refcocog_val", "mean"}
    with pytest.raises(
        UserError, match=r"calls an expression 10, which refcoco\+/1/10 and refcoco/1/10 are; write their ids"
    ):
        ReferringScorer().score(written(eight, {10: HALF}), eight)
    named = values(ReferringScorer(split="refcoco_val").score(written(eight, {10: HALF, 11: HALF}), eight))
    assert named["cIoU", "refcoco_val"] == 50.0


def test_two_models_are_compared_on_what_both_have(data: Path) -> None:
    scorer = ReferringScorer()
    assert isinstance(scorer, Comparing)
    one = written(data, VAL, "one.json")
    other = written(data, {10: HALF, 11: HALF, 30: NOTHING}, "other.json")
    card = scorer.compare(one, other, data)
    found = values(card)
    assert (found["cIoU", "val"], found["cIoU, against", "val"]) == pytest.approx((75.0, 50.0))
    assert found["cIoU, difference", "val"] == pytest.approx(25.0)
    assert found["gIoU, difference", "val"] == pytest.approx(25.0)
    assert {split for _, split in found} == {"val"}
    facts = card.checked.facts
    assert (facts["expressions"], facts["only in one.json"], facts["only in other.json"]) == (2, 1, 1)
    assert "other.json: refcoco/2/20" in [skip.item for skip in card.checked.left_out]
    said = [row.said for row in card.rows if row.said]
    assert said[0].startswith("one cluster only")
    with pytest.raises(UserError, match=r"have no expression of one split of which both have a mask"):
        scorer.compare(one, written(data, {30: NOTHING}, "third.json"), data)


def test_a_difference_is_paired_by_picture(eight: Path) -> None:
    names = [f"{name}/{k + 1}/{10 * (k + 1) + n}" for name in CELLS for k in range(len(CELLS[name])) for n in (0, 1)]
    one, other = (written(eight, dict.fromkeys(names, mask), f"{k}.json") for k, mask in enumerate((SQUARE_MASK, HALF)))
    found = values(ReferringScorer().compare(one, other, eight))
    assert found["cIoU, difference", "mean"] == pytest.approx(50.0)
    same = ReferringScorer().compare(one, one, eight)
    assert {row.value for row in same.rows if str(row.labels["metric"]).endswith("difference")} == {0.0}
