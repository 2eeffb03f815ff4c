"""Run configurations and probe requests become values here, and nowhere can they become code.

A configuration is YAML or JSON, read by the safe loader and validated by pydantic. A probe's `type` is a name among those that
are installed: mmengine's Registry would import and call whatever dotted path stands there (`os.system` runs a command).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from rice_core.errors import UserError, did_you_mean, loaded, one_line
from rice_core.light import checked
from rice_core.measure.probe_files import names_a_file, probe_of_file
from rice_core.probe import Probe
from rice_core.spec import SEED_MAX, EncoderSpec, Frozen, Param, ProbeRequest

Settings = TypeVar("Settings", bound=Frozen)


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class RunConfig(Frozen):
    """The file behind `ricebench run --config FILE`; the same words as the flags.

    A probe is a shorthand ("knn?k=20") or a mapping ({type: knn, k: 20}); data is one word of `--data` or a list of them,
    and in its place may stand annotations, those of `--annotations`, and images, the folder of `--images`.
    """

    model_config = ConfigDict(
        allow_inf_nan=True
    )  # The probe itself says best which of its parameters cannot be infinite.

    encoders: tuple[str | EncoderSpec, ...] = Field(min_length=1)
    probes: tuple[str | dict[str, Param], ...] = Field(min_length=1)
    data: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    annotations: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    images: str | None = None
    seeds: tuple[Annotated[int, Field(ge=0, le=SEED_MAX)], ...] = Field(default=(0,), min_length=1)
    limit: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_kind_of_data(self) -> Self:
        if bool(self.data) == bool(self.annotations):
            raise ValueError("write data, or annotations and images")
        if bool(self.annotations) != bool(self.images):
            raise ValueError(
                "annotations need images, the folder that their file names start from, and the other way round"
            )
        return self

    def probe_requests(self) -> tuple[ProbeRequest, ...]:
        return tuple(_request(probe) for probe in self.probes)


def load_config(path: Path) -> RunConfig:
    """Read a run configuration.

    Raises:
        UserError: no such file, not YAML or JSON, or a key or value that does not belong.
    """
    config = read_settings(path, RunConfig, "see docs/usage.md for an example")
    if named := next((asked.name for asked in config.probe_requests() if names_a_file(asked.name)), None):
        raise UserError(f"{path}: {named} is a file, and a configuration runs no code; name it with -p.")
    return config


def read_settings(path: Path, kind: type[Settings], hint: str) -> Settings:
    """A YAML or JSON file as a frozen value.

    Args:
        hint: where the settings are described; ends the sentence of an error.

    Raises:
        UserError: no such file, not YAML or JSON, or a key or value that does not belong.
    """
    if path.suffix not in (".yaml", ".yml", ".json"):
        raise UserError(f"{path} is no configuration: write a .yaml or .json file (a Python file would run code).")
    try:
        return kind.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check the path.") from None
    except ValidationError as error:
        raise UserError(f"{path}: {_sentence(error, kind)}; {hint}.") from None
    # YAML reads dates and numbers itself: 2020-13-45 and a number of 5,000 digits are ValueErrors of Python's own.
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())[:200]}; {hint}.") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deep; {hint}.") from None


def _sentence(error: ValidationError, kind: type[Frozen]) -> str:
    """The first problem in the words of the file: `model.vit.width: ...`."""
    # A trunk is a preset's name or a mapping: of what is no mapping, the list of the names says more.
    problems = error.errors()
    problem = next((each for each in problems if each["type"] != "model_type"), problems[0])
    # Pydantic also names the branch of a union and the part of a mapping, in brackets.
    where = ".".join(str(part) for part in problem["loc"] if "[" not in str(part))
    if not where and problem["type"] == "model_type":
        return "it holds no settings"
    said = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        near = did_you_mean(str(problem["loc"][-1]), _names(kind)).rstrip()
        said = "there is no such setting" + (f" ({near})" if near else "")
    return f"{where}: {said}" if where else said


def _names(kind: type[Frozen]) -> set[str]:
    """Of its settings and of those inside them."""
    schema = kind.model_json_schema()
    return {name for part in (schema, *schema.get("$defs", {}).values()) for name in part.get("properties", {})}


def probe_entry_points() -> dict[str, EntryPoint]:
    """The installed probes by name; nothing is imported."""
    return {point.name: point for point in entry_points(group="ricebench.probes")}


def probe_kind(name: str, *, files: bool = False) -> type[Any]:
    """The class of a probe; see `build_probes`."""
    allowed = probe_entry_points()
    if files and names_a_file(name):
        return probe_of_file(name, allowed)
    if name not in allowed:
        near = did_you_mean(name, allowed)
        raise UserError(f"There is no probe {name!r}; {near}the installed probes are {', '.join(sorted(allowed))}.")
    kind: type[Any] = loaded(allowed[name], "probe")
    return kind


def build_probes(requests: Sequence[ProbeRequest], *, files: bool = False) -> tuple[Probe, ...]:
    """Probe objects for what was asked.

    Args:
        files: whether `FILE.py:Name` may be asked for, which is run: what a user types may, what stands in a file may not.

    Raises:
        UserError: no such probe, no such parameter, or a value of the wrong kind.
    """
    return tuple(build_probe(each, files=files) for request in requests for each in _each(request, files=files))


def _each(request: ProbeRequest, *, files: bool) -> tuple[ProbeRequest, ...]:
    """The probes that a name stands for, with the same settings, where it stands for several (`llava-next`)."""
    names: tuple[str, ...] = getattr(probe_kind(request.name, files=files), "stands_for", ())
    return tuple(request.model_copy(update={"name": name}) for name in names) or (request,)


def build_probe(request: ProbeRequest, *, files: bool = False) -> Probe:
    """One probe; see `build_probes`."""
    kind = probe_kind(request.name, files=files)
    fields = {each.name for each in dataclasses.fields(kind)}
    told = [name for name, hint in vars(kind).get("__annotations__", {}).items() if "ClassVar" not in str(hint)]
    if missed := [name for name in told if name not in fields]:
        raise UserError(
            f"{request.name}: {missed[0]} is no parameter of {kind.__name__}; write @dataclass(frozen=True) above it."
        )
    params = checked(request.name, kind, request.params)
    try:
        probe: Probe = kind(**params)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"{request.name}: {error}; see `ricebench show {request.name}`.") from error
    try:  # before anything is measured, which the slip of one probe must not end
        _ = probe.spec, tuple(probe.reads)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{request.name} cannot say what it is or reads: {one_line(error)}; mend its parameters, spec or reads."
        ) from error
    return probe


def _request(probe: str | dict[str, Param]) -> ProbeRequest:
    if isinstance(probe, str):
        return ProbeRequest.parse(probe)
    name = probe.get("type")
    if not isinstance(name, str):
        raise UserError("A probe in a configuration needs a type, as in {type: knn, k: 20}.")
    return ProbeRequest(name=name, params={key: value for key, value in probe.items() if key != "type"})
