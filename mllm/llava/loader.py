"""Micro-batches of a training: the data of a step are a function of the seed and the step, so that nothing has to be remembered to go on.

Shapes: N conversations.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from mllm.llava.batch import LlavaBatch, collated
from mllm.llava.grouping import Lengths, epoch_steps, parts_of_step
from mllm.llava.packing import Anyres, Square
from mllm.llava.recipe import LlavaLearning
from mllm.llava.samples import LlavaSample, Schooling
from mllm.llava.text import IGNORED, Captions, ChatML, NothingToLearn
from rice_core.datasets.in_bytes import still
from rice_core.datasets.nouns import Conversation
from rice_core.digest import json_digest
from rice_core.disk.files import write_atomically
from rice_core.encoders.preprocess import PixelRecipe
from rice_core.errors import UserError
from rice_core.ranks import Ranks
from rice_core.record import Skipped
from rice_core.train.checkpoint import Position

PREFETCH = 2
_COUNTED = 64
"""Conversations whose lengths a process counts before it hands them over."""

T = TypeVar("T")


@dataclass(frozen=True)
class LlavaPart:
    """Conversations that go through the network at once."""

    batch: LlavaBatch | None
    """None where there is nothing to learn: the rank goes through the step all the same."""
    labels: int
    """In it, those that are learnt: none at a first token."""
    skipped: tuple[Skipped, ...] = ()
    """What was left out of it, and what was cut."""
    positions: Mapping[int, Position] | None = None


def open_batches(
    samples: Sequence[Conversation],
    learning: LlavaLearning,
    *,
    seed: int,
    ranks: Ranks,
    workers: int,
    first: int,
    format: ChatML | Captions,
    pictures: Anyres | Square,
    recipe: PixelRecipe,
    kept: Path | None = None,
) -> Generator[LlavaPart]:
    """This rank's parts of each step from step `first` on, without end: `learning.parts(ranks.size)` a step.

    Args:
        workers: processes that decode; 0 decodes here.
        recipe: of the encoder that reads the tiles.
        kept: a folder where the lengths of the conversations are kept once they are counted.

    Raises:
        UserError: the file of the conversations was changed.
    """
    schooling = Schooling(format, pictures, recipe, learning.context)
    lengths_N = np.zeros(len(samples), np.int32)
    if learning.grouped:
        lengths_N = counted(samples, schooling, ranks=ranks, workers=workers, kept=kept)
    places = _Places(lengths_N, learning, seed, ranks.rank, ranks.size, first)
    padding = format.markers.padding if isinstance(format, ChatML) else 0
    loader = DataLoader(
        _Parts(samples, schooling, padding),
        batch_sampler=places,
        num_workers=workers,
        prefetch_factor=PREFETCH if workers else None,
        collate_fn=_as_it_is,
        worker_init_fn=still,
        # Else it draws a seed from the global generator, and the number of resumes would change the training.
        generator=torch.Generator(),
    )
    for part in loader:
        yield _sound(part)


def counted(
    samples: Sequence[Conversation], schooling: Schooling, *, ranks: Ranks, workers: int, kept: Path | None = None
) -> Lengths:
    """The length of each conversation (`Schooling.length`); ranks share the counting.

    Args:
        kept: as `open_batches`.

    Raises:
        UserError: of none can anything be learnt, or their file was changed.
    """
    key = json_digest([len(samples), type(schooling.words).__name__, repr(schooling.pictures), schooling.context])
    file = None if kept is None else kept / f"lengths-{key[:20]}.npy"
    found: Lengths | None = ranks.agree(_read(file, len(samples)) if file is not None and ranks.leads else None)
    if found is not None:
        return found
    own = range(ranks.rank, len(samples), ranks.size)
    counter = DataLoader(
        _Counter(samples, schooling),
        batch_sampler=[list(own[k : k + _COUNTED]) for k in range(0, len(own), _COUNTED)],
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=still,
        generator=torch.Generator(),
    )
    lengths_N = np.zeros(len(samples), np.int32)
    mine = np.array([length for lengths in counter for length in _sound(lengths)], np.int32)
    for rank, theirs in enumerate(ranks.gather(mine)):
        lengths_N[rank :: ranks.size] = theirs
    if not lengths_N.any():
        raise UserError(
            f"of {len(samples)} conversations nothing can be learnt: the first {schooling.trouble(samples[0])}."
        )
    if file is not None and ranks.leads:
        file.parent.mkdir(parents=True, exist_ok=True)
        body = BytesIO()
        np.save(body, lengths_N)
        write_atomically(file, body.getvalue())
    return lengths_N


def _read(file: Path, samples: int) -> Lengths | None:
    """What was counted before; None where nothing was, or it is damaged."""
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == (samples,) and found.dtype == np.int32 else None


@dataclass(frozen=True)
class _Places(Sampler[list[int]]):
    """The conversations of each part of one rank's steps, from step `first` on, without end."""

    lengths_N: Lengths
    learning: LlavaLearning
    seed: int
    rank: int
    ranks: int
    first: int

    def __iter__(self) -> Iterator[list[int]]:
        learning, n = self.learning, len(self.lengths_N)
        parts = learning.parts(self.ranks)
        epoch, step = divmod(self.first, ceil(n / learning.batch))
        while True:
            steps = epoch_steps(
                self.lengths_N, batch=learning.batch, seed=self.seed, epoch=epoch, grouped=learning.grouped
            )
            for places in steps[step:]:
                for part in parts_of_step(places, part=learning.part, rank=self.rank, ranks=self.ranks, parts=parts):
                    yield part.tolist()
            epoch, step = epoch + 1, 0


@dataclass(frozen=True)
class _Parts(Dataset[LlavaPart | UserError]):
    """By the conversations that share a part: a whole part is made where it is decoded."""

    samples: Sequence[Conversation]
    schooling: Schooling
    padding: int

    def __getitems__(self, places: list[int]) -> LlavaPart | UserError:
        found: list[LlavaSample] = []
        skipped: list[Skipped] = []
        try:
            for talk in (self.samples[place] for place in places):
                try:
                    sample = self.schooling.sample(talk)
                except NothingToLearn as error:
                    skipped.append(Skipped(item=talk.id, reason=str(error)))
                    continue
                found.append(sample)
                if sample.cut:
                    whole = len(sample.ids) + sample.cut
                    reason = f"has {whole} tokens, of which the last {sample.cut} do not fit and were cut"
                    skipped.append(Skipped(item=talk.id, reason=reason))
        except UserError as error:
            return error
        return _part(found, self.padding, tuple(skipped))


def _part(found: Sequence[LlavaSample], padding: int, skipped: tuple[Skipped, ...]) -> LlavaPart:
    if not found:
        return LlavaPart(None, 0, skipped)
    ids, labels, pictures = ([getattr(each, name) for each in found] for name in ("ids", "labels", "pictures"))
    learnt = sum(label != IGNORED for own in labels for label in own[1:])
    return LlavaPart(collated(ids, pictures, labels=labels, padding=padding, side="right"), learnt, skipped)


@dataclass(frozen=True)
class _Counter(Dataset[list[int] | UserError]):
    samples: Sequence[Conversation]
    schooling: Schooling

    def __getitems__(self, places: Sequence[int]) -> list[int] | UserError:
        try:
            return [self.schooling.length(self.samples[place]) for place in places]
        except UserError as error:
            return error


def _sound(found: T | UserError) -> T:
    """A worker hands an error over as a value: raised there, it would come with its traceback for a message."""
    if isinstance(found, UserError):
        raise found
    return found


def _as_it_is(found: T) -> T:
    return found
