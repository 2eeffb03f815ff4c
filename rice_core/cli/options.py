"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from rice_core.disk.paths import at_home
from rice_core.errors import UserError

if TYPE_CHECKING:
    from rice_core.measure.config import RunConfig
    from rice_core.spec import ProbeRequest


def own_path(path: Path | None) -> Path | None:
    """The callback of every option and argument that is a path: shells leave the `~` of `--store=~/x` and of a variable."""
    return None if path is None else at_home(path)


StoreOption = Annotated[
    Path,
    typer.Option(
        "--store",
        envvar="RICEBENCH_STORE",
        help="Folder of records, features and reports.",
        show_default=True,
        callback=own_path,
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
EncodersOption = Annotated[
    list[str] | None,
    typer.Option("--encoders", "-e", help="As in hf:PATH,timm:NAME,rice:FOLDER or names of `ricebench list`."),
]
ProbesOption = Annotated[
    list[str] | None, typer.Option("--probes", "-p", help="As in knn?k=20,linear,tokens, or FILE.py:NAME.")
]
DataOption = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        help="Folder for every probe that can use it, PROBE=FOLDER, or train=FOLDER to learn from; a comma separates, and it may be given again. A folder is COCO format, Roboflow exports, folder per class, ADE20K, PASCAL VOC or Cityscapes with label maps, photos, videos (GOT-10k, LaSOT, TrackingNet, TNL2K, your own), LLaVA's json files with their pictures, or REFER's referring expressions; FOLDER@LAYOUT (coco, lvis, class-folders, ade20k, voc, cityscapes, photos, got10k, lasot, trackingnet, tnl2k, videos, llava, refer) where its looks mislead; or mini, mini-words, mini-hard, mini-lvis, mini-rf100, mini-videos, mini-lasot, mini-trackingnet, mini-tnl2k, mini-llava, mini-refer, which are drawn.",
    ),
]
AnnotationsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--annotations",
        help="In place of --data: a file in COCO's format anywhere, which is divided, or train=FILE,val=FILE; with --images.",
    ),
]
ImagesOption = Annotated[
    str | None, typer.Option("--images", help="The folder that the file names in --annotations start from.")
]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Images of each split; marks the records.")]
SeedsOption = Annotated[str, typer.Option("--seeds", help="Probe seeds, as in 0,1,2; 0 unless given.")]
CacheOption = Annotated[float, typer.Option("--cache-gb", min=0.01, max=1e6, help="Size of the feature cache.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="A YAML or JSON file with the same words.", callback=own_path)
]

LmOption = Annotated[
    str,
    typer.Option(
        "--lm", help="The language model of probes that have one (their lm=), as in Qwen/Qwen2.5-0.5B-Instruct."
    ),
]

DEFAULT_STORE = Path("ricebench-runs")


def debugging(ctx: typer.Context) -> bool:
    """Whether --debug was given, before or after the command's name."""
    return bool(ctx.find_root().params.get("debug"))


def split_list(values: list[str]) -> list[str]:
    """Comma-separated and repeated options as one list; a comma inside settings (layers=-2,-1) does not separate."""
    return [
        part.strip() for value in values for part in re.split(r",(?=\s*(?:[A-Za-z_~/]|\.\.?/))", value) if part.strip()
    ]


def _probes_of(table: str) -> tuple[str, ...]:
    from rice_core.measure.paper_tables import probes_of

    return probes_of(table)


def _files(words: list[str]) -> tuple[str, ...]:
    """Of `--annotations`: a comma separates, but in a file's own name."""
    return tuple(part for word in words for part in ([word] if at_home(word).is_file() else split_list([word])))


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds in the order given, without repeats."""
    from rice_core.spec import SEED_MAX

    try:
        seeds = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UserError(f"--seeds {text} cannot be read; write whole numbers, as in 0,1,2.") from None
    if not 0 <= min(seeds) <= max(seeds) <= SEED_MAX:
        raise UserError(f"--seeds {text}: a seed is a number from 0 to {SEED_MAX}.")
    return seeds


@dataclass(frozen=True)
class Asked:
    """What is to be measured."""

    encoders: EncodersOption = None
    probes: ProbesOption = None
    data: DataOption = None
    annotations: AnnotationsOption = None
    images: ImagesOption = None
    seeds: SeedsOption = ""
    limit: LimitOption = None
    config: ConfigOption = None
    lm: LmOption = ""

    @property
    def given(self) -> bool:
        """Whether the command line says anything of it but seeds and a limit."""
        return bool(
            self.encoders or self.probes or self.data or self.annotations or self.images or self.config or self.lm
        )

    def requests(self, table: str = "") -> tuple[ProbeRequest, ...]:
        """The probes, with the language model that is asked for.

        Args:
            table: of the paper, whose probes they are; empty: those of `--probes`.

        Raises:
            UserError: they are said twice, there is no such table, or none of them has a language model.
        """
        from rice_core.measure.config import probe_kind
        from rice_core.spec import ProbeRequest

        if table and self.probes:
            raise UserError(f"{table} says itself what is measured; leave out --probes, or the table.")
        words = _probes_of(table) if table else split_list(self.probes or [])
        asked = tuple(ProbeRequest.parse(word) for word in words)
        if not self.lm:
            return asked
        speaks = ["lm" in getattr(probe_kind(each.name, files=True), "__dataclass_fields__", {}) for each in asked]
        if not any(speaks):
            raise UserError("--lm is for probes with a language model, and none of these has one; leave it out.")
        if any("lm" in each.params for each in asked):
            raise UserError("The language model is said twice; write --lm or lm=, not both.")
        return tuple(
            each.model_copy(update={"params": {**each.params, "lm": self.lm}}) if has else each
            for each, has in zip(asked, speaks, strict=True)
        )

    def run_config(self, table: str = "") -> RunConfig:
        """The same as a configuration; that of `--config`, where seeds and a limit beside it come first.

        Args:
            table: of the paper, in the place of `--probes`.

        Raises:
            UserError: something is missing, said twice or cannot be read.
        """
        from rice_core.measure.config import RunConfig, load_config

        if self.config is not None:
            if self.encoders or self.probes or self.data or self.annotations or self.images or self.lm or table:
                raise UserError("Give either --config or --encoders, --probes and --data, not both.")
            asked = {"seeds": parse_seeds(self.seeds)} if self.seeds else {}
            return load_config(self.config).model_copy(update=asked | ({"limit": self.limit} if self.limit else {}))
        if self.data and (self.annotations or self.images):
            raise UserError("Give either --data, or --annotations and --images, not both.")
        if bool(self.annotations) != bool(self.images):
            missing = "--images" if self.annotations else "--annotations"
            raise UserError(
                f"{missing} is missing; an example: --annotations train=TRAIN.json,val=VAL.json --images FOLDER, or "
                "--annotations FILE.json --images FOLDER, which is divided."
            )
        data = self.data or self.annotations
        probes = self.probes if not table else [table]
        for flag, value in (("--encoders", self.encoders), ("--probes", probes), ("--data", data)):
            if not value or value == [""]:
                raise UserError(
                    f"{flag} is missing; an example: ricebench run --encoders timm:NAME --probes knn --data FOLDER."
                )
        return RunConfig(
            encoders=tuple(split_list(self.encoders or [])),
            probes=tuple({"type": each.name, **each.params} for each in self.requests(table)),
            data=tuple(self.data or []),
            annotations=_files(self.annotations or []),
            images=self.images,
            seeds=parse_seeds(self.seeds or "0"),
            limit=self.limit,
        )


def in_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Let parameters of a command be dataclasses, each field an option: typer sees the fields, the command the dataclasses."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if dataclasses.is_dataclass(kind)}
    shown: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        if (group := groups.get(parameter.name)) is None:
            shown.append(parameter.replace(annotation=hints[parameter.name]))
            continue
        options = get_type_hints(group, include_extras=True)
        shown += [
            parameter.replace(name=field.name, default=field.default, annotation=options[field.name])
            for field in dataclasses.fields(group)
        ]

    @functools.wraps(command)
    def grouped(**given: Any) -> None:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in dataclasses.fields(kind)})
            for name, kind in groups.items()
        }
        command(**given, **made)

    grouped.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return grouped
