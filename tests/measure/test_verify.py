"""verify: everything that a number rests on is read; what is damaged, another's, foreign or wrong is named with its step."""

import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from rice_core.bundle import Bundle
from rice_core.cli import main
from rice_core.digest import bytes_digest
from rice_core.disk.exports import write_about
from rice_core.disk.sealed import key_of, seal_arrays, seal_json
from rice_core.disk.temporaries import beside
from rice_core.measure.cache import FeatureCache
from rice_core.measure.known import Identity, KnownEncoders
from rice_core.measure.verify import Verified, verify
from rice_core.progress import Progress
from rice_core.ranks import Ranks
from rice_core.record import Cell, Evidence, Metric, Record, Scores
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeSpec
from rice_core.store import Store
from rice_core.train.checkpoint import Checkpoints, State
from rice_core.world.mini import WORLDS, World, draw

KEY = "ab" * 32
TINY = World(name="mini", seed=0, train=1, val=1, size=64)
SCORES = Scores(
    sample=("a", "b", "c"), cluster=("a", "a", "b"), values={"accuracy": (0.1, 0.2, 0.3), "ap": (1.0, 2.0, 6.0)}
)


def record_of(seed: int = 0, **values: float) -> Record:
    cell = Cell(
        encoder=EncoderSpec(source="timm", model="x"),
        probe=ProbeSpec(name="knn", version=1),
        dataset=DatasetSpec(name="d", layout="photos", fingerprint="f"),
        seed=seed,
    )
    metrics = tuple(Metric(name=name, value=value, n=3) for name, value in values.items())
    return Record(cell=cell, status="done", metrics=metrics, evidence=Evidence(weights="w", data="d", code="c"))


