"""The tokens probe on a toy world: known answers, what it leaves out and says so, what it refuses."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

from probes.tokens import BINS, Tokens
from rice_core.errors import NotApplicable, UserError
from rice_core.pooling import MEAN
from rice_core.probe import DenseImage, Items
from rice_core.record import Outcome

FEW = Tokens(images=20, tsne_objects=60, perplexity=10)


def run(probe, encoder, *, seed, work):
    work.encoder = encoder
    return probe.run(encoder, seed=seed, work=work)


def value(outcome: Outcome, name: str) -> float:
    return next(metric.value for metric in outcome.metrics if metric.name == name)


def names(outcome: Outcome) -> list[str]:
    return [metric.name for metric in outcome.metrics]


def test_the_oracle_separates_objects_and_noise_does_not(toy_encoder, toy_work) -> None:
    work = toy_work()
    outcome = run(FEW, toy_encoder(signal=1.0), seed=0, work=work)
    assert names(outcome) == ["token-distance", "object-separation", "tsne-trustworthiness"]
    assert value(outcome, "object-separation") == 100
    assert outcome.metrics[1].chance == 50
    body = work.artifacts["tokens.json"]
    assert body["distances"]["within_object"] == 0
    assert body["distances"]["across_objects"] == 1
    assert body["tsne"]["purity"] > 0.6  # Some classes have fewer than ten objects.
    noise_work = toy_work()
    noise = run(FEW, toy_encoder(signal=0.0), seed=0, work=noise_work)
    assert noise_work.artifacts["tokens.json"]["tsne"]["purity"] < 0.35
    separation = noise.metrics[1]
    assert abs(separation.value - 50) < 3 * separation.stderr
    assert value(noise, "token-distance") == pytest.approx(1, abs=0.01)


def test_separation_falls_as_the_signal_is_destroyed(toy_encoder, toy_work) -> None:
    found = [
        value(run(FEW, toy_encoder(signal=s), seed=0, work=toy_work()), "object-separation") for s in (1, 0.6, 0.4, 0)
    ]
    assert found == sorted(found, reverse=True)
    assert found[1] > found[3] + 10


def test_metrics_are_the_means_of_their_scores(toy_encoder, toy_work) -> None:
    outcome = run(FEW, toy_encoder(signal=0.5), seed=0, work=toy_work())
    assert outcome.scores is not None
    assert outcome.scores.cluster == outcome.scores.sample
    for name, column in outcome.scores.values.items():
        metric = next(m for m in outcome.metrics if m.name == name)
        assert metric.value == pytest.approx(np.mean(column))
        assert metric.stderr == pytest.approx(np.std(column, ddof=1) / np.sqrt(len(column)))


def test_intervals_stay_in_the_range_of_a_distance_and_of_percent(toy_encoder, toy_work) -> None:
    """Of three images, one unlike the others: Student's interval began at -1; and 100 % in three is no certainty."""

    class Odd(toy_encoder):
        def see(self, labels, salt):
            found = np.tile(np.eye(self.dim)[0], (*labels.shape, 1))
            return (found if salt < 4 else super().see(labels, salt)).astype(np.float32)

    outcome = run(replace(FEW, images=3), Odd(signal=0.0), seed=0, work=toy_work(without=("regions",)))
    distance = outcome.metrics[0]
    assert distance.value - 4.3 * distance.stderr < 0
    assert 0 < distance.ci95[0] < distance.value < distance.ci95[1] < 2
    assert distance.bounds == (0, 2)
    separation = run(replace(FEW, images=3), toy_encoder(), seed=0, work=toy_work()).metrics[1]
    assert (separation.value, separation.stderr) == (100, 0)
    # As 3 of 3 independent ones.
    assert separation.ci95 == (pytest.approx(100 * 3 / (3 + 1.9599640**2)), 100)


def test_the_histogram_is_numpys(toy_encoder, toy_work) -> None:
    encoder, work = toy_encoder(signal=0.3), toy_work(without=("regions",))
    run(FEW, encoder, seed=0, work=work)
    body = work.artifacts["tokens.json"]["distances"]
    distances = []
    for batch in work.dense(encoder, "val", most=20):
        for dense_CHW in batch.dense_NCHW:
            x_TC = dense_CHW.reshape(len(dense_CHW), -1).T.astype(np.float64)
            x_TC /= np.linalg.norm(x_TC, axis=1, keepdims=True)
            distances.append((1 - x_TC @ x_TC.T)[~np.eye(len(x_TC), dtype=bool)])
    all_P = np.concatenate(distances)
    assert body["images"] == 20
    assert body["pairs"] == len(all_P) == sum(body["counts"])
    assert body["mean"] == pytest.approx(all_P.mean(), abs=1e-5)
    assert body["median"] == pytest.approx(np.median(all_P), abs=2e-4)
    counts, edges = np.histogram(all_P, BINS, range=(0, 2))
    np.testing.assert_allclose(body["edges"], edges, atol=1e-9)
    # Finely rounded before binning, a few pairs change over to the next bin.
    assert np.abs(np.cumsum(counts) - np.cumsum(body["counts"])).max() < 0.01 * len(all_P)


