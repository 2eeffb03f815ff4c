"""Figures of detectors: what is drawn depends on what is given, hostile names, damaged files, and their places in the site."""

import io
import json
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from PIL import Image

from reports.figures import category_figure, losses_figure, precision_recall_figure, suite_figure, training_figure
from reports.figures.detection import area
from reports.figures.detection_losses import smoothed
from reports.figures.style import line_colour
from reports.site import build_site
from rice_core.errors import UserError
from rice_core.spec import ProbeSpec

IOUS = ("0.50", "0.75", "0.50:0.95")


def ap(quality: float = 0.5, count: int = 12, *, masks: bool = True, groups: str = "") -> dict:
    def kind(factor: float) -> dict:
        top = 100 * quality * factor
        curve = [round(top * (1 - r / 100), 4) for r in range(101)]
        categories = [
            {
                "name": f"category {k}",
                "frequency": groups[k % len(groups)] if groups else None,
                "ap": round(top * (k + 1) / count, 4),
                "objects": 10 * k + 1,
            }
            for k in range(count)
        ]
        return {"precision": dict.fromkeys(IOUS, curve), "categories": categories}

    return {"kinds": {"box": kind(1.0)} | ({"mask": kind(0.8)} if masks else {})}


def training(start: float = 9.0, count: int = 100) -> dict:
    curve = [
        {
            "iteration": 5.0 * k,
            "rate": 0.1,
            "loss": start / (1 + k / 9),
            "loss_mask": start / 12,
            "loss_rpn_cls": start / (1 + k),
        }
        for k in range(count)
    ]
    return {"backend": "ops", "curve": curve}


def suite(quality: float = 0.5, count: int = 20) -> dict:
    parts = [
        {"name": f"set {k}", "domain": f"domain {k % 3}", "ap": 100 * quality * (k + 1) / count, "judged": 7 * k + 1}
        for k in range(count)
    ]
    return {"parts": [*parts, {"name": "broken", "domain": "domain 0", "ap": None, "why": "no boxes"}]}


DRAW = {
    "precision": (precision_recall_figure, ap),
    "categories": (category_figure, ap),
    "histograms": (category_figure, lambda quality=0.5: ap(quality, 70, groups="rcf")),
    "datasets": (suite_figure, suite),
    "training": (training_figure, lambda quality=0.5: training(9 * quality)),
    "losses": (losses_figure, lambda quality=0.5: training(9 * quality)),
}
KINDS = pytest.mark.parametrize("kind", DRAW)


def draw(kind: str, titles: list[str], **more: str) -> bytes:
    figure, body = DRAW[kind]
    return figure({title: body(0.3 + 0.05 * i) for i, title in enumerate(titles)}, **more)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def frame_is_empty(image: np.ndarray) -> bool:
    return all((edge == 255).all() for edge in (image[:3], image[-3:], image[:, :3], image[:, -3:]))


def amount(image: np.ndarray, i: int) -> int:
    """Pixels in the colour of the i-th encoder."""
    colour = np.array(matplotlib.colors.to_rgb(line_colour(i))) * 255
    return int((np.abs(image - colour).sum(-1) < 12).sum())


@KINDS
def test_the_same_values_give_the_same_bytes_whatever_the_users_settings(kind: str) -> None:
    for file_format, start in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        first = draw(kind, ["a", "b"], format=file_format)
        with matplotlib.rc_context({"font.size": 30, "text.parse_math": True, "savefig.dpi": 30, "axes.grid": True}):
            second = draw(kind, ["a", "b"], format=file_format)
        assert first == second
        assert first.startswith(start)
        assert not any(trace in first for trace in (b"Matplotlib", b"matplotlib.org", b"dc:date", b"tEXt"))


@KINDS
@pytest.mark.filterwarnings("error")
def test_hostile_names_of_encoders_neither_crash_nor_run_off(kind: str, hostile_names) -> None:
    assert frame_is_empty(pixels(draw(kind, hostile_names)))
    assert draw(kind, ["$a$"]) != draw(kind, ["a"])  # As mathematics the dollars would vanish.


@pytest.mark.filterwarnings("error")
def test_hostile_names_of_categories_and_data_sets_neither_crash_nor_run_off(hostile_names) -> None:
    named, parts = ap(count=len(hostile_names)), suite(count=len(hostile_names))
    for kind in named["kinds"].values():
        for entry, name in zip(kind["categories"], hostile_names, strict=True):
            entry |= {"name": name, "objects": 10**9}
    for i, name in enumerate(hostile_names):
        parts["parts"][i] |= {"name": name, "domain": name, "judged": 10**9}
    assert frame_is_empty(pixels(category_figure({"a": named})))
    assert frame_is_empty(pixels(suite_figure({"a": parts})))


