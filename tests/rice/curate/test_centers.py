"""Images labelled by the centers of an earlier curation."""

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rice_core.cli import build_app
from rice_core.errors import UserError
from rice_core.progress import Progress
from rice_core.rice.curate import curate
from rice_core.rice.curate.hog import Hog
from rice_core.rice.regions import RegionManifest, read_region_manifest
from rice_core.world.layouts.coco import write_coco

Make = Callable[..., Any]
WHOLE = {"classes": 40, "image_classes": 12, "image_labels": 3}


@pytest.fixture(scope="module")
def earlier(world: Path, tmp_path_factory: pytest.TempPathFactory, quiet: Progress, settings: Make) -> Path:
    """Regions and whole images of `world`, clustered."""
    folder = tmp_path_factory.mktemp("earlier")
    curate(world, folder, settings(**WHOLE), progress=quiet)
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that `earlier` never saw."""
    return write_coco(tmp_path_factory.mktemp("others") / "coco", seed=8, train=30, val=2)


def shards(manifest: RegionManifest) -> list[str]:
    return [shard.sha256 for shard in manifest.shards]


def test_the_same_images_get_the_same_labels_again(
    earlier: Path, world: Path, tmp_path: Path, quiet: Progress, settings: Make
) -> None:
    # What it is asked to cluster into is the earlier curation's business.
    again = curate(world, tmp_path, settings(classes=7), progress=quiet, centers=earlier)
    assert shards(again) == shards(read_region_manifest(earlier))
    assert again.banks == read_region_manifest(earlier).banks
    assert again.quality == read_region_manifest(earlier).quality
    for name in ("centers.safetensors", "image_centers.safetensors"):
        assert (tmp_path / name).read_bytes() == (earlier / name).read_bytes()


def test_other_images_are_labelled_in_the_same_classes(
    earlier: Path, others: Path, tmp_path: Path, quiet: Progress, settings: Make, members: Make
) -> None:
    manifest = curate(others, tmp_path / "out", settings(), progress=quiet, centers=earlier)
    assert manifest.banks == read_region_manifest(earlier).banks
    # 30 images do not fill 40 clusters: none is dropped, none is renumbered.
    labels = [r["labels"][0] for body, _ in members(tmp_path / "out", manifest) for r in body["regions"]]
    assert max(labels) < manifest.banks["object"].classes
    assert manifest.counts["clusters.pruned"] == 0
    assert manifest.quality["purity"] > manifest.quality["purity_shuffled"] + 0.2
    own = curate(others, tmp_path / "own", settings(classes=40, min_cluster=1), progress=quiet)
    assert shards(own) != shards(manifest)


def test_it_goes_on_after_a_stop_and_is_recognised_when_finished(
    earlier: Path, others: Path, tmp_path: Path, quiet: Progress, settings: Make
) -> None:
    label, left = importlib.import_module("rice_core.rice.curate.label"), [1]
    real = label.write_arrays

    def killed(*arguments: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label, "write_arrays", killed)
        with pytest.raises(KeyboardInterrupt):
            curate(others, tmp_path / "out", settings(), progress=quiet, centers=earlier)
    found = curate(others, tmp_path / "out", settings(), progress=quiet, centers=earlier)
    assert found == curate(others, tmp_path / "whole", settings(), progress=quiet, centers=earlier)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label, "write_arrays", None)
        assert curate(others, tmp_path / "out", settings(), progress=quiet, centers=earlier) == found


def test_categories_are_the_same_by_name(
    world: Path, others: Path, tmp_path: Path, quiet: Progress, settings: Make
) -> None:
    curate(world, tmp_path / "all", settings(labels="truth"), progress=quiet)
    # One image shows few of them; they are as many all the same.
    few = curate(others, tmp_path / "few", settings(limit=1), progress=quiet, centers=tmp_path / "all")
    assert few.banks == read_region_manifest(tmp_path / "all").banks
    renamed = tmp_path / "renamed"
    shutil.copytree(others, renamed)
    for path in (renamed / "annotations").glob("instances_*.json"):
        body = json.loads(path.read_bytes())
        body["categories"][0]["name"], body["categories"][1]["name"] = (
            body["categories"][1]["name"], body["categories"][0]["name"],
        )  # fmt: skip
        path.write_text(json.dumps(body))
    with pytest.raises(UserError, match="have other categories, or in another order"):
        curate(renamed, tmp_path / "out", settings(), progress=quiet, centers=tmp_path / "all")


def test_images_without_any_object_are_text_alone(
    earlier: Path, others: Path, tmp_path: Path, quiet: Progress, settings: Make
) -> None:
    manifest = curate(others, tmp_path, settings(min_box=1000), progress=quiet, centers=earlier)
    assert manifest.counts.get("regions.object", 0) == 0 < manifest.counts["regions.ocr"]


def test_centers_that_do_not_fit_are_refused(
    earlier: Path, others: Path, tmp_path: Path, quiet: Progress, settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(centers: Path, sentence: str, **changes: Any) -> None:
        with pytest.raises(UserError, match=sentence):
            curate(others, tmp_path / "out", settings(**changes), progress=quiet, centers=centers)

    refused(tmp_path / "none", "holds no curated regions")
    refused(tmp_path / "out", "holds no curated regions|is the folder of --centers")
    text = tmp_path / "text"
    curate(others, text, settings(proposals="none"), progress=quiet)
    refused(text, "has no clusters of objects; add --proposals none")
    assert set(curate(others, tmp_path / "t2", settings(proposals="none"), progress=quiet, centers=text).banks) == {
        "ocr"
    }
    monkeypatch.setattr(Hog, "version", "2")
    refused(earlier, "was labelled with the featurizer hog@1, which is hog@2 here")
    monkeypatch.undo()
    image_centers = earlier / "image_centers.safetensors"
    aside = image_centers.rename(earlier / "aside")
    refused(earlier, "has no image_centers.safetensors")
    aside.rename(image_centers)


def test_the_command_refuses_what_the_centers_decide(earlier: Path, others: Path, tmp_path: Path) -> None:
    words = ["curate", str(others), str(tmp_path), "--centers", str(earlier), "--quiet"]
    words += ["--proposals", "coco", "--text", "annotations", "--min-image", "0", "--min-box", "0"]
    for flag in ("--classes", "--image-labels", "--iterations", "--refine"):
        refused = CliRunner().invoke(build_app(), [*words, flag, "7"])
        assert refused.exit_code != 0
        assert f"leave {flag} out" in str(refused.exception) + refused.output
    found = CliRunner().invoke(build_app(), words)
    assert found.exit_code == 0, found.output
    assert read_region_manifest(tmp_path).banks == read_region_manifest(earlier).banks
