"""Worker processes end with their parent's Ctrl-C, and say nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import rice_core

CODE = """
import sys, time
from rice_core.workers import pool_of
if __name__ == "__main__":
    try:
        with pool_of(2) as pool:
            tasks = pool.map(time.sleep, [60, 60])
            print("started", flush=True)
            list(tasks)
    except KeyboardInterrupt:
        sys.exit(130)
else:
    time.sleep(1)  # the import of a worker
"""


def _interrupted(tmp_path, seconds):
    script = tmp_path / "many.py"
    script.write_text(CODE)
    root = str(Path(rice_core.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root}
    began = time.monotonic()
    words = [sys.executable, str(script)]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, err = process.communicate(timeout=50)
    return process.returncode, err.decode(), time.monotonic() - began


@pytest.mark.parametrize("seconds", [0.4, 3], ids=["while they start", "at work"])
def test_ctrl_c_ends_the_workers_without_a_word(tmp_path, seconds):
    code, err, took = _interrupted(tmp_path, seconds)
    assert (code, err) == (130, "")
    assert took < 40
