"""The code that trains and encodes, on a second device that refuses the first one's tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from elsewhere import THERE, Elsewhere, second_device

from benchmarks.gpu.trainings import TINY, batch_of, configured, learner_of
from benchmarks.tracking_material import SMALL, untrained
from probes.detection.cascade import CascadeMaskRCNN
from probes.detection.nouns import StepPart, Target
from probes.detection.recipe import RECIPES
from probes.detection.views import packed, rounded
from probes.knn import ranked, votes
from probes.logistic import choose_C, fit_logistic, logits, standardiser
from rice_core.encoders import load_encoder
from rice_core.rice.loss.centers import ClassCenters
from rice_core.rice.loss.cluster import cluster_loss
from rice_core.rice.loss.config import LossConfig
from rice_core.spec import EncoderSpec
from tracking.losses import tracking_losses
from tracking.recipe import LearningConfig, TrackerConfig
from tracking.tracker import VideoFrame

CPU = torch.device("cpu")


@pytest.fixture
def on_both(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[torch.device], Any]], None]:
    """Runs a computation on the CPU and on the second device, and holds their results against each other."""

    def run(compute: Callable[[torch.device], Any]) -> None:
        here = compute(CPU)
        with second_device(monkeypatch) as device:
            there = compute(device)
            there = torch.utils._pytree.tree_map(lambda x: x.cpu() if isinstance(x, torch.Tensor) else x, there)
        torch.testing.assert_close(there, here, rtol=1e-5, atol=1e-6, equal_nan=True)

    return run


def test_the_second_device_refuses_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with second_device(monkeypatch):
        x_23 = torch.ones(2, 3, device=THERE)
        assert isinstance(x_23, Elsewhere)
        assert (x_23 + 1).sum().item() == 12
        assert x_23.cpu().numpy().sum() == 6
        for mixed in (lambda: x_23 + torch.ones(2, 3), lambda: torch.cat([x_23, torch.ones(2, 3)]), x_23.numpy):
            with pytest.raises((RuntimeError, TypeError)):
                mixed()


@pytest.mark.parametrize("negatives", ["uniform", "partial_fc", "all"])
def test_the_loss(on_both: Callable[..., None], negatives: str) -> None:
    config = LossConfig(negatives=negatives, rho=0.3, interclass_filter=0.5, chunk=4)
    x_RD, labels_RM = torch.randn(9, 8), torch.randint(0, 40, (9, 3))

    def compute(device: torch.device) -> Any:
        centers = (
            ClassCenters(40, 8).requires_grad_(False).to(device)
        )  # its gradient is sparse, which has no second device
        x = x_RD.to(device).requires_grad_()
        total = torch.tensor(9.0, device=device)
        weight_R = torch.ones(9, device=device)
        out = cluster_loss(x, labels_RM.to(device), weight_R, centers, config, step=0, weight_total=total)
        (dx_RD,) = torch.autograd.grad(out.loss, x)
        return out.loss.detach(), out.stats, dx_RD

    on_both(compute)


@pytest.mark.parametrize("objective", ["rice", "siglip"])
def test_a_step_of_a_training(on_both: Callable[..., None], objective: str) -> None:
    settings = {"name": objective, "tokenizer": "words", "text_width": 16, "text_depth": 1, "text_heads": 2}
    config = configured(TINY, resolution=32, batch=4, steps=2, precision="fp32", ema=0.9, objective=settings)
    batch = batch_of(config, classes=30)
    if objective == "siglip":
        batch = type(batch)(**vars(batch) | {"caption_BL": torch.randint(1, 9, (4, 5))})

    def compute(device: torch.device) -> Any:
        learner = learner_of(config, device, classes=30)
        for bank in learner.banks.values():
            bank.requires_grad_(False)
        outcome = learner.step([batch, batch], step=0, rate=1e-3)
        held_out = learner.measure([batch])
        return outcome.loss, outcome.grad_norm, outcome.stats, held_out, learner.trunk_state()

    on_both(compute)


@pytest.mark.parametrize("federated", [False, True])
def test_a_step_of_a_detector_and_its_detections(on_both: Callable[..., None], federated: bool) -> None:
    head = RECIPES["smoke"].head.model_copy(update={"federated": federated})
    tokens_BCTU = torch.randn(2, 16, 8, 8)
    boxes_N4 = torch.tensor([[5.0, 5.0, 40.0, 30.0], [20.0, 10.0, 60.0, 60.0]])
    masks_NHW = torch.ones(2, 64, 64, dtype=torch.bool)

    def compute(device: torch.device) -> Any:
        torch.manual_seed(0)
        detector = CascadeMaskRCNN(
            head, channels=16, classes=5, patch=8, masks=True, frequencies=[3, 4, 5, 6, 7] if federated else None
        ).to(device)
        optimizer = torch.optim.AdamW(detector.parameters(), lr=1e-3)
        target = Target(boxes_N4.to(device), torch.tensor([1, 3], device=device), masks_NHW.to(device))
        nothing = Target(boxes_N4[:0].to(device), target.labels_N[:0], masks_NHW[:0].to(device))
        generator = torch.Generator(device).manual_seed(1)
        tokens, sizes = tokens_BCTU.to(device), [(64, 64), (64, 48)]
        losses = detector.losses(tokens, sizes, [target, nothing], generator)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        found = detector.eval().detect(tokens, sizes)
        return {name: loss.detach() for name, loss in losses.items()}, [vars(one) for one in found]

    on_both(compute)


def test_what_the_parts_of_a_detector_s_step_lose(on_both: Callable[..., None]) -> None:
    head = RECIPES["smoke"].head.model_copy(update={"federated": True})
    tokens_BCTU = torch.randn(2, 16, 8, 8)
    boxes_N4 = torch.tensor([[5.0, 5.0, 40.0, 30.0], [20.0, 10.0, 60.0, 60.0]])
    masks_NHW = torch.ones(2, 64, 64, dtype=torch.bool)

    def compute(device: torch.device) -> Any:
        torch.manual_seed(0)
        detector = CascadeMaskRCNN(head, channels=16, classes=60, patch=8, masks=True, frequencies=range(1, 61))
        detector.to(device)
        target = Target(boxes_N4.to(device), torch.tensor([1, 3], device=device), masks_NHW.to(device))
        nothing = Target(boxes_N4[:0].to(device), target.labels_N[:0], masks_NHW[:0].to(device))
        tokens, size = tokens_BCTU.to(device), [(64, 64)]
        parts = [StepPart(tokens[:1], size, [target]), StepPart(tokens[1:], size, [nothing])]
        lessons = detector.lessons(parts, torch.Generator(device).manual_seed(1))
        losses = [
            detector.losses(part.tokens_BCTU, size, part.targets, lesson=lesson)
            for part, lesson in zip(parts, lessons, strict=True)
        ]
        torch.stack([loss for each in losses for loss in each.values()]).sum().backward()
        gradients = [parameter.grad for parameter in detector.parameters()]
        return [{name: loss.detach() for name, loss in each.items()} for each in losses], gradients

    on_both(compute)


@pytest.mark.parametrize("name", ["random-weights", "noise", "constant"])
def test_an_encoder(on_both: Callable[..., None], name: str) -> None:
    pixels_B3HW = torch.rand(2, 3, 96, 96)

    def compute(device: torch.device) -> Any:
        encoder = load_encoder(EncoderSpec.parse(f"synthetic:{name}")).to(device)
        with torch.no_grad():
            found = encoder.encode(encoder.normalize(pixels_B3HW.to(device)))
        assert found.dense_BCHW.device == device
        return found.dense_BCHW, found.cls_BC

    on_both(compute)


def test_what_the_feature_probes_compute(on_both: Callable[..., None]) -> None:
    import numpy as np

    x_NC, y_N = torch.randn(40, 6), torch.arange(40) % 4
    images = np.array([f"image {number // 2}" for number in range(40)])

    def compute(device: torch.device) -> Any:
        x, y = x_NC.to(device), y_N.to(device)
        mean_C, scale_C = standardiser(x)
        x = (x - mean_C) / scale_C
        choice = choose_C(x, y, images, (0.01, 0.1, 1.0), holdout=0.2, seed=0)
        weight = fit_logistic(x, y, 4, C=choice.C, start_DK=choice.weight_DK)
        return choice.C, logits(x, weight), ranked(votes(x, x, y, 5, 0.07), 3)

    on_both(compute)


def test_features_that_are_kept(on_both: Callable[..., None]) -> None:
    tokens_BCTU = torch.randn(3, 4, 2, 2) * torch.tensor([1e-3, 1.0, 1e5])[:, None, None, None]

    def compute(device: torch.device) -> Any:
        tokens = tokens_BCTU.to(device)
        return rounded(tokens), packed(tokens).half_BCTU

    on_both(compute)


def test_a_tracker_learns_and_follows(on_both: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrackerConfig(template_grid=4, search_grid=8, blocks=2, head_width=16, drop_path=0)
    learning = LearningConfig(epochs=1, pairs=8, batch=4, part=4, precision="fp32")
    rng = np.random.default_rng(0)
    frames = [
        VideoFrame(name, rng.integers(256, size=(60, 80, 3), dtype=np.uint8), np.full(4, np.nan)) for name in "ab"
    ]
    boxes_B4 = np.array([[10.0, 10, 20, 30], [40, 20, 25, 20]])
    template_BCTT, search_BCSS = torch.randn(4, 96, 4, 4), torch.randn(4, 96, 8, 8)
    cells_BTT, truth_B4 = torch.rand(4, 4, 4) < 0.3, torch.tensor([[0.5, 0.5, 0.3, 0.2]]).repeat(4, 1)

    def compute(device: torch.device) -> Any:
        tracker = untrained(SMALL, config, device)
        # The made-up device's tensors cannot be sliced in inference mode.
        monkeypatch.setattr(tracker, "_quietly", torch.no_grad)
        found = tracker.step(tracker.begin(frames, boxes_B4), frames, boxes_B4)
        head = tracker.head.train()
        maps = head(head.template(template_BCTT.to(device), cells_BTT.to(device)), search_BCSS.to(device))
        losses = tracking_losses(maps, truth_B4.to(device), learning)
        torch.stack(list(losses.values())).sum().backward()
        return *map(torch.from_numpy, found), {name: each.detach() for name, each in losses.items()}, head.types.grad

    on_both(compute)
