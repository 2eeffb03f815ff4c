"""The pyramid's grids, and that a box reads the features that lie under it."""

import pytest
import torch

from probes.detection.pyramid import Canvas, Pyramid, pool
from probes.detection.rpn import anchors_of


@pytest.mark.parametrize("unpool", ["nearest", "bilinear", "zeros"])
def test_levels_of_odd_grid(unpool):
    tokens_BCTU = torch.rand(2, 3, 37, 5) + 0.1
    levels = Pyramid(3, unpool=unpool, projection=None)(tokens_BCTU)
    assert [tuple(x.shape[2:]) for x in levels] == [(148, 20), (74, 10), (37, 5), (19, 3), (10, 2)]
    assert levels[4].amax() == tokens_BCTU.amax()
    assert torch.equal(levels[3][..., -1, -1], tokens_BCTU[..., -1, -1]), "the last token must not fall off the edge"
    block_44 = levels[0][0, 0, 4:8, 8:12] / tokens_BCTU[0, 0, 1, 2]
    if unpool == "nearest":
        assert torch.equal(block_44, torch.ones(4, 4))
    if unpool == "zeros":
        assert block_44.nonzero().tolist() == [[0, 0]]


@pytest.mark.parametrize("patch", [8, 14, 16])
@pytest.mark.parametrize("side", [60, 150, 300])
def test_a_box_reads_its_own_place(patch, side):
    """Features that are their own position: any stride but 16 * 2^k canvas pixels would read from elsewhere."""
    scale = 16 / patch
    rows, columns = 37, 33
    y_TU, x_TU = torch.meshgrid(
        (torch.arange(rows) + 0.5) * patch, (torch.arange(columns) + 0.5) * patch, indexing="ij"
    )
    levels = Pyramid(2, unpool="bilinear", projection=None)(torch.stack([x_TU, y_TU])[None])
    # Sides in canvas pixels, so that p2, p3 and p4 are each read; p5 is a maximum and no position.
    half = side / scale / 2
    centre_R2 = torch.tensor([[15.3, 18.2], [17.0, 19.5]]) * patch
    boxes_R4 = torch.cat([centre_R2 - half, centre_R2 + half], 1)
    pooled_RCSS = pool(levels, [Canvas(patch).boxes(boxes_R4)], 7)
    assert torch.allclose(pooled_RCSS.mean((2, 3)), centre_R2, atol=1e-2)
    # And its cells are in place, not the centre alone.
    edges_R = pooled_RCSS[:, 0, :, -1].mean(1) - pooled_RCSS[:, 0, :, 0].mean(1)
    assert torch.allclose(edges_R, torch.full_like(edges_R, 2 * half * 6 / 7), atol=1e-2)


def test_boxes_of_each_image():
    maps_BCTU = torch.arange(3.0)[:, None, None, None].expand(3, 1, 8, 8)
    levels = Pyramid(1, unpool="nearest", projection=None)(maps_BCTU)
    box = torch.tensor([[8.0, 8.0, 60.0, 60.0]])
    pooled_RCSS = pool(levels, [box, torch.zeros(0, 4), box.repeat(2, 1)], 2)
    assert pooled_RCSS.mean((1, 2, 3)).tolist() == [0, 2, 2]


def test_no_number_is_pooled_without_harm():
    levels = Pyramid(1, unpool="nearest", projection=None)(torch.ones(1, 1, 4, 4))
    boxes_R4 = torch.tensor([[float("nan")] * 4, [float("-inf"), 0, float("inf"), 9], [0, 0, 30, 30]])
    assert torch.isfinite(pool(levels, [boxes_R4], 7)[2]).all()


def test_anchors_lie_on_the_levels_grid():
    levels = Pyramid(1, unpool="nearest", projection=None)(torch.zeros(1, 1, 37, 37))
    for anchors_A4, x_BChw, stride, size in zip(
        anchors_of(levels, (32, 64, 128, 256, 512)), levels, (4, 8, 16, 32, 64), (32, 64, 128, 256, 512), strict=True
    ):
        height, width = x_BChw.shape[2:]
        grid_hw34 = anchors_A4.reshape(height, width, 3, 4)
        centre_hw2 = (grid_hw34[:, :, 1, :2] + grid_hw34[:, :, 1, 2:]) / 2
        assert centre_hw2[-1, -1].tolist() == [(width - 1) * stride, (height - 1) * stride]
        assert centre_hw2[0, 1].tolist() == [stride, 0]
        sides_32 = grid_hw34[0, 0, :, 2:] - grid_hw34[0, 0, :, :2]
        assert torch.allclose(sides_32[:, 1] / sides_32[:, 0], torch.tensor([0.5, 1, 2]))
        assert torch.allclose(sides_32.prod(1), torch.tensor(float(size) ** 2))


def test_back_from_the_canvas():
    canvas = Canvas(14)
    back = canvas.back(torch.tensor([[0.0, 16.0, 592.0001, 592.0001]]), (518, 518))
    assert back.tolist() == [pytest.approx([0, 14, 518, 518])]
    assert back.max() <= 518


def test_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        levels = Pyramid(4, unpool="nearest", projection=3)(torch.rand(1, 4, 4, 4))
    assert {x.dtype for x in levels} == {torch.float32}