@pytest.mark.parametrize("count", [1, 12])
@KINDS
def test_any_number_of_encoders_stays_inside_the_picture(kind: str, count: int) -> None:
    image = pixels(draw(kind, [f"encoder-{k}-of-a-family?res=560&layers=-2" for k in range(count)]))
    assert image.shape[1] <= 1700
    assert frame_is_empty(image)
    assert all(amount(image, i) > 20 for i in range(count))


@KINDS
def test_every_encoder_is_drawn_as_it_is(kind: str) -> None:
    figure, body = DRAW[kind]
    reference = figure({"a": body(0.4), "b": body(0.6)})
    assert figure({"a": body(0.4), "b": body(0.61)}) != reference
    assert figure({"a": body(0.41), "b": body(0.6)}) != reference


@pytest.mark.parametrize("what", ["box", "mask"])
@pytest.mark.parametrize("iou", IOUS)
def test_every_curve_has_its_panel(what: str, iou: str) -> None:
    changed = ap()
    changed["kinds"][what]["precision"] = changed["kinds"][what]["precision"] | {iou: [50.0] * 101}
    assert precision_recall_figure({"a": changed}) != precision_recall_figure({"a": ap()})


def test_the_area_is_the_mean_of_101_precisions() -> None:
    assert area(tuple(float(value) for value in range(101))) == 50.0
    assert area((None, *[50.0] * 100)) is None
    assert area(None) is None


def test_masks_have_a_row_of_their_own_and_are_missed_where_one_encoder_has_none() -> None:
    with_masks, without = pixels(precision_recall_figure({"a": ap()})), ap(masks=False)
    assert len(with_masks) > 1.5 * len(pixels(precision_recall_figure({"a": without})))
    assert frame_is_empty(pixels(precision_recall_figure({"a": ap(), "b": without})))
    assert frame_is_empty(pixels(category_figure({"a": ap(), "b": without})))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("draw_one", [precision_recall_figure, category_figure])
@pytest.mark.parametrize("count", [5, 70])
def test_what_is_not_defined_is_left_out(draw_one, count: int) -> None:
    empty = ap(count=count)
    for kind in empty["kinds"].values():
        kind["precision"] = dict.fromkeys(IOUS, [None] * 101)
        kind["categories"] = [entry | {"ap": None} for entry in kind["categories"]]
    # The stroke or the dot of the legend, or the name, is left.
    assert amount(pixels(draw_one({"a": empty})), 0) < amount(pixels(draw_one({"a": ap(count=count)})), 0) / 2


def test_many_categories_are_counted_and_not_named() -> None:
    height = {count: len(pixels(category_figure({"a": ap(count=count)}))) for count in (30, 60, 61, 1200)}
    assert height[60] > 1.6 * height[30]
    assert height[61] == height[1200] < height[30]


def test_frequencies_have_strips_of_their_own() -> None:
    def shape(groups: str) -> tuple[int, ...]:
        return pixels(category_figure({"a": ap(count=90, groups=groups)})).shape

    assert shape("rcf")[0] > shape("")[0]


