"""Which sources a number depends on: what is imported, no more and no less."""

import importlib
import shutil
import subprocess
import sys
from importlib.metadata import entry_points, packages_distributions
from pathlib import Path

import pytest

import rice_core
from rice_core.measure import closure as closures
from rice_core.measure import provenance
from rice_core.measure.closure import closure, closure_digest
from rice_core.measure.provenance import commit, feature_code, instruments, libraries, number_code, number_modules

ROOT = Path(rice_core.__file__).parents[1]
PROBE = '''"""A probe."""
from typing import TYPE_CHECKING
from outer.engine import run
if TYPE_CHECKING:
    from outer.typed import Shape

class Probe:
    """It."""
    field: int = 1
    """Of no use."""

    def lazily(self):
        """Run."""
        from .other import late
        return late.run(self.field), __import__("importlib").import_module("outer.named")  # late
'''
FILES = {
    "__init__.py": "",
    "probe.py": PROBE,
    "engine.py": "from outer.deep.model import model\nfrom pathlib import Path\n\n"
    'def run():\n    return (Path(__file__).parent / "deep" / "table.csv").read_text(), model\n',
    "deep/__init__.py": "x = 1\n\ndef unused():\n    import outer.unused\n",
    "deep/model.py": "model = 1\n",
    "deep/table.csv": "1,2\n",
    "deep/page.html": "<p>\n",
    "other/__init__.py": "",
    "other/late.py": "def run(x):\n    return x\n",
    "other/neighbour.py": "a = 1\n",
    "named.py": "a = 1\n",
    "typed.py": "class Shape: ...\n",
    "unused.py": "a = 1\n",
    "second.py": "class Probe: ...\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """outer/, whose probe imports at its top, inside a function, relatively, by a constant name, and for types alone."""
    for name, text in FILES.items():
        path = tmp_path / "outer" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "outer"
    for name in [name for name in sys.modules if name.split(".")[0] == "outer"]:
        del sys.modules[name]


def _code(name="outer.probe"):
    number_code.cache_clear()
    try:
        return number_code(importlib.import_module(name).Probe)
    finally:
        number_code.cache_clear()


@pytest.mark.parametrize(
    "imported",
    ["probe.py", "engine.py", "deep/model.py", "deep/__init__.py", "deep/table.csv", "other/late.py", "named.py"],
)
def test_an_edit_of_what_is_imported_changes_the_code_of_a_number(package, imported):
    before = _code()
    with (package / imported).open("a") as file:
        file.write("b = 2\n")
    assert _code() != before


@pytest.mark.parametrize("beside", ["deep/page.html", "other/neighbour.py", "typed.py", "unused.py", "second.py"])
def test_an_edit_of_what_is_not_imported_changes_nothing(package, beside):
    before = _code()
    with (package / beside).open("a") as file:
        file.write("b = 2\n")
    assert _code() == before
    assert package / beside not in closure(["outer.probe"]).values()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# late", "# another comment"),
        ('"""It."""', '"""Other words."""'),
        ('"""Of no use."""\n', ""),
        ('"""Run."""', '"""Run\n\n        at length."""'),
        ("    field: int = 1\n", "    field: int = (\n        1\n    )\n"),
    ],
)
def test_comments_docstrings_and_layout_change_nothing(package, old, new):
    before = _code()
    path = package / "probe.py"
    path.write_text(path.read_text().replace(old, new))
    assert path.read_text() != PROBE
    assert _code() == before


@pytest.mark.parametrize(("old", "new"), [("field: int = 1", "field: int = 2"), ("self.field", "-self.field")])
def test_a_changed_constant_or_sign_changes_it(package, old, new):
    before = _code()
    path = package / "probe.py"
    path.write_text(path.read_text().replace(old, new))
    assert _code() != before


def test_a_package_without_init_files_is_followed(tmp_path, monkeypatch):
    for name, text in {
        "llava/model.py": "a = 1\n",
        "evaluate/probe.py": "from spaced.llava import model\n\nclass Probe: ...\n",
    }.items():
        path = tmp_path / "spaced" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    before = _code("spaced.evaluate.probe")
    (tmp_path / "spaced/llava/model.py").write_text("a = 2\n")
    assert _code("spaced.evaluate.probe") != before
    for name in [name for name in sys.modules if name.split(".")[0] == "spaced"]:
        del sys.modules[name]


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Our own packages in another folder, which the closure is read from."""
    for name in ("rice_core", "probes"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(closures, "_folders", lambda top: [tmp_path / top])
    return tmp_path


DETECTION = ["probes.detection.probe", "rice_core.measure.measurer"]
KNN = ["probes.knn", "rice_core.measure.measurer"]


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        ("rice_core/ranks.py", "dist.ReduceOp.SUM", "dist.ReduceOp.MAX", (True, True)),
        ("probes/pca.py", '"""', '# a comment\n"""', (False, False)),
        ("probes/pca.py", "import numpy", "x = 1\nimport numpy", (False, False)),
        ("probes/detection/rpn.py", "import torch", "x = 1\nimport torch", (True, False)),
        ("probes/classify.py", "100.0", "99.0", (False, True)),
        ("rice_core/measure/extract.py", "SHARD_IMAGES = 64", "SHARD_IMAGES = 32", (True, True)),
        ("rice_core/progress.py", "import", "x = 1\nimport", (False, False)),
        ("rice_core/cli/run.py", "import", "x = 1\nimport", (False, False)),
        ("rice_core/catalogue.yaml", "id:", "id: x-", (False, False)),
        ("rice_core/__init__.py", '"0.1.0"', '"0.2.0"', (False, False)),
    ],
)
def test_an_edit_of_our_own_code_makes_stale_what_imports_it(copy, file, old, new, stale):
    before = closure_digest(DETECTION), closure_digest(KNN)
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new, 1) if new.endswith("import") else text.replace(old, new))
    after = closure_digest(DETECTION), closure_digest(KNN)
    assert tuple(a != b for a, b in zip(before, after, strict=True)) == stale


