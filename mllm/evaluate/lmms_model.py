"""Our model as lmms-eval calls it. Imports lmms-eval, so a child process alone imports it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from lmms_eval.api.instance import Instance
from lmms_eval.api.model import lmms

from mllm.evaluate.request import Answerer
from mllm.evaluate.sitting import AskedQuestion, Sitting, speaker_of


class LlavaOfLmmsEval(lmms):
    """One of lmms-eval's models of the kind "simple".

    lmms-eval builds it from its name and arguments; what a child process of ours asks goes through `sitting`.

    Args:
        folder: that a training left. encoder: its shorthand, as for `-e`. device: as torch calls it; "auto" finds one.
        batch_size: questions at once. most: tokens of an answer, where the task sets no limit.
    """

    is_simple = True
    sitting: Sitting | None = None

    def __init__(
        self,
        folder: str = "",
        encoder: str = "",
        device: str | None = None,
        batch_size: int | str | None = None,
        most: int = 1024,
        **_: Any,
    ) -> None:
        super().__init__()
        self._sitting = type(self).sitting or _opened(folder, encoder, device, batch_size, most)

    def generate_until(self, requests: list[Instance]) -> list[str]:
        return self._sitting.answers([self._asked(each) for each in requests])

    def _asked(self, request: Instance) -> AskedQuestion:
        question, settings, to_pictures, doc, task, split = request.args
        rows = self.task_dict[task][split]
        return AskedQuestion(task, doc, question, settings, partial(_pictures, to_pictures, rows, doc))

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError("ricebench_llava answers questions; it gives no likelihoods")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        raise NotImplementedError("ricebench_llava answers one question at a time")


def _pictures(to_pictures: Any, rows: Any, doc: int) -> list[Any]:
    return list(to_pictures(rows[doc]) or ()) if to_pictures else []


def _opened(folder: str, encoder: str, device: str | None, batch_size: int | str | None, most: int) -> Sitting:
    """What lmms-eval's own command line asks for."""
    from rice_core.encoders import load_encoder
    from rice_core.measure.subject import pick_device
    from rice_core.spec import EncoderSpec

    spec = EncoderSpec.parse(encoder)
    model = Answerer(
        encoder=spec,
        weights=load_encoder(spec).weights_digest(),
        folder=str(Path(folder).expanduser().resolve()),
        device=pick_device(device or "auto"),
        batch=int(batch_size or 1),
    )
    return Sitting(partial(speaker_of, model), most=most)
