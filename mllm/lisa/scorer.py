"""`ricebench evaluate referring`: anyone's masks of referring expressions, by every definition that is in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rice_core.errors import UserError
from rice_core.record import Skipped
from rice_core.scorer import Checked, Rated, Scorecard, rated_difference, told_apart

if TYPE_CHECKING:
    from mllm.lisa.metrics import MaskOverlaps
    from mllm.readers.refer import Referred
    from rice_core.datasets import Expression
    from rice_core.stats.estimates import Estimate


@dataclass(frozen=True)
class ReferringScorer:
    """Masks against REFER's own folders, of which no picture is needed; its fields are its settings."""

    split: str = ""
    """val, testA, testB, test, or one of several data sets such as refcoco+_val; empty: each that the results have a mask of."""
    partial: bool = False
    """Judge the expressions that have masks, where some have none, or none that can be judged."""

    summary: ClassVar[str] = (
        "masks of referring expressions, COCO run lengths by expression (cIoU, gIoU, Pr@0.5 to 0.9)"
    )

    def score(self, results: Path, data: Path) -> Scorecard:
        """See `rice_core.scorer.Scorer`."""
        given = self._given(results, data)
        lost = [(split, cell) for split, cell in given.cells.items() if cell.lost]
        if lost and not self.partial:
            split, cell = lost[0]
            raise UserError(
                f"{len(cell.lost)} of the {cell.expressions} expressions of {split} have no mask that can be judged ({cell.lost[0].item} "
                f"{cell.lost[0].reason}), and numbers over the others are other numbers; add them, an empty mask as run lengths, or write partial=yes."
            )
        checked = given.checked(results)
        return Scorecard(checked, tuple(_rows(given.judged)), across="split")

    def compare(self, results: Path, against: Path, data: Path) -> Scorecard:
        """See `rice_core.scorer.Comparing`: over the expressions of which both have a mask, paired, with errors by picture."""
        names = told_apart(results, against)
        one, other = (self._given(file, data) for file in (results, against))
        pairs = {}
        for split in [split for split in one.judged if split in other.judged]:
            theirs = set(other.judged[split].ids)
            both = [each for each in one.judged[split].ids if each in theirs]
            if both:
                pairs[split] = one.judged[split].part(both), other.judged[split].part(both)
        if not pairs:
            raise UserError(
                f"{results.name} and {against.name} have no expression of one split of which both have a mask that can be judged; nothing can be paired."
            )
        both_have = replace(one, cells={split: one.cells[split] for split in one.cells if split in pairs})
        n = sum(len(pair[0].ids) for pair in pairs.values())
        alone = {
            f"only in {name}": sum(len(found.ids) for found in side.judged.values()) - n
            for name, side in zip(names, (one, other), strict=True)
        }
        said = both_have.checked(results)
        facts = {**said.facts, "expressions": n, "against": against.name, **{key: k for key, k in alone.items() if k}}
        skipped = [
            skip.model_copy(update={"item": f"{name}: {skip.item}"})
            for name, side in zip(names, (one, other), strict=True)
            for skip in side.left_out
        ]
        checked = replace(said, facts=facts, usable=n, left_out=tuple(skipped))
        return Scorecard(checked, tuple(_rows_of_two(pairs, names)), across="split")

    def validate(self, results: Path, data: Path) -> Checked:
        """See `rice_core.scorer.Scorer`."""
        return self._given(results, data).checked(results)

    def _given(self, results: Path, data: Path) -> _Given:
        from mllm.lisa.given import read_given
        from mllm.readers.refer import read_refer

        if not data.is_dir():
            raise UserError(f"{data} is no folder; give the one that holds refcoco/refs(unc).p or the like.")
        read = read_refer(data)
        splits = _chosen(read, self.split, data)
        others = [item.id for split, items in read.splits.items() if split not in splits for item in items]
        given = read_given(results, [item.id for items in splits.values() for item in items], others)
        if not given.of and not given.skipped:
            raise UserError(f"{results} has no mask of an expression of {' '.join(splits)}; give one for each.")
        met = {split: items for split, items in splits.items() if self.split or any(i.id in given.of for i in items)}
        notes = list(read.notes)
        if skip := next(iter(read.skipped), None):
            notes.append(f"{len(read.skipped)} things of the data are left out, first {skip.item}, which {skip.reason}")
        if given.elsewhere:
            notes.append(f"{given.elsewhere} masks are of other splits, and not judged.")
        cells = {split: _judged(items, given.of) for split, items in met.items()}
        return _Given(data.name, cells, given.skipped, tuple(notes))


@dataclass(frozen=True)
class _Cell:
    """One split, judged."""

    expressions: int
    found: MaskOverlaps
    lost: tuple[Skipped, ...]
    """Expressions without a mask that can be judged."""


