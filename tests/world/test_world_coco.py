"""The miniature world on disk in COCO format, through the reader that real data goes through."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from rice_core.datasets import data_digest, open_dataset, region_mask
from rice_core.errors import UserError
from rice_core.images import load_image
from rice_core.world.captions import write_caption
from rice_core.world.layouts.coco import VAL_START, CocoRequest, write_coco
from rice_core.world.layouts.folder import MANIFEST, read_manifest
from rice_core.world.mini import MINI, draw, training_world
from rice_core.world.scenes import draw_scene
from rice_core.world.shapes import CATEGORIES, categories


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coco(tmp_path_factory.mktemp("worlds") / "mini", seed=0, train=12, val=6)


def test_the_reader_gives_back_what_was_drawn(world: Path) -> None:
    dataset = open_dataset(world)
    assert dataset.skipped == ()
    assert dataset.spec.layout == "coco"
    assert dataset.classes == CATEGORIES
    assert dataset.provides == {"labels", "regions", "dense-labels"}
    for split, start, n in (("train", 0, 12), ("val", VAL_START, 6)):
        assert len(dataset.splits[split]) == n
        for index, sample in enumerate(dataset.splits[split], start=start):
            scene = draw_scene(0, index)
            np.testing.assert_array_equal(np.asarray(load_image(sample.path)), scene.pixels_HW3)
            assert sample.size_hw == (96, 96)
            for region, thing in zip(sample.regions, scene.things, strict=True):
                assert region.label == thing.category
                assert region.box_xywh == thing.box_xywh
                np.testing.assert_array_equal(region_mask(region, (96, 96)), thing.mask_HW)


def test_pycocotools_reads_it_and_agrees_on_areas(world: Path) -> None:
    coco = COCO(str(world / "annotations/instances_train.json"))
    assert len(coco.getImgIds()) == 12
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(annotation)
        assert mask.sum() == annotation["area"]
        assert annotation["area"] >= 24


def test_the_number_of_workers_changes_nothing(world: Path) -> None:
    other = write_coco(world.parent / "parallel", seed=0, train=12, val=6, workers=2)
    names = sorted(path.relative_to(world) for path in world.rglob("*.*"))
    assert names == sorted(path.relative_to(other) for path in other.rglob("*.*"))
    assert all((world / name).read_bytes() == (other / name).read_bytes() for name in names)
    assert data_digest(open_dataset(world)) == data_digest(open_dataset(other))


def test_val_does_not_move_with_the_size_of_train(world: Path) -> None:
    more = write_coco(world.parent / "more", seed=0, train=13, val=6)
    a, b = (json.loads((folder / "annotations/instances_val.json").read_text()) for folder in (world, more))
    assert a["annotations"] == b["annotations"]


def test_the_bytes_of_the_objects_file_are_what_they_were(world: Path) -> None:
    """Records are keyed by them: a new field in the file would set every standing record aside."""
    manifest = read_manifest(world)
    assert manifest is not None
    assert manifest.pixels.startswith("fae7331a358fd6e2")
    assert manifest.files["annotations/instances_train.json"].startswith("1f5de02cb0a37316")


def test_captions_are_in_cocos_form(world: Path) -> None:
    coco = COCO(str(world / "annotations/captions_train.json"))
    assert coco.getImgIds() == list(range(12))
    for index in range(12):
        (line,) = coco.loadAnns(coco.getAnnIds(index))
        assert line["caption"] == write_caption(draw_scene(0, index), 0, index)
        assert coco.imgs[index]["file_name"] == f"{index:07d}.png"


def test_words_are_in_textocrs_form(world: Path) -> None:
    body = json.loads((world / "annotations/text_val.json").read_text())
    assert len(body["imgs"]) == len(body["imgToAnns"]) == 6
    for image, names in body["imgToAnns"].items():
        assert body["imgs"][image] == {
            "id": image,
            "width": 96,
            "height": 96,
            "set": "val",
            "file_name": f"val/{int(image):07d}.png",
        }
        words = draw_scene(0, int(image)).words
        for name, word in zip(names, words, strict=True):
            x, y, w, h = word.box_xywh
            assert body["anns"][name] == {
                "id": name,
                "image_id": image,
                "bbox": [x, y, w, h],
                "utf8_string": word.text,
                "points": [x, y, x + w, y, x + w, y + h, x, y + h],
                "area": w * h,
            }
    assert len(body["anns"]) == sum(map(len, body["imgToAnns"].values())) > 0


def test_the_hard_level_is_another_world(world: Path) -> None:
    folder = write_coco(world.parent / "hard", seed=0, train=2, val=0, level="hard")
    coco = json.loads((folder / "annotations/instances_train.json").read_text())
    assert tuple(entry["name"] for entry in coco["categories"]) == categories("hard")
    assert coco["info"]["level"] == "hard"
    scene = draw_scene(0, 1, level="hard")
    np.testing.assert_array_equal(np.asarray(load_image(folder / "train/0000001.png")), scene.pixels_HW3)
    easy = write_coco(folder, seed=0, train=2, val=0)
    assert len(json.loads((easy / "annotations/instances_train.json").read_text())["categories"]) == 48


def test_a_folder_of_before_there_were_captions_is_drawn_again(world: Path) -> None:
    folder = write_coco(world.parent / "older", seed=1, train=2, val=1)
    body = json.loads((folder / MANIFEST).read_text())
    del body["format"], body["request"]["level"]
    body["files"] = {name: digest for name, digest in body["files"].items() if "captions" not in name}
    (folder / MANIFEST).write_text(json.dumps(body))
    (folder / "annotations/captions_train.json").unlink()
    write_coco(folder, seed=1, train=2, val=1)
    assert (folder / "annotations/captions_train.json").is_file()


def test_a_training_world_is_its_seeds_own_and_shares_no_scene_with_the_probes(tmp_path: Path) -> None:
    one, other = training_world(0, scenes=3), training_world(1, scenes=3)
    assert len({MINI.seed, one.seed, other.seed}) == 3
    folders = [draw(world, tmp_path) for world in (one, other, training_world(0, scenes=3, level="hard"))]
    assert len(set(folders)) == 3
    pixels = {path.read_bytes() for folder in folders for path in folder.glob("train/*.png")}
    assert len(pixels) == 9
    assert draw(one, tmp_path) == folders[0]


def test_a_finished_world_is_used_again_and_a_damaged_one_drawn_again(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_coco(world.parent / "again", seed=1, train=2, val=1)
    good = (folder / "train/0000001.png").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("rice_core.world.layouts.folder.draw_scene", lambda *a, **k: pytest.fail("drawn again"))
        assert write_coco(folder, seed=1, train=2, val=1) == folder
    damaged = bytearray(good)
    damaged[50] ^= 1
    (folder / "train/0000001.png").write_bytes(damaged)
    write_coco(folder, seed=1, train=2, val=1)
    assert (folder / "train/0000001.png").read_bytes() == good
    (folder / "annotations/instances_val.json").unlink()
    write_coco(folder, seed=1, train=2, val=1)
    assert open_dataset(folder).skipped == ()


def test_another_request_replaces_a_world_but_nothing_else(world: Path, tmp_path: Path) -> None:
    folder = write_coco(world.parent / "replaced", seed=1, train=2, val=1)
    write_coco(folder, seed=2, train=1, val=1, difficulty=0.5)
    manifest = read_manifest(folder)
    assert manifest is not None
    assert CocoRequest.model_validate(manifest.request) == CocoRequest(seed=2, train=1, val=1, size=96, difficulty=0.5)
    assert len(list((folder / "train").iterdir())) == 1
    (tmp_path / "holiday.jpg").write_text("mine")
    with pytest.raises(UserError, match="empty folder"):
        write_coco(tmp_path, seed=0, train=1, val=1)
    assert (tmp_path / "holiday.jpg").read_text() == "mine"


def test_a_drawing_that_fails_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rice_core.world.layouts.folder.draw_scene", stop)
    with pytest.raises(KeyboardInterrupt):
        write_coco(tmp_path / "w", seed=0, train=1, val=1)
    assert list(tmp_path.iterdir()) == []


def test_a_faster_process_wins_quietly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rice_core.world.layouts import folder as layout

    put = layout._put_in_place

    def meanwhile(drawn: Path, folder: Path, request: CocoRequest) -> None:
        # The other one finishes between the two renames.
        rename = Path.rename

        def raced(self: Path, target: Path) -> Path:
            if target == folder:
                monkeypatch.setattr(Path, "rename", rename)
                monkeypatch.setattr(layout, "_put_in_place", put)
                write_coco(folder, seed=0, train=1, val=1)
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", raced)
        put(drawn, folder, request)

    monkeypatch.setattr(layout, "_put_in_place", meanwhile)
    folder = write_coco(tmp_path / "w", seed=0, train=1, val=1)
    assert open_dataset(folder).skipped == ()
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_syllables_are_objects_of_their_own_where_asked(tmp_path):
    """The same pictures; each syllable's box holds its ink and its category is its text."""
    objects = write_coco(tmp_path / "objects", seed=3, train=6, val=2)
    syllables = write_coco(tmp_path / "syllables", seed=3, train=6, val=2, annotate="syllables")
    for image in sorted((objects / "train").iterdir()):
        assert image.read_bytes() == (syllables / "train" / image.name).read_bytes()
    body = json.loads((syllables / "annotations/instances_train.json").read_text())
    names = {category["id"]: category["name"] for category in body["categories"]}
    texts = json.loads((syllables / "annotations/text_train.json").read_text())["anns"].values()
    read: dict[str, list[str]] = {}
    for annotation in body["annotations"]:
        read.setdefault(str(annotation["image_id"]), []).append(names[annotation["category_id"]])
    for image, found in read.items():
        assert "".join(found) == "".join(word["utf8_string"] for word in texts if word["image_id"] == image)
    for word in texts:
        inside = [a["bbox"] for a in body["annotations"] if str(a["image_id"]) == word["image_id"]]
        x, _, w, _ = word["bbox"]
        assert any(box[0] - 2 <= x <= box[0] + 2 for box in inside)
        assert any(abs(box[0] + box[2] - x - w) <= 3 for box in inside)
