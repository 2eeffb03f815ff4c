"""`python -m benchmarks.gpu [NAME ...]`: the tests marked `gpu`, then every measurement, then one JSON and one table."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gpu.environment import CHECKOUT, NEEDS, described, installed, missing_sentence, stand_in
from benchmarks.gpu.table import RESULTS, write

BUDGET, EACH, LEAST = 560.0, 150.0, 5.0
"""Seconds: of everything, and of one measurement at most and at least. What does not fit is left out and named."""


def main(words: Sequence[str] | None = None) -> int:
    """Returns 1 where something failed, 2 where nothing can run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of tests, {', '.join(NEEDS)}; none: all. What is not named keeps what this card's JSON says",
    )
    parser.add_argument("--tiny", action="store_true", help="on the CPU, at sizes that say nothing: does it run?")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON and the table")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds")
    parser.add_argument("--here", action="store_true", help="in this process: quicker, and one crash ends all")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.one:
        print(json.dumps(measured_here(asked.names[0], tiny=asked.tiny)))
        return 0
    every = ["tests", *NEEDS]
    unknown = [name for name in asked.names if name not in every]
    if unknown:
        parser.error(f"there is no measurement {unknown[0]!r}; choose from {', '.join(every)}.")
    if asked.tiny and asked.out.resolve() == RESULTS.resolve():
        parser.error("--tiny measures nothing; give it --out, a folder beside the results.")
    if said := missing_sentence():
        print(said, flush=True)
    if not installed("torch", "pydantic"):
        return 2
    import torch

    if not (asked.tiny or torch.cuda.is_available()):
        print("make gpu: torch sees no CUDA device here; `python -m benchmarks.gpu --tiny --out DIR` runs on a CPU.")
        return 2
    began = time.monotonic()
    machine = described(tiny=asked.tiny)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = stand_in(Path(folder))
        for name in asked.names or every[asked.tiny :]:
            lacks = [package for package in NEEDS.get(name, ("pytest",)) if not installed(package)]
            limit = min(EACH, asked.budget - (time.monotonic() - began))
            if lacks or limit < LEAST:
                found[name] = {"left_out": f"needs {', '.join(lacks)}" if lacks else "no time was left"}
            elif name == "tests":
                found[name] = tested(environment, limit)
            elif asked.here:
                found[name] = measured_here(name, tiny=asked.tiny)
            else:
                found[name] = _in_a_process(name, asked.tiny, environment, limit)
            _say(name, found[name])
            # After each: a run that is cut off keeps what it has.
            paths = write(asked.out, machine, found)
    print(f"{time.monotonic() - began:.0f} s; {' and '.join(map(str, paths))}", flush=True)
    return int(any("error" in each for each in found.values()))


def measured_here(name: str, *, tiny: bool) -> dict[str, Any]:
    """What the file NAME.py measures, or why it could not."""
    import torch

    began, device = time.monotonic(), torch.device("cpu" if tiny else "cuda:0")
    try:
        result = asdict(importlib.import_module(f"benchmarks.gpu.{name}").measure(device, tiny=tiny))
    except Exception as error:  # each fails alone
        result = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:500]}
    return result | {"seconds": round(time.monotonic() - began, 1)}


def _in_a_process(name: str, tiny: bool, environment: dict[str, str], limit: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.gpu", name, "--one", *(["--tiny"] if tiny else [])]
    try:
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took longer than {limit:.0f} s"}
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):  # the process died
        said = " ".join(done.stderr.split())[-500:]
        return {"error": f"the process ended with {done.returncode}: {said}"}
    return found


def tested(environment: dict[str, str], limit: float) -> dict[str, Any]:
    """`pytest -m gpu`: its last line, and what failed."""
    began = time.monotonic()
    # Without xdist: one card. This folder alone: collecting all the others takes longer than its tests and needs every library.
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:xdist", "tests/gpu"]
    try:
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired as late:
        said = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else late.stdout or ""
        return {"error": f"took longer than {limit:.0f} s; so far: {said[-500:]}"}
    lines = done.stdout.splitlines()
    print("\n".join(lines[-40:]), flush=True)
    marks = ("FAILED", "ERROR", "SKIPPED", "E  ")
    body: dict[str, Any] = {
        "claims": [f"pytest -m gpu: {lines[-1].strip('= ') if lines else done.stderr[-200:]}"],
        "lines": [line[:300] for line in lines if line.startswith(marks)][:60],
        "seconds": round(time.monotonic() - began, 1),
    }
    return body if done.returncode == 0 else body | {"error": f"pytest ended with {done.returncode}"}


def _say(name: str, found: dict[str, Any]) -> None:
    said = [f"left out: {found['left_out']}"] if "left_out" in found else found.get("claims") or [found.get("error")]
    for line in said:
        print(f"{name}: {line}", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main())
