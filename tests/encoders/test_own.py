"""A module of one's own is measured as every encoder is: its weights, settings and source are what its numbers are made from."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from reports import Bench
from rice_core.encoders.own import OwnEncoder, wrap
from rice_core.encoders.private import private
from rice_core.errors import UserError
from rice_core.features import Encoder

SOURCE = '''
import torch
from torch import nn

class Patches(nn.Module):
    """A convolution, as a map or as tokens behind a class token."""

    def __init__(self, shape="map", heads=2, act=torch.relu):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 12, 16, 16)
        self.shape, self.heads, self.act = shape, heads, act
        self.register_buffer("scale", torch.ones(1), persistent=False)

    def forward(self, x):
        y = self.act(self.conv(x)) * self.scale
        if self.shape == "map":
            return y
        tokens = y.flatten(2).transpose(1, 2)
        return torch.cat([tokens.mean(1, keepdim=True), tokens], 1)

class Odd(nn.Module):
    def __init__(self, give):
        super().__init__()
        self.give = give
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x):
        if self.give == "fails":
            return x @ x.new_zeros(7)
        if self.give in ("random", "batch", "counted"):
            y = torch.nn.functional.avg_pool2d(x, 16)
            if self.give == "counted":
                self.count += 1
            return y + torch.rand(()) if self.give == "random" else y - y.mean(0) * (self.give == "batch")
        return x.flatten(1) if self.give == "flat" else None
'''
PIXELS = {"size": 64, "patch": 16, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "owned_vit.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("owned_vit")
    sys.modules.pop("owned_vit", None)
    importlib.invalidate_caches()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for kind, colour in {"sea": (20, 60, 200), "wood": (30, 160, 40)}.items():
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for i in range(10):
            pixels = np.clip(rng.normal(colour, 40, (70, 80, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / kind / f"{kind}-{i}.png")
    return tmp_path / "photos"


def test_a_map_and_tokens_are_the_same_encoder(mine: ModuleType) -> None:
    of_map = wrap(mine.Patches(), **PIXELS, name="mine")
    of_tokens = wrap(mine.Patches("tokens"), **PIXELS, name="mine", prefix=1, class_token=True)
    assert isinstance(of_map, Encoder)
    assert (of_map.dim, of_map.patch, of_map.spec.resolution, of_map.spec.title) == (12, 16, (64, 64), "mine")
    assert ("cls" in of_map.provides, "cls" in of_tokens.provides) == (False, True)
    pixels = torch.rand(2, 3, 64, 64)
    a, b = of_map.encode(of_map.normalize(pixels)), of_tokens.encode(of_tokens.normalize(pixels))
    want = mine.Patches()((pixels - 0.5) / 0.25)
    torch.testing.assert_close(a.dense_BCHW, want)
    torch.testing.assert_close(b.dense_BCHW, want)
    assert b.cls_BC is not None
    torch.testing.assert_close(b.cls_BC, want.mean((2, 3)))


def test_it_is_a_copy_of_the_module(mine: ModuleType) -> None:
    module = mine.Patches().train()
    encoder = wrap(module, **PIXELS, name="mine")
    digest = encoder.weights_digest()
    with torch.no_grad():
        module.conv.weight.zero_()
    assert module.training
    assert encoder.encode(torch.rand(1, 3, 64, 64)).dense_BCHW.abs().sum() > 0
    assert wrap(module, **PIXELS, name="mine").weights_digest() != digest
    trained = private(encoder)
    with torch.no_grad():
        trained.module.inner.conv.weight.zero_()
    assert encoder.weights_digest() == digest != trained.weights_digest()


def test_its_settings_are_part_of_its_architecture(mine: ModuleType) -> None:
    def digest(**settings: object) -> str:
        return wrap(mine.Patches(**settings), **PIXELS, name="mine").architecture_digest()

    def scaled() -> OwnEncoder:
        module = mine.Patches()
        module.scale.fill_(2)
        return wrap(module, **PIXELS, name="mine")

    assert digest() == digest()
    others = [digest(heads=3), digest(act=torch.sigmoid), scaled().architecture_digest()]
    others.append(wrap(mine.Patches(), **{**PIXELS, "mean": (0.4, 0.5, 0.5)}, name="mine").architecture_digest())
    assert len({digest(), *others}) == 5


def test_it_is_measured_and_known_again(mine: ModuleType, photos: Path, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "store")

    def run(module: nn.Module) -> dict[str, int]:
        found = bench.run([wrap(module, **PIXELS, name="mine")], ["knn?k=3", "linear"], photos)
        assert [record.cell.encoder.title for record in found.records] == ["mine", "mine"]
        assert str(tmp_path) not in found.records[0].model_dump_json()
        return dict(found.counts)

    assert run(mine.Patches()) == {"done": 2}
    assert run(mine.Patches()) == {"reused": 2}
    assert run(mine.Patches(heads=3)) == {"done": 2}
    assert sorted(set(bench.frame().encoder)) == ["mine"]
    # Its source is evidence: an edit is another number, once it is what runs.
    path = Path(str(mine.__file__))
    path.write_text(path.read_text().replace("return y\n", "return -y\n"))
    with pytest.warns(UserWarning, match=r"owned_vit, or what it imports, has changed since it was loaded"):
        bench.run([wrap(mine.Patches(heads=3), **PIXELS, name="mine")], ["knn?k=3"], photos)
    del sys.modules["owned_vit"]
    importlib.invalidate_caches()
    again = importlib.import_module("owned_vit")
    assert run(again.Patches(heads=3)) == {"done": 2}


def test_each_mistake_has_its_sentence(mine: ModuleType) -> None:
    def refuse(module: object, says: str, **settings: object) -> None:
        with pytest.raises(UserError, match=says):
            wrap(module, **{**PIXELS, "name": "mine", **settings})

    refuse(lambda x: x, "mine: wrap takes an nn.Module, not a function; put it into a class of its own")
    patched = mine.Patches()
    patched.forward = lambda x: x
    refuse(patched, "the forward of Patches was replaced")
    made: dict[str, type] = {"nn": nn}
    exec("class Nowhere(nn.Module):\n    def forward(self, x):\n        return x", made)
    refuse(made["Nowhere"](), "the source of Nowhere cannot be read")
    refuse(mine.Odd("flat"), r"its forward gives shape \(1, 12288\); give tokens \[B, N, C\] or a map")
    refuse(mine.Odd("nothing"), "gives a NoneType")
    refuse(mine.Odd("fails"), "its forward fails at 64x64 pixels")
    refuse(mine.Odd("random"), "gives something else for a picture when it is asked again; leave out what is random")
    refuse(mine.Odd("batch"), "gives something else for a picture where another is beside it")
    refuse(mine.Odd("counted"), "changes its own buffers")
    refuse(mine.Patches(), r"its map is \(4, 4\) where patch=8 makes \(8, 8\)", patch=8)
    refuse(mine.Patches("tokens"), r"it gives 17 tokens where 0 \+ 4 x 4 were expected; say prefix=1")