def export(store: Store, record: Record, results: bytes, **about: str) -> Path:
    path = store.exports(record.cell.id) / "coco-det.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(results)
    about = {"cell": record.cell.id, "weights": "w", "results": bytes_digest(results)} | about
    path.with_name("coco-det.about.json").write_text(json.dumps(about))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One of each kind, all sound: 2 records, scores, an artifact, a shard, an identity, digests, a world, 2 states, a checkpoint of 2 files, an export."""
    store = Store(tmp_path / "store")
    artifact = store.put_artifact(record_of().cell.id, "figure.json", b"{}")
    store.put(record_of(accuracy=0.2, ap=3.0).model_copy(update={"artifacts": (artifact,)}), SCORES)
    store.put(record_of(1, trust=0.5))
    FeatureCache(store).put(KEY, Bundle({"x": np.ones(3, np.float32)}, {}))
    KnownEncoders(store.root / "known").put(
        EncoderSpec.parse("synthetic:noise"), Identity(weights="a", architecture="b")
    )
    digests = store.root / "digests" / f"{KEY}.json"
    digests.parent.mkdir()
    digests.write_bytes(seal_json(KEY, {"0" * 20: [1, 2, 3, "4" * 64]}))
    draw(TINY, store.place("worlds"))
    folder = store.unfinished(record_of(2).cell.id, "0123456789")
    (folder / "part").mkdir(parents=True)
    head, arrays = folder / "part" / "head.safetensors", {"weight": np.ones(3, np.float32)}
    save_file(arrays, head, metadata=seal_arrays(key_of(head), arrays, {"steps": 3}))
    checkpoints = Checkpoints(
        folder / "checkpoints", Ranks(0, 1, torch.device("cpu")), print, data="d", foreign="", advice=""
    )
    state = State(step=3, ends_stage=False, data="d", positions={}, counts={}, generators=())
    checkpoints.save({"weight": torch.ones(3)}, state)
    (folder / "part.json").write_bytes(seal_json(key_of(folder / "part.json"), {"ap": 3.0}))
    export(store, record_of(), b"[]")
    return store


def check(store: Store) -> Verified:
    return verify(store, Progress(quiet=True))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_sound_store_is_counted_by_kind_and_left_as_it_is(store: Store) -> None:
    before = contents(store.root)
    found = check(store)
    assert found.problems == []
    assert dict(found.sound) == {
        "records": 2,
        "files of scores": 1,
        "artifacts": 1,
        "metrics computed anew from scores": 2,
        "feature shards": 1,
        "identities of checkpoints": 1,
        "digests of data files": 1,
        "worlds": 1,
        "trained stages": 0,
        "files of unfinished trainings": 4,
        "exports": 1,
    }
    assert {what.split(" that")[0]: n for what, n in found.notes.items() if n} == {"metrics": 1}
    assert contents(store.root) == before


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [
        ("records/*.json", "records"),
        ("scores/*/*.json", "files of scores"),
        ("artifacts/*/*.json", "artifacts"),
        ("cache/*/*.safetensors", "feature shards"),
        ("known/*.json", "identities of checkpoints"),
        ("digests/*.json", "digests of data files"),
        ("unfinished/*/part/head.safetensors", "files of unfinished trainings"),
        ("unfinished/*/checkpoints/step-*/*.safetensors", "files of unfinished trainings"),
        ("unfinished/*/part.json", "files of unfinished trainings"),
        ("exports/*/coco-det.json", "exports"),
    ],
)
def test_a_flipped_bit_is_named_and_set_aside(store: Store, pattern: str, kind: str) -> None:
    path = sorted(store.root.glob(pattern))[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if path.suffix == ".json" else -1] ^= 1
    path.write_bytes(data)
    sound = dict.fromkeys([kind], check_count(kind) - 1)
    found = check(store)
    assert [(problem.file, problem.moved) for problem in found.problems] == [(str(path.relative_to(store.root)), True)]
    assert found.sound[kind] == sound[kind]
    assert not path.exists()
    assert any(each.name.startswith(path.name) for each in (store.root / "quarantine").iterdir())


def check_count(kind: str) -> int:
    return {"records": 2, "files of unfinished trainings": 4}.get(kind, 1)


def test_what_lies_under_anothers_name_is_named(store: Store) -> None:
    cache, other = FeatureCache(store), "cd" * 32
    cache.path(other).parent.mkdir()
    shutil.copy(cache.path(KEY), cache.path(other))
    identity = next((store.root / "known").iterdir())
    shutil.copy(identity, identity.with_name("0" * 64 + ".json"))
    state = next((store.root / "unfinished").iterdir())
    shutil.copytree(state, state.with_name("0" * 20 + "-0123456789"))
    record = store.put(record_of(3))
    shutil.copytree(store.exports(record_of().cell.id), store.exports(record.cell.id))
    draw(World(name="mini", seed=1, train=1, val=1, size=64), store.place("worlds"))
    shutil.rmtree(store.root / "worlds" / "mini-seed0-1-1-64")
    (store.root / "worlds" / "mini-seed1-1-1-64").rename(store.root / "worlds" / "mini-seed0-1-1-64")
    found = check(store)
    assert sorted((problem.file, problem.reason, problem.moved) for problem in found.problems) == sorted(
        [
            (f"cache/cd/{other}.safetensors", "it holds what belongs to another name", True),
            (f"known/{'0' * 64}.json", "it holds what belongs to another name", True),
            (f"unfinished/{'0' * 20}-0123456789/part.json", "it holds what belongs to another name", True),
            # The part's folder has the same name, and its key begins with the cell's.
            (
                f"unfinished/{'0' * 20}-0123456789/part/head.safetensors",
                "it holds what belongs to another name",
                True,
            ),
            (f"exports/{record.cell.id}/coco-det.json", "it holds the results of another cell", True),
            ("worlds/mini-seed0-1-1-64", "it holds another world than its name says", False),
        ]
    )


@pytest.mark.parametrize(
    ("name", "level", "annotate"),
    [("mini", "hard", "objects"), ("mini-words", "easy", "objects"), ("mini-lvis", "easy", "objects")],
)
def test_a_world_of_the_same_numbers_and_another_name_is_named(
    tmp_path: Path, name: str, level: str, annotate: str
) -> None:
    store = Store(tmp_path)
    drawn = draw(World(name="x", seed=0, train=1, val=1, level=level, annotate=annotate), store.place("worlds"))
    drawn.rename(drawn.with_name(f"{name}-seed0-1-1-96"))
    assert [str(problem) for problem in check(store).problems] == [
        f"worlds/{name}-seed0-1-1-96: it holds another world than its name says; "
        "the next command that uses it draws it again."
    ]


def test_miniature_videos_are_held_to_what_was_drawn(tmp_path: Path) -> None:
    store = Store(tmp_path)
    videos = dataclasses.replace(WORLDS["mini-videos"], train=1, val=1, size=48)
    folder = draw(videos, store.place("worlds"))
    assert not check(store).problems
    label = folder / "val/GOT-10k_Val_000001/cover.label"
    label.write_text(label.read_text().replace("8", "7", 1))
    (problem,) = check(store).problems
    assert problem.reason == "val/GOT-10k_Val_000001/cover.label does not match its digest"
    draw(videos, store.place("worlds")).rename(folder.with_name("mini-lasot-seed0-1-1-48"))
    (problem,) = check(store).problems
    assert problem.reason == "it holds another world than its name says"


def test_a_world_that_was_changed_is_named(store: Store) -> None:
    world = store.root / "worlds" / "mini-seed0-1-1-64"
    picture = world / "train" / "0000000.png"
    picture.write_bytes(picture.read_bytes() + b"x")
    assert [problem.reason for problem in check(store).problems] == ["train/0000000.png does not match its digest"]
    picture.unlink()
    assert [problem.reason for problem in check(store).problems] == ["train/0000000.png is missing"]
    draw(TINY, store.root / "worlds")
    (world / "train" / "more.png").touch()
    assert [problem.reason for problem in check(store).problems] == ["train/more.png was not drawn"]


@pytest.mark.parametrize(
    ("accuracy", "ap", "wrong"),
    [
        (0.2, 3.0, []),
        (0.2 * (1 + 1e-11), 3.0, []),
        (0.2 * (1 + 1e-8), 3.0, ["accuracy"]),
        (0.1, 2.0, ["accuracy", "ap"]),
    ],
)
def test_a_metric_that_its_scores_do_not_give_is_named(
    tmp_path: Path, accuracy: float, ap: float, wrong: list[str]
) -> None:
    store = Store(tmp_path)
    store.put(record_of(accuracy=accuracy, ap=ap, other=7.0), SCORES)
    found = check(store)
    assert [problem.reason.split()[0] for problem in found.problems] == wrong
    assert all("--rerun 'timm:x/knn'" in problem.step for problem in found.problems)
    assert found.sound["metrics computed anew from scores"] == 2 - len(wrong)
    assert found.sound["records"] == (not wrong)
    assert [n for what, n in found.notes.items() if what.startswith("metrics that have no column")] == [1]
    if wrong:
        said = f"accuracy of timm:x / knn is {accuracy:.12g}, and its scores give 0.2"
        assert found.problems[0].reason == said


def test_a_metric_of_nought_may_come_from_scores_that_cancel(tmp_path: Path) -> None:
    store = Store(tmp_path)
    cancelling = Scores(sample=("a", "b", "c"), cluster=("a", "b", "c"), values={"gain": (0.1, 0.2, -0.3)})
    store.put(record_of(gain=0.0), cancelling)
    assert check(store).problems == []


def test_what_is_no_problem_and_not_verified_is_counted(store: Store) -> None:
    cell = record_of().cell.id
    (store.root / "scores" / cell / "0123456789abcdef.json").write_text("{}")  # a kill before its record was written
    beside(store.root / "records" / "x.json").write_text("half")
    old = store.root / "cache" / "00" / ("00" * 32 + ".safetensors")
    old.parent.mkdir()
    save_file({"x": np.ones(3, np.float32)}, old, metadata={"sha256": "0", "notes": "{}"})
    (store.root / "unfinished" / f"{'0' * 20}-0123456789").mkdir()
    (store.root / "unfinished" / f"{'0' * 20}-0123456789" / "state.pt").write_bytes(b"of another probe")
    export(store, record_of(9), b"[1]")
    found = check(store)
    assert found.problems == []
    assert {what.split(" (")[0]: n for what, n in found.notes.items() if n} == {
        "files that no record names": 1,
        "half-written files and folders": 1,
        "metrics that have no column of scores to compute them from": 1,
        "files that carry no key, as earlier versions wrote them": 2,
        "exports of cells that have no record": 1,
    }
    assert old.is_file()


def foreign_things(root: Path) -> list[str]:
    """One of each kind that a reader could die of; the names as they have to be printed."""
    (root / "records" / "folder.json").mkdir()
    (root / "records" / ("0" * 20 + ".json")).mkdir()
    os.mkfifo(root / "records" / ("1" * 20 + ".json"))
    os.mkfifo(root / "cache" / "ab" / ("ab" + "1" * 62 + ".safetensors"))
    (root / "records" / "notes.txt").write_text("mine")
    (root / "records" / "mine.json").write_text("{}")
    (root / "records" / ("2" * 20 + ".json")).symlink_to(root / "nowhere")
    (root / "cache" / "no-key.safetensors").write_bytes(b"")
    (root / "cache" / "ab" / "no-key.safetensors").write_bytes(b"")
    (root / "known" / "a-b.json").write_text("{}")
    (root / "scores" / "loop").symlink_to(root / "scores")
    (root / "worlds" / "mine").mkdir()
    (root / "exports" / record_of().cell.id / "picture.png").write_bytes(b"")
    (root / "studies").symlink_to(root.parent)
    Path(os.fsdecode(os.fsencode(root / "artifacts") + b"/\xff.json")).write_bytes(b"")
    (root / "artifacts" / "right\u202eleft\n.json").write_bytes(b"")
    return [
        "records/folder.json",
        f"records/{'0' * 20}.json",
        f"records/{'1' * 20}.json",
        f"records/{'2' * 20}.json",
        "records/notes.txt",
        "records/mine.json",
        "cache/no-key.safetensors",
        f"cache/ab/ab{'1' * 62}.safetensors",
        "cache/ab/no-key.safetensors",
        "known/a-b.json",
        "scores/loop",
        "worlds/mine",
        f"exports/{record_of().cell.id}/picture.png",
        "studies",
        "'artifacts/\\udcff.json'",
        "'artifacts/right\\u202eleft\\n.json'",
    ]


@pytest.mark.skipif(sys.platform == "darwin", reason="its file names are UTF-8")
def test_foreign_files_and_links_are_named_and_stay(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    expected = foreign_things(store.root)
    before = sorted(str(path) for path in store.root.rglob("*"))
    sound = check(Store(store.root)).sound
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--store", str(store.root), "--quiet"])
    assert stop.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    for name in expected:
        (line,) = [line for line in lines if line.startswith(f"{name}: ")]
        link = name in ("scores/loop", "studies", f"records/{'2' * 20}.json")
        assert (
            line
            == f"{name}: {'is a link, which is never followed' if link else 'is no file of a store'}; move it out of the store."
        )
    assert sum(line.endswith("move it out of the store.") for line in lines) == len(expected)
    assert sorted(str(path) for path in store.root.rglob("*")) == before
    assert sound["records"] == 2
    assert sound["feature shards"] == 1


@pytest.mark.parametrize(
    "kind", ["records", "scores", "cache", "known", "worlds", "stages", "unfinished", "exports", "quarantine"]
)
def test_a_folder_of_the_store_that_is_a_link_is_named_and_not_gone_into(tmp_path: Path, kind: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "diary.txt").write_text("private")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / kind).symlink_to(tmp_path / "outside")
    lines = [str(problem) for problem in check(Store(tmp_path / "store")).problems]
    assert lines == [f"{kind}: is a link, which is never followed; move it out of the store."]


def test_an_unreadable_file_is_named_and_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, who can read everything: so the refusal is played."""
    record, identity = sorted((store.root / "records").iterdir())[0], next((store.root / "known").iterdir())
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path in (record, identity):
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    found = check(store)
    lines = [
        f"{path.relative_to(store.root)}: cannot be read (Permission denied); make it readable, then verify again."
        for path in (record, identity)
    ]
    assert [str(problem) for problem in found.problems] == lines
    assert record.exists()
    assert Store(store.root).get(record.stem) is None
    assert record.exists()
    assert not (store.root / "quarantine").exists()


