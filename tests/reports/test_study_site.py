"""Studies on the site, as pictures and on the command line."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from reports import cli
from reports.figures import Panel, Point, study_figure
from reports.site import build_site
from rice_core.record import Metric
from rice_core.store import Store

HOSTILE = "<script>alert(1)</script>\"'onload=x&amp;\u202e=cmd|x|"


def fill(store: Store, fake, *, study: str = "table:5a", arms=(("N = 1", 1, 50.0), ("N = 6", 6, 60.0))) -> None:
    for order, (arm, value, mean) in enumerate(arms):
        for seed in range(3):
            record = fake.simple(fake.cell(f"e=rice:{order}-{seed}", seed=seed))
            metric = Metric(
                name="accuracy", value=mean + (7 * seed + order) % 3, unit="%", n=9, chance=2.0, ceiling=100.0
            )
            facts = {"study": study, "arm": arm, "train_seed": str(seed), "axis": "N", "value": str(value)}
            facts |= {"arm_order": str(order), "reference": "1" if order else ""}
            evidence = record.evidence.model_copy(update={"encoder_facts": facts})
            store.put(record.model_copy(update={"metrics": (metric,), "evidence": evidence}))


@pytest.fixture(scope="module")
def studied(fake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store(tmp_path_factory.mktemp("studied") / "runs")
    fill(store, fake)
    return build_site(store, store.root / "report").parent


def test_a_study_has_a_page_with_tables_and_a_picture(studied: Path) -> None:
    (page,) = studied.glob("studies/*.html")
    text = page.read_text()
    assert f'href="studies/{page.name}"' in (studied / "index.html").read_text()
    for words in (
        "N = 1",
        "the reference",
        "A miniature number is not a paper number",
        "Every replicate",
        "another data set",
    ):
        assert words in text
    links = re.findall(r'(?:href|src)="([^"#]+)', text)
    assert len(links) > 15
    assert [link for link in links if not (page.parent / link).resolve().is_file()] == []
    assert len([link for link in links if link.startswith("../records/")]) == 6
    (picture,) = studied.glob("figures/study-*.png")
    assert f'src="../figures/{picture.name}"' in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert 'style="' not in text


def test_a_site_without_studies_speaks_of_none(site: Path) -> None:
    assert not (site / "studies").exists()
    assert 'id="studies"' not in (site / "index.html").read_text()


def test_the_same_records_give_the_same_bytes(studied: Path, tmp_path: Path) -> None:
    again = build_site(Store(studied.parent), tmp_path / "again").parent
    for path in [*again.glob("studies/*"), *again.glob("figures/study-*"), *again.glob("tables/study-*")]:
        assert path.read_bytes() == (studied / path.relative_to(again)).read_bytes()


def test_hostile_names_are_inert(fake, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    fill(store, fake, study=HOSTILE, arms=((HOSTILE, HOSTILE, 50.0), (HOSTILE + "2", "inf", 60.0)))
    out = build_site(store, tmp_path / "out").parent
    (page,) = out.glob("studies/*.html")
    text = page.read_text()
    assert text.count("<script") == 1
    assert "\u202e" not in text
    assert "onload=x" not in re.sub(r'"[^"]*"|>[^<]*<', "", text)
    assert all(re.fullmatch(r"[a-z0-9.-]+", path.name) for path in out.glob("tables/study-*"))


def points(*means: float, value: float | None = 1.0) -> tuple[Point, ...]:
    return tuple(
        Point(f"arm {i}", None if value is None else value * 3**i, mean, (mean - 2, mean + 2), (mean - 1, mean + 1))
        for i, mean in enumerate(means)
    )


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.mark.parametrize("axis", ["N", ""])
def test_a_picture_follows_its_numbers(axis: str) -> None:
    first = study_figure([Panel("knn", "%", points(10, 20, 30))], axis=axis)
    assert study_figure([Panel("knn", "%", points(10, 20, 30))], axis=axis) == first
    moved = pixels(study_figure([Panel("knn", "%", points(10, 29, 30))], axis=axis))
    assert (moved != pixels(first)).any(axis=2).sum() > 100
    (one, *rest) = points(10, 20, 30)
    for change in ({"dots": (one.mean,)}, {"ci95": None}):
        other = Panel("knn", "%", (Point(**(vars(one) | change)), *rest))
        assert (pixels(study_figure([other], axis=axis)) != pixels(first)).any()


def test_places_that_span_much_stand_on_a_logarithmic_axis() -> None:
    """The second of three places is in the middle of a logarithmic axis, and far left on a plain one."""

    def middle(last: float) -> float:
        places = (1.0, last**0.5, last)
        # No intervals and no dots: the only blue columns of pixels that are tall are the markers.
        found = tuple(Point(f"{x:g}", x, 50.0, (40.0, 60.0), (50.0,)) for x in places)
        blue = pixels(study_figure([Panel("knn", "%", found)], axis="N"))
        column = ((blue[..., 2] > 150) & (blue[..., 0] < 60)).sum(axis=0)
        at = np.flatnonzero(column > 0.6 * column.max())
        left, right = at.min(), at.max()
        inner = at[(at > left + 20) & (at < right - 20)]
        return float((inner.mean() - left) / (right - left))

    assert middle(100.0) == pytest.approx(0.5, abs=0.02)
    assert middle(9.0) == pytest.approx(2 / 8, abs=0.02)


def test_an_interval_of_two_trainings_does_not_flatten_the_rest() -> None:
    wild = (*points(10, 12), Point("wild", 27.0, 11.0, (-900.0, 900.0), (10.5, 11.5)))
    tame = (*points(10, 12), Point("wild", 27.0, 11.0, (4.0, 18.0), (10.5, 11.5)))
    spread = []
    for panel in (wild, tame):
        picture = pixels(study_figure([Panel("knn", "%", panel)], axis="N"))
        blue = (picture[..., 2] > 150) & (picture[..., 0] < 60)
        spread.append(np.flatnonzero(blue[:, : picture.shape[1] // 2].any(axis=1)))
    assert np.ptp(spread[0]) > 0.4 * np.ptp(spread[1])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_panels_and_arms_without_order(count: int) -> None:
    panels = [
        Panel(f"{HOSTILE}{i}" * 3, HOSTILE, points(*range(5, 5 + 4 * count), value=None), 2.0, 100.0)
        for i in range(count)
    ]
    picture = pixels(study_figure(panels))
    assert (picture != 255).any()
    assert (picture[:, -1] == 255).all()
    assert (picture[-1] == 255).all()


def test_one_point_of_one_training_can_be_drawn() -> None:
    for axis in ("", "N"):
        assert study_figure([Panel("knn", "", (Point("a", 0.0, 0.0, None, (0.0,)),))], axis=axis).startswith(b"\x89PNG")


@pytest.mark.parametrize("panels", [[], [Panel("knn", "%", ())]])
def test_nothing_to_draw_is_refused(panels: list[Panel]) -> None:
    with pytest.raises(ValueError, match="at least one panel"):
        study_figure(panels)


def test_the_command_prints_a_study_in_every_format(studied: Path) -> None:
    app = typer.Typer()
    cli.register(app)
    run = CliRunner().invoke
    store = ["--store", str(studied.parent)]
    listed = run(app, ["study", *store])
    assert listed.exit_code == 0
    assert "table:5a" in listed.output
    shown = run(app, ["study", "table:5a", *store])
    assert shown.exit_code == 0, shown.output
    assert "not decisive" in shown.output or "worse" in shown.output
    assert "as printed" in shown.output
    for form, sign in (("md", "|"), ("tex", "tabular"), ("csv", ","), ("html", "<table")):
        assert sign in run(app, ["study", "table:5a", "--format", form, *store]).output
    unknown = run(app, ["study", "nope", *store])
    assert unknown.exit_code != 0
    assert "table:5a" in f"{unknown.output} {unknown.exception}"


def test_the_command_imports_no_torch(studied: Path) -> None:
    code = (
        "import sys, typer; from reports.cli import register\n"
        "app = typer.Typer(); register(app)\n"
        f"try: app(['study', 'table:5a', '--store', {str(studied.parent)!r}])\n"
        "except SystemExit as end: assert not end.code\n"
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
