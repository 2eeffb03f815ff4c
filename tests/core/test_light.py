"""The light face: a probe of a function is a probe like any other, and says at once what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
import pytest
from pydantic import Field

from rice_core.errors import NotApplicable, UserError
from rice_core.light import LightProbe, Yielded, checked, dense, items, metric, probe
from rice_core.measure.config import build_probe
from rice_core.pooling import Pooling
from rice_core.probe import DenseImage, Read
from rice_core.record import Artifact
from rice_core.spec import ProbeRequest
from rice_core.stats.estimates import mean_clustered

if TYPE_CHECKING:
    from rice_core.probe import Work  # at run time it is not there: what `work` is called is nobody's business

MEAN_LENGTH = metric("length", "neither", unit="px", bounds=(0.0, 10.0))


@probe(
    "length", reads=[dense("val", most="images"), items("train", Pooling("cls"))], metric=MEAN_LENGTH, data=["labels"]
)
def length(work: Work, *, images: int = 3, scale: float = 1.0, seed: int) -> Iterator[Yielded]:
    """Mean length of tokens.

    And more.
    """
    for image in work.images("val", most=images):
        yield image, scale * float(np.linalg.norm(image.dense_CHW, axis=0).mean()) + seed


class Images:
    """A `Work` of given token lengths by image."""

    def __init__(self, **lengths: float) -> None:
        self._lengths = lengths

    def images(self, split: str, *, most: int | None = None) -> Iterator[DenseImage]:
        assert split == "val"
        for name, value in list(self._lengths.items())[:most]:
            yield DenseImage(name, np.full((4, 2, 2), value / 2, np.float32), None, np.zeros((8, 8, 3), np.uint8))


def test_a_function_is_a_probe() -> None:
    assert (length.name, length.version, length.summary) == ("length", 1, "Mean length of tokens.")
    assert (length.needs, length.data) == (frozenset({"dense"}), frozenset({"labels"}))
    assert length.__module__ == __name__
    assert length(images=2).spec.params == {"images": 2, "scale": 1.0}
    assert length(images=2).spec == length(images=2, scale=1).spec
    assert length(images=2).reads == (Read("val", "dense", 2), Read("train", "items", pooling=Pooling("cls")))


def test_its_mean_and_error_are_those_of_its_values() -> None:
    outcome = length(images=3).run(None, seed=1, work=Images(a=1, b=2, c=6, d=9))
    (found,) = outcome.metrics
    wanted = mean_clustered([2.0, 3.0, 7.0], ["a", "b", "c"], (0.0, 10.0))
    assert (found.name, found.unit, found.better, found.n) == ("length", "px", "neither", 3)
    assert (found.value, found.stderr, found.ci95) == (wanted.value, wanted.stderr, wanted.ci95)
    assert outcome.scores is not None
    assert outcome.scores.values == {"length": (2.0, 3.0, 7.0)}


def test_the_error_is_clustered_by_what_the_values_are_of() -> None:
    @dataclass(frozen=True)
    class Object:
        id: str
        cluster: str

    @probe("two", reads=[], metric=MEAN_LENGTH)
    def two(work: Work) -> Iterator[Yielded]:
        yield from ((Object(f"{image}#{k}", image), float(k + 3 * (image == "b"))) for image in "ab" for k in range(2))

    (found,) = two().run(None, seed=0, work=Images()).metrics
    assert found.stderr == mean_clustered([0, 1, 3, 4], ["a", "a", "b", "b"]).stderr
    assert found.stderr != mean_clustered([0, 1, 3, 4], list("abcd")).stderr


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"imges": 2}, "did you mean images?"),
        ({"images": "many"}, r"length: images=many: .* write a value like 3\."),
        ({"images": 2.5}, "images=2.5"),
        ({"images": True}, "truth value"),
        ({"scale": float("inf")}, "finite"),
    ],
)
def test_parameters_are_checked(params: dict[str, object], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        load = staticmethod(lambda: length)

    monkeypatch.setattr("rice_core.measure.config.probe_entry_points", lambda: {"length": Point})
    with pytest.raises(UserError, match=says):
        build_probe(ProbeRequest(name="length", params=params))
    with pytest.raises((UserError, TypeError), match=says if "imges" not in params else "imges"):
        length(**params)


def test_what_it_yields_is_checked() -> None:
    def run(*values: object) -> None:
        @probe("given", reads=[], metric=MEAN_LENGTH)
        def given(work: Work) -> Iterator[Yielded]:
            yield from values

        given().run(None, seed=0, work=Images())

    run(("a", 1.0))
    with pytest.raises(UserError, match="given yields a twice"):
        run(("a", 1.0), ("a", 2.0))
    with pytest.raises(UserError, match="given yields nan for a"):
        run(("a", float("nan")))
    with pytest.raises(UserError, match="given yields None for a; leave it out"):
        run(("a", None))
    for wrong in (DenseImage("a", None, None, None), 3.0, "a", ("a", 1.0, 2.0), (np.zeros(3), 1.0), np.zeros(2)):
        with pytest.raises(UserError, match=r"given yields a \w+; yield an image and its value"):
            run(wrong)
    with pytest.raises(UserError, match=r"length: 11.0 is not within 0 to 10; correct its bounds"):
        run(("a", 11.0), ("b", 11.0))
    artifact = Artifact(name="a.json", sha256="0" * 64, kind="json")
    run(("a", np.float32(1)), artifact)
    with pytest.raises(UserError, match=r"It leaves a\.json more than once"):
        run(("a", 1.0), artifact, artifact)
    with pytest.raises(NotApplicable, match="given found nothing to judge"):
        run()


def test_a_parameter_may_say_its_range_and_its_choices() -> None:
    @probe("ranged", reads=[], metric=MEAN_LENGTH)
    def ranged(
        work: Work, *, images: Annotated[int, Field(ge=1, le=9)] = 3, pool: Literal["mean", "cls"] = "mean"
    ) -> Iterator[Yielded]:
        yield "a", 1.0

    assert (ranged(images=9).images, ranged(pool="cls").pool) == (9, "cls")
    for params, says in (
        ({"images": 0}, r"ranged: images=0: .* greater than or equal to 1; write a value like 3\."),
        ({"images": 10}, "images=10: .* less than or equal to 9"),
        ({"pool": "max"}, r"pool=max: Input should be 'mean' or 'cls'; write a value like mean\."),
    ):
        with pytest.raises(UserError, match=says):
            ranged(**params)


def test_a_parameter_without_a_value_of_its_own_has_no_example() -> None:
    @dataclass
    class Open:
        top: int | None = None

    with pytest.raises(UserError, match=r"^open: top=1.5: .*fractional part\.$"):
        checked("open", Open, {"top": 1.5})


def test_a_function_that_is_none_is_refused_where_it_stands() -> None:
    def positional(work: Work, images: int = 3) -> Iterator[Yielded]:
        yield "a", 1.0

    def untyped(work: Work, *, images=3) -> Iterator[Yielded]:
        yield "a", 1.0

    def without_default(work: Work, *, images: int) -> Iterator[Yielded]:
        yield "a", 1.0

    for function in (positional, untyped, without_default):
        with pytest.raises(UserError, match=r"bad: write its parameter images behind the \*"):
            probe("bad", reads=[], metric=MEAN_LENGTH)(function)
    for told, says in (
        ({"reads": dense("val"), "metric": MEAN_LENGTH}, r"bad: write reads=\[dense"),
        ({"reads": [Read("val", "dense")], "metric": MEAN_LENGTH}, r"bad: write reads=\[dense"),
        ({"reads": [], "metric": "m"}, "bad: write metric=metric.*not .m."),
    ):
        with pytest.raises(UserError, match=says):
            probe("bad", **told)
    with pytest.raises(UserError, match="m: better is one of higher, lower, neither, and not 'up'"):
        metric("m", "up")

    @probe("plain", reads=[], metric=MEAN_LENGTH)
    def plain(work: Work) -> float:
        return 3.0

    with pytest.raises(UserError, match="plain yields a float; yield an image"):
        plain().run(None, seed=0, work=Images())
    with pytest.raises(UserError, match=r"reads names a parameter that it does not have .*imgs"):
        probe("bad", reads=[dense("val", most="imgs")], metric=MEAN_LENGTH)(length.function)


def test_a_parameter_that_came_later_keeps_the_older_cells() -> None:
    @dataclass(frozen=True)
    class Grown(LightProbe):
        k: int = 3
        pool: str = "mean"
        name: ClassVar[str] = "grown"
        later: ClassVar[frozenset[str]] = frozenset({"pool", "layers"})

    assert Grown().spec.params == {"k": 3}
    assert Grown(4, pool="cls", recipe="paper").spec.params == {"k": 4, "pool": "cls"}
    assert Grown(recipe="paper").spec.recipe == "paper"
    assert Grown().reads == ()
