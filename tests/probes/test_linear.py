"""Logistic regression: scikit-learn's minimum, chance for noise, the ceiling for the oracle, no look at val."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from probes.linear import Linear
from probes.logistic import choose_C, fit_logistic, logits, standardiser
from rice_core.errors import NotApplicable, UserError
from rice_core.pooling import MEAN


def blobs(seed, rows=400, dim=10, kinds=5, spread=1.0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, kinds, rows)
    return (np.random.default_rng(9).normal(size=(kinds, dim))[y] + spread * rng.normal(size=(rows, dim))), y


@pytest.mark.parametrize("C", [0.001, 0.1, 10.0])
def test_weights_are_scikit_learns(C):
    x, y = blobs(0)
    oracle = LogisticRegression(C=C, tol=1e-9, max_iter=5000).fit(x, y)
    weight = fit_logistic(torch.tensor(x), torch.tensor(y), 5, C=C, tolerance=1e-8, iterations=5000).numpy()
    assert weight[:-1] == pytest.approx(oracle.coef_.T, abs=1e-4)
    # Adding one number to all intercepts changes nothing, so each is centred first.
    assert weight[-1] - weight[-1].mean() == pytest.approx(oracle.intercept_ - oracle.intercept_.mean(), abs=1e-4)
    probability = logits(torch.tensor(x), torch.tensor(weight)).softmax(1).numpy()
    assert probability == pytest.approx(oracle.predict_proba(x), abs=1e-4)


def test_a_warm_start_reaches_the_same_minimum():
    x, y = (torch.tensor(part) for part in blobs(1))
    cold = fit_logistic(x, y, 5, C=1.0, tolerance=1e-8)
    warm = fit_logistic(x, y, 5, C=1.0, tolerance=1e-8, start_DK=fit_logistic(x, y, 5, C=0.01))
    assert (cold[:-1] - warm[:-1]).abs().max() < 1e-4


def test_standardiser_leaves_constant_features_alone():
    x = torch.tensor(np.random.default_rng(0).normal(3, 2, (500, 4)).astype(np.float32))
    x[:, 1], x[:, 2] = 0.0, 0.3
    mean, scale = standardiser(x)
    assert scale[[1, 2]].tolist() == [1, 1]
    assert ((x - mean) / scale)[:, [0, 3]].std(0, correction=0) == pytest.approx([1, 1], abs=1e-5)
    assert ((x - mean) / scale)[:, [1, 2]].abs().max() < 1e-6


def choice(x, y, image, grid, seed=0):
    return choose_C(torch.as_tensor(x), torch.tensor(y), np.asarray(image, str), grid, holdout=0.2, seed=seed)


def test_choice_of_C_is_by_images_never_by_objects(monkeypatch):
    """Twins of one image would be on both sides of a split by objects, and remembering would look like learning."""
    sides = []

    def watched(x_ND, *rest, **named):
        sides.append({int(v) // 2 for v in x_ND[:, 0]})
        return fit_logistic(x_ND, *rest, **named)

    monkeypatch.setattr("probes.logistic.fit_logistic", watched)
    x, y = torch.arange(120.0)[:, None].repeat(1, 3), np.random.default_rng(0).integers(0, 2, 120)
    found = choice(x, y, np.arange(60).repeat(2), (0.001,))
    assert [len(side) for side in sides] == [48]
    assert found.sentence == "C is 0.001: best of the grid on 12 held-out train images."


@pytest.mark.parametrize("seed", [0, 1])
def test_choice_of_C_has_the_least_held_out_cross_entropy(seed):
    x, y = blobs(3, rows=250, spread=2.0)
    held = np.isin(np.arange(250).astype(str), held_out(seed, 250))
    grid = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    losses = [
        log_loss(y[held], LogisticRegression(C=C, max_iter=5000).fit(x[~held], y[~held]).predict_proba(x[held]))
        for C in grid
    ]
    assert grid[int(np.argmin(losses))] == choice(x, y, np.arange(250), grid, seed).C


def held_out(seed, images):
    return np.random.default_rng(seed).permutation(np.unique(np.arange(images).astype(str)))[: images // 5]


def test_choice_of_C_stops_where_it_gets_worse_and_hands_on_its_weights():
    x, y = np.random.default_rng(0).normal(size=(200, 60)), np.random.default_rng(1).integers(0, 3, 200)
    tried = []
    found = choice(x, y, np.arange(200), (tried.append(C) or C for C in (1e-6, 1.0, 10.0)))
    assert tried == [1e-6, 1.0]
    assert found.C == 1e-6
    assert found.weight_DK[:-1].abs().max() < 1e-3


def test_a_class_that_only_held_out_images_have_does_not_choose_C():
    x, y = blobs(5, rows=250)
    grid = (1e-3, 1e-2, 1e-1)
    known = choice(x, y, np.arange(250), grid).C
    # Another class in the place of a few held-out rows: it would be missed ever more surely, so strong penalties would win.
    y[np.isin(np.arange(250).astype(str), held_out(0, 250)[:25])] = 5
    assert choice(x, y, np.arange(250), grid).C == known == 1e-1


def test_noise_sits_at_chance(toy_encoder, toy_work):
    found = [Linear().run(toy_encoder(signal=0, seed=s), seed=s, work=toy_work(seed=s)).metrics[0] for s in range(12)]
    z = np.array([(metric.value - metric.chance) / metric.stderr for metric in found])
    assert np.abs(z).max() < 3


def test_oracle_is_perfect_and_constant_is_chance(toy_encoder, toy_work):
    assert Linear().run(toy_encoder(signal=1), seed=0, work=toy_work()).metrics[0].value >= 99
    constant = Linear().run(toy_encoder(constant=True), seed=0, work=toy_work()).metrics[0]
    assert constant.value == pytest.approx(constant.chance)


def test_accuracy_falls_as_the_signal_is_destroyed(toy_encoder, toy_work):
    signals = (1.0, 0.4, 0.3, 0.2, 0.0)
    values = [Linear().run(toy_encoder(signal=s), seed=0, work=toy_work()).metrics[0].value for s in signals]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 50


def test_a_seed_is_repeatable_and_order_changes_nothing(toy_encoder, toy_work):
    first = Linear().run(toy_encoder(signal=0.3), seed=1, work=toy_work())
    torch.manual_seed(5)
    assert first == Linear().run(toy_encoder(signal=0.3), seed=1, work=toy_work(shuffle=4))


def test_reads_val_labels_only_to_judge(toy_encoder, toy_work):
    """Other val items must not change which C is chosen."""
    first = Linear().run(toy_encoder(signal=0.3), seed=0, work=toy_work())
    fewer = Linear().run(toy_encoder(signal=0.3), seed=0, work=toy_work(sizes={"train": 80, "val": 20}))
    assert first.assumptions[-1] == fewer.assumptions[-1]
    assert "16 held-out train images" in first.assumptions[-1]


def test_too_few_images_to_hold_any_out(toy_encoder, toy_work):
    found = Linear(holdout=0.9).run(
        toy_encoder(), seed=0, work=toy_work(sizes={"train": 1, "val": 30}, kinds=2, seed=3)
    )
    assert found.assumptions[-1] == "C is 1: too few train images to hold any out."


def test_train_labels_with_gaps_are_kept(toy_encoder, toy_work):
    class Gappy(toy_work):
        def items(self, encoder, split, pooling=MEAN):
            items = super().items(encoder, split, pooling)
            return type(items)(**{**vars(items), "y_N": items.y_N * 5 + 3})

    assert Linear().run(toy_encoder(), seed=0, work=Gappy()).metrics[0].value >= 99


def test_refuses_and_says_why(toy_encoder, toy_work):
    with pytest.raises(NotApplicable, match="two classes"):
        Linear().run(toy_encoder(), seed=0, work=toy_work(kinds=1))
    for holdout, why in ((0.0, "greater than 0"), (1.0, "less than 1")):
        with pytest.raises(UserError, match=rf"linear: holdout={holdout}: .* {why}; write a value like 0\.2"):
            Linear(holdout=holdout)
    with pytest.raises(UserError, match=r"holdout=nan: .* finite number; write a value like 0\.2"):
        Linear(holdout=float("nan"))
    assert Linear().spec.params == {"holdout": 0.2}


def test_top5_is_by_logits(toy_encoder, toy_work):
    """torch's `topk` of scikit-learn's decision function at the C that was chosen."""
    work, encoder = toy_work(kinds=9), toy_encoder(signal=0.2)
    found = Linear().run(encoder, seed=0, work=work)
    train, val = (work.items(encoder, split) for split in ("train", "val"))
    x, x_val = (part.x_NC / np.linalg.norm(part.x_NC, axis=1, keepdims=True) for part in (train, val))
    mean, scale = x.mean(0), x.std(0)
    C = float(next(said for said in found.assumptions if said.startswith("C is")).split()[2].rstrip(":"))
    oracle = LogisticRegression(C=C, tol=1e-6, max_iter=5000).fit((x - mean) / scale, train.y_N)
    score = oracle.decision_function((x_val - mean) / scale)
    hits = (oracle.classes_[np.argsort(-score, 1)[:, :5]] == val.y_N[:, None]).any(1)
    names = [metric.name for metric in found.metrics]
    assert names == ["accuracy", "top1", "top5"]
    assert found.metrics[2].value == pytest.approx(100 * hits.mean(), abs=1.2)  # two of 180 at a hair's breadth
    assert found.metrics[2].value > found.metrics[1].value + 10
    five = Linear().run(toy_encoder(), seed=0, work=toy_work(kinds=5))
    assert [metric.name for metric in five.metrics] == ["accuracy", "top1"]


def test_a_holdout_that_could_not_be_is_in_what_was_used(toy_encoder, toy_work):
    assert Linear().run(toy_encoder(), seed=0, work=toy_work()).used == {}
    work = toy_work(sizes={"train": 1, "val": 30}, kinds=2, seed=3)
    few = Linear(holdout=0.9).run(toy_encoder(), seed=0, work=work)
    assert few.used == {"holdout": 0.0}
    assert "C is 1: too few train images to hold any out." in few.assumptions
