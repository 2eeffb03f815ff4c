"""curate: images -> proposals and text -> features -> clusters -> labels -> shards, manifest, centers and cards.

It leaves:

    OUT/shard-000000.tar ...     rice_core.rice.regions says what is in them
    OUT/manifest.json            written last: a folder that has it is finished
    OUT/centers.safetensors      centers_KC in the featurizer's space (after the PCA, which is beside them)
    OUT/image_centers.safetensors   the same of whole images, where they were clustered
    OUT/clusters.html, .png      sample crops of clusters, for people to look at
    OUT/left_out.jsonl           every image and annotation that was left out, with its reason
    OUT/.work                    finished pieces (rice_core.rice.curate.pieces)
    OUT/.lock                    keeps a second process out
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rice_core.disk.files import check_writable, held
from rice_core.disk.temporaries import sweep
from rice_core.errors import UserError
from rice_core.progress import Progress
from rice_core.rice.curate.earlier import Earlier
from rice_core.rice.curate.pieces import Workplace, spread
from rice_core.rice.curate.providers import Chosen
from rice_core.rice.curate.settings import CurateSettings
from rice_core.rice.curate.sources import fingerprint
from rice_core.rice.curate.stages import CODE_VERSION, Curation
from rice_core.rice.regions import MANIFEST, RegionManifest, read_region_manifest

WORK = ".work"


def curate(
    images: Path,
    out: Path,
    settings: CurateSettings,
    *,
    progress: Progress,
    workers: int = 1,
    device: str = "cpu",
    fresh: bool = False,
    centers: Path | None = None,
    spread_over: Callable[..., None] = spread,
) -> RegionManifest:
    """Write a folder of training shards, or find it finished. The result does not depend on workers.

    Args:
        images: a folder of photos, in COCO format, or with SA-1B's files.
        out: the folder of the shards; an earlier curation in it is replaced.
        workers: processes for proposals, text and features, where the providers allow it.
        device: where models of the providers run.
        fresh: forget what an earlier run left.
        centers: an earlier curation, by whose centers the regions are labelled; it also fixes the settings `earlier.FIXED`.
        spread_over: how jobs are run; `rice_core.rice.curate.ray_cluster.spread_over_ray` sends them over a cluster.

    Raises:
        UserError: no image, no region, fewer regions than clusters, a provider that is not there, or an `out` that
            holds something else, lies inside `images`, or cannot be written.
    """
    if images.resolve() in out.resolve().parents:
        # The pictures of the clusters would be curated as photos by the next run.
        raise UserError(f"{out} lies inside {images}; write the shards into a folder beside it.")
    if centers is not None and centers.resolve() == out.resolve():
        raise UserError(f"{out} is the folder of --centers; write the shards into another one.")
    earlier = None if centers is None else Earlier.of(centers)
    settings = settings if earlier is None else earlier.settings(settings)
    source = fingerprint(images, settings)
    chosen = Chosen.of(settings, device)
    if earlier is not None:
        earlier.check(chosen.versions)
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST).is_file() and not (out / WORK).is_dir():
        raise UserError(f"{out} holds files that are no curated regions; choose an empty folder.")
    place = Workplace(out / WORK)
    asked = settings.model_dump(mode="json") | {"source": source, "code": CODE_VERSION}
    if earlier is not None:
        asked["centers"] = earlier.digest
    finished = None if fresh else _finished(out, asked, chosen.versions)
    if finished is not None:
        return finished
    check_writable(out / WORK)
    with held(out / ".lock") as alone:
        if not alone:
            raise UserError(
                f"another process curates into {out}; wait for its end, or write the shards into another folder."
            )
        sweep(out)
        if fresh:
            place.clear()
            (out / MANIFEST).unlink(missing_ok=True)
        return Curation(
            images, out, settings, chosen, place, progress, workers, device, spread_over, asked, earlier=earlier
        ).run()


def _finished(out: Path, asked: dict[str, Any], versions: dict[str, str]) -> RegionManifest | None:
    """The manifest where the same was asked for, of the same images, and every shard is there."""
    if not (out / MANIFEST).is_file():
        return None
    try:
        manifest = read_region_manifest(out)
    except UserError:
        return None
    whole = all((out / shard.file).is_file() for shard in manifest.shards)
    return manifest if whole and manifest.settings == asked and manifest.providers == versions else None
