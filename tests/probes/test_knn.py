"""k-NN: exactly scikit-learn's neighbours and votes, chance for noise, the ceiling for the oracle."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from probes import knn
from probes.classify import Labelled, outcome
from probes.knn import Knn, vote
from rice_core.errors import NotApplicable, UserError
from rice_core.probe import Read


def unit_vectors(seed, rows, dim=16):
    x = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.0, 0.07])
@pytest.mark.parametrize("k", [1, 10, 33])
def test_votes_are_scikit_learns(k, temperature):
    train, val = unit_vectors(0, 400), unit_vectors(1, 300)
    y = np.random.default_rng(2).integers(0, 6, 400)

    def weights(distance):
        rank = 1 + 0.5 ** np.arange(1, distance.shape[1] + 1)
        return np.exp((1 - distance) / temperature) if temperature else np.ones_like(distance) * rank

    oracle = KNeighborsClassifier(k, weights=weights, metric="cosine", algorithm="brute").fit(train, y)
    ours = vote(torch.tensor(val), torch.tensor(train), torch.tensor(y), k, temperature)
    assert (ours.numpy() == oracle.predict(val)).all()


def test_equal_votes_go_to_the_class_of_the_nearest():
    angles = torch.tensor([0.1, -0.2, 0.3, -0.4])
    train = torch.stack([angles.cos(), angles.sin()], 1)
    here = torch.tensor([[1.0, 0.0]])
    assert vote(here, train, torch.tensor([3, 1, 1, 3]), 4, 0.0).item() == 3
    assert vote(here, train, torch.tensor([3, 1, 1, 1]), 4, 0.0).item() == 1


@pytest.mark.parametrize("dim", [64, 383, 768])
def test_equal_vectors_vote_alike_wherever_they_stand(dim):
    """The rounding of a matrix product depends on the position: by up to 2e-7 here."""
    one = torch.tensor(unit_vectors(3, 1, dim=dim))
    guesses = [vote(one.repeat(rows, 1), one.repeat(5, 1), torch.arange(5), 1, 0.0) for rows in (1, 2, 7, 37, 300)]
    assert len(torch.cat(guesses).unique()) == 1


def test_fewer_train_items_than_k_all_vote(toy_encoder, toy_work):
    work = toy_work(images={"train": 2, "val": 30}, kinds=2)
    found = Knn(k=500).run(toy_encoder(signal=1), seed=0, work=work)
    assert found.metrics[0].value == 50  # Every val item gets the majority class of train.


def test_metrics_are_scikit_learns(toy_encoder, toy_work):
    work, encoder = toy_work(), toy_encoder(signal=0.3)
    outcome = Knn(k=1).run(encoder, seed=0, work=work)
    train, val = work.items(encoder, "train"), work.items(encoder, "val")
    guess = KNeighborsClassifier(1, metric="cosine").fit(train.x_NC, train.y_N).predict(val.x_NC)
    accuracy, top1 = outcome.metrics
    assert accuracy.value == pytest.approx(100 * balanced_accuracy_score(val.y_N, guess))
    assert top1.value == pytest.approx(100 * accuracy_score(val.y_N, guess))
    assert (accuracy.name, accuracy.unit, accuracy.n) == ("accuracy", "%", 180)
    assert set(outcome.scores.sample) == set(val.ids)
    assert dict(zip(outcome.scores.sample, outcome.scores.cluster, strict=True))["val-7#2"] == "val-7"


def test_noise_sits_at_chance(toy_encoder, toy_work):
    found = [Knn().run(toy_encoder(signal=0, seed=s), seed=0, work=toy_work(seed=s)).metrics[0] for s in range(60)]
    z = np.array([(metric.value - metric.chance) / metric.stderr for metric in found])
    assert found[0].chance == 12.5
    assert np.abs(z).max() < 3
    assert 0.5 < z.std() < 1.5


def test_length_of_a_vector_tells_nothing(toy_encoder, toy_work):
    """Means over fewer noise tokens are longer, so without unit length big and small classes would be told apart."""

    class Sized(toy_encoder):
        def see(self, labels, salt):
            return super().see(labels, salt) * (1 + labels[..., None])

    found = Knn().run(Sized(signal=0), seed=0, work=toy_work())
    assert found == Knn().run(toy_encoder(signal=0), seed=0, work=toy_work())


def test_oracle_is_perfect_and_constant_is_chance(toy_encoder, toy_work):
    oracle = Knn().run(toy_encoder(signal=1), seed=0, work=toy_work()).metrics
    assert [metric.value for metric in oracle] == [100, 100]
    assert all(0 < metric.stderr < 2 for metric in oracle)  # 180 hits of 180 are not certainty.
    assert oracle[0].method.startswith("binomial")
    constant = Knn().run(toy_encoder(constant=True), seed=0, work=toy_work()).metrics[0]
    assert constant.value == pytest.approx(constant.chance)


def test_accuracy_falls_as_the_signal_is_destroyed(toy_encoder, toy_work):
    signals = (1.0, 0.5, 0.35, 0.25, 0.15, 0.0)
    values = [Knn().run(toy_encoder(signal=s), seed=0, work=toy_work()).metrics[0].value for s in signals]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 50


def test_order_block_size_and_seed_change_nothing(toy_encoder, toy_work, monkeypatch):
    first = Knn().run(toy_encoder(signal=0.3), seed=0, work=toy_work())
    monkeypatch.setattr(knn, "_SIMILARITIES", 7 * 240)
    # The toy encoder's noise is drawn per row before the rows are shuffled.
    again = Knn().run(toy_encoder(signal=0.3), seed=5, work=toy_work(shuffle=3))
    assert first == again


def test_unknown_class_is_a_miss_and_counts(toy_encoder, toy_work):
    class Lacking(toy_work):
        def items(self, encoder, split):
            items = super().items(encoder, split)
            return items if split == "val" else type(items)(**{**vars(items), "y_N": items.y_N * (items.y_N < 7)})

    found = Knn().run(toy_encoder(signal=1), seed=0, work=Lacking()).metrics[0]
    assert found.value == pytest.approx(100 * 7 / 8)
    assert found.chance == 12.5


def test_items_without_a_label_are_left_out(toy_encoder, toy_work):
    class Partly(toy_work):
        def items(self, encoder, split):
            items = super().items(encoder, split)
            return type(items)(**{**vars(items), "y_N": np.where(np.arange(len(items.y_N)) % 2, items.y_N, -1)})

    found = Knn().run(toy_encoder(signal=1), seed=0, work=Partly())
    assert (found.metrics[0].value, found.metrics[0].n, found.metrics[0].chance) == (100, 90, 12.5)


def test_no_hit_at_all_is_no_certainty():
    label = np.arange(200) % 20
    ids = tuple(f"{i:03}" for i in range(200))
    val = Labelled(np.zeros((200, 1), np.float32), label, ids, ids)
    accuracy, top1 = outcome(np.full(200, 99), val, ()).metrics
    assert (accuracy.value, top1.value) == (0, 0)
    assert accuracy.stderr == pytest.approx(100 * np.sqrt(0.05 * 0.95 / 200))  # That of chance.
    assert 0 < top1.stderr < accuracy.stderr
    assert accuracy.ci95[1] == pytest.approx(accuracy.stderr * 1.972, rel=1e-3)


def test_says_when_it_cannot_say_anything(toy_encoder, toy_work):
    for work in (toy_work(without=("labels",)), toy_work(kinds=1), toy_work(images={"train": 9, "val": 0})):
        with pytest.raises(NotApplicable, match="at least two classes"):
            Knn().run(toy_encoder(), seed=0, work=work)


def test_refuses_features_that_are_not_finite(toy_encoder, toy_work):
    with pytest.raises(UserError, match="not finite"):
        Knn().run(toy_encoder(signal=float("nan")), seed=0, work=toy_work())


def test_spec_reads_and_parameters():
    assert Knn(k=5, recipe="mini").spec.model_dump() == {
        "name": "knn",
        "version": 1,
        "recipe": "mini",
        "params": {"k": 5, "temperature": 0.0},
    }
    assert Knn().reads == (Read("train", "items"), Read("val", "items"))
    for bad in ({"k": 0}, {"temperature": -1.0}, {"temperature": float("nan")}):
        with pytest.raises(UserError, match="write"):
            Knn(**bad)


def test_listing_imports_no_torch():
    code = "import sys, probes.knn, probes.linear, probes.linear_seg; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
