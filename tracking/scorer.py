"""`ricebench evaluate tracking`: anyone's result files, in any toolkit's dialect. Numbers in percent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from rice_core.errors import UserError, did_you_mean
from rice_core.record import Skipped
from rice_core.scorer import Checked, Scorecard, told_apart

if TYPE_CHECKING:
    from rice_core.datasets import Dataset, Video
    from tracking.overall import Followed, Judgement
    from tracking.results import ResultFiles


@dataclass(frozen=True)
class TrackingScorer:
    """A text file a video against the data set's own folder; its fields are its settings."""

    dialect: str = "official"
    """official (of the data set's own toolkit), all, or one by name: lasot, pytracking, ostrack, got10k, trackingnet, visible ..."""
    split: str = ""
    """Which split the results are for; empty: the one whose videos they are called after."""
    server: Literal["", "got10k", "trackingnet", "toolkit"] = ""
    """With --check: whether an archive is what this server takes, row by row."""
    partial: bool = False
    """Judge the videos that have results, where some have none."""
    bootstrap: int = 0
    """Errors by so many resamples of whole videos, such as 1000; 0: by the formula, which is what resampling converges to."""
    seed: int = 0
    """Of the bootstrap: which videos are drawn."""

    summary: ClassVar[str] = (
        "boxes of a single-object tracker, a text file a video, in any toolkit's dialect (success, precision, AO)"
    )

    def __post_init__(self) -> None:
        if self.bootstrap and not 100 <= self.bootstrap <= 100_000:
            raise UserError(f"bootstrap={self.bootstrap} is no number of resamples; write 1000, or 100 to 100000.")
        if self.seed < 0:
            raise UserError(f"seed={self.seed} is no seed; write 0 or more.")

    def score(self, results: Path, data: Path) -> Scorecard:
        """See `rice_core.scorer.Scorer`."""
        from tracking.overall import judge, subsets_of
        from tracking.rated import rows_of_one

        self._refuse_server()
        dataset = _opened(data)
        dialects = self._dialects(dataset)
        split, found = self._found(results, dataset)
        videos = {video.id: video for video in _videos(dataset, split)}
        followed, skipped, notes = _followed(found, videos)
        notes = _of_data(dataset) + notes
        if (lost := len(videos) - len(followed)) and not self.partial:
            first = skipped[0]
            raise UserError(
                f"{lost} of the {len(videos)} videos of {dataset.spec.name} {split} have no results that can be judged ({first.item} "
                f"{first.reason}), and a mean over the others is another number; add them, or write partial=yes."
            )
        if not followed:
            return Scorecard(_checked(results, dataset, split, 0, skipped, notes), ())
        judged = judge(followed, dialects)
        notes += [f"{name}: {said}" for name, said in judged.items() if isinstance(said, UserError)]
        sound = {name: said for name, said in judged.items() if not isinstance(said, UserError)}
        if not sound:
            raise UserError(notes[-1])
        checked = _checked(results, dataset, split, len(followed), skipped, notes)
        subsets = subsets_of({video.id: videos[video.id].attributes for video in followed})
        return Scorecard(checked, tuple(rows_of_one(sound, subsets, self.bootstrap, self.seed)), across="dialect")

    def compare(self, results: Path, against: Path, data: Path) -> Scorecard:
        """See `rice_core.scorer.Comparing`: over the videos of which both have results, paired by video."""
        from tracking.overall import Followed, judge, subsets_of
        from tracking.rated import rows_of_two

        self._refuse_server()
        dataset = _opened(data)
        dialects, (split, found) = self._dialects(dataset), self._found(results, dataset)
        videos = {video.id: video for video in _videos(dataset, split)}
        names = told_apart(results, against)
        sides, skipped, notes = list[dict[str, Followed]](), list[Skipped](), _of_data(dataset)
        for name, files in zip(names, (found, replace(self, split=split)._found(against, dataset)[1]), strict=True):
            followed, left_out, said = _followed(files, videos)
            sides.append({each.id: each for each in followed})
            skipped += [skip.model_copy(update={"item": f"{name}: {skip.item}"}) for skip in left_out]
            notes += [f"{name}: {note}" for note in said]
        both = [video for video in sides[0] if video in sides[1]]
        if not both:
            raise UserError(
                f"No video of {dataset.spec.name} {split} has results in both that can be judged ({skipped[0].item} {skipped[0].reason}); nothing can be paired."
            )
        judged = [judge([side[video] for video in both], dialects) for side in sides]
        pairs, refused = _pairs(judged[0], judged[1], names)
        checked = _checked(results, dataset, split, len(both), skipped, notes + refused)
        alone = {f"only in {name}": len(side) - len(both) for name, side in zip(names, sides, strict=True)}
        facts = {**checked.facts, "against": against.name, **{key: n for key, n in alone.items() if n}}
        subsets = subsets_of({video: videos[video].attributes for video in both})
        rows = rows_of_two(pairs, subsets, names, self.bootstrap, self.seed)
        return Scorecard(replace(checked, facts=facts), tuple(rows), across="dialect")

    def validate(self, results: Path, data: Path) -> Checked:
        """See `rice_core.scorer.Scorer`; with `server`, by that server's rules."""
        from tracking.submissions import faults_of, files_of

        dataset = _opened(data)
        if self.server:
            split = self.split or ("test" if "test" in dataset.splits else next(iter(dataset.splits)))
            videos = {video.id: video for video in _videos(dataset, split)}
            faults = faults_of(self.server, results, videos)
            bad = {fault.item for fault in faults}
            sound = sum(bad.isdisjoint(files) for files in files_of(self.server, videos).values())
            return _checked(results, dataset, split, sound, list(faults), _of_data(dataset))
        split, found = self._found(results, dataset)
        followed, skipped, notes = _followed(found, {video.id: video for video in _videos(dataset, split)})
        return _checked(results, dataset, split, len(followed), skipped, _of_data(dataset) + notes)

    def _refuse_server(self) -> None:
        if self.server:
            raise UserError(
                f"server={self.server} says what that server would take, and judges nothing; write --check beside it."
            )

    def _dialects(self, dataset: Dataset) -> tuple[str, ...]:
        from tracking.dialects import DIALECTS, OFFICIAL

        official = OFFICIAL.get(dataset.spec.layout, "visible")
        if self.dialect in ("official", "all"):
            rest = [name for name in DIALECTS if name != official] if self.dialect == "all" else []
            return official, *rest
        if self.dialect not in DIALECTS:
            known = ("official", "all", *DIALECTS)
            raise UserError(
                f"There is no dialect {self.dialect!r}; {did_you_mean(self.dialect, known)}write one of {', '.join(known)}."
            )
        return (self.dialect,)

    def _found(self, results: Path, dataset: Dataset) -> tuple[str, ResultFiles]:
        """The split that the results are for, and what of them can be read."""
        from tracking.results import read_results

        if self.split and self.split not in dataset.splits:
            raise UserError(
                f"{dataset.spec.name} has no split {self.split!r}; {did_you_mean(self.split, dataset.splits)}it has {', '.join(dataset.splits)}."
            )
        names = [self.split] if self.split else [split for split in dataset.splits if _videos(dataset, split)]
        found: dict[str, ResultFiles] = {}
        refused: UserError | None = None
        for name in names:
            try:
                found[name] = read_results(results, _videos(dataset, name))
            except UserError as error:
                refused = error
        if not found:
            raise refused or UserError(
                f"{dataset.spec.name} has no videos to hold results against; give a data set of videos."
            )
        best = max(found, key=lambda name: len(found[name].results))
        return best, found[best]


