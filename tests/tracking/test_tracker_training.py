"""The tracker's training: what it keeps, what it refuses, what it leaves."""

import json
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from drawn_clips import clip, dataset, moving
from forked import exit_codes
from safetensors.torch import load_file

from rice_core.budget import Budget, Took
from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.ranks import Ranks, join
from rice_core.spec import EncoderSpec
from rice_core.stage import Companion, request_of
from tracking import learner as learning
from tracking.recipe import LearningConfig, TrackerConfig
from tracking.training import TrackerTraining, built, load_tracker, seconds_a_step

ALONE = Ranks(0, 1, torch.device("cpu"))
TRACKER = TrackerConfig(template_grid=4, search_grid=6, blocks=2, width=24, head_width=16)
CONFIG = LearningConfig(epochs=2, pairs=16, batch=4, part=2, rate=1e-3, gap=8, precision="fp32")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return dataset(moving(folder, "a"), moving(folder, "b", colour=(90, 200, 10)))


def _stop_at(stop):
    def progress(sequence, what):
        for each in sequence:
            if each == stop:
                raise KeyboardInterrupt
            yield each

    return progress


def _work(folder, stop=None, ranks=ALONE, companions=()):
    said = {}
    return SimpleNamespace(
        ranks=ranks,
        folder=folder,
        companions=companions,
        workers=0,
        progress=_stop_at(stop),
        skip=said.__setitem__,
        said=said,
    )


def _train(films, folder, config=CONFIG, stop=None, seed=1, encoder="oracle", ranks=ALONE):
    """The weights that are left, the curve, what was left out."""
    out, work = folder / "out", _work(folder / "state", stop, ranks)
    out.mkdir(parents=True, exist_ok=True)
    stage = TrackerTraining(TRACKER, config, (films,))
    curve = stage.train(load_encoder(EncoderSpec.parse(f"synthetic:{encoder}")), None, out, seed=seed, work=work)
    return out, curve, work.said


def _weights(out):
    return load_file(out / "tracker.safetensors")


