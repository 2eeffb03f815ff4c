"""One split becomes train and val by whole scenes; what given splits share is said."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from rice_core.datasets import Dataset, Sample, open_dataset
from rice_core.datasets.division import divide
from rice_core.datasets.scenes import scenes_of
from rice_core.errors import UserError
from rice_core.measure.data import open_annotated, open_data

HASH = "{:032x}".format


def drawn(path: Path) -> None:
    """A picture that no other name has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.frombytes("RGB", (6, 6), random.Random(str(path)).randbytes(108)).save(path, format="png")


def coco(folder: Path, names: Sequence[str], split: str = "", **fields: Sequence[object]) -> Path:
    """A Roboflow export of one split: a box an image, and `fields` of the images."""
    place = folder / split
    for name in names:
        drawn(place / name)
    images = [
        {"id": k, "file_name": name, "width": 6, "height": 6} | {field: values[k] for field, values in fields.items()}
        for k, name in enumerate(names)
    ]
    boxes = [{"id": k, "image_id": k, "category_id": 1 + k % 2, "bbox": [1, 1, 3, 3]} for k in range(len(names))]
    body = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}
    (place / "_annotations.coco.json").write_text(json.dumps(body))
    return folder


def scenes(dataset: Dataset, split: str) -> set[str]:
    return {sample.cluster for sample in dataset.samples(split)}


def sizes(dataset: Dataset) -> tuple[int, int]:
    return len(dataset.splits["train"]), len(dataset.splits["val"])


def of(names: Sequence[str], classes: Sequence[str] = ("cat",)) -> int:
    return len({*scenes_of([Sample(id=name, path=Path(name)) for name in names], classes).of.values()})


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([f"p{k}_jpg.rf.{HASH(10 * k + c)}.jpg" for k in range(9) for c in range(3)], 9),
        ([f"video{v}-frame{k}.jpg" for v in range(5) for k in range(6)], 5),
        ([f"clip{v}_{k:06d}.png" for v in range(5) for k in range(6)], 5),
        ([f"clip_{k:06d}.png" for k in range(6)], 1),
        ([f"GOPR{v:04d}_{k:04d}.JPG" for v in range(5) for k in range(6)], 5),
        ([f"Cow{v}_mp4-{k}_jpg.rf.{HASH(9 * v + k)}.jpg" for v in range(5) for k in range(6)], 5),
        ([f"night cam {v}/{k}.jpg" for v in range(5) for k in range(6)], 5),
        ([f"M{v:03d}/img{k:06d}.jpg" for v in range(5) for k in range(6)], 5),
        ([f"site-{v}_{k:03d}.jpg" for v in "abcde" for k in range(0, 60, 10)], 5),
    ],
)
def test_frames_and_copies_are_one_scene(names: list[str], found: int) -> None:
    assert of(names) == found


@pytest.mark.parametrize(
    "names",
    [
        [f"{k * k:012d}.jpg" for k in range(20)],
        [f"{k:06d}.jpg" for k in range(20)],
        [f"IMG_{k:04d}.jpg" for k in range(20)],
        [f"DSC{k:05d}_JPG.rf.{HASH(k)}.jpg" for k in range(20)],
        [f"GOPR{k:04d}.JPG" for k in range(20)],
        [f"IMG_2021{m:02d}03_{k * 977 % 240000:06d}.jpg" for m in range(1, 5) for k in range(20)],
        [f"tuesday/IMG_{k:04d}.jpg" for k in range(20)] + [f"monday/IMG_{k:04d}.jpg" for k in range(20, 40)],
        [f"COCO_val2014_{k * k:012d}.jpg" for k in range(20)],
        [f"2007_{k * k:06d}.jpg" for k in range(20)] + [f"2008_{k**3:06d}.jpg" for k in range(20)],
        [f"cats_{k}.jpg" for k in range(20)] + [f"Cat{k}.jpg" for k in range(30)],
        [f"raccoon-{k}.jpg" for k in range(20)],
        [f"photo ({k}).jpg" for k in range(20)],
        [f"{'abcdef'[k % 6]}{k}b{k * 7}e_o.jpg" for k in range(20)],
    ],
)
def test_pictures_that_are_counted_are_no_video(names: list[str]) -> None:
    assert of(names) == len(names)


