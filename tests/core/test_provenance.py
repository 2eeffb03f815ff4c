"""Which sources a number depends on."""

import importlib
import sys

import pytest

from rice_core.provenance import number_code


@pytest.fixture
def package(tmp_path, monkeypatch):
    """outer/probe.py, outer/other/probe.py, outer/other/help.py."""
    for name in ("outer", "outer/other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "probe.py").write_text("class Probe: ...\n")
    (tmp_path / "outer/other/help.py").write_text("a = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "outer"]:
        del sys.modules[name]


def _codes():
    number_code.cache_clear()
    return [number_code(importlib.import_module(f"outer{where}.probe").Probe) for where in ("", ".other")]


@pytest.mark.parametrize(
    ("edited", "stale"), [("outer/other/help.py", (False, True)), ("outer/probe.py", (True, True))]
)
def test_a_probe_depends_on_its_package_and_on_what_lies_above(package, edited, stale):
    before = _codes()
    (package / edited).write_text("class Probe: ...\nb = 2\n")
    after = _codes()
    number_code.cache_clear()
    assert tuple(a != b for a, b in zip(before, after, strict=True)) == stale
