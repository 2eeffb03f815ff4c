"""What a probe leaves of answers for a report: which questions are chosen, with which pictures, and how right kinds of questions are."""

from __future__ import annotations

import base64
import io
import json
import random
from dataclasses import replace

import pytest
from PIL import Image

from mllm.evaluate.shown import MOST, ShownQuestion, chosen, examples_artifact, kinds_artifact
from rice_core.figures import BODIES
from rice_core.record import Artifact


class Kept:
    """In the place of a probe's work."""

    def __init__(self) -> None:
        self.bodies: dict[str, dict] = {}

    def artifact_json(self, name, body, **told) -> Artifact:
        data = json.dumps(body)
        self.bodies[name] = BODIES[told["figure"]].model_validate_json(data).model_dump(mode="json")
        return Artifact(name=name, sha256="0" * 64, kind="json", **told)


def shown(n: int, kinds: int = 2) -> list[ShownQuestion]:
    return [
        ShownQuestion(
            f"docvqa_val/{i:05d}",
            f"What is {i}?",
            str(i),
            "7",
            float(i % 3 == 0),
            f"kind {i % kinds}",
            f"page {i // 4}",
        )
        for i in range(n)
    ]


def test_the_same_questions_are_chosen_whatever_was_answered_and_in_whatever_order() -> None:
    some = shown(500)
    others = [replace(each, answer="another", value=1 - each.value) for each in some]
    random.Random(0).shuffle(others)
    assert [each.id for each in chosen(some)] == [each.id for each in chosen(others)]
    assert len(chosen(some)) == MOST
    assert chosen(some[:5]) == some[:5]


def test_each_kind_has_its_turn() -> None:
    rare = [replace(each, kind="rare") for each in shown(3)]
    common = [replace(each, id=f"c{each.id}", kind="common") for each in shown(500)]
    kinds = [each.kind for each in chosen(rare + common)]
    assert (kinds.count("rare"), kinds.count("common")) == (3, MOST - 3)


def test_a_picture_is_kept_small_and_one_that_is_not_there_is_no_error() -> None:
    work = Kept()
    pictures = {0: Image.new("RGBA", (2000, 1000), "red"), 1: None, 2: Image.new("L", (10, 10)), 3: None}
    artifact = examples_artifact(work, "docvqa", shown(4), lambda each: pictures[int(each.target)])
    assert (artifact.figure, artifact.name) == ("examples", "docvqa-examples.json")
    assert artifact.caption.startswith("4 of 4 questions, the same for every encoder")
    left = [each["picture"] for each in work.bodies["docvqa-examples.json"]["questions"]]
    sizes = [Image.open(io.BytesIO(base64.b64decode(each))).size if each else None for each in left]
    assert sizes == [(448, 224), None, (10, 10), None]


@pytest.mark.parametrize("answer", ["x" * 10_000, "\ud800 half of a pair", "", "名前\n\x00"])
def test_whatever_was_answered_can_be_kept(answer) -> None:
    work = Kept()
    examples_artifact(work, "chartqa", [replace(shown(1)[0], answer=answer)], lambda each: None)
    (kept,) = work.bodies["chartqa-examples.json"]["questions"]
    assert len(kept["answer"]) <= 2_005
    assert kept["answer"][:10] == answer[:10].replace("\ud800", "?")


def test_kinds_have_their_mean_and_an_interval_by_cluster() -> None:
    work = Kept()
    one = [ShownQuestion(f"a{i}", "", "", "", 1.0, "colour", f"p{i}") for i in range(10)]
    two = [ShownQuestion(f"b{i}", "", "", "", float(i < 5), "count", f"p{i // 5}") for i in range(10)]
    unknown = [ShownQuestion("c", "", "", "", None, "never", "p")]
    artifact = kinds_artifact(work, "mmstar", [*one, *two, *unknown])
    body = work.bodies["mmstar-kinds.json"]
    assert body["categories"] == ["colour (10)", "count (10)"]
    (series,) = body["series"]
    assert series["values"] == [100.0, 50.0]
    (low, high), wide = series["intervals"]
    assert (round(low), high) == (72, 100.0)
    assert wide[1] - wide[0] > 90, "five of one picture and five of another are two things"
    assert "clustered" in artifact.caption


def test_one_kind_is_no_figure_and_many_are_cut_to_the_largest() -> None:
    assert kinds_artifact(Kept(), "ai2d", [replace(each, kind="") for each in shown(9)]) is None
    work = Kept()
    artifact = kinds_artifact(
        work, "mme", [*shown(600, kinds=30), *[replace(each, id=f"x{each.id}") for each in shown(60, kinds=5)]]
    )
    assert len(work.bodies["mme-kinds.json"]["categories"]) == 20
    assert "kind 0 (32)" in work.bodies["mme-kinds.json"]["categories"]
    assert artifact.caption.endswith("10 rarer kinds are left out.")
