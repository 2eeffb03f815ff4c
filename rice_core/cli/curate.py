"""The command that turns images into training shards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rice_core.cli.options import QuietOption, in_groups, own_path
from rice_core.echo import echo
from rice_core.errors import UserError

if TYPE_CHECKING:
    from rice_core.rice.curate.settings import CurateSettings
    from rice_core.rice.regions import RegionManifest


@dataclass(frozen=True)
class CurateOptions:
    """What is written: the settings of a curation, each by its name (`CurateSettings`)."""

    proposals: Annotated[str, typer.Option(help="classical, coco, sa1b, sam:ID, sam2:ID or none.")] = "classical"
    text: Annotated[str, typer.Option(help="rapidocr, pp-ocr:DETECTOR+READER, annotations or none.")] = "rapidocr"
    tokenizer: Annotated[str, typer.Option(help="clip-bpe, syllables or hf:NAME.")] = "clip-bpe"
    features: Annotated[str, typer.Option(help="hog, or an encoder.")] = "hog"
    labels: Annotated[
        str, typer.Option(help="clusters, or truth: the annotated categories, for a supervised ceiling.")
    ] = "clusters"
    captions: Annotated[str, typer.Option(help="none, coco, or sidecar (NAME.txt).")] = "none"
    split: Annotated[str, typer.Option(help="Of a COCO-format folder: train, val or all.")] = "train"
    classes: Annotated[int, typer.Option(min=2, help="Clusters of regions.")] = 1000
    image_classes: Annotated[
        int, typer.Option(min=0, help="Clusters of whole images, for the objective mlcd; 0 for none.")
    ] = 0
    image_labels: Annotated[
        int, typer.Option(min=1, help="Of these, how many a whole image is labelled with: the nearest.")
    ] = 10
    min_image: Annotated[int, typer.Option(min=0, help="Shorter edge of an image, pixels.")] = 336
    min_box: Annotated[int, typer.Option(min=0, help="Shorter edge of an object, pixels.")] = 128
    min_text_score: Annotated[float, typer.Option(min=0, max=1, help="Confidence that a line of text must exceed.")] = (
        0.7
    )
    min_cluster: Annotated[int, typer.Option(min=1, help="Regions of the smallest cluster.")] = 2
    iterations: Annotated[int, typer.Option(min=1, help="Steps of each k-means.")] = 20
    fit_rows: Annotated[
        int, typer.Option(min=1, help="Regions in memory at once; more are clustered in two levels.")
    ] = 2_000_000
    refine: Annotated[int, typer.Option(min=0, help="Steps over all regions after two levels.")] = 5
    shard_samples: Annotated[int, typer.Option(min=1, help="Images a shard.")] = 1000
    limit: Annotated[int | None, typer.Option(min=1, help="Images at most.")] = None
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of k-means.")] = 0


@in_groups
def curate(
    context: typer.Context,
    images: Annotated[
        Path, typer.Argument(help="Folder of photos, in COCO format, or of SA-1B's files.", callback=own_path)
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the shards.", callback=own_path)],
    *,
    wanted: CurateOptions,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps: where models run.")] = "auto",
    centers: Annotated[
        Path | None,
        typer.Option(
            help="An earlier curation: label these images by its centers, as held-out ones.",
            callback=own_path,
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what an earlier run left.")] = False,
    ray: Annotated[bool, typer.Option("--ray", help="Spread proposals and features over a Ray cluster.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Turn images into training shards: proposals, text, features, clusters, labels. The same command again goes on."""
    from rice_core.progress import Progress
    from rice_core.rice.curate.pieces import spread
    from rice_core.rice.curate.pipeline import curate as curate_folder

    if centers is not None:
        _check_free(context)
    settings = _settings(wanted)
    spread_over: Any = spread
    if ray:
        from rice_core.rice.curate.ray_cluster import spread_over_ray

        spread_over = spread_over_ray
    with Progress(quiet=quiet) as progress:
        try:
            manifest = curate_folder(
                images,
                out,
                settings,
                progress=progress,
                workers=workers,
                device=_device(settings, device, centers),
                fresh=fresh,
                centers=centers,
                spread_over=spread_over,
            )
        except KeyboardInterrupt:
            progress.say("Stopped. Finished pieces are safe; run the same command again to go on.")
            raise typer.Exit(130) from None
    for line in _summary(manifest, out):
        echo(line)


def _settings(wanted: CurateOptions) -> CurateSettings:
    """Raises UserError where one has no such value, or two do not go together."""
    from pydantic import ValidationError

    from rice_core.rice.curate.settings import CurateSettings

    try:
        return CurateSettings.model_validate(vars(wanted))
    except ValidationError as error:
        problem = error.errors()[0]
        where = "".join(f"--{str(part).replace('_', '-')}: " for part in problem["loc"])
        raise UserError(
            f"{where}{problem['msg'].removeprefix('Value error, ')}; see `ricebench curate --help`."
        ) from None


def _check_free(context: typer.Context) -> None:
    """Refuse options that --centers decides."""
    from rice_core.rice.curate.earlier import FIXED

    given = [name for name in FIXED if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"]
    if given:
        flag = "--" + given[0].replace("_", "-")
        raise UserError(f"{flag} is what it was in the folder of --centers; leave {flag} out.")


def _device(settings: CurateSettings, device: str, centers: Path | None) -> str:
    """Only models need torch to say what there is."""
    models = ("sam:", "sam2:", "pp-ocr:")
    asked = (settings.proposals, settings.text)
    if centers is None and settings.features == "hog" and not any(each.startswith(models) for each in asked):
        return "cpu"
    from rice_core.measure.subject import pick_device

    return str(pick_device(device))


def _summary(manifest: RegionManifest, out: Path) -> list[str]:
    """What there is, in a few lines."""
    counts, quality = manifest.counts, manifest.quality
    found = " and ".join(
        f"{counts.get(f'regions.{kind}', 0)} {kind} regions in {bank.classes} classes"
        for kind, bank in manifest.banks.items()
        if kind != "image"
    )
    lines = [f"{manifest.samples} images with {found}, in {len(manifest.shards)} shards in {out}."]
    if "purity" in quality:
        lines.append(
            f"purity {quality['purity']:.3f} (shuffled labels {quality['purity_shuffled']:.3f}), NMI {quality['nmi']:.3f}"
        )
    left_out = [f"{n} {what.removeprefix('left_out.')}" for what, n in counts.items() if what.startswith("left_out.")]
    if left_out:
        lines.append("left out: " + ", ".join(left_out))
    if "object" in manifest.banks:
        lines.append(f"Look at the clusters in {out / 'clusters.html'}.")
    return lines