def _same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("stop", [1, 5])
def test_a_stopped_training_ends_as_an_uninterrupted_one(films, tmp_path, stop):
    """To the last bit, the statistics of batch norms among it."""
    whole, curve, _ = _train(films, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _train(films, tmp_path / "parts", stop=stop)
    torch.manual_seed(77)
    parts, again, _ = _train(films, tmp_path / "parts")
    _same(_weights(whole), _weights(parts))
    assert curve == again
    assert [point["step"] for point in curve] == list(range(CONFIG.steps))
    assert any("running_var" in name for name in _weights(whole))


def test_a_signal_stops_it_after_its_step_and_it_goes_on(films, tmp_path, monkeypatch):
    whole, _, _ = _train(films, tmp_path / "whole")
    asked, ask = [], learning.tracking_losses

    def interrupted(*given):
        asked.append(1)
        if len(asked) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return ask(*given)

    monkeypatch.setattr(learning, "tracking_losses", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _train(films, tmp_path / "parts")
    assert len(asked) == 6  # the third step has two parts
    _same(_weights(whole), _weights(_train(films, tmp_path / "parts")[0]))


def test_seeds_differ_in_weights_and_in_pairs(films, tmp_path):
    one, other = (_train(films, tmp_path / str(seed), seed=seed)[0] for seed in (0, 1))
    assert not torch.equal(_weights(one)["types"], _weights(other)["types"])


def test_it_learns(films, tmp_path):
    config = CONFIG.model_copy(update={"epochs": 10, "rate": 1e-2})
    _, curve, _ = _train(films, tmp_path, config)
    losses = [point["loss"] for point in curve]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert set(curve[0]) == {"step", "rate", "focal", "giou", "l1", "loss", "redrawn"}
    assert curve[0]["loss"] == pytest.approx(sum(curve[0][name] for name in ("focal", "giou", "l1")))


def test_the_encoder_is_frozen(films, tmp_path):
    encoder = load_encoder(EncoderSpec.parse("rice:builtin/mini-supervised"))
    before = encoder.weights_digest()
    out = tmp_path / "out"
    out.mkdir()
    TrackerTraining(TRACKER, CONFIG, (films,)).train(encoder, None, out, seed=0, work=_work(tmp_path / "state"))
    assert encoder.weights_digest() == before
    assert (
        all(parameter.grad is None for parameter in encoder._model.parameters()) if hasattr(encoder, "_model") else True
    )


def test_what_is_left_follows_as_it_was_trained(films, tmp_path):
    out, _, _ = _train(films, tmp_path)
    assert [path.name for path in out.iterdir()] == ["tracker.safetensors"]
    follows = TRACKER.model_copy(update={"window": 0.3, "margin": 2})
    head = load_tracker(out, follows, channels=load_encoder(EncoderSpec.parse("synthetic:oracle")).dim, device="cpu")
    assert not head.training
    assert all(torch.equal(value, _weights(out)[name]) for name, value in head.state_dict().items())


def test_two_ranks_learn_what_one_process_does(films, tmp_path):
    """But for the running statistics of batch norms, which are the first rank's: no gradient depends on them."""
    alone = _weights(_train(films, tmp_path / "one")[0])
    assert exit_codes(_rank, films, tmp_path / "two", tmp_path / "meet") == [0, 0]
    together = _weights(tmp_path / "two" / "out")
    assert together.keys() == alone.keys()
    for name, value in alone.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            # A bias before a batch norm has no gradient but rounding, which Adam makes a step of.
            rounded = name.startswith("head.") and name.endswith("bias")
            torch.testing.assert_close(together[name], value, atol=0.1 if rounded else 2e-4, rtol=0)
    said = json.loads((tmp_path / "two" / "curve.json").read_text())
    assert len(said) == CONFIG.steps


def _rank(rank, films, folder, meeting):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    with join("cpu", init_method=f"file://{meeting}") as world:
        _, curve, _ = _train(films, folder, ranks=world)
        if world.leads:
            (folder / "curve.json").write_text(json.dumps(curve))


@pytest.mark.parametrize("world", [3, 4, 8])
def test_more_ranks_than_parts_are_refused_before_anything_is_done(films, tmp_path, world):
    with pytest.raises(UserError, match=rf"in parts of 2 does not divide over {world} ranks; use 2\."):
        _train(films, tmp_path, ranks=Ranks(0, world, torch.device("cpu")))


def test_what_any_rank_left_out_is_told(films, tmp_path):
    torn = moving(tmp_path, "torn")
    for frame in torn.frames:
        frame.write_bytes(b"no image")
    mixed = dataset(torn, *films.splits["train"])
    _, curve, said = _train(mixed, tmp_path / "one")
    assert said
    assert all(item.startswith("drawn/torn/") for item in said)
    assert curve[-1]["redrawn"] >= len(said)
    assert exit_codes(_telling_rank, mixed, tmp_path / "two", tmp_path / "meet", said) == [0, 0]
    # It is known after an interruption too.
    assert _train(mixed, tmp_path / "one", stop=0)[2] == said


def _telling_rank(rank, mixed, folder, meeting, expected):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    with join("cpu", init_method=f"file://{meeting}") as world:
        assert _train(mixed, folder, ranks=world)[2] == expected


def test_a_loss_that_is_no_number_stops_it(films, tmp_path, monkeypatch):
    ask = learning.tracking_losses
    monkeypatch.setattr(
        learning, "tracking_losses", lambda *given: {name: loss * torch.nan for name, loss in ask(*given).items()}
    )
    with pytest.raises(UserError, match=r"step 0 of the tracker's training: .*l1 nan.*; try a smaller rate="):
        _train(films, tmp_path)


def test_memory_that_is_full_says_what_fits(films, tmp_path, monkeypatch):
    def full(*given):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 is full.")

    monkeypatch.setattr(learning, "tracking_losses", full)
    with pytest.raises(UserError, match=r"memory is full .*or give part=1, which is another training"):
        _train(films, tmp_path)


def test_a_set_that_gives_no_pair_fails_in_its_sentence(tmp_path):
    with pytest.raises(UserError, match=r"drawn: none of 200 draws gave a pair"):
        _train(dataset(clip(tmp_path, "v", [(1, 1, 9, 9)])), tmp_path)


def test_an_encoder_that_cannot_look_at_crops_is_refused(films, tmp_path):
    encoder = load_encoder(EncoderSpec.parse("synthetic:random-weights"))
    fixed = SimpleNamespace(
        provides=frozenset({"dense"}), spec=encoder.spec, patch=encoder.patch, dim=encoder.dim, device=encoder.device
    )
    with pytest.raises(UserError, match="choose an encoder that takes any multiple of its patch"):
        TrackerTraining(TRACKER, CONFIG, (films,)).train(fixed, None, tmp_path, seed=0, work=_work(tmp_path))


def test_the_log_says_which_batch_the_rate_belongs_to(films, tmp_path, caplog):
    _train(films, tmp_path)
    assert "rate 0.001 for a batch of 4 pairs over all ranks (1)" in caplog.text


def test_its_key_is_what_the_weights_depend_on(films):
    stage = TrackerTraining(TRACKER, CONFIG, (films,))
    encoder = EncoderSpec.parse("synthetic:random-weights")
    follows = TrackerTraining(TRACKER.model_copy(update={"window": 0.5, "margin": 3}), CONFIG, (films,))
    assert request_of(follows, encoder, 0).id == request_of(stage, encoder, 0).id
    for other in (
        TrackerTraining(TRACKER.model_copy(update={"blocks": 1}), CONFIG, (films,)),
        TrackerTraining(TRACKER, CONFIG.model_copy(update={"part": 4}), (films,)),
        TrackerTraining(TRACKER, CONFIG, (films, films)),
    ):
        assert request_of(other, encoder, 0).id != request_of(stage, encoder, 0).id
    assert stage.data == (films,)


def test_the_price_counts_search_and_template_crops(films):
    stage, encoder = TrackerTraining(TRACKER, CONFIG, (films,)), EncoderSpec.parse("synthetic:random-weights")
    passes = stage.cost(encoder, Budget(0, 0, patch=8))
    # 8 steps of 4 pairs; a template has 16 tokens and a search crop 36.
    assert (passes.images, passes.side, passes.steps, passes.seconds) == (round(32 * 52 / 36), 48, 8, None)
    assert passes.short == "epochs=1,pairs=400"
    longer = TrackerTraining(TRACKER, CONFIG.model_copy(update={"epochs": 20, "rate": 0.1}), (films,))
    took = [Took("tracker", longer.spec.params, 160.0), Took("tracker", stage.spec.params, 4.0)]
    other = TrackerTraining(TRACKER, CONFIG.model_copy(update={"batch": 8}), (films,))
    took += [Took("tracker", other.spec.params, 1e6), Took("detector", {}, 1e6)]
    assert seconds_a_step(stage.spec, took) == 2.0
    passes = stage.cost(encoder, Budget(0, 0, patch=8, trained=tuple(took)))
    assert passes.seconds == 16.0
    assert "32 pairs of template and search crop in 8 steps; about 0.0044 h" in passes.why


def test_building_a_tracker_leaves_the_generator_alone():
    state = torch.get_rng_state()
    one, other = built(TRACKER, channels=8, seed=3), built(TRACKER, channels=8, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    _same(one.state_dict(), other.state_dict())


def test_a_prior_is_about_the_score_that_every_cell_begins_with():
    """And spares hundreds of steps; without one the head is OSTrack's, as torch draws it."""
    torch.manual_seed(0)
    tokens = torch.randn(4, 8, 6, 6), torch.randn(4, 4, 4, 8).permute(0, 3, 1, 2)

    def score(prior):
        head = built(TRACKER.model_copy(update={"prior": prior}), channels=8, seed=3)
        with torch.no_grad():
            return float(
                head(head.template(tokens[1], torch.ones(4, 4, 4, dtype=torch.bool)), tokens[0]).score_BSS.median()
            )

    assert score(0.02) == pytest.approx(0.02, rel=0.7)
    assert 0.2 < score(None) < 0.8


def test_seeds_that_are_shown_the_same_share_the_encoder_s_passes_and_end_as_they_would_alone(
    films, tmp_path, monkeypatch
):
    config = CONFIG.model_copy(update={"shown": "shared"})
    alone = [_weights(_train(films, tmp_path / str(seed), config, seed=seed)[0]) for seed in (1, 2)]
    assert not torch.equal(alone[0]["types"], alone[1]["types"])
    stage, encoder = TrackerTraining(TRACKER, config, (films,)), load_encoder(EncoderSpec.parse("synthetic:oracle"))
    passes, encode = [], type(encoder).encode
    monkeypatch.setattr(type(encoder), "encode", lambda *given: (passes.append(1), encode(*given))[1])
    state, out = tmp_path / "shared", tmp_path / "out"
    out.mkdir()
    companion = Companion(stage, 2, state / "2")
    stage.train(encoder, None, out, seed=1, work=_work(state / "1", companions=(companion,)))
    assert len(passes) == 2 * 2 * CONFIG.steps  # template and search crops of two parts a step
    _same(_weights(out), alone[0])
    # The other one's turn: nothing is left to be done.
    stage.train(encoder, None, out, seed=2, work=_work(state / "2"))
    assert len(passes) == 2 * 2 * CONFIG.steps
    _same(_weights(out), alone[1])


def test_trackers_share_passes_where_they_are_shown_the_same(films):
    shared = CONFIG.model_copy(update={"shown": "shared"})
    stage = TrackerTraining(TRACKER, shared, (films,))
    assert stage.shares_with(TrackerTraining(TRACKER.model_copy(update={"blocks": 1, "width": 8}), shared, (films,)))
    assert not TrackerTraining(TRACKER, CONFIG, (films,)).shares_with(TrackerTraining(TRACKER, CONFIG, (films,)))
    for other in (
        TrackerTraining(TRACKER.model_copy(update={"search_grid": 8}), shared, (films,)),
        TrackerTraining(TRACKER, shared.model_copy(update={"rate": 0.1}), (films,)),
        TrackerTraining(TRACKER, shared, (films, films)),
    ):
        assert not stage.shares_with(other)
    alone, three = (stage.cost(EncoderSpec.parse("synthetic:oracle"), Budget(0, 0), companions=n) for n in (0, 2))
    assert (three.images, three.steps) == (alone.images, 3 * alone.steps)
