"""A finished run is recognised by every file that its encoder is loaded from, wherever the checkpoint's own files point."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf as save_timm

from probes.knn import Knn
from rice_core.checkpoints import checkpoint_files
from rice_core.datasets import Dataset, limit, open_dataset
from rice_core.encoders import load_encoder
from rice_core.encoders.rice import save_rice
from rice_core.errors import UserError
from rice_core.measure.known import Identity, KnownEncoders
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.measure.summary import Summary
from rice_core.model.vit import ViT, ViTConfig
from rice_core.progress import Progress
from rice_core.spec import EncoderSpec
from rice_core.store import Store

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}


@pytest.fixture(scope="module")
def dataset(small_world: Path) -> Dataset:
    return limit(open_dataset(small_world, name="mini"), 6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny ViT as transformers writes it."""
    made, out = hf.ViTModel(hf.ViTConfig(**TINY, image_size=32, patch_size=16)), tmp_path / "vit"
    made.save_pretrained(out)
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(out)
    return out


def run(typed: str, dataset: Dataset, store: Path) -> Summary:
    runner = Runner(Store(store), Settings(), Progress(quiet=True))
    return runner.run(Plan.over((EncoderSpec.parse(typed),), (Knn(k=1),), dataset))


def weights_of(summary: Summary) -> str:
    (record,) = summary.records
    assert record.status == "done", record.error
    assert record.evidence is not None
    return record.evidence.weights


def other_weights(file: Path) -> None:
    """Other numbers under the same names, in a file that keeps its name, size and time."""
    before = file.stat()
    if file.suffix == ".safetensors":
        save_file({key: -value for key, value in load_file(file).items()}, file, metadata={"format": "pt"})
    else:
        torch.save({key: -value for key, value in torch.load(file, weights_only=True).items()}, file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def sharded(folder: Path, *, safe: bool = True, below: str = "w/") -> Path:
    """All weights in one shard below the folder, behind an index; returns the shard."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shard = folder / below / ("model-1.safetensors" if safe else "model-1.bin")
    shard.parent.mkdir(exist_ok=True)
    if safe:
        save_file(tensors, shard, metadata={"format": "pt"})
    else:
        torch.save(tensors, shard)
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(tensors, f"{below}{shard.name}")}
    name = "model.safetensors.index.json" if safe else "pytorch_model.bin.index.json"
    (folder / name).write_text(json.dumps(index))
    return shard


def of_safetensors_index(folder: Path) -> tuple[str, Path]:
    return f"hf:{folder}", sharded(folder)


def of_bin_index(folder: Path) -> tuple[str, Path]:
    return f"hf:{folder}", sharded(folder, safe=False)


def of_explicit_name(folder: Path) -> tuple[str, Path]:
    """config.json may name the file itself."""
    (folder / "w").mkdir()
    shard = (folder / "model.safetensors").rename(folder / "w" / "mine.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"transformers_weights": "w/mine.safetensors"}))
    return f"hf:{folder}", shard


def of_linked_file(folder: Path) -> tuple[str, Path]:
    shard = (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    (folder / "model.safetensors").symlink_to(shard)
    return f"hf:{folder}", shard


def of_linked_folder(folder: Path) -> tuple[str, Path]:
    shard = sharded(folder)
    there = shard.parent.rename(folder.parent / "elsewhere")
    (folder / "w").symlink_to(there, target_is_directory=True)
    return f"hf:{folder}", there / shard.name


def of_timm_file(folder: Path) -> tuple[str, Path]:
    file = folder.parent / "mine.pth"
    torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), file)
    return f"timm:test_vit?weights={file}&res=32", file


def of_timm_folder(folder: Path) -> tuple[str, Path]:
    out = folder.parent / "timm"
    save_timm(timm.create_model("test_vit", num_classes=0), str(out), safe_serialization=True)
    return f"timm:local-dir:{out}?res=32", out / "model.safetensors"


def of_rice(folder: Path) -> tuple[str, Path]:
    out = folder.parent / "rice"
    save_rice(out, ViT(ViTConfig(width=16, depth=1, heads=1, patch=16, resolution=32)), tags={})
    return f"rice:{out}", out / "encoder.safetensors"


MADE = [
    of_safetensors_index,
    of_bin_index,
    of_explicit_name,
    of_linked_file,
    of_linked_folder,
    of_timm_file,
    of_timm_folder,
    of_rice,
]


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__.removeprefix("of_"))
def test_new_weights_are_measured_anew_and_the_same_ones_are_not(
    make: Callable[[Path], tuple[str, Path]],
    dataset: Dataset,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    typed, file = make(folder)
    store = tmp_path / "store"
    before = run(typed, dataset, store)
    assert before.counts == {"done": 1}
    with monkeypatch.context() as patch:
        patch.setattr(
            "rice_core.measure.subject.load_encoder", lambda _: pytest.fail("a finished run needs no encoder")
        )
        assert run(typed, dataset, store).counts == {"reused": 1}
    other_weights(file)
    after = run(typed, dataset, store)
    assert after.counts == {"done": 1}
    assert weights_of(after) != weights_of(before)
    assert weights_of(after) == load_encoder(EncoderSpec.parse(typed)).weights_digest()


@pytest.mark.parametrize(
    "name", ["../other/model-1.safetensors", "/data/model-1.safetensors", "w/../../m.safetensors", "C:\\w\\m.bin"]
)
def test_an_index_that_leaves_its_folder_is_refused(folder: Path, name: str) -> None:
    sharded(folder)
    index = folder / "model.safetensors.index.json"
    body = json.loads(index.read_text())
    index.write_text(json.dumps(body | {"weight_map": dict.fromkeys(body["weight_map"], name)}))
    with pytest.raises(UserError, match=r"index\.json of .*outside the folder and is never read; put the weights"):
        checkpoint_files(folder)
    with pytest.raises(UserError, match="outside the folder"):
        load_encoder(EncoderSpec.parse(f"hf:{folder}"))


def test_the_files_of_a_folder(folder: Path) -> None:
    shard = sharded(folder)
    (folder / "checkpoint-500").mkdir()
    (folder / "checkpoint-500" / "model.safetensors").write_bytes(b"of an earlier step, which nobody reads")
    found = checkpoint_files(folder)
    top = {"config.json", "preprocessor_config.json", "model.safetensors.index.json"}
    assert set(found) == top | {"w/model-1.safetensors"}
    assert found["w/model-1.safetensors"].samefile(shard)
    shard.unlink()
    assert set(checkpoint_files(folder)) == top
    for broken in ("[]", "no JSON", '{"weight_map": [1]}', '{"weight_map": {"a": 1}}'):
        (folder / "model.safetensors.index.json").write_text(broken)
        assert set(checkpoint_files(folder)) == top


def test_a_peft_adapter_s_base_is_elsewhere(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/data/base"}))
    with pytest.raises(UserError, match=r"PEFT adapter .* whose base model is elsewhere; merge"):
        load_encoder(EncoderSpec.parse(f"hf:{folder}"))


def test_weights_that_changed_while_they_were_loaded_are_not_known(folder: Path, tmp_path: Path) -> None:
    spec, known = EncoderSpec.parse(f"hf:{folder}"), KnownEncoders(tmp_path / "known")
    found = Identity(weights="a", architecture="b")
    assert known.get(spec) is None
    other_weights(folder / "model.safetensors")
    known.put(spec, found)
    assert known.get(spec) is None
    known.put(spec, found)
    assert known.get(spec) == found
