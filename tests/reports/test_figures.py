"""Figures: the same bytes twice, hostile names, and that what is drawn depends on what is given."""

import io
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from reports.figures import sphere_figure, token_distance_figure
from reports.figures.style import class_colours, drawing, fitted
from rice_core.errors import UserError


def body(center: float = 0.5, spread: float = 0.1, classes: int = 4, count: int = 60) -> dict:
    generator = np.random.default_rng(0)
    distance_P = np.clip(generator.normal(center, spread, 3000), 0, 2)
    counts, edges = np.histogram(distance_P, np.linspace(0, 2, 201))
    y_N3 = generator.standard_normal((count, 3))
    y_N3 /= np.linalg.norm(y_N3, axis=1, keepdims=True)
    median, mean = float(np.median(distance_P)), float(distance_P.mean())
    return {
        "distances": {"edges": edges.tolist(), "counts": counts.tolist(), "mean": mean, "median": median, "images": 9},
        "tsne": {
            "points": y_N3.tolist(),
            "labels": (np.arange(count) % classes).tolist(),
            "classes": [f"class {k}" for k in range(classes)],
            "neighbours": 10,
            "trustworthiness": 0.987,
            "purity": 0.61,
            "purity_chance": 0.25,
        },
    }


DRAW = {
    "distances": lambda names, **more: token_distance_figure({name: body() for name in names}, **more),
    "sphere": lambda names, **more: sphere_figure({name: body() for name in names}, **more),
}


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.mark.parametrize("kind", DRAW)
def test_the_same_values_give_the_same_bytes_whatever_the_users_settings(kind: str) -> None:
    for file_format, start in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        first = DRAW[kind](["a", "b"], format=file_format)
        with matplotlib.rc_context(
            {
                "font.size": 30,
                "text.parse_math": True,
                "savefig.dpi": 30,
                "lines.antialiased": False,
                "ytick.direction": "in",
            }
        ):
            second = DRAW[kind](["a", "b"], format=file_format)
        assert first == second
        assert first.startswith(start)
        assert not any(trace in first for trace in (b"Matplotlib", b"matplotlib.org", b"dc:date", b"tEXt"))


@pytest.mark.parametrize("kind", DRAW)
@pytest.mark.filterwarnings("error")
def test_hostile_names_neither_crash_nor_run_off(kind: str, hostile_names) -> None:
    image = pixels(DRAW[kind](hostile_names))
    for edge in (image[:3], image[-3:], image[:, :3], image[:, -3:]):
        assert (edge == 255).all()


@pytest.mark.parametrize("kind", DRAW)
def test_mathematics_in_a_name_is_not_set(kind: str) -> None:
    # As mathematics the dollars would vanish and both would look the same.
    assert DRAW[kind](["$a$"]) != DRAW[kind](["a"])
    assert DRAW[kind](["$\\alpha$"]) != DRAW[kind](["α"])


@pytest.mark.parametrize("count", [1, 2, 4, 5, 8, 9])
@pytest.mark.parametrize("kind", DRAW)
def test_any_number_of_encoders_stays_inside_the_picture(kind: str, count: int) -> None:
    image = pixels(DRAW[kind]([f"encoder-{k}-of-a-family?res=560&layers=-2" for k in range(count)]))
    assert image.shape[1] <= 1700
    for edge in (image[:3], image[-3:], image[:, :3], image[:, -3:]):
        assert (edge == 255).all()


@pytest.mark.parametrize("kind", ["distances", "sphere"])
def test_every_number_of_the_body_is_drawn(kind: str) -> None:
    draw = {"distances": token_distance_figure, "sphere": sphere_figure}[kind]
    base, part = body(), {"distances": "distances", "sphere": "tsne"}[kind]
    changes = {
        "distances": [("median", 0.3), ("counts", list(reversed(base["distances"]["counts"])))],
        "sphere": [
            ("trustworthiness", 0.5),
            ("purity", 0.1),
            ("purity_chance", 0.1),
            ("labels", [0] * 60),
            ("points", [[0, 0, 1]] * 60),
        ],
    }[kind]
    reference = draw({"a": base})
    for key, changed in changes:
        assert draw({"a": base | {part: base[part] | {key: changed}}}) != reference, key


