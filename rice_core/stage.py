"""Stage: a training that several cells share, and what is left of it.

A detector over one training set that is judged on several, or a language model that thirteen tasks are asked of: the probe names
it (`Probe.stages`) and asks for it (`Work.stage`); who comes first trains it, all others find it (rice_core.measure.stages).

    stages/<id>/            the files that the training left
    stages/<id>/stage.json  `Trained`: what it was made from, and the sha256 of every file
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

from pydantic import AfterValidator, Field

from rice_core.digest import json_digest
from rice_core.features import Encoder
from rice_core.record import Evidence, Skipped, UsedStage
from rice_core.spec import DatasetSpec, EncoderSpec, Frozen, Param

if TYPE_CHECKING:
    from rice_core.budget import Budget, Passes
    from rice_core.bundle import Bundle
    from rice_core.datasets import Dataset
    from rice_core.ranks import Ranks

E = TypeVar("E", bound=Encoder)
Curve = Sequence[Mapping[str, float]]
"""Points of a training, in the order of its steps."""
STAGE_JSON = "stage.json"
_FILE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99}/)*[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(safetensors|json|jsonl|txt)")
"""What a stage may leave: nothing that has to be unpickled, and no name that leads elsewhere."""


def _checked(name: str) -> str:
    if not _FILE.fullmatch(name) or name == STAGE_JSON:
        raise ValueError(f"a stage leaves safetensors, JSON and text of plain names, not {name!r}")
    return name


class StageSpec(Frozen):
    """What is trained, but for the encoder and the seed; `version` rises when the same settings come to mean other weights."""

    name: str = Field(min_length=1)
    version: int = Field(default=1, ge=1)
    recipe: str = "standard"
    data: tuple[DatasetSpec, ...] = ()
    """Filled in from `Stage.data`."""
    params: dict[str, Param] = {}


class StageRequest(Frozen):
    """One training, as asked for."""

    encoder: EncoderSpec
    stage: StageSpec
    seed: int = Field(default=0, ge=0)
    after: StageRequest | None = None

    @property
    def id(self) -> str:
        """20 hex digits of the sha256 of the request without display names."""
        before = self.after.id if self.after else None
        return json_digest([self.encoder.identity(), self.stage.model_dump(mode="json"), self.seed, before])[:20]

    @property
    def title(self) -> str:
        return f"{self.encoder.title} / {self.stage.name}" + (f" / seed {self.seed}" if self.seed else "")


class Trained(Frozen):
    """A finished training: the content of `stage.json`, which is written last."""

    request: StageRequest
    evidence: Evidence
    """Its `stages` are those that it goes on from."""
    made_from: str
    """Digest of all that it was asked and made from (rice_core.measure.trained)."""
    files: dict[Annotated[str, AfterValidator(_checked)], str] = Field(min_length=1)
    """sha256 by name, below the folder."""
    curve: tuple[dict[str, float], ...] = ()
    skipped: tuple[Skipped, ...] = ()
    seconds: float = 0.0
    """Of the session that finished it."""
    created: str = ""
    """UTC, ISO 8601."""

    @property
    def used(self) -> UsedStage:
        """As records name it."""
        name = self.request.stage.name
        return UsedStage(id=self.request.id, name=name, made_from=self.made_from, digest=json_digest(self.files))


@dataclass(frozen=True)
class Ready:
    """A training that has been made, and was verified just now."""

    folder: Path
    """With its files; not to be written."""
    trained: Trained


@dataclass(frozen=True)
class Companion:
    """Another stage that this run is going to train, and that the same passes of the encoder may serve."""

    stage: Stage
    seed: int
    folder: Path
    """Its `StageWork.folder`: what is left there is found when its turn comes."""


class Handle(Protocol):
    """What a probe and a training are both handed of the outside."""

    workers: int
    """Processes or threads that may decode images beside it."""
    folder: Path
    """For the state of something long, such as checkpoints: there again after an interruption with the same weights, data and
    code; gone when the record, or the training, is finished. Made by whoever writes first."""

    def skip(self, item: str, reason: str) -> None:
        """Say that an input is left out; it is counted and shown in the record."""

    def progress(self, sequence: Sequence[Any], what: str) -> Iterator[Any]:
        """Iterate under a progress bar with an ETA (plain lines on a pipe)."""

    def private(self, encoder: E) -> E:
        """A copy of the encoder whose weights may be trained; the one that is handed over serves other cells too.

        Raises:
            UserError: it has no weights that can be.
        """

    def child(self, module: ModuleType, request: Any, *, cwd: Path | None = None, timeout: float | None = None) -> Any:
        """What `module.main(request)` answers in a process of its own, kept from the network (rice_core.measure.child).

        Args:
            module: its `main` may take `tell` beside the request, by which it says how far it is.
            request: JSON, as is the answer. cwd: its working directory; one of the cell's own by default. timeout: seconds.

        Raises:
            UserError: it failed, was killed or took too long; one sentence.
        """


class StageWork(Handle, Protocol):
    """A training's handle on the outside."""

    ranks: Ranks
    """`Stage.train` is called on each; only the first of them writes, and has the feature cache."""
    companions: tuple[Companion, ...]

    def skip(self, item: str, reason: str, times: int = 1) -> None:
        """See `Handle`.

        Args:
            times: how many inputs the line stands for, where it stands for several of one reason.
        """

    def budget(self) -> Budget:
        """What is known of the encoder's speed, and how much `keep` may take."""

    def has(self, about: Mapping[str, Any]) -> bool:
        """Whether there is something for `find`; it is not looked into."""

    def find(self, about: Mapping[str, Any]) -> Path | None:
        """The safetensors file, verified, of features kept under `about` for these weights, data and code; None where there is none.

        Args:
            about: all else that they depend on, as JSON. Every array of the file can be read by rows (`get_slice`).
        """

    def keep(self, about: Mapping[str, Any], shard: Bundle) -> Path:
        """Put features into the cache, for `find`.

        Raises:
            StoreError: the disk is full.
        """


