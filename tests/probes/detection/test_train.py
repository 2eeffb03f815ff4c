"""The training loop, on a detector of one number a token: what it keeps, and what it refuses."""

import dataclasses
import os
import shutil
import signal

import pytest
import torch
from forked import exit_codes
from safetensors.torch import load_file
from torch import nn

from probes.detection import train as training
from probes.detection.annotations import read_ground_truth
from probes.detection.learner import trainee
from probes.detection.nouns import Detections
from probes.detection.recipe import RECIPES, rate_at, side_of
from probes.detection.train import train
from rice_core.datasets import open_dataset
from rice_core.encoders import load_encoder
from rice_core.errors import StoreError, UserError
from rice_core.ranks import Ranks, join
from rice_core.spec import EncoderSpec
from rice_core.world.layouts.coco import write_coco

CONFIG = RECIPES["smoke"].training.model_copy(update={"iterations": 8})


ALONE = Ranks(0, 1, torch.device("cpu"))


class Counter(nn.Module):
    """Learns how many objects there are; draws noise, so that the generator matters."""

    noise = 0.1

    def __init__(self, channels=64):
        super().__init__()
        torch.manual_seed(0)
        self.count = nn.Linear(channels, 1)

    def losses(self, tokens_BCTU, sizes_hw, targets, generator=None, lesson=None):
        x_BC = tokens_BCTU.mean((2, 3))
        want_B = torch.tensor([float(len(target.boxes_N4)) for target in targets])
        noise_B, share = (torch.randn(len(targets), generator=generator), 1.0) if lesson is None else lesson
        return {"loss_cls_stage0": (self.count(x_BC)[:, 0] - want_B - self.noise * noise_B).square().mean() * share}

    def lessons(self, parts, generator):
        sizes = [len(part.targets) for part in parts]
        noise_B = torch.randn(sum(sizes), generator=generator)
        return [(noise_b, len(noise_b) / sum(sizes)) for noise_b in noise_B.split(sizes)]

    def detect(self, tokens_BCTU, sizes_hw):
        return [Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long)) for _ in sizes_hw]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    data = open_dataset(write_coco(tmp_path_factory.mktemp("world") / "w", seed=3, train=10, val=2))
    return read_ground_truth(data.annotations["train"], data.splits["train"], name="train").images


def _encoder(name="oracle"):
    return load_encoder(EncoderSpec.parse(f"synthetic:{name}"))


def _learner(detector, config, folder, seed=1, ranks=None):
    found = trainee(detector, config, seed=seed, folder=folder, ranks=ranks or ALONE)
    found.resume()
    return found


def _newest(folder):
    return sorted((folder / "checkpoints").glob("step-*"))[-1]


def _stop_at(stop):
    def progress(sequence, what):
        for each in sequence:
            if each == stop:
                raise KeyboardInterrupt
            yield each

    return progress


def _train(images, folder, config=CONFIG, stop=None, **given):
    detector = Counter()
    learner = _learner(detector, config, folder)
    settings = {"masks": False, "seed": 1, "progress": _stop_at(stop), "what": "x"} | given
    train(_encoder(), [learner], images, config, **settings)
    return detector, learner


