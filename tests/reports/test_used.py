"""What was not used as asked stands under the tables and comparisons, above all where two encoders differ in it."""

from __future__ import annotations

import pytest

from reports.board import boards, group_table, overview_table
from reports.compare import compare
from reports.groups import groups
from reports.judge import Judge
from reports.site.record_page import _facts
from reports.used import apart, replaced, replaced_in
from rice_core.record import Cell, Evidence, Record, Scores
from rice_core.spec import DatasetSpec, EncoderSpec, Param, ProbeSpec
from rice_core.stats.estimates import metric_of

DATA = DatasetSpec(name="d", layout="coco", fingerprint="f" * 64)
TOKENS = ProbeSpec(name="tokens", version=1, params={"images": 64, "perplexity": 1000.0})
SCORES = Scores(sample=("a", "b", "c"), cluster=("a", "b", "c"), values={"token-distance": (0.4, 0.5, 0.7)})


class NoStore:
    def scores(self, record: Record) -> Scores:
        return SCORES


def record(name: str, used: dict[str, Param], seed: int = 0) -> Record:
    encoder = EncoderSpec.parse(f"{name}=hf:{name}")
    metric = metric_of(SCORES, "token-distance", unit="", better="neither", bounds=(0.0, 2.0))
    cell = Cell(encoder=encoder, probe=TOKENS, dataset=DATA, seed=seed)
    evidence = Evidence(weights=name, data="d", code="c")
    return Record(cell=cell, status="done", metrics=(metric,), used=used, evidence=evidence)


def test_a_record_says_what_was_in_place_of_what() -> None:
    one = record("a", {"perplexity": 35 / 3, "side": 1022})
    assert replaced(one) == ["perplexity=11.67 in place of 1000", "side=1022 in place of what the recipe says"]
    assert ("not used as asked", "perplexity=11.67 in place of 1000", False) in _facts(one)


def test_what_all_used_alike_is_one_sentence_under_the_group_s_table_alone() -> None:
    (group,) = groups([record("a", {"images": 40}), record("b", {"images": 40})])
    sentence = "Not used as asked: images=40 in place of 64."
    assert replaced_in(group) == [sentence]
    assert apart(group, group.entries) == []
    judge = Judge(group, NoStore())
    assert sentence in group_table(judge).notes
    (board,) = boards([group])
    assert not any("images" in note for note in overview_table(board, {group.key: judge}).notes if "Not used" in note)


@pytest.mark.parametrize("other", [{}, {"perplexity": 20.5}])
def test_encoders_that_used_different_values_are_named_in_every_table(other: dict[str, Param]) -> None:
    left, right = record("a", {"images": 40, "perplexity": 35 / 3}), record("b", {"images": 40} | other)
    (group,) = groups([left, right])
    theirs = "20.5" if other else "1000"
    sentence = f"tokens: perplexity is not the same for all encoders: a 11.67; b {theirs} (asked: 1000)."
    assert replaced_in(group) == ["Not used as asked: images=40 in place of 64.", sentence]
    judge = Judge(group, NoStore())
    (board,) = boards([group])
    assert sentence in group_table(judge).notes
    assert sentence in overview_table(board, {group.key: judge}).notes
    found = compare([left], [right], NoStore())
    assert found.unlike == (sentence,)
    assert sentence in found.table().notes
    assert f"  beware: {sentence}\n" in found.text()


def test_seeds_of_one_encoder_may_differ_too_and_an_encoder_without_a_number_says_nothing() -> None:
    failed = record("c", {}).model_copy(update={"status": "failed", "metrics": ()})
    (group,) = groups([record("a", {}), record("a", {"images": 3}, seed=1), record("b", {}), failed])
    assert apart(group, group.entries) == [
        "tokens: images is not the same for all encoders: a 3 and 64; b 64 (asked: 64)."
    ]
    (group,) = groups([record("a", {}), record("b", {})])
    assert replaced_in(group) == []
