"""What only a card can show: `make gpu` runs these. RICEBENCH_GPU_TESTS=cpu tries them on a CPU, where they compare like with like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from benchmarks.gpu.trainings import TINY, batch_of, configured, learner_of, write_shards
from probes.detection.cascade import CascadeMaskRCNN
from probes.detection.nouns import Target
from probes.detection.recipe import RECIPES
from probes.logistic import fit_logistic, logits
from rice_core.encoders import load_encoder
from rice_core.ranks import Ranks
from rice_core.rice.loss.row_adamw import RowAdamW
from rice_core.spec import EncoderSpec

pytestmark = pytest.mark.gpu
CPU = torch.device("cpu")


def test_float32_features_are_those_of_the_cpu(device: torch.device) -> None:
    """TF32 in the patch embedding would be off by a thousandth."""
    pixels_B3HW = torch.randn(4, 3, 96, 96)
    found = []
    for place in (CPU, device):
        encoder = load_encoder(EncoderSpec.parse("synthetic:random-weights")).to(place)
        with torch.inference_mode():
            found.append(encoder.encode(pixels_B3HW).dense_BCHW.cpu())
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=3e-5)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_loose_images_come_back_as_float32_of_the_cpu(device: torch.device, dtype: str) -> None:
    from rice_core.measure.encode import encode_images

    images = [Image.fromarray(np.random.default_rng(n).integers(256, size=(80, 60, 3), dtype=np.uint8)) for n in (0, 1)]
    spec = EncoderSpec.parse(f"synthetic:random-weights?dtype={dtype}")
    found = encode_images(spec, images, device=str(device))
    assert found.dense_BCHW.dtype == torch.float32
    assert found.dense_BCHW.device == CPU
    assert found.dense_BCHW.numpy().shape == (2, 96, 12, 12)


def test_a_step_in_float32_is_the_cpus(device: torch.device) -> None:
    config = configured(TINY, resolution=32, batch=4, steps=3, precision="fp32", ema=0.9)
    batch = batch_of(config, classes=30)
    here, there = (learner_of(config, place, classes=30) for place in (CPU, device))
    for step in range(3):
        one, other = (learner.step([batch], step=step, rate=1e-3) for learner in (here, there))
        assert other.loss == pytest.approx(one.loss, rel=1e-3)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-2)
    assert there.measure([batch])["loss"] == pytest.approx(here.measure([batch])["loss"], rel=1e-3)


@pytest.mark.parametrize("changes", [{}, {"checkpoint_activations": True}, {"compile": True}])
def test_a_step_in_bfloat16_learns(device: torch.device, changes: dict[str, Any]) -> None:
    if changes.get("compile") and device == CPU:
        pytest.skip("takes a compiler and a minute")
    easy = {"loss": {"margin": "cos", "m": 0.1, "s": 8, "negatives": "all"}}
    config = configured(TINY, resolution=32, batch=4, steps=3, precision="bf16", objective=easy, **changes)
    learner, batch = learner_of(config, device, classes=30), batch_of(config, classes=30)
    losses = [learner.step([batch], step=step, rate=3e-3).loss for step in range(12)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_rows_optimizer_moves_the_rows_that_were_touched(device: torch.device, dtype: torch.dtype) -> None:
    found = []
    for place in (CPU, device):
        weight_KD = torch.nn.Parameter(torch.ones(10, 4, device=place))
        optimizer = RowAdamW([weight_KD], lr=0.1, state_dtype=dtype)
        for step in range(3):
            rows = torch.tensor([[1, 7, 7]], device=place)
            values_TD = torch.full((3, 4), 1.0 + step, device=place)
            weight_KD.grad = torch.sparse_coo_tensor(rows, values_TD, weight_KD.shape)
            optimizer.step()
        found.append(weight_KD.detach().cpu())
    assert torch.equal(found[1][0], torch.ones(4))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-5 if dtype == torch.float32 else 2e-2)


def test_a_detector_learns_and_detects(device: torch.device) -> None:
    torch.manual_seed(0)
    head = RECIPES["smoke"].head
    detector = CascadeMaskRCNN(head, channels=16, classes=5, patch=8, masks=True).to(device)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3)
    tokens_BCTU = torch.randn(2, 16, 8, 8, device=device)
    boxes_N4 = torch.tensor([[5.0, 5.0, 40.0, 30.0], [20.0, 10.0, 60.0, 60.0]], device=device)
    masks_NHW = torch.ones(2, 64, 64, dtype=torch.bool, device=device)
    target = Target(boxes_N4, torch.tensor([1, 3], device=device), masks_NHW)
    sums = []
    for step in range(10):
        with torch.autocast(device.type, torch.bfloat16):
            losses = detector.losses(
                tokens_BCTU, [(64, 64)] * 2, [target] * 2, torch.Generator(device).manual_seed(step)
            )
        total = torch.stack(list(losses.values())).sum()
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
        sums.append(total.item())
    assert sums[-1] < sums[0]
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
        found = detector.eval().detect(tokens_BCTU, [(64, 64)] * 2)
    assert all(one.boxes_D4.isfinite().all() for one in found)


def test_a_linear_probe_is_fitted_as_on_the_cpu(device: torch.device) -> None:
    rng = torch.Generator().manual_seed(0)
    x_ND, y_N = torch.randn(200, 8, generator=rng), torch.randint(3, (200,), generator=rng)
    here, there = (
        logits(x_ND.to(place), fit_logistic(x_ND.to(place), y_N.to(place), 3, C=1.0)).cpu() for place in (CPU, device)
    )
    torch.testing.assert_close(there, here, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("parallel", ["alone", "ddp", "fsdp2"])
def test_a_stopped_training_ends_with_the_same_bits(
    device: torch.device, parallel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With torch's deterministic algorithms: without them two runs on a card need not agree, stopped or not."""
    pytest.importorskip("webdataset")
    from benchmarks.gpu.resume import stopped_in
    from rice_core.rice.launch import train

    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    data = write_shards(tmp_path / "data", images=32, side=32, classes=20)
    config = configured(
        TINY,
        resolution=32,
        batch=8,
        steps=6,
        data={"path": str(data), "streams": 2},
        save_every=2,
        ema=0.9,
        parallel="fsdp2" if parallel == "fsdp2" else "ddp",
    )
    if parallel != "alone":
        for key, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
            monkeypatch.setenv(key, value)

    def run(name: str, **options: Any) -> bool:
        meeting = f"file://{tmp_path / 'meet'}-{name}-{len(options)}"
        wanted = device.type if parallel != "alone" else str(device)
        return train(config, tmp_path / name, device=wanted, workers=1, quiet=True, init_method=meeting, **options)

    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        assert run("whole")
        assert not run("parts", build=stopped_in(4))
        assert run("parts")
    finally:
        torch.use_deterministic_algorithms(False)
    whole, parts = (load_file(tmp_path / name / "encoder" / "encoder.safetensors") for name in ("whole", "parts"))
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []


def test_batches_for_a_gpu_are_pinned(device: torch.device, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    from rice_core.rice.loader import RegionLoader
    from rice_core.rice.regions import read_region_manifest

    folder = write_shards(tmp_path / "data", images=8, side=32, classes=20)
    config = configured(TINY, resolution=32, batch=4, steps=2, data={"path": str(folder), "streams": 2})
    for workers in (0, 1, 2):
        loader = RegionLoader(
            config, read_region_manifest(folder), stage=config.stages[0], workers=workers, ranks=Ranks(0, 1, device)
        )
        batch = next(iter(loader))
        assert batch.pixels_B3HW.is_pinned() == batch.labels_BNM.is_pinned() == (device.type == "cuda")