class Stage(Protocol):
    """One training. Written as a frozen dataclass that derives from this class, whose fields are its settings.

    What its weights depend on is its spec, its data and the code that its module imports: so it stands in a file of its own,
    where no change of how it is judged makes it another. A class variable `instruments` names distributions, as a probe's does.
    """

    @property
    def spec(self) -> StageSpec:
        """Name, version, recipe and parameters."""

    @property
    def after(self) -> Stage | None:
        """The stage whose files it goes on from, with the same encoder and seed."""
        return None

    @property
    def alone(self) -> bool:
        """Whether the first rank makes it by itself, as if there were no others: they wait, and what fails is its cells' failure alone."""
        return False

    @property
    def data(self) -> tuple[Dataset, ...]:
        """What it is trained on and nothing else (rice_core.datasets.only)."""
        return ()

    def shares_with(self, other: Stage) -> bool:
        """Whether the same passes of the encoder can serve both; never those of two classes, whose code may differ."""
        return False

    def cost(self, encoder: EncoderSpec, budget: Budget, *, companions: int = 0) -> Passes:
        """What the training costs, together with so many others that it shares with."""

    def train(self, encoder: Encoder, start: Path | None, out: Path, *, seed: int, work: StageWork) -> Curve:
        """Train, from a checkpoint in `work.folder` on where there is one, and leave the files that count in `out`.

        Args:
            encoder: shared by all that is measured with it; to train its weights, take `work.private(encoder)`.
            start: the folder of `after`. out: empty, written by the first rank alone; safetensors, JSON and text.

        Raises:
            UserError: it cannot be trained; the cells that need it fail with this sentence.
        """


def request_of(stage: Stage, encoder: EncoderSpec, seed: int) -> StageRequest:
    """The training of a stage with an encoder and a seed; it names no machine's path."""
    spec = stage.spec.model_copy(update={"data": tuple(dataset.spec for dataset in stage.data)})
    before = None if stage.after is None else request_of(stage.after, encoder, seed)
    return StageRequest(encoder=encoder.told(), stage=spec, seed=seed, after=before)


def chain(stage: Stage) -> Iterator[Stage]:
    """The stage and those that it goes on from, the last first."""
    yield stage
    if stage.after is not None:
        yield from chain(stage.after)
