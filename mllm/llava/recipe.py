"""What a number of a language model means: which model reads the encoder's tokens, and how the two are trained. Named recipes at the end.

The paper (section 4.2, Table 1) names LLaVA-NeXT, Qwen2.5-7B and LLaVA-NeXT's 740 K samples; what it leaves open is as the authors'
published script for it has it, each choice an assumption in the record.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from mllm.llava.text import Labels
from rice_core.spec import Frozen

MINI_LM = "mini"
"""A small language model of Qwen2's kind with random weights, and a tokenizer of the miniature world's words: nothing is downloaded."""
Resize = Literal["own", "crop", "squash", "pad"]
"""How a picture becomes one square tile. own: as the encoder's processor does (CLIP crops, SigLIP distorts). crop: the centre alone, the
ends of a wide picture are lost. squash: all of it, the aspect ratio is lost. pad: all of it, on a square of the mean colour (LLaVA-1.5)."""
Match = Literal["hungarian", "nearest"]
Rate = Annotated[float, Field(gt=0, le=10)]


class LlavaConfig(Frozen):
    """The model between an encoder and an answer."""

    lm: str = "Qwen/Qwen2.5-7B-Instruct"
    """What `AutoModelForCausalLM` reads: a name of the hub or a folder; or `mini`."""
    layer: int = Field(default=-2, le=-1)
    """Block of the encoder that is read, from the end, behind no final norm."""
    tiles: Literal["2x2", "6x6", "one"] = "2x2"
    """Of a picture, from the second stage on. 2x2: LLaVA-NeXT's anyres, the base tile and a grid that wastes least. 6x6: LLaVA-OneVision's
    anyres_max_9, of several pictures one tile each. one: a single square."""
    square: Resize = "own"
    """How a picture becomes one tile: in the first stage always, in the second where `tiles` says so."""


class LlavaLearning(Frozen):
    """One training of the model. What has no rate is frozen."""

    epochs: int = Field(default=1, ge=1, le=10**4)
    batch: int = Field(default=128, ge=1, le=10**6)
    """Samples a step, over all ranks; the rates belong to it."""
    part: int = Field(default=1, ge=1)
    """Samples that go through the network at once, on each rank: a matter of memory, since the loss is a sum over the step's labels."""
    projector_rate: Rate = 1e-3
    tower_rate: Rate | None = None
    lm_rate: Rate | None = None
    warm_up: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps; a cosine to zero follows."""
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float | None = Field(default=1.0, gt=0)
    labels: Labels = "published"
    context: int = Field(default=32_768, ge=16)
    """Tokens of a sample, those of its pictures among them; what is longer is cut at its end, and counted."""
    grouped: bool = True
    """Whether samples of like length, and with or without pictures, share a step: less padding."""
    precision: Literal["bf16", "fp32"] = "bf16"

    def steps(self, samples: int) -> int:
        """Each epoch shows every sample once; its last batch may be smaller."""
        return self.epochs * math.ceil(samples / self.batch)

    def parts(self, ranks: int) -> int:
        """Of a step, on each rank; the last ones may hold no sample."""
        return math.ceil(self.batch / (self.part * ranks))


class CrocLearning(LlavaLearning):
    """Croc's stage between the two (`croc`)."""

    projector_rate: Rate = 2e-5
    lm_rate: Rate | None = 2e-5
    pool: int = Field(default=2048, ge=1)
    """Tokens that a picture's may be replaced by."""
    replaced: float = Field(default=0.75, gt=0, lt=1)
    """Share of a picture's tokens."""
    match: Match = "hungarian"
    """hungarian: as in the paper, no two of a picture by the same. nearest: as in its published code."""
    weight: float = Field(default=10.0, ge=0)
    """Of the pictures' loss beside the captions'."""


class LlavaAsking(Frozen):
    """How the trained model is asked. Answers are the likeliest, token by token."""

    at_once: int = Field(default=8, ge=1, le=10**4)
    """Questions that are answered together: with bf16 a few answers depend on it."""
    most: int = Field(default=1024, ge=1, le=10**5)
    """Tokens of an answer, where a task sets no limit; lmms-eval's own models have as many."""


