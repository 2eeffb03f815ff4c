"""The detector against detectron2: numbers recorded from it (record_detectron2.py), and itself where it imports.

Weights and inputs are made of numbers that every machine gives alike, so that the recording need hold results alone.
"""

import dataclasses
import importlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from probes.detection.backend import build_detector
from probes.detection.cascade import CascadeMaskRCNN
from probes.detection.masks import cutouts
from probes.detection.nouns import Detector, Target
from probes.detection.recipe import HeadConfig
from rice_core.errors import UserError

NUMBERS = Path(__file__).with_name("detectron2_numbers.json")
STEPS = 12
_SMALL = HeadConfig(
    # Nearest unpooling makes cells that tie, and ties fall as the machine likes.
    unpool="bilinear",
    rpn_width=8,
    conv_width=6,
    fc_width=16,
    mask_convs=2,
    regions=24,
    proposals=60,
    detections=15,
)


@dataclass(frozen=True)
class Case:
    head: HeadConfig
    classes: int = 5
    patch: int = 16
    masks: bool = True
    frequencies: tuple[float, ...] | None = None
    channels: int = 8
    grid: tuple[int, int] = (5, 7)

    @property
    def arguments(self) -> dict:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("head", "grid")}


CASES = {
    # The projection shows what gradient comes back to the features.
    "softmax": Case(_SMALL.model_copy(update={"projection": 6})),
    # More categories than a step draws, so that the draw counts.
    "federated": Case(
        _SMALL.model_copy(update={"federated": True, "score_threshold": 0.5}),
        classes=70,
        frequencies=tuple(float(1 + 7 * k % 100) for k in range(70)),
    ),
    "boxes": Case(_SMALL.model_copy(update={"box_head": "4conv1fc", "rpn_convs": 2}), masks=False),
    "patch14": Case(_SMALL.model_copy(update={"box_head": "4conv1fc", "projection": 6}), patch=14, grid=(7, 5)),
}


def numbers_of(name: str, salt: int, *shape: int) -> torch.Tensor:
    """Even in [-1, 1)."""
    return torch.from_numpy(
        2 * np.random.Generator(np.random.PCG64([zlib.crc32(name.encode()), salt])).random(shape) - 1
    ).float()


def fill(detector: torch.nn.Module) -> None:
    """Weights that do not depend on torch's generator, and that find something."""
    for name, parameter in detector.named_parameters():
        value = numbers_of(name, 0, *parameter.shape)
        if parameter.ndim == 1:
            value = 0.1 * value + (1.0 if "norm.weight" in name else 0.0)
        else:
            gain = {"bbox_pred": 1.0, "anchor_deltas": 0.4, "cls_score": 3.0}.get(name.split(".")[-2], 1.5)
            value = gain * value * (3 / parameter[0].numel()) ** 0.5
        parameter.data.copy_(value)


def inputs(case: Case) -> tuple[torch.Tensor, list[tuple[int, int]], list[Target]]:
    """Three images of mixed sizes, the second without an object."""
    height, width = (side * case.patch for side in case.grid)
    tokens_BCTU = numbers_of("tokens", case.patch, 3, case.channels, *case.grid)
    sizes_hw = [(height, width), (height - 9, width - 30), (height - 21, width - 3)]
    targets = []
    for image, objects in enumerate((3, 0, 2)):
        corners_N22 = (numbers_of("objects", image, objects, 2, 2) + 1) / 2
        left_top_N2 = corners_N22[:, 0] * torch.tensor([width - 50.0, height - 50.0])
        boxes_N4 = torch.cat([left_top_N2, left_top_N2 + 12 + 30 * corners_N22[:, 1]], 1)
        y_H1, x_W = torch.arange(height)[:, None] + 0.5, torch.arange(width) + 0.5
        middle_N2, half_N2 = (boxes_N4[:, 2:] + boxes_N4[:, :2]) / 2, (boxes_N4[:, 2:] - boxes_N4[:, :2]) / 2
        masks_NHW = ((x_W - middle_N2[:, 0, None, None]) / half_N2[:, 0, None, None]) ** 2 + (
            (y_H1 - middle_N2[:, 1, None, None]) / half_N2[:, 1, None, None]
        ) ** 2 < 1
        labels_N = (torch.arange(objects) * 2 + image) % case.classes
        targets.append(Target(boxes_N4, labels_N, masks_NHW if case.masks else None))
    return tokens_BCTU, sizes_hw, targets


