"""What the scorer of a task needs beside lmms-eval, named before anything is trained."""

from __future__ import annotations

from importlib.util import find_spec

from rice_core.errors import MissingExtra, UserError

_PACKAGES = {
    "ocrbench_v2": {
        "jieba": "jieba",
        "apted": "apted",
        "distance": "distance",
        "editdistance": "editdistance",
        "Levenshtein": "levenshtein",
        "lxml": "lxml",
        "nltk": "nltk",
        "zss": "zss",
    }
}
"""By task: module -> what pip calls it. lmms-eval itself asks for none of them, and ends where one is missing when all is answered."""
_WORDNET = "nltk's wordnet"


def requirements_of(task: str) -> tuple[str, ...]:
    """What is missing for a task: names of packages as pip has them, and of data. Nothing is imported but where data is looked for.

    Raises:
        MissingExtra: lmms-eval itself is not installed.
    """
    if find_spec("lmms_eval") is None:
        raise MissingExtra(f"to judge {task}", "mllm")
    packages = _PACKAGES.get(task, {})
    missing = [name for module, name in packages.items() if find_spec(module) is None]
    if packages and "nltk" not in missing and not _has_wordnet():
        missing.append(_WORDNET)
    return tuple(missing)


def check_requirements(task: str) -> None:
    """
    Raises:
        UserError: something is missing; the sentence says what to run.
    """
    missing = requirements_of(task)
    if not missing:
        return
    packages = [each for each in missing if each != _WORDNET]
    commands = [f"pip install {' '.join(packages)}"] if packages else []
    if _WORDNET in missing or "nltk" in missing:
        commands.append("python -m nltk.downloader wordnet")
    raise UserError(f"lmms-eval's scorer of {task} needs {', '.join(missing)}; run: {' && '.join(commands)}")


def _has_wordnet() -> bool:
    import nltk

    try:
        nltk.data.find("corpora/wordnet.zip")
    except LookupError:
        return False
    return True