class LlavaRecipe(Frozen):
    """All that fixes a number beside the encoder, the data and the seed."""

    name: str
    reading: str = ""
    """How it reads what the paper leaves open, one sentence; empty where it stands for nothing of the paper."""
    model: LlavaConfig = LlavaConfig()
    align: LlavaLearning = LlavaLearning()
    """Stage 1: captions, one tile, the projector alone; and a language model that has not learnt to speak."""
    croc: CrocLearning | None = None
    """A stage between the two, where there is one."""
    instruct: LlavaLearning = LlavaLearning(projector_rate=1e-5, tower_rate=2e-6, lm_rate=1e-5)
    """Stage 2: conversations, tiles, everything."""
    asking: LlavaAsking = LlavaAsking()


_READING = (
    "Table 1 names LLaVA-NeXT's framework and data alone: rates, batch, tiles and labels are those of LLaVA-NeXT's published scripts for Qwen, "
    "with one rate for projector and language model."
)
_ONE_VISION = (
    "LLaVA-OneVision's rows cannot be reproduced to the letter, since six data files of its public recipe are missing from its release, so "
    "that a number of it gets no verdict against the paper: tiles, rates and the batch of 256 are those of its published scripts, its three "
    "trainings on conversations are one here, without videos, and the first stage is LLaVA-NeXT's."
)
_MINI = LlavaLearning(
    batch=16, part=16, projector_rate=2e-3, warm_up=0.05, labels="answer", context=512, precision="fp32"
)
# A language model that starts from nothing has to learn to speak as well: many epochs of few samples, and by the captions first, since
# a caption has ten things to be learnt of a picture and an answer one.
_MINI_CAPTIONS = _MINI.model_copy(update={"epochs": 3, "lm_rate": 2e-3})
_MINI_TALK = _MINI.model_copy(update={"epochs": 4, "tower_rate": 3e-4, "lm_rate": 2e-3})
_MINI_CROC = CrocLearning(**_MINI_CAPTIONS.model_dump() | {"epochs": 1}, pool=256)
_CROC_READING = (
    "Croc's stage is trained on the captions of the first stage, and the paper's are 1.5 million detailed ones; rates and pool are those of its "
    "published script, for Vicuna."
)
_MINI_ASKING = LlavaAsking(at_once=32, most=16)

RECIPES: dict[str, LlavaRecipe] = {
    recipe.name: recipe
    for recipe in (
        LlavaRecipe(
            name="smoke",
            model=LlavaConfig(lm=MINI_LM, tiles="one"),
            align=_MINI.model_copy(update={"batch": 4, "part": 4}),
            instruct=_MINI.model_copy(update={"batch": 4, "part": 4, "tower_rate": 1e-4, "lm_rate": 2e-3}),
            asking=_MINI_ASKING,
        ),
        LlavaRecipe(
            name="mini",
            model=LlavaConfig(lm=MINI_LM, tiles="one"),
            align=_MINI_CAPTIONS,
            instruct=_MINI_TALK,
            asking=_MINI_ASKING,
        ),
        # Six hours of one H100 by arithmetic: language models of 0.5B rank encoders much as those of 7B do (AVA-Bench, 2506.09082).
        LlavaRecipe(name="ladder-0.5b", model=LlavaConfig(lm="Qwen/Qwen2.5-0.5B-Instruct")),
        LlavaRecipe(name="paper@1", reading=_READING),
        LlavaRecipe(
            name="ov@1",
            reading=_ONE_VISION,
            model=LlavaConfig(lm="Qwen/Qwen2-7B-Instruct", tiles="6x6"),
            instruct=LlavaLearning(batch=256, projector_rate=1e-5, tower_rate=2e-6, lm_rate=1e-5),
        ),
        LlavaRecipe(
            name="mini-croc",
            model=LlavaConfig(lm=MINI_LM, tiles="one"),
            align=_MINI_CAPTIONS,
            croc=_MINI_CROC,
            instruct=_MINI_TALK,
            asking=_MINI_ASKING,
        ),
        LlavaRecipe(name="croc@1", reading=_CROC_READING, croc=CrocLearning()),
    )
}
