"""A probe that nobody knows leaves a figure, pictures, a table and lines, and the report shows them; no report file is edited."""

from __future__ import annotations

import html
import importlib
import io
import json
import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reports.site import build_site
from rice_core.cli import main
from rice_core.errors import UserError
from rice_core.figures import BODIES
from rice_core.record import Artifact
from rice_core.store import Store

PROBE = '''
import numpy as np
from rice_core.light import dense, metric, probe

@probe("glow", reads=[dense("val", most="images")], metric=metric("glow", "neither"))
def glow(work, *, images: int = 4):
    """Mean brightness."""
    seen = list(work.images("val", most=images))
    for image in seen:
        yield image, float(image.pixels_HW3.mean())
    curve = {
        "x": {"label": "row", "unit": "px"},
        "y": {"label": "brightness"},
        "series": [{"x": [0, 1, 2], "y": [1.0, None, 4.0]}],
    }
    yield work.artifact_json("curve.json", curve, figure="lines", title="Glow by <row>", caption="Mean over 4 images.")
    yield work.artifact_png("first.png", seen[0].pixels_HW3, figure="image", title="The first image", caption="As seen.")
    yield work.artifact_webp("wide.webp", seen[1].pixels_HW3, figure="wide-image", title="The second image")
    listing = {"columns": [{"label": "image"}, {"label": "glow", "unit": "%"}], "rows": [["a", 12], ["b", None]]}
    yield work.artifact_json("list.json", listing, figure="table", title="Each image", caption="In percent.")
    rows = ({"image": image.id} for image in seen)
    yield work.artifact_jsonl("glow.jsonl", rows, title="Every image", caption="One a line.")
'''
AXES = {"x": {"label": "step"}, "y": {"label": "loss", "unit": "nats"}}
VALUES = {"series": [{"label": "a", "values": [1, None], "errors": [0.1, None]}]}
GOOD = {
    "lines": AXES | {"series": [{"label": "a", "x": [1, 2], "y": [3, None]}]},
    "scatter": AXES | {"series": [{"label": "a", "x": [1, 2], "y": [3, 4]}]},
    "bars": AXES | {"categories": ["p", "q"]} | VALUES,
    "histogram": {"x": AXES["x"], "edges": [0, 1, 3], "series": [{"counts": [1, 2]}]},
    "heatmap": AXES | {"value": {"label": "share"}, "columns": ["p", "q"], "rows": ["r"], "values": [[0.5, None]]},
    "table": {"columns": [{"label": "p"}], "rows": [["x"], [1], [2.5], [None]]},
    "examples": {"questions": [{"id": "1", "question": "What?", "target": "a", "answer": "b", "value": 0}]},
}
NO_PICTURES = {"table", "examples"}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Store, Path]:
    """A store with that probe over two encoders, and the folder of its report."""
    folder = tmp_path_factory.mktemp("glow")
    (folder / "glow_probe.py").write_text(PROBE)
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(6):
        pixels = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{i}.png")
    asked = ["-e", "synthetic:noise,synthetic:constant", "-p", f"{folder}/glow_probe.py:glow"]
    path = list(sys.path)
    try:
        with pytest.raises(SystemExit) as ended:
            main(["run", *asked, "--data", str(folder / "photos"), "--store", str(folder / "store"), "-q"])
    finally:
        sys.path[:] = path
    assert ended.value.code == 0
    return Store(folder / "store"), build_site(Store(folder / "store"), folder / "site").parent


def words_of(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "|", page.read_text()))


def test_the_record_says_what_everything_is(written):
    record = written[0].records()[0]
    told = {a.name: (a.kind, a.figure, a.title) for a in record.artifacts}
    assert told["curve.json"] == ("json", "lines", "Glow by <row>")
    assert told["wide.webp"] == ("webp", "wide-image", "The second image")
    assert written[0].artifact(record, "glow.jsonl").count(b"\n") == 4


def test_the_first_page_shows_figure_pictures_and_table_with_their_words(written):
    out = written[1]
    words = words_of(out / "index.html")
    for said in (
        "Glow by <row> (glow)",
        "Mean over 4 images.",
        "The first image (glow)",
        "As seen.",
        "The second image (glow)",
    ):
        assert f"|{said}|" in words
    (chart,) = out.glob("figures/lines-curve-*.png")
    assert f'src="figures/{chart.name}" alt="Glow by &lt;row&gt; (glow): synthetic:' in (out / "index.html").read_text()
    assert len(list(out.glob("figures/*-first.png"))) == len(list(out.glob("figures/*-wide.webp"))) == 2
    assert "|Each image (glow)|" in words
    (csv,) = out.glob("tables/*-list-*.csv")
    assert csv.read_text().splitlines()[1:] == [
        f",synthetic:{name} †,{row}" for name in ("constant", "noise") for row in ("a,,12.0,", "b,,,")
    ]
    assert "could not be drawn" not in words