def test_what_all_images_of_a_class_are_called_is_no_video() -> None:
    images = [Sample(id=f"{c}/x{c}_{k}.jpg", path=Path(), label=c) for c in range(3) for k in range(8)]
    assert len({*scenes_of(images, ("red", "green", "blue")).of.values()}) == 24


def test_no_scene_is_in_train_and_in_val(tmp_path: Path) -> None:
    names = [f"p{k}_jpg.rf.{HASH(10 * k + c)}.jpg" for k in range(15) for c in range(1 + k % 4)]
    dataset = open_dataset(coco(tmp_path, names))
    assert not scenes(dataset, "train") & scenes(dataset, "val")
    assert sizes(dataset) == (28, 8)  # a fifth of 36 is 7.2
    assert dataset.saw == "_annotations.coco.json; there is no val split, so 8 of 36 images are val"
    assert dataset.notes[0] == (
        "Train and val were divided here: 8 of 36 images are val, whole scenes of 15: 32 images in 11 scenes by Roboflow's name before .rf."
    )
    assert dataset.annotations["train"] == dataset.annotations["val"]


def test_pictures_alone_are_divided_and_nothing_else_is_claimed(tmp_path: Path) -> None:
    dataset = open_dataset(coco(tmp_path, [f"{k * 31:012d}.jpg" for k in range(40)]))
    assert sizes(dataset) == (32, 8)
    assert all(sample.scene is None for split in dataset.splits for sample in dataset.samples(split))
    assert dataset.notes[0].endswith("by the order of their hashed names; nothing says that some show one scene")


def test_a_numbered_name_that_is_taken_for_pictures_is_said(tmp_path: Path) -> None:
    dataset = open_dataset(coco(tmp_path, [f"raccoon-{k}.jpg" for k in range(1, 11)]))
    assert sizes(dataset) == (8, 2)
    assert any("numbered as raccoon with 10 numbers" in note and "?groups=" in note for note in dataset.notes)
    assert not any(str(tmp_path) in note for note in dataset.notes)  # notes go into records


def test_one_video_is_not_divided(tmp_path: Path) -> None:
    folder = coco(tmp_path / "film", [f"clip_{k:04d}.jpg" for k in range(10)])
    with pytest.raises(
        UserError, match=r"its 10 images are of one scene by the name of a video\. Put a val split beside it"
    ):
        open_dataset(folder)
    alone = open_data(f"{folder}?groups=none", tmp_path)
    assert sizes(alone) == (8, 2)
    assert alone.notes[0].endswith("each for itself, as ?groups= says")


def test_frames_that_name_no_video_are_divided_by_runs(tmp_path: Path) -> None:
    dataset = open_dataset(coco(tmp_path, [f"frame_{k:06d}.png" for k in range(50)]))
    numbers = sorted(int(sample.path.stem[6:]) for sample in dataset.samples("val"))
    assert len(numbers) == 10
    assert numbers == list(range(numbers[0], numbers[0] + 10))
    assert "50 images in 5 scenes by frame numbers without a video's name, in fifths of their order" in dataset.notes[0]
    classes = [Sample(id=f"{c}/frame_{k}.png", path=Path(), label=j) for j, c in enumerate("ab") for k in range(20)]
    assert len({*scenes_of(classes, ("a", "b")).of.values()}) == 10
    videos = [Sample(id=f"M{v}/frame_{k}.png", path=Path()) for v in range(6) for k in range(20)]
    assert len({*scenes_of(videos, ("a", "b")).of.values()}) == 6


