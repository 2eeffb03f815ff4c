"""Probe and Work: a probe is one class in one file; `Work` is its only handle on the outside.

A probe never opens a data set, a cache or a path of its own, so it cannot write where it should not, and a test passes
a fake `Work`. Shapes: N items, C channels, H x W the patch grid, G x G a grid that all encoders share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Unpack, overload, runtime_checkable

from rice_core.changes import Change
from rice_core.errors import NotApplicable, UserError, one_line
from rice_core.features import Encoder
from rice_core.pooling import MEAN, Pooling
from rice_core.record import Artifact, Outcome, Told
from rice_core.spec import ProbeSpec
from rice_core.stage import Handle

if TYPE_CHECKING:  # `list` reads probes without numpy, which is a third of its time
    import numpy as np
    import numpy.typing as npt

    from rice_core.budget import Budget, Passes
    from rice_core.datasets import Dataset, Sample
    from rice_core.datasets.nouns import Kind
    from rice_core.ranks import Ranks
    from rice_core.stage import Ready, Stage

View = Literal["items", "dense"]


@dataclass(frozen=True)
class Items:
    """One row a labelled thing: an object of a COCO-format set, or a whole image of a folder-per-class set.

    Features are the mean of the patch tokens that the object's mask (else its box) covers, weighted by coverage; the mean
    of all tokens for a whole image, or what another `Pooling` asks for.
    """

    x_NC: npt.NDArray[np.float32]
    y_N: npt.NDArray[np.int64]
    """Index into `classes`; -1 where the data set has no labels."""
    ids: tuple[str, ...]
    """Unique: the image id, then `#k` for its k-th object."""
    clusters: tuple[str, ...]
    """What the error is clustered by: the image's scene where it is known, else the image id."""
    classes: tuple[str, ...]


