"""No machine's paths in what is kept: names for folders, and sentences without paths."""

import hashlib

import pytest

from rice_core.disk.paths import folder_name, without_paths
from rice_core.spec import EncoderSpec


def digest(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:8]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/home/me/mine", f"mine~{digest('/home/me/mine')}"),
        ("/home/me/mine/", f"mine~{digest('/home/me/mine')}"),
        ("/home/me/../you//mine/.", f"mine~{digest('/home/you/mine')}"),
        # Every training calls its output so.
        ("/data/runs/b16/encoder", f"b16/encoder~{digest('/data/runs/b16/encoder')}"),
        ("/data/runs/b16/hf", f"b16/hf~{digest('/data/runs/b16/hf')}"),
        ("runs/b16/encoder", "runs/b16/encoder"),
        ("~/mine", "~/mine"),
        ("./mine", "./mine"),
    ],
)
def test_a_folder_is_called_by_its_last_name_and_a_digest(path: str, shown: str) -> None:
    assert folder_name(path) == shown
    assert folder_name(shown) == shown


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("cannot read '/home/me/photos/x.jpg' (damaged)", "cannot read 'x.jpg' (damaged)"),
        ("rice:/home/me/x: there is no folder /home/me/x; give one", "rice:x: there is no folder x; give one"),
        ("--data=/data/coco --out /tmp/a/b", "--data=coco --out b"),
        ("file:///home/me/x.json", "x.json"),
        ("(/a/b.png,/a/c.png)", "(b.png,c.png)"),
        ("see https://example.org/a/b/c", "see https://example.org/a/b/c"),
        ("knn/linear, 1/2, a / b, ~/x/y, ../a/b, runs/a/b", "knn/linear, 1/2, a / b, ~/x/y, ../a/b, runs/a/b"),
        ("hf:org/name", "hf:org/name"),
    ],
)
def test_sentences_keep_the_last_name(text: str, without: str) -> None:
    assert without_paths(text) == without
    assert without_paths(without) == without


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("hf:/home/me/x?res=560", f"x~{digest('/home/me/x')}"),
        ("timm:local-dir:/home/me/x", f"local-dir:x~{digest('/home/me/x')}"),
        ("open_clip:local-dir:/home/me/x", f"local-dir:x~{digest('/home/me/x')}"),
        ("open_clip:ViT-B-32//home/me/x.pt", f"ViT-B-32/x.pt~{digest('/home/me/x.pt')}"),
        ("open_clip:ViT-B-32/openai", "ViT-B-32/openai"),
        ("hf:org/name@main", "org/name"),
        ("synthetic:oracle/0.5", "oracle/0.5"),
    ],
)
def test_an_encoder_is_told_without_its_path(text: str, model: str) -> None:
    spec = EncoderSpec.parse(text)
    told = spec.told()
    assert told.model == model
    assert told.told() == told
    assert "/home" not in spec.title
    assert spec.identity() == told.identity()
    assert EncoderSpec.parse(told.shorthand) == told
    # What was typed still loads.
    assert EncoderSpec.parse(spec.shorthand) == spec
    assert told.model_copy(update={"model": spec.model}) == spec
