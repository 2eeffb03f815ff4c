"""Example questions in a report: the answers of several encoders side by side, those they disagree about first, whatever was said."""

from __future__ import annotations

import base64
import html
import io
import json
import re

import pytest
from PIL import Image

from reports.figures.examples import examples
from reports.site import build_site
from rice_core.errors import UserError
from rice_core.figures import Examples

HOSTILE = "<script>alert(1)</script>\"'onload=x\u202eabc\x00\n{{ 7 * 7 }} & \ud7ff $x_$ 名前"


def webp(colour: str = "red") -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(buffer, "WEBP")
    return base64.b64encode(buffer.getvalue()).decode()


def asked(name: str, answer: str, value: float | None, **more) -> dict:
    about = {"question": f"Question {name}?", "target": f"target {name}"}
    return {"id": name, "answer": answer, "value": value, **about, **more}


def body(**answers: tuple[str, float | None]) -> dict:
    return {"questions": [asked(name, *given) for name, given in answers.items()]}


TWO = {
    "first": body(a=("yes", 1), b=("no", 0), c=("maybe", 0.6), d=("x", 0.4), e=("?", None)),
    "second": body(a=("yes", 1), b=("no", 0), c=("never", 0.5), d=("y", 1), e=("!", None)),
}


def test_what_encoders_disagree_about_comes_first_then_wrong_then_right() -> None:
    sheet = examples(TWO)
    found = {part.title: [each.id for each in part.questions] for part in sheet.parts}
    assert found == {
        "The encoders disagree": ["d"],
        "Wrong for all": ["b"],
        "Right for all": ["c", "a"],
        "Not judged one by one": ["e"],
    }
    assert list(found) == ["The encoders disagree", "Wrong for all", "Right for all", "Not judged one by one"]
    marks = {each.id: [(given.title, given.mark) for given in each.answers] for each in sheet.questions}
    assert marks["d"] == [("first", "partly"), ("second", "right")]
    assert marks["b"] == [("first", "wrong"), ("second", "wrong")]
    assert marks["e"] == [("first", "unknown"), ("second", "unknown")]


def test_those_come_first_whose_answers_are_furthest_apart() -> None:
    near, far = body(p=("a", 0.4), q=("a", 0.0)), body(p=("b", 0.6), q=("b", 1.0))
    assert [each.id for each in examples({"one": near, "two": far}).questions] == ["q", "p"]


def test_of_one_encoder_what_is_wrong_comes_first() -> None:
    assert [part.title for part in examples({"one": TWO["first"]}).parts] == ["Wrong", "Right", "Not judged one by one"]


def test_a_question_that_one_encoder_was_not_asked_has_the_others_answers() -> None:
    sheet = examples({"first": body(a=("yes", 1)), "second": body(b=("no", 1))})
    assert {each.id: [given.title for given in each.answers] for each in sheet.questions} == {
        "a": ["first"],
        "b": ["second"],
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"value": 2}, "less than or equal to 1"),
        ({"id": ""}, "at least 1 character"),
        ({"picture": "%%%"}, "is no WebP in base64"),
        ({"picture": base64.b64encode(b"<svg onload=alert(1)>").decode()}, "is no WebP in base64"),
        ({"picture": webp()[:3]}, "is no WebP in base64"),
        ({"answer": "x" * 4001}, "at most 4000 characters"),
    ],
)
def test_a_wrong_body_is_refused_when_it_is_put(change, says, store, fake) -> None:
    wrong = {"questions": [asked("a", "yes", 1) | change]}
    with pytest.raises(UserError, match=f"mine.json is no figure 'examples': .*{says}"):
        store.put_artifact(fake.cell("a=hf:x/1").id, "mine.json", json.dumps(wrong).encode(), figure="examples")


def test_two_questions_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="share an id"):
        Examples.model_validate({"questions": [asked("a", "yes", 1)] * 2})


def put(store, fake, bodies: dict[str, dict]) -> None:
    for i, (title, one) in enumerate(bodies.items()):
        cell = fake.cell(f"{title}=hf:x/{i}")
        data = json.dumps(one).encode()
        told = {"figure": "examples", "title": "Answers", "caption": "Of 5 of 9 questions."}
        left = store.put_artifact(cell.id, "docvqa-examples.json", data, **told)
        store.put(fake.simple(cell).model_copy(update={"artifacts": (left,)}))


def words_of(page) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "|", page.read_text()))


def test_the_report_shows_the_first_few_and_has_a_page_of_all(store, fake, tmp_path) -> None:
    bodies = {
        title: {"questions": [each | {"picture": webp(), "kind": "colour"} for each in one["questions"]]}
        for title, one in TWO.items()
    }
    put(store, fake, bodies)
    out = build_site(store, tmp_path / "out").parent
    (page,) = out.glob("examples-docvqa-examples-*.html")
    index = (out / "index.html").read_text()
    assert f'href="{page.name}"' in index
    assert (
        "5 questions; the encoders disagree: 1, wrong for all: 1, right for all: 2, not judged one by one: 1" in index
    )
    assert index.count('<article class="asked">') == 3
    assert "Question a?" not in index, "only the first three"
    words = words_of(page)
    assert words.index("The encoders disagree (1)") < words.index("Question d?") < words.index("Wrong for all (1)")
    assert words.index("Question d?") < words.index("first") < words.index("~ 40 %") < words.index("✓ right")
    assert "Of 5 of 9 questions." in words
    assert "target d" in words
    pictures = re.findall(r'<img src="(figures/[^"]+)"', page.read_text())
    assert len(pictures) == len(set(pictures)) == 5
    assert all(Image.open(out / picture).size == (64, 48) for picture in pictures)


def test_what_a_model_says_cannot_break_the_page(store, fake, tmp_path) -> None:
    hostile = {"questions": [asked("a", HOSTILE, 0, kind="<b>", question=HOSTILE, target=HOSTILE), asked("b", "", 0)]}
    put(store, fake, {"<i>one": hostile, "two": hostile})
    out = build_site(store, tmp_path / "out").parent
    (page,) = out.glob("examples-*.html")
    text = page.read_text()
    assert "<script>alert" not in text
    assert "<b>" not in text
    assert "\u202e" not in text
    assert "\x00" not in text
    assert "{{ 7 * 7 }}" in html.unescape(text)
    assert "(nothing)" in text
    assert "could not be drawn" not in (out / "index.html").read_text()


def test_a_body_that_is_none_is_said_in_the_report(store, fake, tmp_path) -> None:
    put(store, fake, {"one": TWO["first"]})
    record = store.records()[0]
    (left,) = record.artifacts
    other = store.put_artifact(record.cell.id, "docvqa-examples.json", b'{"questions": 3}', title="Answers")
    store.put(record.model_copy(update={"artifacts": (other.model_copy(update={"figure": left.figure}),)}))
    page = html.unescape((build_site(store, tmp_path / "out").parent / "index.html").read_text())
    assert "This figure could not be drawn: the examples of 'one' cannot be drawn" in page
