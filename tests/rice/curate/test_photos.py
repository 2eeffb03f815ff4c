"""Folders without annotations of their own: photos, damaged files, SA-1B, sidecar captions, COCO-Text."""

import io
import json
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco_mask

from rice_core.digest import bytes_digest
from rice_core.errors import MissingExtra, StoreError, UserError
from rice_core.progress import Progress
from rice_core.rice.curate import CurateSettings, curate
from rice_core.rice.curate.classical import MOST, Classical
from rice_core.rice.curate.nouns import DecodedImage, SourceImage
from rice_core.rice.curate.shards import stored_image
from rice_core.rice.curate.sources import list_sources
from rice_core.rice.curate.tokenize import ClipBpe, Syllables
from rice_core.world.shapes import font_file

Members = Callable[..., Any]


def scene(seed: int, size: int = 200) -> Image.Image:
    """A disc and a box on a plain ground, each in a colour of its own."""
    rng = np.random.default_rng(seed)
    colours = [tuple(int(c) for c in rng.integers(0, 255, 3)) for _ in range(3)]
    image = Image.new("RGB", (size, size), colours[0])
    draw = ImageDraw.Draw(image)
    draw.ellipse((20, 30, 90, 100), fill=colours[1])
    draw.rectangle((110, 90, 180, 170), fill=colours[2])
    return image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    for seed in range(8):
        scene(seed).save(folder / ("deeper" if seed % 2 else ".") / f"{seed}.png")
    return folder


def plain(**changes: Any) -> CurateSettings:
    small = {"text": "none", "classes": 4, "min_image": 0, "min_box": 20}
    return CurateSettings(**(small | changes))


def test_classical_proposals_find_what_stands_out() -> None:
    image = scene(1)
    proposals = Classical().propose(DecodedImage(SourceImage("a", Path("a")), image))
    assert 2 <= len(proposals) <= MOST

    def nearest(wanted: tuple[int, ...]) -> float:
        return min(max(abs(a - b) for a, b in zip(p.box, wanted, strict=True)) for p in proposals)

    assert nearest((20, 30, 91, 101)) <= 4
    assert nearest((110, 90, 181, 171)) <= 4
    for proposal in proposals:
        assert proposal.rle is not None
        assert proposal.rle["size"] == [200, 200]
        assert coco_mask.area(proposal.rle) > 0


def test_photos_with_rapidocr_reading_offline(tmp_path: Path, members: Members, quiet: Progress) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        scene(seed, 240).save(folder / f"{seed}.png")
    page = Image.new("RGB", (360, 120), "white")
    ImageDraw.Draw(page).text(
        (20, 35), "hello world", font=ImageFont.truetype(font_file("DejaVuSans"), 48), fill="black"
    )
    page.save(folder / "page.png")
    manifest = curate(folder, tmp_path / "out", plain(text="rapidocr", min_box=30), progress=quiet)
    samples = {body["source"]: body for body, _ in members(tmp_path / "out", manifest)}
    lines = sorted((r for r in samples["page.png"]["regions"] if r["type"] == "ocr"), key=lambda r: r["box"][0])
    assert "".join(line["text"] for line in lines).replace(" ", "").lower() == "helloworld"
    assert lines[0]["box"][0] < 40
    assert lines[-1]["box"][2] > 250
    for line in lines:
        assert line["score"] > 0.7
        assert 20 < line["box"][1] < line["box"][3] < 110
        assert max(line["labels"]) < manifest.banks["ocr"].classes == 49408
    assert (tmp_path / "out/clusters.html").read_text().count("<figure>") == manifest.banks["object"].classes
    assert Image.open(tmp_path / "out/clusters.png").width > 100


def bomb() -> bytes:
    """A PNG whose header promises 60000 x 60000 pixels."""

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", b"") + block(b"IEND", b"")