def test_verify_says_what_is_sound(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["verify", "--store", str(store.root), "--quiet"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.splitlines() == [
        "Sound: 2 records, 2 metrics computed anew from scores, 1 files of scores, 1 artifacts, 1 feature shards, "
        "1 identities of checkpoints, 1 digests of data files, 1 worlds, 4 files of unfinished trainings, 1 exports.",
        "Not verified: 1 metrics that have no column of scores to compute them from.",
    ]


def test_no_store_is_nothing_sound(tmp_path: Path) -> None:
    assert not any(check(Store(tmp_path / "none")).sound.values())
    assert not (tmp_path / "none").exists()


def test_an_export_may_be_a_folder_or_an_archive(store: Store) -> None:
    """Results of a tracker: a file a video, or what a server takes."""
    cell = store.exports(record_of().cell.id)
    for name in ("one.txt", "TEST/two.txt"):
        (cell / "lasot" / name).parent.mkdir(parents=True, exist_ok=True)
        (cell / "lasot" / name).write_text("1,2,3,4\n")
    (cell / "got10k.zip").write_bytes(b"PK")
    for place in (cell / "lasot", cell / "got10k.zip"):
        write_about(place, {"cell": record_of().cell.id, "weights": "w"})
    found = check(store)
    assert found.problems == []
    assert found.sound["exports"] == 3
    (cell / "lasot" / "TEST" / "two.txt").write_text("1,2,3,5\n")
    (cell / "got10k.zip").write_bytes(b"PX")
    assert {problem.file: problem.reason for problem in check(store).problems} == {
        f"exports/{cell.name}/lasot/TEST/two.txt": "it does not match the digest beside it",
        f"exports/{cell.name}/got10k.zip": "it does not match the digest beside it",
    }
    # What was set aside is missed.
    (again,) = check(store).problems
    assert (again.file, again.moved) == (f"exports/{cell.name}/lasot/TEST/two.txt", False)
    (cell / "lasot.about.json").unlink()
    assert [problem.reason for problem in check(store).problems] == ["nothing beside it says what it was made from"]