@pytest.mark.parametrize("stop", [1, 5])
def test_a_stopped_training_ends_as_an_uninterrupted_one(images, tmp_path, stop):
    whole, trained = _train(images, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _train(images, tmp_path / "parts", stop=stop)
    resumed, again = _train(images, tmp_path / "parts")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert trained.learner.curve == again.learner.curve
    assert len(trained.learner.curve) == CONFIG.iterations


def test_a_finished_training_is_not_done_again(images, tmp_path):
    first, _ = _train(images, tmp_path)
    again, _ = _train(images, tmp_path, stop=0)
    assert torch.equal(first.count.weight, again.count.weight)


def test_it_learns(images, tmp_path):
    _, trained = _train(images, tmp_path, CONFIG.model_copy(update={"iterations": 60, "rate": 0.05, "drops": ()}))
    losses = [line["loss"] for line in trained.learner.curve]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_parts_of_a_batch_sum_to_the_batch(images, tmp_path):
    """With the noise that is drawn for it at once."""
    one, _ = _train(images, tmp_path / "1", CONFIG.model_copy(update={"batch": 4}))
    two, _ = _train(images, tmp_path / "2", CONFIG.model_copy(update={"batch": 4, "accumulate": 2}))
    torch.testing.assert_close(one.count.weight, two.count.weight, atol=1e-6, rtol=1e-5)


class Silent(Counter):
    noise = 0.0


class Full(Silent):
    """On a device that holds two images at once."""

    def losses(self, tokens_BCTU, *rest):
        if len(tokens_BCTU) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 is full.")
        return super().losses(tokens_BCTU, *rest)


class FullBefore(Silent):
    """On a device that does not hold what is seen before a step in parts."""

    def lessons(self, parts, generator):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 is full.")


def test_memory_that_is_full_says_which_accumulate_fits_and_that_goes_on(images, tmp_path):
    config = CONFIG.model_copy(update={"batch": 4})
    settings = {"masks": False, "seed": 1, "progress": lambda s, w: s, "what": "x"}
    said = r"step 0 of .*: memory is full \(CUDA out of memory\. Tried to allocate 9 GiB\); give accumulate=2 or more ranks"
    with pytest.raises(UserError, match=said):
        train(_encoder(), [_learner(Full(), config, tmp_path)], images, config, **settings)
    config = config.model_copy(update={"accumulate": 2})
    with pytest.raises(UserError, match=said.replace("2", "4")):
        train(_encoder(), [_learner(FullBefore(), config, tmp_path)], images, config, **settings)
    learner = _learner(Full(), config, tmp_path)
    train(_encoder(), [learner], images, config, **settings)
    assert learner.done == config.iterations


def _rank(rank, images, folder, meeting):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    detector = Silent()
    with join("cpu", init_method=f"file://{meeting}") as world:
        config = CONFIG.model_copy(update={"batch": 4})
        learner = _learner(detector, config, folder, ranks=world)
        settings = {"masks": False, "seed": 1, "progress": lambda s, w: s, "what": "x", "ranks": world}
        train(_encoder(), [learner], images, config, **settings)


def test_two_ranks_are_one_process(images, tmp_path):
    alone = Silent()
    settings = {"masks": False, "seed": 1, "progress": lambda s, w: s, "what": "x"}
    config = CONFIG.model_copy(update={"batch": 4})
    train(_encoder(), [_learner(alone, config, tmp_path / "1")], images, config, **settings)
    assert exit_codes(_rank, images, tmp_path / "2", tmp_path / "meet") == [0, 0]
    found = {}
    for file in _newest(tmp_path / "2").glob("*.safetensors"):
        found |= load_file(file)
    for name, value in alone.named_parameters():
        torch.testing.assert_close(found[f"network.{name}"], value.detach(), atol=1e-5, rtol=1e-5)


def test_a_loss_that_is_no_number_stops_the_training(images, tmp_path):
    class Broken(Counter):
        def losses(self, *given):
            return {"loss_mask": super().losses(*given)["loss_cls_stage0"] * torch.nan}

    settings = {"masks": False, "seed": 0, "progress": lambda s, w: s, "what": "x"}
    with pytest.raises(UserError, match=r"step 0 of the detector's training: .*loss_mask nan\); try a smaller rate="):
        train(_encoder(), [_learner(Broken(), CONFIG, tmp_path / "a")], images, CONFIG, **settings)

    # Of another head it is that head's own affair.
    class Refusing(Counter):
        def losses(self, *given):
            raise UserError("no number in the forward pass")

    others = [_learner(kind(), CONFIG, tmp_path / kind.__name__) for kind in (Counter, Broken, Refusing)]
    train(_encoder(), others, images, CONFIG, **settings)
    assert [learner.done for learner in others] == [CONFIG.iterations, 0, 0]


def test_a_full_disk_ends_the_training_whoever_s_checkpoint_it_is(images, tmp_path):
    (tmp_path / "b").write_text("in the way of a folder")
    learners = [_learner(Counter(), CONFIG, tmp_path / name) for name in ("a", "b")]
    settings = {"masks": False, "seed": 0, "progress": lambda s, w: s, "what": "x"}
    with pytest.raises(StoreError, match=r"checkpoint .* could not be written"):
        train(_encoder(), learners, images, CONFIG, **settings)


def test_what_could_not_be_read_is_known_after_an_interruption(images, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    broken = [dataclasses.replace(images[0], sample=dataclasses.replace(images[0].sample, path=bad)), *images[1:]]
    _, learner = _train(broken, tmp_path / "s")
    assert set(learner.learner.skipped) == {images[0].sample.id}
    assert _learner(Counter(), CONFIG, tmp_path / "s").learner.skipped == learner.learner.skipped


def test_heads_that_share_the_encoder_s_passes_end_as_they_would_alone(images, tmp_path, monkeypatch):
    config = CONFIG.model_copy(update={"views": 3})
    settings = {"masks": False, "progress": lambda s, w: s, "what": "x"}
    alone = [Counter(), Counter()]
    for seed, detector in enumerate(alone):
        train(
            _encoder(),
            [_learner(detector, config, tmp_path / f"a{seed}", seed=seed)],
            images,
            config,
            seed=seed,
            **settings,
        )
    assert not torch.equal(alone[0].count.weight, alone[1].count.weight)
    # The second was three steps ahead when the run began.
    stopping = settings | {"progress": _stop_at(3)}
    with pytest.raises(KeyboardInterrupt):
        train(_encoder(), [_learner(Counter(), config, tmp_path / "t1")], images, config, seed=1, **stopping)
    together = [Counter(), Counter()]
    learners = [_learner(d, config, tmp_path / f"t{seed}", seed=seed) for seed, d in enumerate(together)]
    assert [learner.done for learner in learners] == [0, 3]
    passes, ask = [], training.tokens_of
    monkeypatch.setattr(training, "tokens_of", lambda *given: (passes.append(1), ask(*given))[1])
    train(_encoder(), learners, images, config, seed=0, **settings)
    assert len(passes) == config.iterations
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.count.weight, other.count.weight)


def test_heads_of_several_rates_share_the_encoder_s_passes_and_end_as_they_would_alone(images, tmp_path, monkeypatch):
    settings = {"masks": False, "seed": 1, "progress": lambda s, w: s, "what": "x"}
    alone = [Counter() for _ in range(2)]
    for rate, head in zip((CONFIG.rate, CONFIG.rate * 3), alone, strict=True):
        config = CONFIG.model_copy(update={"rate": rate})
        train(_encoder(), [_learner(head, config, tmp_path / f"a{rate}")], images, config, **settings)
    together = [Counter() for _ in range(2)]
    learners = [
        trainee(head, CONFIG, seed=1, folder=tmp_path / f"t{scale}", ranks=ALONE, scale=scale)
        for scale, head in zip((1.0, 3.0), together, strict=True)
    ]
    passes, ask = [], training.tokens_of
    monkeypatch.setattr(training, "tokens_of", lambda *given: (passes.append(1), ask(*given))[1])
    train(_encoder(), learners, images, CONFIG, **settings)
    assert len(passes) == CONFIG.iterations
    for one, other in zip(alone, together, strict=True):
        assert torch.allclose(one.count.weight, other.count.weight, rtol=1e-6)
    assert not torch.allclose(together[0].count.weight, together[1].count.weight, rtol=1e-3)
    assert [learner.learner.curve[-1]["rate"] for learner in learners] == pytest.approx(
        [rate_at(CONFIG, 7), 3 * rate_at(CONFIG, 7)]
    )


def test_a_signal_stops_a_training_after_its_step(images, tmp_path):
    """Checkpoints are three steps apart here, so the one of the stop is found."""
    config = CONFIG.model_copy(update={"iterations": 60})

    class Interrupted(Counter):
        def losses(self, *given):
            asked.append(1)
            if len(asked) == 5:
                os.kill(os.getpid(), signal.SIGINT)
            return super().losses(*given)

    asked, before = [], signal.getsignal(signal.SIGINT)
    settings = {"masks": False, "seed": 1, "progress": lambda s, w: s, "what": "x"}
    with pytest.raises(KeyboardInterrupt):
        train(_encoder(), [_learner(Interrupted(), config, tmp_path)], images, config, **settings)
    assert signal.getsignal(signal.SIGINT) is before
    assert _learner(Counter(), config, tmp_path).done == 5


@pytest.mark.parametrize("damage", ["tear", "flip"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_used(images, tmp_path, caplog, damage):
    whole, _ = _train(images, tmp_path)
    (path,) = _newest(tmp_path).glob("*.safetensors")
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(b"torn" if damage == "tear" else data)
    resumed, learner = _train(images, tmp_path)
    assert "step-00000008 is damaged" in caplog.text
    assert learner.state.step == CONFIG.iterations - 1
    assert torch.equal(whole.count.weight, resumed.count.weight)


def test_the_state_of_another_training_is_refused(images, tmp_path):
    """Two cells of one store: the head of one, under the other's name, would be gone on with and its AP recorded."""
    for cell in ("a-0123456789", "b-0123456789"):
        _train(images, tmp_path / "unfinished" / cell)
    one, other = (tmp_path / "unfinished" / f"{cell}-0123456789" for cell in "ab")
    shutil.rmtree(other)
    shutil.copytree(one, other)
    with pytest.raises(UserError, match=r"holds what belongs to another name; remove .*checkpoints to begin again"):
        _learner(Counter(), CONFIG, other)
    assert _learner(Counter(), CONFIG, one).done == CONFIG.iterations
    # Wherever the store is moved to, its states are its own.
    (tmp_path / "unfinished").rename(tmp_path / "moved")
    (tmp_path / "store").mkdir()
    (tmp_path / "moved").rename(tmp_path / "store" / "unfinished")
    assert _learner(Counter(), CONFIG, tmp_path / "store" / "unfinished" / "a-0123456789").done == CONFIG.iterations


def test_sides_and_rates():
    assert (side_of(1024, 14), side_of(1024, 16), side_of(3, 8)) == (1022, 1024, 8)
    config = CONFIG.model_copy(update={"iterations": 100, "warm_up": 9, "rate": 1.0, "drops": (0.5, 0.8)})
    assert rate_at(config, 0) == pytest.approx(0.1)
    assert [round(rate_at(config, i), 6) for i in (9, 49, 50, 80)] == [1.0, 1.0, 0.1, 0.01]