def test_bad_images_are_counted_and_listed_and_stop_nothing(
    photos: Path, tmp_path: Path, members: Members, quiet: Progress
) -> None:
    clean = curate(photos, tmp_path / "clean", plain(), progress=quiet)
    whole = (photos / "0.png").read_bytes()
    bad = {"cut.png": whole[: len(whole) // 2], "empty.jpg": b"", "words.jpg": b"no image at all", "bomb.png": bomb()}
    for name, data in bad.items():
        (photos / name).write_bytes(data)
    manifest = curate(photos, tmp_path / "out", plain(), progress=quiet)
    assert manifest.counts["left_out.images.unreadable"] == 4
    listed = [json.loads(line) for line in (tmp_path / "out/left_out.jsonl").read_text().splitlines()]
    assert {line["item"] for line in listed} == set(bad)
    assert all(line["reason"] for line in listed)
    assert "pixels" in next(line["reason"] for line in listed if line["item"] == "bomb.png")
    assert [s for s, _ in members(tmp_path / "out", manifest)] == [s for s, _ in members(tmp_path / "clean", clean)]


def test_a_folder_of_bad_images_alone(tmp_path: Path, quiet: Progress) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"no region is left of .*images.unreadable 1"):
        curate(tmp_path / "in", tmp_path / "out", plain(), progress=quiet)


@pytest.mark.parametrize("make", [True, False])
def test_no_image_at_all(make: bool, tmp_path: Path, quiet: Progress) -> None:
    if make:
        (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match="holds no image" if make else "is no folder"):
        curate(tmp_path / "in", tmp_path / "out", plain(), progress=quiet)


def run_lengths(box: tuple[int, int, int, int]) -> dict[str, Any]:
    mask_HW = np.zeros((200, 200), np.uint8, order="F")
    mask_HW[box[1] : box[3], box[0] : box[2]] = 1
    encoded = coco_mask.encode(mask_HW)
    return {"size": [200, 200], "counts": encoded["counts"].decode()}


def test_a_name_may_hold_any_character(photos: Path) -> None:
    screenshot = photos / "Screenshot at 3.45.12\u202fPM.png"  # as macOS writes it
    scene(9).save(screenshot)
    listed, _ = list_sources(photos, plain())
    assert screenshot in {source.path for source in listed}


def test_an_image_without_a_region_is_listed(photos: Path, tmp_path: Path, quiet: Progress) -> None:
    Image.new("RGB", (200, 200)).save(photos / "blank.png")
    manifest = curate(photos, tmp_path / "out", plain(), progress=quiet)
    listed = [json.loads(line) for line in (tmp_path / "out" / "left_out.jsonl").read_text().splitlines()]
    assert listed == [{"item": "blank.png", "reason": "has no region that passes the filters"}]
    assert manifest.counts["left_out.images.no_region"] == 1


def test_shards_go_beside_the_images(photos: Path, quiet: Progress) -> None:
    with pytest.raises(UserError, match="lies inside"):
        curate(photos, photos / "shards", plain(), progress=quiet)
    assert not (photos / "shards").exists()


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    photos: Path, tmp_path: Path, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classical, "propose", lambda *_: pytest.fail("an image was looked at"))
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/curated")):
        with pytest.raises(StoreError, match=r"cannot be written .*; choose another folder"):
            curate(photos, place, plain(), progress=quiet)


