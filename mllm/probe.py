"""The probes of Table 1: train LLaVA-NeXT with the encoder, ask it a benchmark's questions, judge its answers as lmms-eval does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from mllm.evaluate.columns import BENCHMARKS, COLUMNS, columns_of, tasks_of
from mllm.settings import LlavaSettings
from rice_core.errors import NotApplicable, UserError
from rice_core.record import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mllm.evaluate.answers import Answers
    from rice_core.datasets import Dataset
    from rice_core.datasets.nouns import Conversation
    from rice_core.features import Encoder
    from rice_core.probe import Read, Work
    from rice_core.stage import Stage


@dataclass(frozen=True)
class LlavaBenchmark(LlavaSettings):
    """One benchmark."""

    summary: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset({"dense"})
    data: ClassVar[frozenset[str]] = frozenset({"questions"})
    instruments: ClassVar[tuple[str, ...]] = (
        "lmms-eval",
        "nltk",
        "pyarrow",
        "pyyaml",
        "scipy",
        "tokenizers",
        "torch",
        "torchvision",
        "transformers",
    )
    role: ClassVar[str] = "llava"
    lessons: ClassVar[tuple[str, ...]] = ("align", "instruct")

    @property
    def reads(self) -> tuple[Read, ...]:
        """Nothing: its tiles are its own, and go through the encoder here."""
        return ()

    def learns_from(self, dataset: Dataset) -> bool:
        """See `rice_core.probe.Learns`."""
        return all(map(dataset.splits.get, self.lessons))

    def stages(self, dataset: Dataset) -> tuple[Stage, ...]:
        """See `rice_core.probe.Staged`: the answers to each task that is here, of one model that knows none of them.

        Raises:
            NotApplicable: nothing is here that the model is trained on.
        """
        from mllm.evaluate.answers import Answers
        from mllm.llava.training import stages_of
        from rice_core.datasets import only

        recipe = self.settings()
        trained, asking = stages_of(recipe, self._lessons(dataset)), recipe.asking
        tasks = [task for task in tasks_of(columns_of(self.name)) if dataset.splits.get(task)]
        return tuple(Answers(task, only(dataset, task), trained, asking.at_once, asking.most) for task in tasks)

    def lacks(self) -> str:
        """See `rice_core.probe.Equipped`."""
        from mllm.evaluate.requirements import check_requirements

        try:
            for task in tasks_of(columns_of(self.name)):
                check_requirements(task)
        except UserError as error:
            return str(error)
        return ""

    def published(self) -> Dataset:
        """See `rice_core.probe.Published`."""
        from mllm.published import published_data

        return published_data()

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        """See `rice_core.probe.Probe`. The seed draws the projector, a language model from nothing, and the order of what is learnt.

        Raises:
            NotApplicable: the questions, or what the model is trained on, are not here. UserError: what the scorer needs is not
                installed (told before anything is trained), or our numbers are not lmms-eval's.
        """
        from mllm.answered import AnsweredTask
        from mllm.evaluate.requirements import check_requirements
        from mllm.outcome import outcome_of

        stages = cast("tuple[Answers, ...]", work.stages)
        for task in [stage.task for stage in stages] or tasks_of(columns_of(self.name))[:1]:
            self._asked(task, work)
            check_requirements(task)
        answered = [
            AnsweredTask.read(stage.task, work.stage(stage).folder, self._asked(stage.task, work)) for stage in stages
        ]
        return outcome_of(work, self.name, self.settings(), answered, work.stage(stages[0].trained))

    def _lessons(self, dataset: Dataset) -> Dataset:
        """What the model is trained on: what is given to learn from, else the data set itself.

        Raises:
            NotApplicable: it lacks one of the two splits, or several are given.
        """
        homes = dataset.learnt_from or (dataset,)
        if len(homes) > 1:
            names = " and ".join(each.spec.name for each in homes)
            raise NotApplicable(f"{self.name} learns from one data set, not from {names}; give one of them to train=")
        if lacking := [split for split in self.lessons if not homes[0].splits.get(split)]:
            raise NotApplicable(
                f"{self.name} learns from a split {lacking[0]}, which {homes[0].spec.name} does not have"
            )
        return homes[0]

    def _asked(self, task: str, work: Work) -> Sequence[Conversation]:
        """The questions of a task.

        Raises:
            NotApplicable: they are not here; the sentence says where they are.
        """
        from rice_core.datasets.nouns import Conversation

        try:
            return work.samples(task, Conversation)
        except NotApplicable as error:
            repository = BENCHMARKS[task].repository
            raise NotApplicable(
                f"{error}; fetch it with hf download --repo-type dataset {repository} --local-dir FOLDER/{repository}"
            ) from None


@dataclass(frozen=True)
class InfoVqaBenchmark(LlavaBenchmark):
    """InfographicVQA (Mathew et al. 2022): questions about infographics, validation split."""

    name: ClassVar[str] = "infovqa"
    summary: ClassVar[str] = "LLaVA-NeXT with the encoder: infographics, InfographicVQA val (ANLS)"


@dataclass(frozen=True)
class DocVqaBenchmark(LlavaBenchmark):
    """DocVQA (Mathew et al. 2021): questions about scanned documents, validation split."""

    name: ClassVar[str] = "docvqa"
    summary: ClassVar[str] = "LLaVA-NeXT with the encoder: documents, DocVQA val (ANLS)"


@dataclass(frozen=True)
class ChartQaBenchmark(LlavaBenchmark):
    """ChartQA (Masry et al. 2022): questions about charts; a twentieth of a number is forgiven."""

    name: ClassVar[str] = "chartqa"
    summary: ClassVar[str] = "LLaVA-NeXT with the encoder: charts, ChartQA test (relaxed accuracy)"


@dataclass(frozen=True)
class TextVqaBenchmark(LlavaBenchmark):
    """TextVQA (Singh et al. 2019), validation split, without the text that others read in the pictures."""

    name: ClassVar[str] = "textvqa"
    summary: ClassVar[str] = "LLaVA-NeXT with the encoder: text in photographs, TextVQA val (agreement with ten people)"


@dataclass(frozen=True)
class OcrBenchBenchmark(LlavaBenchmark):
    """OCRBench (Liu et al. 2023): the truth has to stand within the answer."""

    name: ClassVar[str] = "ocrbench"
    summary: ClassVar[str] = "LLaVA-NeXT with the encoder: reading, OCRBench (hits of 1000)"


@dataclass(frozen=True)
class OcrBenchV2Benchmark(LlavaBenchmark):
    """OCRBench v2 (Fu et al. 2024), English and Chinese together, each question alike."""

    name: ClassVar[str] = "ocrbench_v2"
    summary: ClassVar[str] = "LLaVA-NeXT with the encoder: reading, OCRBench v2 (mean credit)"


@dataclass(frozen=True)
class LiveXivVqaBenchmark(LlavaBenchmark):
    """LiveXiv (Shabtay et al. 2024): figures of papers, the mean over those of its six versions that are here."""

    name: ClassVar[str] = "livexivqa"
    summary: ClassVar[str] = "LLaVA-NeXT with the encoder: figures of papers, LiveXiv (accuracy)"


@dataclass(frozen=True)
class Ai2dBenchmark(LlavaBenchmark):
    """AI2D (Kembhavi et al. 2016), with the labels in the diagrams masked, as lmms-eval has it."""

    name: ClassVar[str] = "ai2d"
    summary: ClassVar[str] = "LLaVA-NeXT with the encoder: diagrams, AI2D test (accuracy)"


@dataclass(frozen=True)
class MmBenchBenchmark(LlavaBenchmark):
    """MMBench (Liu et al. 2023), English, dev: a question is right in all rotations of its options. No service is asked."""

    name: ClassVar[str] = "mmb-en"
    summary: ClassVar[str] = "LLaVA-NeXT with the encoder: skills, MMBench English dev (accuracy)"


@dataclass(frozen=True)
class MmeBenchmark(LlavaBenchmark):
    """MME (Fu et al. 2023): two columns, each the sum over its categories."""

    name: ClassVar[str] = "mme"
    summary: ClassVar[str] = "LLaVA-NeXT with the encoder: yes or no, MME (cognition of 800, perception of 2000)"


@dataclass(frozen=True)
class PopeBenchmark(LlavaBenchmark):
    """POPE (Li et al. 2023): is it in the picture."""

    name: ClassVar[str] = "pope"
    summary: ClassVar[str] = "LLaVA-NeXT with the encoder: objects that are not there, POPE (accuracy)"


@dataclass(frozen=True)
class RealWorldQaBenchmark(LlavaBenchmark):
    """RealWorldQA (xAI 2024)."""

    name: ClassVar[str] = "realworldqa"
    summary: ClassVar[str] = "LLaVA-NeXT with the encoder: everyday scenes, RealWorldQA (accuracy)"


@dataclass(frozen=True)
class MmStarBenchmark(LlavaBenchmark):
    """MMStar (Chen et al. 2024): the mean over its 18 sub-categories."""

    name: ClassVar[str] = "mmstar"
    summary: ClassVar[str] = (
        "LLaVA-NeXT with the encoder: questions that need the picture, MMStar (mean of sub-categories)"
    )


@dataclass(frozen=True)
class LlavaNext(LlavaBenchmark):
    """All of them: the name stands for thirteen cells, and is none itself."""

    name: ClassVar[str] = "llava-next"
    summary: ClassVar[str] = "LLaVA-NeXT with the encoder: all 13 benchmarks of Table 1, a cell each"
    stands_for: ClassVar[tuple[str, ...]] = tuple(dict.fromkeys(column.probe for column in COLUMNS))
