"""The light face of a probe: a class with defaults, or a generator function that yields one value an image.

    @probe("length", reads=[dense("val", most="images")], metric=metric("length", better="neither"))
    def length(work: Work, *, images: int = 64) -> Iterator[Yielded]:
        '''Mean length of an image's patch tokens.'''
        for image in work.images("val", most=images):
            yield image, float(np.linalg.norm(image.dense_CHW, axis=0).mean())

`length` is then a class, as every probe is: `length(images=8)`, on the command line `length?images=8`. Whoever needs more than
a mean writes a `LightProbe`; whoever needs all of it, a `rice_core.probe.Probe`.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from rice_core.errors import NotApplicable, UserError, did_you_mean
from rice_core.pooling import MEAN, Pooling
from rice_core.probe import Read, Work
from rice_core.record import Artifact, Metric, Outcome, Scores
from rice_core.spec import ProbeSpec

if TYPE_CHECKING:
    from rice_core.features import Encoder
    from rice_core.stats.estimates import Better

__all__ = ["LightProbe", "Work", "Yielded", "dense", "items", "metric", "probe"]


class Clustered(Protocol):
    """What a value is of: an image of `Work.images`, or whatever else has a name and something to cluster its error by."""

    @property
    def id(self) -> str: ...

    @property
    def cluster(self) -> str: ...


Yielded = tuple[Clustered | str, float] | Artifact
"""What is measured of one thing; a name alone is its own cluster. Or what `Work.artifact_json` and the like gave, which is kept."""


def checked(probe: str, kind: type[Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a dataclass (a probe, a scorer) as its annotations want them: 30 of a float is 30.0.

    Raises:
        UserError: there is no such parameter, or a value is of another kind, or out of the range that the annotation says.
    """
    hints = get_type_hints(kind, include_extras=True)  # a range may stand beside the kind
    fields = {each.name: hints[each.name] for each in dataclasses.fields(kind)}
    found = {}
    for name, value in params.items():
        if name not in fields:
            near = did_you_mean(name, fields)
            has = ", ".join(sorted(fields)) or "none"
            raise UserError(f"{probe} has no parameter {name!r}; {near}it has {has}.")
        try:
            # As in every other setting (`Frozen`), no number may be infinite, and none is a truth value.
            found[name] = TypeAdapter(fields[name], config={"allow_inf_nan": False}).validate_python(value)
        except ValidationError as error:
            like = next(each.default for each in dataclasses.fields(kind) if each.name == name)
            example = "" if like in (dataclasses.MISSING, None) else f"; write a value like {like}"
            raise UserError(f"{probe}: {name}={value}: {error.errors()[0]['msg']}{example}.") from None
        if isinstance(value, bool) and not isinstance(found[name], bool):
            raise UserError(f"{probe}: {name}={value} is a truth value; write a number.")
    return found


@dataclass(frozen=True)
class LightProbe:
    """A `rice_core.probe.Probe` but for its name, what it reads and its `run`; its fields are its parameters.

    Raises:
        UserError: a parameter of another kind than its annotation says, or out of its range (`Annotated[int, Field(ge=1)]`).
    """

    recipe: str = field(default="standard", kw_only=True)

    name: ClassVar[str]
    version: ClassVar[int] = 1
    summary: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset({"dense"})
    data: ClassVar[frozenset[str]] = frozenset()
    instruments: ClassVar[tuple[str, ...]] = ()
    role: ClassVar[str] = ""
    later: ClassVar[frozenset[str]] = frozenset()
    """Parameters that came after the first records: left out of the spec at their default, so that older cells keep their ids."""

    def __post_init__(self) -> None:
        for name, value in checked(self.name, type(self), vars(self)).items():
            object.__setattr__(self, name, value)

    @property
    def spec(self) -> ProbeSpec:
        params = {
            each.name: value
            for each in dataclasses.fields(self)
            if (value := getattr(self, each.name)) != each.default or each.name not in self.later
        }
        recipe = params.pop("recipe")
        return ProbeSpec(name=self.name, version=self.version, recipe=recipe, params=params)

    @property
    def reads(self) -> tuple[Read, ...]:
        """Nothing, unless told."""
        return ()


ReadOf = Callable[[Any], Read]
"""What a probe of some parameters reads."""


def dense(split: str, *, most: int | str | None = None, change: str = "", layer: int | None = None) -> ReadOf:
    """The patch tokens of a split; see `rice_core.probe.Read`.

    Args:
        most: images at most, or the name of the parameter that says how many.
        change: may name parameters, as in "blur:{sigma}".
    """

    def read(probe: Any) -> Read:
        n = getattr(probe, most) if isinstance(most, str) else most
        return Read(split, "dense", n, change=change.format_map(vars(probe)), layer=layer)

    return read


def items(split: str, pooling: Pooling = MEAN, *, change: str = "", layer: int | None = None) -> ReadOf:
    """The pooled features of a split's labelled items; as `dense`."""
    return lambda probe: Read(split, "items", None, pooling, change.format_map(vars(probe)), layer)


@dataclass(frozen=True)
class MetricOf:
    """All of a metric but its number."""

    name: str
    better: Better
    unit: str = ""
    chance: float | None = None
    ceiling: float | None = None
    bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        known = get_args(Metric.model_fields["better"].annotation)
        if self.better not in known:
            raise UserError(f"{self.name}: better is one of {', '.join(known)}, and not {self.better!r}.")

    def of(self, scores: Scores) -> Metric:
        """The mean of the scores, with the error and the interval that their clusters allow. UserError: it is out of bounds."""
        # Not above: `list` reads probes without numpy.
        from rice_core.stats.estimates import metric_of

        try:
            return metric_of(scores, **dataclasses.asdict(self))
        except ValueError as error:
            raise UserError(f"{self.name}: {error}; correct its bounds, or the values.") from None


