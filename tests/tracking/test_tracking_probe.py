"""The tracking probes through the runner, on drawn videos."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_clips import moving

from rice_core.budget import Budget
from rice_core.datasets import Dataset, KnownTrack, Track, Video
from rice_core.datasets.listed import Frames
from rice_core.datasets.videos.got10k import selected
from rice_core.encoders import load_encoder
from rice_core.errors import UserError
from rice_core.measure.plan import Plan
from rice_core.measure.roles import taught
from rice_core.measure.run import Runner, Settings
from rice_core.measure.trained import all_trained
from rice_core.measure.verify import verify
from rice_core.progress import Progress
from rice_core.ranks import Ranks
from rice_core.record import Record
from rice_core.spec import DatasetSpec, EncoderSpec
from rice_core.stage import request_of
from rice_core.store import Store
from tracking import track as module
from tracking.dialects import DIALECTS
from tracking.follow import Following, WithHead
from tracking.probe import Got10kTracking, LasotTracking, Tnl2kTracking, TrackingNetTracking, VideoTracking
from tracking.track import TrackResults
from tracking.tracker import ObjectTracker

ALL = (VideoTracking, LasotTracking, TrackingNetTracking, Tnl2kTracking, Got10kTracking)


def made(layout: str = "videos", name: str = "drawn", **splits: tuple[Video, ...]) -> Dataset:
    spec = DatasetSpec(name=name, layout=layout, fingerprint="-".join([layout, name, *splits]))
    return Dataset(spec, (), splits, frozenset({"videos"}))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Video, ...]:
    folder = tmp_path_factory.mktemp("clips")
    return tuple(moving(folder, name, n) for name, n in (("a", 5), ("b", 9), ("c", 7), ("d", 6)))


def run(
    dataset: Dataset, root: Path, *probes: VideoTracking, encoder: str = "synthetic:random-weights"
) -> list[Record]:
    pairs = tuple((probe, dataset) for probe in probes)
    plan = Plan((EncoderSpec.parse(encoder),), pairs)
    return list(Runner(Store(root), Settings(device="cpu", debug=True), Progress(quiet=True)).run(plan).records)


def hidden(video: Video) -> Video:
    return replace(video, truth=KnownTrack(Track(video.track().boxes_T4[:1], np.zeros(1, bool))))


def test_a_record_has_official_numbers_all_dialects_curves_and_each_video(
    clips: tuple[Video, ...], tmp_path: Path
) -> None:
    judged = tuple(
        replace(video, attributes={"subsets": subsets}, origin=1)
        for video, subsets in zip(clips[:3], ("IV,SV", "SV", ""), strict=True)
    )
    (record,) = run(made(train=clips[3:], test=judged, layout="lasot"), tmp_path, LasotTracking(recipe="smoke"))
    assert record.status == "done", record.error
    assert [metric.name for metric in record.metrics] == ["success", "precision", "norm_precision"]
    first = record.metrics[0]
    assert (first.n, first.unit, first.better, first.bounds) == (3, "%", "higher", (0, 100))
    assert first.stderr is not None
    assert "by video" in first.method
    assert first.ceiling == pytest.approx(95.2381, abs=1e-3)
    assert 0 < first.chance < first.ceiling  # standing still, while the object moves
    names = {artifact.name: artifact.figure for artifact in record.artifacts}
    assert names == {
        "lasot-dialects.json": "table",
        "lasot-success.json": "lines",
        "lasot-precision.json": "lines",
        "lasot-normalised-precision.json": "lines",
        "lasot-attributes.json": "bars",
        "lasot-videos.jsonl": "",
        "lasot-moving.webp": "image",
        "lasot-strips.webp": "wide-image",
        "lasot-training.json": "lines",
        "lasot-speed.json": "table",
    }
    store = Store(tmp_path)
    bodies = {name: store.artifact(record, name).decode() for name in names if not name.endswith(".webp")}
    assert {row[0] for row in json.loads(bodies["lasot-dialects.json"])["rows"]} == {*DIALECTS}
    assert "Judged on 3 videos of test, where the published lasot has 280" in record.assumptions[-1]
    captions = {artifact.name: artifact.caption for artifact in record.artifacts}
    assert all(f"{name}: {dialect.says}." in captions["lasot-dialects.json"] for name, dialect in DIALECTS.items())
    assert "mean over videos; dialect lasot" in captions["lasot-success.json"]
    own = [row for row in json.loads(bodies["lasot-dialects.json"])["rows"] if row[0] == "lasot"]
    assert [row[2] for row in own] == [pytest.approx(metric.value, abs=1e-3) for metric in record.metrics]
    table = json.loads(bodies["lasot-dialects.json"])
    labels = [column["label"] for column in table["columns"]]
    assert labels == ["dialect", "metric", "value", "error", "from", "to", "standing still", "perfect", "videos"]
    assert all(len(row) == len(labels) for row in table["rows"])
    assert all(row[4] <= row[2] <= row[5] for row in own)
    assert "1,000 resamples of whole videos" in captions["lasot-dialects.json"]
    curve = json.loads(bodies["lasot-success.json"])["series"][0]
    assert len(curve["x"]) == 21
    assert np.mean(curve["y"]) == pytest.approx(first.value, abs=1e-3)
    bars = json.loads(bodies["lasot-attributes.json"])
    assert bars["categories"] == ["SV (2)"]  # One video is no subset in the toolkits either.
    videos = [json.loads(line) for line in bodies["lasot-videos.jsonl"].splitlines()]
    assert [(each["video"], each["frames"], each["broken"]) for each in videos] == [
        ("a", 5, 0),
        ("b", 9, 0),
        ("c", 7, 0),
    ]
    assert np.mean([each["success"] for each in videos]) == pytest.approx(first.value, abs=1e-3)
    assert bars["series"][0]["values"][0] == pytest.approx(np.mean([each["success"] for each in videos[:2]]), abs=1e-3)


def test_what_was_decided_is_said(clips: tuple[Video, ...], tmp_path: Path) -> None:
    dataset = made(train=clips[2:], test=clips[:2], layout="lasot")
    (record,) = run(dataset, tmp_path, LasotTracking(recipe="smoke", norm="none", window=0.5))
    said = " ".join(record.assumptions)
    for words in (
        "The search crop is 64 pixels, 8 x 8 tokens of 8",
        "as the model gives them",
        "0.5 of a Hann window",
        "2 videos of test, where the published lasot has 280, in the dialect lasot",
        "learns from 2 videos of drawn",
    ):
        assert words in said
    assert record.cell.probe.params == {"norm": "none", "window": 0.5}


def test_results_lie_where_others_read_them_and_are_what_was_judged(clips: tuple[Video, ...], tmp_path: Path) -> None:
    judged = tuple(replace(video, id=f"TEST/{video.id}") for video in clips[:2])
    dataset = made(train=clips[2:], test=judged, layout="lasot")
    probes = (LasotTracking(recipe="smoke"), VideoTracking(recipe="smoke", split="test"))
    for record in run(dataset, tmp_path, *probes):
        name = record.cell.probe.name
        folder = Store(tmp_path).exports(record.cell.id) / name
        boxes_T4 = np.loadtxt(folder / "b.txt", delimiter=",")
        assert boxes_T4.shape == (9, 4)
        assert boxes_T4[0].tolist() == judged[1].track().boxes_T4[0].tolist()
        one = DIALECTS["lasot" if name == "lasot" else "visible"]
        each = [
            one.read(one.judge(np.loadtxt(folder / f"{v.id[5:]}.txt", delimiter=","), v.track()))["success"]
            for v in judged
        ]
        assert record.metrics[0].value == pytest.approx(100 * np.mean(each), abs=1e-9)
    verified = verify(Store(tmp_path), Progress(quiet=True))
    assert verified.problems == []
    assert verified.sound["exports"] == 2


def test_hidden_truth_is_followed_written_and_not_judged(clips: tuple[Video, ...], tmp_path: Path) -> None:
    test = tuple(map(hidden, clips[:2]))
    found = run(made(train=clips[2:], test=test, layout="trackingnet"), tmp_path, TrackingNetTracking(recipe="smoke"))
    found += run(
        made(train=clips[2:], test=test, layout="got10k"), tmp_path, Got10kTracking(recipe="smoke", split="test")
    )
    for record, members in zip(
        found, (["a.txt", "b.txt"], ["a/a_001.txt", "a/a_time.txt", "b/b_001.txt", "b/b_time.txt"]), strict=True
    ):
        assert record.status == "not_applicable"
        name = record.cell.probe.name
        assert f"exports/{record.cell.id}/{name}.zip is what the server takes" in (record.error or "")
        with zipfile.ZipFile(Store(tmp_path).exports(record.cell.id) / f"{name}.zip") as archive:
            assert sorted(archive.namelist()) == members
            assert len(archive.read(members[0]).splitlines()) == 5
    assert verify(Store(tmp_path), Progress(quiet=True)).sound["exports"] == 2


def test_ranks_share_out_the_videos(clips: tuple[Video, ...], tmp_path: Path) -> None:
    """Each keeps its own, and the first has all of them, in their order."""
    dataset, store = made(train=clips[2:], val=clips), tmp_path / "store"
    (record,) = run(dataset, store, VideoTracking(recipe="smoke"))
    (weights,) = store.glob("stages/*/tracker.safetensors")
    encoder, recipe = (
        load_encoder(EncoderSpec.parse("synthetic:random-weights")),
        VideoTracking(recipe="smoke").settings(),
    )
    parts: list[object] = []

    class Two(Ranks):
        def collect(self, value: object) -> list[object]:
            parts.append(value)
            return parts[::-1] if self.leads else []

    def errand(rank: int, videos: tuple[Video, ...] = clips) -> TrackResults:
        errand = Following(WithHead(recipe.tracker, "fp32", weights.parent), videos, tmp_path / "keep", "two", 0)
        return errand.run(encoder, Two(rank, 2, torch.device("cpu")), lambda sequence, _: iter(sequence))

    errand(1)
    found = errand(0)
    assert list(found.tracked[0]) == ["a", "b", "c", "d"]
    assert sorted(len(part[0].tracked[0]) for part in parts) == [2, 2]  # type: ignore[index]
    assert found.speed.frames == 27
    alone = np.loadtxt(Store(store).exports(record.cell.id) / "videos" / "b.txt", delimiter=",")
    np.testing.assert_allclose(found.tracked[0]["b"].boxes_T4, alone, atol=2e-3)
    assert errand(0, ()).tracked == ({},)  # nothing to do, and nobody waits


def test_an_error_on_one_rank_is_everybodys(clips: tuple[Video, ...], tmp_path: Path) -> None:
    class Other(Ranks):
        def collect(self, value: object) -> list[object]:
            return [value, (None, "the other rank failed.")]

    encoder = load_encoder(EncoderSpec.parse("synthetic:random-weights"))
    run(made(train=clips[2:], val=clips[:1]), tmp_path, VideoTracking(recipe="smoke"))
    (weights,) = tmp_path.glob("stages/*/tracker.safetensors")
    recipe = VideoTracking(recipe="smoke").settings()
    errand = Following(WithHead(recipe.tracker, "fp32", weights.parent), clips[:1], tmp_path / "keep", "two", 0)
    with pytest.raises(UserError, match="the other rank failed"):
        errand.run(encoder, Other(0, 2, torch.device("cpu")), lambda sequence, _: iter(sequence))


def test_what_is_broken_is_named_and_the_mean_says_of_how_many(tmp_path: Path) -> None:
    clips = [moving(tmp_path / "clips", name, 6) for name in "abcd"]
    clips[1].frames[3].write_bytes(b"no picture")
    boxes_T4 = clips[2].track().boxes_T4.copy()
    boxes_T4[0, 2:] = 0
    clips[2] = replace(clips[2], truth=KnownTrack(Track(boxes_T4, np.zeros(6, bool))))
    dataset = made(train=tuple(clips[3:]), test=tuple(clips[:3]), layout="lasot")
    (record,) = run(dataset, tmp_path / "store", LasotTracking(recipe="smoke"))
    assert record.status == "done", record.error
    assert record.metrics[0].n == 2
    assert "2 videos of test, where the published lasot has 280, 1 of those here left out" in " ".join(
        record.assumptions
    )
    skipped = {skip.item: skip.reason for skip in record.skipped}
    assert "the box before it is repeated" in skipped["b/0003.png"]
    assert "no size" in skipped["c"]


def test_of_many_broken_frames_the_first_is_named_and_all_are_counted(tmp_path: Path) -> None:
    clips = [moving(tmp_path / "clips", name, 9) for name in "ab"]
    for frame in clips[0].frames[2:]:
        frame.unlink()
    (record,) = run(made(train=tuple(clips[1:]), val=tuple(clips)), tmp_path / "store", VideoTracking(recipe="smoke"))
    (skip,) = record.skipped
    assert skip.item == "a/0002.png and 6 more frames of it"
    assert skip.reason == "cannot be read: No such file or directory; the box before it is repeated"


def test_a_run_that_is_killed_while_it_follows_goes_on(
    clips: tuple[Video, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of the videos, with the same numbers in the end; then nothing is left of what was kept."""
    dataset, probe = made(train=clips[2:], val=clips), VideoTracking(recipe="smoke")
    (whole,) = run(dataset, tmp_path / "whole", probe)
    monkeypatch.setattr(module, "SAVED_EVERY", 0)
    step, seen = ObjectTracker.step, []

    def killed(self: ObjectTracker, *given: Any) -> Any:
        seen.append(len(given[1]))
        if len(seen) == 4:
            raise KeyboardInterrupt
        return step(self, *given)

    monkeypatch.setattr(ObjectTracker, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, tmp_path / "killed", probe)
    before = sum(seen[:3])
    (trained,) = all_trained(Store(tmp_path / "killed"))
    (kept,) = (tmp_path / "killed").glob("unfinished/*/followed-*")
    assert kept.name == f"followed-{trained.used.digest[:12]}"  # of no tracker but this one
    (record,) = run(dataset, tmp_path / "killed", probe)
    assert sum(seen[4:]) == 5 + 9 + 7 + 6 - 4 - before
    assert [metric.value for metric in record.metrics] == pytest.approx(
        [metric.value for metric in whole.metrics], abs=1e-3
    )
    assert not list((tmp_path / "killed").rglob("*.npz"))


