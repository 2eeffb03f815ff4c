"""What the process is given: streams that are closed or full, paths with `~`, numbers and names that nothing can hold."""

import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from rice_core.cli import build_app, main
from rice_core.cli.boundary import USAGE, explained
from rice_core.errors import UserError
from rice_core.spec import EncoderSpec, ProbeRequest
from rice_core.store import Store

RICEBENCH = [sys.executable, "-m", "rice_core.cli"]


def _failed(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return ended.value.code, capsys.readouterr().err


def _path_options():
    """(command, parameter, what typer is told of it) of all that are a path, those of a group of options too."""
    for command in build_app().registered_commands:
        hints = get_type_hints(command.callback, include_extras=True)
        for group in [hint for hint in hints.values() if is_dataclass(hint)]:
            hints |= get_type_hints(group, include_extras=True)
        for name, hint in hints.items():
            told = getattr(hint, "__metadata__", (None,))[0]
            if told is not None and Path in (get_args(hint)[0], *get_args(get_args(hint)[0])):
                yield command.callback.__name__, name, told


def test_every_path_of_every_command_knows_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    found = {(command, name): told for command, name, told in _path_options()}
    some = {
        ("run", "store"),
        ("run", "config"),
        ("table", "store"),
        ("report", "out"),
        ("train", "config"),
        ("curate", "centers"),
    }
    assert some | {("evaluate", "results"), ("export", "out")} <= found.keys()
    for place, told in found.items():
        assert told.callback is not None, place
        assert told.callback(Path("~/x")) == tmp_path / "x", place


@pytest.mark.parametrize("words", [["status"], ["table"], ["verify"], ["doctor"], ["cache"], ["forget", "*", "--yes"]])
def test_a_store_of_nobody_is_refused(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, err = _failed(capsys, *words, "--store", "~nosuchuser/x")
    assert code == 2
    assert "there is no user of that name" in err
    assert not list(tmp_path.iterdir())


def test_a_store_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is a file and no store"):
        Store(tmp_path / "file" / "deeper" / "store")


def _asked(tmp_path, *more):
    return ["run", "-e", "noise", "-p", "knn", "--data", str(tmp_path), "--store", str(tmp_path / "store"), *more]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--seeds", str(2**32)), "from 0 to 4294967295"),
        (("--seeds", "-1"), "from 0 to 4294967295"),
        (("--cache-gb", "1e999"), "--cache-gb"),
    ],
)
def test_numbers_that_nothing_can_hold_are_refused(tmp_path, capsys, more, said):
    code, err = _failed(capsys, *_asked(tmp_path, *more))
    assert code == 2
    assert said in err


def test_a_launcher_that_is_no_command_is_refused(tmp_path, capsys):
    code, err = _failed(capsys, "run", "mini:encoders", "--launcher", "torchrun 'x", "--store", str(tmp_path))
    assert code == 2
    assert "--launcher torchrun 'x cannot be read" in err


@pytest.mark.parametrize("text", ["a\udcff=synthetic:noise", "hf:x@\udcff", "timm:vit?weights=\udcff"])
def test_bytes_that_are_no_text_are_refused_where_they_are_read(text):
    with pytest.raises(UserError, match="holds bytes that are no text"):
        EncoderSpec.parse(text)


def test_bytes_that_are_no_text_are_refused_in_a_probe():
    with pytest.raises(UserError, match="holds bytes that are no text"):
        ProbeRequest.parse("knn?recipe=\udcff")


def test_a_word_without_an_end_is_shortened():
    sentence, code = explained(UserError(f"res={'9' * 5000} cannot be read."))
    assert code == USAGE
    assert sentence == f"res={'9' * 96}...{'9' * 20} cannot be read."


def test_a_full_disk_in_a_librarys_own_words_is_named():
    sentence, code = explained(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert code == USAGE
    assert sentence.startswith("The disk is full;")


def test_closed_streams_are_empty_ones(tmp_path):
    quoted = f"exec {sys.executable} -m rice_core.cli status --store {tmp_path} 0<&- 1>&- 2>{tmp_path}/err"
    done = subprocess.run(["sh", "-c", quoted], check=False)
    assert (tmp_path / "err").read_text() == ""
    assert done.returncode == 1  # no records


def test_nobody_is_asked_where_standard_input_is_closed(tmp_path):
    (tmp_path / "scores" / ("0" * 20)).mkdir(parents=True)
    quoted = f"exec {sys.executable} -m rice_core.cli forget '*' --store {tmp_path} 0<&-"
    done = subprocess.run(["sh", "-c", quoted], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "run it again with --yes" in done.stderr


def test_a_reader_that_leaves_is_no_failure():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*RICEBENCH, "list"], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_standard_error_ends_without_another_error():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*RICEBENCH, "show", "nosuch"], stdout=subprocess.PIPE, stderr=full, check=False)
    assert done.returncode == 2


def test_ctrl_c_anywhere_is_one_sentence(tmp_path):
    """While the world is drawn, before any cell."""
    store = tmp_path / "store"
    words = [*RICEBENCH, "plan", "-e", "noise", "-p", "knn", "--data", "mini", "--store", str(store)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not list(store.glob("worlds/.*.tmp")) and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "Stopped. What was finished is safe; run the same command again to go on.\n"
    assert not list(store.glob("worlds/*"))


def test_a_warning_of_a_library_is_spelled_out(capsys, monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with pytest.raises(SystemExit):
        main(["--version"])
    said = warnings.formatwarning("bad \x1b[31mname\u202e.png", UserWarning, "x.py", 1)
    assert said == "UserWarning: bad \\x1b[31mname\\u202e.png\n"
