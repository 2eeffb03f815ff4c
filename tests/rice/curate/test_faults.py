"""Providers that raise what nobody expected: one image is left out, a broken provider ends the run."""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
import pytest
import torch
from PIL import Image

from rice_core.errors import MissingExtra, UserError
from rice_core.progress import Progress
from rice_core.rice.curate import CurateSettings, curate, providers
from rice_core.rice.curate.described import Described, problems
from rice_core.rice.curate.hog import Hog
from rice_core.rice.curate.nouns import Box, DecodedImage, Floats, Proposal, TextLine

NAMES = tuple(f"{number}.png" for number in range(20))
BOXES = ((4.0, 4.0, 30.0, 30.0), (30.0, 20.0, 60.0, 60.0))
WHOLE = (0.0, 0.0, 64.0, 64.0)
BAD = cv2.error("OpenCV says no\nin many lines")
PARTS = ("proposals", "text", "crop", "batch")
PROVIDER = {"proposals": "boxes@1", "text": "words@1", "crop": "hog@1", "batch": "hog@1"}
SAID = "makes {} fail (cv2.error: OpenCV says no)"

Break = Callable[..., None]


class Boxes:
    """The two of every image."""

    name, version, portable = "boxes", "1", False
    fails: Callable[[str], None]

    def propose(self, picture: DecodedImage) -> Sequence[Proposal]:
        self.fails(picture.source.id)
        return [Proposal(box=box, truth=truth) for truth, box in enumerate(BOXES)]


class Words(Boxes):
    name = "words"

    def spot(self, picture: DecodedImage) -> Sequence[TextLine]:
        self.fails(picture.source.id)
        return [TextLine(box=BOXES[0], text="badiba", score=1.0)]


