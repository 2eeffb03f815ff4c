"""Conversations of a file in LLaVA's form, read one by one when they are asked for.

    {"id": "000000010", "image": "00000/000000010.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is it?"}, {"from": "gpt", "value": "A cat."}]}

`image` may be missing (text alone), or a list.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from mllm.readers.entries import Torn, entries
from rice_core.datasets.nouns import Conversation, Turn
from rice_core.disk.paths import as_text
from rice_core.errors import UserError
from rice_core.record import Skipped

SPEAKERS: dict[str, Literal["system", "user", "assistant"]] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
"""What `from` says, and who that is."""
_SHOWN = 60
"""Characters of an entry's own id that its name has."""


class Unreadable(Exception):
    """An entry is no conversation. The message is the reason alone."""


@dataclass(frozen=True, eq=False)
class Talks(Sequence[Conversation]):
    """The conversations of a file in its order. Held are a place and a length of each, 12 bytes."""

    file: Path
    split: str
    images: Path
    """The folder that the names of pictures are relative to."""
    number_N: npt.NDArray[np.int32]
    """Of its entry in the file, from 0."""
    start_N: npt.NDArray[np.int64]
    length_N: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.start_N)

    @overload
    def __getitem__(self, place: int) -> Conversation: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Conversation]: ...

    def __getitem__(self, place: int | slice) -> Conversation | Sequence[Conversation]:
        if isinstance(place, slice):
            return replace(
                self, number_N=self.number_N[place], start_N=self.start_N[place], length_N=self.length_N[place]
            )
        with self.file.open("rb") as file:
            return self._read(file, range(len(self))[place])

    def __iter__(self) -> Iterator[Conversation]:
        with self.file.open("rb") as file:
            for place in range(len(self)):
                yield self._read(file, place)

    @property
    def listing(self) -> list[str | int]:
        """See `rice_core.datasets.digests.ListedAtOnce`: which entries of the file, whose bytes count with it."""
        return [len(self), hashlib.sha256(self.number_N.astype("<i8").tobytes()).hexdigest()]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Talks)
            and (self.file, self.split, self.images) == (other.file, other.split, other.images)
            and np.array_equal(self.start_N, other.start_N)
        )

    __hash__ = None  # type: ignore[assignment]

    def _read(self, file: Any, place: int) -> Conversation:
        file.seek(self.start_N[place])
        try:
            entry = json.loads(str(file.read(self.length_N[place]), "utf-8"))
            return conversation(entry, f"{self.split}/{self.number_N[place]:07d}", self.images)
        except (ValueError, Unreadable) as error:
            raise UserError(f"{self.file} was changed while it was read; run again.") from error


def read_talks(file: Path, split: str, images: Path) -> tuple[Talks, list[Skipped]]:
    """What can be used of a file, and what cannot: a line a reason, with the first entry that has it.

    Args:
        images: the folder that the names of pictures are relative to.

    Raises:
        UserError: it cannot be read to its end, or holds no conversation.
    """
    starts, lengths, numbers = array("q"), array("i"), array("i")
    unread: dict[str, array[int]] = {}
    try:
        for number, entry in enumerate(entries(file)):
            try:
                conversation(entry.value, "", images)
            except Unreadable as error:
                unread.setdefault(str(error), array("i")).append(number)
                continue
            starts.append(entry.start)
            lengths.append(entry.length)
            numbers.append(number)
    except Torn as error:
        raise UserError(f"{file} {error}.") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; make it readable.") from None
    if not starts:
        why = f" (its first entry {next(iter(unread))})" if unread else ""
        raise UserError(f"{file} holds no conversation in LLaVA's form{why}; give a file that does.")
    skipped = [
        Skipped(item=f"entry {found[0]} of {file.name}", reason=reason, times=len(found))
        for reason, found in unread.items()
    ]
    return Talks(file, split, images, np.array(numbers), np.array(starts), np.array(lengths)), skipped


def conversation(entry: Any, name: str, images: Path) -> Conversation:
    """An entry of the file.

    Args:
        name: its split and number: ids are no names, since the published files use some twice. images: the folder of the pictures.

    Raises:
        Unreadable: it is none.
    """
    if not isinstance(entry, dict):
        raise Unreadable(f"is a {_json(entry)} and no object")
    turns = entry.get("conversations")
    if not isinstance(turns, list) or not turns:
        raise Unreadable("has no `conversations`" if "conversations" not in entry else "has an empty `conversations`")
    names = _names(entry.get("image"))
    own = entry.get("id")
    said = f" {as_text(str(own))[:_SHOWN]}" if isinstance(own, (str, int)) and own != "" else ""
    return Conversation(
        id=f"{name}{said}",
        turns=tuple(map(_turn, turns)),
        images=tuple(images / name for name in names),
        cluster=names[0] if names else "",
    )


def _turn(turn: Any) -> Turn:
    if not isinstance(turn, dict) or not {"from", "value"} <= turn.keys():
        raise Unreadable("has a turn without `from` and `value`")
    speaker, text = turn["from"], turn["value"]
    if not isinstance(text, str):
        raise Unreadable(f"has a turn whose `value` is a {_json(text)} and no text")
    known = SPEAKERS.get(speaker) if isinstance(speaker, str) else None
    if known is None:
        raise Unreadable(f"has a turn from {str(speaker)[:_SHOWN]!r}, who is neither human nor gpt nor system")
    return Turn(known, _plain(text))


def _names(image: Any) -> list[str]:
    """Of the pictures, none outside their folder."""
    names = image if isinstance(image, list) else [] if image is None or image == "" else [image]
    for name in names:
        if not isinstance(name, str) or not name:
            raise Unreadable(f"has an `image` that is a {_json(name)} and no name of a file")
        # No Path: this is asked of each of a million.
        if name.startswith("/") or ".." in _plain(name).split("/") or "\0" in name:
            raise Unreadable("has an `image` outside the folder of the pictures")
    return names


def _plain(text: str) -> str:
    """Text without halves of characters, which no tokenizer and no file takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unreadable("holds bytes that are no UTF-8 text") from None
    return text


def _json(value: Any) -> str:
    """What JSON calls it."""
    kinds = {dict: "object", list: "list", str: "text", bool: "boolean", int: "number", float: "number"}
    return kinds.get(type(value), "null")
