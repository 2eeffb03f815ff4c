"""Micro-batches of a training: a function of seed and step on any number of ranks and workers, with what was left out by name."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mllm.llava import loader as loader_module
from mllm.llava.loader import LlavaPart, counted, open_batches
from mllm.llava.mini_tokenizer import mini_tokenizer
from mllm.llava.packing import Square
from mllm.llava.recipe import LlavaLearning
from mllm.llava.samples import Schooling
from mllm.llava.text import IGNORED, Captions, ChatML
from mllm.readers.talks import read_talks
from rice_core.datasets import Conversation, Turn
from rice_core.encoders.preprocess import Preprocess
from rice_core.errors import UserError
from rice_core.ranks import Ranks
from rice_core.world.layouts.llava import INSTRUCT, write_llava

RECIPE = Preprocess(resolution=(28, 28))
SQUARE = Square(28, 7, "squash")
TOKENIZER = mini_tokenizer()
CHAT = ChatML(TOKENIZER)
CPU = torch.device("cpu")
LEARNING = LlavaLearning(batch=6, part=2, context=512, precision="fp32")


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Conversation]:
    folder = write_llava(tmp_path_factory.mktemp("world") / "w", seed=0, train=34, val=0, size=48)
    found, _ = read_talks(folder / INSTRUCT, "instruct", (folder / INSTRUCT).parent)
    return found


def batches(talks: Sequence[Conversation], count: int, **asked: Any) -> list[LlavaPart]:
    defaults: dict[str, Any] = {
        "seed": 0,
        "ranks": Ranks(0, 1, CPU),
        "workers": 0,
        "first": 0,
        "format": CHAT,
        "pictures": SQUARE,
        "recipe": RECIPE,
    }
    learning = asked.pop("learning", LEARNING)
    return list(islice(open_batches(talks, learning, **(defaults | asked)), count))


def plain(part: LlavaPart) -> Any:
    """What a part holds, to be compared."""
    assert part.positions is None
    if part.batch is None:
        return None
    tiles = part.batch.tiles_K3SS
    return (
        part.batch.ids_BT.tolist(),
        part.batch.labels_BT.tolist(),
        None if tiles is None else tiles.sum((1, 2, 3)).tolist(),
        part.skipped,
    )


def test_an_epoch_shows_everything_and_the_next_another_order(talks: Sequence[Conversation]) -> None:
    parts = batches(talks, 2 * 18)
    one, other = parts[:18], parts[18:]
    # 34 by 6 in parts of 2: five whole steps and one of 4, whose third part is empty.
    sizes = [0 if part.batch is None else len(part.batch.ids_BT) for part in one]
    assert sorted(sizes) == [0] + [2] * 17
    assert next(part for part in one if part.batch is None).labels == 0

    def texts(some: list[LlavaPart]) -> list[list[int]]:
        return [row for part in some if part.batch is not None for row in _rows(part)]

    assert sorted(texts(one)) == sorted(texts(other)) == sorted(list(CHAT_ids(talk)) for talk in talks)
    assert texts(one) != texts(other)


def _rows(part: LlavaPart) -> list[list[int]]:
    assert part.batch is not None
    return [row[mask.bool()].tolist() for row, mask in zip(part.batch.ids_BT, part.batch.mask_BT, strict=True)]


def CHAT_ids(talk: Conversation) -> tuple[int, ...]:
    return CHAT.sample(talk.turns, [16] * len(talk.images)).ids


def test_a_resumed_training_sees_what_it_would_have_seen(talks: Sequence[Conversation]) -> None:
    whole = [plain(part) for part in batches(talks, 30)]
    for first in (1, 5, 6, 8):
        assert [plain(part) for part in batches(talks, 6, first=first)] == whole[3 * first :][:6]


def test_two_ranks_share_out_the_same_parts(talks: Sequence[Conversation], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a step of three parts the second rank's last is empty."""
    alone = [plain(part) for part in batches(talks, 18)]
    lengths_N = counted(talks, Schooling(CHAT, SQUARE, RECIPE, 512), ranks=Ranks(0, 1, CPU), workers=0)
    # What ranks tell each other: there is no second process here.
    monkeypatch.setattr(loader_module, "counted", lambda *_, **__: lengths_N)
    each = [[plain(part) for part in batches(talks, 12, ranks=Ranks(rank, 2, CPU))] for rank in (0, 1)]
    for step in range(6):
        both = [each[k % 2][2 * step + k // 2] for k in range(4)]
        assert both == [*alone[3 * step :][:3], None]


def test_workers_change_nothing(talks: Sequence[Conversation]) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    assert [plain(part) for part in batches(talks, 8, workers=2)] == [plain(part) for part in batches(talks, 8)]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_parts_are_padded_at_the_right_and_their_labels_counted(talks: Sequence[Conversation]) -> None:
    for part in batches(talks, 17):
        batch = part.batch
        if batch is None:
            continue
        assert batch.ids_BT.shape == batch.mask_BT.shape == batch.labels_BT.shape
        assert (batch.mask_BT.diff(dim=1) <= 0).all()
        assert set(batch.ids_BT[batch.mask_BT == 0].tolist()) <= {CHAT.markers.padding}
        assert part.labels == int((batch.labels_BT[:, 1:] != IGNORED).sum())


def test_captions_have_no_question(tmp_path: Path) -> None:
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    turns = (Turn("user", "<image>\nDescribe it."), Turn("assistant", "a star"))
    talks = [Conversation("align/0000000", turns, (tmp_path / "a.png",))]
    (part,) = batches(talks, 1, format=Captions(TOKENIZER))
    assert part.batch is not None
    assert part.batch.ids_BT.shape == (1, 16 + 3)
    assert part.labels == 3


def odd(folder: Path) -> list[Conversation]:
    """One sound, one whose picture is missing, one with an empty answer, one that is too long."""
    Image.new("RGB", (30, 30)).save(folder / "a.png")
    asked = Turn("user", "<image>\nWhat?")
    return [
        Conversation("0", (asked, Turn("assistant", "a star")), (folder / "a.png",)),
        Conversation("1", (asked, Turn("assistant", "a star")), (folder / "none.png",)),
        Conversation("2", (asked, Turn("assistant", "")), (folder / "a.png",)),
        Conversation("3", (asked, Turn("assistant", "a star " * 400)), (folder / "a.png",)),
    ]


@pytest.mark.parametrize("grouped", [True, False])
def test_what_is_left_out_or_cut_is_named_once_an_epoch(tmp_path: Path, grouped: bool) -> None:
    learning = LEARNING.model_copy(update={"grouped": grouped})
    parts = batches(odd(tmp_path), 6, learning=learning)
    for epoch in (parts[:3], parts[3:]):
        told = {skip.item: skip.reason for part in epoch for skip in part.skipped}
        assert told.keys() == {"1", "2", "3"}
        assert told["1"] == "shows none.png, which cannot be read: No such file or directory"
        assert told["2"] == "has an empty answer"
        assert told["3"] == "has 841 tokens, of which the last 329 do not fit and were cut"
        assert sum(0 if part.batch is None else len(part.batch.ids_BT) for part in epoch) == 2


def test_a_part_of_which_nothing_is_left_is_empty(tmp_path: Path) -> None:
    learning = LEARNING.model_copy(update={"part": 1, "batch": 1})
    parts = batches(odd(tmp_path), 4, learning=learning)
    assert sorted((part.batch is None, len(part.skipped)) for part in parts) == [
        (False, 0),
        (False, 1),
        (True, 1),
        (True, 1),
    ]


def test_a_training_of_nothing_is_refused_before_it_begins(tmp_path: Path) -> None:
    lost = odd(tmp_path)[1:3]
    with pytest.raises(
        UserError,
        match=r"^of 2 conversations nothing can be learnt: the first shows none.png, which cannot be read: No such",
    ):
        batches(lost, 1)


def test_an_error_in_a_worker_is_the_sentence_itself(tmp_path: Path) -> None:
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    row = '{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes"}]}'
    file = tmp_path / "instruct.json"
    file.write_text(f"[{row}, {row}]")
    talks, _ = read_talks(file, "instruct", tmp_path)
    file.write_text("[]" + " " * 300)
    for grouped in (True, False):
        learning = LEARNING.model_copy(update={"grouped": grouped})
        with pytest.raises(UserError) as refused:
            batches(talks, 1, workers=1, learning=learning)
        assert str(refused.value) == f"{file} was changed while it was read; run again."


def test_lengths_are_counted_once_and_kept(
    talks: Sequence[Conversation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schooling = Schooling(CHAT, SQUARE, RECIPE, 512)
    alone = Ranks(0, 1, CPU)
    found_N = counted(talks, schooling, ranks=alone, workers=0, kept=tmp_path / "lengths")
    true_N = [len(CHAT_ids(talk)) * (1 if talk.images else -1) for talk in talks]
    assert found_N.tolist() == true_N
    assert np.array_equal(counted(talks, schooling, ranks=alone, workers=2), found_N)
    (kept,) = (tmp_path / "lengths").iterdir()

    def never(*_: Any) -> None:
        raise AssertionError("counted again")

    with monkeypatch.context() as patched:
        patched.setattr(loader_module, "_Counter", never)
        again_N = counted(talks, schooling, ranks=alone, workers=0, kept=tmp_path / "lengths")
        assert np.array_equal(again_N, found_N)
        with pytest.raises(AssertionError):  # of other tiles
            counted(
                talks,
                Schooling(CHAT, Square(28, 14, "squash"), RECIPE, 512),
                ranks=alone,
                workers=0,
                kept=tmp_path / "lengths",
            )
    kept.write_bytes(kept.read_bytes()[:50])
    assert np.array_equal(counted(talks, schooling, ranks=alone, workers=0, kept=tmp_path / "lengths"), found_N)


class _Two(Ranks):
    """A rank whose fellow has counted its share already."""

    def gather(self, value: Any) -> list[Any]:
        return [value, np.array([-7, -9], np.int32)]

    def agree(self, value: Any) -> Any:
        return value


def test_ranks_share_the_counting() -> None:
    talks = [Conversation(str(k), (Turn("user", "Hi"), Turn("assistant", "Yes " * k))) for k in range(1, 6)]
    schooling = Schooling(CHAT, SQUARE, RECIPE, 512)
    found_N = counted(talks, schooling, ranks=_Two(0, 2, CPU), workers=0)
    own = [-len(CHAT_ids(talk)) for talk in talks]
    assert found_N.tolist() == [own[0], -7, own[2], -9, own[4]]
