"""The modules that a module imports, read off its syntax tree: names that may be a module's, or of something in one."""

from __future__ import annotations

import ast
import re

_BY_NAME = re.compile(rb"import_module|__import__|run_module|[\"']-m[\"']")
_MODULE = re.compile(r"\.*[^\W\d]\w*(\.[^\W\d]\w*)*")
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
"""Where a statement has others. The first is what an `if TYPE_CHECKING:` never runs."""


def named_modules(tree: ast.Module, package: str, source: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Absolute names imported at module level (class bodies and branches included), and those inside functions.

    Where a module is imported by a string at all, every string that could be a module's name counts as imported, since such
    names are made in many ways (`import_module(TABLE[key])`).

    Args:
        package: that the module lies in, or is. source: what the tree was parsed from.
    """
    # Statements alone are looked at in a tenth of the time.
    statements = _BY_NAME.search(source) is None or not any(map(_imports_by_name, ast.walk(tree)))
    outer: list[str] = []
    inner: list[str] = []

    def visit(node: ast.AST, found: list[str]) -> None:
        match node:
            case ast.Import(names=names):
                # `import a.b` binds a, whose functions may be called too.
                found += [name for each in names for name in (each.name, *([] if each.asname else packages(each.name)))]
            case ast.ImportFrom():
                found += _absolute(node, package)
            case ast.Constant(value=str(name)) if _MODULE.fullmatch(name):
                level = len(name) - len(name.lstrip("."))
                found.append(".".join([*_base(package, level), name[level:]]))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            found = inner
        typing_only = isinstance(node, ast.If) and _is_type_checking(node.test)
        if typing_only or statements:
            children = [child for block in _BLOCKS[typing_only:] for child in getattr(node, block, ())]
        else:
            children = list(ast.iter_child_nodes(node))
        for child in children:
            visit(child, found)

    visit(tree, outer)
    return tuple(dict.fromkeys(outer)), tuple(dict.fromkeys(inner))


def _imports_by_name(node: ast.AST) -> bool:
    """Whether a module is imported, or started, by a name that is a string."""
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name) | ast.alias(name=name):
            return name in ("import_module", "__import__", "run_module")
        case ast.List(elts=words):
            return any(isinstance(word, ast.Constant) and word.value == "-m" for word in words)
    return False


def _absolute(node: ast.ImportFrom, package: str) -> list[str]:
    start = ".".join([*_base(package, node.level), *([node.module] if node.module else [])])
    return [f"{start}.{alias.name}" for alias in node.names]


def _base(package: str, level: int) -> list[str]:
    """The names of the package that an import of `level` dots starts from."""
    parts = package.split(".")
    return parts[: len(parts) - level + 1] if level else []


def _is_type_checking(test: ast.expr) -> bool:
    match test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
    return False


def packages(name: str) -> list[str]:
    """Those that a module lies in, the outermost first."""
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]