def _opened(data: Path) -> Dataset:
    from rice_core.datasets import layouts, open_dataset
    from rice_core.datasets.videos.toolkits import toolkit_annotations

    folder, at, layout = str(data).rpartition("@")
    if not data.is_dir() and at and Path(folder).is_dir():
        if layout not in layouts():
            raise UserError(
                f"{layout!r} is no layout; {did_you_mean(layout, layouts())}write one of {', '.join(layouts())} after the @."
            )
        return open_dataset(Path(folder), layout=layout)
    if not data.is_dir():
        raise UserError(f"{data} is no folder; give the data set's own, which holds the videos and their annotations.")
    try:
        return open_dataset(data)
    except UserError:
        # Who has a tracker's files and no 227 GB of LaSOT has its toolkit, whose annotations are enough.
        if (alone := toolkit_annotations(data)) is None:
            raise
        return alone


def _of_data(dataset: Dataset) -> list[str]:
    """What was decided about the truth, and what of it is left out: results of such videos are for no video."""
    from rice_core.datasets.reading import FRAMES_NOTE
    from rice_core.left_out import left_out

    said = [note for note in dataset.notes if note != FRAMES_NOTE]  # no digest is made here
    return said + [f"of the data set is {line}" for line in left_out(dataset.skipped, most=4)]


