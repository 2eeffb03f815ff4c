"""Linear segmentation: cells and counts by hand and by scikit-learn, chance for noise, 100 for perfect tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, jaccard_score

from probes.label_maps import SheetPanel, contact_sheet, counts, majority, palette
from probes.linear_seg import Head, LinearSeg, judge, mean_iou
from rice_core.errors import NotApplicable, UserError
from rice_core.probe import Read
from rice_core.stats.estimates import mean_clustered


def run(encoder, work, seed=0, **params):
    vars(work).get("_work", work).encoder = encoder
    return LinearSeg(**{"grid": work.grid, **params}).run(encoder, seed=seed, work=work)


def test_majority_of_a_cell_and_the_smaller_label_of_equals():
    labels = np.array([[0, 0, 2, 1], [0, 3, 1, 2], [4, 4, 0, 0], [4, 4, 0, 5]])
    assert majority(labels, (2, 2), 6).tolist() == [[0, 1], [4, 0]]
    assert (majority(labels, (4, 4), 6) == labels).all()
    assert majority(labels, (1, 2), 6).tolist() == [[4, 0]]


def test_a_cell_is_ignored_where_more_of_it_is_than_of_any_label():
    labels = np.array([[-1, -1, -1, 2], [0, 2, 2, -1], [-1, 1, -1, 0], [-1, 2, -1, 1]])
    assert majority(labels, (2, 2), 3).tolist() == [[-1, 2], [-1, -1]]
    assert majority(labels, (1, 1), 3).tolist() == [[-1]]
    assert (majority(labels, (4, 4), 3) == labels).all()
    assert majority(np.full((2, 2), -1), (1, 1), 0).tolist() == [[-1]]


def test_ignored_cells_are_neither_right_nor_guessed_nor_true():
    truth, guess = np.array([[0, -1, 1], [-1, 1, 1]]), np.array([[0, 1, 1], [0, 0, 1]])
    assert counts(guess, truth, 3).tolist() == [[1, 2, 0], [2, 2, 0], [1, 3, 0]]


def test_uneven_cells_take_the_pixels_whose_centre_they_hold():
    assert majority(np.array([[0, 1, 1, 2, 2]]), (1, 3), 3).tolist() == [[0, 1, 2]]
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (17, 23))
    rows, columns = (np.floor((np.arange(n) + 0.5) * 5 / n) for n in labels.shape)
    for i in range(5):
        for j in range(5):
            inside = labels[np.ix_(rows == i, columns == j)]
            assert majority(labels, (5, 5), 3)[i, j] == np.bincount(inside.ravel(), minlength=3).argmax()


def test_intervals_stay_within_percent_and_all_right_in_few_images_is_no_certainty():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (5, 6, 6))
    for share in (1.0, 0.97, 0.02, 0.0):
        guess = np.where(rng.random(truth.shape) < share, truth, (truth + 1) % 4)
        cells = np.stack([counts(g, t, 4) for g, t in zip(guess, truth, strict=True)])
        for metric in judge(tuple("abcde"), cells, 0)[1]:
            assert metric.bounds == (0, 100)
            assert 0 <= metric.ci95[0] <= metric.value <= metric.ci95[1] <= 100
            assert metric.ci95[1] - metric.ci95[0] > 0.5


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_metrics_are_scikit_learns():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 5, (30, 6, 6)) * (rng.random((30, 6, 6)) < 0.6)
    guess = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, 7, truth.shape))
    cells = np.stack([counts(g, t, 7) for g, t in zip(guess, truth, strict=True)])
    scores, (miou, macc) = judge(tuple(f"{i:02}" for i in range(30)), cells, 0)
    flat = truth.ravel(), guess.ravel()
    assert miou.value == pytest.approx(100 * jaccard_score(*flat, labels=range(5), average="macro"))
    assert macc.value == pytest.approx(100 * balanced_accuracy_score(*flat))
    assert macc.chance == 20
    assert np.trace(confusion_matrix(*flat)) == cells[:, 0].sum()
    for metric in (miou, macc):
        assert np.mean(scores.values[metric.name]) == pytest.approx(metric.value)
    assert miou.method == "bootstrap over images (1000), Wilson interval"


def test_per_image_values_of_miou_carry_the_bootstraps_error(toy_encoder, toy_work):
    found = run(toy_encoder(signal=0.35), toy_work(kinds=4, sizes={"train": 80, "val": 150}))
    linearised = mean_clustered(found.scores.values["miou"], found.scores.cluster)
    assert linearised.stderr == pytest.approx(found.metrics[0].stderr, rel=0.12)


def test_a_category_that_a_resample_lacks_is_left_out():
    sums = np.array([[[3, 1, 0], [4, 2, 5], [3, 2, 0]]], dtype=float)
    assert mean_iou(sums).tolist() == [100 * (3 / 4 + 1 / 2) / 2]


def test_perfect_tokens_reach_100_and_constant_ones_chance(toy_encoder, toy_work):
    work = toy_work()
    assert [metric.value for metric in run(toy_encoder(signal=1), work).metrics] == [100, 100]
    miou, macc = run(toy_encoder(constant=True), toy_work()).metrics
    assert miou.value < 15
    assert macc.value == pytest.approx(macc.chance)
    assert work.artifacts["linear-seg.json"]["categories"][0]["name"] == "background"
    assert {row["iou"] for row in work.artifacts["linear-seg.json"]["categories"]} == {100.0}


def test_noise_sits_at_chance(toy_encoder, toy_work):
    worlds = [toy_work(seed=s, kinds=3) for s in range(8)]
    found = [run(toy_encoder(signal=0, seed=s), work, seed=s).metrics[1] for s, work in enumerate(worlds)]
    for macc in found:
        assert abs(macc.value - macc.chance) <= 3.5 * macc.stderr + 1e-9
    assert np.mean([macc.value for macc in found]) == pytest.approx(25, abs=1)


def test_miou_falls_as_the_signal_is_destroyed(toy_encoder, toy_work):
    signals = (1.0, 0.45, 0.35, 0.25, 0.0)
    values = [[m.value for m in run(toy_encoder(signal=s), toy_work()).metrics] for s in signals]
    for column in zip(*values, strict=True):
        assert list(column) == sorted(column, reverse=True)


def test_a_seed_is_repeatable_and_order_changes_nothing(toy_encoder, toy_work):
    few = {"tokens_per_image": 9}
    first, again = toy_work(), toy_work(shuffle=2)
    one = run(toy_encoder(signal=0.35), first, **few)
    torch.manual_seed(3)
    two = run(toy_encoder(signal=0.35), again, **few)
    assert (one.metrics, one.scores, one.assumptions) == (two.metrics, two.scores, two.assumptions)
    assert run(toy_encoder(signal=0.35), toy_work(), seed=1, **few).metrics != one.metrics


def test_encoders_of_other_patches_meet_on_one_grid(toy_encoder, toy_work):
    coarse = toy_work(grid=6, patch=8)
    same = run(toy_encoder(signal=1), coarse)
    fine = run(toy_encoder(signal=1), coarse, grid=12)
    assert same.metrics[0].value == 100
    assert 60 < fine.metrics[0].value < 100  # Interpolated logits round the corners: the ceiling is below 100.
    assert {m.n for m in fine.metrics} == {60}


def test_logits_are_resized_bilinearly():
    weight = torch.tensor([[1.0, -1.0], [0.1, 0.0]])
    head = Head(torch.zeros(1), torch.ones(1), weight, np.array([0, 3]))
    dense = np.array([[[[2.0, -1.0]]]], dtype=np.float32)
    # Between the two centres 2 x falls from 4 to -2; at 4 columns: 4, 2.5, -.5, -2 (and + .1).
    assert head.guess(dense, 4)[0].tolist() == [[0, 0, 3, 3]] * 4
    assert head.guess(np.array([[[[1.0, -1.04]]]], dtype=np.float32), 2)[0].tolist() == [[0, 3]] * 2
    # Four patches a cell: all of them count, not the two in the middle.
    fine = np.array([[[[-4.0, 1.0, 1.0, -4.0, 4.0, -1.0, -1.0, 4.0]]]], dtype=np.float32)
    assert head.guess(fine, 2)[0].tolist() == [[3, 0]] * 2


def test_tokens_and_images_are_bounded(toy_encoder, toy_work, monkeypatch):
    import probes.linear_seg as module

    sizes, real = [], module.standardiser
    monkeypatch.setattr(module, "standardiser", lambda x: (sizes.append(len(x)), real(x))[1])
    run(toy_encoder(), toy_work(), images=20, tokens_per_image=7)
    run(toy_encoder(), toy_work(), images=20)
    assert sizes == [140, 720]


def test_contact_sheet(toy_encoder, toy_work):
    work = toy_work()
    run(toy_encoder(signal=1), work)
    sheet = work.artifacts["linear-seg.png"]
    assert sheet.shape == (3 * 116 + 4, 6 * 116 + 4, 3)
    truth, guess = sheet[4:116, 120:232], sheet[4:116, 236:348]
    assert (truth == guess).all()
    assert len(np.unique(truth.reshape(-1, 3), axis=0)) > 1
    assert len(np.unique(palette(200), axis=0)) == 200
    assert contact_sheet([], 3).shape[2] == 3


class Fooled:
    """Sees category 0 in the left half of every image: what trains on it or judges it there has another number."""

    def __init__(self, encoder):
        self._encoder = encoder

    def __getattr__(self, name):
        return getattr(self._encoder, name)

    def see(self, labels, salt):
        return self._encoder.see(np.where(np.arange(labels.shape[-1]) < 3, 0, labels), salt)


def test_crowds_are_neither_trained_on_nor_judged_and_counted(toy_encoder, toy_work):
    work = toy_work(crowded=0.5, sizes={"train": 40, "val": 30})
    found = run(Fooled(toy_encoder(signal=1)), work)
    assert [metric.value for metric in found.metrics] == [100, 100]
    assert {metric.n for metric in found.metrics} == {30}
    assert sum(row["cells"] for row in work.artifacts["linear-seg.json"]["categories"]) == 30 * 18
    present = len(work.artifacts["linear-seg.json"]["categories"])
    assert found.metrics[1].chance == 100 / present
    said = [line.split(" hold ")[0] for line in found.assumptions if "crowd" in line]
    assert said == ["540 of 1080 validation cells", "720 of 1440 patches of the train images"]
    plain = run(Fooled(toy_encoder(signal=1)), toy_work(sizes={"train": 40, "val": 30}))
    assert plain.metrics[0].value < 90
    assert not any("crowd" in line for line in plain.assumptions)


def test_the_draw_of_tokens_is_of_those_that_are_not_ignored(toy_encoder, toy_work, monkeypatch):
    import probes.linear_seg as module

    sizes, real = [], module.standardiser
    monkeypatch.setattr(module, "standardiser", lambda x: (sizes.append(len(x)), real(x))[1])
    for crowded in (0.5, 5 / 6):  # 18 and 6 of 36 tokens are left
        run(toy_encoder(), toy_work(crowded=crowded), images=20, tokens_per_image=7)
    assert sizes == [20 * 7, 20 * 6]


class OneCovered:
    """Val image 3 lies in a crowd as a whole."""

    def __init__(self, work):
        self._work = work

    def __getattr__(self, name):
        return getattr(self._work, name)

    def dense(self, encoder, split, *, most=None):
        for batch in self._work.dense(encoder, split, most=most):
            if split == "val" and "val-3" in batch.ids:
                batch.labels_NHW[batch.ids.index("val-3")] = -2
            yield batch


def test_an_image_that_lies_in_a_crowd_is_not_judged(toy_encoder, toy_work):
    work = toy_work()
    found = run(toy_encoder(signal=0.35), OneCovered(work))
    assert list(work.skipped) == ["val-3"]
    assert {metric.n for metric in found.metrics} == {59}
    assert "val-3" not in found.scores.sample
    for metric in found.metrics:
        assert np.mean(found.scores.values[metric.name]) == pytest.approx(metric.value)


def test_what_is_ignored_has_its_own_colour():
    labels = np.array([[-1, 0], [1, 2]])
    sheet = contact_sheet([SheetPanel(np.zeros((2, 2, 3), np.uint8), labels, np.abs(labels))], 3)
    truth = sheet[4:116, 120:232]
    assert truth[0, 0].tolist() == [224, 224, 192]
    assert [truth[0, -1].tolist(), truth[-1, 0].tolist(), truth[-1, -1].tolist()] == palette(3).tolist()


def test_says_when_it_cannot_say_anything(toy_encoder, toy_work):
    with pytest.raises(NotApplicable, match="boxes, masks or label maps"):
        run(toy_encoder(), toy_work(without=("regions",)))
    with pytest.raises(NotApplicable, match="train split, and it has 0"):
        run(toy_encoder(), toy_work(sizes={"train": 0, "val": 9}))
    with pytest.raises(NotApplicable, match="val images"):
        run(toy_encoder(), toy_work(sizes={"train": 9, "val": 0}))
    with pytest.raises(NotApplicable, match="train split, and it has 0"):
        run(toy_encoder(), toy_work(crowded=1))
    with pytest.raises(NotApplicable, match="two categories in the val split"):
        judge(("a",), np.array([[[4, 0], [4, 0], [4, 0]]]), 0)


def test_refuses_bad_parameters_and_features(toy_encoder, toy_work):
    for field in ("grid", "images", "tokens_per_image"):
        with pytest.raises(UserError, match=f"{field}=0"):
            LinearSeg(**{field: 0})
    with pytest.raises(UserError, match="finer than the encoder's input of 24 pixels"):
        run(toy_encoder(), toy_work(), grid=25)
    with pytest.raises(UserError, match="not finite"):
        run(toy_encoder(signal=float("nan")), toy_work())
    assert LinearSeg(grid=12).spec.shorthand == "linear-seg?grid=12&images=3000&tokens_per_image=144"
    assert LinearSeg(images=9).reads == (Read("train", "dense", 9), Read("val", "dense"))
