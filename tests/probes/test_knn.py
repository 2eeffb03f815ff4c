"""k-NN: exactly scikit-learn's neighbours and votes, chance for noise, the ceiling for the oracle."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from statsmodels.stats.proportion import proportion_confint

from probes import knn
from probes.classify import Labelled, outcome
from probes.knn import Knn, ranked, votes
from rice_core.errors import NotApplicable, UserError
from rice_core.pooling import MEAN
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
    ours = votes(torch.tensor(val), torch.tensor(train), torch.tensor(y), k, temperature).argmax(1)
    assert (ours.numpy() == oracle.predict(val)).all()


def test_equal_votes_go_to_the_class_of_the_nearest():
    angles = torch.tensor([0.1, -0.2, 0.3, -0.4])
    train = torch.stack([angles.cos(), angles.sin()], 1)
    here = torch.tensor([[1.0, 0.0]])
    assert votes(here, train, torch.tensor([3, 1, 1, 3]), 4, 0.0).argmax(1).item() == 3
    assert votes(here, train, torch.tensor([3, 1, 1, 1]), 4, 0.0).argmax(1).item() == 1


@pytest.mark.parametrize("dim", [64, 383, 768])
def test_equal_vectors_vote_alike_wherever_they_stand(dim):
    """The rounding of a matrix product depends on the position: by up to 2e-7 here."""
    one = torch.tensor(unit_vectors(3, 1, dim=dim))
    same, y = one.repeat(5, 1), torch.arange(5)
    guesses = [votes(one.repeat(rows, 1), same, y, 1, 0.0).argmax(1) for rows in (1, 2, 7, 37, 300)]
    assert len(torch.cat(guesses).unique()) == 1


def test_more_neighbours_than_train_items_are_refused(toy_encoder, toy_work):
    """All would get the votes of all: the majority class."""
    work = toy_work(sizes={"train": 7, "val": 30}, kinds=2)
    with pytest.raises(UserError, match=r"k=22 neighbours of only 21 train items .* such as knn\?k=2\."):
        Knn(k=22).run(toy_encoder(signal=1), seed=0, work=work)
    assert "The 21 nearest" in Knn(k=21).run(toy_encoder(signal=1), seed=0, work=work).assumptions[-1]


def test_top5_is_by_votes(toy_encoder, toy_work):
    """scikit-learn's neighbours; the five classes with the most of their votes, nearer ones first where votes are equal."""
    work, encoder = toy_work(), toy_encoder(signal=0.25)
    found = Knn(k=12).run(encoder, seed=0, work=work)
    train, val = work.items(encoder, "train"), work.items(encoder, "val")
    nearest = KNeighborsClassifier(12, metric="cosine").fit(train.x_NC, train.y_N).kneighbors(val.x_NC)[1]
    hits = []
    for row, truth in zip(train.y_N[nearest], val.y_N, strict=True):
        order = sorted(set(row), key=lambda c: (-(row == c).sum(), int(np.argmax(row == c))))
        hits.append(truth in order[:5])
    assert [metric.name for metric in found.metrics] == ["accuracy", "top1", "top5"]
    top5 = found.metrics[2]
    assert top5.value == pytest.approx(100 * np.mean(hits))
    assert found.metrics[1].value < top5.value < 100
    assert (top5.chance, top5.ceiling, top5.bounds, top5.unit) == (None, 100, (0, 100), "%")
    assert np.mean(found.scores.values["top5"]) == pytest.approx(top5.value)
    assert any("a class without a vote is no guess" in said for said in found.assumptions)


def test_a_class_without_a_vote_is_no_guess():
    votes_MK = torch.tensor([[0.0, 3.0, 0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 2.0, 1.0, 1.0, 1.0]])
    assert ranked(votes_MK, 5).tolist() == [[1, 3, -1, -1, -1], [2, 0, 1, 3, 4]]
    assert ranked(votes_MK, 1).tolist() == [[1], [2]]


