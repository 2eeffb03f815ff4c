"""The command line as a user meets it: exit codes, one-sentence errors, no torch where none is needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from rice_core.cli import main
from rice_core.record import Cell, Record
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeSpec
from rice_core.store import Store


def ricebench(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        Image.effect_noise((80 + 8 * i, 64), 60 + i).convert("RGB").save(folder / f"{i}.jpg")
    for i in range(12):
        (folder / f"broken{i}.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a photograph")
        (folder / f"empty{i}.png").touch()
    return folder


@pytest.mark.parametrize(
    "words", [["--help"], ["list"], ["show", "knn"], ["run", "--help"], ["reference", "3"], ["status"]]
)
def test_looking_imports_no_torch(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; from rice_core.cli import main\n"
        f"try: main({words!r})\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("words", "late"),
    [
        (["--help"], {"pydantic", "numpy", "torch"}),
        (["list"], {"numpy", "scipy", "torch"}),
        (["status"], {"numpy", "pandas", "torch"}),
    ],
)
def test_looking_waits_for_nothing_that_it_does_not_use(words: list[str], late: set[str], tmp_path: Path) -> None:
    record = Record(
        cell=Cell(
            encoder=EncoderSpec.parse("synthetic:noise"),
            probe=ProbeSpec(name="knn", version=1),
            dataset=DatasetSpec(name="mini", layout="coco", fingerprint="0" * 20),
        ),
        status="failed",
        error="It broke.",
    )
    Store(tmp_path / "ricebench-runs").put(record)
    code = (
        "import sys; from rice_core.cli import main\n"
        f"try: main({words!r})\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip()
    assert late.isdisjoint(done.stderr.split())


def test_list_names_encoders_probes_and_layouts(capsys: pytest.CaptureFixture[str]) -> None:
    assert ricebench("list") == 0
    out = capsys.readouterr().out
    for word in ("knn", "linear-seg", "tokens", "mini-supervised", "hf:", "class-folders"):
        assert word in out
    assert ricebench("list", "layouts") == 0
    listed = capsys.readouterr().out
    assert "cityscapes" in listed
    assert "knn" not in listed


def test_a_run_on_plain_photographs(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    words = (
        "run",
        "-e",
        "synthetic:random-weights",
        "-p",
        "knn,tokens?recipe=mini",
        "--data",
        photos,
        "--store",
        store,
    )
    assert ricebench(*words, "--quiet") == 0
    records = {record.cell.probe.name: record for record in Store(store).records()}
    assert records["tokens"].status == "done"
    left_out = {
        skipped.item.split(".")[0].rstrip("0123456789"): skipped.reason for skipped in records["tokens"].skipped
    }
    assert set(left_out) == {"broken", "empty"}
    assert all(left_out.values())
    assert records["knn"].status == "not_applicable"
    assert "labels" in (records["knn"].error or "")
    capsys.readouterr()
    for look in (["table"], ["status"], ["verify"], ["cache"], ["show", records["tokens"].cell.id], ["table", "--all"]):
        assert ricebench(*look, "--store", store) == 0, look
    assert "token-distance" in capsys.readouterr().out


def test_table_in_every_format_and_the_report(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    words = ("run", "-e", "synthetic:random-weights,synthetic:noise", "-p", "tokens?recipe=mini", "--data", photos)
    assert ricebench(*words, "--store", store, "-q") == 0
    for form, sign in (("md", "| "), ("tex", r"\toprule"), ("csv", ","), ("html", "<table"), ("terminal", "tokens")):
        capsys.readouterr()
        assert ricebench("table", "--format", form, "--store", store) == 0
        assert sign in capsys.readouterr().out
    assert ricebench("report", "--store", store) == 0
    assert (store / "report" / "index.html").is_file()
    assert ricebench("compare", "synthetic:random-weights", "synthetic:noise", "--store", store) == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run"], "--encoders is missing"),
        (["run", "-e", "nonsense", "-p", "knn", "--data", "."], "nonsense"),
        (["run", "-e", "synthetic:noise", "-p", "knm", "--data", "."], "did you mean knn"),
        (["run", "-e", "synthetic:noise", "-p", "knn", "--data", "no-such-folder"], "no-such-folder"),
        (["run", "-e", "synthetic:noise", "-p", "knn", "--data", ".", "--only", "some"], "missing, failed or all"),
        (["run", "-e", "synthetic:noise", "-p", "knn", "--data", ".", "--seeds", "a"], "--seeds"),
        (
            ["run", "-e", "synthetic:noise", "-p", "knn", "--data", ".", "--seeds", "0,9223372036854775808"],
            "from 0 to 4294967295",
        ),
        (["run", "-e", "synthetic:noise", "-p", "knn", "--data", ".", "--cache-gb", "inf"], "--cache-gb"),
        (["curate", ".", "out", "--seed", "2147483648"], "--seed"),
        (["run", "--config", "no.yaml"], "no.yaml"),
        (["show", "nothing"], "nothing"),
        (["compare", "a", "b"], "holds no records"),
        (["table"], "ricebench demo"),
        (["frobnicate"], "frobnicate"),
        (["run", "--limit", "0"], "limit"),
        (["reference", "9"], "number"),
    ],
)
def test_mistakes_are_one_sentence_without_a_traceback(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ricebench(*words) in (1, 2)
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error


def test_partly_done_is_exit_code_3(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("run", "-e", "rice:nowhere,synthetic:noise", "-p", "tokens?recipe=mini", "--data", photos, "-q")
    assert ricebench(*words, "--store", tmp_path / "a") == 3
    assert ricebench("run", "-e", "rice:nowhere", "-p", "knn", "--data", photos, "--store", tmp_path / "b", "-q") == 1
    assert "nowhere" in capsys.readouterr().err


def test_plan_loads_no_encoder_and_names_the_cells(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("plan", "-e", "hf:not/there", "-p", "knn,tokens", "--data", photos, "--store", tmp_path)
    assert ricebench(*words) == 0
    out = capsys.readouterr().out
    assert "to be measured" in out
    assert "not applicable: no labels" in out
    assert "--limit 64" in out


def test_verify_names_damage_and_ends_with_1(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    ricebench("run", "-e", "synthetic:noise", "-p", "tokens?recipe=mini", "--data", photos, "--store", store, "-q")
    shard = next(store.glob("cache/*/*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x7f")
    assert ricebench("verify", "--store", store) == 1
    name = shard.relative_to(store)
    assert f"quarantined: {name}: its arrays do not match its checksum; the next run" in capsys.readouterr().out
    assert ricebench("verify", "--store", store) == 0


def test_a_run_stops_at_a_link_and_leaves_what_lies_behind(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, outside = tmp_path / "store", tmp_path / "outside"
    words = ("run", "-e", "synthetic:noise", "-p", "tokens?recipe=mini", "--data", photos, "--store", store, "-q")
    assert ricebench(*words) == 0
    (record,) = Store(store).records()
    (store / "artifacts" / record.cell.id).rename(outside)
    (outside / "thesis.json").write_text("precious")
    before = {path: path.read_bytes() for path in outside.iterdir()}
    (store / "artifacts" / record.cell.id).symlink_to(outside)
    capsys.readouterr()
    assert ricebench(*words, "--only", "all") == 2
    said = capsys.readouterr().err
    assert f"artifacts/{record.cell.id} is a link" in said
    assert "run the same command again" in said
    assert {path: path.read_bytes() for path in outside.iterdir()} == before
    assert Store(store).records() == [record]
    assert ricebench("verify", "--store", store, "-q") == 1
    assert f"artifacts/{record.cell.id}: is a link" in capsys.readouterr().out


def test_what_lies_behind_a_link_is_neither_cleared_nor_reported_over(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, outside = tmp_path / "store", tmp_path / "outside"
    ricebench("run", "-e", "synthetic:noise", "-p", "tokens?recipe=mini", "--data", photos, "--store", store, "-q")
    (store / "cache").rename(outside)
    for name in ("cache", "report"):
        (store / name).symlink_to(outside)
    before = sorted(outside.rglob("*"))
    assert len(before) > 1
    capsys.readouterr()
    for name, words in {"cache": ("cache", "clear"), "report": ("report",)}.items():
        assert ricebench(*words, "--store", store) == 2
        assert f"store/{name} is a link" in capsys.readouterr().err
    assert sorted(outside.rglob("*")) == before


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    code = "from rice_core.cli import main; main(['reference', '1'])"
    writer = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.close()
    assert b"Traceback" not in writer.stderr.read()


def test_flags_beside_a_configuration_count_and_doubles_are_measured_once(photos: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        "encoders: [noise, 'synthetic:noise']\nprobes: ['tokens?recipe=mini', {type: tokens, recipe: mini}]\n"
        f"data: {photos}\nseeds: [0, 0, 1]\n"
    )
    store = tmp_path / "store"
    assert ricebench("run", "--config", config, "--store", store, "-q") == 0
    assert sorted(record.cell.seed for record in Store(store).records()) == [0, 1]
    assert ricebench("run", "--config", config, "--limit", 20, "--seeds", "2", "--store", store, "-q") == 0
    assert sorted((r.cell.seed, r.cell.limit or 0) for r in Store(store).records()) == [(0, 0), (1, 0), (2, 20)]
