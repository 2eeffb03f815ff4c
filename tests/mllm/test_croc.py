"""Croc's stage: what is replaced by what, who sees whom, what is learnt, and that it stands between the two of LLaVA."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import exit_codes
from safetensors.torch import load_file
from talks import stage_work, talks
from tiny_llava import batch_of, noise, picture, qwen

from mllm.llava.croc import Croc, matched, mixed, replaced_of
from mllm.llava.learner import LlavaLearner
from mllm.llava.loader import LlavaPart
from mllm.llava.packing import Square
from mllm.llava.recipe import RECIPES, CrocLearning, LlavaConfig, LlavaLearning, LlavaRecipe
from mllm.llava.text import IGNORED, IMAGE
from mllm.llava.training import CrocTraining, stages_of
from mllm.llava.vision import VisionTower
from rice_core.datasets.nouns import Dataset
from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.ranks import Ranks, join
from rice_core.spec import EncoderSpec
from rice_core.stage import chain

ENCODER = "synthetic:random-weights?res=32"
G = 16
"""Tokens of a picture: 4 x 4."""
CROC = CrocLearning(batch=4, part=2, projector_rate=2e-3, lm_rate=1e-3, pool=32, context=512, precision="fp32")
ALIGN = LlavaLearning(batch=4, part=2, projector_rate=2e-3, context=512, precision="fp32")
RECIPE = LlavaRecipe(
    name="test",
    model=LlavaConfig(lm="mini", tiles="one"),
    align=ALIGN,
    croc=CROC,
    instruct=ALIGN.model_copy(update={"lm_rate": 1e-3}),
)


def made(config: CrocLearning = CROC) -> Croc:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return Croc(VisionTower(load_encoder(EncoderSpec.parse(ENCODER))), qwen(), config).train()


def captioned(model: Croc, *words: int, seed: int = 0) -> Any:
    shown = picture(model, noise(40, 50, seed), Square(model.tower.side, model.tower.patch, "squash"))
    return [IMAGE] * G + list(words), [IGNORED] * G + list(words), [shown]


def test_the_hungarian_way_is_the_cheapest_without_repeats_and_the_nearest_the_cheapest() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens_RC, pool_PC = torch.randn(4, 3, generator=generator) * 0.1, torch.randn(6, 3, generator=generator)
    apart_RP = torch.cdist(tokens_RC, pool_PC)
    nearest, hungarian = matched(tokens_RC, pool_PC, "nearest"), matched(tokens_RC, pool_PC, "hungarian")
    assert nearest.tolist() == apart_RP.argmin(1).tolist()
    assert len(set(nearest.tolist())) < 4 == len(set(hungarian.tolist()))
    ways = itertools.permutations(range(6), 4)
    best = min(ways, key=lambda way: sum(float(apart_RP[k, place]) for k, place in enumerate(way)))
    assert hungarian.tolist() == list(best)


def test_three_quarters_are_replaced_and_which_is_the_caption_s_affair() -> None:
    ids = torch.tensor([IMAGE] * G + [5, 6, 7])
    chosen = replaced_of(ids, G, 12)
    assert len(set(chosen.tolist())) == 12
    assert set(chosen.tolist()) < set(range(G))
    padded = torch.cat([ids, torch.zeros(9, dtype=torch.long)])
    assert replaced_of(padded, G, 12).tolist() == chosen.tolist()
    others = {tuple(replaced_of(torch.tensor([IMAGE] * G + [k]), G, 12).tolist()) for k in range(1, 20)}
    assert len(others) > 10
    assert made()._replaced == 12


def test_pictures_see_themselves_in_both_directions_and_words_what_comes_before() -> None:
    model = made()
    batch = batch_of([captioned(model, 7, 8), captioned(model, 9, seed=1)])
    sees_BTT = mixed(batch)[:, 0]
    assert sees_BTT[0, :G, :G].all()
    assert not sees_BTT[0, :G, G:].any()
    assert sees_BTT[0, G:, :G].all()
    assert sees_BTT[0, G:, G:].tolist() == [[True, False], [True, True]]
    assert not sees_BTT[1, :, G + 1].any()  # that is padding
    # The language model obeys: a later token of the picture changes what an earlier one becomes.
    embeds = model.embeds(batch).detach()
    changed = embeds.clone()
    changed[0, G - 1] += 1

    def first(given: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        found = model.language_model(inputs_embeds=given, attention_mask=mask, output_hidden_states=True)
        return found.hidden_states[-1][0, 0]

    assert not torch.equal(first(embeds, mixed(batch)), first(changed, mixed(batch)))
    assert torch.equal(first(embeds, batch.mask_BT), first(changed, batch.mask_BT))


def test_the_loss_is_the_captions_and_ten_times_the_pictures() -> None:
    model = made()
    batch = batch_of([captioned(model, 7, 8), captioned(model, 9, seed=1)])
    both, words = model(batch), made(CROC.model_copy(update={"weight": 0.0}))(batch)
    assert both.tokens == words.tokens == 3
    _, truth_BGC = model._replacing(batch)
    torch.testing.assert_close(truth_BGC.norm(dim=-1), torch.ones(2, G))
    alone = [model(batch_of([captioned(model, 7, 8)])), model(batch_of([captioned(model, 9, seed=1)]))]
    assert both.loss.item() == pytest.approx(sum(each.loss.item() for each in alone), rel=1e-5)
    seen = []
    model.head.register_forward_hook(lambda _m, _i, out: seen.append(out.detach()))
    model(batch)
    apart = (seen[0] - truth_BGC).abs()
    smooth = torch.where(apart < 0.01, apart.square() / 0.02, apart - 0.005).mean((1, 2))
    assert (both.loss - words.loss).item() == pytest.approx(10 * float(2 * smooth[0] + smooth[1]), rel=1e-4)


def test_what_is_replaced_teaches_the_pool_and_what_is_not_the_projector() -> None:
    model = made()
    batch = batch_of([captioned(model, 7, 8)])
    model(batch).loss.backward()
    used = model.pool.grad.abs().sum(1) > 0  # type: ignore[union-attr]
    assert int(used.sum()) == 12
    assert model.projector[0].weight.grad.any()
    model.zero_grad()
    tokens = {"grad": torch.zeros(G)}

    def note(gradient: torch.Tensor) -> None:
        tokens["grad"] = gradient.view(G, -1).abs().sum(1)

    def watch(_module: object, _given: object, out: torch.Tensor) -> None:
        out.register_hook(note)

    handle = model.projector.register_forward_hook(watch)
    model(batch).loss.backward()
    handle.remove()
    kept = sorted(set(range(G)) - set(replaced_of(batch.ids_BT[0], G, 12).tolist()))
    assert tokens["grad"].nonzero().flatten().tolist() == kept


def test_a_pool_that_is_too_small_is_refused() -> None:
    with pytest.raises(
        UserError, match="12 tokens to replace by different ones of 8; give a larger pool or match=nearest"
    ):
        made(CROC.model_copy(update={"pool": 8}))
    made(CROC.model_copy(update={"pool": 8, "match": "nearest"}))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return talks(tmp_path_factory.mktemp("talks"), 6)


def trained(stage: Any, folder: Path, start: Path | None = None, stop: int | None = None) -> tuple[Path, Any]:
    out = folder / "out"
    out.mkdir(parents=True, exist_ok=True)
    encoder = load_encoder(EncoderSpec.parse(ENCODER))
    return out, stage.train(encoder, start, out, seed=1, work=stage_work(folder / "state", stop))


def test_it_stands_between_the_two_and_hands_on_projector_and_language_model(dataset: Dataset, tmp_path: Path) -> None:
    instruct = stages_of(RECIPE, dataset)
    names = [each.spec.name for each in chain(instruct)]
    assert names == ["llava-instruct", "llava-croc", "llava-align"]
    croc = instruct.before
    aligned, _ = trained(croc.after, tmp_path / "align")
    out, curve = trained(croc, tmp_path / "croc", aligned)
    assert {path.name for path in out.iterdir()} == {"language_model", "llava.json", "projector.safetensors"}
    assert not torch.equal(*(load_file(each / "projector.safetensors")["0.weight"] for each in (aligned, out)))
    with pytest.raises(KeyboardInterrupt):
        trained(croc, tmp_path / "parts", aligned, stop=1)
    torch.manual_seed(77)
    again, same = trained(croc, tmp_path / "parts", aligned)
    assert same == curve
    for path in out.rglob("*.safetensors"):
        other = load_file(again / path.relative_to(out))
        assert all(torch.equal(each, other[name]) for name, each in load_file(path).items())
    model, _, _ = instruct._begun(load_encoder(EncoderSpec.parse(ENCODER)), out, 1)
    left = load_file(out / "language_model" / "model.safetensors")
    found = dict(model.language_model.named_parameters())
    assert all(torch.equal(found[name], each) for name, each in left.items())


def test_it_learns() -> None:
    model = made()
    own = LlavaLearner(model, CROC, steps=30, ranks=Ranks(0, 1, torch.device("cpu")))
    parts = [LlavaPart(batch_of([captioned(model, 7, 8), captioned(model, 9, seed=1)]), 3)]
    losses = [own.step(parts, step=step, rate=3e-3).loss for step in range(30)]
    assert losses[-1] < 0.5 * losses[0]


def ranked(rank: int, folder: Path, expected: list[float]) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    with join("cpu", init_method=f"file://{folder / 'meet'}") as ranks:
        assert steps(ranks) == pytest.approx(expected, rel=1e-4)


def steps(ranks: Ranks) -> list[float]:
    model = made()
    own = LlavaLearner(model, CROC, steps=2, ranks=ranks)
    all_parts = [
        [[captioned(model, 7, 8)], [captioned(model, 9, seed=1)]],
        [[], [captioned(model, 5, 6, 7, seed=2)]],
    ]
    found = []
    for number, parts in enumerate(all_parts):
        mine = parts if ranks.size == 1 else [parts[ranks.rank]]
        built = [LlavaPart(batch_of(each) if each else None, sum(len(one[0]) - G for one in each)) for each in mine]
        found.append(own.step(built, step=number, rate=1e-3).loss)
    return found


def test_two_ranks_make_the_steps_of_one(tmp_path: Path) -> None:
    assert exit_codes(ranked, tmp_path, steps(Ranks(0, 1, torch.device("cpu")))) == [0, 0]


def test_the_paper_s_settings_are_those_of_its_recipe(dataset: Dataset) -> None:
    croc = RECIPES["croc@1"].croc
    assert croc is not None
    assert (croc.pool, croc.replaced, croc.match, croc.weight) == (2048, 0.75, "hungarian", 10.0)
    assert (croc.projector_rate, croc.lm_rate, croc.tower_rate, croc.batch) == (2e-5, 2e-5, None, 128)
    stage = stages_of(RECIPE, dataset).before
    other = replace(stage, learning=CROC.model_copy(update={"match": "nearest"}))
    assert isinstance(stage, CrocTraining)
    assert stage.spec != other.spec