def test_a_video_whose_folder_is_gone_is_left_out(clips: tuple[Video, ...], tmp_path: Path) -> None:
    gone = replace(clips[0], id="gone", frames=Frames(tmp_path / "nowhere"))
    encoder = load_encoder(EncoderSpec.parse("synthetic:random-weights"))
    run(made(train=clips[2:], val=clips[:1]), tmp_path, VideoTracking(recipe="smoke"))
    (weights,) = tmp_path.glob("stages/*/tracker.safetensors")
    maker = WithHead(VideoTracking(recipe="smoke").settings().tracker, "fp32", weights.parent)
    errand = Following(maker, (gone, clips[0]), tmp_path / "keep", "two", 0)
    found = errand.run(encoder, Ranks(0, 1, torch.device("cpu")), lambda sequence, _: iter(sequence))
    assert list(found.tracked[0]) == ["a"]
    assert [skip.item for skip in found.left_out] == ["gone"]


def test_without_a_video_that_can_be_begun_with_nothing_is_said(clips: tuple[Video, ...], tmp_path: Path) -> None:
    nowhere = replace(clips[0], truth=KnownTrack(Track(np.full((5, 4), np.nan), np.zeros(5, bool))))
    (record,) = run(made(train=clips[2:], val=(nowhere,)), tmp_path, VideoTracking(recipe="smoke"))
    assert record.status == "not_applicable"
    assert "no video of val can be followed; the first, a: its first frame has no box" in (record.error or "")