metric = MetricOf
"""As `@probe` wants it. The direction is declared and never guessed."""


class FunctionProbe(LightProbe):
    """What `probe` makes classes from."""

    function: ClassVar[Callable[..., Iterable[Yielded]]]
    measures: ClassVar[MetricOf]
    asks: ClassVar[tuple[ReadOf, ...]]
    seeded: ClassVar[bool]

    @property
    def reads(self) -> tuple[Read, ...]:
        return tuple(ask(self) for ask in self.asks)

    def run(self, encoder: Encoder, *, seed: int, work: Work) -> Outcome:
        """The mean of all that the function yields; see `rice_core.probe.Probe`."""
        given = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.name != "recipe"}
        found: dict[str, tuple[str, float]] = {}
        artifacts = []
        yielded = type(self).function(work, **given, **({"seed": seed} if self.seeded else {}))
        for each in yielded if isinstance(yielded, Iterable) else [yielded]:
            if isinstance(each, Artifact):
                artifacts.append(each)
                continue
            name, cluster, value = self._judged(each)
            if name in found:
                raise UserError(f"{self.name} yields {name} twice; give each thing that is judged a name of its own.")
            found[name] = cluster, value
        if not found:
            raise NotApplicable(f"{self.name} found nothing to judge")
        clusters, values = zip(*found.values(), strict=True)
        scores = Scores(sample=tuple(found), cluster=clusters, values={self.measures.name: values})
        return Outcome(metrics=(self.measures.of(scores),), scores=scores, artifacts=tuple(artifacts))

    def _judged(self, yielded: Any) -> tuple[str, str, float]:
        """Name, cluster and value of one thing that the function yields."""
        match yielded:
            case (str() as name, value):
                cluster = name
            case (object(id=str() as name, cluster=str() as cluster), value):
                pass
            case _:
                raise UserError(
                    f"{self.name} yields a {type(yielded).__name__}; yield an image and its value, as in `yield image, 0.5`."
                )
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise UserError(
                f"{self.name} yields {value!r:.80} for {name}; leave it out by work.skip, or give it a number."
            )
        return name, cluster, number


def probe(
    name: str,
    *,
    reads: Sequence[ReadOf],
    metric: MetricOf,
    version: int = 1,
    needs: Iterable[str] = ("dense",),
    data: Iterable[str] = (),
    instruments: Iterable[str] = (),
) -> Callable[[Callable[..., Iterable[Yielded]]], type[FunctionProbe]]:
    """Make a probe class of a generator function `f(work, *, parameter: kind = default, ...)`, which yields `Yielded`.

    A parameter `seed: int` without a default is given the cell's. The first line of the docstring is the summary.

    Args:
        reads: what the function will ask of `work`: `dense(...)`, `items(...)`.
        metric: what the mean of the values is called; its error is clustered by image.
        version: as in `rice_core.probe.Probe`, as are the others.

    Raises:
        UserError: a parameter that has no annotation, no default, or is not keyword-only; `reads` names one that is not there;
            or `reads` or `metric` is something else.
    """
    if not isinstance(metric, MetricOf):
        raise UserError(f'{name}: write metric=metric("name", "higher"), and not {metric!r:.80}.')
    if not isinstance(reads, Sequence) or not all(map(callable, reads)):
        raise UserError(f'{name}: write reads=[dense("val"), ...], a list of what is read, and not {reads!r:.80}.')

    def made(function: Callable[..., Iterable[Yielded]]) -> type[FunctionProbe]:
        seeded, fields = _parameters(name, function)
        told = {
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "name": name,
            "version": version,
            "summary": (inspect.getdoc(function) or "").split("\n")[0],
            "needs": frozenset(needs),
            "data": frozenset(data),
            "instruments": tuple(instruments),
            "function": staticmethod(function),
            "measures": metric,
            "asks": tuple(reads),
            "seeded": seeded,
        }
        kind = dataclasses.make_dataclass(
            function.__name__, fields, bases=(FunctionProbe,), namespace=told, frozen=True, kw_only=True
        )
        kind.__module__ = function.__module__  # dataclasses names itself
        try:
            _ = kind().reads
        except (AttributeError, KeyError) as error:
            raise UserError(f"{name}: what it reads names a parameter that it does not have ({error}).") from None
        return kind

    return made


def _parameters(name: str, function: Callable[..., Any]) -> tuple[bool, list[tuple[str, Any, Any]]]:
    """Whether the function takes a seed, and its other parameters as fields."""
    _, *given = inspect.signature(function).parameters.values()
    for each in given:
        told = each.kind is each.KEYWORD_ONLY and each.annotation is not each.empty and each.name != "recipe"
        if not told or (each.name != "seed" and not isinstance(each.default, bool | int | float | str)):
            raise UserError(
                f"{name}: write its parameter {each.name} behind the *, with a kind and a default, as in "
                f"`def {function.__name__}(work, *, images: int = 64)`."
            )
    # Of these alone: what `work` is called may be imported for type checkers only.
    asked = SimpleNamespace(__annotations__={each.name: each.annotation for each in given if each.name != "seed"})
    kinds = get_type_hints(asked, globalns=function.__globals__, include_extras=True)
    return len(kinds) < len(given), [
        (each.name, kinds[each.name], each.default) for each in given if each.name in kinds
    ]