@dataclass(frozen=True)
class _Given:
    """What a results file holds."""

    data: str
    cells: Mapping[str, _Cell]
    skipped: tuple[Skipped, ...]
    """Entries that are for no expression, or for one that another is for too."""
    notes: tuple[str, ...]

    @property
    def judged(self) -> dict[str, MaskOverlaps]:
        return {split: cell.found for split, cell in self.cells.items() if cell.found.ids}

    @property
    def left_out(self) -> tuple[Skipped, ...]:
        return (*self.skipped, *(skip for cell in self.cells.values() for skip in cell.lost))

    def checked(self, results: Path) -> Checked:
        usable = sum(len(found.ids) for found in self.judged.values())
        pictures = {name for found in self.judged.values() for name in found.pictures}
        facts: dict[str, str | int | float] = {
            "results": results.name,
            "data": f"{self.data}, {' '.join(self.cells) or 'no split'}",
            "expressions": usable,
            "pictures": len(pictures),
        }
        return Checked(facts, usable, self.left_out, self.notes)


def _chosen(read: Referred, wanted: str, data: Path) -> dict[str, tuple[Expression, ...]]:
    """The splits of a name; all of them, where none is given."""
    found = {
        split: items
        for split, items in read.splits.items()
        if not wanted or split == wanted or split.endswith(f"_{wanted}")
    }
    if not found:
        raise UserError(f"{data} has no split {wanted!r}; it has {', '.join(read.splits)}.")
    return found


def _judged(items: Sequence[Expression], given: Mapping[str, object]) -> _Cell:
    from mllm.lisa.masks import BadMask, given_mask, overlap_of, true_mask
    from mllm.lisa.metrics import MaskOverlaps

    rows, lost = [], []
    for item in items:
        if item.id not in given:
            lost.append(Skipped(item=item.id, reason="has no mask"))
            continue
        assert item.size_hw is not None  # the reader leaves out what has no size
        assert not isinstance(item.mask, Path)
        try:
            predicted = given_mask(given[item.id], item.size_hw)
        except BadMask as error:
            lost.append(Skipped(item=item.id, reason=str(error)))
            continue
        rows.append((item.id, item.cluster, *overlap_of(predicted, true_mask(item.mask, item.size_hw))))
    return _Cell(len(items), MaskOverlaps.of(rows), tuple(lost))


def _rows(judged: Mapping[str, MaskOverlaps]) -> list[Rated]:
    """Each split's numbers, and the mean of the splits' cIoU; the definitions of others are details."""
    from mllm.lisa.metrics import BY_PICTURE, CIOU, DROPPED, GIOU, PRECISIONS, ZERO, mean_ciou, metrics_of_masks

    found = {split: metrics_of_masks(cell) for split, cell in judged.items()}
    rows = []
    for name in (CIOU, GIOU, *PRECISIONS, ZERO, DROPPED, BY_PICTURE):
        detail = name in (ZERO, DROPPED, BY_PICTURE)
        for split, metrics in found.items():
            error = metrics.get(name)
            value, n = (None, 0) if error is None else (error.value, error.n)
            rows.append(Rated({"metric": name, "split": split}, value, n, "%", _by_picture(error), detail))
        if name == CIOU and len(found) > 1 and all(CIOU in metrics for metrics in found.values()):
            mean = mean_ciou(list(judged.values()))[0]
            rows.append(Rated({"metric": name, "split": "mean"}, mean.value, mean.n, "%", _by_picture(mean)))
    return rows


def _rows_of_two(pairs: Mapping[str, tuple[MaskOverlaps, MaskOverlaps]], names: tuple[str, str]) -> list[Rated]:
    """Of each split the numbers of both, and how far they are apart."""
    from mllm.lisa.metrics import CIOU, ZERO, mean_ciou, scores_of
    from rice_core.record import Scores
    from rice_core.stats.estimates import paired

    columns: dict[str, tuple[Scores, Scores]] = {
        split: (scores_of(one), scores_of(other)) for split, (one, other) in pairs.items()
    }
    if len(pairs) > 1 and all(CIOU in one.values and CIOU in other.values for one, other in columns.values()):
        means = [mean_ciou([pair[side] for pair in pairs.values()])[1] for side in (0, 1)]
        columns["mean"] = means[0], means[1]
    rows = []
    for name in dict.fromkeys(name for one, _ in columns.values() for name in one.values):
        for split, (one, other) in columns.items():
            if name not in one.values or name not in other.values:
                continue
            for words, side in (("", one), (", against", other)):
                value = sum(side.values[name]) / len(side.sample)
                rows.append(
                    Rated({"metric": name + words, "split": split}, value, len(side.sample), "%", detail=name == ZERO)
                )
            found = paired(one, other, name, better="higher")
            labels = {"metric": f"{name}, difference", "split": split}
            rows.append(
                rated_difference(labels, found, f"clustered by picture ({found.clusters})", names, detail=name == ZERO)
            )
    return rows


def _by_picture(error: Estimate | None) -> Estimate | None:
    return error and replace(error, method=error.method.replace("clustered", "clustered by picture"))
