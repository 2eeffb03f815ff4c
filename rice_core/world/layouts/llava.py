"""Plain pictures as people have them who train LLaVA-NeXT: its two json files with their pictures, and the benchmarks.

FOLDER/LLaVA-Pretrain/blip_laion_cc_sbu_558k.json                  a caption a picture
FOLDER/LLaVA-Pretrain/00000/010000000.jpg
FOLDER/LLaVA-NeXT-Data/llava_next_raw_format_processed.json        conversations, some without a picture
FOLDER/LLaVA-NeXT-Data/plain/0000000.jpg                           or .png
FOLDER/manifest.json                                               see `folder`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rice_core.digest import bytes_digest
from rice_core.progress import Progress
from rice_core.spec import Frozen
from rice_core.world.conversing import Exchange, converse, told
from rice_core.world.layouts.folder import DrawJob, encode, write_world
from rice_core.world.layouts.questions import QUESTIONS_VERSION, DrawnRepository, question_jobs
from rice_core.world.plain import PLAIN_VERSION, PlainScene, draw_plain

ALIGN = "LLaVA-Pretrain/blip_laion_cc_sbu_558k.json"
INSTRUCT = "LLaVA-NeXT-Data/llava_next_raw_format_processed.json"

_ALIGN_START = 1_000_000
"""Index of the first picture with a caption; those with conversations count from 0, those of benchmarks from 10,000,000."""
_TEXT_EVERY = 16
"""One conversation in so many has no picture."""
_PNG_EVERY = 4
_SALT = 0xC0
"""No generator of words is one of a picture."""
_DESCRIBE = ("Describe the image concisely.", "What is in the image?", "Describe the picture.")


class LlavaRequest(Frozen):
    """What fixes every pixel and every word of the folder."""

    layout: Literal["llava"] = "llava"
    seed: int
    train: int
    val: int
    size: int
    version: int = PLAIN_VERSION
    questions: int
    """QUESTIONS_VERSION, which folders of before do not say: they have no benchmarks, and are drawn again."""


def write_llava(
    folder: Path,
    *,
    seed: int,
    train: int,
    val: int,
    size: int = 96,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Draw pictures with captions and conversations and put them at `folder`, whole or not at all; see `write_coco`.

    Args:
        train: captions, and as many conversations.
        val: questions of each benchmark.

    Raises:
        UserError: the folder holds something that this function did not write.
    """
    request = LlavaRequest(seed=seed, train=train, val=val, size=size, questions=QUESTIONS_VERSION)
    captioned = [
        PlainJob(f"LLaVA-Pretrain/{k // 1000:05d}/{_ALIGN_START + k:09d}.jpg", seed, _ALIGN_START + k, size)
        for k in range(train)
    ]
    shown = [
        PlainJob(f"LLaVA-NeXT-Data/plain/{k:07d}.{'jpg' if k % _PNG_EVERY else 'png'}", seed, k, size)
        for k in range(train)
        if k % _TEXT_EVERY != _TEXT_EVERY - 1
    ]

    def annotations(drawn: Sequence[DrawnPlain | DrawnRepository]) -> dict[str, Any]:
        pictures = {each.file: each for each in drawn if isinstance(each, DrawnPlain)}
        of_index = {pictures[job.file].index: pictures[job.file] for job in shown}
        return {
            ALIGN: [_captioned(seed, pictures[job.file]) for job in captioned],
            INSTRUCT: [_conversation(seed, k, of_index.get(k)) for k in range(train)],
        }

    jobs: list[DrawJob[DrawnPlain | DrawnRepository]] = [*captioned, *shown, *question_jobs(seed, val, size)]
    return write_world(folder, request, jobs, annotations, workers=workers, progress=progress)


@dataclass(frozen=True)
class PlainJob:
    """One plain picture to draw."""

    file: str
    """Relative to the folder."""
    seed: int
    index: int
    size: int

    def write(self, folder: Path) -> DrawnPlain:
        scene = draw_plain(self.seed, self.index, size=self.size)
        data = encode(scene.pixels_HW3, Path(self.file).suffix)
        (folder / self.file).parent.mkdir(parents=True, exist_ok=True)
        (folder / self.file).write_bytes(data)
        pixels = bytes_digest(scene.pixels_HW3.tobytes())
        return DrawnPlain(self.file, self.index, bytes_digest(data), pixels, replace(scene, pixels_HW3=_NOTHING_HW3))


@dataclass(frozen=True)
class DrawnPlain:
    """A picture that is written. It travels between processes."""

    file: str
    index: int
    sha256: str
    pixels: str
    scene: PlainScene
    """Without its pixels."""

    @property
    def files(self) -> dict[str, str]:
        return {self.file: self.sha256}


_NOTHING_HW3 = np.zeros((0, 0, 3), np.uint8)


def _captioned(seed: int, drawn: DrawnPlain) -> dict[str, Any]:
    """An entry of LLaVA-Pretrain."""
    rng = _generator(seed, drawn.index)
    asked = str(rng.choice(_DESCRIBE))
    asked = f"{asked}\n<image>" if rng.integers(2) else f"<image>\n{asked}"
    image = drawn.file.removeprefix("LLaVA-Pretrain/")
    return {"id": Path(image).stem, "image": image, "conversations": _turns([(asked, drawn.scene.caption)])}


def _conversation(seed: int, k: int, drawn: DrawnPlain | None) -> dict[str, Any]:
    """An entry of LLaVA-NeXT-Data."""
    rng = _generator(seed, k)
    if drawn is None:
        return {"id": f"told_{k:07d}", "conversations": _turns(told(draw_plain(seed, k), rng))}
    (question, answer), *more = converse(drawn.scene, rng)
    turns = _turns([(f"<image>\n{question}", answer), *more])
    return {"id": f"{k:07d}", "image": drawn.file.removeprefix("LLaVA-NeXT-Data/"), "conversations": turns}


def _turns(exchanges: Sequence[Exchange]) -> list[dict[str, str]]:
    return [
        turn
        for question, answer in exchanges
        for turn in ({"from": "human", "value": question}, {"from": "gpt", "value": answer})
    ]


def _generator(seed: int, index: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, index, _SALT]))
