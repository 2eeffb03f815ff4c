"""What a user asks for: which encoder, which probe, which data set. Frozen values that parse from one short string.

Encoder shorthand:

    [name=]source:model[@revision][?key=value&...]

    hf:DeepGlint-AI/rice-vit-large-patch14-560@main?res=560&layers=-2
    timm:vit_base_patch16_siglip_512        open_clip:ViT-L-14-336/openai
    rice:runs/mini/encoder                  synthetic:noise

    keys: res (560 or 448x560, height first), layers (-1 or -2,-1), norm (0 | 1), dtype (fp32 | bf16 | fp16), pad (0 | 1),
          mean and std (0.5 or 0.48,0.46,0.41), interpolation (nearest | lanczos | bilinear | bicubic),
          weights (a file, for timm:NAME)

Probe shorthand:

    name[?param=value&...]        knn   knn?k=20   linear-seg?grid=12
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from rice_core.disk.paths import folder_name
from rice_core.errors import UserError, did_you_mean, first_fault
from rice_core.shorthand import DTYPES, as_param, encoder_field, settings, sound

Source = Literal["hf", "timm", "open_clip", "rice", "synthetic", "own"]
SOURCES: tuple[str, ...] = ("hf", "timm", "open_clip", "rice", "synthetic")
"""Those that a string can name; `own` is a module of a Python session (rice_core.encoders.own)."""
DType = Literal["float32", "bfloat16", "float16"]
Interpolation = Literal["nearest", "lanczos", "bilinear", "bicubic"]
Channels = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
"""Red, green, blue, of pixels in [0, 1]."""
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Deviations = tuple[_Positive, _Positive, _Positive]
_SOURCE_WORDS = {"huggingface": "hf", "transformers": "hf", "openclip": "open_clip", "ricebench": "rice"}
_LATER = frozenset({"weights", "mean", "std", "interpolation"})
"""Fields of `EncoderSpec` that the first stores do not know."""
Param = bool | int | float | str
SEED_MAX = 2**32 - 1
"""The largest seed that every library takes."""


def _one_for_all(n: int) -> BeforeValidator:
    return BeforeValidator(lambda value: (value,) * n if isinstance(value, (int, float)) else value)


class Frozen(BaseModel):
    """The law at every boundary: immutable, and an unknown key is an error, as is a number that is none (NaN, infinity)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EncoderSpec(Frozen):
    """One encoder, as asked for. `name` is for display and never part of the identity.

    What is kept and shown is `told()`: a folder that was given by its absolute path is called by its last name and a digest.
    """

    name: str = ""
    source: Source
    model: str = Field(min_length=1)
    revision: str | None = None
    resolution: Annotated[tuple[int, int] | None, _one_for_all(2)] = None
    """Input height and width in pixels; None is the model's own."""
    pad_to_patch: bool = False
    """Grow a size that is no multiple of the patch to the next multiple, instead of refusing it."""
    layers: tuple[int, ...] = Field(default=(-1,), min_length=1)
    """Blocks whose output becomes `Features`, shallow to deep; -1 is the last. The last one listed is `dense_BCHW`."""
    norm_last: bool | None = None
    """Whether the final norm is applied to the tokens; None is what the model's own forward does."""
    dtype: DType = "float32"
    weights: str | None = None
    """A file of weights in the place of the published ones, for `timm:NAME`. The path as typed, as a folder is in `model`."""
    mean: Annotated[Channels | None, _one_for_all(3)] = None
    """Instead of the checkpoint's own, or where it states none; so are `std` and `interpolation`."""
    std: Annotated[Deviations | None, _one_for_all(3)] = None
    interpolation: Interpolation | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, body: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is not set is left out of the fields that came later, so that older requests keep their ids."""
        return {key: value for key, value in body(self).items() if value is not None or key not in _LATER}

    @field_validator("resolution")
    @classmethod
    def _positive(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and min(value) < 1:
            raise ValueError("a resolution is at least 1 pixel")
        return value

    @model_validator(mode="after")
    def _weights_of_a_timm_name(self) -> EncoderSpec:
        if self.weights is not None and (self.source != "timm" or ":" in self.model):
            raise ValueError("weights= goes with timm:NAME alone, as in timm:vit_base_patch16_224?weights=FILE")
        return self

    @property
    def title(self) -> str:
        """The display name: the given one, or the shorthand without a machine's paths."""
        return self.name or self.told().shorthand

    def told(self) -> EncoderSpec:
        """This request without a machine's paths, as records and tables have it. Told again it stays as it is."""
        before, path = _place(self.source, self.model)
        changed = {"model": before + folder_name(path)} if path.startswith("/") else {}
        if self.weights is not None and self.weights.startswith("/"):
            changed["weights"] = folder_name(self.weights)
        return self.model_copy(update=changed) if changed else self

    @property
    def shorthand(self) -> str:
        """The string that parses back to this spec, without the display name."""
        query: list[str] = []
        if self.resolution:
            h, w = self.resolution
            query.append(f"res={h}" if h == w else f"res={h}x{w}")
        if self.layers != (-1,):
            query.append("layers=" + ",".join(map(str, self.layers)))
        if self.norm_last is not None:
            query.append(f"norm={int(self.norm_last)}")
        if self.dtype != "float32":
            query.append("dtype=" + {v: k for k, v in DTYPES.items()}[self.dtype])
        if self.pad_to_patch:
            query.append("pad=1")
        if self.weights is not None:
            query.append("weights=" + quote(self.weights, safe="/:.-_~"))
        for key, value in (("mean", self.mean), ("std", self.std)):
            if value is not None:
                query.append(f"{key}=" + ",".join(map(repr, value[:1] if len(set(value)) == 1 else value)))
        if self.interpolation:
            query.append(f"interpolation={self.interpolation}")
        model = quote(self.model, safe="/:.-_~+ ()[]{},!$&'*;#")
        return (
            f"{self.source}:{model}"
            + (f"@{self.revision}" if self.revision else "")
            + ("?" + "&".join(query) if query else "")
        )

    @property
    def pixels(self) -> dict[str, Any]:
        """Those of mean, std and interpolation that are given."""
        return {key: value for key in ("mean", "std", "interpolation") if (value := getattr(self, key)) is not None}

    def identity(self) -> dict[str, Any]:
        """Everything that changes the features: all fields but the display name, without a machine's paths."""
        return self.told().model_dump(mode="json", exclude={"name"})

    @classmethod
    def parse(cls, text: str) -> EncoderSpec:
        """Read the shorthand of this file's docstring.

        Raises:
            UserError: the string is not of that form; the message says which part.
        """
        given, text = text, sound(text).strip()
        name = ""
        if "=" in text.split(":", 1)[0]:
            name, text = text.split("=", 1)
        source, colon, rest = text.partition(":")
        if not colon or source not in SOURCES:
            near = did_you_mean(source, SOURCES, _SOURCE_WORDS) if colon else ""
            raise UserError(
                f"{given!r} names no encoder; {near}write source:model with source one of {', '.join(SOURCES)}, or a name from `ricebench list encoders`."
            )
        rest, _, query = rest.partition("?")
        revision = None
        # An @ before the last slash belongs to a path; write a literal one as %40.
        if "@" in rest.rsplit("/", 1)[-1]:
            rest, revision = rest.rsplit("@", 1)
        fields: dict[str, Any] = {
            "name": name.strip(),
            "source": source,
            "model": unquote(rest),
            "revision": revision or None,
        }
        for key, value in settings(query, given):
            fields |= encoder_field(key, value, given)
        try:
            return cls(**fields)
        except ValidationError as error:
            raise UserError(
                f"{given!r} is no encoder: {first_fault(error)}; see `ricebench list encoders` for examples."
            ) from None


