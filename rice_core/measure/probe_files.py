"""A probe from a file, `-p FILE.py:Name`: no entry point, no installation.

The file is imported as Python would import it, with the files beside it behind all that is installed, and so its closure
(rice_core.measure.closure) is what its numbers are made of, wherever it lies.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Collection
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rice_core.disk.paths import at_home
from rice_core.errors import UserError, did_you_mean
from rice_core.measure.closure import digest_as_loaded

_FILE = re.compile(r"(?P<file>.+\.py)(?::(?P<name>.*))?", re.DOTALL)
_NAME = re.compile(r"\w[\w.-]*")
_PARTS = ("name", "version", "summary", "needs", "data", "spec", "reads", "run")


def names_a_file(text: str) -> bool:
    """Whether a probe is asked for by its file."""
    return _FILE.fullmatch(text) is not None


def probe_of_file(text: str, installed: Collection[str]) -> type[Any]:
    """The class behind `FILE.py:Name`.

    Args:
        installed: names of probes that it must not bear: their cells would be its own.

    Raises:
        UserError: there is no such file or name, the file fails or has changed since this process loaded it, its name or its
            probe's is taken, or what is there is no probe.
    """
    found = _FILE.fullmatch(text)
    assert found is not None  # names_a_file
    path, called = at_home(found["file"]), found["name"]
    if not path.is_file():
        raise UserError(f"There is no file {path}, which {text} names; check the path.")
    module = _loaded(path.resolve(), path)
    probes = [name for name, value in vars(module).items() if _is_probe(value) and value.__module__ == module.__name__]
    if not called or not hasattr(module, called):
        has = f"{path}:{' or :'.join(probes)}" if probes else "there is no probe in it"
        near = did_you_mean(called or "", probes)
        raise UserError(f"{path} has no {called!r}; {near}{has}." if called else f"Say which probe of {path}: {has}.")
    kind = getattr(module, called)
    if not _is_probe(kind):
        lacks = [part for part in _PARTS if not hasattr(kind, part)] if isinstance(kind, type) else []
        why = f" (it has no {', '.join(lacks)})" if lacks else ""
        raise UserError(
            f"{text} is no probe{why}; write @probe(...) of rice_core.light over a function, or a frozen dataclass on its LightProbe."
        )
    if kind.name in installed:
        raise UserError(f"{text} is called {kind.name!r}, as an installed probe is; give it another name.")
    if not _NAME.fullmatch(kind.name):
        raise UserError(
            f"{text} is called {kind.name!r}, which no --data or --rerun could name; write letters, digits, - and _ alone."
        )
    return kind  # type: ignore[no-any-return]


def _is_probe(value: object) -> bool:
    return isinstance(value, type) and is_dataclass(value) and all(hasattr(value, part) for part in _PARTS)


def _loaded(path: Path, shown: Path) -> ModuleType:
    name, folder = _module_of(path)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last: a neighbour that is called like a library must not stand in for it
    try:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None or Path(spec.origin).resolve() != path:
            raise UserError(f"{shown} is called as another module of Python's, {name}; rename the file.")
        module = importlib.import_module(name)
    except UserError:
        raise
    except Exception as error:
        line = next(
            (f.lineno for f in traceback.extract_tb(error.__traceback__)[::-1] if f.filename == str(path)), None
        )
        where = f", line {line or getattr(error, 'lineno', None)}"
        said = f"{type(error).__name__}: {error}".replace(str(path), path.name)
        raise UserError(f"{shown} cannot be loaded ({said}{where}); mend it.") from error
    digest_as_loaded(name, shown)  # a number of what was loaded must not be kept as one of the edited file
    return module


def _module_of(path: Path) -> tuple[str, Path]:
    """The name by which Python imports a file, and the folder it has to look in: above the package that the file is in."""
    names, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return ".".join(names), folder
