"""What code a number is made of: the modules that its own module imports, and those that they import, within our packages.

The closure is read off the sources, so nothing is run for it: imports at module level and inside functions count, those
under `if TYPE_CHECKING:` do not, since they are never executed. A file is hashed as its syntax tree without docstrings
and comments, so that only what can change a number changes its digest. Data files that a module names in full
(`files("rice_core") / "data" / "rf100.yaml"`, `Path(__file__).parent / "table.csv"`) belong to it (rice_core.measure.named_files).
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from rice_core.digest import file_digest, json_digest
from rice_core.errors import UserError
from rice_core.measure.named_files import may_name_files, named_files
from rice_core.measure.named_modules import named_modules, packages

OURS = frozenset({"rice_core", "probes", "tracking", "mllm", "reports"})
"""Followed wherever they are imported; of other packages those that a root lies in, or that lie in one folder with it or in it."""
_INSTALLED = frozenset({"site-packages", "dist-packages"})
"""Folders whose packages are neighbours by accident: their versions are what is recorded of them."""


@dataclass(frozen=True)
class _ParsedFile:
    """What one file says, with `files` as far as they are there."""

    digest: str
    outer: tuple[str, ...]
    """Names imported when the file is executed. `a.b.c` may be a module a.b.c, or c in a.b."""
    inner: tuple[str, ...]
    """Names imported inside functions."""
    exported: tuple[str, ...]
    """`__all__`, whose modules `import *` imports."""
    files: tuple[Path, ...]


def closure(roots: Iterable[str]) -> dict[str, Path]:
    """Module (or data file, by its path in the package) -> file, of all that the modules `roots` import, themselves included.

    A package on the way to a module is executed with it, so what it imports at its module level counts; what its functions
    import counts only where the package itself is imported from, as in `from package import name`.

    Raises:
        UserError: a root has no file, as a class of an interactive session: then nobody can say what its number is made of.
    """
    _file_of.cache_clear()  # files may have come and gone since
    roots = tuple(roots)
    for root in roots:
        if _file_of(root) is None:
            raise UserError(
                f"The source of {root} cannot be found, so that its numbers could never be told from those of a changed one; "
                "put it into a file."
            )
    tops = {root.split(".")[0] for root in roots}
    ours = OURS | tops
    homes = {_home(top) for top in tops} | {folder for top in tops for folder in _folders(top)}
    found: dict[str, Path] = {}
    called: set[str] = set()
    waiting = [(root, True) for root in roots]
    while waiting:
        name, calls = waiting.pop()
        top = name.split(".")[0]
        followed = top in ours or ((home := _home(top)) is not None and home in homes and home.name not in _INSTALLED)
        path = _file_of(name) if followed else None
        if path is None or (name in found and (name in called or not calls)):
            continue
        source = _read(path, name, *_stamp(path))
        if name not in found:
            found[name] = path
            found |= {f"{name}: {Path(os.path.relpath(file, path.parent)).as_posix()}": file for file in source.files}
            waiting += [(target, called_) for each in source.outer for target, called_ in _targets(each)]
            waiting += [(package, False) for package in packages(name)]
        if calls:
            called.add(name)
            waiting += [(target, called_) for each in source.inner for target, called_ in _targets(each)]
    return dict(sorted(found.items()))


def closure_digest(roots: Iterable[str]) -> str:
    """sha256 over the closure: module names with their syntax trees, data files with their bytes."""
    return json_digest(
        {
            name: _read(path, name, *_stamp(path)).digest if path.suffix == ".py" else file_digest(path)
            for name, path in closure(roots).items()
        }
    )


def digest_as_loaded(name: str, shown: object) -> str:
    """`closure_digest` of a module that a user has loaded, where it is still what was loaded: that is what runs.

    Raises:
        UserError: it, or what it imports, has been edited since this was first asked.
    """
    digest = closure_digest([name])
    if vars(sys.modules[name]).setdefault("__closure_when_loaded__", digest) != digest:
        raise UserError(f"{shown}, or what it imports, has changed since it was loaded; start Python again.")
    return digest


def _targets(name: str) -> list[tuple[str, bool]]:
    """The modules that an imported name is or lies in, and whether their functions may be called by whoever imports it."""
    package, _, last = name.rpartition(".")
    if last == "*" and (path := _file_of(package)) is not None:
        exported = _read(path, package, *_stamp(path)).exported
        return [(package, True), *((f"{package}.{each}", True) for each in exported)]
    if _file_of(name) is not None:
        return [(name, True)]
    return [(package, True)] if package else []


@cache
def _file_of(name: str) -> Path | None:
    """The file of a module, found without importing it; None where there is none, as for a namespace package."""
    top, *rest = name.split(".")
    folders = _folders(top)
    if not rest:
        inits = [folder / "__init__.py" for folder in folders]
        return next((path for path in (*inits, *_single(top)) if path.is_file()), None)
    for folder in folders:
        stem = folder.joinpath(*rest)
        for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")):
            if path.is_file():
                return path
    # Loaded from where no import would find it, as pytest loads the tests.
    file = getattr(sys.modules.get(name), "__file__", None)
    return Path(file) if file and file.endswith(".py") else None


def _home(top: str) -> Path | None:
    """The folder that a top-level package or module lies in; None for what has no file."""
    file = _file_of(top)
    if file is None:
        return next((folder.parent for folder in _folders(top)), None)
    return file.parent.parent if file.name == "__init__.py" else file.parent


def _folders(top: str) -> list[Path]:
    """Where a top-level package lies."""
    loaded = sys.modules.get(top)
    if loaded is not None:
        return [Path(folder) for folder in getattr(loaded, "__path__", ())]
    spec = importlib.util.find_spec(top)
    return [Path(folder) for folder in (spec.submodule_search_locations if spec else None) or ()]


def _single(top: str) -> list[Path]:
    """The file of a top-level module that is no package."""
    loaded = sys.modules.get(top)
    if loaded is not None:
        file = getattr(loaded, "__file__", None)
        return [Path(file)] if file else []
    spec = importlib.util.find_spec(top)
    return [Path(spec.origin)] if spec and spec.has_location and spec.origin else []


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4096)
def _read(path: Path, name: str, _changed: int, _size: int) -> _ParsedFile:
    """Parse a file; its time of change and size are part of the key, so that an edited one is read again."""
    data = path.read_bytes()
    tree = ast.parse(data)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    outer, inner = named_modules(tree, package, data)
    files = tuple(dict.fromkeys(named_files(tree, path, name, _package_folder))) if may_name_files(data) else ()
    return _ParsedFile(_tree_digest(tree), outer, inner, _exported(tree), files)


def _package_folder(name: str) -> Path | None:
    path = _file_of(name)
    return path and path.parent


def _exported(tree: ast.Module) -> tuple[str, ...]:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=names) | ast.Tuple(elts=names)):
                return tuple(n.value for n in names if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return ()


def _tree_digest(tree: ast.Module) -> str:
    """Over the syntax tree alone. Empty fields are left out: Python's versions differ in which of those a node has."""
    said: list[str] = []
    add = said.append

    def visit(value: Any) -> None:
        if isinstance(value, ast.AST):
            add(f"({type(value).__name__}")
            for field in value._fields:
                part = None if field == "ctx" else getattr(value, field, None)  # load or store: its place says which
                if part is None or part == []:
                    continue
                add(f" {field}=")
                visit(part)
            add(")")
        elif isinstance(value, list):
            for part in value:
                if not _idle(part):
                    visit(part)
        else:
            add(repr(value))

    visit(tree)
    return hashlib.sha256("".join(said).encode(errors="surrogatepass")).hexdigest()


def _idle(node: Any) -> bool:
    """What changes no number: a string that stands alone (a docstring, the words under a field), and a release's name."""
    match node:
        case ast.Expr(value=ast.Constant(value=str())) | ast.Assign(targets=[ast.Name(id="__version__")]):
            return True
    return False
