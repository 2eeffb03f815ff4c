"""Writes ostrack-model.safetensors: what OSTrack's own code gives for small seeded inputs, for test_ostrack_parity.py.

Of botaoye/OSTrack at 33b5e12. Run with the folder of a checkout, where opencv and timm import:
    python tests/tracking/oracles/record_ostrack_model.py /path/to/OSTrack
"""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import torch
from safetensors.torch import save_file

OUT = Path(__file__).with_name("ostrack-model.safetensors")
FACTORS = ((2.0, 32), (4.0, 24), (5.0, 20))
COMMIT = "33b5e12586216b7fd0e95d255bd01ba44cbec759"


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    torch.set_num_threads(1)
    for absent in ("tensorboardX", "jpeg4py", "visdom", "visdom.server", "lmdb", "lib.test.evaluation.environment"):
        sys.modules[absent] = MagicMock()
    six = ModuleType("torch._six")  # torch had it when OSTrack was written
    six.string_classes, six.int_classes = str, int
    sys.modules["torch._six"] = six
    recorded = heads() | heat_maps() | losses() | crops() | clips()
    recorded = {name: tensor.contiguous() for name, tensor in recorded.items()}
    save_file(recorded, OUT, metadata={"ostrack": COMMIT, "torch": torch.__version__})


def heads() -> dict[str, torch.Tensor]:
    """Maps and boxes of a small head, judging and learning, and with the tracker's window."""
    from lib.models.layers.head import CenterPredictor
    from lib.test.utils.hann import hann2d

    torch.manual_seed(0)
    head = CenterPredictor(inplanes=12, channel=16, feat_sz=7, stride=16)
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_(0, 0.2)
    recorded = {f"head/weights/{name}": value.clone() for name, value in head.state_dict().items()}
    recorded["head/input"] = input_BCSS = torch.randn(5, 12, 7, 7)
    window = hann2d(torch.tensor([7, 7]).long(), centered=True)
    recorded["head/window"] = window[0, 0].clone()
    for mode in ("judging", "learning"):
        head.train(mode == "learning")
        with torch.no_grad():
            score, box, size, offset = head(input_BCSS.clone())
            windowed = head.cal_bbox(window * score, size, offset)
        found = {"score": score, "size": size, "offset": offset, "box": box, "windowed": windowed}
        recorded |= {f"head/{mode}/{name}": value.clone() for name, value in found.items()}
    recorded |= {f"head/learnt/{name}": value.clone() for name, value in head.state_dict().items() if "running" in name}
    return recorded


def some_boxes(n: int) -> torch.Tensor:
    """x, y, w, h in [0, 1] of a crop; some are large, thin, or have their middle on or beyond the border."""
    boxes_N4 = torch.rand(n, 4) * torch.tensor([0.8, 0.8, 0.6, 0.6])
    odd = [[0.9, 0.9, 0.2, 0.2], [0.95, 0.1, 0.2, 0.3], [-0.2, 0.4, 0.3, 0.3], [0, 0, 1, 1], [0.4, 0.4, 0.01, 0.01]]
    odd += [[-0.3, -0.3, 1.6, 1.6], [0.5 / 16, 1.5 / 16, 0, 0], [0.2, 0.3, 0.7, 0.02], [1.1, 1.1, 0.1, 0.1]]
    return torch.cat([boxes_N4, torch.tensor(odd)])


def heat_maps() -> dict[str, torch.Tensor]:
    from lib.utils.heapmap_utils import generate_heatmap

    torch.manual_seed(1)
    boxes_N4 = some_boxes(30)
    return {
        "heat/boxes": boxes_N4,
        "heat/16": generate_heatmap([boxes_N4], 256, 16)[0],
        "heat/9": generate_heatmap([boxes_N4], 126, 14)[0],
    }


