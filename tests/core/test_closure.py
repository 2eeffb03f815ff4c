"""The ways in which a module can import another and name a file: each belongs to its closure."""

import importlib.util
import sys
from pathlib import Path

import pytest

from rice_core.closure import closure_digest
from rice_core.errors import UserError
from rice_core.provenance import _roots


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Files of a folder that is on the path; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def written(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    yield written
    for name in set(sys.modules) - before:
        del sys.modules[name]


def _edited(path: Path, text: str = "b = 2\n") -> None:
    with path.open("a") as file:
        file.write(text)


IMPORTS = {
    "as": "import parcel.deep.part as p\n",
    "plain": "import parcel.deep.part\n",
    "from": "from parcel.deep import part\n",
    "relative": "from .deep import part\n",
    "relative to nothing": "from . import deep\nfrom .deep.part import x\n",
    "star": "from parcel.deep.part import *\n",
    "star over __all__": "from parcel.deep import *\n",
    "through a package": "from parcel.front import x\n",
    "tried": "try:\n    import parcel.deep.part\nexcept ImportError:\n    x = 0\n",
    "where it is not for types": "import typing\nif typing.TYPE_CHECKING:\n    x = 0\nelse:\n    from parcel.deep import part\n",
    "in a branch": "import sys\nif sys.platform:\n    pass\nelif True:\n    from parcel.deep import part\n",
    "in a class": "class A:\n    from parcel.deep import part\n",
    "by name": "import importlib\np = importlib.import_module('parcel.deep.part')\n",
    "by name, relatively": "from importlib import import_module\np = import_module('.deep.part', __package__)\n",
    "by __import__": "p = __import__('parcel.deep.part')\n",
    "by a function of a package that is bound": "import parcel.late.other\n\ndef f():\n    return parcel.late.load()\n",
}


@pytest.mark.parametrize("how", IMPORTS)
def test_every_way_to_import_counts(write, how):
    folder = write(
        {
            "parcel/__init__.py": "",
            "parcel/probe.py": IMPORTS[how],
            "parcel/deep/__init__.py": "__all__ = ['part']\n",
            "parcel/deep/part.py": "x = 1\n",
            "parcel/deep/neighbour.py": "x = 1\n",
            "parcel/front/__init__.py": "from ..deep.part import x\n",
            "parcel/late/__init__.py": "def load():\n    from parcel.deep import part\n    return part\n",
            "parcel/late/other.py": "x = 1\n",
        }
    )
    before = closure_digest(["parcel.probe"])
    _edited(folder / "parcel/deep/neighbour.py")
    assert closure_digest(["parcel.probe"]) == before
    _edited(folder / "parcel/deep/part.py")
    assert closure_digest(["parcel.probe"]) != before


NAMED = {
    "parent": "from pathlib import Path\nt = (Path(__file__).parent / 'tables' / 'a.csv').read_text()\n",
    "resolved": "from pathlib import Path\nt = (Path(__file__).resolve().parent / 'tables/a.csv').read_text()\n",
    "parents": "from pathlib import Path\nt = (Path(__file__).parents[0] / 'tables/a.csv').read_text()\n",
    "a constant": "from pathlib import Path\nHERE = Path(__file__).parent\nTABLE = HERE / 'tables' / 'a.csv'\n",
    "a typed constant": "from pathlib import Path\nHERE: Path = Path(__file__).parent\nN: str = 'a.csv'\nT = HERE / 'tables' / N\n",
    "os.path": "import os\nt = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'tables', 'a.csv'))\n",
    "joinpath": "from importlib import resources\nt = resources.files(__package__).joinpath('tables', 'a.csv')\n",
    "get_data": "import pkgutil\nt = pkgutil.get_data('store_of', 'tables/a.csv')\n",
    "a suffix": "from pathlib import Path\nt = Path(__file__).with_name('tables') / 'a.txt'\nu = t.with_suffix('.csv')\n",
    "a listing": "from pathlib import Path\nts = sorted((Path(__file__).parent / 'tables').glob('*.csv'))\n",
}


@pytest.mark.parametrize("how", NAMED)
def test_every_way_to_name_a_data_file_counts(write, how):
    files = {"store_of/__init__.py": "", "store_of/probe.py": NAMED[how], "store_of/tables/b.json": "1"}
    folder = write(files | {"store_of/tables/a.csv": "1\n"})
    before = closure_digest(["store_of.probe"])
    _edited(folder / "store_of/tables/b.json", "2")
    assert closure_digest(["store_of.probe"]) == before
    _edited(folder / "store_of/tables/a.csv", "2\n")
    assert closure_digest(["store_of.probe"]) != before


def test_two_data_files_of_one_name_both_count(write):
    text = "from pathlib import Path\nH = Path(__file__).parent\nx = H / 'one' / 'a.csv'\ny = H / 'two' / 'a.csv'\n"
    folder = write({"twice/__init__.py": text, "twice/one/a.csv": "1\n", "twice/two/a.csv": "1\n"})
    digests = {closure_digest(["twice"])}
    for place in ("one", "two"):
        _edited(folder / "twice" / place / "a.csv", "2\n")
        digests.add(closure_digest(["twice"]))
    assert len(digests) == 3


def test_a_probe_in_a_single_file_has_the_modules_beside_it(write):
    files = {"lonely.py": "import helping\nfrom aside.model import x\n", "helping.py": "x = 1\n", "apart.py": "x = 1\n"}
    folder = write(files | {"aside/model.py": "x = 1\n"})
    digests = [closure_digest(["lonely"])]
    for name in ("apart.py", "helping.py", "aside/model.py"):
        _edited(folder / name)
        digests.append(closure_digest(["lonely"]))
    assert digests[0] == digests[1]
    assert len(set(digests[1:])) == 3


def test_a_package_whose_own_folder_is_on_the_path_too_is_followed(write, monkeypatch):
    """As LLaVA's code is run: its modules name each other without the package around them."""
    folder = write(
        {"spoken/evaluate/probe.py": "from llava_like.model import x\n", "spoken/llava_like/model.py": "x = 1\n"}
    )
    monkeypatch.syspath_prepend(folder / "spoken")
    before = closure_digest(["spoken.evaluate.probe"])
    _edited(folder / "spoken/llava_like/model.py")
    assert closure_digest(["spoken.evaluate.probe"]) != before


def test_what_is_installed_beside_a_probe_is_known_by_its_version_alone(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "plugged.py").write_text("import foreign\n")
    (folder / "foreign.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(folder)
    before = closure_digest(["plugged"])
    _edited(folder / "foreign.py")
    assert closure_digest(["plugged"]) == before
    _edited(folder / "plugged.py")
    assert closure_digest(["plugged"]) != before


def test_a_module_that_was_loaded_from_anywhere_is_found(tmp_path, monkeypatch):
    path = tmp_path / "test_of_mine.py"
    path.write_text("class Probe: ...\n")
    spec = importlib.util.spec_from_file_location("tests.mine.test_of_mine", path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "tests.mine.test_of_mine", module)
    before = closure_digest(["tests.mine.test_of_mine"])
    _edited(path)
    assert closure_digest(["tests.mine.test_of_mine"]) != before


def test_a_probe_without_a_source_is_refused(monkeypatch):
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    with pytest.raises(UserError, match=r"The source of __main__ cannot be found.*put it into a file"):
        closure_digest(["__main__", "rice_core.digest"])


def test_what_the_other_ranks_run_belongs_to_what_is_trained_over_ranks():
    class Trained:
        trains = True

    class Feature:
        trains = False

    assert "rice_core.follow" in _roots(Trained, "hf")
    assert "rice_core.follow" not in _roots(Feature, "hf")
