"""Errors are clustered by scene where val's scenes are known."""

import json
import random
from pathlib import Path

from PIL import Image

from probes.knn import Knn
from probes.linear_seg import LinearSeg
from probes.tokens import Tokens
from rice_core.datasets import open_dataset
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.progress import Progress
from rice_core.spec import EncoderSpec
from rice_core.store import Store


def export(folder: Path, n: int) -> None:
    """Images of two objects, three images a video."""
    folder.mkdir(parents=True)
    images, boxes = [], []
    for k in range(n):
        name = f"{folder.name}{k * 31}x.png"
        Image.frombytes("RGB", (32, 32), random.Random(name).randbytes(3072)).save(folder / name)
        images.append({"id": k, "file_name": name, "width": 32, "height": 32, "video_id": f"{folder.name}{k // 3}"})
        boxes += [{"id": 2 * k + j, "image_id": k, "category_id": 1 + j, "bbox": [16 * j, 0, 16, 32]} for j in range(2)]
    body = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}
    (folder / "_annotations.coco.json").write_text(json.dumps(body))


def test_pixels_and_tokens_are_clustered_by_the_scene_of_their_image(tmp_path: Path) -> None:
    export(tmp_path / "set/train", 12)
    export(tmp_path / "set/valid", 12)
    probes = (LinearSeg(grid=2, images=12), Tokens(images=12, pairs_per_image=50))
    plan = Plan.over((EncoderSpec.parse("synthetic:noise"),), probes, open_dataset(tmp_path / "set"))
    store = Store(tmp_path / "store")
    for record in Runner(store, Settings(device="cpu", debug=True), Progress(quiet=True)).run(plan).records:
        scores = store.scores(record)
        assert len(scores.sample) == 12
        assert set(scores.cluster) == {f"video_id=valid{k}" for k in range(4)}
        if record.cell.probe.name == "linear-seg":
            assert [metric.method for metric in record.metrics] == [
                "bootstrap over scenes (1000), Wilson interval",
                "clustered by scene (4), Wilson interval",
            ]


def test_objects_are_clustered_by_the_scene_of_their_image(tmp_path: Path) -> None:
    export(tmp_path / "set/train", 12)
    export(tmp_path / "set/valid", 12)
    dataset = open_dataset(tmp_path / "set")
    plan = Plan.over((EncoderSpec.parse("synthetic:noise"),), (Knn(k=3),), dataset)
    store = Store(tmp_path / "store")
    (record,) = Runner(store, Settings(device="cpu", debug=True), Progress(quiet=True)).run(plan).records
    scores = store.scores(record)
    assert len(scores.sample) == 24
    assert set(scores.cluster) == {f"video_id=valid{k}" for k in range(4)}
    assert all("clustered by scene (4)" in metric.method for metric in record.metrics)
    assert record.notes[0] == "Errors are clustered by scene: of val 12 images in 4 scenes by video_id"