def measure(detector: Detector, case: Case) -> dict:
    """Losses, the norm of each parameter's gradient, detections, and the losses' sums over a short training."""
    fill(detector)
    tokens_BCTU, sizes_hw, targets = inputs(case)
    losses = detector.train().losses(tokens_BCTU, sizes_hw, targets, torch.Generator().manual_seed(3))
    sum(losses.values()).backward()
    found = {
        "losses": {name: loss.item() for name, loss in losses.items()},
        "gradients": {name: p.grad.norm().item() for name, p in detector.named_parameters()},
        "detections": [],
        "steps": [],
    }
    for one, (height, width) in zip(detector.eval().detect(tokens_BCTU, sizes_hw), sizes_hw, strict=True):
        image = {"boxes": one.boxes_D4.tolist(), "scores": one.scores_D.tolist(), "labels": one.labels_D.tolist()}
        if case.masks:
            image["masks"] = one.masks_DMM.sum((1, 2)).tolist()
            pasted = cutouts(one.masks_DMM, one.boxes_D4, (height, width))
            image["pasted"] = [int(each.mask_hw.sum()) for each in pasted]
        found["detections"].append(image)
    optimizer = torch.optim.AdamW(detector.train().parameters(), lr=1e-3)
    for step in range(STEPS):
        optimizer.zero_grad()
        losses = detector.losses(tokens_BCTU, sizes_hw, targets, torch.Generator().manual_seed(step))
        loss = sum(losses.values())
        loss.backward()
        optimizer.step()
        found["steps"].append(loss.item())
    return found


@pytest.mark.parametrize("name", CASES)
def test_recorded(name):
    case, recorded = CASES[name], json.loads(NUMBERS.read_text())["cases"][name]
    found = measure(CascadeMaskRCNN(case.head, **case.arguments), case)
    steps, recorded_steps = found.pop("steps"), recorded.pop("steps")
    # Box corners are differences of numbers of hundreds of pixels.
    for (path, mine), (known, theirs) in zip(leaves(found), leaves(recorded), strict=True):
        assert path == known
        assert mine == pytest.approx(theirs, rel=1e-5, abs=1e-4 if "boxes" in path else 1e-6), path
    assert steps == pytest.approx(recorded_steps, rel=1e-4)
    assert min(len(image["boxes"]) for image in recorded["detections"]) > 2, "a recording must hold something"


def leaves(tree, path=()):
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key], (*path, key))]
    if isinstance(tree, list):
        return [leaf for row, one in enumerate(tree) for leaf in leaves(one, (*path, row))]
    return [(path, tree)]


@pytest.fixture(scope="module")
def _detectron2() -> None:
    """A checkout on the path is not one that imports: its own requirements may be missing, or Pillow too new for it."""
    try:
        importlib.import_module("detectron2.modeling")
    except (ImportError, AttributeError) as error:
        pytest.skip(f"detectron2 does not import: {error}")


live = pytest.mark.usefixtures("_detectron2")


@live
@pytest.mark.parametrize("name", CASES)
def test_live(name):
    case = CASES[name]
    torch.manual_seed(0)
    theirs, said = build_detector(case.head, **case.arguments, backend="detectron2")
    torch.manual_seed(0)
    ours, _ = build_detector(case.head, **case.arguments, backend="ops")
    assert said.startswith("detectron2 ")
    first, first_theirs = ours.state_dict(), theirs.state_dict()
    assert list(first) == list(first_theirs)
    assert all(torch.equal(first[key], first_theirs[key]) for key in first), "a seed starts both alike"
    found, recorded = measure(ours, case), measure(theirs, case)
    for (path, mine), (known, truth) in zip(leaves(found), leaves(recorded), strict=True):
        assert path == known
        assert mine == pytest.approx(truth, rel=1e-6, abs=1e-6), path


@live
def test_live_contract():
    """What the other backend owes beside numbers: the generator goes on, autocast works, no number is an error."""
    case = CASES["patch14"]
    tokens_BCTU, sizes_hw, targets = inputs(case)
    after = []
    for backend in ("ops", "detectron2"):
        detector, _ = build_detector(case.head, **case.arguments, backend=backend)
        fill(detector)
        generator, before = torch.Generator().manual_seed(3), torch.get_rng_state()
        detector.losses(tokens_BCTU, sizes_hw, targets, generator)
        assert torch.equal(torch.get_rng_state(), before)
        after.append(generator.get_state())
        with torch.autocast("cpu", torch.bfloat16):
            found = detector.losses(tokens_BCTU, sizes_hw, targets, generator)
            assert detector.detect(tokens_BCTU, sizes_hw)[0].scores_D.dtype == torch.float32
        assert all(loss.isfinite() for loss in found.values())
        empty = [dataclasses.replace(targets[1], masks_NHW=None)] * 3
        assert detector.losses(tokens_BCTU, sizes_hw, empty)["loss_mask"] == 0
        with pytest.raises(UserError, match="not finite"):
            detector.losses(tokens_BCTU * float("nan"), sizes_hw, targets)
        assert [len(one.boxes_D4) for one in detector.detect(tokens_BCTU * float("nan"), sizes_hw)] == [0, 0, 0]
    assert torch.equal(*after)
