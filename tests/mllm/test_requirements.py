"""What the scorers of lmms-eval import and is not installed here is named: read off their sources, nothing is imported."""

from __future__ import annotations

import ast
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mllm.evaluate.columns import BENCHMARKS
from mllm.evaluate.local_task import built_in_yaml
from mllm.evaluate.requirements import requirements_of

if find_spec("lmms_eval") is None:
    pytest.skip('lmms-eval is not installed: pip install "ricebench[mllm]"', allow_module_level=True)


def modules_of(task: str) -> set[str]:
    """Top-level names of all that a task's own code imports, by way of other code of lmms-eval's tasks too."""
    yaml = built_in_yaml(task)
    texts = [path.read_text() for path in (yaml, *yaml.parent.glob("_default*"), *yaml.parent.glob("*template*"))]
    named = {word.split(".")[0] for text in texts for word in text.split("!function ")[1:]}
    waiting = [yaml.parent / f"{name.strip()}.py" for name in named]
    seen: set[Path] = set()
    found: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        for name in _imported(ast.parse(path.read_text())):
            if name.startswith("lmms_eval.tasks."):
                waiting.append(yaml.parents[2].joinpath(*name.split(".")[1:]).with_suffix(".py"))
            found.add(name.split(".")[0])
    assert seen
    return found - set(sys.stdlib_module_names)


def _imported(tree: ast.Module) -> set[str]:
    """At module level: what is imported inside a function may do without."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


@pytest.mark.parametrize("task", BENCHMARKS)
def test_what_is_missing_is_named(task: str) -> None:
    missing = {name for name in modules_of(task) if find_spec(name) is None}
    named = requirements_of(task)
    assert {name.lower() for name in missing} <= set(named)
    if task != "ocrbench_v2":
        assert named == ()


def test_ocrbench_v2_needs_more_than_lmms_eval_brings() -> None:
    assert {"jieba", "apted", "distance", "editdistance", "Levenshtein", "nltk", "zss"} <= modules_of("ocrbench_v2")