def test_sa1b_masks_as_given(tmp_path: Path, members: Members, quiet: Progress) -> None:
    folder = tmp_path / "sa"
    folder.mkdir()
    disc, box = (20, 30, 90, 100), (110, 90, 180, 170)
    for number in range(4):
        scene(number).save(folder / f"sa_{number}.jpg")
        entries = [
            {"segmentation": run_lengths(b), "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]], "predicted_iou": 0.9}
            for b in (disc, box)
        ]
        entries.append({"segmentation": {"size": [9, 9], "counts": "junk"}, "bbox": [0, 0, 5, 5]})
        (folder / f"sa_{number}.json").write_text(json.dumps({"image": {}, "annotations": entries}))
    scene(9).save(folder / "sa_9.jpg")
    manifest = curate(folder, tmp_path / "out", plain(proposals="sa1b", classes=2), progress=quiet)
    assert manifest.counts["left_out.images.unreadable"] == 1
    assert manifest.counts["regions.object"] == 8
    assert manifest.quality.keys() == {"inertia"}
    for body, _ in members(tmp_path / "out", manifest):
        large, small = body["regions"]
        assert large["box"] == list(box)
        assert small["rle"] == run_lengths(disc)
        assert large["score"] == 0.9
        assert large["labels"] != small["labels"]


def test_sidecar_captions(photos: Path) -> None:
    (photos / "0.txt").write_text(" a disc beside a box \n")
    sources, _ = list_sources(photos, plain(captions="sidecar"))
    assert {source.id: source.caption for source in sources if source.caption} == {"0.png": "a disc beside a box"}


def test_coco_text_without_what_cannot_be_read(photos: Path) -> None:
    words = {
        "5": {"image_id": 7, "bbox": [1, 2, 30, 10], "utf8_string": "stop", "legibility": "legible"},
        "6": {"image_id": 7, "bbox": [1, 2, 30, 10], "utf8_string": "", "legibility": "illegible"},
        "7": {"image_id": 7, "bbox": [1, 2, 30, 10], "utf8_string": "."},
        "8": {"image_id": 7, "bbox": [1, 2, 30], "utf8_string": "short"},
        "9": "damaged",
    }
    body = {
        "imgs": {"7": {"id": 7, "file_name": "train2014/0.png"}, "8": 3},
        "anns": words,
        "imgToAnns": {"7": [5, 6, 7, 8]},
    }
    (photos / "cocotext.v2.json").write_text(json.dumps(body))
    sources, _ = list_sources(photos, plain(text="annotations"))
    lines = {source.id: source.lines for source in sources if source.lines}
    assert [(line.text, line.box) for line in lines["0.png"]] == [("stop", (1, 2, 31, 12))]


def test_damaged_captions_are_passed_over(photos: Path) -> None:
    images = [{"id": 7, "file_name": "0.png"}, {"id": 8}, {"id": [9], "file_name": "2.png"}, "damaged"]
    captions = [{"image_id": 7}, {"image_id": {}, "caption": "lost"}, 5, {"image_id": 7, "caption": " a disc "}]
    (photos / "annotations").mkdir()
    body = {"images": images, "annotations": captions}
    (photos / "annotations" / "captions_train.json").write_text(json.dumps(body))
    sources, _ = list_sources(photos, plain(captions="coco"))
    assert {source.id: source.caption for source in sources if source.caption} == {"0.png": "a disc"}


def test_an_image_is_stored_as_it_was_where_every_decoder_agrees_on_it(tmp_path: Path) -> None:
    image = scene(0)
    for name in ("a.png", "a.jpg"):
        image.save(tmp_path / name)
        assert stored_image(tmp_path / name) == (name[2:], (tmp_path / name).read_bytes())
    turned = Image.Exif()
    turned[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=turned)
    image.save(tmp_path / "other.webp", lossless=True)
    for name, upright in (("turned.png", image.transpose(Image.Transpose.ROTATE_270)), ("other.webp", image)):
        suffix, data = stored_image(tmp_path / name)
        assert suffix == "png"
        stored = Image.open(io.BytesIO(data))
        assert bytes_digest(stored.tobytes()) == bytes_digest(upright.tobytes())
        assert not stored.getexif()


def test_tokenizers() -> None:
    clip, syllables = ClipBpe(), Syllables()
    assert clip.tokens("Stop  stop") == clip.tokens("stop")
    assert len(clip.tokens("stop")) == 1
    assert max(clip.tokens("unfathomable 42 ü!")) < clip.classes - 2
    assert clip.tokens("  ") == ()
    assert syllables.tokens("badiba") == (0, 4)
    assert syllables.tokens("badix") == syllables.tokens("hello") == ()


def test_ray_is_asked_for_by_name(
    photos: Path, tmp_path: Path, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rice_core.rice.curate.ray_cluster import spread_over_ray

    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    with pytest.raises(MissingExtra, match=r"ricebench\[ray\]"):
        curate(photos, tmp_path / "out", plain(), progress=quiet, spread_over=spread_over_ray)