def test_files_that_are_there_twice_stay_together(tmp_path: Path) -> None:
    names = [f"{c}/{k:03d}{c}{k}.png" for c in "ab" for k in range(10)]
    for name in names:
        drawn(tmp_path / name)
    for k in range(8):
        (tmp_path / f"b/other{k}x.png").write_bytes((tmp_path / f"a/{k:03d}a{k}.png").read_bytes())
    dataset = open_dataset(tmp_path)
    assert not scenes(dataset, "train") & scenes(dataset, "val")
    assert len(scenes(dataset, "train") | scenes(dataset, "val")) == 20
    assert any("16 images in 8 scenes by files that are there twice" in note for note in dataset.notes)
    assert any("16 images stand in two classes" in note for note in dataset.notes)


@pytest.mark.parametrize("field", ["video_id", "seq_id", "location"])
def test_fields_of_an_annotation_file(tmp_path: Path, field: str) -> None:
    values = [k // 4 for k in range(40)]
    dataset = open_dataset(coco(tmp_path, [f"{k * 31}.jpg" for k in range(40)], **{field: values}))
    assert sizes(dataset) == (32, 8)
    assert {int(sample.path.stem) // 31 // 4 for sample in dataset.samples("val")} == {
        int(scene.removeprefix(f"{field}=")) for scene in scenes(dataset, "val")
    }
    assert f"40 images in 10 scenes by {field}" in dataset.notes[0]


def test_the_field_that_tells_scenes_apart_counts(tmp_path: Path) -> None:
    names, videos = [f"{k * 31}.jpg" for k in range(40)], [k // 4 for k in range(40)]
    dataset = open_dataset(coco(tmp_path / "a", names, location=["here"] * 40, video_id=videos, sequence=[-1] * 40))
    assert "40 images in 10 scenes by video_id" in dataset.notes[0]
    with pytest.raises(UserError, match="its 40 images are of one scene by video_id"):
        open_dataset(coco(tmp_path / "b", names, video_id=[7] * 40))
    assert sizes(open_dataset(coco(tmp_path / "c", names, video_id=[-1] * 40, location=[""] * 40))) == (32, 8)


def images(counts: dict[str, int], label: int | None = None) -> list[Sample]:
    return [
        Sample(id=f"{scene}.{k}", path=Path(), label=label, scene=scene)
        for scene, n in counts.items()
        for k in range(n)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_the_share_of_val_is_near_a_fifth_and_the_order_of_files_does_not_matter(seed: int) -> None:
    rng = random.Random(seed)
    found = images({f"s{seed}-{k}": rng.randint(1, 12) for k in range(60)})
    splits = divide(found)
    assert abs(len(splits["val"]) - len(found) / 5) <= 6
    assert not {s.cluster for s in splits["train"]} & {s.cluster for s in splits["val"]}
    rng.shuffle(found)
    assert divide(found) == splits


def test_a_file_more_moves_few_others() -> None:
    found = images({f"s{k}": 1 + k % 3 for k in range(200)})
    before = {sample.id for sample in divide(found)["val"]}
    for k in range(20):
        after = {sample.id for sample in divide([*found, *images({f"new{k}": 1})])["val"]}
        assert len(before ^ after) <= 4


def test_large_scenes() -> None:
    assert len(divide(images({"a": 50, "b": 50}))["val"]) == 50
    splits = divide(images({"a": 90, "b": 6, "c": 4}))
    assert {sample.scene for sample in splits["val"]} == {"b", "c"}


def test_no_class_is_in_val_alone() -> None:
    alone = [Sample(id=f"{k}", path=Path(), label=k) for k in range(4)]
    found = [*alone, *images({"film": 12}, label=4), *images({f"p{k}": 1 for k in range(40)}, label=5)]
    splits = divide(found)
    assert {sample.label for sample in splits["train"]} == set(range(6))
    assert {sample.label for sample in splits["val"]} == {5}
    assert len(splits["val"]) == 11  # a fifth of 56


def test_every_class_has_its_fifth() -> None:
    splits = divide(sample for k in range(7) for sample in images({f"{k}-{n}": 1 for n in range(10)}, label=k))
    assert [sum(sample.label == k for sample in splits["val"]) for k in range(7)] == [2] * 7


# -- as the user names them --------------------------------------------------------------------------------------------


def test_a_table_of_groups(tmp_path: Path) -> None:
    folder = coco(tmp_path / "x", [f"{k}a{k}.jpg" for k in range(20)])
    table = tmp_path / "groups.csv"
    table.write_text("file,group\n" + "".join(f"{k}a{k}.jpg,herd {k // 4}\n" for k in range(20)))
    dataset = open_data(f"{folder}?groups={table}", tmp_path)
    assert sizes(dataset) == (16, 4)
    assert scenes(dataset, "train") | scenes(dataset, "val") == {f"group herd {k}" for k in range(5)}
    assert "20 images in 5 scenes by the groups of groups.csv" in dataset.notes[0]
    table.write_text("file,group\n0a0.jpg,one\n")
    with pytest.raises(UserError, match=r"gives 19 of 20 images no group, such as 10a10.jpg"):
        open_data(f"{folder}?groups={table}", tmp_path)
    table.write_text("name,herd\n0a0.jpg,one\n")
    with pytest.raises(UserError, match="no columns file and group"):
        open_data(f"{folder}?groups={table}", tmp_path)
    upper = tmp_path / "GROUPS.CSV"
    upper.write_text("file,group\n" + "".join(f"{k}a{k}.jpg,herd {k // 4}\n" for k in range(20)) + "0a0.jpg,herd 4\n")
    with pytest.raises(UserError, match=r"puts 0a0.jpg into the groups 'herd 0' and 'herd 4'; give each file one"):
        open_data(f"{folder}?groups={upper}", tmp_path)


def test_what_is_drawn_has_no_groups(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^mini is drawn with train and val of its own.*leave out \?groups=\.$"):
        open_data("mini?groups=none", tmp_path)


def test_a_field_and_a_regular_expression(tmp_path: Path) -> None:
    folder = coco(tmp_path / "x", [f"{k}a{k}.jpg" for k in range(40)], herd=[f"h{k // 4}" for k in range(40)])
    by_field = open_data(f"{folder}@coco?groups=herd", tmp_path)
    assert scenes(by_field, "train") | scenes(by_field, "val") == {f"group h{k}" for k in range(10)}
    by_name = open_data(f"{folder}?groups=/([0-9])[.]jpg/", tmp_path)
    assert scenes(by_name, "train") | scenes(by_name, "val") == {f"group {k}" for k in range(10)}
    assert by_field.spec.fingerprint != by_name.spec.fingerprint
    alone = open_data(f"{folder}?groups=none", tmp_path)
    assert alone.spec == open_data(str(folder), tmp_path).spec  # nothing says that some show one scene
    assert alone.spec.fingerprint not in (by_field.spec.fingerprint, by_name.spec.fingerprint)
    for words, said in {
        "flock": r"no image .* field flock; write one .*\(its entries have file_name, height, herd, id, width\), FILE.csv, /REGEX/ or none",
        "/(/": "no regular expression",
        "/^1/": "gives 29 of 40 images no group",
        "": "names no groups",
    }.items():
        with pytest.raises(UserError, match=f"(?i){said}"):
            open_data(f"{folder}?groups={words}", tmp_path)


# -- splits of a data set's own ----------------------------------------------------------------------------------------


def test_copies_in_train_and_val_are_said(tmp_path: Path) -> None:
    coco(tmp_path, [f"p{k}_jpg.rf.{HASH(10 * k + c)}.jpg" for k in range(8) for c in range(3)], "train")
    coco(tmp_path, [f"p{k}_jpg.rf.{HASH(900 + k)}.jpg" for k in range(6, 14)], "valid")
    dataset = open_dataset(tmp_path)
    (note,) = dataset.notes
    assert note.startswith("2 of 8 images in val show scenes that train shows too, such as valid/p6_jpg.rf.")
    assert note.endswith("numbers over val are too high")
    assert sizes(dataset) == (24, 8)
    assert all(sample.scene is None for split in dataset.splits for sample in dataset.samples(split))


def test_frames_of_one_video_in_both_are_said_and_two_videos_of_one_name_are_not(tmp_path: Path) -> None:
    coco(tmp_path / "one", [f"film_mp4-{k}.jpg" for k in range(0, 20, 2)], "train")
    coco(tmp_path / "one", [f"film_mp4-{k}.jpg" for k in range(1, 20, 4)], "valid")
    notes = open_dataset(tmp_path / "one").notes
    assert notes[0] == "Errors are clustered by scene: of val 5 images in 1 scene by the name of a video"
    assert notes[1].startswith("5 of 5 images in val show scenes that train shows too")
    for k in range(40):
        split = "valid" if k % 4 == 1 else "train"
        drawn(tmp_path / f"mixed/{split}/frame_{k}.jpg")
    for split in ("train", "valid"):
        names = sorted(path.name for path in (tmp_path / "mixed" / split).iterdir())
        coco(tmp_path / "mixed", names, split)
    assert (
        open_dataset(tmp_path / "mixed").notes[0].startswith("10 of 10 images in val show scenes that train shows too")
    )
    coco(tmp_path / "later", [f"frame_{k}.jpg" for k in range(10)], "train")
    coco(tmp_path / "later", [f"frame_{k}.jpg" for k in range(10, 15)], "valid")
    assert open_dataset(tmp_path / "later").notes == ()
    coco(tmp_path / "two", [f"frame_{k}.jpg" for k in range(10)], "train")
    coco(tmp_path / "two", [f"frame_{k}.jpg" for k in range(5)], "valid")
    assert not any("train shows too" in note for note in open_dataset(tmp_path / "two").notes)


def test_a_file_in_both_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    for split, n in (("train", 6), ("val", 3)):
        for name in [f"{split}/{c}/{k}{c}z.png" for c in "ab" for k in range(n)]:
            drawn(tmp_path / name)
    (tmp_path / "val/a/copy.png").write_bytes((tmp_path / "train/a/0az.png").read_bytes())
    assert open_dataset(tmp_path).notes == (
        "1 of 7 images in val is in train too, byte for byte, such as val/a/copy.png and train/a/0az.png: numbers over val are too high",
    )


def test_errors_are_clustered_by_groups_of_val_and_train_has_those_that_are_named(tmp_path: Path) -> None:
    coco(tmp_path, [f"t{k}t{k * 31}x.jpg" for k in range(12)], "train", video_id=[k // 3 for k in range(12)])
    coco(tmp_path, [f"v{k}v{k * 31}x.jpg" for k in range(12)], "valid", video_id=[10 + k // 3 for k in range(12)])
    dataset = open_data(str(tmp_path), tmp_path)
    assert scenes(dataset, "val") == {f"video_id={k}" for k in range(10, 14)}
    assert len(scenes(dataset, "train")) == 12
    named = open_data(f"{tmp_path}?groups=video_id", tmp_path)
    assert named.spec.fingerprint != dataset.spec.fingerprint
    assert scenes(named, "val") == {f"group {k}" for k in range(10, 14)}
    # What is held out of train, for a rate say, is of whole groups that the user named.
    assert scenes(named, "train") == {f"group {k}" for k in range(4)}


def test_one_annotation_file_anywhere_is_divided_by_the_same_rule(tmp_path: Path) -> None:
    coco(tmp_path / "pictures", [f"clip{k // 4}_{k:04d}.jpg" for k in range(40)])
    (tmp_path / "pictures/_annotations.coco.json").rename(tmp_path / "mine.json")
    dataset = open_annotated([str(tmp_path / "mine.json")], str(tmp_path / "pictures"))
    assert sizes(dataset) == (32, 8)
    assert not scenes(dataset, "train") & scenes(dataset, "val")
    alone = open_annotated([str(tmp_path / "mine.json")], f"{tmp_path / 'pictures'}?groups=none")
    assert len(scenes(alone, "val")) == 8
