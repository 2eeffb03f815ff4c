"""The miniature world through the whole of curation."""

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from rice_core.digest import file_digest
from rice_core.disk.temporaries import beside
from rice_core.errors import StoreError, UserError
from rice_core.progress import Progress
from rice_core.rice.curate import curate, stages
from rice_core.rice.curate.pieces import read_arrays
from rice_core.rice.regions import RegionManifest, RegionSample, read_region_manifest
from rice_core.world.layouts.coco import write_coco

Curated = tuple[Path, RegionManifest]
Make = Callable[..., Any]


def digests(manifest: RegionManifest) -> list[str]:
    return [shard.sha256 for shard in manifest.shards]


def test_the_manifest_reads_back_and_says_what_is_there(curated: Curated) -> None:
    out, manifest = curated
    assert read_region_manifest(out) == manifest
    assert [file_digest(out / shard.file) for shard in manifest.shards] == digests(manifest)
    assert [shard.samples for shard in manifest.shards] == [128, 128, 44]
    assert manifest.counts["images"] == manifest.samples == 300
    assert manifest.banks["object"].classes + manifest.counts["clusters.pruned"] == 60
    assert manifest.banks["ocr"].classes == 24
    assert manifest.providers == {
        "proposer": "coco@1",
        "text_spotter": "annotations@1",
        "tokenizer": "syllables@1",
        "featurizer": "hog@1",
        "clusterer": "faiss-kmeans@1",
    }


def test_every_sample_keeps_the_contract(curated: Curated, world: Path, members: Make) -> None:
    out, manifest = curated
    kinds = {"object": 0, "ocr": 0}
    for body, image in members(out, manifest):
        sample = RegionSample.model_validate(body)
        assert image.size == (sample.width, sample.height)
        assert sample.source.startswith("train/")
        assert sample.caption
        for region in sample.regions:
            kinds[region.type] += 1
            assert max(region.labels) < manifest.banks[region.type].classes
            assert "truth" not in region.model_dump()
            if region.rle is not None:
                x, y, w, h = coco_mask.toBbox(region.rle)
                assert (x, y, x + w, y + h) == pytest.approx(region.box, abs=1)
    instances = json.loads((world / "annotations/instances_train.json").read_bytes())["annotations"]
    words = json.loads((world / "annotations/text_train.json").read_bytes())["anns"]
    assert kinds == {"object": len(instances), "ocr": len(words)}
    assert kinds == {kind: manifest.counts[f"regions.{kind}"] for kind in kinds}


def test_clusters_agree_with_the_categories_far_beyond_luck(curated: Curated) -> None:
    quality = curated[1].quality
    assert quality["purity"] >= 0.6
    assert quality["purity"] > quality["purity_shuffled"] + 0.4
    assert quality["nmi"] > quality["nmi_shuffled"] + 0.3


def test_labels_follow_the_centers_that_are_left(curated: Curated, members: Make) -> None:
    out, manifest = curated
    arrays = read_arrays(out / "centers.safetensors")
    centers_KC = arrays["centers_KC"]
    assert centers_KC.shape == (manifest.banks["object"].classes, 96)
    np.testing.assert_allclose(np.linalg.norm(centers_KC, axis=1), 1, atol=1e-5)
    count = np.zeros(len(centers_KC), int)
    for body, _ in members(out, manifest):
        for region in body["regions"]:
            if region["type"] == "object":
                count[region["labels"][0]] += 1
    assert count.min() >= 2


def test_the_seed_alone_decides(curated: Curated, world: Path, tmp_path: Path, quiet: Progress, settings: Make) -> None:
    same = curate(world, tmp_path / "same", settings(), progress=quiet, workers=2)
    other = curate(world, tmp_path / "other", settings(seed=1), progress=quiet)
    assert same == curated[1]
    assert digests(other) != digests(same)


def test_a_finished_folder_is_recognised_at_once(
    curated: Curated, world: Path, monkeypatch: pytest.MonkeyPatch, quiet: Progress, settings: Make
) -> None:
    monkeypatch.setattr(stages, "list_sources", None)
    assert curate(world, curated[0], settings(), progress=quiet) == curated[1]


def test_a_changed_setting_redoes_only_what_depends_on_it(
    curated: Curated, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: Progress, settings: Make
) -> None:
    out = tmp_path / "out"
    shutil.copytree(curated[0], out)
    monkeypatch.setattr(stages, "find", None)
    monkeypatch.setattr(stages, "describe", None)
    fewer = curate(world, out, settings(classes=40), progress=quiet)
    assert fewer.banks["object"].classes <= 40
    # Back again: the pieces are gone, the result is the same.
    again = curate(world, out, settings(), progress=quiet)
    assert digests(again) == digests(curated[1])
    with pytest.raises(TypeError):
        curate(world, out, settings(min_box=20), progress=quiet)