def test_three_benchmarks_share_a_training_and_got10k_has_its_own(clips: tuple[Video, ...]) -> None:
    four = made(layout="lasot", name="four", train=clips[2:])
    got = made(layout="got10k", name="got", train=clips[:2], val=clips[2:])
    sets = {
        name: replace(made(layout=name, name=name, test=clips[:2]), learnt_from=(four, got))
        for name in ("lasot", "tnl2k", "trackingnet")
    }
    shared = [
        probe(recipe="paper@1").stages(sets[name])
        for probe, name in ((LasotTracking, "lasot"), (Tnl2kTracking, "tnl2k"), (TrackingNetTracking, "trackingnet"))
    ]
    encoder = EncoderSpec.parse("synthetic:random-weights")
    assert len({request_of(stage, encoder, 0).id for (stage,) in shared}) == 1
    assert [data.spec.name for data in shared[0][0].data] == ["four", "got"]
    (own,) = Got10kTracking(recipe="paper@1").stages(got)
    assert [data.spec.name for data in own.data] == ["got"]
    assert own.learning.epochs == 100
    assert shared[0][0].learning.epochs == 300
    probe = Got10kTracking()
    assert probe.learns_from(got)
    assert not probe.learns_from(four)
    assert LasotTracking().learns_from(four)


