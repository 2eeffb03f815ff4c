"""Answers as they are given, a line each: what a killed run had need not be asked again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rice_core.disk.files import write_atomically


class Journal:
    """The answers of one task in one file, whose first line is a key.

    Args:
        key: digest of all that an answer depends on. A file under another key is of another model, and begins anew.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = _whole_rows(path)
        if kept[:1] != [{"key": key}]:
            kept = [{"key": key}]
        self.settings: dict[str, Any] = {}
        """What the last answers were given under."""
        self._answers: dict[int, tuple[str, str]] = {}
        for row in kept[1:]:
            if "settings" in row:
                self.settings = row["settings"]
            else:
                self._answers[row["doc"]] = row["question"], row["answer"]
        # Without the half line that a kill left; and a kill now leaves the file as it was.
        write_atomically(path, "".join(map(_line, kept)).encode())

    def get(self, doc: int, question: str) -> str | None:
        """The answer to exactly this question; None where it was not given."""
        asked, answer = self._answers.get(doc, ("", None))
        return answer if asked == question else None

    def said(self, doc: int) -> str | None:
        """The answer about a document, however its question was put."""
        return self._answers[doc][1] if doc in self._answers else None

    def put(self, doc: int, question: str, answer: str) -> None:
        """Kept at once: it outlives a kill of this process."""
        self._answers[doc] = question, answer
        self._append({"doc": doc, "question": question, "answer": answer})

    def note(self, settings: dict[str, Any]) -> None:
        """What the answers from here on are given under."""
        if settings != self.settings:
            self.settings = settings
            self._append({"settings": settings})

    def _append(self, row: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(row))


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"


def _whole_rows(path: Path) -> list[dict[str, Any]]:
    """Up to the first that is torn."""
    rows: list[dict[str, Any]] = []
    try:
        for line in path.read_bytes().splitlines():
            rows.append(json.loads(line))
    except (FileNotFoundError, ValueError):
        pass
    return rows