def test_categories_are_in_order_of_the_best_encoder() -> None:
    turned = ap()
    for kind in turned["kinds"].values():
        kind["categories"] = kind["categories"][::-1]
    assert category_figure({"a": turned}) == category_figure({"a": ap()})
    both = {"weak": ap(0.2), "best": ap(0.8)}
    reference = category_figure(both)
    # Turned round, the weak one's order changes and the rows do not.
    weak = both["weak"]["kinds"]["box"]["categories"]
    for one, other in zip(weak[: len(weak) // 2], weak[::-1], strict=False):
        one["ap"], other["ap"] = other["ap"], one["ap"]
    left = slice(None), slice(0, 360)
    assert (pixels(category_figure(both))[left] == pixels(reference)[left]).all()


def test_two_categories_of_one_name_are_two() -> None:
    twice = ap(count=2)
    for kind in twice["kinds"].values():
        for entry in kind["categories"]:
            entry["name"] = "same"
    assert len(pixels(category_figure({"a": twice}))) == len(pixels(category_figure({"a": ap(count=2)})))


def test_no_category_is_said() -> None:
    with pytest.raises(UserError, match="No category has an object"):
        category_figure({"a": ap(count=0)})


def test_a_suite_counts_what_has_an_ap() -> None:
    less = suite()
    less["parts"][3]["ap"] = None
    assert suite_figure({"a": less}) != suite_figure({"a": suite()})
    nothing = {"parts": [part | {"ap": None} for part in suite()["parts"]]}
    assert frame_is_empty(pixels(suite_figure({"a": nothing})))


def test_a_large_suite_stands_in_two_columns() -> None:
    assert len(pixels(suite_figure({"a": suite(count=100)}))) < 2.3 * len(pixels(suite_figure({"a": suite(count=25)})))


def test_smoothing_takes_the_noise_and_leaves_the_course() -> None:
    iteration_S = np.arange(0, 1000, 5.0)
    assert np.allclose(smoothed(iteration_S, np.full(200, 3.0)), 3.0)
    falling_S = 10 * np.exp(-iteration_S / 400)
    noise_S = np.exp(np.random.default_rng(0).normal(0, 0.2, 200))
    found_S = smoothed(iteration_S, falling_S * noise_S)
    assert np.abs(np.log(found_S / falling_S)).mean() < 0.5 * np.abs(np.log(noise_S)).mean()
    assert smoothed(np.array([7.0]), np.array([2.0])).tolist() == pytest.approx([2.0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "losses", [[3.0], [0.0], [0.0, 0.0], [5.0, 5.0], [1e12, 0.0, 1e-300], [1.0, 1.0000001], [9.0, 0.004]]
)
def test_odd_losses_are_drawn(losses: list[float]) -> None:
    curve = [{"iteration": k, "loss": loss} for k, loss in enumerate(losses)]
    assert frame_is_empty(pixels(training_figure({"a": {"curve": curve}, "b": {"curve": curve[::-1] * 2}})))


def test_each_loss_has_a_panel_and_an_encoder_without_it_no_line() -> None:
    nine = [f"loss_{what}_stage{stage}" for what in ("cls", "box_reg") for stage in range(3)]
    nine += ["loss_rpn_cls", "loss_rpn_loc", "loss_mask"]

    def body(*names: str) -> dict:
        return {"curve": [{"iteration": k, "loss": 9.0, **dict.fromkeys(names, 3.0 - k)} for k in range(3)]}

    rows = {n: pixels(losses_figure({"a": body(*nine[-n:])})).shape[0] for n in (1, 3, 6, 9)}
    assert rows[1] == rows[3]
    assert rows[9] - rows[6] == rows[6] - rows[3] > 300
    assert pixels(losses_figure({"a": body(*nine, "loss_new")})).shape[0] > rows[9]
    both = pixels(losses_figure({"a": body(*nine), "b": body("loss_mask")}))
    assert amount(both, 0) > 4 * amount(both, 1) > 40
    with pytest.raises(UserError, match="names its losses"):
        losses_figure({"a": body()})


def test_pale_lines_are_for_few_encoders() -> None:
    def greys(count: int) -> int:
        bodies = {f"e{k}": training(9.0 + k) for k in range(count)}
        bodies["e0"]["curve"] = [
            step | {"loss": step["loss"] * (1 + k % 2)} for k, step in enumerate(bodies["e0"]["curve"])
        ]
        image = pixels(training_figure(bodies))[:600]
        return int(((image.min(-1) > 170) & (image.max(-1) < 254) & (np.ptp(image, axis=-1) > 10)).sum())

    assert greys(4) > 2 * greys(5)


@pytest.mark.parametrize(
    ("kind", "damaged"),
    [
        ("precision", []),
        ("precision", "no JSON"),
        ("precision", {"kinds": {}}),
        ("precision", {"kinds": {"box": {"precision": {"0.50": [1.0] * 101}, "categories": []}}}),
        ("precision", {"kinds": {"box": {"precision": dict.fromkeys(IOUS, [1.0] * 100), "categories": []}}}),
        ("precision", {"kinds": {"box": {"precision": dict.fromkeys(IOUS, [float("nan")] * 101), "categories": []}}}),
        (
            "categories",
            {"kinds": {"box": {"precision": dict.fromkeys(IOUS, [1.0] * 101), "categories": [{"ap": 300}]}}},
        ),
        ("datasets", {"parts": []}),
        ("datasets", {"parts": [{"name": "a", "domain": "b", "ap": -1}]}),
        ("datasets", {"parts": [{"name": "a", "domain": "b", "ap": 1}] * 401}),
        ("training", {"curve": []}),
        ("training", {"curve": [{"iteration": 0, "loss": float("inf")}]}),
        ("training", {"curve": [{"iteration": 0, "loss": -1.0}]}),
        ("training", {"curve": [{"iteration": 0, "loss": 1.0}] * 10_001}),
    ],
)
def test_a_body_that_is_not_the_probes_is_named(kind: str, damaged: object) -> None:
    with pytest.raises(UserError, match=r"of 'mine' cannot be drawn .*--only all"):
        DRAW[kind][0]({"mine": damaged})


@KINDS
def test_nothing_to_draw_is_refused_and_what_a_later_probe_adds_is_no_error(kind: str) -> None:
    figure, body = DRAW[kind]
    with pytest.raises(ValueError, match="at least one encoder"):
        figure({})
    assert figure({"a": body() | {"later": 1}}) == figure({"a": body()})


def detected(store, fake, files: dict[str, bytes], *, encoder: str = "a=hf:x/1", probe: str = "coco-det") -> None:
    cell = fake.cell(encoder, probe=ProbeSpec(name=probe, version=1, params={}))
    artifacts = tuple(store.put_artifact(cell.id, name, data) for name, data in files.items())
    store.put(fake.simple(cell).model_copy(update={"artifacts": artifacts}))


def files_of(name: str) -> dict[str, bytes]:
    buffer = io.BytesIO()
    Image.new("RGB", (90, 30)).save(buffer, format="PNG")
    bodies = {f"{name}-ap.json": ap(), f"{name}-training.json": training()}
    return {f"{name}.png": buffer.getvalue()} | {file: json.dumps(body).encode() for file, body in bodies.items()}


def test_the_report_draws_what_detection_probes_left(store, fake, tmp_path) -> None:
    for name in ("coco-det", "lvis-det"):
        for encoder in ("a=hf:x/1", "b=hf:x/2"):
            detected(store, fake, files_of(name), encoder=encoder, probe=name)
    detected(store, fake, {"rf100-det.json": json.dumps(suite()).encode()}, probe="rf100-det")
    out = build_site(store, tmp_path / "out").parent
    drawn = sorted(path.name.split("-")[0] for path in out.glob("figures/*.png") if "det.png" not in path.name)
    assert drawn == ["categories"] * 2 + ["datasets"] + ["losses"] * 2 + ["precision"] * 2 + ["training"] * 2
    words = (out / "index.html").read_text()
    for name in ("coco-det", "lvis-det"):
        for title in (
            "Precision by recall",
            "AP by category",
            "Loss of the detector in training",
            "The detector’s losses one by one",
        ):
            assert f"<h3>{title} ({name})</h3>" in words
        assert f"<h3>Objects that were found ({name})</h3>" in words
    assert "<h3>AP by data set (rf100-det)</h3>" in words
    assert 'class="sheets"' not in words  # A contact sheet is too wide to stand beside another.
    assert "Best, median and worst images" in words
    assert "could not be drawn" not in words


@pytest.mark.parametrize("data", [b"\x00\xff not JSON", b"[" * 100_000, b"[]", b"null", b'{"kinds": 3}', b"1" * 9999])
def test_a_damaged_file_is_said_in_the_report(store, fake, tmp_path, data: bytes) -> None:
    detected(store, fake, files_of("coco-det") | {"coco-det-ap.json": data})
    out = build_site(store, tmp_path / "out").parent
    words = (out / "index.html").read_text()
    assert words.count("This figure could not be drawn: the AP file of") == 2
    assert [path.name.split("-")[0] for path in out.glob("figures/*.png") if "det.png" not in path.name] == [
        "losses",
        "training",
    ]


def test_an_encoder_without_the_file_is_left_out(store, fake, tmp_path) -> None:
    detected(store, fake, files_of("coco-det"))
    detected(store, fake, {}, encoder="b=hf:x/2")
    words = (build_site(store, tmp_path / "out").parent / "index.html").read_text()
    assert 'alt="Precision by recall (coco-det): a"' in words
    assert "could not be drawn" not in words


def test_no_torch_and_no_probe() -> None:
    code = (
        "import sys, reports.figures; print([m for m in ('torch', 'matplotlib.pyplot', 'probes') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
