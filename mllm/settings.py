"""What may be asked of a probe of Table 1: a recipe, and settings in the place of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from mllm.llava.recipe import RECIPES, CrocLearning, LlavaAsking, LlavaConfig, LlavaLearning, LlavaRecipe
from rice_core.errors import UserError, did_you_mean
from rice_core.spec import Frozen, Param, ProbeSpec

PartT = TypeVar("PartT", bound=Frozen)
_MODEL = ("lm", "layer", "tiles", "square")
_ALL = ("batch", "part", "labels", "context", "precision")
_INSTRUCT = ("epochs", "tower_rate", "lm_rate")
_ASKING = ("at_once", "most")


@dataclass(frozen=True)
class LlavaSettings:
    """What is left at None is the recipe's."""

    recipe: str = "paper@1"
    lm: str | None = None
    """The language model: a name of the hub, a folder, or `mini`."""
    layer: int | None = None
    tiles: str | None = None
    square: str | None = None
    batch: int | None = None
    """Samples a step, in all trainings, as the four below."""
    part: int | None = None
    labels: str | None = None
    context: int | None = None
    precision: str | None = None
    epochs: int | None = None
    """Of the last training, as the rates below."""
    tower_rate: float | None = None
    lm_rate: float | None = None
    at_once: int | None = None
    """Questions that are answered together."""
    most: int | None = None
    """Tokens of an answer, where the task sets no limit."""

    name: ClassVar[str]
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        self.settings()  # what is misspelt is told before anything is loaded

    @property
    def spec(self) -> ProbeSpec:
        from mllm.llava.language_model import identity

        own = self._base()
        # What the recipe has, asked for or not, is one measurement, and may stand beside the paper.
        params: dict[str, Param] = {
            name: value for name, value in self._given().items() if _changed(own, {name: value}) != own
        }
        if self.lm is not None and "lm" in params:
            params["lm"] = identity(self.lm)  # records name no folder of a machine
        return ProbeSpec(name=self.name, version=self.version, recipe=self.recipe, params=params)

    def settings(self) -> LlavaRecipe:
        """The recipe with what was given in its place.

        Raises:
            UserError: no such recipe, or a setting that it cannot have.
        """
        from pydantic import ValidationError

        base = self._base()
        try:
            made = _changed(base, self._given())
        except ValidationError as error:
            problem = error.errors()[0]
            said = problem["msg"].removeprefix("Value error, ")
            raise UserError(f"{': '.join([self.name, *map(str, problem['loc']), said])}.") from None
        # Of other settings its reading would say what is not so.
        return made if _read_alike(made) == _read_alike(base) else made.model_copy(update={"reading": ""})

    def _base(self) -> LlavaRecipe:
        if self.recipe not in RECIPES:
            near = did_you_mean(self.recipe, RECIPES)
            raise UserError(
                f"{self.name}: there is no recipe {self.recipe!r}; {near}write one of {', '.join(RECIPES)}."
            )
        return RECIPES[self.recipe]

    def _given(self) -> dict[str, Any]:
        names = (*_MODEL, *_ALL, *_INSTRUCT, *_ASKING)
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def _changed(recipe: LlavaRecipe, given: Mapping[str, Any]) -> LlavaRecipe:
    """With other settings, each where it belongs."""

    def part(kind: type[PartT], own: PartT, names: tuple[str, ...]) -> PartT:
        return kind.model_validate(own.model_dump() | {name: given[name] for name in names if name in given})

    return recipe.model_copy(
        update={
            "model": part(LlavaConfig, recipe.model, _MODEL),
            "align": part(LlavaLearning, recipe.align, _ALL),
            "croc": recipe.croc and part(CrocLearning, recipe.croc, _ALL),
            "instruct": part(LlavaLearning, recipe.instruct, (*_ALL, *_INSTRUCT)),
            "asking": part(LlavaAsking, recipe.asking, _ASKING),
        }
    )


def _read_alike(recipe: LlavaRecipe) -> LlavaRecipe:
    """Without what a recipe's reading of the paper does not speak of: the language model, what memory allows, and how questions are asked."""
    learnt = {
        name: learning.model_copy(update={"part": 1})
        for name in ("align", "croc", "instruct")
        if (learning := getattr(recipe, name)) is not None
    }
    return recipe.model_copy(
        update={"model": recipe.model.model_copy(update={"lm": ""}), "asking": LlavaAsking(), **learnt}
    )