@pytest.mark.parametrize(("kinds", "k"), [(5, 10), (8, 4)])
def test_five_guesses_of_five_classes_or_of_four_neighbours_are_not_counted(toy_encoder, toy_work, kinds, k):
    found = Knn(k=k).run(toy_encoder(signal=0.5), seed=0, work=toy_work(kinds=kinds))
    assert [metric.name for metric in found.metrics] == ["accuracy", "top1"]
    assert set(found.scores.values) == {"accuracy", "top1"}


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
    assert [metric.value for metric in oracle] == [100, 100, 100]
    assert all(90 < metric.ci95[0] < 99 and metric.ci95[1] == 100 for metric in oracle)
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
        def items(self, encoder, split, pooling=MEAN):
            items = super().items(encoder, split, pooling)
            return items if split == "val" else type(items)(**{**vars(items), "y_N": items.y_N * (items.y_N < 7)})

    found = Knn().run(toy_encoder(signal=1), seed=0, work=Lacking()).metrics[0]
    assert found.value == pytest.approx(100 * 7 / 8)
    assert found.chance == 12.5


def test_items_without_a_label_are_left_out(toy_encoder, toy_work):
    class Partly(toy_work):
        def items(self, encoder, split, pooling=MEAN):
            items = super().items(encoder, split, pooling)
            return type(items)(**{**vars(items), "y_N": np.where(np.arange(len(items.y_N)) % 2, items.y_N, -1)})

    found = Knn().run(toy_encoder(signal=1), seed=0, work=Partly())
    assert (found.metrics[0].value, found.metrics[0].n, found.metrics[0].chance) == (100, 90, 12.5)


def test_no_hit_at_all_is_no_certainty():
    label = np.arange(200) % 20
    ids = tuple(f"{i:03}" for i in range(200))
    val = Labelled(np.zeros((200, 1), np.float32), label, ids, ids)
    accuracy, top1 = outcome(np.full((200, 1), 99), val, MEAN, ()).metrics
    assert (accuracy.value, top1.value) == (0, 0)
    assert accuracy.stderr == pytest.approx(100 * np.sqrt(0.05 * 0.95 / 200))  # That of chance.
    assert 0 < top1.stderr < accuracy.stderr
    # As no hit in 200 independent ones.
    wilson = tuple(100 * end for end in proportion_confint(0, 200, method="wilson"))
    assert accuracy.ci95 == pytest.approx(wilson)
    assert top1.ci95 == pytest.approx(wilson)


@pytest.mark.parametrize("shift", [0.0, 0.9])
def test_the_interval_of_the_balanced_accuracy_covers_it(shift):
    """240 objects of 48 uneven classes in 60 images; near the ceiling the old interval ended at up to 102 %."""
    rng, covered, runs = np.random.default_rng(0), 0, 200
    ids, clusters = tuple(f"{i:03}" for i in range(240)), tuple(f"image {i // 4}" for i in range(240))
    for _ in range(runs):
        share_K = np.clip(shift + (1 - shift) * rng.beta(2, 2, 48), 0, 1)
        label_N = np.concatenate([np.arange(48), rng.integers(0, 12, 192)])
        rng.shuffle(label_N)
        guess_N = np.where(rng.random(240) < share_K[label_N], label_N, -1)
        val = Labelled(np.zeros((240, 1), np.float32), label_N, ids, clusters)
        accuracy = outcome(guess_N[:, None], val, MEAN, ()).metrics[0]
        assert 0 <= accuracy.ci95[0] < accuracy.value <= accuracy.ci95[1] <= 100
        covered += accuracy.ci95[0] <= 100 * share_K.mean() <= accuracy.ci95[1]
    assert covered / runs > 0.93


def test_says_when_it_cannot_say_anything(toy_encoder, toy_work):
    for work in (toy_work(without=("labels",)), toy_work(kinds=1), toy_work(sizes={"train": 9, "val": 0})):
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
    assert str(Knn(temperature=-0.0).spec.params["temperature"]) == "0.0"  # one cell, not two
    assert Knn(temperature=1e-6).temperature == 1e-6
    for bad in ({"k": 0}, *({"temperature": t} for t in (-1.0, float("nan"), float("inf"), 1e-320, 101.0))):
        with pytest.raises(UserError, match="write"):
            Knn(**bad)


def test_listing_imports_no_torch():
    code = "import sys, probes.knn, probes.linear, probes.linear_seg; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
