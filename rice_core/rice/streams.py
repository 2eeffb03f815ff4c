"""The order of training samples: V virtual streams over the shards of a curated folder.

The order is a function of the seed, V and the list of shards alone. In epoch e the shards are permuted by (seed, e) and
dealt to the streams like cards, v::V; a stream reads one whole shard (bytes, undecoded), permutes its samples by
(seed, e, shard), hands them out and goes on to its next shard, epoch after epoch. So every sample comes once an epoch,
and (epoch, shard ordinal, sample ordinal) is all that a resume needs. Ranks and workers only divide the streams.

What is damaged is passed over with a reason and counts as a place of its shard, so that positions do not depend on it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar, cast

import numpy as np

from rice_core.errors import MissingExtra, UserError
from rice_core.record import Skipped
from rice_core.rice.regions import Shard

Position = tuple[int, int, int]
"""(epoch, ordinal of the shard among the stream's of that epoch, ordinal of the next sample in the shard's order)."""

RUN_PIPES = "RICEBENCH_RUN_PIPES"
"""Environment variable without which no `pipe:` shard runs: a manifest that runs commands is unpickling by another name."""

START: Position = (0, 0, 0)
T = TypeVar("T")


class UnusableSample(Exception):
    """A sample that cannot be used; the message is the reason alone."""


@dataclass(frozen=True)
class RawSample:
    """The members of one sample as they lie in the shard."""

    key: str
    members: dict[str, bytes]
    """By lower-cased ending: jpg, png, json."""


@dataclass(frozen=True)
class DrawnSample(Generic[T]):
    """One usable sample of a stream."""

    value: T
    position: Position
    """Where the stream goes on after it."""
    skipped: tuple[Skipped, ...]
    """What was passed over since the sample before."""


@dataclass(frozen=True)
class Stream:
    """Stream `number` of `count`."""

    folder: Path
    shards: tuple[Shard, ...]
    number: int
    count: int
    seed: int
    start: Position = START

    def draw(self, prepare: Callable[[RawSample, int], T]) -> Iterator[DrawnSample[T]]:
        """Usable samples in the stream's order, without end.

        Args:
            prepare: makes a training sample of (raw sample, epoch); raises `UnusableSample` where it cannot.

        Raises:
            UserError: a whole epoch held nothing that can be used.
        """
        epoch, first_shard, first_sample = self.start
        skipped: list[Skipped] = []
        while True:
            whole, drawn = (first_shard, first_sample) == (0, 0), 0
            passed: Counter[str] = Counter()
            for position, found in self._epoch(epoch, first_shard, first_sample, prepare):
                if isinstance(found, Skipped):
                    passed[found.reason] += 1
                    skipped.append(found)
                    continue
                drawn += 1
                yield DrawnSample(found, position, tuple(skipped))
                skipped = []
            if whole and not drawn:
                raise UserError(self._barren(passed))
            epoch, first_shard, first_sample = epoch + 1, 0, 0

    def _epoch(
        self, epoch: int, first_shard: int, first_sample: int, prepare: Callable[[RawSample, int], T]
    ) -> Iterator[tuple[Position, T | Skipped]]:
        dealt = deal(self.shards, self.seed, epoch, self.number, self.count)
        for ordinal, shard in enumerate(dealt[first_shard:], first_shard):
            samples, problems = read_shard(self.folder, shard)
            if not first_sample:  # else they were told when the shard was begun
                for reason in problems:
                    yield (epoch, ordinal, 0), Skipped(item=shard.file, reason=reason)
            order = generator(self.seed, epoch, f"order of {shard.file}").permutation(len(samples))
            for place in range(first_sample, len(order)):
                raw, after = samples[order[place]], (epoch, ordinal, place + 1)
                try:
                    yield after, prepare(raw, epoch)
                except UnusableSample as error:
                    yield after, Skipped(item=f"{shard.file}: {raw.key}", reason=str(error))
            first_sample = 0

    def _barren(self, passed: Counter[str]) -> str:
        why = (
            f"{passed.most_common(1)[0][0]} ({passed.most_common(1)[0][1]} times)" if passed else "its shards are empty"
        )
        return (
            f"stream {self.number} of {self.count} found nothing to train on in a whole epoch of {self.folder}: {why}; "
            "curate the images again, or write fewer streams."
        )


def generator(seed: int, epoch: int, what: str) -> np.random.Generator:
    """A generator of its own for each (seed, epoch, what); the same in every process."""
    words = np.frombuffer(blake2b(what.encode("utf-8", "surrogateescape"), digest_size=16).digest(), dtype="<u4")
    return np.random.default_rng([seed, epoch, *words.tolist()])


def deal(shards: Sequence[Shard], seed: int, epoch: int, number: int, count: int) -> list[Shard]:
    """The shards of one stream in one epoch, in order."""
    order = generator(seed, epoch, "shards").permutation(len(shards))
    return [shards[index] for index in order[number::count]]


def read_shard(folder: Path, shard: Shard) -> tuple[list[RawSample], list[str]]:
    """All samples of a shard that can be read, and what is wrong with the shard itself.

    A truncated or damaged tar gives what lies before the damage.
    """
    from webdataset.tariterators import group_by_keys, tar_file_expander

    problems: list[str] = []

    def note(error: Exception) -> bool:
        problems.append(f"is damaged: {_said(error)}")
        return True

    groups: list[dict[str, Any]] = []
    try:
        with _open(folder, shard.file) as file:
            members = tar_file_expander([{"url": shard.file, "stream": file}], handler=note)
            # One by one: what came before an error stays.
            groups.extend(group_by_keys(members, handler=note))
    except (OSError, ValueError) as error:
        problems.append(f"cannot be read: {_said(error)}")
    samples = [
        RawSample(group["__key__"], {name: data for name, data in group.items() if isinstance(data, bytes)})
        for group in groups
    ]
    # A damaged header ends a tar like its end does: only the count tells.
    if len(samples) != shard.samples or not samples:
        problems.append(f"holds {len(samples)} samples where the manifest says {shard.samples}")
    return samples, problems


def check_shards(folder: Path, shards: Sequence[Shard]) -> None:
    """Refuse what cannot be read before the training starts.

    Raises:
        UserError: a shard is missing, or is a command.
        MissingExtra: webdataset is not installed.
    """
    try:
        import webdataset  # noqa: F401
    except ImportError:
        raise MissingExtra("reading training shards", "curate") from None
    for shard in shards:
        _refuse_command(folder, shard.file)
        if not _elsewhere(shard.file) and not (folder / shard.file).is_file():
            raise UserError(
                f"{folder / shard.file} is named by the manifest and missing; copy it there, or curate the images again."
            )


def _open(folder: Path, file: str) -> BinaryIO:
    """A file of the folder, or whatever webdataset opens: http, gs, hf, ... and pipe: commands."""
    if not _elsewhere(file):
        return (folder / file).open("rb")
    from webdataset.gopen import gopen

    _refuse_command(folder, file)
    return cast(BinaryIO, gopen(file))


def _elsewhere(file: str) -> bool:
    return "://" in file or file.startswith("pipe:")


def _refuse_command(folder: Path, file: str) -> None:
    if file.startswith("pipe:") and os.environ.get(RUN_PIPES) != "1":
        raise UserError(
            f"{folder} names a command as a shard ({file[:80]}), and a manifest is data; read it, and set {RUN_PIPES}=1 "
            "if it may run."
        )


def _said(error: Exception) -> str:
    # webdataset adds the open file and the address to the arguments of what it catches.
    text = (isinstance(error, OSError) and error.strerror) or (str(error.args[0]) if error.args else "")
    return " ".join(text.split(" @ ")[0].split())[:120] or type(error).__name__
