"""Answers as they are given, a line each: what a killed run had need not be asked again."""

from __future__ import annotations

import json
from pathlib import Path


class Journal:
    """The answers of one task in one file, whose first line is a key.

    Args:
        key: digest of all that an answer depends on. A file under another key is of another model, and begins anew.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = _whole_lines(path)
        if not kept or json.loads(kept[0]) != {"key": key}:
            kept = [json.dumps({"key": key})]
        self._answers: dict[int, tuple[str, str]] = {}
        for line in kept[1:]:
            row = json.loads(line)
            self._answers[row["doc"]] = row["question"], row["answer"]
        # Without the half line that a kill left.
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

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
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"doc": doc, "question": question, "answer": answer}) + "\n")


def _whole_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return text[: text.rfind("\n") + 1].splitlines()