def test_of_got10k_the_published_list_is_learnt_from_where_the_recipe_says_so(clips: tuple[Video, ...]) -> None:
    # Row 3 of list.txt is forbidden to OSTrack's list under the name of row 2; see trap 4.
    named = tuple(replace(clips[0], id=f"GOT-10k_Train_{k:06d}") for k in range(1, 60))
    got = made(layout="got10k", train=named)
    (four,) = VideoTracking(recipe="paper@1").stages(got)
    (alone,) = Got10kTracking(recipe="paper@1").stages(got)
    listed = [video.id for video in four.data[0].splits["train"]]
    assert 0 < len(listed) < 59
    assert len(alone.data[0].splits["train"]) == 59
    assert four.data[0].spec.fingerprint != alone.data[0].spec.fingerprint
    probe = LasotTracking(recipe="paper@1", got10k="vottrain-corrected")
    (corrected,) = probe.stages(got)
    there = [video.id for video in corrected.data[0].splits["train"]]
    assert there == [*selected((video.id for video in named), "vottrain-corrected")] != listed
    assert probe.spec.params == {"got10k": "vottrain-corrected"}
    assert LasotTracking(recipe="paper@1", got10k="vottrain").spec.params == {}
    with pytest.raises(UserError, match=r"lasot: got10k: Input should be 'all', 'vottrain' or 'vottrain-corrected'"):
        LasotTracking(got10k="vot")
    other = made(layout="got10k", train=clips)
    (kept,) = VideoTracking(recipe="paper@1").stages(other)
    assert kept.data[0].splits["train"] == clips


