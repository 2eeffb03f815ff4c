"""Dialects against the toolkits' own code: the numbers that it gave (`oracles/record_*.py`), and the got10k package live."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rice_core.datasets.tracks import Track
from rice_core.errors import UserError
from tracking.curves import Curves
from tracking.dialects import DIALECTS
from tracking.overall import Followed, Judgement, judge, overall, subsets_of

FOLDER = Path(__file__).parent / "oracles"
SIZE = (160, 120)


@cache
def loaded(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def videos(flags: str = "absent", without: tuple[str, ...] = ()) -> list[Followed]:
    """The material as the data set that a toolkit took it for."""
    made = []
    for video in loaded("material"):
        if video["id"] in without:
            continue
        boxes_T4, absent_T = np.array(video["truth"]), np.array(video["absent"], dtype=bool)
        ours: dict[str, dict[str, Any]] = {
            "absent": {},
            "lasot": {"full_occlusion": absent_T * 1.0, "out_of_view": np.zeros(len(absent_T))},
            "cover": {"cover": np.array(video["cover"], dtype=float)},
        }
        track = Track(boxes_T4, absent_T, ours[flags], flagged=True)
        made.append(Followed(video["id"], np.array(video["boxes"]), track, SIZE))
    return made


@pytest.mark.parametrize("toolkit", ["lasot-matlab", "tnl2k-matlab"])
def test_the_official_matlab_code_gives_the_same_curves_and_means(toolkit: str) -> None:
    theirs, dialect = loaded(toolkit), DIALECTS["lasot"]
    curves = {video.id: dialect.judge(video.boxes_T4, video.track) for video in videos()}
    for name, ours in curves.items():
        same(ours, theirs["videos"][name], 1e-11)
    found = overall(curves, "lasot")
    assert list(found.values.values()) == pytest.approx(theirs["all"], abs=1e-9)
    # As `record_matlab.py` gave them to it; a single video is no subset.
    told = {name: {"subsets": ",".join(of)} for number, name in enumerate(curves) for of in [_attributes(number)]}
    parts = subsets_of(told)
    assert set(parts) == {"IV", "POC"}
    for subset, names in parts.items():
        assert list(found.part(names).values.values()) == pytest.approx(theirs[subset], abs=1e-9)


def _attributes(number: int) -> list[str]:
    return ["IV"] * (number % 2) + ["POC"] * (number % 3 == 0) + ["DEF"] * (number == 5)


@pytest.mark.parametrize("flags", ["lasot", "none"])
@pytest.mark.parametrize("dialect", ["pytracking", "ostrack"])
def test_pytracking_and_ostrack_give_the_same_curves_and_refuse_the_same_files(dialect: str, flags: str) -> None:
    theirs = loaded(dialect)[flags]
    curves: dict[str, Curves] = {}
    for video in videos("lasot" if flags == "lasot" else "absent"):
        if theirs["videos"][video.id] is None and not video.id.endswith("long-nan"):
            with pytest.raises(UserError):
                DIALECTS[dialect].judge(video.boxes_T4, video.track)
        else:
            curves[video.id] = DIALECTS[dialect].judge(video.boxes_T4, video.track)
    refused = [name for name, curve in theirs["videos"].items() if curve is None]
    assert len(refused) == 5  # It looks at NaN in rows that it cuts off.
    for name in curves.keys() - set(refused):
        same(curves[name], theirs["videos"][name], 1e-6)
    accepted = {name: curves[name] for name in theirs["videos"] if name in curves and name not in refused}
    assert list(overall(accepted, dialect).values.values()) == pytest.approx(theirs["all"], abs=1e-4)


def test_trackingnets_devkit_gives_the_same_areas() -> None:
    theirs = loaded("trackingnet")
    without = tuple(video.id for video in videos() if video.id not in theirs["videos"])
    found = judge(videos(without=without), ["trackingnet"])["trackingnet"]
    assert isinstance(found, Judgement)
    assert list(found.overall.values.values()) == pytest.approx(theirs["all"], abs=1e-9)
    each = np.stack(list(found.overall.each.values()), axis=1)
    for name, row in zip(found.overall.videos, each, strict=True):
        assert row.tolist() == pytest.approx(theirs["videos"][name], abs=1e-9), name


def test_the_lasot_experiment_of_the_got10k_toolkit_gives_the_same_curves() -> None:
    theirs = loaded("got10k-lasot")
    curves = {
        video.id: DIALECTS["got10k-lasot"].judge(video.boxes_T4, video.track)
        for video in videos()
        if video.id in theirs["videos"]
    }
    for name, ours in curves.items():
        same(ours, theirs["videos"][name], 1e-12)
    assert list(overall(curves, "got10k-lasot").values.values()) == pytest.approx(theirs["all"], abs=1e-9)


def same(ours: Curves, theirs: list[list[float]], within: float) -> None:
    for of_K, curve in zip((ours.success_S, ours.precision_P, ours.normalised_N), theirs, strict=True):
        assert of_K.tolist() == pytest.approx(curve, abs=within)


class Given(list[Any]):
    """A data set as the got10k toolkit's are."""

    def __init__(self, videos: list[Followed]) -> None:
        for video in videos:
            meta = {"cover": video.track.flags["cover"], "resolution": str(video.size)}
            self.append((None, video.track.boxes_T4, meta))
        self.seq_names = [video.id for video in videos]

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self.seq_names.index(key) if isinstance(key, str) else key)


