"""What a report draws of one tracker: its numbers in every dialect, curves, attributes, each video, its training and its speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rice_core.errors import UserError
from rice_core.figures import training_lines
from rice_core.record import Artifact
from tracking.dialects import DIALECTS
from tracking.dialects.got10k import Got10kDialect
from tracking.overall import Judgement, subsets_of
from tracking.pictures import MOVING, FollowedVideo, animation, chosen, strips
from tracking.resampled import RESAMPLES, resampled
from tracking.split import FollowedSplit
from tracking.track import Speed

if TYPE_CHECKING:
    from rice_core.probe import Work
    from rice_core.stage import Ready


def figures_of(
    work: Work, split: FollowedSplit, judged: Mapping[str, Judgement | UserError], official: Judgement
) -> Iterator[Artifact]:
    """All of them.

    Args:
        judged: by dialect. official: that of the data set's own.
    """
    yield _dialects(work, split.name, judged)
    yield from _curves(work, split.name, official)
    yield from _subsets(work, split, official)
    yield _each(work, split, official)
    yield _speed(work, split)
    yield from _pictures(work, split, official)


def _dialects(work: Work, name: str, judged: Mapping[str, Judgement | UserError]) -> Artifact:
    rows: list[tuple[Any, ...]] = []
    said = []
    for dialect, found in judged.items():
        if isinstance(found, UserError):
            rows.append((dialect, "refused", None, None, None, None, None, None, 0))
            said.append(f"{dialect} refuses: {str(found)[:300]}")
            continue
        said.append(f"{dialect}: {DIALECTS[dialect].says}.")
        for metric in found.metrics():
            low, high = resampled(found.overall, metric.name).ci95 or (None, None)
            numbers = metric.value, metric.stderr, low, high, metric.chance, metric.ceiling
            rows.append((dialect, metric.name, *map(_hundredths, numbers), found.overall.counted[metric.name]))
    units = dict.fromkeys(("value", "error", "from", "to", "standing still", "perfect"), "%")
    labels = ("dialect", "metric", *units, "videos")
    body = {"columns": [{"label": each, "unit": units.get(each, "")} for each in labels], "rows": rows}
    caption = (
        "The same boxes by each toolkit's arithmetic. Perfect: the truth itself as a result; standing still: the first box for ever. "
        f"From, to: 95 % interval by {RESAMPLES:,} resamples of whole videos. " + " ".join(said)
    )
    return work.artifact_json(f"{name}-dialects.json", body, figure="table", title="In every dialect", caption=caption)


def _curves(work: Work, name: str, official: Judgement) -> Iterator[Artifact]:
    """Success over IoU, and where the dialect has them precision over distances."""
    dialect, curves = DIALECTS[official.overall.dialect], official.overall.curves
    over = "all videos' frames together" if isinstance(dialect, Got10kDialect) else "mean over videos"
    kinds = (
        ("success", "IoU threshold", "", curves.success_S, "Share of frames whose IoU passes the threshold"),
        ("precision", "distance of centres", "pixels", curves.precision_P, "Share of frames within the distance"),
        (
            "normalised-precision",
            "distance of centres",
            "sides of the object",
            curves.normalised_N,
            "Share of frames within the distance",
        ),
    )
    for (kind, label, unit, shares, words), thresholds in zip(kinds, dialect.thresholds, strict=True):
        if len(shares):
            body = {
                "x": {"label": label, "unit": unit},
                "y": {"label": "frames", "unit": "%"},
                "series": [{"x": thresholds.tolist(), "y": [_hundredths(100 * share) for share in shares]}],
            }
            title, caption = (
                kind.replace("-", " ").capitalize(),
                f"{words}, {over}; dialect {dialect.name}: {dialect.says}.",
            )
            yield work.artifact_json(f"{name}-{kind}.json", body, figure="lines", title=title, caption=caption)


def _subsets(work: Work, split: FollowedSplit, official: Judgement) -> Iterator[Artifact]:
    """The headline of the videos of each attribute, where the data set says which these are."""
    attributes = {video.id: video.attributes for video in split.videos}
    subsets = subsets_of({name: attributes[name] for name in official.overall.videos})
    if not subsets:
        return
    headline = next(iter(official.overall.values))
    found = {
        f"{subset} ({len(videos)})": official.overall.part(videos).estimate(headline)
        for subset, videos in subsets.items()
    }
    body = {
        "x": {"label": "attribute (videos)"},
        "y": {"label": headline, "unit": "%"},
        "categories": list(found),
        "series": [
            {
                "values": [_hundredths(each.value) for each in found.values()],
                "errors": [_hundredths(each.stderr) for each in found.values()],
            }
        ],
    }
    caption = f"{headline} in dialect {split.dialect} over the videos with each attribute; a video may have several."
    yield work.artifact_json(
        f"{split.name}-attributes.json", body, figure="bars", title="By attribute", caption=caption
    )


def _each(work: Work, split: FollowedSplit, official: Judgement) -> Artifact:
    """A line a video, for other programs."""
    each, rows = official.overall.each, []
    for k, name in enumerate(official.overall.videos):
        one = split.tracked[name]
        numbers = {metric: _hundredths(float(of_V[k])) for metric, of_V in each.items()}
        times = {"seconds": round(one.seconds, 3), "waited": round(one.waited, 3), "beside": one.beside}
        rows.append({"video": name, "frames": len(one.boxes_T4), **numbers, **times, "broken": len(one.broken)})
    return work.artifact_jsonl(f"{split.name}-videos.jsonl", rows, title="Each video, in percent")


def training_figure(work: Work, name: str, ready: Ready) -> Artifact:
    """The losses of the head's training."""
    curve = ready.trained.curve
    losses = [key for key in (curve[0] if curve else {}) if key not in ("step", "rate", "redrawn")]
    body = training_lines(curve, "loss", losses)
    return work.artifact_json(f"{name}-training.json", body, figure="lines", title="Training of the tracker")


