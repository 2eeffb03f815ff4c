"""The two trainings: what is trained and what stays, interruptions, ranks, and what they leave."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from forked import exit_codes
from safetensors.torch import load_file
from talks import ALONE, stage_work, talks

from mllm.llava import learner as learning
from mllm.llava import training
from mllm.llava.cost import cost_of
from mllm.llava.kept import load_llava
from mllm.llava.language_model import load_language_model
from mllm.llava.packing import Anyres, Square
from mllm.llava.recipe import RECIPES, LlavaConfig, LlavaLearning, LlavaRecipe
from mllm.llava.training import InstructTraining, LlavaTraining, rate_at, stages_of
from mllm.llava.weights import LlavaCard, save_llava
from probes.knn import Knn
from rice_core.budget import Budget, Took
from rice_core.datasets import open_dataset
from rice_core.datasets.nouns import Dataset
from rice_core.encoders import load_encoder
from rice_core.encoders.private import weights_now
from rice_core.errors import UserError
from rice_core.features import Encoder
from rice_core.light import LightProbe
from rice_core.measure.plan import Plan
from rice_core.measure.run import Runner, Settings
from rice_core.probe import Read
from rice_core.progress import Progress
from rice_core.ranks import Ranks, join
from rice_core.record import Metric, Outcome
from rice_core.spec import EncoderSpec
from rice_core.stage import Stage, StageSpec, request_of
from rice_core.store import Store

ENCODER = "synthetic:random-weights?res=32"
ALIGN = LlavaLearning(batch=4, part=2, projector_rate=2e-3, context=512, precision="fp32")
INSTRUCT = ALIGN.model_copy(update={"epochs": 2, "tower_rate": 1e-4, "lm_rate": 1e-3})
RECIPE = LlavaRecipe(name="test", model=LlavaConfig(lm="mini"), align=ALIGN, instruct=INSTRUCT)
STEPS = 6


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return talks(tmp_path_factory.mktemp("talks"))


def encoder() -> Encoder:
    return load_encoder(EncoderSpec.parse(ENCODER))


def trained(
    stage: LlavaTraining, folder: Path, *, start: Path | None = None, stop: int | None = None, ranks: Ranks = ALONE
) -> tuple[Path, Any, dict[str, str]]:
    """The folder that is left, the curve, what was left out."""
    out, work = folder / "out", stage_work(folder / "state", stop, ranks)
    out.mkdir(parents=True, exist_ok=True)
    curve = stage.train(encoder(), start, out, seed=1, work=work)
    return out, curve, work.said


@pytest.fixture(scope="module")
def aligned(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(stages_of(RECIPE, dataset).before, tmp_path_factory.mktemp("align"))[0]


@pytest.fixture(scope="module")
def instructed(dataset: Dataset, aligned: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out, curve, _ = trained(stages_of(RECIPE, dataset), tmp_path_factory.mktemp("instruct"), start=aligned)
    return out, curve


def weights(out: Path) -> dict[str, torch.Tensor]:
    files = sorted(out.rglob("*.safetensors"))
    return {f"{path.name}.{name}": each for path in files for name, each in load_file(path).items()}


def same(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def begun(stage: LlavaTraining, start: Path | None) -> Any:
    return stage._begun(encoder(), start, 1)[0]


def test_the_first_stage_moves_the_projector_and_nothing_else(dataset: Dataset, aligned: Path) -> None:
    assert sorted(each.name for each in aligned.iterdir()) == ["llava.json", "projector.safetensors"]
    stage = stages_of(RECIPE, dataset)
    before, after = begun(stage.before, None).state_dict(), begun(stage, aligned).state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    # A single tile has no newline.
    assert moved == {f"projector.{k}.{kind}" for k in (0, 2) for kind in ("weight", "bias")}


def test_the_second_stage_moves_all_that_is_read(dataset: Dataset, aligned: Path, instructed: tuple[Path, Any]) -> None:
    model = begun(stages_of(RECIPE, dataset), aligned)
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    after = dict(load_llava(instructed[0], encoder()).model.named_parameters())
    unread = {name for name, each in model.named_parameters() if not each.requires_grad}
    assert {name for name in before if torch.equal(before[name], after[name])} == unread
    assert any(name.startswith("tower.") for name in unread)
    # Adam's first steps are as long as their rates.
    moved = {
        part: max(float((before[name] - after[name]).detach().abs().max()) for name in before if name.startswith(part))
        for part in ("tower", "projector", "language_model")
    }
    assert moved["projector"] > moved["language_model"] > 3 * moved["tower"] > 0


def test_what_has_no_rate_stays(dataset: Dataset, aligned: Path, tmp_path: Path) -> None:
    frozen = RECIPE.model_copy(update={"instruct": INSTRUCT.model_copy(update={"tower_rate": None})})
    out, _, _ = trained(stages_of(frozen, dataset), tmp_path, start=aligned)
    assert not (out / "tower.safetensors").exists()
    own = encoder()
    found = load_llava(out, own).model.tower.module.state_dict()
    assert all(torch.equal(found[name], each) for name, each in own.module.state_dict().items())  # type: ignore[attr-defined]


def test_the_second_stage_reads_the_commit_that_the_first_one_read(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer, _ = stages_of(RECIPE, dataset).before._begun(encoder(), None, 1)
    kept = LlavaCard(
        model=RECIPE.model, side=model.tower.side, patch=model.tower.patch, precision="fp32", commit="0f1e"
    )
    save_llava(model, tokenizer, kept, tmp_path, tower=False, language_model=False, ranks=ALONE)
    asked: list[str] = []
    load = training.load_language_model

    def read(name: str, **given: Any) -> Any:
        asked.append(name)
        return load("mini", **given)

    monkeypatch.setattr(training, "load_language_model", read)
    for lm in ("org/lm", "org/lm@main"):
        stage = stages_of(RECIPE.model_copy(update={"model": RECIPE.model.model_copy(update={"lm": lm})}), dataset)
        assert stage._begun(encoder(), tmp_path, 1)[2] == "0f1e"
    assert asked == ["org/lm@0f1e", "org/lm@0f1e"]


def test_what_an_earlier_stage_changed_is_handed_on(
    dataset: Dataset, instructed: tuple[Path, Any], tmp_path: Path
) -> None:
    """A third stage that trains the projector alone leaves tower and language model of the second."""
    third = InstructTraining(RECIPE.model, ALIGN, dataset, stages_of(RECIPE, dataset))
    out, _, _ = trained(third, tmp_path, start=instructed[0])
    before, after = weights(instructed[0]), weights(out)
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("projector.safetensors") for name in moved)


def test_the_encoder_that_others_are_measured_with_stays(dataset: Dataset, aligned: Path, tmp_path: Path) -> None:
    shared = encoder()
    before = shared.weights_digest()
    (tmp_path / "out").mkdir()
    stages_of(RECIPE, dataset).train(shared, aligned, tmp_path / "out", seed=1, work=stage_work(tmp_path / "state"))
    assert weights_now(shared) == before


@pytest.mark.parametrize("stop", [1, 4])
def test_a_stopped_training_ends_as_an_uninterrupted_one(
    dataset: Dataset, aligned: Path, instructed: tuple[Path, Any], tmp_path: Path, stop: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(stages_of(RECIPE, dataset), tmp_path, start=aligned, stop=stop)
    assert list((tmp_path / "state" / "checkpoints").iterdir())
    torch.manual_seed(77)
    out, curve, _ = trained(stages_of(RECIPE, dataset), tmp_path, start=aligned)
    same(out, instructed[0])
    assert curve == instructed[1]
    assert [point["step"] for point in curve] == list(range(STEPS))


def test_a_checkpoint_holds_what_is_trained_alone(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(stages_of(RECIPE, dataset).before, tmp_path, stop=2)
    kept = max((tmp_path / "state" / "checkpoints").glob("step-*"))
    names = {name for path in kept.glob("*.safetensors") for name in load_file(path)}
    assert names
    assert all(
        name.removeprefix("network.").removeprefix("adamw.").startswith(("projector.", "image_newline"))
        for name in names
    )


def killed(rank: int, dataset: Dataset, aligned: Path, folder: Path, step: int) -> None:
    make = learning.LlavaLearner.step

    def last(self: Any, parts: Any, *, step: int, rate: float, at: int = step) -> Any:
        if step == at:
            os.kill(os.getpid(), 9)
        return make(self, parts, step=step, rate=rate)

    learning.LlavaLearner.step = last  # type: ignore[method-assign]
    torch.set_num_threads(1)
    trained(stages_of(RECIPE, dataset), folder, start=aligned)


def test_a_kill_in_the_second_stage_loses_nothing(
    dataset: Dataset, aligned: Path, instructed: tuple[Path, Any], tmp_path: Path
) -> None:
    assert exit_codes(killed, dataset, aligned, tmp_path, 4, world=1) == [-9]
    out, curve, _ = trained(stages_of(RECIPE, dataset), tmp_path, start=aligned)
    same(out, instructed[0])
    assert curve == instructed[1]


def ranked(rank: int, do: Callable[[Ranks], None], meeting: Path, world: int) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    with join("cpu", init_method=f"file://{meeting}") as ranks:
        do(ranks)


def test_two_ranks_learn_what_one_process_does(
    dataset: Dataset, aligned: Path, instructed: tuple[Path, Any], tmp_path: Path
) -> None:
    """FSDP2, frozen blocks among the trained ones; text alone falls to one of the ranks now and then."""

    def do(ranks: Ranks) -> None:
        out, curve, _ = trained(stages_of(RECIPE, dataset).before, tmp_path / "align", ranks=ranks)
        _, curve, _ = trained(stages_of(RECIPE, dataset), tmp_path / "two", start=out, ranks=ranks)
        losses = [point["loss"] for point in curve]
        assert losses == pytest.approx([point["loss"] for point in instructed[1]], rel=1e-4)
        assert [point["labels"] for point in curve] == [point["labels"] for point in instructed[1]]

    assert exit_codes(ranked, do, tmp_path / "meet", 2) == [0, 0]
    close(tmp_path / "align" / "out", aligned)
    close(tmp_path / "two" / "out", instructed[0])


def close(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, each in first.items():
        # Adam makes steps of rounding where a gradient is next to nothing.
        torch.testing.assert_close(each, second[name], atol=2e-3, rtol=0)
        assert float((each - second[name]).abs().mean()) < 2e-5, name


def test_what_two_ranks_saved_one_goes_on_from(
    dataset: Dataset, aligned: Path, instructed: tuple[Path, Any], tmp_path: Path
) -> None:
    def do(ranks: Ranks) -> None:
        with pytest.raises(KeyboardInterrupt):
            trained(stages_of(RECIPE, dataset), tmp_path / "one", start=aligned, stop=3, ranks=ranks)

    assert exit_codes(ranked, do, tmp_path / "meet", 2) == [0, 0]
    _, curve, _ = trained(stages_of(RECIPE, dataset), tmp_path / "one", start=aligned)
    assert [point["loss"] for point in curve] == pytest.approx([point["loss"] for point in instructed[1]], rel=1e-4)
    assert [point["step"] for point in curve] == list(range(STEPS))
    close(tmp_path / "one" / "out", instructed[0])


def test_a_signal_stops_it_after_its_step(
    dataset: Dataset, aligned: Path, instructed: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = learning.LlavaLearner.step

    def interrupted(self: Any, parts: Any, *, step: int, rate: float) -> Any:
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return make(self, parts, step=step, rate=rate)

    monkeypatch.setattr(learning.LlavaLearner, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained(stages_of(RECIPE, dataset), tmp_path, start=aligned)
    monkeypatch.undo()
    assert max((tmp_path / "state" / "checkpoints").glob("step-*")).name == "step-00000003"
    same(trained(stages_of(RECIPE, dataset), tmp_path, start=aligned)[0], instructed[0])


def test_a_loss_that_is_no_number_stops_it(
    dataset: Dataset, aligned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = learning.Llava.forward

    def no_number(self: Any, batch: Any) -> Any:
        found = forward(self, batch)
        return replace(found, loss=found.loss * torch.nan)

    monkeypatch.setattr(learning.Llava, "forward", no_number)
    with pytest.raises(UserError, match=r"step 0 of training the language model: .*not finite .*; try smaller rates"):
        trained(stages_of(RECIPE, dataset), tmp_path, start=aligned)


def test_memory_that_is_full_says_what_fits(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB. GPU 0 is full.")

    monkeypatch.setattr(learning.Llava, "forward", full)
    with pytest.raises(UserError, match=r"memory is full .*or more of them, or a smaller part="):
        trained(stages_of(RECIPE, dataset).before, tmp_path)


def test_half_precision_reads_what_is_frozen_in_it(dataset: Dataset, tmp_path: Path) -> None:
    half = {"precision": "bf16"}
    recipe = RECIPE.model_copy(
        update={"align": ALIGN.model_copy(update=half), "instruct": INSTRUCT.model_copy(update=half)}
    )
    stage = stages_of(recipe, dataset)
    words = begun(stage.before, None).language_model
    assert words.dtype == torch.bfloat16
    start, curve, _ = trained(stage.before, tmp_path / "align")
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert begun(stage, start).language_model.dtype == torch.float32
    out, _, _ = trained(stage, tmp_path / "instruct", start=start)
    assert {each.dtype for each in load_file(out / "language_model" / "model.safetensors").values()} == {torch.bfloat16}
    assert load_llava(out, encoder()).precision == "bf16"


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    config = LlavaLearning(projector_rate=1e-3, warm_up=0.03)
    assert [rate_at(config, step, 100) for step in range(4)] == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3])
    assert rate_at(config, 99, 100) < 1e-6
    assert rate_at(config, 3 + 97 // 2, 100) == pytest.approx(5.08e-4, rel=0.01)


def test_the_log_says_which_batch_the_rates_belong_to(
    dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained(stages_of(RECIPE, dataset).before, tmp_path)
    assert (
        "projector rate 0.002, encoder frozen, language model frozen for a batch of 4 samples over all ranks (1), in parts of 2"
        in caplog.text
    )


def test_its_key_is_what_the_weights_depend_on(dataset: Dataset, tmp_path: Path) -> None:
    spec = EncoderSpec.parse(ENCODER)

    def key(recipe: LlavaRecipe = RECIPE, data: Dataset = dataset, seed: int = 0) -> str:
        return request_of(stages_of(recipe, data), spec, seed).id

    asked = replace(dataset, splits={**dataset.splits, "docvqa_val": dataset.splits["align"]})
    assert key(data=asked) == key()
    assert key(RECIPE.model_copy(update={"name": "other", "reading": "x"})) == key()
    for other in (
        RECIPE.model_copy(update={"model": RECIPE.model.model_copy(update={"tiles": "one"})}),
        RECIPE.model_copy(update={"align": ALIGN.model_copy(update={"projector_rate": 1e-3})}),
        RECIPE.model_copy(update={"instruct": INSTRUCT.model_copy(update={"labels": "answer"})}),
    ):
        assert key(other) != key()
    assert key(seed=1) != key()
    more = replace(dataset, splits={**dataset.splits, "instruct": dataset.splits["instruct"][:-1]})
    assert key(data=more) != key()
    request = request_of(stages_of(RECIPE, dataset), spec, 0)
    assert (request.stage.name, request.after and request.after.stage.name) == ("llava-instruct", "llava-align")
    # A folder's language model is told by its bytes.
    words, tokenizer = load_language_model("mini")
    words.save_pretrained(tmp_path / "mine")
    tokenizer.save_pretrained(tmp_path / "mine")
    own = RECIPE.model_copy(update={"model": RECIPE.model.model_copy(update={"lm": str(tmp_path / "mine")})})
    assert str(tmp_path) not in request_of(stages_of(own, dataset), spec, 0).model_dump_json()


def test_a_stage_s_cost_is_of_its_steps_and_like_ones_price_it(dataset: Dataset) -> None:
    spec, stage = EncoderSpec.parse(ENCODER), stages_of(RECIPE, dataset)
    passes = stage.cost(spec, Budget(0, 0, patch=8))
    # 20 samples of anyres tiles: the base tile and a 2 x 2 grid of a picture of 480 x 640.
    assert (passes.images, passes.side, passes.steps, passes.seconds) == (100, 32, STEPS, None)
    longer = replace(stage, learning=INSTRUCT.model_copy(update={"epochs": 20, "lm_rate": 1e-5}))
    slow = Took("llava-instruct", stage.spec.params, 12.0)
    others = [
        Took("llava-align", stage.before.spec.params, 1e6),
        Took("llava-instruct", replace(stage, learning=INSTRUCT.model_copy(update={"batch": 8})).spec.params, 1e6),
    ]
    passes = longer.cost(
        spec, Budget(0, 0, patch=8, trained=(slow, Took("llava-instruct", stage.spec.params, 6.0), *others))
    )
    assert (passes.steps, passes.seconds) == (60, 120.0)
    assert passes.why == "llava-instruct: 200 samples in 60 steps; about 0.033 h"


def test_a_model_of_7b_is_priced_by_arithmetic_with_its_disk_and_memory() -> None:
    """1.2 + 10 hours of 8 H100 at 336 pixels and 3.3 + 27 at 560, where all pictures have most tokens."""
    recipe = RECIPES["paper@1"]
    for side, hours in ((336, (1.2, 10)), (560, (3.3, 27))):
        spec = EncoderSpec.parse(f"hf:somebody/vit?res={side}")
        found = []
        for learnt, samples, cut in (
            (recipe.align, 558_128, lambda s, p: Square(s, p, "own")),
            (recipe.instruct, 740_000, Anyres),
        ):
            told = StageSpec(
                name="llava",
                params={
                    "model": recipe.model.model_dump_json(),
                    "learning": learnt.model_dump_json(),
                    "samples": samples,
                },
            )
            why = cost_of(told, recipe.model, learnt, samples, cut, spec, Budget(0, 0, patch=14)).why
            found.append(float(re.search(r"([\d.]+) h of 8 H100", why)[1]))  # type: ignore[index]
        assert found == [pytest.approx(each, rel=0.35) for each in hours]
    assert why.endswith(
        "memory over all ranks: 112 GB of weights, gradients and moments; disk: 168 GB of checkpoints while it trains, 14 GB in the end"
    )


@dataclass(frozen=True)
class Speaks(LightProbe):
    """Rests on both trainings, and judges nothing."""

    name: ClassVar[str] = "speaks"
    data: ClassVar[frozenset[str]] = frozenset({"conversations"})

    @property
    def reads(self) -> tuple[Read, ...]:
        return ()

    def stages(self, dataset: Dataset) -> tuple[Stage, ...]:
        return (stages_of(RECIPE, dataset),)

    def run(self, encoder: Encoder, *, seed: int, work: Any) -> Outcome:
        ready = work.stage(work.stages[0])
        return Outcome(metrics=(Metric(name="files", value=len(ready.trained.files), better="neither", n=1),))


def test_cells_after_a_trained_encoder_are_those_without(dataset: Dataset, small_world: Path, tmp_path: Path) -> None:
    seen = open_dataset(small_world, name="small")
    both = replace(seen, splits={**seen.splits, **dataset.splits}, provides=seen.provides | dataset.provides)
    spec = EncoderSpec.parse(ENCODER)

    def run(folder: str, *probes: Any) -> dict[str, Any]:
        settings = Settings(device="cpu", debug=True)
        plan = Plan.over((spec,), probes, both)
        found = Runner(Store(tmp_path / folder), settings, Progress(quiet=True)).run(plan).records
        assert {record.status for record in found} == {"done"}
        return {record.cell.probe.shorthand: record for record in found}

    alone, beside = run("alone", Knn(k=5)), run("beside", Speaks(), Knn(k=5))
    (mine,) = alone.values()
    other = beside[mine.cell.probe.shorthand]
    assert (other.cell.id, other.metrics) == (mine.cell.id, mine.metrics)
    assert other.evidence.weights == mine.evidence.weights
    made = beside["speaks"].evidence.stages
    assert [each.name for each in made] == ["llava-instruct", "llava-align"]
    assert run("beside", Speaks())["speaks"].evidence.stages == made
