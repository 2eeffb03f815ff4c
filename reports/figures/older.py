"""What the files of older stores are: their artifacts declare nothing, so that the name has to say it. Nothing new belongs here."""

from __future__ import annotations

from rice_core.record import Artifact, Told

_FOUND: Told = {
    "figure": "wide-image",
    "title": "Objects that were found",
    "caption": "Best, median and worst images: the truth is on the left of each pair, what was found on the right. Images are chosen for"
    " each encoder by its own F1, so they differ from encoder to encoder.",
}
_TOLD: dict[str, Told] = {
    "tokens.json": {"figure": "tokens"},
    "rf100-det.json": {"figure": "suite-ap"},
    "rf100vl-det.json": {"figure": "suite-ap"},
    "pca.png": {
        "title": "PCA of patch tokens as colours",
        "caption": "Three principal components of the patch tokens as red, green and blue; one basis for all images of an encoder"
        " (the paper’s Figure 5). Colours of two encoders have nothing to do with each other.",
    },
    "linear-seg.png": {
        "title": "Segmentation by a linear layer",
        "caption": "One linear layer on frozen patch tokens. The truth is beside the prediction.",
    },
}
for _name in ("coco-det", "lvis-det", "coco-format-det"):
    _TOLD[f"{_name}.png"] = _FOUND
    _TOLD[f"{_name}-ap.json"] = {"figure": "detection-ap"}
    _TOLD[f"{_name}-training.json"] = {"figure": "detector-loss"}


def declared(artifact: Artifact) -> Artifact:
    """The artifact with what it declares, or else what its name meant when nothing was declared."""
    if artifact.title or artifact.caption or artifact.figure:
        return artifact
    return artifact.model_copy(update=dict(_TOLD.get(artifact.name, {})))
