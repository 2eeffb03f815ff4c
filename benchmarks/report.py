"""Report build time for 10,000 records: `python -m benchmarks report`. Goal: at most 20 s.

50 encoders x 4 probes x 10 data sets x 5 seeds, with per-sample scores (60 images of 4 objects), a tokens figure and a
picture where the probe leaves them, 2 % failed cells. The floor is reading and validating the same records.
"""

from __future__ import annotations

import io
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from benchmarks.measuring import keep, machine, median, timed
from reports.site import build
from rice_core.digest import bytes_digest
from rice_core.record import Artifact, Cell, Evidence, Metric, Record, Scores
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeSpec
from rice_core.stats.estimates import metric_of
from rice_core.store import Store

ENCODERS, DATASETS, SEEDS = 50, 10, 5
IMAGES, OBJECTS = 60, 4
BUILDS = 4
PROBES = {"knn": "accuracy", "linear": "accuracy", "linear-seg": "miou", "tokens": "object-separation"}
_STAGES = (
    "groups",
    "view_board",
    "write_cells",
    "write_missing",
    "write_assumptions",
    "write_provenance",
    "write_paper",
    "write_records",
)
_SAMPLES = tuple(f"val/{i:03d}.png#{k}" for i in range(IMAGES) for k in range(OBJECTS))
_CLUSTERS = tuple(f"val/{i:03d}.png" for i in range(IMAGES) for _ in range(OBJECTS))


def main() -> None:
    """Write the records, build the site BUILDS times; the median is the result, the stages are of the first."""
    before = machine()
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name, "store"))
        # Nothing here has to survive a power cut, and 25,000 fsyncs take longer than the benchmark.
        with mock.patch("os.fsync"):
            count = write_records(store)
        read = timed(store.records)
        with _stopwatches() as stages:
            first = timed(lambda: build.build_site(store, Path(name, "site")))
        builds = [first] + [timed(lambda: build.build_site(store, Path(name, "site"))) for _ in range(BUILDS - 1)]
        wall, cpu = median(builds), statistics.median(lap.cpu for lap in builds)
        files = [path for path in Path(name, "site").rglob("*") if path.is_file()]
        body = {
            "records": count,
            "median_seconds": round(wall, 2),
            "median_cpu_seconds": round(cpu, 2),
            "builds_seconds": [round(lap.wall, 2) for lap in builds],
            "read_records_seconds": round(read.wall, 2),
            "read_records_cpu_seconds": round(read.cpu, 2),
            "of_reading": round(cpu / read.cpu, 2),
            "stages_cpu_seconds": {key: round(value, 2) for key, value in stages.items()},
            "files": len(files),
            "megabytes": round(sum(path.stat().st_size for path in files) / 1e6, 1),
        }
    claim = (
        f"{count:,} records -> site in {wall:.1f} s wall, {cpu:.1f} s CPU, median of {BUILDS} (goal 20 s); "
        f"{body['of_reading']}x of reading and validating them"
    )
    keep("report", [claim], body, before)


def write_records(store: Store) -> int:
    """All cells; returns how many."""
    picture = _picture()
    figure = _figure()
    rng = np.random.default_rng(0)
    count = 0
    for dataset_number in range(DATASETS):
        dataset = DatasetSpec(name=f"set-{dataset_number}", layout="coco", fingerprint=f"{dataset_number:064d}")
        luck = np.random.default_rng(dataset_number).random(len(_SAMPLES))
        for encoder_number in range(ENCODERS):
            encoder = EncoderSpec(
                name=f"encoder-{encoder_number:02d}", source="hf", model=f"org/model-{encoder_number}"
            )
            for probe, metric in PROBES.items():
                for seed in range(SEEDS):
                    spec = ProbeSpec(name=probe, version=1, params={"k": 10})
                    cell = Cell(encoder=encoder, probe=spec, dataset=dataset, seed=seed)
                    _write(store, cell, metric, luck, rng, figure, picture)
                    count += 1
    return count


def _write(
    store: Store, cell: Cell, metric: str, luck: Any, rng: np.random.Generator, figure: bytes, picture: bytes
) -> None:
    evidence = Evidence(weights=bytes_digest(cell.encoder.model.encode()), data="d" * 64, code="c" * 64, dim=768)
    if rng.random() < 0.02:
        failed = Record(cell=cell, status="failed", error="out of memory; use a smaller batch.", evidence=evidence)
        store.put(failed)
        return
    quality = 0.3 + 0.01 * int(cell.encoder.model.split("-")[1])
    hits = 100.0 * (luck < np.clip(quality + rng.normal(0, 0.05, len(luck)), 0, 1))
    scores = Scores(sample=_SAMPLES, cluster=_CLUSTERS, values={metric: tuple(hits.tolist())})
    levels = {"chance": 12.5, "ceiling": 100.0}
    metrics: list[Metric] = [metric_of(scores, metric, unit="%", better="higher", **levels, bounds=(0.0, 100.0))]
    artifacts: tuple[Artifact, ...] = ()
    if cell.probe.name == "tokens":
        artifacts = (
            store.put_artifact(cell.id, "tokens.json", figure),
            store.put_artifact(cell.id, "pca.png", picture),
        )
    record = Record(
        cell=cell,
        status="done",
        metrics=tuple(metrics),
        artifacts=artifacts,
        assumptions=("An item is one annotated object.", "Equal votes go to the class with the nearest."),
        evidence=evidence,
        seconds=12.0,
        created="2026-01-01T00:00:00Z",
    )
    store.put(record, scores)


def _figure() -> bytes:
    """tokens.json as the tokens probe leaves it: a histogram of distances and a map of 200 objects."""
    edges = np.linspace(0, 2, 201)
    counts = (np.exp(-((edges[1:] - 0.8) ** 2) / 0.1) * 1000).astype(int)
    distances = {"edges": edges.round(4).tolist(), "counts": counts.tolist(), "pairs": int(counts.sum())}
    points = np.random.default_rng(0).standard_normal((200, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    tsne = {
        "points": points.round(5).tolist(),
        "labels": [index % 8 for index in range(200)],
        "classes": [f"class {index}" for index in range(8)],
        "neighbours": 10,
        "trustworthiness": 0.9,
        "purity": 0.5,
        "purity_chance": 0.125,
    }
    body = {"distances": distances | {"median": 0.8, "images": 60, "mean": 0.8}, "pca": {}, "tsne": tsne}
    return json.dumps(body).encode()


def _picture() -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (48, 192, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@contextmanager
def _stopwatches() -> Iterator[dict[str, float]]:
    """CPU seconds inside each function that `build_site` calls."""
    spent: dict[str, float] = defaultdict(float)

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return call(*args, **named)
            finally:
                spent[name] += time.process_time() - began

        return run

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(Store, "records", watched("read_records", Store.records)))
        for name in _STAGES:
            patches.enter_context(mock.patch.object(build, name, watched(name, getattr(build, name))))
        yield spent
