"""The answers of a trained model to one benchmark, as a stage: given once, verified whenever they are read, scored as often as one likes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mllm.evaluate import child
from mllm.evaluate.request import ANSWERS, TOLD, Answerer, AnswerRequest, AskedTask
from mllm.evaluate.requirements import check_requirements, requirements_of
from rice_core.budget import Budget, Passes
from rice_core.datasets.nouns import Conversation, Dataset
from rice_core.digest import file_digest, json_digest
from rice_core.errors import UserError
from rice_core.features import Encoder
from rice_core.spec import EncoderSpec
from rice_core.stage import STAGE_JSON, Curve, Stage, StageSpec, chain

if TYPE_CHECKING:
    from rice_core.stage import StageWork

_SIDE = 336
"""Of an encoder that was never loaded, for what `plan` says."""


@dataclass(frozen=True)
class Answers(Stage):
    """What the model says to each question of one task, and how lmms-eval judges it.

    Leaves answers.jsonl, {"doc", "question", "answer", "target", "judged"} a line, and told.json. One process answers the tasks of all
    stages that `shares_with`: to import lmms-eval and to load the model takes longer than a small task.
    """

    task: str
    """lmms-eval's name, and the split's."""
    dataset: Dataset
    """The split alone (`rice_core.datasets.only`)."""
    trained: Stage
    """Leaves the model."""
    batch: int = 8
    """Questions at once."""
    most: int = 1024
    """Tokens of an answer, where the task sets no limit (TextVQA and LiveXiv do not): lmms-eval's own models have 1024."""

    instruments: ClassVar[tuple[str, ...]] = ("torch", "transformers", "lmms-eval", "datasets", "pillow")

    @property
    def spec(self) -> StageSpec:
        params = {"task": self.task, "batch": self.batch, "most": self.most}
        return StageSpec(name="llava-answers", params=params)

    @property
    def after(self) -> Stage:
        return self.trained

    @property
    def alone(self) -> bool:
        return True

    @property
    def data(self) -> tuple[Dataset, ...]:
        return (self.dataset,)

    def shares_with(self, other: Stage) -> bool:
        """Where one model is asked in one way."""
        if not isinstance(other, Answers):
            return False
        settings = [(each.batch, each.most) for each in (self, other)]
        models = [
            [(part.spec, [data.spec for data in part.data]) for part in chain(each.trained)] for each in (self, other)
        ]
        return settings[0] == settings[1] and models[0] == models[1]

    def cost(self, encoder: EncoderSpec, budget: Budget, *, companions: int = 0) -> Passes:
        """In pictures of one tile."""
        questions = len(self._questions)
        return Passes(
            questions,
            max(encoder.resolution or (budget.side or _SIDE,)),
            f"{self.task}: {questions:,} questions to the language model",
        )

    def train(self, encoder: Encoder, start: Path | None, out: Path, *, seed: int, work: StageWork) -> Curve:
        """See `rice_core.stage.Stage`. Nothing is trained: a child process answers.

        Raises:
            UserError: a question that cannot be asked, a scorer that fails, a package that it needs and that is missing.
        """
        check_requirements(self.task)
        assert start is not None
        key = json_digest(
            [
                encoder.weights_digest(),
                file_digest(start / STAGE_JSON),
                self.spec.model_dump(exclude={"params": {"task"}}),
            ]
        )
        if not _stands(work.folder, key):
            self._ask(encoder, start, key, work)
        for name in (ANSWERS, TOLD):
            shutil.copyfile(_answered(work.folder) / name, out / name)
        return []

    def _ask(self, encoder: Encoder, start: Path, key: str, work: StageWork) -> None:
        if encoder.spec.source == "own":
            raise UserError(
                f"{encoder.spec.title} is a module of this Python session, and its answers are given in a process of its own; save its weights and name them by -e."
            )
        tasks = [self._asked(work.folder)]
        for each in work.companions:
            assert isinstance(each.stage, Answers)
            ready = not _stands(each.folder, key) and not requirements_of(each.stage.task)
            tasks += [each.stage._asked(each.folder)] if ready else []
        model = Answerer(
            encoder=encoder.spec,
            weights=encoder.weights_digest(),
            home=str(Path.cwd()),
            folder=str(start),
            device=str(encoder.device),
            batch=self.batch,
        )
        about = {"encoder": encoder.spec.told().shorthand, "weights": model.weights, "trained": start.name}
        request = AnswerRequest(tasks=tuple(tasks), model=model, key=key, about=about, most=self.most)
        place = work.folder / "child"
        try:
            # What goes wrong with a companion is told when its turn comes.
            work.child(child, request.model_dump(mode="json"), cwd=place)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _asked(self, folder: Path) -> AskedTask:
        """The task, with what is made of it in a folder of its stage."""
        questions = self._questions
        files = tuple(dict.fromkeys(str(path) for each in questions for path in each.files))
        return AskedTask(
            name=self.task,
            files=files,
            documents=tuple(int(each.id.rsplit("/", 1)[-1]) for each in questions),
            out=str(_answered(folder)),
            journal=str(folder / "journal.jsonl"),
        )

    @property
    def _questions(self) -> Sequence[Conversation]:
        items = self.dataset.splits.get(self.task, ())
        return [each for each in items if isinstance(each, Conversation)]


def read_answers(folder: Path) -> Iterator[dict[str, object]]:
    """The rows of answers.jsonl, by document."""
    with (folder / ANSWERS).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _answered(folder: Path) -> Path:
    """Where a child leaves what it found for a stage."""
    return folder / "answered"


def _stands(folder: Path, key: str) -> bool:
    try:
        return bool(json.loads((_answered(folder) / TOLD).read_text(encoding="utf-8"))["key"] == key)
    except (OSError, ValueError, KeyError):
        return False