def test_opposite_tokens_are_in_the_last_bin(toy_encoder, toy_work) -> None:
    class Opposite(toy_encoder):
        def see(self, labels, salt):
            return np.where(np.arange(labels.size).reshape(labels.shape) % 2, 1, -1)[..., None] * np.ones(4, np.float32)

    work = toy_work()
    run(FEW, Opposite(dim=4), seed=0, work=work)
    counts = work.artifacts["tokens.json"]["distances"]["counts"]
    assert counts[0] + counts[-1] == sum(counts)
    assert counts[-1] > counts[0] > 0


@pytest.mark.parametrize("level", [0.3, 0.0])
def test_constant_features_crash_nothing(toy_encoder, toy_work, level: float) -> None:
    class Constant(toy_encoder):
        def see(self, labels, salt):
            return np.full((*labels.shape, self.dim), level, np.float32)

    work = toy_work()
    outcome = run(FEW, Constant(), seed=0, work=work)
    assert value(outcome, "token-distance") == 0
    assert value(outcome, "object-separation") == 50
    assert work.artifacts["tokens.json"]["distances"]["median"] == 0
    assert work.artifacts["tokens.json"]["pca"]["explained_variance_ratio"] == [0, 0, 0]
    assert work.artifacts["tokens.json"]["tsne"] is None
    assert "same features" in outcome.assumptions[-1]


def test_a_plain_folder_of_photos_has_figures_4_and_5(toy_encoder, toy_work) -> None:
    work = toy_work(without=("labels", "regions"))
    outcome = run(FEW, toy_encoder(signal=0.5), seed=0, work=work)
    assert names(outcome) == ["token-distance"]
    assert outcome.metrics[0].better == "neither"
    assert "30 labelled" in outcome.assumptions[-1]
    assert work.artifacts["tokens.json"]["tsne"] is None
    assert sorted(work.artifacts) == ["pca.png", "tokens.json"]


def test_images_without_objects_are_left_out_and_counted(toy_encoder, toy_work) -> None:
    class Sparse(toy_work):
        def dense(self, encoder, split, *, most=None):
            for batch in super().dense(encoder, split, most=most):
                batch.labels_NHW[::4] = -1
                yield batch

    outcome = run(FEW, toy_encoder(), seed=0, work=Sparse())
    assert outcome.scores is not None
    assert "val-0" not in outcome.scores.sample
    left_out = 20 - len(outcome.scores.sample)
    assert left_out >= 5
    assert outcome.metrics[0].n == outcome.metrics[1].n == 20 - left_out
    assert any(note.startswith(f"{left_out} of 20 images") for note in outcome.assumptions)


def test_without_any_object_the_distance_is_over_all_images(toy_encoder, toy_work) -> None:
    class Empty(toy_work):
        def dense(self, encoder, split, *, most=None):
            for batch in super().dense(encoder, split, most=most):
                yield replace(batch, labels_NHW=np.full_like(batch.labels_NHW, -1))

    outcome = run(FEW, toy_encoder(), seed=0, work=Empty())
    assert names(outcome)[:2] == ["token-distance", "tsne-trustworthiness"]
    assert outcome.metrics[0].n == 20


def test_the_layout_names_the_classes_it_shows(toy_encoder, toy_work) -> None:
    class Gaps(toy_work):
        def items(self, encoder, split, pooling=MEAN):
            items = super().items(encoder, split, pooling)
            return replace(items, y_N=np.where(items.y_N == 0, -1, items.y_N))

    work = Gaps()
    encoder = toy_encoder(signal=0.8)
    run(FEW, encoder, seed=0, work=work)
    layout = work.artifacts["tokens.json"]["tsne"]
    assert len(layout["points"]) == len(layout["labels"]) == 60
    assert "kind 0" not in layout["classes"]
    assert sorted(set(layout["labels"])) == list(range(len(layout["classes"])))
    np.testing.assert_allclose(np.linalg.norm(layout["points"], axis=1), 1, atol=1e-4)
    # Objects of a class are together: the label of a point is that of its item.
    assert layout["purity"] > 2 * layout["purity_chance"]


