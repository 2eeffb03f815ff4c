"""What a file gives: the right pixels, or a reason. Every bad file of the field is here."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from rice_core.images import ImageError, is_image_name, load_image

# A quarter of the picture in each of four colours, so that any turn or flip shows.
CORNERS = np.zeros((16, 24, 3), dtype=np.uint8)
CORNERS[:8, :12], CORNERS[:8, 12:], CORNERS[8:, :12], CORNERS[8:, 12:] = (
    (250, 0, 0),
    (0, 250, 0),
    (0, 0, 250),
    (250, 250, 250),
)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def png_claiming(width: int, height: int) -> bytes:
    """A tiny file whose header claims a huge picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "gif", "tif", "ppm"])
def test_every_format_gives_the_picture(tmp_path: Path, suffix: str) -> None:
    image = load_image(saved(tmp_path / f"a.{suffix}", Image.fromarray(CORNERS)))
    assert image.mode == "RGB"
    # JPEG blurs at the borders of the quarters; their middles stay.
    got = np.asarray(image).astype(int)[4::8, 6::12]
    assert np.abs(got - CORNERS.astype(int)[4::8, 6::12]).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_exif_orientations_all_come_out_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    # How the stored pixels follow from the upright ones, by the EXIF standard's own table (row 0 is at ..., column 0 at ...).
    stored = {
        1: CORNERS,
        2: CORNERS[:, ::-1],
        3: CORNERS[::-1, ::-1],
        4: CORNERS[::-1],
        5: CORNERS.transpose(1, 0, 2),
        6: CORNERS.transpose(1, 0, 2)[::-1],
        7: CORNERS.transpose(1, 0, 2)[::-1, ::-1],
        8: CORNERS.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    got = np.asarray(load_image(path)).astype(int)
    assert got.shape == CORNERS.shape
    assert np.abs(got[4::8, 6::12] - CORNERS.astype(int)[4::8, 6::12]).max() < 40


def test_a_broken_exif_block_does_not_cost_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.fromarray(CORNERS), exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert load_image(path).size == (24, 16)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((4, 4, 4), dtype=np.uint8)
    rgba[:2] = (200, 0, 0, 255)
    rgba[2] = (200, 0, 0, 128)
    got = np.asarray(load_image(saved(tmp_path / "a.png", Image.fromarray(rgba))))
    assert got[0, 0].tolist() == [200, 0, 0]
    assert np.abs(got[2, 0].astype(int) - [227, 127, 127]).max() <= 1
    # Hidden black must not show.
    assert got[3, 0].tolist() == [255, 255, 255]


def test_transparent_palette_and_gray_alpha(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 0, 0, 0])
    palette.putpixel((1, 0), 1)
    got = np.asarray(load_image(saved(tmp_path / "p.png", palette, transparency=1)))
    assert got.tolist() == [[[10, 20, 30], [255, 255, 255]]]
    gray = Image.fromarray(np.array([[[7, 255], [0, 0]]], dtype=np.uint8), "LA")
    assert np.asarray(load_image(saved(tmp_path / "g.png", gray)))[0, :, 0].tolist() == [7, 255]


def test_rgb_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[[1, 2, 3], [9, 9, 9]]], dtype=np.uint8))
    got = np.asarray(load_image(saved(tmp_path / "a.png", image, transparency=(1, 2, 3))))
    assert got.tolist() == [[[255, 255, 255], [9, 9, 9]]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    ramp = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    got = np.asarray(load_image(saved(tmp_path / f"a.{suffix}", Image.fromarray(ramp))))
    assert got[0, :, 0].tolist() == [0, 1, 128, 255]
    assert (got[..., 0] == got[..., 2]).all()


def test_sixteen_bit_pnm(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 2 1 65535\n" + struct.pack(">HH", 65535, 32896))
    assert np.asarray(load_image(path))[0, :, 1].tolist() == [255, 128]


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", Image.fromarray(np.ones((3, 3), dtype=np.float32)))
    with pytest.raises(ImageError, match="which value is white"):
        load_image(path)


def test_cmyk_and_one_bit(tmp_path: Path) -> None:
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = np.asarray(load_image(saved(tmp_path / "a.jpg", ink, quality=95)))[4, 4]
    assert red[0] > 230
    assert red[1:].max() < 25
    assert np.asarray(load_image(saved(tmp_path / "b.png", Image.new("1", (3, 3), 1)))).min() == 255


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert np.asarray(load_image(path))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html>404</html>", "no image"),
        (b"\x89PNG\r\n\x1a\n", "no image|damaged"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),
        (png_claiming(20_000, 20_000), "20000 x 20000|limit"),
        (png_claiming(10_000, 9_000), "10000 x 9000 pixels, more than the limit"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_image_says_so(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=reason) as caught:
        load_image(path)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_an_image_error_also_where_warnings_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_claiming(10_000, 9_000))
    with pytest.raises(ImageError, match="limit"):
        load_image(path)


def test_the_limit_is_checked_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(CORNERS))
    assert load_image(path, most_pixels=24 * 16).size == (24, 16)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="24 x 16"):
        load_image(path, most_pixels=24 * 16 - 1)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(ImageError, match="cannot be read"):
            load_image(path)


def encoded(suffix: str) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, suffix)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", ["jpeg", "png", "webp", "bmp", "tiff", "ppm"])
def test_half_a_file_is_an_image_error(tmp_path: Path, suffix: str) -> None:
    data = encoded(suffix)
    path = tmp_path / "a.img"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError):
        load_image(path)


@given(suffix=st.sampled_from(["jpeg", "png", "webp", "gif", "tiff"]), damage=st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_end_in_a_picture_or_an_image_error(tmp_path: Path, suffix: str, damage: st.DataObject) -> None:
    data = bytearray(encoded(suffix))
    for _ in range(damage.draw(st.integers(1, 8))):
        data[damage.draw(st.integers(0, len(data) - 1))] = damage.draw(st.integers(0, 255))
    path = tmp_path / "a.img"
    path.write_bytes(data[: damage.draw(st.integers(1, len(data)))])
    with contextlib.suppress(ImageError):
        assert load_image(path, most_pixels=10_000).mode == "RGB"


def test_pillows_globals_are_left_alone(tmp_path: Path) -> None:
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
    load_image(saved(tmp_path / "a.png", Image.fromarray(CORNERS)))
    assert before == (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)


def test_names_of_images() -> None:
    assert is_image_name("a/B.JPG")
    assert not is_image_name("jpg")
    assert not is_image_name("notes.txt")
