"""`-p FILE.py:Name`: a probe that nobody installed, whose numbers are known by its file and all that it imports."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports import Bench
from rice_core.cli.options import split_list
from rice_core.errors import UserError
from rice_core.measure.config import build_probe, load_config
from rice_core.measure.provenance import number_code
from rice_core.spec import ProbeRequest
from rice_core.store import Store

PROBE = '''
from filed_help import factor
from rice_core.light import dense, metric, probe

@probe("filed", reads=[dense("val", most="images")], metric=metric("mean", "neither"))
def filed(work, *, images: int = 4):
    """Mean of all pixels."""
    for image in work.images("val", most=images):
        yield image, factor() * float(image.pixels_HW3.mean())

def plain(work):
    yield "a", 1.0

class Empty:
    name = "empty"
'''


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "filed_probe.py").write_text(PROBE)
    (tmp_path / "filed_help.py").write_text("def factor():\n    return 2\n")
    before = list(sys.path)
    yield tmp_path
    sys.path[:] = before
    for name in [name for name in sys.modules if name.startswith("filed")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def build(text: str) -> object:
    return build_probe(ProbeRequest.parse(text), files=True)


def test_a_file_gives_a_probe_with_typed_parameters(folder: Path) -> None:
    probe = build(f"{folder}/filed_probe.py:filed?images=7")
    assert probe.spec.shorthand == "filed?images=7"
    with pytest.raises(UserError, match=r"filed_probe\.py:filed has no parameter 'imges'; did you mean images\?"):
        build(f"{folder}/filed_probe.py:filed?imges=7")
    assert split_list(["knn,./a.py:P?k=1,../b.py:P,~/c.py:P,/d.py:P,linear?mean=1,.5"]) == [
        *("knn", "./a.py:P?k=1", "../b.py:P", "~/c.py:P", "/d.py:P", "linear?mean=1,.5"),
    ]


def test_its_code_is_the_file_and_what_it_imports(folder: Path) -> None:
    before = number_code(type(build(f"{folder}/filed_probe.py:filed")))
    (folder / "filed_help.py").write_text("def factor():\n    return 3\n")
    with pytest.raises(UserError, match="has changed since it was loaded; start Python again"):
        build(f"{folder}/filed_probe.py:filed")
    for name in ("filed_probe", "filed_help"):
        del sys.modules[name]
    assert number_code(type(build(f"{folder}/filed_probe.py:filed"))) != before


def test_a_file_of_a_package_may_import_its_siblings(tmp_path: Path, folder: Path) -> None:
    package = tmp_path / "filed_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "inside.py").write_text(PROBE.replace("from filed_help", "from .filed_near"))
    (package / "filed_near.py").write_text("def factor():\n    return 2\n")
    kind = type(build(f"{package}/inside.py:filed"))
    assert kind.__module__ == "filed_package.inside"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nowhere.py:Probe", r"There is no file .*nowhere\.py.*check the path"),
        ("filed_probe.py:fild", r"has no 'fild'; did you mean filed\?"),
        ("filed_probe.py", r"Say which probe of .*filed_probe\.py: .*filed_probe\.py:filed\."),
        ("filed_probe.py:plain", r"plain is no probe; write @probe"),
        ("filed_probe.py:Empty", r"Empty is no probe \(it has no version, "),
        ("filed_broken.py:Probe", r"cannot be loaded \(NameError: name 'nothing' is not defined, line 2\)"),
        ("filed_typo.py:Probe", r"cannot be loaded \(SyntaxError: .*line 1\)"),
        ("json.py:Probe", "called as another module of Python's, json; rename the file"),
        ("filed_knn.py:filed", "is called 'knn', as an installed probe is"),
        ("filed_odd.py:filed", "is called 'a/b c', which no --data or --rerun could name; write letters"),
    ],
)
def test_each_mistake_has_its_sentence(folder: Path, text: str, says: str) -> None:
    (folder / "filed_broken.py").write_text("import os\nnothing\n")
    (folder / "filed_typo.py").write_text("def (:\n")
    (folder / "json.py").write_text("x = 1\n")
    (folder / "filed_knn.py").write_text(PROBE.replace('"filed"', '"knn"'))
    (folder / "filed_odd.py").write_text(PROBE.replace('"filed"', '"a/b c"'))
    with pytest.raises(UserError, match=says):
        build(f"{folder}/{text}")


SLIPS = """
from dataclasses import dataclass
from typing import ClassVar
from rice_core.light import LightProbe
from rice_core.probe import Read

