"""Work in a child process: JSON in, JSON out, a working directory of its own, no network where that can be had.

For libraries that want the process to themselves (lmms-eval, an engine that serves a model). The module is one of ours with a
function `main(request)`, which imports the library inside itself; it is handed over as a module and not as a name, so that
whoever uses it imports it, and its code counts among what the number is made of. What it prints goes to the errors' stream.
Where it is written `main(request, tell)`, it says how far it is with `tell(what, done, total)`, which is shown as our own progress is.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import IO, Any

from rice_core.deterministic import ASKED, deterministic
from rice_core.digest import canonical_json
from rice_core.errors import UserError, one_line

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "WANDB_MODE": "offline",
}
"""What libraries of the field read before they go to the network."""
Tell = Callable[[str, int, int], None]
"""What is done, how many of it are, and how many there are in all."""
Track = Callable[[Sequence[Any], str], Iterator[Any]]
"""As `rice_core.progress.Progress.track`."""
_MARK = "RICEBENCH_CHILD "
_LISTENS = 0.2
"""Seconds between two looks at how far it is."""


def run_child(
    module: ModuleType,
    request: Any,
    *,
    cwd: Path,
    timeout: float | None,
    say: Callable[[str], None],
    track: Track | None = None,
) -> Any:
    """What `module.main(request)` returns in a process of its own.

    Args:
        request: JSON, as is what comes back. cwd: made where it is not there.
        timeout: seconds, after which it is killed; None waits. What it started is killed with it, whenever it ends.
        say: told how it is kept from the network: by Linux's namespaces, or by OFFLINE alone where those are not allowed.
        track: shows how far it is, where it tells.

    Raises:
        UserError: it failed, was killed, or took too long; one sentence.
    """
    name = module.__name__
    words = [sys.executable, "-P", "-m", __name__, name]
    alone = _unshare()
    offline = f"kept offline by {', '.join(OFFLINE)} alone, since this machine allows no network namespace"
    say(f"{name}: in a process of its own, {'with no network but its own localhost' if alone else offline}.")
    cwd.mkdir(parents=True, exist_ok=True)
    _spare_gpu()
    paths = [str(Path(path or ".").resolve()) for path in sys.path]
    environment = os.environ | OFFLINE | {"PYTHONPATH": os.pathsep.join(paths)}
    with TemporaryFile() as asked, TemporaryFile() as out, TemporaryFile() as errors:
        asked.write(canonical_json(request).encode())
        asked.seek(0)
        # Files and no pipes: an engine that the child leaves behind would hold a pipe open for as long as it lives.
        process = subprocess.Popen(
            [*alone, *words, *(["alone"] if alone else [])],
            cwd=cwd,
            env=environment,
            stdin=asked,
            stdout=out,
            stderr=errors,
            start_new_session=True,  # so that what it starts can be ended with it
        )
        try:
            _wait(process, timeout, _Heard(out.fileno(), track))
        except subprocess.TimeoutExpired:
            raise UserError(
                f"{name} did not answer in {timeout:g} seconds and was ended; give it more, or less to do."
            ) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return _answer(name, process.returncode, *(_text(file) for file in (out, errors)))


def _spare_gpu() -> None:
    """Give back what this process holds of a GPU and does not use: after a training most of it, and the child may need the same one."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()  # a network with hooks refers to itself, and is there until somebody looks
        torch.cuda.empty_cache()


def _wait(process: subprocess.Popen[bytes], timeout: float | None, heard: _Heard) -> None:
    """
    Raises:
        subprocess.TimeoutExpired: it has not ended.
    """
    began = time.monotonic()
    with contextlib.closing(heard):
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LISTENS)
                return
            heard.listen()
            if timeout is not None and time.monotonic() - began > timeout:
                raise subprocess.TimeoutExpired(process.args, timeout)


class _Heard:
    """How far a child says it is, shown as a bar of ours for each thing that it does."""

    def __init__(self, file: int, track: Track | None) -> None:
        self._file, self._track, self._read = file, track, 0
        self._what, self._done = "", 0
        self._bar: Iterator[Any] = iter(())

    def listen(self) -> None:
        """Show what was told since the last time."""
        if self._track is None:
            return
        # Not by reading: the child writes where this file's own position is.
        new = os.pread(self._file, os.fstat(self._file).st_size - self._read, self._read)
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            told = json.loads(line.removeprefix(_MARK)) if line.startswith(_MARK) else {}
            if "told" in told:
                self._show(*told["told"])

    def close(self) -> None:
        """Take the bar away."""
        self._bar = iter(())  # a generator that nobody holds ends

    def _show(self, what: str, done: int, total: int) -> None:
        assert self._track is not None
        if what != self._what:
            self.close()
            self._what, self._done, self._bar = what, -1, iter(self._track(range(total), what))
        while self._done < done:
            next(self._bar, None)
            self._done += 1


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _answer(name: str, code: int, out: str, errors: str) -> Any:
    lines = [line for line in out.splitlines() if line.startswith(_MARK) and not line.startswith(f'{_MARK}{{"told"')]
    try:
        body = json.loads(lines[-1].removeprefix(_MARK))
    except (IndexError, ValueError):
        last = next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), "")
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        said = f" ({last[:200].rstrip('.')})" if last else ""
        raise UserError(f"{name} {how} and gave no answer{said}; run it again, or ask it for less at once.") from None
    if "error" in body:
        raise UserError(str(body["error"]))
    return body["answer"]


@cache
def _unshare() -> tuple[str, ...]:
    """The command that runs another without a network; empty where the platform has none, or does not allow it."""
    found = shutil.which("unshare")
    if found is None:
        return ()
    words = (found, "--user", "--map-current-user", "--keep-caps", "--net", "--")
    try:
        done = subprocess.run([*words, "true"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ()
    return words if done.returncode == 0 else ()


def _wake_localhost() -> None:
    """A new network namespace has its loopback asleep, and engines that serve a model talk to themselves through it."""
    import fcntl
    import socket
    import struct

    set_flags, up = 0x8914, 1  # SIOCSIFFLAGS and IFF_UP of Linux
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket, contextlib.suppress(OSError):
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh", b"lo", up))


def _tell(answers: IO[str], what: str, done: int, total: int) -> None:
    answers.write(f"{_MARK}{canonical_json({'told': [what, done, total]})}\n")
    answers.flush()


def main(name: str, alone: bool) -> None:
    """In the child: the request from standard input, the answer to what was standard output."""
    import ctypes
    import importlib
    import inspect

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: who is left behind by a killed run dies too
    if alone:
        _wake_localhost()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        work = importlib.import_module(name).main
        if "tell" in inspect.signature(work).parameters:
            work = partial(work, tell=partial(_tell, answers))
        request = json.loads(sys.stdin.read())
        # Of which device the child does not know; what CUDA needs beside stands in the environment.
        with deterministic("cpu") if ASKED in os.environ else contextlib.nullcontext():
            line = canonical_json({"answer": work(request)})
    except UserError as error:
        line = canonical_json({"error": str(error)})
    except Exception as error:
        said = one_line(error).rstrip(".")
        line = canonical_json(
            {"error": f"{name} failed ({said}); its work is done in a process of its own, run it by hand to see more."}
        )
    answers.write(f"{_MARK}{line}\n")
    answers.close()


if __name__ == "__main__":
    main(sys.argv[1], alone=sys.argv[2:] == ["alone"])
