"""The data behind Table 1 by their published sizes: what a run would cost, before anything was downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from rice_core.datasets.nouns import Conversation, Dataset
from rice_core.spec import DatasetSpec

SIZES = {
    "align": 558_128,
    "instruct": 779_289,
    "infovqa_val": 2_801,
    "docvqa_val": 5_349,
    "chartqa": 2_500,
    "textvqa_val": 5_000,
    "ocrbench": 1_000,
    "ocrbench_v2": 10_000,
    "ai2d": 3_088,
    "mmbench_en_dev_static": 4_329,
    "mme": 2_374,
    "pope": 9_000,
    "realworldqa": 765,
    "mmstar": 1_500,
}
"""By split; of the benchmarks what lmms-eval asks. LiveXiv grows, and is not among them."""
_NOTES = (
    "nothing of it is here: these are the published sizes; with --data llava=FOLDER the plan also knows what is trained already",
    "to download: LLaVA-Pretrain 28 GB, LLaVA-NeXT-Data 54 GB (llava_next_raw_format), and the benchmarks; both are unpacked",
    "livexivqa is not priced, since LiveXiv grows with each of its versions",
)


@dataclass(frozen=True)
class CountedSplit(Sequence[Conversation]):
    """As many conversations as a published split has, without a word in them."""

    name: str
    n: int

    def __len__(self) -> int:
        return self.n

    @property
    def listing(self) -> list[str | int]:
        """See `rice_core.datasets.digests.ListedAtOnce`."""
        return [self.name, self.n]

    @overload
    def __getitem__(self, place: int) -> Conversation: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Conversation]: ...

    def __getitem__(self, place: int | slice) -> Conversation | Sequence[Conversation]:
        if isinstance(place, slice):
            return CountedSplit(self.name, len(range(self.n)[place]))
        return Conversation(f"{self.name}/{range(self.n)[place]:05}", (), source=Path(self.name))


def published_data() -> Dataset:
    """All of it in one data set; it can be counted and not read."""
    return Dataset(
        DatasetSpec(name="LLaVA-NeXT as published", layout="llava", fingerprint="published"),
        (),
        {split: CountedSplit(split, n) for split, n in SIZES.items()},
        frozenset({"conversations", "questions"}),
        notes=_NOTES,
    )
