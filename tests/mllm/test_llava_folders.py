"""LLaVA's json files with their pictures as a data set: what is there, what is left out and why, and what is refused."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mllm.readers import entries as entries_module
from mllm.readers import talks as talks_module
from mllm.readers.entries import Torn, entries
from mllm.readers.llava import FILES, LlavaLayout
from mllm.readers.talks import read_talks
from rice_core.datasets import Conversation, Dataset, Turn, limit, only, open_dataset
from rice_core.datasets.digests import data_digest
from rice_core.errors import UserError
from rice_core.world.mini import World, draw

ASKED = {"from": "human", "value": "<image>\nWhat is it?"}
SAID = {"from": "gpt", "value": "A cat."}
CAT: dict[str, Any] = {"id": "7", "image": "a/cat.jpg", "conversations": [ASKED, SAID]}


def folder_of(place: Path, rows: Any, name: str = "instruct.json") -> Path:
    """A folder with the file and the one picture that the rows name."""
    (place / "a").mkdir(parents=True, exist_ok=True)
    (place / "a" / "cat.jpg").write_bytes(b"picture")
    (place / name).write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return place


def opened(folder: Path) -> Dataset:
    return open_dataset(folder, reader=LlavaLayout())


def talks_of(folder: Path, split: str = "instruct") -> list[Conversation]:
    items = opened(folder).splits[split]
    assert all(isinstance(item, Conversation) for item in items)
    return [item for item in items if isinstance(item, Conversation)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(World(name="mini-llava", seed=0, train=40, val=0, layout="llava"), tmp_path_factory.mktemp("worlds"))


def test_a_drawn_folder_is_read_as_what_it_is(world: Path) -> None:
    data = opened(world)
    assert {split: len(items) for split, items in data.splits.items()} == {"align": 40, "instruct": 40}
    assert (data.provides, data.skipped, data.notes) == ({"conversations"}, (), ())
    align, instruct = (talks_of(world, split) for split in ("align", "instruct"))
    assert all(len(talk.images) == 1 and talk.images[0].is_file() for talk in align)
    assert [bool(talk.images) for talk in instruct].count(False) == 2
    assert {path.suffix for talk in instruct for path in talk.images} == {".jpg", ".png"}
    assert all(path.is_file() for talk in instruct for path in talk.images)
    assert {len(talk.turns) for talk in align} == {2}
    assert {len(talk.turns) for talk in instruct} == {2, 6}
    # One placeholder a picture, in a question.
    for talk in (*align, *instruct):
        assert [turn.speaker for turn in talk.turns[:2]] == ["user", "assistant"]
        assert sum(turn.text.count("<image>") for turn in talk.turns) == len(talk.images)
        assert all("<image>" not in turn.text for turn in talk.turns if turn.speaker == "assistant")
    assert align[0].id == "align/0000000 001000000"
    assert align[0].cluster == "00000/001000000.jpg"
    assert align[0].images[0] == world / "LLaVA-Pretrain/00000/001000000.jpg"


def test_its_folders_are_no_classes_and_its_pictures_no_photographs(world: Path, tmp_path: Path) -> None:
    assert open_dataset(world).spec.layout == "llava"
    folder_of(tmp_path / "own", [CAT], "mine.json")
    for k in range(4):
        Image.new("RGB", (30, 30), (k, 0, 0)).save(tmp_path / "own" / f"{k}.png")
    with pytest.raises(
        UserError, match=r"own holds mine.json, which are conversations as LLaVA has them; call it instruct.json, or"
    ):
        open_dataset(tmp_path / "own")
    (tmp_path / "own" / "mine.json").rename(tmp_path / "own" / "instruct.json")
    assert open_dataset(tmp_path / "own").spec.layout == "llava"


def test_a_world_is_the_same_wherever_and_whenever_it_is_drawn(world: Path, tmp_path: Path) -> None:
    again = draw(World(name="mini-llava", seed=0, train=40, val=0, layout="llava"), tmp_path)
    assert (again / "manifest.json").read_bytes() == (world / "manifest.json").read_bytes()
    assert opened(again).spec.fingerprint == opened(world).spec.fingerprint
    more = draw(World(name="mini-llava", seed=0, train=60, val=0, layout="llava"), tmp_path)
    assert [talk.turns for talk in talks_of(more)][:40] == [talk.turns for talk in talks_of(world)]
    other = draw(World(name="mini-llava", seed=1, train=40, val=0, layout="llava"), tmp_path)
    assert opened(other).spec.fingerprint != opened(world).spec.fingerprint


@pytest.mark.parametrize(
    ("place", "split"),
    [
        ("LLaVA-Pretrain/blip_laion_cc_sbu_558k.json", "align"),
        ("blip_laion_cc_sbu_558k.json", "align"),
        ("LLaVA-NeXT-Data/llava_next_raw_format_processed.json", "instruct"),
        ("lmms-lab/LLaVA-NeXT-Data/llava_next_raw_format/llava_next_raw_format_processed.json", "instruct"),
        ("llava_v1_5_mix665k.json", "instruct"),
        ("instruct.jsonl", "instruct"),
    ],
)
@pytest.mark.parametrize("beside", ["", "images"])
def test_files_and_pictures_are_found_where_people_have_them(
    tmp_path: Path, place: str, split: str, beside: str
) -> None:
    file = tmp_path / "data" / place
    folder_of(file.parent / beside, [], "unused.json")
    file.write_text(json.dumps([CAT]))
    (talk,) = talks_of(tmp_path / "data", split)
    assert talk.images == (file.parent / beside / "a" / "cat.jpg",)
    sighting = LlavaLayout().recognises(tmp_path / "data")
    assert sighting is not None
    assert (sighting.how, sighting.words) == ("sure", place)


def test_pictures_may_be_one_folder_up(tmp_path: Path) -> None:
    folder_of(tmp_path / "LLaVA-NeXT-Data", [])
    (tmp_path / "LLaVA-NeXT-Data" / "instruct.json").unlink()
    file = tmp_path / "LLaVA-NeXT-Data" / "llava_next_raw_format" / FILES["instruct"][0]
    file.parent.mkdir()
    file.write_text(json.dumps([CAT]))
    (talk,) = talks_of(tmp_path)
    assert talk.images == (tmp_path / "LLaVA-NeXT-Data" / "a" / "cat.jpg",)


def test_an_entry_becomes_turns(tmp_path: Path) -> None:
    rows = [
        CAT,
        {"id": "7", "conversations": [{"from": "system", "value": "Be brief."}, ASKED, SAID]},
        {"image": ["a/cat.jpg", "a/cat.jpg"], "conversations": [{"from": "user", "value": "<image> <image>"}]},
        {"id": 12, "image": None, "conversations": [{"from": "assistant", "value": ""}], "source": "x"},
    ]
    cat, brief, two, empty = talks_of(folder_of(tmp_path, rows))
    # An id that is there twice tells nothing apart; the number does.
    assert [talk.id for talk in (cat, brief, two, empty)] == [
        f"instruct/{name}" for name in ("0000000 7", "0000001 7", "0000002", "0000003 12")
    ]
    assert cat.turns == (Turn("user", "<image>\nWhat is it?"), Turn("assistant", "A cat."))
    assert brief.turns[0] == Turn("system", "Be brief.")
    assert (brief.images, brief.cluster) == ((), "")
    assert len(two.images) == 2
    assert (empty.turns, empty.images) == ((Turn("assistant", ""),), ())


BROKEN = {
    "is a list and no object": ["x"],
    "is a null and no object": None,
    "has no `conversations`": {"id": "1", "image": "a/cat.jpg"},
    "has an empty `conversations`": CAT | {"conversations": []},
    "has a turn without `from` and `value`": CAT | {"conversations": [{"role": "user", "content": "Hi"}]},
    "has a turn whose `value` is a null and no text": CAT | {"conversations": [{"from": "gpt", "value": None}]},
    "has a turn whose `value` is a list and no text": CAT | {"conversations": [{"from": "gpt", "value": []}]},
    "has a turn from 'tool', who is neither human nor gpt nor system": CAT
    | {"conversations": [{"from": "tool", "value": "x"}]},
    "has a turn from '1', who is neither human nor gpt nor system": CAT
    | {"conversations": [{"from": 1, "value": "x"}]},
    "has an `image` that is a number and no name of a file": CAT | {"image": 7},
    "has an `image` that is a object and no name of a file": CAT | {"image": {"path": "a/cat.jpg"}},
    "has an `image` that is a text and no name of a file": CAT | {"image": ["a/cat.jpg", ""]},
    "has an `image` outside the folder of the pictures": CAT | {"image": "../../etc/passwd"},
    "holds bytes that are no UTF-8 text": CAT | {"conversations": [ASKED, {"from": "gpt", "value": "\ud800"}]},
}


def test_what_is_no_conversation_is_counted_with_its_reason(tmp_path: Path) -> None:
    rows = [CAT, *BROKEN.values(), BROKEN["has no `conversations`"], CAT]
    data = opened(folder_of(tmp_path, rows))
    assert [item.id.split()[0] for item in data.splits["instruct"]] == [
        "instruct/0000000",
        f"instruct/{len(rows) - 1:07d}",
    ]
    assert {skip.reason: skip.times for skip in data.skipped} == dict.fromkeys(BROKEN, 1) | {
        "has no `conversations`": 2
    }
    assert data.skipped[0].item == "entry 1 of instruct.json"


@pytest.mark.parametrize("image", ["/etc/passwd", "a/../../cat.jpg", "a\0.jpg"])
def test_no_picture_outside_its_folder_is_read(tmp_path: Path, image: str) -> None:
    data = opened(folder_of(tmp_path, [CAT, CAT | {"image": image}]))
    assert [skip.reason for skip in data.skipped] == ["has an `image` outside the folder of the pictures"]


REFUSED = {
    "": "instruct.json is neither a JSON list nor lines of JSON; give the file as it was published.",
    "[]": "instruct.json holds no conversation in LLaVA's form; give a file that does.",
    "null": "instruct.json is neither a JSON list nor lines of JSON; give the file as it was published.",
    '[{"id": 1}]': "instruct.json holds no conversation in LLaVA's form (its first entry has no `conversations`); give a file that does.",
    '{"images": [], "annotations": []}': "instruct.json holds no conversation in LLaVA's form (its first entry has no `conversations`); give a file that does.",
    json.dumps([CAT, CAT])[:-20]: "instruct.json is no JSON from entry 1 (byte 143) on; load it again.",
    json.dumps([CAT]).replace('"image":', '"image"'): "instruct.json is no JSON from entry 0 (byte 1) on; load it again.",
    json.dumps([CAT | {"image": "a/dog.jpg"}]): "instruct.json names pictures such as a/dog.jpg, and of 1 that were looked for none is there; unpack them into ",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError) as refused:
        opened(folder_of(tmp_path, text))
    assert REFUSED[text] in str(refused.value)


def test_an_empty_folder_and_two_files_of_a_split_are_refused(tmp_path: Path) -> None:
    assert LlavaLayout().recognises(tmp_path) is None
    with pytest.raises(UserError, match=r"has neither LLaVA-Pretrain/blip_laion.* load some into it from the hub"):
        opened(tmp_path)
    folder_of(folder_of(tmp_path, [CAT]), [CAT], "llava_v1_5_mix665k.json")
    with pytest.raises(
        UserError, match=r"llava_v1_5_mix665k.json and .*/instruct.json would both be the instruct split"
    ):
        opened(tmp_path)


def test_missing_pictures_are_said_and_not_sought_one_by_one(tmp_path: Path) -> None:
    rows = [CAT, *(CAT | {"image": f"a/{k}.jpg"} for k in range(999))]
    data = opened(folder_of(tmp_path, rows))
    assert data.notes == ("instruct: 63 of 64 pictures that were looked for are not there",)
    assert len(data.splits["instruct"]) == 1000


def test_a_data_set_is_narrowed_limited_and_digested(tmp_path: Path) -> None:
    rows = [CAT | {"conversations": [ASKED, {"from": "gpt", "value": f"{k}"}]} for k in range(20)]
    folder_of(folder_of(tmp_path, rows), [CAT], "align.json")
    data = opened(tmp_path)
    assert list(only(data, "instruct").splits) == ["instruct"]
    assert only(data, "instruct").spec.fingerprint != only(data, "align").spec.fingerprint
    assert [len(items) for items in limit(data, 3).splits.values()] == [1, 3]
    assert opened(tmp_path).splits == data.splits
    before = data_digest(data)
    (tmp_path / "a" / "cat.jpg").write_bytes(b"another")
    assert data_digest(opened(tmp_path)) != before


def test_a_million_conversations_are_never_there_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive, most, make = set[int](), 0, talks_module.conversation

    def counted(*given: Any) -> Conversation:
        nonlocal most
        made = make(*given)
        alive.add(id(made))
        weakref.finalize(made, alive.discard, id(made))
        most = max(most, len(alive))
        return made

    monkeypatch.setattr(talks_module, "conversation", counted)
    data = opened(folder_of(tmp_path, [CAT] * 300))
    assert len(limit(data, 5).splits["instruct"]) == 5
    assert len(data_digest(only(data, "instruct"))) == 64
    assert most < 20


def test_a_file_that_changes_while_it_is_read_is_a_sentence(tmp_path: Path) -> None:
    talks, _ = read_talks(folder_of(tmp_path, [CAT, CAT]) / "instruct.json", "instruct", tmp_path)
    (tmp_path / "instruct.json").write_text("[1, 2, 3]")
    with pytest.raises(UserError, match=r"was changed while it was read; run again\.$"):
        talks[1]


VALUES: list[Any] = [
    {"a": 'é日本 " \\ ] } , [ {', "b": [1, [2, {}]]},
    {},
    [],
    "text, with ] and }",
    {"long": "x" * 90 + "ö" * 40},
    12.5,
    -3,
    None,
    True,
    {"🙂": ["\n", "\t"]},
]


@pytest.mark.parametrize("window", [1, 2, 7, 64, 2**20])
@pytest.mark.parametrize("ascii_alone", [True, False])
@pytest.mark.parametrize("indent", [None, 1])
def test_entries_are_those_of_the_file_wherever_windows_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int, ascii_alone: bool, indent: int | None
) -> None:
    monkeypatch.setattr(entries_module, "WINDOW", window)
    data = json.dumps(VALUES, ensure_ascii=ascii_alone, indent=indent).encode()
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "x.json").write_bytes(mark + data)
        found = list(entries(tmp_path / "x.json"))
        assert [entry.value for entry in found] == VALUES
        slices = [(mark + data)[entry.start : entry.start + entry.length] for entry in found]
        assert [json.loads(piece) for piece in slices] == VALUES


@pytest.mark.parametrize("window", [3, 2**20])
def test_lines_of_json_are_entries_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int) -> None:
    monkeypatch.setattr(entries_module, "WINDOW", window)
    rows = [{"k": k, "text": "ü" * k} for k in range(9)]
    for end in ("\n", "\r\n", "\n\n"):
        (tmp_path / "x.jsonl").write_text(end.join(json.dumps(row, ensure_ascii=False) for row in rows), newline="")
        assert [entry.value for entry in entries(tmp_path / "x.jsonl")] == rows


def test_a_file_that_ends_too_early_is_never_a_shorter_one(tmp_path: Path) -> None:
    """A load that broke off, at every byte."""
    whole = json.dumps([CAT, CAT, CAT]).encode()
    for end in range(1, len(whole)):
        (tmp_path / "x.json").write_bytes(whole[:end])
        with pytest.raises(Torn, match=r"^is no JSON from entry \d \(byte [\d,]+\) on; load it again$"):
            list(entries(tmp_path / "x.json"))


def test_an_entry_of_any_size_is_refused_before_memory_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries_module, "LARGEST", 500)
    monkeypatch.setattr(entries_module, "WINDOW", 100)
    (tmp_path / "x.json").write_text(json.dumps([{}, {"x": "y" * 5000}]))
    with pytest.raises(Torn, match=r"^is no JSON from entry 1 \(byte 5\) on"):
        list(entries(tmp_path / "x.json"))


def test_bytes_that_are_no_text_cost_their_entry_alone(tmp_path: Path) -> None:
    rows = [json.dumps(CAT | {"id": k}, ensure_ascii=False).encode() for k in ("a", "é", "c")]
    rows[1] = rows[1].replace("é".encode(), b"\xff").replace(b"A cat", b"A \xe9cat")
    folder_of(tmp_path, [])
    (tmp_path / "instruct.json").write_bytes(b"[" + b", ".join(rows) + b"]")
    data = opened(tmp_path)
    assert [item.id for item in data.splits["instruct"]] == ["instruct/0000000 a", "instruct/0000002 c"]
    assert [skip.reason for skip in data.skipped] == ["holds bytes that are no UTF-8 text"]
