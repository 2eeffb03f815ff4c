"""The tracking probes: train a tracker on the frozen encoder, follow objects with it, judge where it was (Table 4)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from rice_core.budget import Budget, Passes
from rice_core.errors import NotApplicable, UserError, did_you_mean
from rice_core.record import Outcome
from rice_core.spec import Param, ProbeSpec
from tracking.recipe import RECIPES, LearningConfig, TrackerConfig, TrackingRecipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rice_core.datasets import Dataset, Video
    from rice_core.features import Encoder
    from rice_core.probe import Read, Work
    from rice_core.stage import Ready, Stage
    from tracking.follow import Following

_TRACKER = ("template_grid", "search_grid", "norm", "width", "blocks", "window")
_LEARNING = ("epochs", "pairs", "batch", "part", "rate", "gap", "precision", "got10k")
_PATCH = 16
"""Of an encoder that was never loaded, for what `plan` says."""


@dataclass(frozen=True)
class VideoTracking:
    """Tracking in any videos with one object each. What is left at None is the recipe's."""

    recipe: str = "paper@1"
    split: str | None = None
    """That is judged; None: the benchmark's, see `splits`."""
    template_grid: int | None = None
    search_grid: int | None = None
    norm: str | None = None
    width: int | None = None
    blocks: int | None = None
    window: float | None = None
    epochs: int | None = None
    pairs: int | None = None
    batch: int | None = None
    part: int | None = None
    rate: float | None = None
    gap: int | None = None
    precision: str | None = None
    got10k: str | None = None
    """Which of GOT-10k's training videos are learnt from: all, vottrain or vottrain-corrected."""

    name: ClassVar[str] = "videos"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "two ViT blocks and a CENTER head on a frozen encoder, your own videos (success)"
    needs: ClassVar[frozenset[str]] = frozenset({"dense", "multires"})
    data: ClassVar[frozenset[str]] = frozenset({"videos"})
    instruments: ClassVar[tuple[str, ...]] = ("torch", "torchvision", "pillow")
    role: ClassVar[str] = "tracking"
    layout: ClassVar[str] = "videos"
    """Whose dialect and whose server the results are for."""
    splits: ClassVar[tuple[str, ...]] = ("all", "val", "test")
    """The first of these that the data set has is judged."""

    def __post_init__(self) -> None:
        self.settings()  # what is misspelt is told before anything is loaded

    @property
    def spec(self) -> ProbeSpec:
        own = self._base()
        had = {**own.tracker.model_dump(), **own.learning.model_dump()}
        given = {name: getattr(self, name) for name in (*_TRACKER, *_LEARNING)}
        # What the recipe has, asked for or not, is one measurement, and may stand beside the paper.
        params: dict[str, Param] = {
            name: value for name, value in given.items() if value is not None and had[name] != value
        }
        if self.split is not None:
            params["split"] = self.split
        return ProbeSpec(name=self.name, version=self.version, recipe=self.recipe, params=params)

    @property
    def reads(self) -> tuple[Read, ...]:
        """Nothing: its crops are its own, and go through the encoder here."""
        return ()

    def learns_from(self, dataset: Dataset) -> bool:
        """See `rice_core.probe.Learns`: videos, and images with boxes, each of them a video of one frame."""
        return bool(dataset.provides & {"videos", "regions"})

    def stages(self, dataset: Dataset) -> tuple[Stage, ...]:
        """See `rice_core.probe.Staged`: the tracker, which does not know what it will be judged on."""
        from rice_core.datasets import training_sets
        from tracking.training import TrackerTraining

        recipe = self.settings()
        datasets = tuple(_of_list(each, recipe.learning.got10k) for each in training_sets(dataset))
        return (TrackerTraining(recipe.tracker, recipe.learning, datasets),)

    def passes(self, dataset: Dataset, budget: Budget) -> Passes:
        """See `rice_core.probe.Live`: a search crop for each frame; a template for each video is a hundredth of that."""
        found = (dataset.splits[split] for split in self._wanted if split in dataset.splits)
        videos = cast("Sequence[Video]", next(found, ()))
        frames = sum(frames_of(video) for video in videos)
        side = self.settings().tracker.search_grid * (budget.patch or _PATCH)
        return Passes(frames, side, f"{self.name}: a search crop of each of {frames:,} frames of {len(videos)} videos")

    def settings(self) -> TrackingRecipe:
        """The recipe with what was given in its place.

        Raises:
            UserError: no such recipe, or a setting that it cannot have.
        """
        from pydantic import ValidationError

        base = self._base()
        try:
            tracker = TrackerConfig.model_validate(base.tracker.model_dump() | self._given(_TRACKER))
            learning = LearningConfig.model_validate(base.learning.model_dump() | self._given(_LEARNING))
        except ValidationError as error:
            problem = error.errors()[0]
            said = problem["msg"].removeprefix("Value error, ")
            raise UserError(f"{': '.join([self.name, *map(str, problem['loc']), said])}.") from None
        # Of another grid it would say what is not so.
        same = (tracker.template_grid, tracker.search_grid) == (base.tracker.template_grid, base.tracker.search_grid)
        return base.model_copy(
            update={"reading": base.reading if same else "", "tracker": tracker, "learning": learning}
        )

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        """See `rice_core.probe.Probe`. The seed draws the head's weights and the pairs that it learns from."""
        from tracking.assumed import assumptions
        from tracking.figures import training_figure
        from tracking.outcome import outcome_of
        from tracking.split import FollowedSplit

        split, videos = self._videos(work)
        (stage,), ready = work.stages, self._ready(work)
        results = work.share(self._following(encoder, work, videos, ready))
        return outcome_of(
            work,
            encoder,
            FollowedSplit(self.name, self.layout, split, videos, results),
            assumptions(encoder, self.settings(), stage.data),
            figures=(training_figure(work, self.name, ready),),
        )

    def errand(self, encoder: Encoder, work: Work) -> Following:
        """See `rice_core.joint.Joins`: following in all videos."""
        _, videos = self._videos(work)
        return self._following(encoder, work, videos, self._ready(work))

    def _ready(self, work: Work) -> Ready:
        (stage,) = work.stages
        return work.stage(stage)

    def _following(self, encoder: Encoder, work: Work, videos: tuple[Video, ...], ready: Ready) -> Following:
        from tracking.follow import Following, WithHead, decoders_of

        recipe = self.settings()
        return Following(
            WithHead(recipe.tracker, recipe.learning.precision, ready.folder),
            videos,
            # Boxes of a tracker that was trained anew do not go on where another's ended.
            work.folder / f"followed-{ready.trained.used.digest[:12]}",
            f"{encoder.spec.title}: {self.name}",
            decoders_of(encoder.device, work.workers),
        )

    @property
    def _wanted(self) -> tuple[str, ...]:
        return self.splits if self.split is None else (self.split,)

    def _videos(self, work: Work) -> tuple[str, tuple[Video, ...]]:
        """The split that is judged, and its videos."""
        from rice_core.datasets import Video

        refused = None
        for split in self._wanted:
            try:
                return split, tuple(work.samples(split, Video))
            except NotApplicable as error:
                refused = refused or error
        assert refused is not None
        raise refused

    def _base(self) -> TrackingRecipe:
        if self.recipe not in RECIPES:
            near = did_you_mean(self.recipe, RECIPES)
            raise UserError(
                f"{self.name}: there is no recipe {self.recipe!r}; {near}write one of {', '.join(RECIPES)}."
            )
        return RECIPES[self.recipe]

    def _given(self, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


@dataclass(frozen=True)
class LasotTracking(VideoTracking):
    """LaSOT (Fan et al. 2019)."""

    name: ClassVar[str] = "lasot"
    summary: ClassVar[str] = "two ViT blocks and a CENTER head on a frozen encoder, LaSOT (success, precision)"
    layout: ClassVar[str] = "lasot"
    splits: ClassVar[tuple[str, ...]] = ("test", "val", "all")


@dataclass(frozen=True)
class TrackingNetTracking(VideoTracking):
    """TrackingNet (Müller et al. 2018), whose truth is its server's."""

    name: ClassVar[str] = "trackingnet"
    summary: ClassVar[str] = "two ViT blocks and a CENTER head on a frozen encoder, TrackingNet (success, precision)"
    layout: ClassVar[str] = "trackingnet"
    splits: ClassVar[tuple[str, ...]] = ("test", "val", "all")


@dataclass(frozen=True)
class Tnl2kTracking(VideoTracking):
    """TNL2K (Wang et al. 2021), followed by the first box and not by its words."""

    name: ClassVar[str] = "tnl2k"
    summary: ClassVar[str] = "two ViT blocks and a CENTER head on a frozen encoder, TNL2K (success, precision)"
    layout: ClassVar[str] = "tnl2k"
    splits: ClassVar[tuple[str, ...]] = ("test", "val", "all")


@dataclass(frozen=True)
class Got10kTracking(VideoTracking):
    """GOT-10k (Huang et al. 2019): by its rules nothing else may be learnt from. `split=test` is for its server."""

    name: ClassVar[str] = "got10k"
    summary: ClassVar[str] = "two ViT blocks and a CENTER head on a frozen encoder, GOT-10k (AO, SR at 0.5 and 0.75)"
    layout: ClassVar[str] = "got10k"
    splits: ClassVar[tuple[str, ...]] = ("val", "all")

    def learns_from(self, dataset: Dataset) -> bool:
        return dataset.spec.layout == "got10k"

    def _base(self) -> TrackingRecipe:
        base = super()._base()
        return base if base.alone is None else base.model_copy(update={"learning": base.alone})


def _of_list(dataset: Dataset, which: str) -> Dataset:
    """Of GOT-10k's training videos those on a published list; other videos that are called otherwise stay."""
    from rice_core.datasets import only
    from rice_core.datasets.videos.got10k import selected

    if dataset.spec.layout != "got10k" or which == "all":
        return dataset
    videos = dataset.splits["train"]
    listed = frozenset(selected((video.id for video in videos), cast(Any, which)))
    if not listed:
        return dataset
    return only(replace(dataset, splits={"train": tuple(video for video in videos if video.id in listed)}), "train")


def frames_of(video: Video) -> int:
    """By the rows of its annotation, which are quicker to count; where the truth is hidden there is one alone."""
    try:
        rows = len(video.track().boxes_T4)
        return rows if rows > 1 else len(video.frames)
    except (UserError, OSError):
        return 0
