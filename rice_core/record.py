"""Cell, Record and what they hold: one unit of work, and the one JSON file that says how it came out.

A cell is a request; its id is the hash of its canonical JSON. Digests of weights, data and code are evidence in the
record: a record is reused only while they still match. The schema is append-only: new fields have defaults.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, TypedDict

from pydantic import AfterValidator, Field, field_validator, model_validator

from rice_core.digest import json_digest
from rice_core.disk.paths import without_paths
from rice_core.errors import UserError
from rice_core.spec import DatasetSpec, EncoderSpec, Frozen, Param, ProbeSpec

SCHEMA_VERSION = 1
Sentence = Annotated[str, AfterValidator(without_paths)]
"""Words that quote what others said: of a path of this machine the last name is left."""


def now() -> str:
    """UTC, ISO 8601."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


class Cell(Frozen):
    """(encoder, probe + recipe, data set, seed): the unit of work."""

    encoder: EncoderSpec
    probe: ProbeSpec
    dataset: DatasetSpec
    seed: int = Field(default=0, ge=0)
    limit: int | None = Field(default=None, ge=1)
    """Images of each split; None is all. A limit taints the record."""

    @property
    def id(self) -> str:
        """20 hex digits of the sha256 of the request without display names."""
        body = self.model_dump(mode="json", exclude={"encoder": {"name"}})
        return json_digest(body)[:20]

    def matches(self, pattern: str) -> bool:
        """Whether a glob names this cell: its id, "encoder/probe", or "encoder/probe/data set", as tables show them."""
        place = f"{self.encoder.title}/{self.probe.name}"
        return any(fnmatchcase(name, pattern) for name in (place, f"{place}/{self.dataset.name}", self.id))

    @property
    def comparable(self) -> str:
        """Two records may be ranked together only where this is equal: everything but the encoder and the seed."""
        body = self.model_dump(mode="json", exclude={"encoder": True, "seed": True})
        return json_digest(body)[:20]


class Metric(Frozen):
    """One number with what is needed to read it. Direction is declared, never inferred."""

    name: str = Field(min_length=1)
    value: float
    unit: str = ""
    better: Literal["higher", "lower", "neither"] = "higher"
    n: int = Field(ge=0)
    """Samples the value is over."""
    stderr: float | None = Field(default=None, ge=0)
    """Standard error, in the unit of the value."""
    ci95: tuple[float, float] | None = None
    method: str = ""
    """How the error was found: "clustered by image", "bootstrap over images (1000)"."""
    chance: float | None = None
    """What features independent of the image score, in expectation; None where it is not defined."""
    ceiling: float | None = None
    bounds: tuple[float, float] | None = None
    """The least and the largest value that there can be, whatever is measured. Declared, and the interval keeps to them; None
    where there are none, and in records of before."""

    @property
    def suffix(self) -> str:
        """The unit as it stands behind a number: `%`, ` of 1000`."""
        return self.unit if self.unit in ("", "%") else f" {self.unit}"

    @model_validator(mode="after")
    def _within_bounds(self) -> Metric:
        if self.bounds is None:
            return self
        low, high = self.bounds
        slack = 1e-9 * (high - low)  # of rounding
        if not low < high or not low - slack <= self.value <= high + slack:
            raise ValueError(f"{self.name} is {self.value}, which is not within {low:g} to {high:g}")
        if self.ci95 is not None and not low <= self.ci95[0] <= self.ci95[1] <= high:
            raise ValueError(f"the interval of {self.name}, {self.ci95}, is not within {low:g} to {high:g}")
        return self


class Scores(Frozen):
    """Per-sample values in columns, so that two encoders can be compared sample by sample.

    `values[metric][i]` belongs to `sample[i]`, in the metric's unit, such that the metric is their plain mean.
    `cluster[i]` (an image, document, video) is what the error is clustered by.
    """

    sample: tuple[str, ...]
    cluster: tuple[str, ...]
    values: dict[str, tuple[float, ...]]

    @model_validator(mode="after")
    def _columns(self) -> Scores:
        if len(set(self.sample)) != len(self.sample):
            raise ValueError("sample ids must be unique")
        for name, column in {"cluster": self.cluster, **self.values}.items():
            if len(column) != len(self.sample):
                raise ValueError(f"column {name!r} has {len(column)} rows for {len(self.sample)} samples")
        return self


class Told(TypedDict, total=False):
    """What a probe says of an artifact: `title`, `caption` and `figure` of `Artifact`."""

    title: str
    caption: str
    figure: str