def _speed(work: Work, split: FollowedSplit) -> Artifact:
    """Of what was followed since the run was begun or gone on with; of all where nothing was left to follow."""
    speed, each = split.results.speed, split.tracked.values()
    if not speed.frames:
        took = [(len(one.boxes_T4), one.seconds + one.waited, one.waited) for one in each]
        speed = Speed(*(sum(column) for column in zip(*took, strict=True)))
    body = {
        "columns": [
            {"label": "frames"},
            {"label": "frames/s"},
            {"label": "busy slots", "unit": "%"},
            {"label": "time waited for frames", "unit": "%"},
        ],
        "rows": [
            (
                speed.frames,
                round(speed.frames_per_second, 1),
                round(100 * speed.occupancy, 1) if speed.slots else None,
                round(100 * speed.waited / max(speed.seconds, 1e-9), 1),
            )
        ],
    }
    caption = "Decoding, crops, encoder, tracker and boxes; of the last session, where a run was interrupted."
    beside = [one.beside for one in each if one.beside > 1]
    if beside:
        caption += f" Of {len(beside)} of its {len(each)} videos frames were decoded once for {max(beside)} trackers, which share that time."
    name = f"{split.name}-speed.json"
    return work.artifact_json(name, body, figure="table", title="How fast it followed", caption=caption)


def _pictures(work: Work, split: FollowedSplit, official: Judgement) -> Iterator[Artifact]:
    """Strips of frames, and the middle video as an animation."""
    headline, own_V = next(iter(official.overall.each.items()))
    videos = {video.id: video for video in split.videos}
    followed = [
        FollowedVideo(videos[name], split.tracked[name].boxes_T4, float(value))
        for name, value in zip(official.overall.videos, own_V, strict=True)
    ]
    best = chosen(followed)
    if not best:
        return
    yield work.artifact_webp(
        f"{split.name}-strips.webp",
        strips(best, headline),
        figure="wide-image",
        title="Where it was found",
        caption=f"Frames of the best, the middle and the worst videos by {headline}, spread evenly over each; the true frame is drawn a line outside its box.",
    )
    _, middle = best[len(best) // 2]
    yield work.artifact_webp(
        f"{split.name}-moving.webp",
        animation(middle),
        figure="image",
        title="A video in motion",
        caption=f"{middle.video.id}, {headline} {middle.value:.1f}; at most {MOVING} frames.",
    )


def _hundredths(value: float | None) -> float | None:
    return None if value is None or value != value else round(float(value), 4)
