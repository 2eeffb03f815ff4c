"""What code a number is made of: the modules that its own module imports, and those that they import, within our packages.

The closure is read off the sources, so nothing is run for it: imports at module level and inside functions count, those
under `if TYPE_CHECKING:` do not, since they are never executed. A file is hashed as its syntax tree without docstrings
and comments, so that only what can change a number changes its digest. Data files that a module names in full
(`files("rice_core") / "data" / "rf100.yaml"`, `Path(__file__).parent / "table.csv"`) belong to it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rice_core.digest import file_digest, json_digest

OURS = frozenset({"rice_core", "probes", "tracking", "mllm", "reports"})
"""Followed wherever they are imported; of other packages only those that a root lies in."""


@dataclass(frozen=True)
class _Source:
    """What one file says, with `files` as far as they are there."""

    digest: str
    outer: tuple[str, ...]
    """Names imported when the file is executed. `a.b.c` may be a module a.b.c, or c in a.b."""
    inner: tuple[str, ...]
    """Names imported inside functions."""
    files: tuple[Path, ...]


def closure(roots: Iterable[str]) -> dict[str, Path]:
    """Module (or data file, by its path in the package) -> file, of all that the modules `roots` import, themselves included.

    A package on the way to a module is executed with it, so what it imports at its module level counts; what its functions
    import counts only where the package itself is imported from, as in `from package import name`.
    """
    roots = tuple(roots)
    ours = OURS | {root.split(".")[0] for root in roots}
    found: dict[str, Path] = {}
    called: set[str] = set()
    waiting = [(root, True) for root in roots]
    while waiting:
        name, calls = waiting.pop()
        path = _file_of(name) if name.split(".")[0] in ours else None
        if path is None or (name in found and (name in called or not calls)):
            continue
        source = _read(path, name, *_stamp(path))
        if name not in found:
            found[name] = path
            found |= {f"{name}: {file.name}": file for file in source.files}
            waiting += [(target, called_) for each in source.outer for target, called_ in _targets(each)]
            waiting += [(package, False) for package in _packages(name)]
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


def _targets(name: str) -> list[tuple[str, bool]]:
    """The module that an imported name is or lies in, and whether its functions may be called by whoever imports it."""
    if _file_of(name) is not None:
        return [(name, True)]
    package, _, _ = name.rpartition(".")
    return [(package, True)] if package else []


def _packages(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


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
    return None


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
def _read(path: Path, name: str, _changed: int, _size: int) -> _Source:
    """Parse a file; its time of change and size are part of the key, so that an edited one is read again."""
    data = path.read_bytes()
    tree = ast.parse(data)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    outer, inner = _imports(tree, package)
    files = tuple(dict.fromkeys(_data_files(tree, path)))
    return _Source(_tree_digest(tree), outer, inner, files)


def _tree_digest(tree: ast.Module) -> str:
    """Over the syntax tree alone. Empty fields are left out: Python's versions differ in which of those a node has."""
    digest = hashlib.sha256()
    add = digest.update

    def visit(value: Any) -> None:
        if isinstance(value, ast.AST):
            add(f"({type(value).__name__}".encode())
            for field in value._fields:
                part = getattr(value, field, None)
                if part is None or part == []:
                    continue
                add(f" {field}=".encode())
                visit(part)
            add(b")")
        elif isinstance(value, list):
            for part in value:
                if not _idle(part):
                    visit(part)
        else:
            add(repr(value).encode(errors="surrogatepass"))

    visit(tree)
    return digest.hexdigest()


def _idle(node: Any) -> bool:
    """What changes no number: a string that stands alone (a docstring, the words under a field), and a release's name."""
    match node:
        case ast.Expr(value=ast.Constant(value=str())) | ast.Assign(targets=[ast.Name(id="__version__")]):
            return True
    return False


def _imports(tree: ast.Module, package: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Absolute names imported at module level (class bodies and branches included), and those inside functions."""
    outer: list[str] = []
    inner: list[str] = []

    def visit(node: ast.AST, found: list[str]) -> None:
        match node:
            case ast.Import(names=names):
                found += [alias.name for alias in names]
            case ast.ImportFrom():
                found += _absolute(node, package)
            case ast.Call(func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"), args=[first, *_]):
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.append(first.value)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            found = inner
        typing_only = isinstance(node, ast.If) and _is_type_checking(node.test)
        for child in node.orelse if typing_only and isinstance(node, ast.If) else ast.iter_child_nodes(node):
            visit(child, found)

    visit(tree, outer)
    return tuple(dict.fromkeys(outer)), tuple(dict.fromkeys(inner))


def _absolute(node: ast.ImportFrom, package: str) -> list[str]:
    base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    start = ".".join([*base, *([node.module] if node.module else [])])
    return [start if alias.name == "*" else f"{start}.{alias.name}" for alias in node.names]


def _is_type_checking(test: ast.expr) -> bool:
    match test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
    return False


def _data_files(tree: ast.Module, path: Path) -> Iterator[Path]:
    """Files that are named by constants alone, from a package's folder or from the module's own."""
    names = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.BinOp, ast.Call)):
            place = _place(node, path, names)
            if place is not None and place.is_file() and place.suffix != ".py":
                yield place


def _place(node: ast.expr, path: Path, names: dict[str, str]) -> Path | None:
    """The path that an expression of constants names; None for any other expression."""

    def text(part: ast.expr) -> str | None:
        if isinstance(part, ast.Name):
            return names.get(part.id)
        return part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else None

    match node:
        case ast.Call(func=ast.Name(id="Path"), args=[ast.Name(id="__file__")]):
            return path
        case ast.Call(func=ast.Name(id="files") | ast.Attribute(attr="files"), args=[given]):
            package = _file_of(text(given) or "-")
            return package and package.parent
        case ast.Call(func=ast.Name(id="Path" | "str"), args=[inner]):
            return _place(inner, path, names)
        case ast.Attribute(value=value, attr="parent"):
            place = _place(value, path, names)
            return place and place.parent
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            parts: list[str | None] = [text(right)]
            place = _place(left, path, names)
        case ast.Call(func=ast.Attribute(value=value, attr="joinpath" | "with_name" as how), args=args):
            place = _place(value, path, names)
            parts = [text(each) for each in args]
            if place is not None and how == "with_name":
                place = place.parent
        case _:
            return None
    return place.joinpath(*(part for part in parts if part)) if place is not None and all(parts) else None