class Artifact(Frozen):
    """A file that a probe left beside its record: numbers for a figure, a picture, or lines for other programs."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    kind: Literal["json", "png", "webp", "jsonl"]
    title: Sentence = Field(default="", max_length=200)
    """What stands above it in a report."""
    caption: Sentence = Field(default="", max_length=2000)
    """What has to be known to read it."""
    figure: str = Field(default="", pattern=r"^([a-z][a-z0-9-]*)?$")
    """How it is drawn: a type of `rice_core.figures`, or another that is installed. Empty: not at all, and a picture as it is."""


class Outcome(Frozen):
    """What a probe returns."""

    metrics: tuple[Metric, ...]
    scores: Scores | None = None
    artifacts: tuple[Artifact, ...] = ()
    assumptions: tuple[Sentence, ...] = ()
    """What the paper or the data set does not say and the probe decided: one sentence each."""
    used: dict[str, Param] = {}
    """Parameters that were, or may have been, used otherwise than asked (fewer images, a lower perplexity, what "auto" came to),
    with what was used."""

    @field_validator("artifacts")
    @classmethod
    def _apart(cls, artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        twice = [name for name, times in Counter(each.name for each in artifacts).items() if times > 1]
        if twice:
            raise UserError(f"It leaves {twice[0]} more than once; give each artifact a name of its own.")
        return artifacts


class UsedStage(Frozen):
    """A training that a number rests on (rice_core.stage)."""

    id: str = Field(pattern=r"^[0-9a-f]{20}$")
    name: str
    made_from: str
    """Digest of what it was asked and made from."""
    digest: str
    """Of its files."""


class Evidence(Frozen):
    """What the number was made from."""

    weights: str
    architecture: str = ""
    data: str
    code: str
    shared_code: str = ""
    """Of the code without the encoder's adapter: what encoders of several sources can be held against each other by.
    Empty where an older version wrote the record, whose `code` is that."""
    commit: str | None = None
    dirty: bool | None = None
    libraries: dict[str, str] = {}
    device: str = ""
    n_params: int = 0
    dim: int = 0
    patch: int = 0
    resolution: tuple[int, int] = (0, 0)
    encoder_facts: dict[str, Sentence] = {}
    """Training tags of the encoder, as its own file gives them."""
    stages: tuple[UsedStage, ...] = ()
    """Trainings that the number rests on, with those that they went on from."""
    deterministic: bool = False
    """Whether it was made by `--deterministic`, and the trainings that it rests on too. No part of what is reused: no number means another."""

    def reuse_key(self) -> tuple[str, ...]:
        stages = [[stage.id, stage.made_from, stage.digest] for stage in self.stages]
        return self.weights, self.architecture, self.data, self.code, json_digest(stages) if stages else ""

    def origin(self) -> tuple[str, ...]:
        """What half of it was made from: what was begun in another mode is not gone on with."""
        return (*self.reuse_key(), *(["deterministic"] if self.deterministic else []))

    def resting_on(self, stages: tuple[UsedStage, ...], deterministic: bool) -> Evidence:
        """The same with trainings.

        Args:
            deterministic: whether all of them are.
        """
        told = {"stages": stages, "deterministic": self.deterministic and deterministic}
        return self.model_copy(update=told)

    def new_since(self, before: Evidence) -> str:
        """What is another than before, as in "data and code"; empty where nothing is."""
        names = ("weights", "architecture", "data", "code", "training")
        pairs = zip(names, before.reuse_key(), self.reuse_key(), strict=True)
        return " and ".join(name for name, was, now in pairs if was != now)


class Skipped(Frozen):
    """An input that was left out, with the reason; counted, never silent."""

    item: Annotated[str, AfterValidator(lambda item: without_paths(item) if item.startswith("/") else item)]
    reason: Sentence
    times: int = Field(default=1, ge=1)
    """How many things this line stands for, where it stands for several (the crowd regions of a file)."""


TOO_HIGH = "numbers over val are too high"
"""The end of a data set's note that says what train and val share, in `Record.notes`."""


class Record(Frozen):
    """One finished cell."""

    schema_version: int = SCHEMA_VERSION
    cell: Cell
    status: Literal["done", "failed", "not_applicable"]
    metrics: tuple[Metric, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    assumptions: tuple[Sentence, ...] = ()
    used: dict[str, Param] = {}
    """As in `Outcome`, but only what differs from `cell.probe.params`."""
    scores_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    error: Sentence | None = None
    evidence: Evidence | None = None
    taints: tuple[str, ...] = ()
    """Why this number must not stand in a paper table: "limit 64", "uncommitted code"."""
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    """What has to be known of the data to read the number: images that val shares with train, classes that train lacks."""
    seconds: float = 0.0
    images_per_second: float | None = None
    created: str = ""
    """UTC, ISO 8601."""

    @model_validator(mode="before")
    @classmethod
    def _version(cls, body: Any) -> Any:
        if isinstance(body, dict) and body.get("schema_version", SCHEMA_VERSION) > SCHEMA_VERSION:
            raise ValueError("was written by a newer ricebench")
        return body

    @property
    def first(self) -> str:
        """Its first metric in a line for people; empty where it has none."""
        return f"{self.metrics[0].name} {self.metrics[0].value:.2f}{self.metrics[0].suffix}" if self.metrics else ""

    def metric(self, name: str) -> Metric | None:
        return next((metric for metric in self.metrics if metric.name == name), None)