class Plain(LightProbe):
    name: ClassVar[str] = "plain"
    k: int = 3
    def run(self, encoder, *, seed, work): pass

@dataclass(frozen=True)
class Reads(LightProbe):
    name: ClassVar[str] = "reads"
    reads = Read("val", "dense")
    def run(self, encoder, *, seed, work): pass

@dataclass(frozen=True)
class Listed(LightProbe):
    name: ClassVar[str] = "listed"
    ks: tuple[int, ...] = (1, 2)
    def run(self, encoder, *, seed, work): pass

@dataclass(frozen=True)
class Silent(LightProbe):
    name: ClassVar[str] = "silent"
    def run(self, encoder, *, seed, work): pass

@dataclass(frozen=True)
class Staged(LightProbe):
    name: ClassVar[str] = "staged"
    def stages(self, dataset): return 3
    def run(self, encoder, *, seed, work): pass
"""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Plain", r"Plain: k is no parameter of Plain; write @dataclass\(frozen=True\) above it"),
        ("Reads", r"Reads cannot say what it is or reads: TypeError: 'Read' object is not iterable; mend"),
        ("Listed", r"Listed cannot say what it is or reads: ValidationError: .*ks"),
    ],
)
def test_a_slip_of_a_class_is_told_before_anything_is_measured(folder: Path, name: str, says: str) -> None:
    (folder / "filed_slips.py").write_text(SLIPS)
    with pytest.raises(UserError, match=says):
        build(f"{folder}/filed_slips.py:{name}")


def test_a_slip_in_a_run_costs_its_own_cell_alone(folder: Path, small_world: Path, tmp_path: Path) -> None:
    (folder / "filed_slips.py").write_text(SLIPS)
    silent = f"{folder}/filed_slips.py:Silent"
    bench = Bench(tmp_path / "store")
    with pytest.warns(UserWarning, match="1 cell of 2 failed"):
        summary = bench.run(["noise"], [silent, "knn?k=3"], str(small_world), device="cpu")
    assert [record.status for record in summary.records] == ["failed", "done"]
    assert summary.records[0].error == "silent returns a NoneType and no Outcome; mend its run."
    with pytest.raises(UserError, match="staged cannot say its stages: TypeError"):
        bench.run(["noise"], [silent.replace("Silent", "Staged")], str(small_world), device="cpu")


def test_a_configuration_runs_no_code(folder: Path) -> None:
    asked = f"{folder}/filed_probe.py:filed"
    with pytest.raises(UserError, match="There is no probe"):
        build_probe(ProbeRequest.parse(asked))
    for probe in (asked, f"{{type: '{asked}'}}"):
        path = folder / "run.yaml"
        path.write_text(f"encoders: [noise]\nprobes: [{probe}]\ndata: mini\n")
        with pytest.raises(UserError, match="a configuration runs no code; name it with -p"):
            load_config(path)
    assert "filed_probe" not in sys.modules


def test_the_command_line_runs_it_and_knows_it_again(folder: Path, small_world: Path) -> None:
    def run() -> str:
        words = ("run", "-e", "synthetic:noise", "-p", "filed_probe.py:filed?images=5", "--data", str(small_world))
        done = subprocess.run(
            [sys.executable, "-m", "rice_core.cli", *words, "--store", "store"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert "1 done" in run()
    assert "1 reused" in run()
    (folder / "filed_help.py").write_text("def factor():\n    return 4\n")
    (record,) = Store(folder / "store").records()
    assert "1 done" in run()
    (again,) = Store(folder / "store").records()
    assert again.metrics[0].value == 2 * record.metrics[0].value
    assert str(folder) not in again.model_dump_json()