@dataclass(frozen=True)
class DenseImage:
    """One image of a `DenseBatch`, whose fields say more."""

    id: str
    dense_CHW: npt.NDArray[np.float32]
    labels_HW: npt.NDArray[np.int64] | None
    pixels_HW3: npt.NDArray[np.uint8]
    target_HW: npt.NDArray[np.float32] | None = None
    valid_HW: npt.NDArray[np.bool_] | None = None
    scene: str = ""
    """What it shows as others do, where that is known."""

    @property
    def cluster(self) -> str:
        """What the error of a number over it is clustered by: its scene, else itself."""
        return self.scene or self.id

    @property
    def patch(self) -> int:
        """Side of the square of pixels that a token is of."""
        return int(self.pixels_HW3.shape[0] // self.dense_CHW.shape[1])


@dataclass(frozen=True)
class DenseBatch:
    """Patch tokens of a few images, squashed to the encoder's resolution, with the truth in the same geometry."""

    ids: tuple[str, ...]
    dense_NCHW: npt.NDArray[np.float32]
    labels_NHW: npt.NDArray[np.int64] | None
    """Category of each *input pixel* (encoder resolution), else `features.BACKGROUND` or `IGNORE`; None where the data set
    has neither regions nor label maps."""
    pixels_NHW3: npt.NDArray[np.uint8]
    """The images the encoder saw, before normalisation."""
    targets_NHW: npt.NDArray[np.float32] | None = None
    """What is to be told of each input pixel by a number (depth, say); None where the data set has none ("targets")."""
    valid_NHW: npt.NDArray[np.bool_] | None = None
    """Where that is known; elsewhere `targets_NHW` is 0."""
    scenes: tuple[str, ...] | None = None
    """What the error is clustered by; None: each image by itself."""

    def __iter__(self) -> Iterator[DenseImage]:
        arrays = self.dense_NCHW, self.labels_NHW, self.pixels_NHW3, self.targets_NHW, self.valid_NHW
        of_image = (*arrays, self.scenes or self.ids)
        return map(DenseImage, self.ids, *(repeat(None) if each is None else each for each in of_image))


@dataclass(frozen=True)
class Read:
    """What a probe reads through `work`; declared so that one forward pass can serve several probes."""

    split: str
    view: View
    most: int | None = None
    """Images at most; None is all."""
    pooling: Pooling = MEAN
    """Of items."""
    change: str = ""
    """Of the pictures before they are encoded, as `blur:3` (rice_core.changes); empty is none."""
    layer: int | None = None
    """The block that is read, as `layers=` of an encoder's string counts and norms them; None is the encoder's own."""

    def __post_init__(self) -> None:
        """Raises UserError where there is no such change."""
        object.__setattr__(self, "change", str(Change.parse(self.change)) if self.change else "")
        if self.layer is not None and self.pooling != MEAN:
            raise ValueError("a pooling says itself which blocks it is over; leave out the layer")


class Errand(Protocol):
    """What the ranks of a run do together for a probe. It is sent to each of them, so it holds plain values."""

    def run(self, encoder: Encoder, ranks: Ranks, progress: Callable[[Sequence[Any], str], Iterator[Any]]) -> Any:
        """On every rank; what the first returns is the answer.

        Raises:
            UserError: it cannot be done. On the first rank, when the others have done their part: nobody waits for them.
        """


class Work(Handle, Protocol):
    """A probe's handle on data, cache, progress and files."""

    classes: tuple[str, ...]
    limit: int | None
    parts: Mapping[str, Dataset]
    """Of a suite: its data sets by name; empty for any other data set."""
    domain: Mapping[str, str]
    """Of a suite: what each data set is grouped under; one that could not be read is here and not in `parts`."""
    stages: tuple[Stage, ...]
    """Those that the probe names for this data set."""
    exports: Path
    """For files that other tools read (results in a benchmark's own format): no part of the record, and free to be deleted."""

    @overload
    def samples(self, split: str) -> Sequence[Sample]: ...

    @overload
    def samples(self, split: str, kind: type[Kind]) -> Sequence[Kind]:
        """The images of a split, for a probe that owns their geometry, or its items of another kind.

        Args:
            kind: `Sample`, `Video`, `Conversation` or `Expression`.

        Raises:
            NotApplicable: there are none; the sentence names the splits that are there.
        """

    def annotations(self, split: str) -> Path | None:
        """The annotation file that the split was read from, for what `Sample.regions` leaves out; None where there is none."""

    def items(
        self, encoder: Encoder, split: str, pooling: Pooling = MEAN, *, change: str = "", layer: int | None = None
    ) -> Items:
        """All labelled items of a split with their pooled features (cached). See `Read` for the arguments.

        Raises:
            NotApplicable: the encoder or the data set has nothing to pool that way; the sentence says what is missing.
        """

    def dense(
        self, encoder: Encoder, split: str, *, most: int | None = None, change: str = "", layer: int | None = None
    ) -> Iterator[DenseBatch]:
        """Patch tokens of a split in a fixed order (cached), shard by shard; at most `most` images. See `Read`.

        Raises:
            NotApplicable: `layer` is asked of an encoder that does not give its blocks.
        """

    def images(
        self, split: str, *, most: int | None = None, change: str = "", layer: int | None = None
    ) -> Iterator[DenseImage]:
        """`dense` of the cell's encoder, one image at a time."""

    def stage(self, stage: Stage) -> Ready:
        """The training of one of `stages`, or of one that these go on from: made now, or found and verified.

        Raises:
            UserError: it fails.
        """

    def share(self, errand: Errand) -> Any:
        """What `errand.run` returns, with the encoder of the cell; under torchrun on all ranks together.

        Raises:
            UserError: as `errand.run`. TrainingLost: it fails while other ranks are in the middle of it.
        """

    def artifact_json(self, name: str, body: Any, **told: Unpack[Told]) -> Artifact:
        """Keep numbers for a figure; `name` ends in .json. NaN is refused.

        Args:
            told: title and caption, and which `figure` a report draws of it: "lines", "bars", "histogram", "heatmap", "scatter",
                "table", "examples", whose bodies are in `rice_core.figures`, or another that is installed.

        Raises:
            UserError: the body is not what the figure needs.
        """

    def artifact_jsonl(self, name: str, rows: Iterable[Any], **told: Unpack[Told]) -> Artifact:
        """Keep one JSON value a line, for other programs; `name` ends in .jsonl. With a title, a report offers it."""

    def artifact_png(self, name: str, pixels_HW3: npt.NDArray[np.uint8], **told: Unpack[Told]) -> Artifact:
        """Keep a picture; `name` ends in .png. Its figure is "image", or "wide-image" where no other fits beside it."""

    def artifact_webp(self, name: str, pixels: npt.NDArray[np.uint8], **told: Unpack[Told]) -> Artifact:
        """As `artifact_png`, with losses and a tenth of the size; `name` ends in .webp. (T, H, W, 3) is an animation, 10 frames/s."""


class Probe(Protocol):
    """One downstream measurement. Written as a frozen dataclass whose fields are its parameters.

    Class variables are read by `list` and `show` without building one; so a probe's module imports torch, sklearn and
    the like inside its functions. A further one, `instruments`, names the distributions that the number is computed with
    ("torch", "pycocotools"): a record made with another version of one is not reused; `role` ("detection") is what
    `--data ROLE=FOLDER` may call the data of several probes beside their names.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    """Rises when the same parameters come to mean another number."""
    summary: ClassVar[str]
    """One line for `ricebench list probes`."""
    needs: ClassVar[frozenset[str]]
    """Of the encoder: "dense", "cls", "levels", "grad", "multires"."""
    data: ClassVar[frozenset[str]]
    """Of the data set: "labels" (items with a class), "regions" (boxes or masks); the others are told at `datasets.Dataset.provides`."""

    @property
    def spec(self) -> ProbeSpec:
        """Name, version, recipe and parameters."""

    @property
    def reads(self) -> tuple[Read, ...]:
        """All that `run` will ask of `work`."""

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        """Measure.

        Raises:
            NotApplicable: nothing can be said (one class, no val items); the sentence says why.
        """


@runtime_checkable
class Live(Protocol):
    """What a probe adds that sends images through the encoder itself, as `plan` has to know how many."""

    def passes(self, dataset: Dataset, budget: Budget) -> Passes:
        """What a cell costs beside the training of its stages."""


@runtime_checkable
class Published(Protocol):
    """What a probe adds whose published data are known by their sizes: `plan` then prices it before anything was downloaded."""

    def published(self) -> Dataset:
        """Splits of the right lengths, whose items no file belongs to."""


@runtime_checkable
class Equipped(Protocol):
    """What a probe adds that needs packages or data of others, which may be missing when hours of training are over."""

    def lacks(self) -> str:
        """What is missing, a sentence that says what to install; empty where nothing is. It is said before any cell is measured."""


@runtime_checkable
class Staged(Protocol):
    """What a probe adds whose number rests on trainings that other cells may share (rice_core.stage)."""

    def stages(self, dataset: Dataset) -> tuple[Stage, ...]:
        """All that `run` will ask `Work.stage` for, but for those that these go on from; seeds are the cells'."""


@runtime_checkable
class Learns(Protocol):
    """What a probe adds that may be trained on other data sets than it is judged on; `Dataset.learnt_from` are those that it takes.

    A class variable `lessons` names the splits that it learns from, each of which has to be there; without one it is train.
    """

    def learns_from(self, dataset: Dataset) -> bool:
        """Whether it is trained on one that `--data train=FOLDER` gives: a benchmark's protocol may allow a single one."""


def lessons(probe: Probe) -> tuple[str, ...]:
    """The splits that a probe learns from; see `Learns`."""
    named: tuple[str, ...] = getattr(probe, "lessons", ("train",))
    return named


def untaught(probe: Probe, dataset: Dataset) -> bool:
    """Whether a probe finds nothing to learn from: the data set lacks such a split, and nothing was given in its place."""
    return isinstance(probe, Learns) and not dataset.learnt_from and not all(map(dataset.splits.get, lessons(probe)))


def stages_named(probe: Probe, dataset: Dataset) -> tuple[Stage, ...]:
    """The stages of a probe; none where it names none, or where the data set is not for it (which measuring it says).

    Raises:
        UserError: its `stages` fails in another way.
    """
    try:
        return tuple(probe.stages(dataset)) if isinstance(probe, Staged) and not untaught(probe, dataset) else ()
    except (NotApplicable, UserError):
        return ()
    except Exception as error:
        raise UserError(f"{probe.name} cannot say its stages: {one_line(error)}; mend its stages(dataset).") from error
