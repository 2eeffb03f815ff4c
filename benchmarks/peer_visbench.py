"""The same encoder, photographs, 1-NN and linear probe through VisBench (PyPI `visbench`), the closest peer.

VisBench needs an older Pillow than this project, so it lives in an environment of its own (with timm):

    VISBENCH_PYTHON=/path/to/its/python python -m benchmarks peer_visbench

Both load the same safetensors folder through timm, on the CPU in float32, same batch, threads as PyTorch chooses. Every
run is a new process. cold: nothing cached. warm: the same command again; ours then finds its records made from the same
weights, data and code, and VisBench finds its cached features and fits again, because it has no notion of a finished
result. refit: ours is told to measure again from its cached features, which is what VisBench does when warm.

1-NN is the same protocol on both sides. The linear probes differ: ours is logistic regression with C chosen on held-out
train images, VisBench's is its default, AdamW for 200 epochs. Goal: at least 2x faster cold and warm, accuracy equal.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.material import write_photos, write_vit
from benchmarks.measuring import keep, machine, told

MODEL = "vit_small_patch16_224"
TRAIN, VAL, BATCH, ROUNDS = 96, 64, 32, 2
_PHASES = {"cold": ("cold", "cold"), "warm": ("warm", "warm"), "refit": ("refit", "warm")}
"""Claim -> (our phase, VisBench's phase)."""


def main() -> None:
    """Alternate the two sides; skipped with a sentence where VisBench's Python is not named."""
    peer = os.environ.get("VISBENCH_PYTHON")
    if not peer:
        print("peer_visbench: skipped; set VISBENCH_PYTHON to a Python that has visbench and timm.")
        return
    before = machine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder / "photos", train=TRAIN, val=VAL)
        write_vit(folder / "encoder", MODEL)
        rounds = [_round(folder, peer, number, {}) for number in range(ROUNDS)]
        # One thread: nobody waits at a barrier for a core that a neighbour has, so CPU seconds are work done.
        single = _round(folder, peer, ROUNDS, {"OMP_NUM_THREADS": "1"})
    speed = {claim: _compare(rounds, single, ours, theirs) for claim, (ours, theirs) in _PHASES.items()}
    accuracy = {
        side: {key: rounds[0][side]["cold"][key] for key in ("knn_top1", "linear_top1")}
        for side in ("ours", "visbench")
    }
    claims = [_claim(claim, found) for claim, found in speed.items()] + [f"top-1 percent: {accuracy}"]
    body = {
        "model": MODEL,
        "train": TRAIN,
        "val": VAL,
        "batch": BATCH,
        "visbench": rounds[0]["visbench"]["cold"]["version"],
        "speed": speed,
        "accuracy": accuracy,
        "rounds": rounds,
        "one_thread": single,
    }
    keep("peer_visbench", claims, body, before)


def _claim(claim: str, found: dict[str, float]) -> str:
    return (
        f"{claim}: {found['work']:.2f}x VisBench's speed without imports, {found['process']:.2f}x as a whole process, "
        f"{found['cpu']:.2f}x in CPU seconds (goal 2)"
    )


def _round(folder: Path, peer: str, number: int, environment: dict[str, str]) -> dict[str, Any]:
    """Both sides once from an empty cache; who goes first changes with the round."""
    sides: dict[str, Any] = {"ours": {}, "visbench": {}}
    encoder, photos = str(folder / "encoder"), str(folder / "photos")
    for phase in ("cold", "warm", "refit"):
        for side in sorted(sides, reverse=number % 2 == 1):
            store = str(folder / side)
            if phase == "cold":
                shutil.rmtree(store, ignore_errors=True)
            if side == "ours":
                command = [sys.executable, "-m", "benchmarks.side_ricebench", encoder, photos, store, str(BATCH), phase]
            elif phase == "refit":
                continue
            else:
                script = str(Path(__file__).with_name("side_visbench.py"))
                command = [peer, script, encoder, photos, store, str(BATCH)]
            sides[side][phase] = told(command, **environment)
    return sides


def _compare(rounds: list[dict[str, Any]], single: dict[str, Any], ours: str, theirs: str) -> dict[str, float]:
    """VisBench's seconds over ours: wall medians over the rounds, CPU from the round with one thread."""
    work, process = [], []
    for each in rounds:
        a, b = each["visbench"][theirs], each["ours"][ours]
        process.append(a["wall"] / b["wall"])
        work.append(sum(seconds for name, seconds in a["laps"].items() if name != "import") / b["laps"]["run"])
    found = {
        "work": statistics.median(work),
        "process": statistics.median(process),
        "cpu": single["visbench"][theirs]["cpu"] / single["ours"][ours]["cpu"],
    }
    return {key: round(value, 3) for key, value in found.items()}
