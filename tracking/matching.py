"""The probe `template-match`: tracking without training, a first look that takes minutes where the trained probe takes hours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, cast

from pydantic import Field

from rice_core.errors import NotApplicable
from rice_core.light import LightProbe, Work
from rice_core.record import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rice_core.budget import Budget, Passes
    from rice_core.datasets import Dataset, Video
    from rice_core.features import Encoder
    from tracking.follow import FollowerMaker, Following

_SPLITS = ("val", "test", "all")
"""The first of these that the data set has is judged."""
AGREEMENT = (
    "Measured on the miniature videos (benchmarks/results/tracking_agreement.json): with the trained tracker's ranking of seven encoders this "
    "one agrees by Kendall's tau 0.43 (p 0.24), -0.20 without noise and oracle; the trained one agrees with itself at another seed by 0.52."
)
"""Stands in every record, since the probe offers itself as a look ahead at the trained one."""


@dataclass(frozen=True)
class TemplateMatching(LightProbe):
    """The template's tokens as a filter over those of each frame (SiamFC's tracker, Bertinetto et al. 2016, on frozen features)."""

    template_grid: Annotated[int, Field(ge=2, le=512)] = 8
    """Tokens along a side of the template crop, and below of the search crop, of twice as many sides of the object."""
    search_grid: Annotated[int, Field(ge=2, le=512)] = 16
    norm: Literal["none", "final", "layer"] = "layer"
    scales: Literal[1, 3] = 3
    """Sizes that are tried in each frame; each costs a pass of the encoder."""
    most: Annotated[int, Field(ge=1)] = 1000
    """Videos at most, spread evenly over the split."""
    precision: Literal["bf16", "fp32"] = "fp32"

    name: ClassVar[str] = "template-match"
    summary: ClassVar[str] = "tracking without training: likeness of patch tokens to the template's (success)"
    needs: ClassVar[frozenset[str]] = frozenset({"dense", "multires"})
    data: ClassVar[frozenset[str]] = frozenset({"videos"})
    instruments: ClassVar[tuple[str, ...]] = ("torch", "torchvision", "pillow")
    role: ClassVar[str] = "tracking"

    def passes(self, dataset: Dataset, budget: Budget) -> Passes:
        """See `rice_core.probe.Live`."""
        from rice_core.budget import Passes
        from tracking.probe import frames_of

        split = next((split for split in _SPLITS if split in dataset.splits), None)
        videos = self._few(cast("Sequence[Video]", dataset.splits[split])) if split else []
        frames = sum(frames_of(video) for video in videos)
        side = self.search_grid * (budget.patch or 16)
        return Passes(self.scales * frames, side, f"{frames:,} frames of {len(videos)} videos in {self.scales} sizes")

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        """See `rice_core.probe.Probe`; nothing is drawn by the seed."""
        from tracking.outcome import outcome_of
        from tracking.split import FollowedSplit

        split, videos, there = self._videos(work)
        results = work.share(self.errand(encoder, work))
        said = (
            "Nothing is trained: the box moves to where tokens are most like the object's in the first frame, by the mean cosine of their "
            f"differences from the template's mean, with a Hann window of weight .2, in {self.scales} sizes 5 % apart; the values are SiamFC's.",
            AGREEMENT,
        )
        if len(videos) < there:
            said = (
                *said,
                f"Of the {there} videos of {split} {len(videos)} are followed, spread evenly (most={self.most}).",
            )
        # Whatever the data set, its number is that of the dialect for videos that have no toolkit; the others are in its table.
        return outcome_of(work, encoder, FollowedSplit(self.name, "videos", split, videos, results), said)

    def errand(self, encoder: Encoder, work: Work) -> Following:
        """See `rice_core.joint.Joins`: following in all videos."""
        from tracking.follow import Following, decoders_of

        _, videos, _ = self._videos(work)
        what = f"{encoder.spec.title}: {self.name}"
        decoders = decoders_of(encoder.device, work.workers)
        return Following(self._maker(), videos, work.folder / "followed", what, decoders)

    def _maker(self) -> FollowerMaker:
        from tracking.matcher import Matching, MatchRules
        from tracking.recipe import TrackerConfig

        config = TrackerConfig(template_grid=self.template_grid, search_grid=self.search_grid, norm=self.norm)
        return Matching(config, MatchRules() if self.scales == 3 else MatchRules(scales=(1.0,)), self.precision)

    def _videos(self, work: Work) -> tuple[str, tuple[Video, ...], int]:
        from rice_core.datasets import Video

        for split in _SPLITS:
            try:
                videos = work.samples(split, Video)
                return split, tuple(self._few(videos)), len(videos)
            except NotApplicable:
                continue
        raise NotApplicable(f"{self.name} judges {', '.join(_SPLITS)}, and the data set has no videos in any of them")

    def _few(self, videos: Sequence[Video]) -> list[Video]:
        n, most = len(videos), min(self.most, len(videos))
        return [videos[k * n // most] for k in range(most)]
