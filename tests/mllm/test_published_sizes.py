"""What Table 1 would cost before anything was downloaded, and splits of a million conversations that are not read to be named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mllm.evaluate.columns import BENCHMARKS
from mllm.published import SIZES, CountedSplit, published_data
from mllm.readers.talks import Talks, read_talks
from rice_core.datasets import only
from rice_core.datasets.describe import describe
from rice_core.datasets.digests import fingerprint


def test_every_benchmark_but_the_one_that_grows_has_its_size() -> None:
    priced = {task for task in BENCHMARKS if not task.startswith("livexiv")}
    assert set(SIZES) == {"align", "instruct"} | priced


def test_published_data_can_be_counted_narrowed_and_described() -> None:
    data = published_data()
    assert len(data.splits["align"]) == 558_128
    assert len(data.splits["instruct"][:1000]) == 1000
    assert data.splits["pope"][-1].id == "pope/08999"
    alone = only(data, "mme")
    assert list(alone.splits) == ["mme"]
    assert alone.spec.fingerprint != only(data, "pope").spec.fingerprint
    said = "\n".join(describe(data))
    assert "558128 align, 779289 instruct" in said
    assert "LLaVA-Pretrain 28 GB, LLaVA-NeXT-Data 54 GB" in said
    with pytest.raises(IndexError):
        data.splits["mme"][10**6]


class Untouched(CountedSplit):
    def __iter__(self):
        raise AssertionError("a million conversations were read")


def test_a_split_that_is_listed_at_once_is_not_read_to_be_named() -> None:
    some, others = Untouched("align", 5), Untouched("align", 6)
    marks = [fingerprint("llava", (), {"align": split}, {"align": "0"}) for split in (some, others, some)]
    assert marks[0] == marks[2] != marks[1]
    data = replace(published_data(), splits={"align": some})
    assert list(describe(data))
    assert only(data, "align").splits["align"] is some


def test_entries_of_a_file_are_told_by_their_places(tmp_path, monkeypatch) -> None:
    file = tmp_path / "align.json"
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "A cat."}]
    file.write_text(json.dumps([{"id": str(k), "conversations": turns} for k in range(4)]))
    talks, _ = read_talks(file, "align", tmp_path)
    monkeypatch.setattr(Talks, "_read", lambda *_: pytest.fail("it was read"))

    def mark(split) -> str:
        return fingerprint("llava", (), {"align": split}, {"align": "0"})

    assert mark(talks) == mark(talks[:])
    assert len({mark(talks), mark(talks[:3]), mark(talks[1:]), mark(talks[::2])}) == 4
