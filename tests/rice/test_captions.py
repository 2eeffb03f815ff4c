"""Caption tokenizers: stable, padded with 0 alone, cut to length."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rice_core.errors import UserError
from rice_core.rice.captions import WORD_IDS, caption_tokenizer


def test_words_are_hashed_without_case_or_signs_and_padded() -> None:
    words = caption_tokenizer("words")
    ids = words("A striped Triangle, scissors!", 8)
    assert ids == words("a striped triangle scissors", 8)
    assert len(ids) == 8
    assert ids[4:] == [0] * 4
    assert all(0 < token < WORD_IDS for token in ids[:4])
    assert words.size == WORD_IDS
    assert words("triangle", 2)[0] == ids[2]
    assert words("", 3) == [0, 0, 0]
    assert words("one two three", 2) == words("one two", 2)


def test_words_use_all_their_ids_and_never_padding() -> None:
    words = caption_tokenizer("words")
    ids = words(" ".join(f"w{number}" for number in range(60_000)), 60_000)
    assert min(ids) == 1
    assert max(ids) == WORD_IDS - 1
    assert len(set(ids)) == WORD_IDS - 1


def test_words_have_the_same_ids_in_every_process() -> None:
    code = "from rice_core.rice.captions import Words; print(Words()('bafo and gilade', 4))"
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={"PYTHONHASHSEED": "7"}
    ).stdout
    assert json.loads(said) == caption_tokenizer("words")("bafo and gilade", 4)


def test_clip_bpe_is_open_clips_plus_one() -> None:
    tokenizer = pytest.importorskip("open_clip.tokenizer")
    clip, theirs = caption_tokenizer("clip-bpe"), tokenizer.SimpleTokenizer(context_length=12)
    for text in ("a dog!", "a photograph of a rather long caption with many words in it", ""):
        want = theirs(text)[0].tolist()
        used = want.index(theirs.eot_token_id) + 1
        assert clip(text, 12) == [token + 1 for token in want[:used]] + [0] * (12 - used)
    # A "!" before another sign is id 0 there: it must not read as padding here.
    assert theirs.encode("!~")[0] == 0
    assert clip("!~", 6)[1] == 1
    assert clip.size == theirs.vocab_size + 1 == 49_409


def test_a_hugging_face_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\ndog\nbarks\n", encoding="utf-8")
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    found = caption_tokenizer(f"hf:{tmp_path}")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    want = [token + 1 for token in theirs("a dog barks")["input_ids"]]
    assert found("a dog barks", 8) == want + [0] * (8 - len(want))
    assert found("a dog barks", 2) == want[:2]
    assert found.size == len(theirs) + 1


@pytest.mark.parametrize("name", ["bpe", "hf:", ""])
def test_an_unknown_tokenizer_is_named(name: str) -> None:
    with pytest.raises(UserError, match="clip-bpe, words, or hf:NAME"):
        caption_tokenizer(name)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(UserError, match=r"hf:.* cannot be loaded"):
        caption_tokenizer(f"hf:{tmp_path}")
