"""Work in a child process: JSON in, JSON out, a working directory of its own, no network where that can be had.

For libraries that want the process to themselves (lmms-eval, an engine that serves a model). The module is one of ours with a
function `main(request)`, which imports the library inside itself; it is handed over as a module and not as a name, so that
whoever uses it imports it, and its code counts among what the number is made of. What it prints goes to the errors' stream.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import IO, Any

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
_MARK = "RICEBENCH_CHILD "


def run_child(
    module: ModuleType,
    request: Any,
    *,
    cwd: Path,
    timeout: float | None,
    say: Callable[[str], None],
) -> Any:
    """What `module.main(request)` returns in a process of its own.

    Args:
        request: JSON, as is what comes back. cwd: made where it is not there.
        timeout: seconds, after which it is killed; None waits. What it started is killed with it, whenever it ends.
        say: told how it is kept from the network: by Linux's namespaces, or by OFFLINE alone where those are not allowed.

    Raises:
        UserError: it failed, was killed, or took too long; one sentence.
    """
    name = module.__name__
    words = [sys.executable, "-P", "-m", __name__, name]
    alone = _unshare()
    offline = f"kept offline by {', '.join(OFFLINE)} alone, since this machine allows no network namespace"
    say(f"{name}: in a process of its own, {'with no network but its own localhost' if alone else offline}.")
    cwd.mkdir(parents=True, exist_ok=True)
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
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise UserError(
                f"{name} did not answer in {timeout:g} seconds and was ended; give it more, or less to do."
            ) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return _answer(name, process.returncode, *(_text(file) for file in (out, errors)))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _answer(name: str, code: int, out: str, errors: str) -> Any:
    lines = [line for line in out.splitlines() if line.startswith(_MARK)]
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


def main(name: str, alone: bool) -> None:
    """In the child: the request from standard input, the answer to what was standard output."""
    import ctypes
    import importlib

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: who is left behind by a killed run dies too
    if alone:
        _wake_localhost()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        body = {"answer": importlib.import_module(name).main(json.loads(sys.stdin.read()))}
        line = canonical_json(body)
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
