"""Errors by drawing whole videos anew, and two trackers over the same videos: as records, and as folders of result files."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reports.compare import compare
from rice_core.cli import main
from rice_core.errors import UserError
from rice_core.record import Cell, Evidence, Record
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeSpec
from rice_core.store import Store
from tracking.curves import Curves, Floats
from tracking.dialects import DIALECTS
from tracking.overall import Judgement, Overall, overall
from tracking.resampled import difference, resampled
from tracking.scorer import TrackingScorer


def of_videos(success_V: list[float], frames_V: list[int] | None = None, dialect: str = "visible") -> Overall:
    """Videos of a known success (or AO), in [0, 1]."""
    judged = {}
    for k, success in enumerate(success_V):
        of = DIALECTS[dialect].thresholds
        curves = [np.full(len(at), success) for at in of]
        judged[f"v{k:03}"] = Curves(*curves, overlap=success, frames=10 if frames_V is None else frames_V[k])
    return overall(judged, dialect)


def many(dialect: str, videos: int = 280, seed: int = 0) -> Overall:
    rng = np.random.default_rng(seed)
    frames_V = np.exp(rng.normal(5.5, 0.8, videos)).astype(int)
    return of_videos(rng.beta(2, 1.5, videos).tolist(), frames_V.tolist(), dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_formula_and_resamples_agree_on_the_error(dialect: str) -> None:
    whole = many(dialect)
    for metric, value in whole.values.items():
        drawn, formula = resampled(whole, metric), whole.estimate(metric)
        assert drawn.value == value
        assert drawn.stderr == pytest.approx(formula.stderr, rel=0.08)
        assert drawn.ci95 == pytest.approx(formula.ci95, abs=0.4)
        assert drawn.ci95 is not None
        assert 0 <= drawn.ci95[0] < value < drawn.ci95[1] <= 100
        assert (drawn.clusters, drawn.method) == (280, "bootstrap over videos (1000), Wilson interval")


@pytest.mark.parametrize("dialect", ["got10k", "lasot"])
def test_a_resample_is_judged_anew_with_its_weights(dialect: str) -> None:
    """Against videos drawn by hand and given to `overall`, in which one counts for nothing and lengths differ."""
    values_V, frames_V = [0.0, 0.2, 0.9, 0.6, 0.5], [70, 10, 400, 30, 90]
    whole = of_videos(values_V, frames_V, dialect)
    metric = next(iter(whole.values))
    rng, found = np.random.default_rng(3), []
    for picks in rng.integers(5, size=(100, 5)):
        one = of_videos([values_V[k] for k in picks], [frames_V[k] for k in picks], dialect)
        found.append(one.values[metric])
    assert resampled(whole, metric, 100, seed=3).stderr == pytest.approx(np.std(found, ddof=1), rel=1e-12)
    assert resampled(whole, metric, 100, seed=4).stderr != resampled(whole, metric, 100, seed=3).stderr


def test_a_video_without_a_frame_that_counts_is_not_drawn() -> None:
    with_it = of_videos([0.2, 0.9, 0.6, 0.5, 0.0], [10, 40, 30, 9, 0], "got10k")
    without = of_videos([0.2, 0.9, 0.6, 0.5], [10, 40, 30, 9], "got10k")
    assert resampled(with_it, "ao") == resampled(without, "ao")


def test_one_video_has_no_error() -> None:
    found = resampled(of_videos([0.5]), "success")
    assert (found.value, found.stderr, found.ci95) == (50.0, None, None)


def test_all_of_lasot_is_resampled_in_less_than_two_seconds() -> None:
    wholes = [many(dialect) for dialect in DIALECTS]
    began = time.process_time()
    for whole in wholes:
        for metric in whole.values:
            resampled(whole, metric)
    assert time.process_time() - began < 2  # 0.2 s


@pytest.mark.slow
@pytest.mark.parametrize(("videos", "least"), [(12, 85), (48, 90)])
def test_formula_and_bootstrap_hold_the_truth_alike(videos: int, least: float) -> None:
    """AO over videos of unlike lengths, the longer ones harder; docs/tracking.md has 1,000 of these sets (`sets = 1000`)."""
    rng, sets = np.random.default_rng(1), 300

    def drawn(n: int) -> tuple[Floats, Floats]:
        hard_V = rng.normal(size=n)
        frames_V = np.exp(rng.normal(5.5, 0.8, n) + 0.2 * hard_V).round() + 1
        return 1 / (1 + np.exp(0.9 * hard_V - 0.8 - rng.normal(0, 0.7, n))), frames_V

    values_V, frames_V = drawn(1_000_000)
    true, held = 100 * float(values_V @ frames_V / frames_V.sum()), np.zeros(2)
    for _ in range(sets):
        whole = of_videos(*(column.tolist() for column in drawn(videos)), dialect="got10k")
        for k, found in enumerate((whole.estimate("ao"), resampled(whole, "ao"))):
            assert found.ci95 is not None
            held[k] += found.ci95[0] <= true <= found.ci95[1]
    shares = 100 * held / sets
    assert (shares > least).all()
    assert abs(shares[0] - shares[1]) < 3


HARD_V = np.linspace(0.1, 0.9, 12)
"""Easy and hard videos, for both trackers alike."""
BEHIND_V = HARD_V - 0.03 + 0.01 * np.cos(np.arange(12))
FRAMES_V = [30 + 17 * k % 90 for k in range(12)]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("resamples", [0, 1000])
def test_pairing_sees_what_two_intervals_do_not(dialect: str, resamples: int) -> None:
    a, b = (of_videos(values_V.tolist(), FRAMES_V, dialect) for values_V in (HARD_V, BEHIND_V))
    for metric in a.values:
        apart = a.values[metric] - b.values[metric]
        assert a.estimate(metric).stderr > apart  # of one alone: the interval of an unpaired difference holds zero
        found = difference(a, b, metric, resamples=resamples)
        assert found.value == pytest.approx(apart)
        assert found.decisive
        assert found.ci95 is not None
        assert 0 < found.ci95[0] < found.value < found.ci95[1]
        assert (found.n, found.clusters, found.only_a, found.only_b) == (12, 12, 0, 0)
        back = difference(b, a, metric, resamples=resamples)
        assert (back.value, back.stderr) == pytest.approx((-found.value, found.stderr))


@pytest.mark.parametrize("dialect", ["got10k", "lasot"])
def test_resamples_of_pairs_are_resamples_of_both(dialect: str) -> None:
    a, b = (of_videos(values_V.tolist(), FRAMES_V, dialect) for values_V in (HARD_V, BEHIND_V))
    metric = next(iter(a.values))
    found = []
    for picks in np.random.default_rng(0).integers(12, size=(200, 12)):
        frames_V = [FRAMES_V[k] for k in picks]
        both = (of_videos(values_V[picks].tolist(), frames_V, dialect) for values_V in (HARD_V, BEHIND_V))
        found.append(next(both).values[metric] - next(both).values[metric])
    assert difference(a, b, metric, resamples=200).stderr == pytest.approx(np.std(found, ddof=1) * (12 / 11) ** 0.5)


def test_videos_of_one_alone_are_left_out_of_both_and_counted() -> None:
    a, b = (of_videos(values_V.tolist(), FRAMES_V, "got10k") for values_V in (HARD_V, BEHIND_V))
    found = difference(a.part(a.videos[:10]), b.part(b.videos[1:]), "ao")
    shared = a.videos[1:10]
    assert (found.n, found.only_a, found.only_b) == (9, 1, 2)
    assert found.value == pytest.approx(a.part(shared).values["ao"] - b.part(shared).values["ao"], rel=1e-12)


def test_few_videos_of_one_sign_decide_nothing() -> None:
    """Each resample of them is above zero, and percentiles would call it certain."""
    a, b = of_videos([0.5, 0.6, 0.7]), of_videos([0.49, 0.5, 0.66])
    for resamples in (0, 1000):
        found = difference(a, b, "success", resamples=resamples)
        assert not found.decisive
        assert found.ci95 is not None
        assert found.ci95[0] < 0 < found.ci95[1]
    same = difference(a, a, "success", resamples=1000)
    assert (same.value, same.decisive) == (0.0, False)


def lasot_of(place: Path, videos: int = 12) -> Path:
    for k in range(1, videos + 1):
        folder = place / "airplane" / f"airplane-{k}"
        (folder / "img").mkdir(parents=True)
        for n in range(6):
            Image.new("RGB", (100, 80)).save(folder / "img" / f"{n + 1:08d}.jpg")
        (folder / "groundtruth.txt").write_text("10,20,40,30\n" * 6)
        for flag in ("full_occlusion", "out_of_view"):
            (folder / f"{flag}.txt").write_text(",".join("0" * 6))
    (place / "testing_set.txt").write_text("".join(f"airplane-{k}\n" for k in range(1, videos + 1)))
    return place


def tracker(place: Path, offsets: dict[int, float]) -> Path:
    """A folder of results: so many pixels to the right of the truth by the number of the video."""
    place.mkdir(parents=True)
    for k, offset in offsets.items():
        (place / f"airplane-{k}.txt").write_text("10,20,40,30\n" + f"{10 + offset},20,40,30\n" * 5)
    return place


def told(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, words)])
    out, err = capsys.readouterr()
    return int(str(ended.value.code or 0)), out, err


def test_two_folders_of_results_are_paired_by_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = lasot_of(tmp_path / "LaSOT")
    a = tracker(tmp_path / "mine", {k: 2.0 * k for k in range(1, 11)})
    b = tracker(tmp_path / "theirs", {k: 2.0 * k + 1.5 for k in range(2, 13)})
    where = ("--results", a, "--data", data, "--against", b)
    code, out, err = told(capsys, "tracking", *where, "--dialect", "all", "-f", "json")
    body = json.loads(out)
    assert code == 3, err  # 9 of 12 are compared
    assert (body["results"], body["against"], body["videos"]) == ("mine", "theirs", "9 of the 280 videos of lasot test")
    assert (body["only in mine"], body["only in theirs"]) == (1, 2)
    assert "mine: airplane-11 has no file of results" in body["left_out"]
    assert "theirs: airplane-1 has no file of results" in body["left_out"]
    rows = {(each["dialect"], each["metric"]): each for each in body["numbers"] if each["video"] is None}
    for dialect, metric in [(name, next(iter(of.of))) for name, of in DIALECTS.items()]:
        one, other, apart = (rows[dialect, metric + words] for words in ("", ", against", ", difference"))
        assert apart["value"] == pytest.approx(one["value"] - other["value"])
        assert 0 < apart["low"] < apart["value"] < apart["high"]
        assert apart["said"].startswith("mine is better by")
        assert apart["n"] == 9
    alone = json.loads(told(capsys, "tracking", "--results", a, "--data", data, "--partial", "yes", "-f", "json")[1])
    assert alone["numbers"][0]["value"] != rows["lasot", "success"]["value"]  # over ten videos, and these over nine
    each = {row["video"]: row["value"] for row in body["numbers"] if row["video"] and row["dialect"] == "lasot"}
    assert len(each) == 9


def test_a_comparison_is_said_in_words_and_may_be_a_bootstrap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = lasot_of(tmp_path / "LaSOT", 6)
    a = tracker(tmp_path / "a" / "found", {k: 2.0 * k for k in range(1, 7)})
    b = tracker(tmp_path / "b" / "found", {k: 2.0 * k + 3.5 for k in range(1, 7)})
    where = ("--results", a, "--data", data, "--against", b)
    code, out, err = told(capsys, "tracking", *where)
    assert code == 0, err
    assert "success, difference lasot: the first is better by" in out
    assert "paired, clustered by video (6), t interval" in out
    code, out, err = told(capsys, "tracking", *where, "--bootstrap", "1000")
    assert code == 0, err
    assert "paired, bootstrap over videos (1000), t interval" in out
    again = told(capsys, "tracking", *where, "--bootstrap", "1000")[1]
    assert again == out
    assert told(capsys, "tracking", *where, "--bootstrap", "1000", "--seed", "1")[1] != out
    code, out, err = told(capsys, "tracking", "--results", a, "--data", data, "--bootstrap", "500")
    assert code == 0, err
    assert "bootstrap over videos (500), Wilson interval" in out


def test_what_cannot_be_compared_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = lasot_of(tmp_path / "LaSOT", 4)
    a, b = tracker(tmp_path / "a", {1: 0, 2: 0}), tracker(tmp_path / "b", {3: 0, 4: 0})
    where = ("--results", a, "--data", data, "--against", b)
    code, _, err = told(capsys, "tracking", *where)
    assert (code, "has results in both that can be judged" in err) == (2, True)
    code, _, err = told(capsys, "tracking", *where, "--check")
    assert (code, "leave out --against" in err) == (2, True)
    code, _, err = told(capsys, "tracking", *where, "--server", "got10k")
    assert (code, "write --check" in err) == (2, True)
    for wrong in ({"bootstrap": 1}, {"bootstrap": -1000}, {"bootstrap": 10**9}, {"seed": -1}):
        with pytest.raises(UserError):
            TrackingScorer(**wrong)


def test_a_dialect_that_refuses_one_of_the_two_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = lasot_of(tmp_path / "LaSOT", 3)
    a, b = (tracker(tmp_path / name, {1: 1, 2: 3, 3: 5}) for name in "ab")
    (b / "airplane-2.txt").write_text("10,20,40,30\n" * 3 + "nan,nan,nan,nan\n" * 3)
    where = ("--results", a, "--data", data, "--against", b)
    code, out, err = told(capsys, "tracking", *where, "--dialect", "all", "-f", "json")
    assert code == 0, err
    assert "pytracking, b: airplane-2" in err
    assert {"lasot", "visible"} <= {row["dialect"] for row in json.loads(out)["numbers"]}
    assert "pytracking" not in {row["dialect"] for row in json.loads(out)["numbers"]}
    code, _, err = told(capsys, "tracking", *where, "--dialect", "pytracking")
    assert (code, "pytracking, b: airplane-2" in err) == (2, True)


def test_two_cells_of_a_tracking_probe_are_paired_by_video(tmp_path: Path) -> None:
    """Through the store and `ricebench compare`: each number alone has an interval that holds the other's, and the difference is decisive."""
    store = Store(tmp_path / "store")
    records = []
    for k, values_V in enumerate((HARD_V, BEHIND_V)):
        whole = of_videos(values_V.tolist(), FRAMES_V, "got10k")
        # The second's videos lie in another order, as where one was gone on with.
        whole = whole if k == 0 else whole.part(whole.videos[::-1])
        cell = Cell(
            encoder=EncoderSpec.parse(f"e{k}=hf:x/{k}"),
            probe=ProbeSpec(name="got10k", version=1, recipe="paper@1"),
            dataset=DatasetSpec(name="got", layout="got10k", fingerprint="f"),
            seed=0,
        )
        evidence = Evidence(
            weights=f"{k}" * 64,
            data="d" * 64,
            code="c" * 64,
            commit=None,
            dirty=False,
            libraries={},
            device="cpu",
            n_params=1,
            dim=8,
            patch=8,
            resolution=(64, 64),
        )
        metrics = Judgement(whole, whole, whole).metrics()
        record = Record(cell=cell, status="done", metrics=metrics, evidence=evidence)
        records.append(store.put(record, whole.scores()))
    (found,) = compare([records[0]], [records[1]], store).differences
    ends = [record.metrics[0].ci95 for record in records]
    assert ends[0][0] < records[1].metrics[0].value < ends[0][1]
    assert ends[1][0] < records[0].metrics[0].value < ends[1][1]
    assert found.decisive
    assert (found.paired.n, found.paired.clusters) == (12, 12)
    a, b = (of_videos(values_V.tolist(), FRAMES_V, "got10k") for values_V in (HARD_V, BEHIND_V))
    by_formula, by_resamples = difference(a, b, "ao"), difference(a, b, "ao", resamples=1000)
    assert found.paired.value == pytest.approx(by_formula.value)
    assert found.paired.stderr == pytest.approx(by_formula.stderr)
    assert found.paired.stderr == pytest.approx(by_resamples.stderr, rel=0.25)
    assert found.sentence.startswith("e0 is better by")
