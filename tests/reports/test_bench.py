"""The way in from Python: the numbers of the commands, mistakes as exceptions, features of loose images."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from reports import Bench, cli
from rice_core.catalogue import resolve
from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.images import load_image
from rice_core.measure.encode import encode_images
from rice_core.store import Store

RNG = np.random.default_rng(4)
BASE = RNG.normal(60, 8, 40)
MINI = "mini-supervised"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of twelve noisy photographs."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    for kind, level in {"dark": 60, "bright": 190}.items():
        (folder / kind).mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(RNG.normal(level, 30, (40, 56, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{kind}-{i}.png")
    return folder


def csv_of(store, *words: str) -> pd.DataFrame:
    app = typer.Typer()
    app.callback()(lambda: None)
    cli.register(app)
    done = CliRunner().invoke(app, [*words, "--store", str(store.root), "-f", "csv"])
    assert done.exit_code == 0, done.output
    return pd.read_csv(io.StringIO(done.stdout))


def test_the_frame_is_the_csv_of_all(full_store) -> None:
    frame, read = Bench(full_store.root).frame(), csv_of(full_store, "table", "--all")
    assert list(frame.columns) == list(read.columns)
    assert frame.value.tolist() == read.value.tolist()
    assert frame.low.equals(read.low)
    assert frame.cell.tolist() == read.cell.tolist()
    assert len(Bench(full_store.root).records()) == len(full_store.records()) > frame.cell.nunique()


def test_a_comparison_has_sentences_and_the_rows_of_the_csv(fake, store) -> None:
    fake.scored(store, fake.cell("a=hf:x/1"), BASE + 3)
    fake.scored(store, fake.cell("b=hf:x/2"), BASE + RNG.normal(0, 1, 40))
    found = Bench(str(store.root)).compare("a", "hf:x/2")
    assert str(found).splitlines()[0] == "a against b"
    assert "a is better by" in str(found)
    frame, read = found.frame(), csv_of(store, "compare", "a", "b")
    assert list(frame.columns) == list(read.columns)
    assert frame.difference.tolist() == read.difference.tolist() == [found.differences[0].paired.value]
    assert frame.dtypes[["difference", "p", "mde"]].eq("float64").all()
    assert frame.decisive.tolist() == [True]


def test_every_metric_is_compared_on_request(full_store) -> None:
    bench = Bench(full_store.root)
    assert (len(bench.compare("mlcd", "mini-vit").differences), len(bench.compare("mlcd", "mini-vit", every_metric=True).differences)) == (4, 8)  # fmt: skip


def test_a_name_that_is_not_there_names_those_that_are(fake, store) -> None:
    store.put(fake.simple(fake.cell("a=hf:x/1")))
    with pytest.raises(UserError, match=r"no record of 'c'.*; there is a\."):
        Bench(store.root).compare("a", "c")


def test_an_empty_store_has_an_empty_frame_of_all_columns(store, full_store) -> None:
    empty = Bench(store.root).frame()
    assert len(empty) == 0
    assert empty.columns.equals(Bench(full_store.root).frame().columns)
    assert not store.root.exists()


def test_a_damaged_record_is_warned_of(fake, store) -> None:
    store.put(fake.simple(fake.cell("a=hf:x/1")))
    kept = store.put(fake.simple(fake.cell("b=hf:x/2")))
    (store.root / "records" / f"{kept.cell.id}.json").write_text("{}")
    with pytest.warns(UserWarning, match=f"quarantined records/{kept.cell.id}.json"):
        assert Bench(store.root).frame().encoder.tolist() == ["a"]


def test_a_run_measures_reuses_and_is_silent(photos, tmp_path, capfd) -> None:
    bench = Bench(tmp_path / "runs")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = bench.run("synthetic:random-weights", "knn", photos, seeds=[0, 1], device="cpu")
        again = bench.run(["synthetic:random-weights"], ["knn"], str(photos), seeds=(0, 1), device="cpu")
    assert (dict(first.counts), dict(again.counts)) == ({"done": 2}, {"reused": 2})
    assert capfd.readouterr() == ("", "")
    frame = bench.frame()
    assert sorted(frame[frame.metric == "accuracy"].seed) == [0, 1]
    assert frame.dataset.unique().tolist() == ["photos"]
    limited = bench.run("synthetic:noise", "knn", photos, limit=4, device="cpu")
    assert limited.records[0].cell.limit == 4


def test_progress_is_shown_on_request(photos, tmp_path, capfd) -> None:
    Bench(tmp_path / "runs", progress=True).run("synthetic:noise", "knn", photos, device="cpu")
    assert "synthetic:noise / knn" in capfd.readouterr().err


def test_a_cell_that_fails_is_warned_of_and_the_others_are_measured(photos, tmp_path) -> None:
    with pytest.warns(UserWarning, match=r"1 cell of 2 failed; the first: .*nowhere"):
        summary = Bench(tmp_path / "runs").run(
            [f"rice:{tmp_path}/nowhere", "synthetic:noise"], "knn", photos, device="cpu"
        )
    assert summary.counts["done"] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoders": "dinov9"}, "there is no encoder 'dinov9'"),
        ({"encoders": []}, "Bench.run: encoders"),
        ({"probes": "knnn"}, r"did you mean knn\?"),
        ({"probes": "knn?q=3"}, "has no parameter 'q'"),
        ({"data": "/nowhere/at/all"}, "is no folder"),
        ({"seeds": -1}, "Bench.run: seeds"),
        ({"limit": 0}, "Bench.run: limit"),
        ({"device": "cuda:99"}, "There is no device 'cuda:99'"),
        ({"only": "some"}, "only='some'"),
        ({"batch": 0}, "batch=0"),
        ({"cache_gb": 0.0}, "cache_gb=0.0"),
        ({"cache_gb": float("nan")}, "cache_gb=nan"),
    ],
)
def test_mistakes_are_sentences(photos, tmp_path, change, said) -> None:
    asked = {"encoders": "synthetic:noise", "probes": "knn", "data": photos, **change}
    with pytest.raises(UserError, match=said):
        Bench(tmp_path / "runs").run(**asked)
    assert not (tmp_path / "runs" / "records").exists()


def test_features_are_the_encoders_own(photos, tmp_path) -> None:
    files = sorted(photos.rglob("*.png"))[:5]
    found = Bench(tmp_path).encode(MINI, files, device="cpu", batch=2)
    encoder = load_encoder(resolve(MINI))
    with torch.no_grad():
        wanted = [encoder.encode(encoder.preprocess([load_image(file)])) for file in files]
    assert found.dense_BCHW.shape == (5, encoder.dim, 12, 12)
    assert torch.allclose(found.dense_BCHW, torch.cat([one.dense_BCHW for one in wanted]), atol=1e-5)
    assert torch.allclose(found.cls_BC, torch.cat([one.cls_BC for one in wanted]), atol=1e-5)
    assert found.levels == ()
    assert not found.dense_BCHW.requires_grad
    assert found.dense_BCHW.numpy().dtype == np.float32
    # A head can be trained on them, as on no inference tensor.
    head = torch.nn.Linear(encoder.dim, 2)
    head(found.cls_BC).sum().backward()


def test_several_layers_are_levels_and_one_image_needs_no_list(photos, tmp_path) -> None:
    file = str(min(photos.rglob("*.png")))
    found = Bench(tmp_path).encode(f"{MINI}?layers=-2,-1", file, device="cpu")
    assert len(found.levels) == 2
    assert torch.equal(found.levels[-1], found.dense_BCHW)
    assert found.dense_BCHW.shape[0] == 1


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_images_of_any_mode_are_read_as_their_files_are(tmp_path, mode) -> None:
    """Transparent pixels on white, as everywhere else."""
    pixels = np.zeros((48, 48, 4), np.uint8)
    pixels[:24, :, 0], pixels[:, :24, 3] = 200, 255
    image = Image.fromarray(pixels, "RGBA")
    image = image if mode == "RGBA" else image.convert("RGB").convert(mode)
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    image.save(path)
    there, here = (Bench(tmp_path).encode("synthetic:random-weights", each, device="cpu") for each in (path, image))
    assert torch.equal(there.dense_BCHW, here.dense_BCHW)


def test_what_cannot_be_encoded_is_named(tmp_path) -> None:
    bench = Bench(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    cases = {
        "There is no image": (MINI, []),
        "broken.jpg is no image in a known format": (MINI, [tmp_path / "broken.jpg"]),
        "nowhere.png cannot be read": (MINI, "nowhere.png"),
        "image 1 has 32-bit pixels": (MINI, [Image.new("RGB", (9, 9)), Image.new("F", (9, 9))]),
        "answers with the truth of a data set": ("oracle", [Image.new("RGB", (9, 9))]),
        "there is no encoder": ("nothing-like-it", [Image.new("RGB", (9, 9))]),
    }
    for said, (encoder, images) in cases.items():
        with pytest.raises(UserError, match=said):
            bench.encode(encoder, images, device="cpu")
    with pytest.raises(UserError, match="A batch of 0"):
        encode_images(resolve(MINI), [Image.new("RGB", (9, 9))], batch=0)


def test_the_import_is_light() -> None:
    code = (
        "import sys; from reports import Bench; Bench('x'); import reports.cli;"
        "print(sorted({'torch', 'pandas', 'matplotlib', 'sklearn', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_misspelt_name_costs_no_torch() -> None:
    code = (
        "import sys\nfrom reports import Bench\n"
        "try: Bench('x').run('dinov9', 'knn', 'mini')\n"
        "except Exception as error: print(type(error).__name__, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["UserError", "False"]


def test_the_store_may_be_a_path_of_ones_home(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Bench("~/runs").store.root == Store(tmp_path / "runs").root
    assert repr(Bench("~/runs")) == f"Bench('{tmp_path}/runs')"
