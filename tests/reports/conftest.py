"""A store as real runs leave it: encoders of known quality, seeds, a failure, a gap, taints, pictures."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from rice_core.digest import bytes_digest
from rice_core.record import Artifact, Cell, Evidence, Metric, Record, Scores, Skipped
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeSpec
from rice_core.stats.estimates import metric_of
from rice_core.store import Store

MINI = DatasetSpec(name="mini", layout="coco", fingerprint="f" * 64)
KNN = ProbeSpec(name="knn", version=1, params={"k": 10})
LINEAR = ProbeSpec(name="linear", version=1, params={"folds": 3})
SEGMENT = ProbeSpec(name="linear-seg", version=1, params={"grid": 12})
TOKENS = ProbeSpec(name="tokens", version=1, params={"images": 64})

QUALITY = {
    "synthetic:noise": 0.0,
    "synthetic:random-weights": 0.28,
    "mini-vit=rice:runs/mini/encoder": 0.72,
    "mlcd=hf:DeepGlint-AI/rice-vit-large-patch14-560": 0.74,
    "synthetic:oracle": 1.0,
}
# probe -> its metrics: (name, unit, better, chance, ceiling)
METRICS: dict[str, tuple[tuple[str, str, str, float | None, float | None], ...]] = {
    "knn": (("accuracy", "%", "higher", 12.5, 100.0), ("top1", "%", "higher", None, 100.0)),
    "linear": (("accuracy", "%", "higher", 12.5, 100.0), ("top1", "%", "higher", None, 100.0)),
    "linear-seg": (("miou", "%", "higher", None, 100.0), ("macc", "%", "higher", 11.1, 100.0)),
    "tokens": (("token-distance", "", "neither", None, None), ("object-separation", "%", "higher", 50.0, 100.0)),
}


def evidence(encoder: EncoderSpec, *, weights: str = "", data: str = "d" * 64, code: str = "c" * 64) -> Evidence:
    return Evidence(
        weights=weights or bytes_digest(encoder.shorthand.encode()),
        data=data,
        code=code,
        commit="1234567890abcdef1234567890abcdef12345678",
        dirty=False,
        libraries={"torch": "2.13.0", "numpy": "2.3.1"},
        device="cpu",
        n_params=1_234_567,
        dim=128,
        patch=8,
        resolution=(96, 96),
        encoder_facts={"objective": "region clusters", "steps": "600"},
    )


def scores_of(probe: str, quality: float, *, seed: int, images: int = 60, objects: int = 4) -> Scores:
    """Objects of one image share its difficulty, and all encoders meet the same images."""
    shared = np.random.default_rng(7)
    own = np.random.default_rng([int(quality * 1000), seed])
    difficulty_N = np.repeat(shared.normal(0, 0.12, images), objects)
    luck_N = shared.random(images * objects)
    ids = [(f"val/{i:03d}.png", k) for i in range(images) for k in range(objects)]
    values = {}
    for name, unit, _, chance, _ in METRICS[probe]:
        floor = (chance or 8.0) / 100
        p_N = np.clip(floor + (1 - floor) * (quality + difficulty_N * (0 < quality < 1)), 0, 1)
        if probe in ("knn", "linear"):
            column_N = 100.0 * (luck_N < p_N)
            column_N = np.where(own.random(len(p_N)) < 0.04 * (0 < quality < 1), 100 - column_N, column_N)
        else:
            column_N = np.clip(100 * p_N + own.normal(0, 3, len(p_N)) * (quality < 1), 0, 100)
        values[name] = tuple(round(float(value) * (1 if unit else 0.01), 6) for value in column_N)
    return Scores(sample=tuple(f"{image}#{k}" for image, k in ids), cluster=tuple(i for i, _ in ids), values=values)


def done(
    cell: Cell, scores: Scores, *, taints: tuple[str, ...] = (), skipped: tuple[Skipped, ...] = (), **facts: str
) -> Record:
    probe = cell.probe.name
    metrics = tuple(
        metric_of(scores, name, unit=unit, better=better, chance=chance, ceiling=ceiling)  # type: ignore[arg-type]
        for name, unit, better, chance, ceiling in METRICS[probe]
    )
    return Record(
        cell=cell,
        status="done",
        metrics=metrics,
        assumptions=(
            f"{probe}: features are the mean of the patch tokens under the mask.",
            "The paper does not say how boxes are resized.",
        ),
        evidence=evidence(cell.encoder, **facts),
        taints=taints,
        skipped=skipped,
        seconds=3.25,
        images_per_second=41.5,
        created="2026-11-20T10:00:00Z",
    )


def picture(tint: int) -> bytes:
    y, x = np.mgrid[0:96, 0:288]
    pixels = np.stack([(x * 2 + tint) % 256, (y * 3 + tint) % 256, (x + y) % 256], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def fill(store: Store, *, seeds: tuple[int, ...] = (0, 1)) -> list[Record]:
    """Write a whole small run; returns its records."""
    records = []
    for text, quality in QUALITY.items():
        encoder = EncoderSpec.parse(text)
        for probe in (KNN, LINEAR, SEGMENT, TOKENS):
            for seed in seeds:
                cell = Cell(encoder=encoder, probe=probe, dataset=MINI, seed=seed)
                record, scores = _outcome(store, cell, quality)
                if record is not None:
                    records.append(store.put(record, scores))
    return records


def _outcome(store: Store, cell: Cell, quality: float) -> tuple[Record | None, Scores | None]:
    name, probe = cell.encoder.title, cell.probe.name
    if name == "synthetic:random-weights" and probe == "linear":
        return None, None
    if name == "mlcd" and probe == "linear-seg" and cell.seed == 1:
        return Record(cell=cell, status="failed", error="The disk is full; free some space, then run again."), None
    if name == "synthetic:noise" and probe == "linear-seg":
        return Record(cell=cell, status="not_applicable", error="linear-seg needs regions", evidence=None), None
    scores = scores_of(probe, quality, seed=cell.seed)
    tainted = ("uncommitted code",) if name == "mini-vit" and probe == "linear" else ()
    skipped = (Skipped(item="val/broken.png", reason="the file ends early"),) if probe == "knn" else ()
    record = done(cell, scores, taints=tainted, skipped=skipped)
    files = {"tokens": _token_files, "linear-seg": _sheet}.get(probe)
    if files is not None:
        record = record.model_copy(update={"artifacts": files(store, cell, quality)})
    return record, scores


def _token_files(store: Store, cell: Cell, quality: float) -> tuple[Artifact, ...]:
    rng = np.random.default_rng([int(quality * 100), cell.seed])
    counts, edges = np.histogram(np.clip(rng.normal(0.3 + 0.5 * quality, 0.12, 5000), 0, 2), bins=200, range=(0, 2))
    label_N = np.arange(120) % 8
    center_83 = np.random.default_rng(1).normal(size=(8, 3))
    point_N3 = center_83[label_N] * (0.2 + 2 * quality) + rng.normal(size=(120, 3)) * 0.5
    point_N3 /= np.linalg.norm(point_N3, axis=1, keepdims=True)
    body = {
        "distances": {
            "edges": edges.round(4).tolist(),
            "counts": counts.tolist(),
            "pairs": 5000,
            "images": 60,
            "mean": 0.3 + 0.5 * quality,
            "median": 0.3 + 0.5 * quality,
        },
        "tsne": {
            "points": point_N3.round(5).tolist(),
            "labels": label_N.tolist(),
            "classes": [f"kind {i}" for i in range(8)],
            "neighbours": 10,
            "trustworthiness": 0.98,
            "purity": quality,
            "purity_chance": 0.125,
        },
    }
    return (
        store.put_artifact(cell.id, "pca.png", picture(int(quality * 200))),
        store.put_artifact(cell.id, "tokens.json", json.dumps(body).encode()),
    )


def _sheet(store: Store, cell: Cell, quality: float) -> tuple[Artifact, ...]:
    return (store.put_artifact(cell.id, "linear-seg.png", picture(int(255 * quality))),)


def cell(
    encoder: str,
    *,
    probe: ProbeSpec = KNN,
    dataset: DatasetSpec = MINI,
    seed: int = 0,
    limit: int | None = None,
) -> Cell:
    return Cell(encoder=EncoderSpec.parse(encoder), probe=probe, dataset=dataset, seed=seed, limit=limit)


def simple(asked: Cell, value: float = 50.0, *, taints: tuple[str, ...] = (), **facts: str) -> Record:
    """One finished record with one metric and no scores."""
    metric = Metric(name="accuracy", value=value, unit="%", n=100, stderr=1.0, ci95=(value - 2, value + 2))
    found = evidence(asked.encoder, **facts)
    return Record(cell=asked, status="done", metrics=(metric,), evidence=found, taints=taints)


def scored(
    store: Store,
    asked: Cell,
    values: Sequence[float],
    *,
    better: str = "higher",
    name: str = "accuracy",
    unit: str = "%",
) -> Record:
    """A record in the store whose one metric is the mean of `values`, each an image of its own."""
    images = tuple(f"{i:03d}.png" for i in range(len(values)))
    scores = Scores(sample=images, cluster=images, values={name: tuple(map(float, values))})
    metric = metric_of(scores, name, unit=unit, better=better, chance=10.0, ceiling=100.0)  # type: ignore[arg-type]
    record = Record(cell=asked, status="done", metrics=(metric,), evidence=evidence(asked.encoder))
    return store.put(record, scores)


@pytest.fixture(scope="session")
def pdflatex(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], int]:
    """Compiles a document and gives its number of pages; skips where pdflatex lacks what our documents use.

    That it is there does not say so: Debian's texlive-latex-base has no booktabs.
    """
    from reports.render import to_latex

    folder = tmp_path_factory.mktemp("tex")

    def compiled(text: str) -> subprocess.CompletedProcess[bytes]:
        (folder / "t.tex").write_text(text, encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
        return subprocess.run(command, cwd=folder, capture_output=True, check=False)

    def pages(text: str) -> int:
        done = compiled(text)
        assert done.returncode == 0, done.stdout[-2000:]
        return int(re.findall(rb"Output written on t.pdf \((\d+) page", done.stdout)[-1])

    # What our own packages load, and nothing of our own, so that a fault of ours never skips a test.
    head = to_latex().split("\\begin{document}")[0]
    probe = r"\begin{document}\begin{tabular}{l}\toprule x $\uparrow$ \textquotedbl\\\bottomrule\end{tabular}\resizebox{1cm}{!}{x}\end{document}"
    try:
        tried = compiled(head + probe)
    except OSError as error:
        pytest.skip(f"pdflatex does not start ({error.strerror}); Debian: apt-get install texlive-latex-recommended")
    if tried.returncode:
        why = next((line for line in tried.stdout.decode(errors="replace").splitlines() if line.startswith("!")), "?")
        pytest.skip(f"pdflatex compiles no table ({why}); Debian: apt-get install texlive-latex-recommended")
    return pages


@pytest.fixture(scope="session")
def fake() -> SimpleNamespace:
    """The builders of this file: test files cannot import each other."""
    return SimpleNamespace(cell=cell, simple=simple, scored=scored, fill=fill, evidence=evidence, MINI=MINI, KNN=KNN)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "runs")


@pytest.fixture(scope="session")
def full_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A whole small run. Shared by all tests: copy it before changing it."""
    filled = Store(tmp_path_factory.mktemp("full") / "runs")
    fill(filled)
    return filled


@pytest.fixture(scope="session")
def site(full_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of `full_store`, built once."""
    from reports.site import build_site

    return build_site(full_store, tmp_path_factory.mktemp("site") / "report").parent


@pytest.fixture
def hostile_names() -> list[str]:
    """What encoders, categories and data sets may be called: mathematics, controls, no glyphs, nothing at all."""
    return [
        "$x_$",
        "$\\frac{",
        "_hidden",
        "W" * 500,
        "a\nb\tc\x00\x1b[31m",
        "<script>alert(1)</script>",
        "名前 🍚 \u202eabc",
        "",
        "\ud800",
        "\u2800\u3164",
    ]
