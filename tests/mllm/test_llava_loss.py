"""Losses of batches: what is counted, what contributes nothing and still takes part."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_llava import SIDE, SQUARE, batch_of, clip_encoder, noise, picture, tiny_llava

from mllm.llava.batch import CutImage
from mllm.llava.model import Llava
from mllm.llava.packing import Square
from mllm.llava.text import IGNORED, IMAGE
from rice_core.encoders import load_encoder
from rice_core.spec import EncoderSpec

Sample = tuple[list[int], list[int], list[CutImage]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Llava:
    return tiny_llava(clip_encoder(tmp_path_factory.mktemp("clip")))


def sample(shown: list[CutImage], learnt: list[int]) -> Sample:
    ids = [5, *[IMAGE] * sum(each.plan.tokens for each in shown), 6, *learnt]
    return ids, [IGNORED] * (len(ids) - len(learnt)) + learnt, shown


def text(*learnt: int) -> Sample:
    return sample([], list(learnt))


def gradients(model: Llava, *batches: list[Sample], divided_by: int = 1) -> dict[str, torch.Tensor | None]:
    model.zero_grad(set_to_none=True)
    for each in batches:
        (model(batch_of(each)).loss / divided_by).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_losses_are_summed_so_that_each_token_weighs_the_same(model: Llava) -> None:
    one = sample([picture(model, noise(60, 60))], [7])
    seven = sample([picture(model, noise(20, 130))], [9, 8, 7, 6, 5, 4, 3])
    a, b, both = (model(batch_of(each)) for each in ([one], [seven], [one, seven]))
    assert (a.tokens, b.tokens, both.tokens) == (1, 7, 8)
    assert torch.allclose(both.loss, a.loss + b.loss, rtol=1e-5)
    mean = (a.loss + b.loss) / 8
    assert not torch.allclose(mean, (a.loss + b.loss / 7) / 2, rtol=1e-2)
    whole, accumulated = gradients(model, [one, seven], divided_by=8), gradients(model, [one], [seven], divided_by=8)
    for name, gradient in whole.items():
        assert torch.allclose(gradient, accumulated[name], atol=1e-6, rtol=1e-4), name


def test_loss_is_of_the_labels_each_from_the_token_before(model: Llava) -> None:
    batch = batch_of([sample([picture(model, noise(40, 50))], [7, 8]), text(9)])
    logits = model.language_model(inputs_embeds=model.embeds(batch), attention_mask=batch.mask_BT).logits
    expected = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), batch.labels_BT[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )
    found = model(batch)
    assert found.tokens == 3
    assert torch.allclose(found.loss, expected, rtol=1e-5)


def test_what_pads_a_batch_changes_nothing(model: Llava) -> None:
    one = sample([picture(model, noise(20, 130))], [7, 8])
    short = text(9)
    alone = model(batch_of([one])).loss + model(batch_of([short])).loss
    for side in ("left", "right"):
        for padding in (0, 988):
            assert torch.allclose(model(batch_of([one, short], side, padding)).loss, alone, rtol=1e-5)


def test_pictures_of_other_numbers_of_tiles_share_a_batch(model: Llava) -> None:
    shown = [picture(model, noise(28, 28)), picture(model, noise(500, 500)), picture(model, noise(9, 9), SQUARE)]
    assert [each.plan.tiles for each in shown] == [3, 5, 1]
    samples = [sample([each], [7]) for each in shown]
    together = model(batch_of([*samples, text(9)]))
    alone = sum(model(batch_of([each])).loss for each in [*samples, text(9)])
    assert torch.allclose(together.loss, alone, rtol=1e-5)


@pytest.mark.parametrize("labels", [[IGNORED] * 4, [5, IGNORED, IGNORED, IGNORED]], ids=["none", "at the first token"])
@pytest.mark.parametrize("seen", [True, False])
def test_without_a_label_the_loss_is_0_its_gradients_0_and_the_count_says_so(
    model: Llava, labels: list[int], seen: bool
) -> None:
    shown = [picture(model, noise(60, 60))] if seen else []
    ids, ignored, _ = sample(shown, [7])
    found = model(batch_of([(ids, [labels[0], *[IGNORED] * (len(ignored) - 1)], shown)]))
    assert (found.loss.item(), found.tokens) == (0, 0)
    for name, gradient in gradients(model, [(ids, [labels[0], *[IGNORED] * (len(ids) - 1)], shown)]).items():
        assert gradient is not None, name
        assert not gradient.any(), name


def test_text_alone_still_runs_the_tower_and_contributes_nothing(model: Llava) -> None:
    ran = []
    handle = model.tower.register_forward_hook(lambda *_: ran.append(1))
    found = gradients(model, [text(7, 8)])
    assert ran == [1]
    with torch.no_grad():
        model(batch_of([text(7, 8)]))  # nobody waits for gradients
    handle.remove()
    assert ran == [1]
    for name, gradient in found.items():
        assert gradient is not None, name
        assert gradient.any() == name.startswith("language_model"), name
    batch = batch_of([text(7, 8)])
    plain = model.language_model(input_ids=batch.ids_BT, labels=batch.labels_BT).loss
    assert torch.allclose(model(batch).loss / 2, plain, rtol=1e-6)


def test_text_beside_pictures_leaves_their_gradients_as_they_are(model: Llava) -> None:
    one = sample([picture(model, noise(60, 60))], [7])
    alone, beside = gradients(model, [one]), gradients(model, [one], [text(8)])
    for name, gradient in alone.items():
        if not name.startswith("language_model"):
            assert torch.equal(gradient, beside[name]), name


def test_a_single_tile_reaches_every_weight_but_the_newline(model: Llava) -> None:
    found = gradients(model, [sample([picture(model, noise(60, 60), SQUARE)], [7])])
    assert not found["image_newline"].any()
    assert found["projector.0.weight"].any()
    assert any(gradient.any() for name, gradient in found.items() if name.startswith("tower"))


def test_places_and_tokens_of_pictures_have_to_be_as_many(model: Llava) -> None:
    ids, labels, shown = sample([picture(model, noise(60, 60))], [7])
    with pytest.raises(ValueError, match=f"{len(ids) - 4} places for {len(ids) - 3} tokens"):
        model(batch_of([(ids[:1] + ids[2:], labels[1:], shown)]))


def test_it_learns() -> None:
    """Two pictures, two answers, all weights trained: the tower is needed to tell them apart."""
    own = tiny_llava(load_encoder(EncoderSpec.parse("synthetic:random-weights")))
    side = own.tower.side
    assert side != SIDE
    cut = Square(side, own.tower.patch, "own")
    samples = [sample([picture(own, noise(side, side, seed), cut)], [answer]) for seed, answer in ((1, 7), (2, 8))]
    own.train()
    optimizer = torch.optim.AdamW([each for each in own.parameters() if each.requires_grad], lr=3e-3)
    losses = []
    for _ in range(40):
        found = own(batch_of(samples))
        optimizer.zero_grad()
        (found.loss / found.tokens).backward()
        optimizer.step()
        losses.append(found.loss.item() / found.tokens)
    assert losses[-1] < 0.2 < math.log(2) < losses[0]  # that of who cannot tell them apart
