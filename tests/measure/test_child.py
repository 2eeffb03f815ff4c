"""Work in a child process: what comes back, what is refused, and what it may reach."""

import importlib
import multiprocessing
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rice_core.errors import UserError
from rice_core.measure.child import OFFLINE, _unshare, run_child

WORKER = """
import json, os, signal, socket, subprocess, sys, time
from pathlib import Path
from rice_core.errors import UserError

def main(request, tell):
    print("a library that talks")
    match request["do"]:
        case "add":
            return {"sum": sum(request["numbers"]), "cwd": os.getcwd(), "offline": os.environ.get("HF_HUB_OFFLINE")}
        case "refuse":
            raise UserError("This cannot be judged; give it more.")
        case "break":
            raise ValueError("two\\nlines")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleep":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            Path("pid").write_text(str(child.pid))
            time.sleep(60)
        case "wait":
            Path("pid").write_text(str(os.getpid()))
            time.sleep(60)
        case "leave":
            Path("pid").write_text(str(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid))
            return "done"
        case "connect":
            socket.create_connection(("127.0.0.1", request["port"]), timeout=5).close()
            return "connected"
        case "tell":
            for what in ("one", "two"):
                for done in (0, 2, 3):
                    tell(what, done, 3)
                    time.sleep(0.5)
            return "told"
        case "serve":
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(server.getsockname(), timeout=5).close()
            return "served"
"""


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    (tmp_path / "worker_of_tests.py").write_text(WORKER)
    monkeypatch.syspath_prepend(tmp_path)
    module: ModuleType = importlib.import_module("worker_of_tests")
    said: list[str] = []
    shown: list[tuple[str, int, float]] = []

    def track(sequence: Sequence[Any], what: str) -> Iterator[Any]:
        for each in sequence:
            yield each
            shown.append((what, each, time.monotonic()))

    def asked(timeout: float | None = 60, **request: Any) -> Any:
        own = tmp_path / "own" / "place"
        return run_child(module, request, cwd=own, timeout=timeout, say=said.append, track=track)

    asked.said, asked.shown = said, shown  # type: ignore[attr-defined]
    yield asked
    del sys.modules["worker_of_tests"]


def test_json_in_json_out_in_a_folder_of_its_own(ask: Callable[..., Any], tmp_path: Path) -> None:
    assert ask(do="add", numbers=[1, 2.5]) == {"sum": 3.5, "cwd": str(tmp_path / "own" / "place"), "offline": "1"}
    assert "HF_HUB_OFFLINE" in OFFLINE
    (line,) = ask.said  # type: ignore[attr-defined]
    assert ("no network but its own localhost" in line) is bool(_unshare())


def test_a_child_finds_a_gpu_as_empty_as_it_can_be(ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    class Circle:
        """As a network whose hooks hold it."""

        def __init__(self) -> None:
            self.own = self

    gone = weakref.ref(Circle())
    found: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: found.append(gone() is None))
    ask(do="add", numbers=[1])
    assert found == [True]


def test_how_far_it_is_is_shown_while_it_works(ask: Callable[..., Any]) -> None:
    assert ask(do="tell") == "told"
    shown = ask.shown  # type: ignore[attr-defined]
    assert [each[:2] for each in shown] == [(what, done) for what in ("one", "two") for done in range(3)]
    # Not all at once when it has ended.
    assert shown[2][2] - shown[0][2] > 0.2
    assert shown[4][2] - shown[2][2] > 0.2


@pytest.mark.parametrize(
    ("do", "said"),
    [
        ("refuse", r"^This cannot be judged; give it more\.$"),
        ("break", r"^worker_of_tests failed \(ValueError: two lines\)"),
        ("die", r"worker_of_tests was killed by signal 9 and gave no answer"),
    ],
)
def test_what_goes_wrong_is_one_sentence(ask: Callable[..., Any], do: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        ask(do=do)
    assert "\n" not in str(error.value)


def test_what_takes_too_long_is_ended_with_all_that_it_started(ask: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did not answer in 8 seconds"):
        ask(timeout=8, do="sleep")
    assert _is_gone(int((tmp_path / "own" / "place" / "pid").read_text()))


def test_what_it_leaves_running_is_ended_and_not_waited_for(ask: Callable[..., Any], tmp_path: Path) -> None:
    assert ask(timeout=30, do="leave") == "done"
    assert _is_gone(int((tmp_path / "own" / "place" / "pid").read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a child outlives a killed run")
def test_a_killed_run_leaves_no_child(ask: Callable[..., Any], tmp_path: Path) -> None:
    runner = multiprocessing.get_context("fork").Process(target=ask, kwargs={"do": "wait"})
    runner.start()
    pid = tmp_path / "own" / "place" / "pid"
    for _ in range(300):
        if pid.is_file() and pid.read_text():
            break
        time.sleep(0.1)
    runner.kill()
    runner.join()
    assert _is_gone(int(pid.read_text()))


def _is_gone(pid: int) -> bool:
    for _ in range(50):
        if not _runs(pid):
            return True
        time.sleep(0.1)
    return False


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not _unshare(), reason="this machine allows no network namespace")
def test_it_reaches_no_network_but_itself(ask: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=server.accept, daemon=True).start()
        with pytest.raises(UserError, match="worker_of_tests failed"):
            ask(do="connect", port=server.getsockname()[1])
    assert ask(do="serve") == "served"
