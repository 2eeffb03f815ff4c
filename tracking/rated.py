"""What `ricebench evaluate tracking` says of one tracker, or of two over the same videos: rows of a scorecard, in percent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rice_core.errors import UserError
from rice_core.scorer import Rated, rated_difference
from tracking.overall import Judgement, Overall
from tracking.resampled import difference, resampled

Subsets = Mapping[str, list[str]]
"""Attribute -> the videos that have it."""


def rows_of_one(judged: Mapping[str, Judgement], subsets: Subsets, resamples: int, seed: int) -> Iterator[Rated]:
    """Each dialect's numbers, what a perfect tracker and one that stands still would have, and, as details, each attribute's and video's.

    Args:
        resamples: of the videos, for the errors; 0: by the formula.
    """
    for said in judged.values():
        yield from _numbers(said.overall, "", resamples, seed)
    for words, which in (("perfect tracker", "ceiling"), ("standing still", "still")):
        for dialect, said in judged.items():
            part = getattr(said, which)
            for name, value in part.values.items():
                yield Rated(_labels(f"{name}, {words}", dialect), value, part.counted[name], "%")
    for subset, videos in subsets.items():
        for said in judged.values():
            yield from _of_subset(said.overall, subset, videos, resamples, seed)
    for dialect, said in judged.items():
        for name, each in said.overall.each.items():
            for video, value in zip(said.overall.videos, each.tolist(), strict=True):
                yield Rated(_labels(name, dialect, video), None if value != value else value, 1, "%", detail=True)


def _labels(metric: str, dialect: str, video: str | None = None) -> dict[str, str | None]:
    return {"metric": metric, "video": video, "dialect": dialect}


def _numbers(whole: Overall, aside: str, resamples: int, seed: int, *, detail: bool = False) -> Iterator[Rated]:
    for name, value in whole.values.items():
        error = resampled(whole, name, resamples, seed) if resamples else whole.estimate(name)
        yield Rated(_labels(name + aside, whole.dialect), value, whole.counted[name], "%", error, detail)


def _of_subset(whole: Overall, subset: str, videos: list[str], resamples: int, seed: int) -> Iterator[Rated]:
    try:
        part = whole.part(videos)
    except UserError:  # None of these videos counts in this dialect.
        for name in whole.values:
            yield Rated(_labels(f"{name}, {subset}", whole.dialect), None, 0, "%", detail=True)
    else:
        yield from _numbers(part, f", {subset}", resamples, seed, detail=True)


def rows_of_two(
    pairs: Mapping[str, tuple[Judgement, Judgement]],
    subsets: Subsets,
    names: tuple[str, str],
    resamples: int,
    seed: int,
) -> Iterator[Rated]:
    """Each dialect's numbers of both and the difference, and, as details, each attribute's and video's difference.

    Args:
        pairs: the first and the one it is held against, over the same videos. names: what the two are called.
        resamples: as above, of the differences.
    """
    for one, other in pairs.values():
        for name in one.overall.values:
            for words, whole in (("", one.overall), (", against", other.overall)):
                labels = _labels(name + words, whole.dialect)
                yield Rated(labels, whole.values[name], whole.counted[name], "%")
            yield _difference(one.overall, other.overall, name, "", names, resamples, seed)
    for subset, videos in subsets.items():
        for one, other in pairs.values():
            try:
                parts = one.overall.part(videos), other.overall.part(videos)
            except UserError:  # None of these videos counts in this dialect.
                continue
            for name in parts[0].values:
                yield _difference(*parts, name, f", {subset}", names, resamples, seed)
    for dialect, (one, other) in pairs.items():
        for name, each in one.overall.each.items():
            apart = (each - other.overall.each[name]).tolist()
            for video, value in zip(one.overall.videos, apart, strict=True):
                labels = _labels(f"{name}, difference", dialect, video)
                yield Rated(labels, None if value != value else value, 1, "%", detail=True)


def _difference(
    a: Overall, b: Overall, name: str, aside: str, names: tuple[str, str], resamples: int, seed: int
) -> Rated:
    found = difference(a, b, name, resamples=resamples, seed=seed)
    how = f"bootstrap over videos ({resamples})" if resamples else f"clustered by video ({found.clusters})"
    labels = _labels(f"{name}{aside}, difference", a.dialect)
    return rated_difference(labels, found, how, names, detail=bool(aside))