def test_a_records_page_shows_its_pictures_and_offers_its_lines(written):
    store, out = written
    record = store.records()[0]
    page = out / "records" / f"{record.cell.id}.html"
    words = words_of(page)
    assert "|The first image. As seen.|" in words
    assert "|Every image|" in words
    assert "|One a line.|" in words
    lines = (out / "files" / f"{record.cell.id}-glow.jsonl").read_text().splitlines()
    assert [set(json.loads(line)) for line in lines] == [{"image"}] * 4
    assert f'href="../files/{record.cell.id}-glow.jsonl"' in page.read_text()


def drawn(store, fake, tmp_path, figure: str, bodies: list, *, title: str = "") -> str:
    for i, body in enumerate(bodies):
        cell = fake.cell(f"e{i}=hf:x/{i}")
        left = store.put_artifact(cell.id, "mine.json", json.dumps(body).encode(), figure=figure, title=title)
        store.put(fake.simple(cell).model_copy(update={"artifacts": (left,)}))
    return (build_site(store, tmp_path / "out").parent / "index.html").read_text()


@pytest.mark.parametrize("figure", BODIES)
def test_every_type_is_drawn_of_one_and_of_many_encoders(figure, store, fake, tmp_path):
    for count in (1, 5):
        page = drawn(store, fake, tmp_path, figure, [GOOD[figure]] * count, title="Mine")
        assert "could not be drawn" not in page
        assert "<h3>Mine (knn)</h3>" in page
        assert (figure in NO_PICTURES) == (not list((tmp_path / "out").glob("figures/*.png")))


def test_other_values_give_another_figure(store, fake):
    from reports.figures import generic

    for figure in set(BODIES) - NO_PICTURES:
        draw = getattr(generic, figure)
        other = json.loads(json.dumps(GOOD[figure]).replace("2]", "7]").replace("null]", "7]"))
        assert draw({"a": GOOD[figure]}) == draw({"a": GOOD[figure]})
        assert draw({"a": GOOD[figure]}) != draw({"a": other}), figure
        gap = json.loads(json.dumps(GOOD[figure]).replace("null", "0"))
        assert gap == GOOD[figure] or draw({"a": gap}) != draw({"a": GOOD[figure]}), "a gap is no zero"


def test_bars_have_intervals_whose_halves_differ(monkeypatch):
    from reports.figures import generic

    monkeypatch.setattr(generic, "encode", lambda figure, format: figure)
    series = {"values": [60, None], "intervals": [[20, 70], None]}
    (axes,) = generic.bars({"a": GOOD["bars"] | {"series": [series]}}).axes
    whiskers = [path for each in axes.collections for path in each.get_segments() if len(path)]
    assert [sorted(y for _, y in path) for path in whiskers] == [[20, 70]]


def test_a_logarithmic_axis_has_plain_numbers(monkeypatch):
    from reports.figures import generic

    monkeypatch.setattr(generic, "encode", lambda figure, format: figure)
    body = GOOD["lines"] | {
        "x": {"label": "rate", "unit": "1/s", "log": True},
        "series": [{"x": [1e-4, 1e-2], "y": [1, 2]}],
    }
    (axes,) = generic.lines({"a": body}).axes
    shown = {label.get_text() for label in axes.get_xticklabels()}
    assert {"0.0001", "0.001", "0.01"} <= shown
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("rate (1/s)", "loss (nats)")