def _videos(dataset: Dataset, split: str) -> list[Video]:
    from rice_core.datasets import Video

    return [item for item in dataset.splits[split] if isinstance(item, Video)]


def _followed(found: ResultFiles, videos: dict[str, Video]) -> tuple[list[Followed], list[Skipped], list[str]]:
    """Videos with results that can be judged; the others with the reasons; and what was decided."""
    from tracking.overall import Followed
    from tracking.results import length_of, size_of

    followed, skipped, long = [], list(found.skipped), 0
    again = [result for result in found.results if result.repetition > 1]
    for result in found.results:
        if result.repetition > 1:
            continue
        video = videos[result.video]
        track, rows = video.track(), len(result.boxes_T4)
        wanted = length_of(video, track)
        if len(track.boxes_T4) < wanted:
            skipped.append(Skipped(item=video.id, reason="is of hidden truth, which its server alone can judge"))
        elif rows < wanted:
            skipped.append(Skipped(item=result.file, reason=f"has {rows} rows for {wanted} frames"))
        else:
            long += rows > wanted
            followed.append(Followed(video.id, result.boxes_T4, track, size_of(video)))
    notes = [f"{long} files have more rows than their videos have frames; what is over is not judged."] if long else []
    # All toolkits put the truth in row 0's place, so that corners, or another origin, make a low number and no fault.
    other = [each for each in followed if (abs(each.boxes_T4[0] - each.track.boxes_T4[0]) >= 1).any()]
    if other:
        rows = [
            ",".join(f"{value:g}" for value in boxes_T4[0]) for boxes_T4 in (other[0].boxes_T4, other[0].track.boxes_T4)
        ]
        notes.append(
            f"{len(other)} of {len(followed)} files do not begin with the true box, with which trackers begin ({other[0].id}: {rows[0]}, true "
            f"{rows[1]}); rows are x,y,w,h, with the first pixel called as in the annotation."
        )
    if again:
        notes.append(f"{len(again)} files are of repeated runs and not judged: the first run of each video is.")
    return followed, skipped, notes


def _pairs(
    one: dict[str, Judgement | UserError], other: dict[str, Judgement | UserError], names: tuple[str, str]
) -> tuple[dict[str, tuple[Judgement, Judgement]], list[str]]:
    """The dialects that judge both, and what the others say.

    Raises:
        UserError: no dialect does.
    """
    pairs, refused = {}, []
    for dialect in one:
        a, b = one[dialect], other[dialect]
        if isinstance(a, UserError) or isinstance(b, UserError):
            said = zip(names, (a, b), strict=True)
            refused += [f"{dialect}, {name}: {error}" for name, error in said if isinstance(error, UserError)]
        else:
            pairs[dialect] = a, b
    if not pairs:
        raise UserError(refused[-1])
    return pairs, refused


def _checked(
    results: Path, dataset: Dataset, split: str, usable: int, skipped: list[Skipped], notes: list[str]
) -> Checked:
    from tracking.dialects import of_published

    facts = {
        "results": results.name,
        "data": f"{dataset.spec.name} ({dataset.spec.layout}), {split}",
        "videos": of_published(usable, dataset.spec.layout, split),
    }
    return Checked(facts, usable, tuple(skipped), tuple(notes))