def test_what_a_killed_curation_left_goes_and_what_is_not_its_own_stays(
    world: Path, tmp_path: Path, quiet: Progress, settings: Make
) -> None:
    out, small = tmp_path / "out", settings(**SMALL)
    curate(world, out, small, progress=quiet)
    code = f"from pathlib import Path; from rice_core.disk.temporaries import beside; print(beside(Path({str(out)!r}) / 'shard-000001.tar'))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    left, living = Path(done.stdout.strip()), beside(out / "shard-000002.tar")
    foreign = [out / "shard-mine.tar", out / ".work" / "notes" / "mine.txt"]
    for path in (left, living, *foreign):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert curate(world, out, settings(**SMALL | {"classes": 15}), progress=quiet).shards
    assert not left.exists()
    assert living.exists()
    assert all(path.read_bytes() == b"half" for path in foreign)


def test_fresh_forgets_nothing_behind_a_link(world: Path, tmp_path: Path, quiet: Progress, settings: Make) -> None:
    out, disk = tmp_path / "out", tmp_path / "disk"
    (disk / "precious").mkdir(parents=True)
    out.mkdir()
    (out / ".work").symlink_to(disk)
    with pytest.raises(StoreError, match=r"\.work is a link"):
        curate(world, out, settings(**SMALL), progress=quiet, fresh=True)
    assert (disk / "precious").is_dir()


class Kill(BaseException):
    """Nothing may catch this, as nothing catches a kill."""


SMALL = {"limit": 150, "classes": 20, "shard_samples": 50}


@pytest.fixture(scope="module")
def uninterrupted(world: Path, tmp_path_factory: pytest.TempPathFactory, quiet: Progress, settings: Make) -> Any:
    return curate(world, tmp_path_factory.mktemp("whole"), settings(**SMALL), progress=quiet)