def _place(source: str, model: str) -> tuple[str, str]:
    """What stands before a path in `model`, and the path: `local-dir:`, or the architecture of open_clip:NAME/WEIGHTS-FILE."""
    if source == "open_clip" and (found := re.match(r"[^/:]+/(?=/)", model)):
        return found[0], model[found.end() :]
    head = "local-dir:" if model.startswith("local-dir:") else ""
    return head, model.removeprefix(head)


class ProbeSpec(Frozen):
    """One probe and the settings that change what its number means.

    `version` rises when the same settings come to mean another number. `recipe` is part of the comparability key.
    """

    name: str = Field(min_length=1)
    version: int = Field(ge=1)
    recipe: str = "standard"
    params: dict[str, Param] = {}

    @property
    def shorthand(self) -> str:
        """`name?param=value&...`, parameters sorted; the recipe is said where it is not the standard one."""
        settings = self.params | ({} if self.recipe == "standard" else {"recipe": self.recipe})
        query = "&".join(f"{key}={value}" for key, value in sorted(settings.items()))
        return self.name + (f"?{query}" if query else "")


class ProbeRequest(Frozen):
    """A probe as typed, before its class is known, and so before anything can be said about its values."""

    model_config = ConfigDict(allow_inf_nan=True)

    name: str
    params: dict[str, Param] = {}

    @classmethod
    def parse(cls, text: str) -> ProbeRequest:
        """Read `name[?param=value&...]`; values are read as bool, int, float, else text."""
        name, _, query = sound(text).strip().partition("?")
        return cls(name=name, params={key: as_param(value) for key, value in settings(query, text)})


class DatasetSpec(Frozen):
    """One data set by its name, its on-disk layout, and a fingerprint of what is listed in it (no machine's paths).

    `fingerprint` covers annotations, relative file names and sizes: what was asked for. The digest of the files' bytes is
    evidence and lives in the record.
    """

    name: str = Field(min_length=1)
    layout: str = Field(min_length=1)
    """What its reader calls it: ours are "coco", "class-folders" and "photos", and other packages bring others."""
    fingerprint: str
    learnt_from: tuple[DatasetSpec, ...] = ()
    """What a probe that is judged on it learns from, as `--data train=FOLDER` gives it; none: its own train split."""

    @model_serializer(mode="wrap")
    def _as_before(self, body: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `learnt_from` where that is empty, so that older requests keep their ids."""
        return {key: value for key, value in body(self).items() if value or key != "learnt_from"}

    @property
    def title(self) -> str:
        """For people: its name, and what is learnt from in place of its own train split."""
        names = " + ".join(each.name for each in self.learnt_from)
        return f"{self.name}, learnt from {names}" if names else self.name
