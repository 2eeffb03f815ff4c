"""The detector's behaviour apart from parity: nothing to find, numbers that are none, patches, masks, backends."""

import sys
from functools import partial

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from probes.detection import rpn, stages
from probes.detection.backend import build_detector
from probes.detection.boxes import POSITIVE, decode, draw, encode, match
from probes.detection.cascade import CascadeMaskRCNN
from probes.detection.federated import category_weights, drawn_categories, federated_loss, learnt_categories
from probes.detection.masks import Cutout, MaskHead, cutouts, mask_targets, rle_of
from probes.detection.nouns import LOSSES, Target
from probes.detection.recipe import RECIPES, HeadConfig
from rice_core.errors import UserError

SMALL = HeadConfig(
    rpn_width=8, conv_width=8, fc_width=16, mask_convs=1, regions=32, proposals=60, score_threshold=0.0, detections=10
)
TOKENS = torch.randn(2, 8, 6, 7, generator=torch.Generator().manual_seed(1))


def detector(patch=16, masks=True, **changes):
    torch.manual_seed(0)
    return CascadeMaskRCNN(SMALL.model_copy(update=changes), channels=8, classes=3, patch=patch, masks=masks)


def target(patch=16, objects=2, masks=True):
    boxes_N4 = torch.tensor([[8.0, 10, 50, 60], [60, 30, 100, 90]])[:objects] * patch / 16
    masks_NHW = torch.ones(objects, 6 * patch, 7 * patch, dtype=torch.bool) if masks else None
    return Target(boxes_N4, torch.arange(objects), masks_NHW)


def sizes(patch=16):
    return [(6 * patch, 7 * patch)] * 2