def losses() -> dict[str, torch.Tensor]:
    """Of OSTrack's own actor, batch by batch; the last batch has no middle inside the grid."""
    from lib.models.layers.head import CenterPredictor
    from lib.train.actors.ostrack import OSTrackActor
    from lib.utils.box_ops import giou_loss
    from lib.utils.focal_loss import FocalLoss

    torch.manual_seed(2)
    cfg = SimpleNamespace(
        DATA=SimpleNamespace(SEARCH=SimpleNamespace(SIZE=112)),
        MODEL=SimpleNamespace(BACKBONE=SimpleNamespace(STRIDE=16)),
    )
    objective = {"giou": giou_loss, "l1": torch.nn.functional.l1_loss, "focal": FocalLoss()}
    weights = {"giou": 2.0, "l1": 5.0, "focal": 1.0}
    actor = OSTrackActor(None, objective, weights, SimpleNamespace(batchsize=4), cfg)
    predictor = CenterPredictor(inplanes=4, channel=8, feat_sz=7)
    recorded: dict[str, torch.Tensor] = {}
    for number in range(4):
        boxes_N4 = some_boxes(4)[:4] if number < 3 else torch.tensor([[0.95, 0.95, 0.3, 0.3]] * 4)
        score, size = (torch.rand(4, n, 7, 7).clamp(1e-4, 1 - 1e-4).requires_grad_() for n in (1, 2))
        offset = (torch.rand(4, 2, 7, 7) - 0.5).requires_grad_()
        found = {"pred_boxes": predictor.cal_bbox(score, size, offset)[:, None], "score_map": score}
        loss, status = actor.compute_losses(found, {"search_anno": boxes_N4[None]})
        loss.backward()
        values = torch.tensor([loss.item(), *(status[f"Loss/{name}"] for name in ("location", "giou", "l1"))])
        recorded |= {
            f"loss/{number}/boxes": boxes_N4,
            f"loss/{number}/values": values,
            **{f"loss/{number}/{name}": each.detach() for name, each in zip("sco", (score, size, offset), strict=True)},
            **{f"loss/{number}/grad_{name}": e.grad for name, e in zip("sco", (score, size, offset), strict=True)},
        }
    return recorded


def crops() -> dict[str, torch.Tensor]:
    """Pixels, labels, and boxes mapped back by the tracker."""
    from lib.test.tracker.ostrack import OSTrack
    from lib.train.data.processing_utils import sample_target, transform_image_to_crop

    draw = np.random.default_rng(3)
    # Smooth, as photographs are: opencv's fixed-point weights are told by a level or two on noise.
    frame = np.kron(draw.integers(0, 256, (9, 12, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    around = torch.from_numpy(draw.uniform((-15, -15, 3, 3), (110, 80, 50, 50), (10, 4)))
    true = around + torch.from_numpy(draw.uniform(-4, 4, (10, 4)).clip(-2, 4))
    recorded = {"crop/frame": torch.from_numpy(frame), "crop/around": around, "crop/true": true}
    for factor, size in FACTORS:
        pixels, labels, back = [], [], []
        for place in range(len(around)):
            patch, scale, _ = sample_target(frame, around[place].tolist(), factor, output_sz=size)
            sizes = torch.tensor([size, size], dtype=torch.float64)
            labels.append(transform_image_to_crop(true[place], around[place], scale, sizes, normalize=True))
            pixels.append(torch.from_numpy(patch))
            tracker = SimpleNamespace(state=around[place].tolist(), params=SimpleNamespace(search_size=size))
            # A box as the head would give it, cx, cy, w, h in [0, 1], in pixels of the crop.
            found = (torch.tensor([0.4, 0.55, 0.3, 0.2], dtype=torch.float64) * size / scale).tolist()
            back.append(torch.tensor(OSTrack.map_box_back(tracker, found, scale), dtype=torch.float64))
        recorded |= {f"crop/{size}/pixels": torch.stack(pixels), f"crop/{size}/labels": torch.stack(labels)}
        recorded[f"crop/{size}/back"] = torch.stack(back)
    return recorded


def clips() -> dict[str, torch.Tensor]:
    from lib.utils.box_ops import clip_box

    draw = np.random.default_rng(4)
    boxes_N4 = draw.uniform((-80, -80, 0, 0), (180, 160, 90, 90), (60, 4))
    clipped = [clip_box(row, 90, 120, margin=10) for row in boxes_N4.tolist()]
    return {"clip/boxes": torch.from_numpy(boxes_N4), "clip/clipped": torch.tensor(clipped, dtype=torch.float64)}


if __name__ == "__main__":
    main()
