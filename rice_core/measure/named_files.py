"""Files that a module names in full.

Paths made of constants, from a package's folder or from the module's own:

    files("rice_core") / "data" / "rf100.yaml"      HERE = Path(__file__).resolve().parent; HERE / "table.csv"
    os.path.join(os.path.dirname(__file__), "x")    pkgutil.get_data(__package__, "x.json")    (HERE / "tables").glob("*.csv")

Where the last part is no constant (`HERE / name`, `HERE / f"{name}.csv"`), all files count that the module's strings make of it.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

_SAME = {"Path", "PurePath", "str", "fspath", "abspath", "realpath", "normpath"}
_LONGEST = 200
_LISTS = {"glob", "rglob", "iterdir"}
_OF_PACKAGE = {"get_data", "read_text", "read_binary", "open_text", "open_binary", "path"}
"""pkgutil's and importlib.resources' functions of a package and a name."""

_BEGINNING = re.compile(rb"__file__|\b(?:files|get_data|read_text|read_binary|open_text|open_binary|path)\s*\(")
"""What every path begins with that is read here."""


def may_name_files(source: bytes) -> bool:
    """Whether it is worth a look at every expression, which takes as long as all else."""
    return _BEGINNING.search(source) is not None


def named_files(tree: ast.Module, path: Path, module: str, folder_of: Callable[[str], Path | None]) -> Iterator[Path]:
    """The files that are there, without the module's own.

    Args:
        path: the module's file. module: its name. folder_of: where a package lies.
    """
    reader = _PathReader(tree, path, module, folder_of)
    for node in ast.walk(tree):
        if not isinstance(node, (ast.BinOp, ast.Call, ast.JoinedStr)):
            continue
        place = reader.place(node)
        # A worktree has a file where a clone has a folder: it names a place on this machine, and makes no number.
        if place is not None and place.name != ".git" and place.is_file() and place != path:
            yield place
        match node:
            case (
                ast.BinOp(left=folder, op=ast.Div(), right=part)
                | ast.Call(func=ast.Attribute(attr="join"), args=[folder, part])
                | ast.Call(func=ast.Attribute(value=folder, attr="joinpath"), args=[part])
            ) if place is None:
                yield from reader.made(folder, part)
            case ast.Call(func=ast.Attribute(value=value, attr=how), args=args) if how in _LISTS:
                yield from _listed(reader.place(value), how, reader.text(args[0]) if args else None, path)


def _listed(folder: Path | None, how: str, pattern: str | None, path: Path) -> Iterator[Path]:
    """What a folder's listing may give; of folders above the module's own nothing, for there is all sorts of things."""
    if folder is None or not folder.is_dir() or folder in path.parent.parents:
        return
    found = folder.rglob(pattern or "*") if how == "rglob" else folder.glob(pattern or "*")
    yield from sorted(each for each in found if each.is_file() and each.suffix not in (".py", ".pyc"))


class _PathReader:
    """Reads paths and strings off expressions of constants, and of names that are bound to such."""

    def __init__(self, tree: ast.Module, path: Path, module: str, folder_of: Callable[[str], Path | None]) -> None:
        self._path = path
        self._folder_of = folder_of
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        self._texts = {"__name__": module, "__package__": package}
        self._places: dict[str, Path] = {"__file__": path}
        self._strings = dict.fromkeys(
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
        for node in ast.walk(tree):  # the module level comes first, and what it binds stands
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                ):
                    if (text := self.text(value)) is not None:
                        self._texts.setdefault(name, text)
                    elif (place := self.place(value)) is not None:
                        self._places.setdefault(name, place)

    def made(self, folder: ast.expr, part: ast.expr) -> Iterator[Path]:
        """The files that are there in a folder under a name that only a run knows, of those that the module's strings make."""
        place = self.place(folder)
        if place in self._path.parent.parents:
            place = None
        pieces = part.values if isinstance(part, ast.JoinedStr) else [part]
        for string in self._strings if place is not None else ():
            name = "".join(self.text(piece) or string for piece in pieces)
            found = place / name if place and len(name) <= _LONGEST and "\0" not in name else None
            if found is not None and found.suffix not in (".py", ".pyc") and found.is_file():
                yield found

    def text(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return self._texts.get(node.id)
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None

    def place(self, node: ast.expr) -> Path | None:
        """The path that an expression names; None for any other expression."""
        match node:
            case ast.Name(id=name):
                return self._places.get(name)
            case ast.Attribute(value=value, attr="parent"):
                place = self.place(value)
                return place and place.parent
            case ast.Subscript(value=ast.Attribute(value=value, attr="parents"), slice=ast.Constant(value=int(up))):
                place = self.place(value)
                return place.parents[up] if place is not None and 0 <= up < len(place.parents) else None
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return self._below(self.place(left), [right])
            case (
                ast.BinOp(left=left, op=ast.Add(), right=ast.Constant(value=str(end)))
                | ast.JoinedStr(values=[ast.FormattedValue(value=left), ast.Constant(value=str(end))])
            ):
                place = self.place(left)
                return place and Path(f"{place}{end}")
            case ast.Call(func=ast.Name(id=how) | ast.Attribute(attr=how), args=[]):
                is_path = how in ("resolve", "absolute") and isinstance(node.func, ast.Attribute)
                return self.place(node.func.value) if is_path else None  # type: ignore[attr-defined]
            case ast.Call(func=ast.Name(id=how) | ast.Attribute(attr=how), args=[first, *rest]):
                return self._called(how, node.func, first, rest)
        return None

    def _called(self, how: str, function: ast.expr, first: ast.expr, rest: list[ast.expr]) -> Path | None:
        if how == "files":
            return self._folder_of(self.text(first) or "-")
        if how in _SAME and not rest:
            return self.place(first)
        if how == "dirname":
            place = self.place(first)
            return place and place.parent
        if how in _OF_PACKAGE and rest:
            return self._below(self._folder_of(self.text(first) or "-"), rest[:1])
        if how in ("join", "Path"):  # a separator's join has no place first
            return self._below(self.place(first), rest)
        place = self.place(function.value) if isinstance(function, ast.Attribute) else None
        if how == "joinpath":
            return self._below(place, [first, *rest])
        text = self.text(first)
        if place is None or text is None or not place.name:
            return None
        return {"with_name": place.parent / text, "with_suffix": Path(os.path.splitext(place)[0] + text)}.get(how)  # noqa: PTH122 - Path.with_suffix raises

    def _below(self, place: Path | None, parts: list[ast.expr]) -> Path | None:
        texts = [self.text(part) for part in parts]
        return place.joinpath(*(text for text in texts if text)) if place is not None and all(texts) else None