@pytest.mark.parametrize("probe", ALL)
def test_the_benchmarks_own_split_is_judged(probe: type[VideoTracking], clips: tuple[Video, ...]) -> None:
    splits = {"got10k": "val", "videos": "val"}
    one, two, three = (clips[k : k + 1] for k in range(3))
    dataset = made(train=one, val=two, test=three)
    passes = probe(recipe="smoke").passes(dataset, Budget(0, 0, patch=8))
    wanted = dataset.splits[splits.get(probe.name, "test")][0]
    assert (passes.images, passes.side) == (len(wanted.frames), 64)
    assert passes.why == f"{probe.name}: a search crop of each of {len(wanted.frames)} frames of 1 videos"


@pytest.mark.parametrize("probe", ALL)
def test_of_what_nobody_divided_a_part_is_judged(probe: type[VideoTracking], clips: tuple[Video, ...]) -> None:
    ((tracker, dataset),) = taught([(probe(recipe="smoke"), made(all=clips, layout=probe.layout))], [])
    (val,) = dataset.splits["val"]
    assert tracker.passes(dataset, Budget(0, 0)).images == len(val.frames)  # type: ignore[attr-defined]
    (stage,) = tracker.stages(dataset)  # type: ignore[attr-defined]
    assert [len(each.splits["train"]) for each in stage.data] == [3]


def test_of_hidden_truth_frames_are_counted_by_the_files(clips: tuple[Video, ...]) -> None:
    dataset = made(test=tuple(map(hidden, clips[:2])))
    assert TrackingNetTracking().passes(dataset, Budget(0, 0)).images == 14


def test_what_is_followed_and_not_judged_is_named(clips: tuple[Video, ...], tmp_path: Path) -> None:
    test = (clips[0], hidden(clips[1]))
    (record,) = run(
        made(train=clips[2:], test=test, layout="trackingnet"), tmp_path, TrackingNetTracking(recipe="smoke")
    )
    assert (record.status, record.metrics[0].n) == ("done", 1)
    assert [(skip.item, skip.reason.split(":")[0]) for skip in record.skipped] == [("b", "is of hidden truth")]
    assert (
        "Judged on 1 videos of test, where the published trackingnet has 511, 1 of those here left out"
        in record.assumptions[-1]
    )


def test_a_curve_of_got10k_is_of_all_frames(clips: tuple[Video, ...], tmp_path: Path) -> None:
    (record,) = run(made(train=clips[2:], val=clips[:2], layout="got10k"), tmp_path, Got10kTracking(recipe="smoke"))
    captions = {artifact.name: artifact.caption for artifact in record.artifacts}
    assert "all videos' frames together; dialect got10k" in captions["got10k-success.json"]


def test_a_split_that_is_not_there_is_told(clips: tuple[Video, ...], tmp_path: Path) -> None:
    (record,) = run(made(train=clips[:2], val=clips[2:]), tmp_path, VideoTracking(recipe="smoke", split="tset"))
    assert record.status == "not_applicable"
    assert "no videos in its split 'tset', only train (2 videos), val (2 videos)" in (record.error or "")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"recipe": "papr@1"}, "did you mean paper@1?"),
        ({"norm": "batch"}, "norm"),
        ({"rate": -1.0}, "rate"),
        ({"batch": 10, "part": 4}, "choose part=2"),
        ({"search_grid": 1}, "search_grid"),
    ],
)
def test_what_cannot_be_set_is_told_at_once(given: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match="videos: ") as error:
        VideoTracking(**given)  # type: ignore[arg-type]
    assert said in str(error.value)


def test_what_the_recipe_has_anyway_is_no_other_cell() -> None:
    assert VideoTracking(epochs=300, norm="layer").spec == VideoTracking().spec
    assert Got10kTracking(epochs=100).spec == Got10kTracking().spec
    assert Got10kTracking(epochs=300).spec.params == {"epochs": 300}
    assert VideoTracking(search_grid=24).settings().reading == ""
    assert VideoTracking().settings().reading