@pytest.mark.parametrize(
    ("where", "name", "calls"),
    [
        ("rice_core.rice.curate.find", "write_atomically", 1),
        ("rice_core.rice.curate.find", "write_arrays", 1),
        ("rice_core.rice.curate.label", "write_arrays", 1),
        ("rice_core.rice.curate.label", "write_arrays", 2),
        ("rice_core.rice.curate.shards", "write_atomically", 1),
        ("rice_core.rice.curate.stages", "write_cards", 0),
    ],
)
def test_stopped_in_any_stage_and_resumed_equals_uninterrupted(
    uninterrupted: RegionManifest,
    world: Path,
    tmp_path: Path,
    where: str,
    name: str,
    calls: int,
    quiet: Progress,
    settings: Make,
) -> None:
    module = importlib.import_module(where)
    real, left = getattr(module, name), [calls]

    def killed(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Kill
        return real(*arguments, **options)

    small = settings(**SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, killed)
        with pytest.raises(Kill):
            curate(world, tmp_path / "out", small, progress=quiet)
    assert not (tmp_path / "out/manifest.json").exists()
    assert curate(world, tmp_path / "out", small, progress=quiet) == uninterrupted


def test_two_levels_stopped_inside_the_first_and_resumed_equal_uninterrupted(
    world: Path, tmp_path: Path, quiet: Progress, settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, parts = importlib.import_module("rice_core.rice.curate.cluster"), [0]
    real = cluster.write_arrays

    def counted(*arguments: Any) -> None:
        parts[0] += 1
        if parts[0] == stop_at:
            raise Kill
        real(*arguments)

    two_levels = settings(**SMALL, fit_rows=150)
    monkeypatch.setattr(cluster, "write_arrays", counted)
    stop_at = 0
    whole = curate(world, tmp_path / "whole", two_levels, progress=quiet)
    assert parts[0] == -(-whole.counts["regions.object"] // 150) > 2
    parts[0], stop_at = 0, 2
    with pytest.raises(Kill):
        curate(world, tmp_path / "out", two_levels, progress=quiet)
    assert len(list((tmp_path / "out").glob(".work/clusters-*/part-*"))) == 1
    parts[0], stop_at = 0, 0
    assert curate(world, tmp_path / "out", two_levels, progress=quiet) == whole
    assert parts[0] == -(-whole.counts["regions.object"] // 150) - 1
    assert (tmp_path / "out/centers.safetensors").read_bytes() == (tmp_path / "whole/centers.safetensors").read_bytes()


def test_two_curations_into_one_folder_are_kept_apart(
    world: Path, tmp_path: Path, quiet: Progress, settings: Make
) -> None:
    code = (
        "import sys; from pathlib import Path; from rice_core.disk.files import held\n"
        "with held(Path(sys.argv[1])): print(flush=True); sys.stdin.readline()"
    )
    (tmp_path / ".work" / "theirs").mkdir(parents=True)
    command = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(UserError, match="another process curates into"):
            curate(world, tmp_path, settings(**SMALL), progress=quiet, fresh=True)
        # Not even --fresh takes away what the other works on.
        assert (tmp_path / ".work" / "theirs").is_dir()
        other.communicate("\n")
    assert curate(world, tmp_path, settings(**SMALL), progress=quiet).shards


def test_another_curation_into_the_same_folder_leaves_no_shard_of_the_first(
    world: Path, tmp_path: Path, quiet: Progress, settings: Make
) -> None:
    curate(world, tmp_path, settings(limit=150, shard_samples=30), progress=quiet)
    second = curate(world, tmp_path, settings(limit=150, shard_samples=100), progress=quiet)
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == [shard.file for shard in second.shards]
    assert [file_digest(tmp_path / shard.file) for shard in second.shards] == digests(second)


def test_whole_images_get_their_nearest_clusters(
    world: Path, tmp_path: Path, quiet: Progress, settings: Make, members: Make
) -> None:
    wanted = settings(limit=140, classes=20, image_classes=8, image_labels=3)
    manifest = curate(world, tmp_path, wanted, progress=quiet)
    assert manifest.banks["image"].classes <= 8
    for body, _ in members(tmp_path, manifest):
        assert len(set(body["image_labels"])) == 3
        assert max(body["image_labels"]) < manifest.banks["image"].classes


def test_text_alone_and_objects_alone(world: Path, tmp_path: Path, quiet: Progress, settings: Make) -> None:
    text = curate(world, tmp_path / "text", settings(proposals="none", limit=20), progress=quiet)
    assert set(text.banks) == {"ocr"}
    objects = curate(world, tmp_path / "objects", settings(text="none", limit=140), progress=quiet)
    assert set(objects.banks) == {"object"}


def test_filters_count_what_they_take(
    world: Path, tmp_path: Path, quiet: Progress, settings: Make, members: Make
) -> None:
    manifest = curate(world, tmp_path, settings(min_box=24, limit=140, classes=10), progress=quiet)
    boxes = [r["box"] for body, _ in members(tmp_path, manifest) for r in body["regions"] if r["type"] == "object"]
    assert min(min(box[2] - box[0], box[3] - box[1]) for box in boxes) >= 24
    everything = curate(world, tmp_path / "all", settings(limit=140, classes=10), progress=quiet)
    left_out = manifest.counts["left_out.objects.small"]
    assert left_out > 0
    assert manifest.counts["regions.object"] + left_out == everything.counts["regions.object"]


def test_crowds_are_no_regions_and_counted(tmp_path: Path, quiet: Progress, settings: Make) -> None:
    world = write_coco(tmp_path / "world", seed=3, train=30, val=4)
    path = world / "annotations" / "instances_train.json"
    body = json.loads(path.read_text())
    for entry in body["annotations"][:7]:
        entry["iscrowd"] = 1
    path.write_text(json.dumps(body))
    wanted = settings(text="none", captions="none", labels="truth", split="train")
    counts = curate(world, tmp_path / "out", wanted, progress=quiet).counts
    assert counts["left_out.crowds"] == 7
    assert "left_out.annotations" not in counts
    assert counts["regions.object"] == len(body["annotations"]) - 7
    listed = [json.loads(line)["item"] for line in (tmp_path / "out/left_out.jsonl").read_text().splitlines()]
    assert "annotations/instances_train.json: 7 crowd regions" in [item.split(" (")[0] for item in listed]
    for entry in body["annotations"]:
        entry["iscrowd"] = 1
    path.write_text(json.dumps(body))
    with pytest.raises(UserError, match=f"no region is left of .*crowds {len(body['annotations'])}"):
        curate(world, tmp_path / "none", wanted, progress=quiet)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": 5000, "limit": 50}, r"there are \d+ regions to cluster; give --classes \d+ at most"),
        ({"min_image": 97}, "images.small 300"),
        ({"proposals": "sma"}, "choose from classical, coco"),
        ({"tokenizer": "bpe"}, "--tokenizer bpe"),
        ({"proposals": "sam2"}, "write sam2:MODEL"),
        ({"split": "test"}, "it has train, val"),
        ({"captions": "sidecar"}, "has a caption"),
    ],
)
def test_mistakes_are_named(
    world: Path, tmp_path: Path, changes: dict[str, Any], sentence: str, quiet: Progress, settings: Make
) -> None:
    with pytest.raises(UserError, match=sentence):
        curate(world, tmp_path, settings(**changes), progress=quiet)


def test_a_folder_of_something_else_is_not_touched(
    world: Path, tmp_path: Path, quiet: Progress, settings: Make
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="choose an empty folder"):
        curate(world, tmp_path, settings(), progress=quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    faiss.omp_set_num_threads(1)