def test_only_the_adapter_of_the_encoder_belongs_to_its_numbers():
    knn = next(iter(entry_points(group="ricebench.probes", name="knn"))).load()
    assert len({number_code(knn), number_code(knn, "hf"), number_code(knn, "timm")}) == 3
    assert len({feature_code("hf"), feature_code("timm"), feature_code("rice")}) == 3
    files = closure(["rice_core.measure.extract", "rice_core.encoders.timm"])
    assert "rice_core.encoders.base" in files
    assert not {"rice_core.encoders.hugging_face", "rice_core.encoders.open_clip", "rice_core.catalogue"} & files.keys()


def test_another_version_of_an_instrument_is_another_number(monkeypatch):
    class Probe:
        instruments = ("pycocotools",)

    Probe.__module__ = "probes.knn"
    before = _code_of(Probe)
    assert libraries(Probe)["pycocotools"]
    monkeypatch.setattr(provenance, "version", lambda name: "9.9")
    libraries.cache_clear()
    assert _code_of(Probe) != before
    assert libraries(Probe)["pycocotools"] == "9.9"
    Probe.instruments = ()
    libraries.cache_clear()
    assert "pycocotools" not in libraries(Probe)
    assert _code_of(Probe) == _code_of(Probe)
    libraries.cache_clear()


def _code_of(probe):
    number_code.cache_clear()
    try:
        return number_code(probe)
    finally:
        number_code.cache_clear()


INERT = {"pydantic", "rich", "typer", "safetensors", "threadpoolctl", "numpy", "pillow"}
"""Values, words and files; numpy and Pillow are in every record."""


@pytest.mark.parametrize("point", entry_points(group="ricebench.probes"), ids=lambda point: point.name)
def test_a_probe_names_every_library_that_its_own_package_computes_with(point):
    known = packages_distributions()
    used = set()
    for name, path in closure([point.module]).items():
        if name.split(".")[0] == point.module.split(".")[0] and path.suffix == ".py":
            source = closures._read(path, name, *closures._stamp(path))
            used |= {each.split(".")[0] for each in (*source.outer, *source.inner)}
    foreign = {known[top][0].lower() for top in used if top in known and top not in closures.OURS}
    named = {name.lower().replace("_", "-") for name in instruments(point.load())}
    assert {name.replace("_", "-") for name in foreign} - INERT <= named


def test_a_training_names_the_library_whose_loop_it_runs_on():
    from probes.detection.training import DetectorTraining

    assert "mmengine" in libraries(DetectorTraining)


def test_a_tracker_is_made_of_what_trains_it_and_not_of_what_judges_it():
    from tracking.training import TrackerTraining

    files = closure(number_modules(TrackerTraining, training=True))
    assert {
        "tracking.training",
        "tracking.learner",
        "tracking.pairs",
        "tracking.center",
        "tracking.losses",
    } <= files.keys()
    assert not {"tracking.track", "tracking.tracker", "tracking.curves", "tracking.dialects"} & files.keys()


def test_a_number_is_tainted_by_the_files_that_it_is_made_of_alone(tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    for name in ("rice_core", "probes"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__", "data"))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(checkout)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "a"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(closures, "_folders", lambda top: [checkout / top])
    monkeypatch.setattr(provenance, "_checkout", lambda: checkout)

    def dirty():
        for each in (commit, provenance._changed):
            each.cache_clear()
        return commit(number_modules(importlib.import_module("probes.knn").Knn, "timm"))[1]

    assert dirty() is False
    for file in ("rice_core/cli/look.py", "probes/tokens.py", "rice_core/encoders/rice.py"):
        (checkout / file).write_text("x = 1\n")
    (checkout / "probes/new.py").write_text("x = 1\n")
    assert dirty() is False
    (checkout / "rice_core/encoders/timm.py").write_text("x = 1\n")
    assert dirty() is True
    commit.cache_clear()
    provenance._changed.cache_clear()


def test_where_a_checkout_keeps_its_history_is_no_part_of_a_number(tmp_path, monkeypatch) -> None:
    """In a worktree `.git` is a file: the same sources would have another digest than in a clone."""
    package = tmp_path / "in_a_worktree"
    package.mkdir()
    (package / "__init__.py").write_text(
        'from pathlib import Path\nHERE = Path(__file__).parent\nROOT, TABLE = HERE / ".git", HERE / "table.csv"\n'
    )
    (package / ".git").write_text("gitdir: elsewhere\n")
    (package / "table.csv").write_text("1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert [path.name for path in closure(["in_a_worktree"]).values()] == ["__init__.py", "table.csv"]
