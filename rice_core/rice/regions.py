"""Training data on disk: WebDataset shards of images with their regions, and the manifest beside them.

    FOLDER/shard-000000.tar    KEY.jpg | KEY.png   the image, as it was
                               KEY.json            a RegionSample
    FOLDER/manifest.json       a RegionManifest
    FOLDER/centers.safetensors, image_centers.safetensors    what the labels of objects and of whole images are numbers of

Curation writes them, training reads them, and neither knows the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from rice_core.errors import UserError, first_fault
from rice_core.spec import Frozen

MANIFEST = "manifest.json"
CENTERS, IMAGE_CENTERS = "centers.safetensors", "image_centers.safetensors"
RegionType = Literal["object", "ocr"]
REGION_TYPES: tuple[RegionType, ...] = ("object", "ocr")
"""A region's type is also the bank of class centers that it is scored against; a Batch holds its index in this tuple."""


class TrainingRegion(Frozen):
    """One region and its pseudo-labels."""

    type: RegionType
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of the stored image; a box may lie partly outside."""
    labels: tuple[int, ...] = Field(min_length=1)
    """object: its cluster. ocr: the unique token ids of its text. Each is 0 <= label < classes of the type's bank."""
    rle: dict[str, Any] | None = None
    """COCO's compressed RLE ({size: [height, width], counts: text}) over the stored image; None: the box is the region."""
    text: str | None = None
    score: float | None = None
    """The proposer's or the text spotter's confidence."""


class RegionSample(Frozen):
    """KEY.json of a shard."""

    width: int = Field(ge=1)
    height: int = Field(ge=1)
    regions: tuple[TrainingRegion, ...] = ()
    image_labels: tuple[int, ...] = ()
    """The nearest clusters of the whole image, nearest first (MLCD); indices into the manifest's `image` bank."""
    caption: str | None = None
    source: str = ""
    """File name relative to the folder that was curated."""


class Bank(Frozen):
    """The classes of one region type."""

    classes: int = Field(ge=1)
    what: str
    """As in "clusters of hog@1 features" or "tokens of clip-bpe@1"."""


class Shard(Frozen):
    file: str
    samples: int = Field(ge=0)
    sha256: str


class RegionManifest(Frozen):
    """manifest.json: what is in the folder and how it was made."""

    format: Literal[1] = 1
    providers: dict[str, str] = {}
    """Stage -> name@version: proposer, text_spotter, tokenizer, featurizer, clusterer."""
    banks: dict[str, Bank]
    """By region type, plus "image" where whole images were clustered."""
    shards: tuple[Shard, ...]
    settings: dict[str, Any] = {}
    """What was asked for."""
    counts: dict[str, int] = {}
    """images, regions.object, regions.ocr, and whatever was left out by reason."""
    quality: dict[str, float] = {}
    """purity, nmi, their shuffled control, and inertia, where they are known."""

    @property
    def samples(self) -> int:
        return sum(shard.samples for shard in self.shards)


def read_region_manifest(folder: Path) -> RegionManifest:
    """The manifest of a curated folder.

    Raises:
        UserError: no such folder, no manifest, or one that cannot be read.
    """
    path = folder / MANIFEST
    try:
        return RegionManifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"{folder} holds no curated regions ({MANIFEST}: {error.strerror}); make them: ricebench curate IMAGES {folder}"
        ) from None
    except ValidationError as error:
        raise UserError(
            f"{path} is no manifest of curated regions ({first_fault(error)}); curate the images again."
        ) from None