def test_one_narrow_histogram_does_not_flatten_the_others() -> None:
    blue = np.array(matplotlib.colors.to_rgb("#0072b2")) * 255

    def height(png: bytes) -> int:
        image = pixels(png)[:, : 1680 // 2]
        rows = np.flatnonzero((np.abs(image - blue).sum(-1) < 12).any(1))
        return int(np.ptp(rows))

    alone = height(token_distance_figure({"a": body(0.5)}))
    beside = height(token_distance_figure({"a": body(0.5), "constant": body(0.0, 0.0)}))
    assert beside > 0.25 * alone


def test_a_class_has_one_colour_in_all_spheres() -> None:
    whole, part = body(classes=3), body(classes=3)
    # The same class under another index: the pictures must not change.
    part["tsne"] |= {"classes": ["class 2", "class 1", "class 0"], "labels": [2 - k for k in part["tsne"]["labels"]]}
    assert sphere_figure({"a": whole, "b": whole}) == sphere_figure({"a": whole, "b": part})


def test_half_of_the_sphere_is_hidden_and_the_fuller_half_is_shown() -> None:
    lone, crowd = [[0.0, 0.0, 1.0]], [[0.1 * np.cos(a), 0.1 * np.sin(a), -0.995] for a in np.linspace(0, 6, 9)]
    base = body(classes=2, count=10)
    base["tsne"] |= {"points": lone + crowd, "labels": [0] + [1] * 9}
    hidden = base | {
        "tsne": base["tsne"] | {"points": crowd[:1] + crowd, "labels": [1] * 10, "classes": ["class 0", "class 1"]}
    }
    image, without = pixels(sphere_figure({"a": base})), pixels(sphere_figure({"a": hidden}))
    # Classes are coloured by frequency: the crowd has the first colour, the lone point on the far side shows nowhere.
    second = np.array(class_colours(2)[1]) * 255
    ball = slice(60, 430)
    assert (np.abs(image[ball] - second).sum(-1) > 12).all()
    assert (np.abs(without[ball] - np.array(class_colours(2)[0]) * 255).sum(-1) < 12).any()


def test_encoders_without_a_layout_are_left_out() -> None:
    assert sphere_figure({"a": body(), "b": body() | {"tsne": None}}) == sphere_figure({"a": body()})
    with pytest.raises(UserError, match="No encoder has a t-SNE"):
        sphere_figure({"b": body() | {"tsne": None}})


@pytest.mark.parametrize("count", [1, 8, 9, 20, 80, 300])
def test_class_colours_differ(count: int) -> None:
    colours = class_colours(count)
    assert len({tuple(round(255 * part) for part in colour) for colour in colours}) == count
    assert all(0 <= part <= 1 for colour in colours for part in colour)


def test_many_classes_get_a_count_and_not_a_legend() -> None:
    few, many = (pixels(sphere_figure({"a": body(classes=count)})) for count in (16, 60))
    assert len(few) > len(many)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("distances", {"counts": [1, 2]}),
        ("distances", {"counts": [0] * 200}),
        ("distances", {"median": float("nan")}),
        ("distances", {"edges": [1.0] * 201}),
        ("tsne", {"labels": [0]}),
        ("tsne", {"labels": [9] * 60}),
        ("tsne", {"points": [[0, 0]] * 60}),
        ("tsne", {"trustworthiness": "high"}),
    ],
)
def test_a_body_that_is_not_the_probes_is_named(part: str, change: dict) -> None:
    base = body()
    with pytest.raises(UserError, match=r"tokens\.json of 'mine' cannot be drawn .*--only all"):
        token_distance_figure({"mine": base | {part: base[part] | change}})


def test_what_a_later_probe_adds_is_no_error() -> None:
    assert token_distance_figure({"a": body() | {"later": 1}}) == token_distance_figure({"a": body()})


@pytest.mark.parametrize("draw", [token_distance_figure, sphere_figure])
def test_nothing_to_draw_is_refused(draw) -> None:
    with pytest.raises(ValueError, match="at least one encoder"):
        draw({})


def test_a_long_name_keeps_its_head_and_tail() -> None:
    with drawing():
        assert fitted("short", 2, 8) == "short"
        found = fitted("hf:DeepGlint-AI/rice-vit-large-patch14-560@main?res=560", 1.5, 8)
        assert found.startswith("hf:Deep")
        assert found.endswith("=560")
        assert "…" in found
        assert len(fitted("W" * 50, 1.5, 8)) < len(fitted("i" * 50, 1.5, 8))
        assert fitted(" a\n\n b ", 2, 8) == "a b"


def test_no_torch_and_no_pyplot() -> None:
    code = (
        "import sys, reports.figures; print([m for m in ('torch', 'matplotlib.pyplot', 'probes') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
