"""What is known of an encoder's cost without loading it, and what may be spent on keeping its features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from rice_core.record import Evidence, Record
from rice_core.spec import EncoderSpec, Param


@dataclass(frozen=True)
class Took:
    """What a finished training took."""

    stage: str
    params: Mapping[str, Param]
    """Of its `StageSpec`."""
    seconds: float


@dataclass(frozen=True)
class Budget:
    """What a choice between computing features again and keeping them rests on."""

    cache: int
    """Bytes that the cache may hold."""
    free: int
    """Bytes that may still be written."""
    dim: int | None = None
    patch: int | None = None
    tokens: int = 0
    """Patch tokens of an image at the encoder's own resolution."""
    tokens_per_second: float | None = None
    """That the encoder has given in earlier measurements, decoding included."""
    trained: tuple[Took, ...] = ()
    """Trainings with the encoder that are finished: what their like took says what others will."""

    @property
    def side(self) -> int | None:
        """Of an image at the encoder's own resolution, in pixels; None where that is not known."""
        return round(self.tokens**0.5) * self.patch if self.patch and self.tokens else None

    def shared(self, share: float) -> Budget:
        """With this share of the space."""
        return replace(self, cache=int(self.cache * share), free=int(self.free * share))


@dataclass(frozen=True)
class Passes:
    """How many images a probe will send through the encoder itself, and why so many."""

    images: int
    side: int
    """Of each, in pixels."""
    why: str
    steps: int = 0
    """Of a training that makes steps."""
    seconds: float | None = None
    """Of the training in all, by what its like took; None where none is on record."""
    short: str = ""
    """Settings of a training that is over soon, for whoever wants to put one on record."""


def budget_of(encoder: EncoderSpec, records: Sequence[Record], space: Budget) -> Budget:
    """`space` with what the records of an encoder say."""
    own = [record for record in records if record.cell.encoder.identity() == encoder.identity()]
    known = [(record, record.evidence) for record in own if record.evidence is not None and record.evidence.patch]
    if not known:
        return space
    speeds = [record.images_per_second * _tokens(made) for record, made in known if record.images_per_second]
    _, evidence = known[0]
    return replace(
        space,
        dim=evidence.dim,
        patch=evidence.patch,
        tokens=_tokens(evidence),
        tokens_per_second=median(speeds) if speeds else None,
    )


def _tokens(evidence: Evidence) -> int:
    h, w = evidence.resolution
    return (h // evidence.patch) * (w // evidence.patch)
