"""Every number to its last bit, before and after a change that should move none.

    python -m benchmarks.bits before.json                  # in a checkout of the commit before
    python -m benchmarks.bits after.json --against before.json

It asks the command line of the checkout it lies in for the demo, two detectors that share their passes, a detector with masks
on LVIS's layout, forty steps of RICE's training with a resume in between, and `mini:encoders --scale smoke`; then it reads what
they left: values and standard errors of every metric, losses of every training, digests of the weights. Floats are written by
`repr`, so equal text is equal bits. One thread: sums are then made in one order.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
TRAINING = """
name: bits
model: {vit: {width: 32, depth: 2, heads: 2}, region_layers: 1}
objective: {name: rice, regions: 4}
data: {path: %s, streams: 2}
stages:
  - {resolution: 64, samples: 240}
  - {resolution: 96, samples: 80, rate: 0.1}
batch: 8
accumulate: 2
optimizer: {warm_up: 4}
precision: fp32
ema: 0.99
save_every: 7
log_every: 1
"""
STEPS = 40
ENCODER = "mini-supervised"
CURATE = ("--proposals=coco", "--text=none", "--classes=24", "--min-image=0", "--min-box=0", "--shard-samples=40")


def main() -> int:
    """Returns 1 where a number differs from those of `--against`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bits")
    parser.add_argument("out", type=Path)
    parser.add_argument("--against", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name))
    asked.out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(found)} numbers and digests are in {asked.out}")
    if asked.against is None:
        return 0
    before = json.loads(asked.against.read_text(encoding="utf-8"))
    differing = [key for key in sorted(before.keys() | found.keys()) if before.get(key) != found.get(key)]
    for key in differing:
        print(f"  {key}: {before.get(key)} before, {found.get(key)} now")
    print(
        f"{len(before.keys() & found.keys()) - len([k for k in differing if k in before and k in found])} of {len(before)} are equal to the last bit"
    )
    return 1 if differing else 0


def measure(folder: Path) -> dict[str, str]:
    """Run everything below `folder`; what was found, by where it was found."""
    store = folder / "store"
    _ricebench("demo", f"--store={store}")
    detector = ("-p", "coco-det?recipe=smoke", "--seeds=0,1", "--limit=24")
    _ricebench("run", "-e", ENCODER, *detector, "--data=mini", f"--store={store}")
    lvis = ("-p", "lvis-det?recipe=smoke&masks=on", "--limit=24")
    _ricebench("run", "-e", ENCODER, *lvis, "--data=mini-lvis", f"--store={store}")
    found = dict(_records("store", store))

    drawn = next((store / "worlds").glob("mini-seed0-*"))
    _ricebench("curate", str(drawn), str(folder / "regions"), "--limit=80", *CURATE)
    config = folder / "config.yaml"
    config.write_text(TRAINING % (folder / "regions"), encoding="utf-8")
    _ricebench("train", str(config), f"--out={folder / 'run'}", "--device=cpu", "--workers=0")
    found |= dict(_training("rice", folder / "run"))

    study = folder / "study"
    _ricebench("run", "mini:encoders", "--scale=smoke", f"--store={study}")
    found |= dict(_records("study", study))
    for run in sorted(study.glob("trained/**/metrics.jsonl")):
        found |= dict(_training(f"study/{run.parent.relative_to(study / 'trained')}", run.parent))
    return found


def _ricebench(*words: str) -> None:
    """The command line of this checkout, whatever is installed."""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "rice_core.cli", *words, "--quiet"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 3):
        raise SystemExit(f"ricebench {' '.join(words)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")


def _records(where: str, store: Path) -> Iterator[tuple[str, str]]:
    """Each metric by the names that a plan gives its cell: ids would change where a request got a new field.

    A study may try one encoder's name at several rates: the digest of the weights tells them apart.
    """
    for path in sorted(store.glob("records/**/*.json")):
        record: dict[str, Any] = json.loads(path.read_bytes())["record"]
        cell, evidence = record["cell"], record["evidence"] or {}
        encoder, probe = cell["encoder"], cell["probe"]
        asked = "&".join(f"{key}={value}" for key, value in sorted(probe["params"].items()))
        weights = f"{encoder['name'] or encoder['model']}@{evidence.get('weights', '')[:8]}"
        called = f"{where}/{cell['dataset']['name']}/{weights}/{probe['name']}?{asked}/seed{cell['seed']}"
        yield f"{called}/status", record["status"]
        for metric in record["metrics"]:
            yield f"{called}/{metric['name']}", f"{metric['value']!r} +- {metric['stderr']!r} n={metric['n']}"


def _training(where: str, folder: Path) -> Iterator[tuple[str, str]]:
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        for key in ("loss", "grad_norm", "rate"):
            if key in row:
                yield f"{where}/step {row['step']}/{key}", repr(row[key])
    for path in sorted(folder.glob("encoder/*.safetensors")):
        yield f"{where}/{path.name}", hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