@pytest.mark.parametrize(
    ("figure", "change", "says"),
    [
        ("lines", {"series": [{"x": [1], "y": [1, 2]}]}, "series '' has 1 x for 2 y"),
        ("lines", {"y": {"unit": "s"}}, "y.label: Field required"),
        ("lines", {"x": {"label": "step", "log": True}, "series": [{"x": [0], "y": [1]}]}, "is logarithmic"),
        ("lines", {"sereis": []}, "sereis: Extra inputs"),
        ("lines", {"series": []}, "at least 1 item"),
        ("bars", {"categories": ["p"]}, "has 2 values for 1 categories"),
        ("bars", {"y": {"label": "loss", "log": True}}, "bars begin at 0"),
        ("bars", {"series": [{"values": [1, 2], "intervals": [[0, 2]]}]}, "needs an interval a value"),
        (
            "bars",
            {"series": [{"values": [1, 2], "errors": [1, 1], "intervals": [[0, 2], None]}]},
            "and then no errors",
        ),
        ("histogram", {"edges": [0, 0, 1]}, "edges must rise"),
        ("histogram", {"series": [{"counts": [1]}]}, "needs 2 counts"),
        ("histogram", {"series": [{"counts": [0, 0]}]}, "one above 0"),
        ("heatmap", {"rows": ["r", "s"]}, "2 rows of 2"),
        ("table", {"rows": [[1, 2]]}, "a row must have 1 entries"),
    ],
)
def test_a_wrong_body_is_refused_when_it_is_put(figure, change, says, store, fake):
    with pytest.raises(Exception, match=rf"mine\.json is no figure '{figure}': .*{re.escape(says)}") as refused:
        store.put_artifact(
            fake.cell("a=hf:x/1").id, "mine.json", json.dumps(GOOD[figure] | change).encode(), figure=figure
        )
    assert "\n" not in str(refused.value)
    assert not list(store.root.rglob("*mine.json"))


@pytest.mark.parametrize(
    ("name", "figure"), [("a.png", "lines"), ("a.json", "image"), ("a.jsonl", "table"), ("a.txt", "")]
)
def test_a_file_of_another_kind_than_its_figure_is_refused(name, figure, store, fake):
    with pytest.raises((ValueError, UserError)):
        store.put_artifact(fake.cell("a=hf:x/1").id, name, b"{}", figure=figure)


def test_encoders_whose_axes_differ_keep_them(store, fake, tmp_path):
    other = GOOD["lines"] | {"y": {"label": "loss", "unit": "bits"}}
    assert "could not be drawn" not in drawn(store, fake, tmp_path, "lines", [GOOD["lines"], other])
    apart = GOOD["table"] | {"columns": [{"label": "q"}]}
    assert "the encoders’ tables" in drawn(store, fake, tmp_path, "table", [GOOD["table"], apart]).replace("&#39;", "’")


def test_pictures_and_charts_of_other_words_keep_each_its_own(store, fake, tmp_path):
    """The middle video of one encoder is not that of another."""
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    for name, words in (("one", "Video 7."), ("two", "Video 9.")):
        cell = fake.cell(f"{name}=hf:x/{name}")
        curve, body = f"Of {words}", json.dumps(GOOD["lines"]).encode()
        artifacts = (
            store.put_artifact(cell.id, "curve.json", body, figure="lines", title="Curve", caption=curve),
            store.put_artifact(cell.id, "a.png", picture.getvalue(), figure="image", title="Moving", caption=words),
        )
        store.put(fake.simple(cell).model_copy(update={"artifacts": artifacts}))
    page = words_of(build_site(store, tmp_path / "out").parent / "index.html")
    for name, words in (("one", "Video 7."), ("two", "Video 9.")):
        assert f"{name}: {words}" in page
        assert f"{name}: Of {words}" in page
        assert page.count(words) == 2


def test_a_type_that_nothing_draws_is_said_in_the_report(store, fake, tmp_path):
    page = html.unescape(drawn(store, fake, tmp_path, "linse", [{}], title="Mine"))
    assert "This figure could not be drawn: nothing here draws 'linse'; did you mean lines?" in page


def draw_of_another_package(bodies):
    from reports.figures import generic

    return generic.lines({title: body["inside"] for title, body in bodies.items()})


def test_another_package_brings_a_type(store, fake, tmp_path, monkeypatch):
    points = [EntryPoint("sparks", f"{__name__}:draw_of_another_package", "ricebench.figures")]
    monkeypatch.setattr("reports.figures.types.entry_points", lambda group: points)
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or importlib.import_module(__name__))
    page = drawn(store, fake, tmp_path, "sparks", [{"inside": GOOD["lines"]}], title="Sparks")
    assert "<h3>Sparks (knn)</h3>" in page
    assert list((tmp_path / "out").glob("figures/sparks-mine-*.png"))


def test_an_artifact_of_an_older_store_declares_nothing():
    from reports.figures.older import declared

    old = Artifact(name="pca.png", sha256="0" * 64, kind="png")
    assert Artifact.model_validate({"name": "pca.png", "sha256": "0" * 64, "kind": "png"}) == old
    assert declared(old).title == "PCA of patch tokens as colours"
    mine = old.model_copy(update={"title": "My own"})
    assert declared(mine) == mine
    assert declared(old.model_copy(update={"name": "my-pca.png"})).title == ""
