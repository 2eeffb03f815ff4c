"""Two encoders against each other: what is computed, what is said, what is refused."""

import numpy as np
import pytest

from reports.compare import compare
from reports.render import to_markdown
from rice_core.errors import UserError
from rice_core.spec import ProbeSpec
from rice_core.stats.estimates import paired

RNG = np.random.default_rng(11)
BASE = RNG.normal(60, 10, 80)
NOISE = RNG.normal(0, 10, 80)


def test_the_difference_is_the_paired_one(fake, store):
    a = fake.scored(store, fake.cell("a=hf:x/1"), BASE + 2)
    b = fake.scored(store, fake.cell("b=hf:x/2"), BASE + NOISE / 20)
    (found,) = compare([a], [b], store).differences
    assert found.paired == paired(store.scores(a), store.scores(b), "accuracy", better="higher")
    assert found.sentence.startswith("a is better by 1.9")
    assert "95 % interval 1.8" in found.sentence
    assert "80 samples" in found.sentence


def test_the_other_way_round_is_the_same_with_the_other_sign(fake, store):
    a = fake.scored(store, fake.cell("a=hf:x/1"), BASE + 2)
    b = fake.scored(store, fake.cell("b=hf:x/2"), BASE + NOISE / 20)
    (there,), (back,) = compare([a], [b], store).differences, compare([b], [a], store).differences
    assert there.paired.value == -back.paired.value
    assert there.sentence == back.sentence


def test_the_smaller_one_is_better_where_lower_is(fake, store):
    a = fake.scored(store, fake.cell("a=hf:x/1"), BASE + 2, better="lower")
    b = fake.scored(store, fake.cell("b=hf:x/2"), BASE + NOISE / 20, better="lower")
    assert compare([a], [b], store).differences[0].sentence.startswith("b is better by")


def test_a_tie_is_called_not_decisive_with_what_would_have_shown(fake, store):
    a = fake.scored(store, fake.cell("a=hf:x/1"), BASE + 0.5)
    b = fake.scored(store, fake.cell("b=hf:x/2"), BASE + NOISE)
    comparison = compare([a], [b], store)
    (found,) = comparison.differences
    assert not found.paired.decisive
    assert found.sentence.startswith("not decisive")
    assert "includes zero" in found.sentence
    assert f"{found.paired.mde:.2f} points would have shown" in found.sentence
    assert "not decisive" in comparison.text()
    assert "not decisive" in to_markdown(comparison.table())


def test_seeds_are_joined(fake, store):
    a = [fake.scored(store, fake.cell("a=hf:x/1", seed=s), BASE + 5 + s / 10) for s in range(3)]
    b = [fake.scored(store, fake.cell("b=hf:x/2", seed=s), BASE + NOISE / 50) for s in range(1, 3)]
    (found,) = compare(a, b, store).differences
    assert found.seeds == (1, 2)
    assert found.paired.value == pytest.approx(5.15, abs=0.1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"probe": ProbeSpec(name="knn", version=1, recipe="paper", params={"k": 10})},
            r"other recipe \(standard against paper\)",
        ),
        ({"probe": ProbeSpec(name="knn", version=2, params={"k": 10})}, r"other version of the probe \(1 against 2\)"),
        ({"probe": ProbeSpec(name="knn", version=1, params={"k": 20})}, r"other settings \(k=10 against k=20\)"),
        ({"limit": 8}, r"other limit \(none against 8\)"),
    ],
)
def test_what_is_not_comparable_is_refused_with_the_reason(fake, store, change, reason):
    a = fake.scored(store, fake.cell("a=hf:x/1"), BASE)
    b = fake.scored(store, fake.cell("b=hf:x/2", **change), BASE)
    with pytest.raises(UserError, match=reason):
        compare([a], [b], store)


def test_other_bytes_of_the_data_are_refused(fake, store):
    a = store.put(fake.simple(fake.cell("a=hf:x/1")))
    b = store.put(fake.simple(fake.cell("b=hf:x/2"), data="e" * 64))
    with pytest.raises(UserError, match="other files of the data set"):
        compare([a], [b], store)


def test_what_only_one_has_is_listed_beside_what_both_have(fake, store):
    linear = ProbeSpec(name="linear", version=1)
    a = [fake.scored(store, fake.cell("a=hf:x/1"), BASE), fake.scored(store, fake.cell("a=hf:x/1", probe=linear), BASE)]
    b = [fake.scored(store, fake.cell("b=hf:x/2"), BASE + NOISE)]
    comparison = compare(a, b, store)
    assert len(comparison.differences) == 1
    assert len(comparison.refused) == 1
    assert "only a has it" in comparison.refused[0]
    assert "not compared: linear" in comparison.text()


def test_without_scores_no_difference_is_claimed(fake, store):
    a, b = store.put(fake.simple(fake.cell("a=hf:x/1"), 90)), store.put(fake.simple(fake.cell("b=hf:x/2"), 10))
    (found,) = compare([a], [b], store).differences
    assert found.paired is None
    assert "nothing can be said" in found.sentence


def test_an_encoder_is_not_compared_with_itself(fake, store):
    a = fake.scored(store, fake.cell("a=hf:x/1"), BASE)
    with pytest.raises(UserError, match="with itself"):
        compare([a], [a], store)


def test_a_side_is_one_encoder(fake, store):
    a = fake.scored(store, fake.cell("a=hf:x/1"), BASE)
    b = fake.scored(store, fake.cell("b=hf:x/2"), BASE)
    with pytest.raises(UserError, match=r"second side .* \(a, b\)"):
        compare([a], [a, b], store)


def test_every_metric_on_request(full_store):
    records = full_store.records()
    a, b = ([r for r in records if r.cell.encoder.title == name] for name in ("mlcd", "mini-vit"))
    few, all_ = compare(a, b, full_store), compare(a, b, full_store, every_metric=True)
    assert (len(few.differences), len(all_.differences)) == (4, 8)