def reported(videos: list[Followed], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the installed toolkit says, which edits what it is given."""
    toolkit = pytest.importorskip("got10k.experiments.got10k")
    experiment = toolkit.ExperimentGOT10k.__new__(toolkit.ExperimentGOT10k)
    experiment.subset, experiment.result_dir, experiment.report_dir = "val", str(folder), str(folder)
    experiment.dataset = Given([replace(v, track=replace(v.track, boxes_T4=v.track.boxes_T4.copy())) for v in videos])
    for video in videos:
        place = folder / "t" / video.id
        place.mkdir(parents=True)
        np.savetxt(place / f"{video.id}_001.txt", video.boxes_T4, delimiter=",", fmt="%.17g")
        np.savetxt(place / f"{video.id}_time.txt", np.ones(len(video.boxes_T4)))
    monkeypatch.setattr(experiment, "plot_curves", lambda *_: None)
    return experiment.report(["t"])["t"]


def test_the_got10k_toolkit_gives_the_same_ao_and_sr_on_the_material(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It wants tables of as many rows as frames; a NaN makes its AO NaN.
    whole = [video for video in videos("cover") if 1 < len(video.track.boxes_T4) == len(video.boxes_T4)]
    whole = [v for v in whole if np.isfinite(v.boxes_T4).all() and np.isfinite(v.track.boxes_T4).all()]
    assert len(whole) > 20
    agree(whole, tmp_path, monkeypatch)


@pytest.mark.parametrize("seed", range(6))
def test_the_got10k_toolkit_gives_the_same_ao_and_sr_on_any_results(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, made = np.random.default_rng(seed), []
    for number in range(8):
        frames = int(rng.integers(2, 40))
        size = (int(rng.integers(20, 300)), int(rng.integers(20, 300)))
        truth_T4 = rng.uniform(-30, 120, (frames, 4)).round(int(rng.integers(0, 3)))
        truth_T4[:, 2:] = np.abs(truth_T4[:, 2:])
        boxes_T4 = truth_T4 + rng.normal(0, rng.choice([0, 1, 10]), (frames, 4)).round(int(rng.integers(0, 3)))
        boxes_T4[rng.random(frames) < 0.1] = rng.choice([-1.0, 0.0])
        truth_T4[rng.random(frames) < 0.1] = rng.choice([-1.0, 0.0])
        cover_T = rng.integers(0, 9, frames).astype(float)
        track = Track(truth_T4, cover_T == 0, {"cover": cover_T}, flagged=True)
        made.append(Followed(f"GOT-10k_Val_{number + 1:06d}", boxes_T4, track, size))
    agree(made, tmp_path, monkeypatch)


def agree(videos: list[Followed], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = reported(videos, folder, monkeypatch)
    ours = judge(videos, ["got10k"])["got10k"]
    assert isinstance(ours, Judgement)
    found = ours.overall
    curve = theirs["overall"]["succ_curve"]
    assert found.curves.success_S.tolist() == pytest.approx(curve, abs=1e-12)
    expected = [theirs["overall"]["ao"], theirs["overall"]["sr"], curve[75]]
    assert list(found.values.values()) == pytest.approx([100 * value for value in expected], abs=1e-9)
    for name, ao, sr in zip(found.videos, found.each["ao"], found.each["sr50"], strict=True):
        if not np.isnan(ao):
            one = theirs["seq_wise"][name]
            assert [ao, sr] == pytest.approx([100 * one["ao"], 100 * one["sr"]], abs=1e-9)