def losses(model, targets, patch=16, tokens=TOKENS, seed=0):
    return model.losses(tokens, sizes(patch), targets, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("objects", [(2, 0), (0, 0)])
@pytest.mark.parametrize("federated", [False, True])
def test_images_without_an_object(objects, federated):
    model = CascadeMaskRCNN(
        SMALL.model_copy(update={"federated": federated, "projection": 4}),
        channels=8,
        classes=3,
        patch=16,
        masks=True,
        frequencies=(1, 2, 3),
    )
    found = losses(model, [target(objects=number, masks=number > 0) for number in objects])
    assert set(found) == set(LOSSES)
    assert all(loss.isfinite() for loss in found.values())
    sum(found.values()).backward()
    # Under DDP every parameter must get a gradient, in a batch without an object too.
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert (found["loss_mask"] == 0) == (sum(objects) == 0)


def test_masks_are_optional_and_missed():
    assert "loss_mask" not in losses(detector(masks=False), [target(masks=False)] * 2)
    assert detector(masks=False).detect(TOKENS, sizes())[0].masks_DMM is None
    with pytest.raises(UserError, match=r"image 1 .* masks=off"):
        losses(detector(), [target(), target(masks=False)])


def test_generator_draws():
    model, targets = detector(regions=4), [target()] * 2
    first, same, other = (losses(model, targets, seed=seed)["loss_cls_stage0"] for seed in (0, 0, 1))
    assert first == same != other


@pytest.mark.parametrize("patch", [8, 14])
def test_patch_is_no_more_than_a_scale(patch):
    """The same tokens and weights, everything in pixels scaled: the same losses, the same detections scaled."""
    plain, scaled = detector(masks=False), detector(patch, masks=False)
    found, again = losses(plain, [target()] * 2), losses(scaled, [target(patch)] * 2, patch)
    assert {name: loss.item() for name, loss in again.items()} == pytest.approx(
        {name: loss.item() for name, loss in found.items()}, rel=1e-4
    )
    for one, other in zip(plain.detect(TOKENS, sizes()), scaled.detect(TOKENS, sizes(patch)), strict=True):
        assert len(one.boxes_D4) == 10
        assert torch.allclose(other.boxes_D4, one.boxes_D4 * patch / 16, atol=1e-3)
        assert other.boxes_D4[:, 3].max() <= 6 * patch


@pytest.mark.parametrize("patch", [14, 16])
def test_masks_are_read_in_the_encoders_pixels(patch):
    """Masks that fill their boxes are ones all over them, whatever the patch; so a head that is certain of ones is right."""
    boxes_N4 = target(patch).boxes_N4.round()
    masks_NHW = torch.zeros(2, 6 * patch, 7 * patch, dtype=torch.bool)
    for mask_HW, (left, top, right, bottom) in zip(masks_NHW, boxes_N4.int().tolist(), strict=True):
        mask_HW[top:bottom, left:right] = True
    model = detector(patch)
    truth = Target(boxes_N4 * 16 / patch, torch.arange(2), masks_NHW)
    with torch.no_grad():
        model.roi_heads.mask_head.predictor.bias.fill_(20.0)
    # The objects themselves as the only proposals.
    regions = model.roi_heads.drawn([torch.zeros(0, 4)], [truth], None)
    loss = model.roi_heads._mask_loss(model.pyramid(TOKENS[:1]), regions, [truth], 16 / patch)
    assert loss < 0.01


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_features_that_are_no_numbers(bad):
    tokens = TOKENS.clone()
    tokens[1, 0, 0, 0] = bad
    with pytest.raises(UserError, match=r"image 1 of a batch.*not finite.*dtype=fp32"):
        losses(detector(), [target()] * 2, tokens=tokens)
    found = detector().detect(tokens, sizes())
    assert len(found[0].boxes_D4) == 10
    assert all(one.boxes_D4.isfinite().all() and one.scores_D.isfinite().all() for one in found)


@pytest.mark.parametrize("stage", [0, 2])
def test_a_stage_that_gives_no_number(stage):
    model = detector()
    with torch.no_grad():
        model.roi_heads.box_predictor[stage].bbox_pred.bias[0] = float("inf")
    assert [len(one.boxes_D4) for one in model.detect(TOKENS, sizes())] == [0, 0]
    if stage == 0:
        with pytest.raises(UserError, match="not finite"):
            losses(model, [target()] * 2)


def test_bfloat16():
    model = detector()
    with torch.autocast("cpu", torch.bfloat16):
        found = losses(model, [target()] * 2)
        detections = model.detect(TOKENS, sizes())
    assert {loss.dtype for loss in found.values()} == {torch.float32}
    assert {detections[0].scores_D.dtype, detections[0].masks_DMM.dtype} == {torch.float32}
    full = losses(model, [target()] * 2)
    assert found["loss_rpn_cls"].item() == pytest.approx(full["loss_rpn_cls"].item(), rel=0.02)


def test_coding_is_undone():
    boxes_R4 = torch.rand(9, 4) * 20 + torch.tensor([0, 0, 30, 30])
    true_R4 = torch.rand(9, 4) * 20 + torch.tensor([0, 0, 30, 30])
    weights = (10.0, 10.0, 5.0, 5.0)
    assert torch.allclose(decode(encode(boxes_R4, true_R4, weights), boxes_R4, weights), true_R4, atol=1e-4)


def test_matching():
    true_N4 = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    boxes_R4 = torch.tensor([[0.0, 0, 10, 8], [0, 0, 10, 5], [50, 50, 52, 60], [80, 80, 90, 90]])
    object_R, label_R = match(boxes_R4, true_N4, low=0.3, high=0.7, best_of_each=False)
    assert (object_R[:3].tolist(), label_R.tolist()) == ([0, 0, 1], [1, -1, 0, 0])
    _, label_R = match(boxes_R4, true_N4, low=0.3, high=0.7, best_of_each=True)
    assert label_R.tolist() == [1, -1, 1, 0]


def test_drawing():
    label_R = torch.tensor([1] * 8 + [0] * 5 + [-1] * 9)
    labels = [torch.full((4,), -1), label_R, label_R[3:]]
    none, *both = draw(labels, number=12, share=0.25, negative=0, generator=None)
    assert [len(rows) for rows in none] == [0, 0]
    for (positive_P, negative_Q), of_image in zip(both, labels[1:], strict=True):
        assert (len(positive_P), len(negative_Q)) == (3, 5)
        assert (of_image[positive_P] == POSITIVE).all()
        assert (of_image[negative_Q] == 0).all()


def test_federated_loss_learns_from_its_own_and_the_drawn():
    # Of 100 categories 50 are drawn, but those without an image never are.
    weight_K = category_weights([0.0] * 40 + [4.0] * 60, 100)
    logits_RJ = torch.zeros(4, 101, requires_grad=True)
    label_R = torch.tensor([3, 99, 100, 100])
    learnt = learnt_categories(label_R, weight_K, 50, torch.Generator().manual_seed(0))
    federated_loss(logits_RJ, label_R, learnt).backward()
    learnt_J = logits_RJ.grad.abs().sum(0) > 0
    assert learnt_J[[3, 99]].all()
    assert int(learnt_J[:40].sum()) == 1, "a category without images is learnt from where it is true alone"
    assert int(learnt_J.sum()) == 49, "background counts among the 50 and is not learnt"
    assert drawn_categories(category_weights([1.0] * 7, 7)) == 7


@pytest.mark.parametrize("frequencies", [None, (1, 2), (1, 2, -1), (0, 0, 0)])
def test_federated_loss_needs_frequencies(frequencies):
    with pytest.raises(UserError, match="image_count"):
        build_detector(
            HeadConfig(federated=True),
            channels=4,
            classes=3,
            patch=16,
            masks=False,
            frequencies=frequencies,
            backend="ops",
        )


def test_mask_targets():
    masks_NHW = torch.zeros(2, 40, 40, dtype=torch.bool)
    masks_NHW[1, :, :20] = True
    boxes_R4, object_R = torch.tensor([[6.0, 6, 34, 34], [0, 0, 28, 28]]), torch.tensor([1, 0])
    targets_RMM = mask_targets(masks_NHW, boxes_R4, object_R)
    assert torch.equal(targets_RMM[0], (torch.arange(28) < 14).float().expand(28, 28))
    assert not targets_RMM[1].any()


def test_pasting():
    masks_DMM = torch.ones(5, 28, 28)
    masks_DMM[1, :, 14:] = 0
    boxes_D4 = torch.tensor([[2.0, 3, 9, 8], [-10, 0, 10, 12], [5, 5, 5, 9], [18, 10, 40, 30], [30, 30, 35, 35]])
    expected_DHW = torch.zeros(5, 12, 20, dtype=torch.bool)
    expected_DHW[0, 3:8, 2:9] = True
    expected_DHW[3, 10:, 18:] = True
    found = [rle_of(each, (12, 20)) for each in cutouts(masks_DMM, boxes_D4, (12, 20))]
    assert np.array_equal(coco_mask.decode(found).transpose(2, 0, 1), expected_DHW.numpy())
    assert cutouts(torch.zeros(0, 28, 28), torch.zeros(0, 4), (3, 4)) == []


@pytest.mark.parametrize("seed", range(200))
def test_run_lengths_are_those_of_pycocotools(seed):
    """Of the part alone; also where it reaches all borders, is empty, or is all true."""
    rng = np.random.default_rng(seed)
    H, W = rng.integers(1, 30, 2)
    top, left = rng.integers(H + 1), rng.integers(W + 1)
    if seed % 3 == 0:
        top = 0
    rows, columns = rng.integers(H - top + 1), rng.integers(W - left + 1)
    if seed % 3 == 0:
        rows = H
    mask_hw = rng.random((rows, columns)) < (0, 0.5, 0.9, 1)[seed % 4]
    whole_HW = np.zeros((H, W), np.uint8)
    whole_HW[top : top + rows, left : left + columns] = mask_hw
    theirs = coco_mask.encode(np.asfortranarray(whole_HW))
    found = rle_of(Cutout(int(top), int(left), mask_hw), (int(H), int(W)))
    assert found == {"size": [H, W], "counts": theirs["counts"].decode()}


def test_names_and_shapes_are_detectron2s():
    shapes = {name: tuple(p.shape) for name, p in detector(mask_convs=2, fc_width=32).named_parameters()}
    assert shapes["proposal_generator.rpn_head.anchor_deltas.weight"] == (12, 8, 1, 1)
    assert shapes["roi_heads.box_head.2.fc1.weight"] == (32, 8 * 49)
    assert shapes["roi_heads.box_predictor.1.cls_score.weight"] == (4, 32)
    assert shapes["roi_heads.mask_head.mask_fcn2.weight"] == (8, 8, 3, 3)
    assert len(shapes) == 6 + 3 * 8 + 8
    with torch.device("meta"):
        whole = CascadeMaskRCNN(RECIPES["paper@1"].head, channels=768, classes=80, patch=16, masks=True)
    assert round(sum(p.numel() for p in whole.parameters()) / 1e6) == 128


def test_backends(monkeypatch):
    monkeypatch.setitem(sys.modules, "detectron2", None)
    arguments = {"channels": 4, "classes": 3, "patch": 16, "masks": False}
    found, said = build_detector(SMALL, **arguments)
    assert isinstance(found, CascadeMaskRCNN)
    assert said.startswith("ops (torchvision ")
    with pytest.raises(UserError, match=r"02b5c4e.*backend=ops"):
        build_detector(SMALL, **arguments, backend="detectron2")
    with pytest.raises(UserError, match="auto, ops or detectron2"):
        build_detector(SMALL, **arguments, backend="mmdet")


class Asked(TorchDispatchMode):
    """Counts what a GPU's host would wait for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        waits = ("nonzero", "_local_scalar_dense", "unique", "masked_select", "lift_fresh")
        self.count += any(word in function.__name__ for word in waits)
        return function(*args, **kwargs or {})


@pytest.mark.parametrize("detects", [False, True])
def test_the_host_asks_for_all_images_at_once(detects, monkeypatch):
    for module in (rpn, stages):  # torchvision's own suppression asks, image by image
        monkeypatch.setattr(module, "batched_nms", lambda boxes_R4, scores_R, *_: scores_R.argsort(descending=True))

    def asked(images):
        model, tokens = detector(), TOKENS[:1].repeat(images, 1, 1, 1)
        call = partial(model.detect, tokens, sizes()[:1] * images) if detects else partial(_step, model, tokens)
        call()
        with Asked() as mode:
            call()
        return mode.count

    assert 0 < asked(2) == asked(5) < 25


def _step(model, tokens):
    found = model.losses(tokens, sizes()[:1] * len(tokens), [target()] * len(tokens), torch.Generator().manual_seed(0))
    sum(found.values()).backward()


@pytest.mark.parametrize("boxes", [0, 1, 3, 30])
def test_logits_of_the_categories_that_are_asked_for_are_those_of_all(boxes):
    head = MaskHead(4, width=8, convs=1, classes=200, norm=False)
    nn.init.normal_(head.predictor.weight)
    pooled_RCSS, label_R = torch.randn(boxes, 4, 14, 14), torch.randint(9, (boxes,)) * 20
    gradients, found = [], []
    for every in (True, False):
        head.zero_grad()
        logits_RMM = head(pooled_RCSS)[torch.arange(boxes), label_R] if every else head.of_labels(pooled_RCSS, label_R)
        logits_RMM.square().sum().backward()
        found.append(logits_RMM)
        gradients.append([p.grad.clone() for p in head.parameters()])
    assert torch.equal(*found)
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
