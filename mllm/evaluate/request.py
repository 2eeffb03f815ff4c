"""What a child process is asked to do with lmms-eval: which tasks, of whom the answers are, and where they go."""

from __future__ import annotations

from pydantic import Field

from rice_core.spec import EncoderSpec, Frozen

ANSWERS = "answers.jsonl"
TOLD = "told.json"


class Answerer(Frozen):
    """A trained model."""

    encoder: EncoderSpec
    """As it was typed."""
    home: str = "."
    """The folder that its paths are relative to."""
    weights: str
    """Digest of the encoder's weights, before the training."""
    folder: str
    """What the training left."""
    device: str
    batch: int = Field(default=8, ge=1)


class AskedTask(Frozen):
    """One task of lmms-eval, on a table of questions of this machine."""

    name: str
    files: tuple[str, ...] = Field(min_length=1)
    """Parquet or Arrow, in the order of their rows."""
    documents: tuple[int, ...] = Field(min_length=1)
    """Rows that are asked."""
    out: str
    """A folder that gets answers.jsonl and told.json."""
    journal: str
    """A file of answers as they are given: those in it are not asked again."""


class AnswerRequest(Frozen):
    """All that one child does."""

    tasks: tuple[AskedTask, ...] = Field(min_length=1)
    model: Answerer | None
    """None: all answers that there are stand in the journals."""
    key: str
    """Of the journals: digest of all that an answer depends on. What stands under another is not read."""
    about: dict[str, str] = {}
    """Of the model, for told.json."""
    most: int = Field(default=1024, ge=1)
    """Tokens of an answer, where the task sets no limit of its own."""
