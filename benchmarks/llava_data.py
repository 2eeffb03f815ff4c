"""Conversations of a LLaVA training before they reach the model: `python -m benchmarks llava_data`.

padding: the share of a batch's tokens that is padding, any conversations together, sorted within a step alone (LLaVA's published sampler) and
as here, on the miniature world and on 40,000 lengths drawn with a long tail like LLaVA-NeXT's. A count, so no clock is involved.
opening: seconds and memory of a generated file of 100,000 conversations, opened in a process of its own; extrapolated to 779,000.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import keep, machine, process
from mllm.llava.grouping import Ints, Lengths, epoch_steps, padding_share, parts_of_step
from mllm.llava.loader import counted
from mllm.llava.mini_tokenizer import mini_tokenizer
from mllm.llava.packing import Anyres, Square
from mllm.llava.samples import Schooling
from mllm.llava.text import ChatML
from mllm.readers.llava import LlavaLayout
from rice_core.datasets import Conversation, open_dataset
from rice_core.encoders.preprocess import Preprocess
from rice_core.ranks import Ranks
from rice_core.world.layouts.llava import write_llava

DRAWN, TOLD, CONVERSATIONS, NEXT = 40_000, 0.06, 100_000, 779_000
CASES = (("mini", 32, 32), ("mini", 32, 4), ("long tail", 128, 8), ("long tail", 128, 4), ("long tail", 128, 2))
"""Lengths, conversations a step, and a part."""


def main() -> None:
    """Both."""
    before = machine()
    lengths = {"mini": _of_the_world(), "long tail": _long_tail()}
    rows = [
        {"lengths": name, "batch": batch, "part": part, **_padding(lengths[name], batch, part)}
        for name, batch, part in CASES
    ]
    claims = [
        f"{row['lengths']}, {row['batch']} a step in parts of {row['part']}: padding is {100 * row['shuffled']:.0f} % of all tokens, "
        f"{100 * row['within']:.0f} % sorted within a step, {100 * row['grouped']:.0f} % grouped"
        for row in rows
    ]
    opened = _opened()
    times = NEXT / CONVERSATIONS
    claims.append(
        f"{CONVERSATIONS:,} conversations ({opened['file'] / 1e6:.0f} MB) are opened in {opened['seconds']:.1f} CPU s; {opened['held']:.0f} bytes "
        f"of each are held, and {opened['objects']:.0f} as objects (LLaVA-NeXT's {NEXT:,}: {opened['held'] * NEXT / 1e6:.0f} MB against "
        f"{opened['objects'] * NEXT / 1e9:.1f} GB, {opened['seconds'] * times:.0f} CPU s)"
    )
    keep("llava_data", claims, {"padding": rows, "opening": opened}, before)


def _of_the_world() -> Lengths:
    """Of the conversations of `mini-llava`, a square tile of 144 tokens each."""
    with tempfile.TemporaryDirectory() as name:
        folder = write_llava(Path(name) / "world", seed=0, train=1200, val=0)
        talks = [item for item in open_dataset(folder).splits["instruct"] if isinstance(item, Conversation)]
        schooling = Schooling(
            ChatML(mini_tokenizer()), Square(96, 8, "squash"), Preprocess(resolution=(96, 96)), context=512
        )
        return counted(talks, schooling, ranks=Ranks(0, 1, torch.device("cpu")), workers=0)


def _long_tail() -> Lengths:
    """Anyres tokens at 336 / 14 of photographs of usual shapes, and words of a median of 220 with a long tail, some without a picture."""
    rng = np.random.default_rng(0)
    sizes = [
        (480, 640),
        (640, 480),
        (427, 640),
        (640, 640),
        (336, 336),
        (1080, 1920),
        (800, 600),
        (1600, 1200),
        (1200, 400),
    ]
    tokens = np.array([Anyres(336, 14).plan(*size).tokens for size in sizes])
    shown = tokens[rng.choice(len(sizes), DRAWN, p=np.array([22, 12, 20, 10, 8, 10, 8, 6, 4]) / 100)]
    words = np.minimum(8000, rng.lognormal(np.log(220), 0.9, DRAWN)).astype(int) + 20
    return np.where(rng.random(DRAWN) < TOLD, -words, shown + words).astype(np.int32)


def _padding(lengths_N: Lengths, batch: int, part: int) -> dict[str, float]:
    shuffled = epoch_steps(lengths_N, batch=batch, seed=0, epoch=0, grouped=False)
    steps = {
        "shuffled": shuffled,
        "within": [step[np.argsort(-np.abs(lengths_N[step]))] for step in shuffled],
        "grouped": epoch_steps(lengths_N, batch=batch, seed=0, epoch=0),
    }
    return {name: round(padding_share(_parts(each, batch, part), lengths_N), 4) for name, each in steps.items()}


def _parts(steps: list[Ints], batch: int, part: int) -> list[Ints]:
    return [each for step in steps for each in parts_of_step(step, part=part, rank=0, ranks=1, parts=batch // part)]


def _opened() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        file = _write(Path(name))
        lap, said = process("-m", "benchmarks.llava_data", name)
        return json.loads(said.splitlines()[-1]) | {"file": file.stat().st_size, "process_cpu": round(lap.cpu, 1)}


def _write(folder: Path) -> Path:
    """As LLaVA-NeXT's: about 1.5 kB a conversation, whose pictures are 16 files."""
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for k in range(16):
        (folder / "pictures" / f"{k}.jpg").write_bytes(b"")
    words = np.array([f"word{k}" for k in range(500)])
    rows = []
    for k in range(CONVERSATIONS):
        asked, said = (" ".join(words[rng.integers(500, size=n)].tolist()) for n in (20, 150))
        turns = [{"from": "human", "value": f"<image>\n{asked}"}, {"from": "gpt", "value": said}]
        rows.append({"id": f"{k:09d}", "image": f"pictures/{k % 16}.jpg", "conversations": turns})
    file = folder / "instruct.json"
    file.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return file


def _open(folder: Path) -> dict[str, float]:
    """In a process of its own, so that its memory is this alone."""
    before, began = _peak(), time.process_time()
    data = open_dataset(folder, reader=LlavaLayout())
    seconds, peak = time.process_time() - began, _peak() - before
    talks = data.splits["instruct"]
    own = _private()
    held = list(talks)
    objects = _private() - own
    n = len(held)
    return {
        "seconds": round(seconds, 2),
        "held": sum(getattr(talks, name).nbytes for name in ("number_N", "start_N", "length_N")) / n,
        "peak": round(peak / n, 1),
        "objects": round(objects / n, 1),
    }


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _private() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


if __name__ == "__main__":
    print(json.dumps(_open(Path(sys.argv[1]))))
