"""What is read of a source in a hurry must not miss an import, nor a file that came since."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rice_core.measure.closure import closure
from rice_core.measure.named_files import may_name_files

BLOCKS = """
import sys
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import hasty.never
else:
    import hasty.otherwise
try:
    import hasty.tried
except ImportError:
    import hasty.excepted
finally:
    import hasty.at_last
match sys.argv:
    case []:
        import hasty.matched
for _ in ():
    pass
else:
    import hasty.looped
with open("x") as file:
    class Inside:
        import hasty.of_class
        async def run(self):
            while True:
                from hasty import late
"""
FOUND = {"otherwise", "tried", "excepted", "at_last", "matched", "looped", "of_class", "late"}


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "hasty"
    folder.mkdir()
    for name in ("__init__", "never", "called", *FOUND):
        (folder / f"{name}.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "hasty"]:
        del sys.modules[name]


def test_imports_are_found_in_every_block(hasty: Path) -> None:
    (hasty / "blocks.py").write_text(BLOCKS)
    assert set(closure(["hasty.blocks"])) == {"hasty", "hasty.blocks", *(f"hasty.{name}" for name in FOUND)}
    (hasty / "blocks.py").write_text(BLOCKS + "x = [__import__('hasty.called') for _ in ()]\n")
    assert "hasty.called" in closure(["hasty.blocks"])


@pytest.mark.parametrize(
    "source",
    [
        "from importlib import import_module as load\nload('hasty.called')",
        "importlib.import_module(name='hasty.called')",
        "NAME = 'hasty.called'\nimportlib.import_module(NAME)",
        "LAZY = {'f': '.called'}\ndef __getattr__(name): return importlib.import_module(LAZY[name], __package__)",
        "for name in ('hasty.called', 'torch'): __import__(name)",
        "subprocess.run([sys.executable, '-m', 'hasty.called'])",
        "runpy.run_module('hasty.called')",
    ],
)
def test_a_module_that_a_string_names_is_found(hasty: Path, source: str) -> None:
    (hasty / "blocks.py").write_text(f"{source}\n")
    assert set(closure(["hasty.blocks"])) == {"hasty", "hasty.blocks", "hasty.called"}


def test_a_string_is_no_module_where_none_is_imported_by_name(hasty: Path) -> None:
    (hasty / "blocks.py").write_text("x = 'hasty.called'\n")
    assert "hasty.called" not in closure(["hasty.blocks"])


def test_a_module_that_came_since_is_found(hasty: Path) -> None:
    (hasty / "blocks.py").write_text("try:\n    import hasty.fresh\nexcept ImportError:\n    pass\n")
    assert "hasty.fresh" not in closure(["hasty.blocks"])
    (hasty / "fresh.py").touch()
    assert "hasty.fresh" in closure(["hasty.blocks"])


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ('files("hasty") / "table.csv"', True),
        ('resources.files ("hasty").joinpath("table.csv")', True),
        ('Path(__file__).with_name("table.csv")', True),
        ('pkgutil.get_data(__package__, "table.csv")', True),
        ('read_text("hasty", "table.csv")', True),
        ('with resources.path("hasty", "table.csv") as file: pass', True),
        ('open(f"{Path(__file__).parent}/table.csv")', True),
        ('open(os.path.dirname(__file__) + "/table.csv")', True),
        ('[Path(__file__).parent / name for name in ("table.csv", "other.csv")]', True),
        ('def read(name="table"): return Path(__file__).parent / f"{name}.csv"', True),
        ('NAMES = {1: "table.csv"}; os.path.join(os.path.dirname(__file__), NAMES[1])', True),
        ("profiles(3); files = 1", False),
    ],
)
def test_what_may_name_a_file_is_looked_at(hasty: Path, source: str, named: bool) -> None:
    (hasty / "table.csv").touch()
    (hasty / "blocks.py").write_text(f"{source}\n")
    assert may_name_files(source.encode()) is named
    assert ("hasty.blocks: table.csv" in closure(["hasty.blocks"])) is named
