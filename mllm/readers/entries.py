"""The entries of a large JSON file one after the other, and where each begins: the file is never in memory as a whole.

LLaVA-NeXT's file is a list of 779,000 conversations in 1.2 GB, which as Python objects are several times that, in each process.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

WINDOW = 8 * 2**20
"""Bytes that are read at once."""
LARGEST = 64 * 2**20
"""Bytes of an entry: LLaVA's largest have some tens of thousands."""
_BETWEEN = re.compile(r"[\s,]*")
_decode = json.JSONDecoder().raw_decode


class Torn(Exception):
    """The file is damaged, or no such file. The message is the end of a sentence that begins with the file's name."""


@dataclass(frozen=True)
class FileEntry:
    """One value of the file, and where its bytes are."""

    start: int
    length: int
    value: Any
    """Bytes that are no UTF-8 are lone surrogates in it."""


def entries(path: Path) -> Iterator[FileEntry]:
    """Those of a JSON list, or of a file of JSON values behind each other, as JSONL is.

    Raises:
        Torn: at the first that cannot be read, when it is asked for. OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        window = _Window(file)
        listed = window.opens_a_list()
        number = 0
        while True:
            entry = window.next_entry(listed, number)
            if entry is None:
                return
            yield entry
            number += 1


class _Window:
    """A piece of the file as text, and where in the file it begins."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        # A byte that is no text becomes one character, and again that byte where lengths are counted.
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text, self._place, self._at, self._ended = "", 0, 0, False
        if file.read(3) != codecs.BOM_UTF8:
            file.seek(0)
        self._at = file.tell()
        """Byte of the file at `_place` of the text."""

    def opens_a_list(self) -> bool:
        self._skip()
        first = self._text[self._place : self._place + 1]
        if first not in ("[", "{"):
            raise Torn("is neither a JSON list nor lines of JSON; give the file as it was published")
        if first == "[":
            self._forward(1)
        return first == "["

    def next_entry(self, listed: bool, number: int) -> FileEntry | None:
        """None where the list, or the file of lines, is at its end."""
        self._skip()
        first = self._text[self._place : self._place + 1]
        if not first and not listed:
            return None
        if listed and first == "]":
            return None
        while True:
            try:
                value, end = _decode(self._text, self._place)
            except (json.JSONDecodeError, RecursionError):
                if self._ended or len(self._text) - self._place > LARGEST:
                    raise Torn(f"is no JSON from entry {number} (byte {self._at:,}) on; load it again") from None
                self._more()
                continue
            # A number may go on behind the window; what begins with a bracket or a quote does not.
            if end == len(self._text) and not self._ended and not isinstance(value, (dict, list, str)):
                self._more()
                continue
            start, before = self._at, self._place
            self._forward(end - before)
            return FileEntry(start, self._at - start, value)

    def _skip(self) -> None:
        """To the next character that is no space and no comma."""
        while True:
            end = _BETWEEN.match(self._text, self._place).end()  # type: ignore[union-attr]
            self._forward(end - self._place)
            if self._place < len(self._text) or self._ended:
                return
            self._more()

    def _forward(self, characters: int) -> None:
        passed = self._text[self._place : self._place + characters]
        self._at += len(passed) if passed.isascii() else len(passed.encode("utf-8", "surrogateescape"))
        self._place += characters

    def _more(self) -> None:
        """Twice as much as is left, so that an entry of any size is found in few tries."""
        left = self._text[self._place :]
        data = self._file.read(max(WINDOW, len(left)))
        self._ended = not data
        self._text, self._place = left + self._decoder.decode(data, final=self._ended), 0
