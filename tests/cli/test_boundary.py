"""Whatever escapes a command is one sentence with the next step, and a traceback where --debug asks for it."""

import ast
import errno
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rice_core
from rice_core.cli import main
from rice_core.cli.boundary import FAULT, USAGE, explained
from rice_core.echo import echo, visible
from rice_core.progress import Progress


@pytest.fixture
def failing(monkeypatch):
    """`ricebench list` fails with the error given."""

    def arm(error):
        def fail():
            raise error

        monkeypatch.setattr("rice_core.catalogue.entries", fail)

    return arm


def _run(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            RuntimeError("nobody thought of it.\nsecond line"),
            FAULT,
            ("RuntimeError: nobody thought of it. second line;", "--debug"),
        ),
        (KeyError(), FAULT, ("KeyError;", "--debug")),
        (
            OSError(errno.ENOSPC, "No space left on device", "a/b.png"),
            USAGE,
            ("The disk is full (a/b.png)", "Free some space"),
        ),
        (
            NotADirectoryError(errno.ENOTDIR, "Not a directory", b"a\xff"),
            USAGE,
            (r"a\xff cannot be used (Not a directory)",),
        ),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed"), USAGE, (r"'a\udcff'", "rename")),
        (
            RuntimeError("I/O error: Read-only file system (os error 30)"),
            USAGE,
            ("cannot be written (Read-only file system)", "another folder"),
        ),
        (MemoryError(), FAULT, ("not enough memory", "--batch")),
    ],
)
def test_an_error_nobody_thought_of_is_a_sentence(failing, capsys, error, code, said):
    failing(error)
    ended, err = _run(capsys, "list", "encoders")
    assert ended == code
    assert err.startswith("ricebench: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert all(part in err for part in said), err


@pytest.mark.parametrize("words", [["--debug", "list", "encoders"], ["list", "encoders", "--debug"]])
def test_debug_lets_it_through_wherever_it_stands(failing, words):
    failing(RuntimeError("nobody thought of it"))
    with pytest.raises(RuntimeError, match="nobody thought of it"):
        main(words)


def test_a_mistake_of_the_user_is_the_bare_sentence(capsys):
    ended, err = _run(capsys, "show", "2020-13-45")
    assert ended == 2
    assert err.startswith("ricebench: '2020-13-45' is no probe")
    assert "--debug" not in err


def test_an_error_without_a_file_is_no_mistake_of_the_user():
    assert explained(OSError(errno.EIO, "Input/output error"))[1] == FAULT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 5000, "nested too deep"),
        ("data: 2020-13-45\n", "month must be in 1..12"),
        (f"limit: {'9' * 5000}\n", "digits"),
        ("a: !!python/object/apply:os.system ['x']\n", "is not valid YAML"),
        ("a: \x00\n", "is not valid YAML"),
    ],
)
@pytest.mark.parametrize("command", [["plan", "--config"], ["train", "--out", "x"]])
def test_yaml_that_python_cannot_hold_is_named(tmp_path, capsys, text, said, command):
    path = tmp_path / "asked.yaml"
    path.write_text(text)
    ended, err = _run(capsys, command[0], *command[1:], str(path))
    assert ended == 2
    assert str(path) in err
    assert said in err


def test_the_backend_of_a_notebook_does_not_matter():
    code = "from rice_core.cli import main; main(['reference', '1', '-f', 'csv'])"
    code = f"try:\n    {code}\nexcept SystemExit: pass\nimport matplotlib.figure, reports.figures.style"
    environment = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plain = subprocess.run(
        [sys.executable, "-c", "import matplotlib"], env=environment, capture_output=True, check=False
    )
    if importlib.util.find_spec("matplotlib_inline") is None:
        assert plain.returncode != 0, "matplotlib itself takes this backend now: the test tells nothing"


HOSTILE = "a\x1b[31mred\x1b[0m\u202egnp.exe\x07\x9b\u2066b\u200fc\r\x00"
SEEN = r"a\x1b[31mred\x1b[0m\u202egnp.exe\x07\x9b\u2066b\u200fc \x00"


def test_echo_spells_out_what_would_steer_a_terminal(capsys):
    echo(f"{HOSTILE}\nsecond")
    echo(HOSTILE, err=True, nl=False)
    found = capsys.readouterr()
    assert found.out == f"{SEEN}\nsecond\n"
    assert found.err == SEEN
    assert visible("é 漢 \u200d") == "é 漢 \u200d"


def test_progress_spells_it_out_too(capsys):
    progress = Progress()
    progress.begin(1, "cells")
    progress.advance(HOSTILE)
    assert capsys.readouterr().err == f"[1/1] {SEEN}\n"


def test_an_encoding_without_a_letter_spells_it_out():
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    code = r"from rice_core.echo import echo; echo('caf\xe9 \udcff')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "caf\\xe9 \\udcff\n", done.stderr


def _prints(node):
    call = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    return call in ("print", "typer.echo", "click.echo", "sys.stdout.write", "sys.stderr.write")


def test_nothing_is_printed_but_by_the_one_echo():
    root = Path(rice_core.__file__).parents[1]
    loud = {
        str(path.relative_to(root))
        for package in ("rice_core", "probes", "tracking", "mllm", "reports")
        for path in (root / package).rglob("*.py")
        if any(_prints(node) for node in ast.walk(ast.parse(path.read_text())))
    }
    # The trainer of the demo's encoder prints numbers of its own.
    assert loud == {"rice_core/echo.py", "rice_core/rice/demo_encoder.py"}