@pytest.fixture
def break_(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Make one part fail on some images; calling it again mends the others."""

    def put(part: str = "", bad: Collection[str] = (), error: BaseException = BAD) -> None:
        def fails(at: str) -> Callable[[str], None]:
            def fail(name: str) -> None:
                if at == part and name in bad:
                    raise error

            return fail

        class Faulty(Hog):
            def crop(self, image: Image.Image, box: Box) -> Image.Image:
                name = NAMES[image.getpixel((0, 0))[0]]
                fails("crop")(name)
                if box == WHOLE:
                    fails("whole")(name)
                crop = super().crop(image, box)
                crop.info["name"] = name
                return crop

            def describe(self, crops: Sequence[Image.Image]) -> Floats:
                for crop in crops:
                    fails("batch")(crop.info["name"])
                return super().describe(crops)

        boxes, words = Boxes(), Words()
        boxes.fails, words.fails = fails("proposals"), fails("text")
        monkeypatch.setitem(providers._PROPOSERS, "classical", lambda *_: boxes)
        monkeypatch.setitem(providers._SPOTTERS, "rapidocr", lambda *_: words)
        monkeypatch.setattr("rice_core.rice.curate.hog.Hog", Faulty)

    put()
    return put


def photos(folder: Path, names: Collection[str] = NAMES) -> Path:
    """Noise; the first pixel says which image it is."""
    folder.mkdir()
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        pixels[0, 0] = number
        if name in names:
            Image.fromarray(pixels).save(folder / name)
    return folder


def small(**changes: Any) -> CurateSettings:
    plain = {"tokenizer": "syllables", "classes": 6, "image_classes": 4, "image_labels": 2, "min_cluster": 1}
    return CurateSettings(**(plain | {"min_image": 0, "min_box": 0} | changes))


def listed(out: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (out / "left_out.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("part", PARTS)
def test_an_image_that_a_provider_fails_on_is_left_out_as_if_it_were_not_there(
    part: str, break_: Break, tmp_path: Path, quiet: Progress
) -> None:
    clean = curate(photos(tmp_path / "clean", set(NAMES) - {"3.png"}), tmp_path / "c", small(), progress=quiet)
    folder, out = photos(tmp_path / "all"), tmp_path / "out"
    break_(part, {"3.png"})
    found = curate(folder, out, small(), progress=quiet)
    assert found.counts["left_out.images.failed"] == 1
    assert listed(out) == [{"item": "3.png", "reason": SAID.format(PROVIDER[part])}]
    assert found.shards == clean.shards
    assert found.quality == clean.quality
    for name in ("centers.safetensors", "image_centers.safetensors"):
        assert (out / name).read_bytes() == (tmp_path / "c" / name).read_bytes()
    (out / "manifest.json").unlink()
    assert curate(folder, out, small(), progress=quiet) == found
    assert len(listed(out)) == 1


def test_an_image_whose_whole_alone_cannot_be_described(
    break_: Break, tmp_path: Path, quiet: Progress, members: Callable[..., Any]
) -> None:
    def image_labels(out: Path, found: Any) -> dict[str, list[int]]:
        return {body["source"]: body["image_labels"] for body, _ in members(out, found)}

    clean = curate(photos(tmp_path / "clean", set(NAMES) - {"3.png"}), tmp_path / "c", small(), progress=quiet)
    break_("whole", {"3.png"})
    found = curate(photos(tmp_path / "all"), tmp_path / "out", small(), progress=quiet)
    assert image_labels(tmp_path / "out", found) == image_labels(tmp_path / "c", clean)
    assert found.counts["left_out.images.failed"] == 1
    assert found.counts["regions.object"] == 38


@pytest.mark.parametrize("part", PARTS)
def test_failures_one_after_the_other_end_the_run_and_cost_no_image(
    part: str, break_: Break, tmp_path: Path, quiet: Progress
) -> None:
    folder, out = photos(tmp_path / "all"), tmp_path / "out"
    break_(part, NAMES)
    for _ in range(2):
        with pytest.raises(UserError) as caught:
            curate(folder, out, small(), progress=quiet)
        assert f"{SAID.format(PROVIDER[part])}, as did the 15 images before it; mend that or" in str(caught.value)
    break_()
    assert curate(folder, out, small(), progress=quiet).samples == 20


@pytest.mark.parametrize("part", PARTS)
def test_one_good_image_between_the_bad_ones_ends_a_row(
    part: str, break_: Break, tmp_path: Path, quiet: Progress
) -> None:
    good = sorted(NAMES, key=lambda name: hashlib.sha256(name.encode()).digest())[10]
    break_(part, set(NAMES) - {good})
    found = curate(photos(tmp_path / "all"), tmp_path / "out", small(classes=2, image_classes=0), progress=quiet)
    assert found.counts["left_out.images.failed"] == 19
    assert found.samples == 1


@pytest.mark.parametrize(
    ("part", "sentence"), [("text", "no region is left of "), ("crop", "none of the regions could be described")]
)
def test_the_provider_is_named_where_a_few_images_are_all_there_are(
    part: str, sentence: str, break_: Break, tmp_path: Path, quiet: Progress
) -> None:
    break_(part, NAMES)
    with pytest.raises(UserError) as caught:
        curate(photos(tmp_path / "all", NAMES[:3]), tmp_path / "out", small(classes=2), progress=quiet)
    assert sentence in str(caught.value)
    assert f".png {SAID.format(PROVIDER[part])}; mend that or choose another provider" in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        UserError("no"),
        MissingExtra("x", "y"),
        OSError(28, "full"),
        MemoryError(),
        torch.OutOfMemoryError(),
        torch.AcceleratorError(),
        SystemExit(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_that_say_nothing_about_the_image_end_the_run(
    error: BaseException, break_: Break, tmp_path: Path, quiet: Progress
) -> None:
    folder = photos(tmp_path / "all", NAMES[:4])
    for part in ("proposals", "batch"):
        break_(part, {"3.png"}, error)
        with pytest.raises(type(error)) as caught:
            curate(folder, tmp_path / part, small(), progress=quiet)
        assert caught.value is error


def test_filters_that_take_everything_are_not_laid_on_a_provider(
    break_: Break, tmp_path: Path, quiet: Progress
) -> None:
    break_("proposals", {"1.png"})
    with pytest.raises(UserError, match=r"images.failed 1, objects.small 4\); smaller --min-image"):
        curate(photos(tmp_path / "all", NAMES[:3]), tmp_path / "out", small(text="none", min_box=50), progress=quiet)


def test_an_image_that_fails_in_its_second_batch_loses_what_the_first_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    class Numbers:
        name, version, portable, components = "numbers", "1", False, None

        def crop(self, image: Image.Image, box: Box) -> Image.Image:
            return Image.new("L", (int(box[0]), 1))

        def describe(self, crops: Sequence[Image.Image]) -> Floats:
            widths = [crop.width for crop in crops]
            if 4 in widths:
                raise ValueError
            return np.eye(8, dtype=np.float32)[widths]

    monkeypatch.setattr("rice_core.rice.curate.described.BATCH", 3)
    described = Described(Numbers())
    # The last one would fail in as many batches as a row of failures has images.
    for name, widths in {"a": (1, 2), "b": (3, 4), "c": (5, 6), "d": (4,) * 60}.items():
        described.add(name, Image.new("RGB", (9, 9)), [(width, 0, 0, 0) for width in widths])
    arrays = described.arrays()
    assert arrays["x_ND"].argmax(1).tolist() == [1, 2, 5, 6]
    assert arrays["lost_L"].tolist() == [2, 3, *range(6, 66)]
    assert problems(arrays) == dict.fromkeys("bd", "makes numbers@1 fail (ValueError)")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    faiss.omp_set_num_threads(1)
