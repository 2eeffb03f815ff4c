"""Earlier: the centers of an earlier curation, by which other images are labelled: held out of a training, or added to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rice_core.digest import file_digest, json_digest
from rice_core.errors import UserError
from rice_core.rice.curate.label import Clusters
from rice_core.rice.curate.pieces import read_arrays
from rice_core.rice.curate.settings import CurateSettings
from rice_core.rice.curate.stream import Pca
from rice_core.rice.regions import CENTERS, IMAGE_CENTERS, RegionManifest, read_region_manifest

FIXED = (
    *("features", "tokenizer", "labels", "classes", "image_classes", "image_labels"),
    *("min_cluster", "iterations", "refine", "fit_rows"),
)
"""The settings that say what a label means, or how clusters came to be: they are the earlier curation's."""


@dataclass(frozen=True)
class Earlier:
    """A curated folder, for its centers."""

    folder: Path
    manifest: RegionManifest
    digest: str
    """Of the centers."""

    @classmethod
    def of(cls, folder: Path) -> Earlier:
        """Read a folder that `ricebench curate` wrote.

        Raises:
            UserError: it is none, or holds no centers.
        """
        manifest = read_region_manifest(folder)
        if not set(FIXED) <= set(manifest.settings):
            raise UserError(f"the manifest of {folder} does not say how it was curated; curate it again with --fresh.")
        files = [CENTERS] * ("object" in manifest.banks) + [IMAGE_CENTERS] * ("image" in manifest.banks)
        missing = [name for name in files if not (folder / name).is_file()]
        if missing:
            raise UserError(
                f"{folder} has no {missing[0]}, so nothing can be labelled by it; curate it again with --fresh."
            )
        return cls(folder, manifest, json_digest([file_digest(folder / name) for name in files]))

    def settings(self, wanted: CurateSettings) -> CurateSettings:
        """The wanted ones, with the earlier curation's where they say what a label means.

        Raises:
            UserError: objects are wanted and the earlier curation has none.
        """
        if wanted.proposals != "none" and "object" not in self.manifest.banks:
            raise UserError(f"{self.folder} has no clusters of objects; add --proposals none.")
        return wanted.model_copy(update={name: self.manifest.settings[name] for name in FIXED})

    def check(self, providers: Mapping[str, str]) -> None:
        """Refuse providers that have changed since.

        Args:
            providers: role -> name@version.

        Raises:
            UserError: features or tokens are no longer those that the centers and labels are of.
        """
        for role in ("featurizer", "tokenizer"):
            then, now = self.manifest.providers.get(role), providers.get(role)
            if then is not None and now is not None and then != now:
                raise UserError(
                    f"{self.folder} was labelled with the {role} {then}, which is {now} here; curate it again first."
                )

    def has(self, clusters: Clusters) -> bool:
        """Whether these are its own centers."""
        return (clusters.folder / CENTERS).read_bytes() == self.file(whole=False).read_bytes()

    def file(self, *, whole: bool) -> Path:
        """The centers of regions, or of whole images."""
        return self.folder / (IMAGE_CENTERS if whole else CENTERS)

    def pca(self, *, whole: bool) -> Pca | None:
        """What features went through before they were compared with the centers."""
        arrays = read_arrays(self.file(whole=whole))
        return Pca(arrays["pca_mean_D"], arrays["pca_components_DC"]) if "pca_mean_D" in arrays else None