def test_features_that_are_not_finite_are_refused_by_image(toy_encoder, toy_work) -> None:
    @dataclass
    class Broken(toy_work):
        where: str = "dense"

        def dense(self, encoder, split, *, most=None):
            for batch in super().dense(encoder, split, most=most):
                if self.where == "dense":
                    batch.dense_NCHW[3, 0, 0, 0] = np.nan
                yield batch

        def items(self, encoder, split, pooling=MEAN) -> Items:
            items = super().items(encoder, split, pooling)
            if self.where == "items":
                items.x_NC[:, 0] = np.where(np.array(items.clusters) == "val-7", np.inf, items.x_NC[:, 0])
            return items

    everything = replace(FEW, tsne_objects=1000)
    with pytest.raises(UserError, match=r"synthetic:toy .* not finite for val-3, val-19; try dtype=fp32"):
        run(everything, toy_encoder(), seed=0, work=Broken())
    with pytest.raises(UserError, match="not finite for val-7;"):
        run(everything, toy_encoder(), seed=0, work=Broken(where="items"))


def test_nothing_to_say(toy_encoder, toy_work) -> None:
    with pytest.raises(NotApplicable, match="one token"):
        run(FEW, toy_encoder(), seed=0, work=_OneToken())
    with pytest.raises(NotApplicable, match="no validation image"):
        run(FEW, toy_encoder(), seed=0, work=toy_work(sizes={"train": 1, "val": 0}))


class _OneToken:
    def images(self, split, *, most=None):
        yield DenseImage("a", np.ones((4, 1, 1), np.float32), None, np.zeros((8, 8, 3), np.uint8))


def test_repeats_by_seed_and_is_plain_json(toy_encoder, toy_work) -> None:
    sampling = replace(FEW, pairs_per_image=200)
    works = [toy_work() for _ in range(3)]
    found = [run(sampling, toy_encoder(signal=0.5), seed=s, work=w) for s, w in zip((0, 0, 1), works, strict=True)]
    texts = [json.dumps(work.artifacts["tokens.json"], allow_nan=False) for work in works]
    assert found[0] == found[1]
    assert texts[0] == texts[1] != texts[2]


def test_shows_the_first_eight_images(toy_encoder, toy_work) -> None:
    work = toy_work()
    run(FEW, toy_encoder(signal=0.5), seed=0, work=work)
    assert work.artifacts["tokens.json"]["pca"]["images"] == [f"val-{k}" for k in range(8)]
    assert work.artifacts["pca.png"].shape == (2 * 198 + 6, 4 * (2 * 192 + 18) + 6, 3)


@pytest.mark.parametrize(
    "params",
    [
        {"images": 0},
        {"images": 1.5},
        {"images": True},
        {"pairs_per_image": -1},
        {"tsne_objects": 10**6},
        {"perplexity": 1},
        {"perplexity": float("nan")},
        {"perplexity": "many"},
    ],
)
def test_parameters_out_of_range_are_refused(params: dict) -> None:
    with pytest.raises(UserError, match="write"):
        Tokens(**params)


def test_spec_and_reads() -> None:
    assert Tokens(perplexity=30).spec == Tokens(perplexity=30.0).spec
    assert type(Tokens(perplexity=30).spec.params["perplexity"]) is float
    assert [(read.split, read.view, read.most) for read in Tokens(images=5).reads] == [
        ("val", "dense", 5),
        ("val", "items", None),
    ]


def test_listing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, probes.tokens; print([m for m in ('torch', 'sklearn', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Fooled:
    """Sees category 0 wherever a crowd is: what it gives there would spoil every number that looked at it."""

    def __init__(self, encoder) -> None:
        self._encoder = encoder

    def __getattr__(self, name: str):
        return getattr(self._encoder, name)

    def see(self, labels: np.ndarray, salt: int) -> np.ndarray:
        return self._encoder.see(np.where(np.arange(labels.shape[-1]) < 3, 0, labels), salt)


def test_crowds_are_in_no_pair_of_the_separation_and_counted(toy_encoder, toy_work) -> None:
    work = toy_work(crowded=0.5)
    outcome = run(FEW, Fooled(toy_encoder(signal=1.0)), seed=0, work=work)
    assert value(outcome, "object-separation") == 100
    used = outcome.metrics[1].n
    assert 0 < used < 20  # some images have no object outside the crowd
    assert [line for line in outcome.assumptions if "crowd" in line] == [
        f"{18 * used} of {36 * used} tokens lie in crowd regions, which are neither object nor background: "
        "object-separation leaves them out, token-distance does not."
    ]
    plain = run(FEW, Fooled(toy_encoder(signal=1.0)), seed=0, work=toy_work())
    assert value(plain, "object-separation") < 100
    assert not any("crowd" in line for line in plain.assumptions)


def test_images_without_a_pair_are_not_counted_as_used(toy_encoder, toy_work) -> None:
    """Of two tokens a sample of pairs takes, few lie in one object: the numbers are over the other images alone."""
    outcome = run(replace(FEW, images=20, pairs_per_image=2), toy_encoder(), seed=0, work=toy_work())
    assert 0 < outcome.metrics[0].n < 20
    assert outcome.used["images"] == outcome.metrics[0].n
