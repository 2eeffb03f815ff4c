"""Cluster cards: sample crops of the largest, the smallest and some random clusters, for people to look at.

Written are:

    clusters.html   one file with everything in it
    clusters.png    the same crops as one contact sheet
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2 import Environment
from PIL import Image

from rice_core.disk.files import write_atomically
from rice_core.images import ImageError, load_image
from rice_core.rice.curate.find import read_found
from rice_core.rice.curate.label import Clusters
from rice_core.rice.curate.nouns import Box, SourceImage
from rice_core.rice.regions import RegionManifest

CLUSTERS, CROPS, SIDE = 12, 10, 72
"""Clusters of each kind, crops of each cluster, pixels of a crop."""


@dataclass(frozen=True)
class Card:
    """One cluster."""

    kind: str
    cluster: int
    regions: int
    crops: tuple[Image.Image, ...]

    @property
    def pictures(self) -> list[str]:
        """The crops as data URIs."""
        return [_data_uri(crop) for crop in self.crops]


def write_cards(
    out: Path,
    clusters: Clusters,
    parts: Sequence[Sequence[SourceImage]],
    pieces: Sequence[Path],
    manifest: RegionManifest,
    seed: int,
) -> None:
    """Write both files into `out`."""
    count_K = np.zeros(clusters.classes, np.int64)
    for number in range(len(parts)):
        label_N = clusters.labels(number)[:, 0]
        count_K += np.bincount(label_N[label_N >= 0], minlength=clusters.classes)
    kinds = _choose(count_K, seed)
    crops = _crops(clusters, parts, pieces, {cluster for chosen in kinds.values() for cluster in chosen})
    cards = [Card(kind, k, int(count_K[k]), tuple(crops.get(k, ()))) for kind, chosen in kinds.items() for k in chosen]
    page = _PAGE.render(cards=cards, manifest=manifest, kinds=list(kinds), side=SIDE)
    write_atomically(out / "clusters.html", page.encode())
    write_atomically(out / "clusters.png", _png(_sheet(cards)))


def _choose(count_K: npt.NDArray[np.int64], seed: int) -> dict[str, list[int]]:
    """Clusters of each kind; a set with few clusters shows each once, and one without any region is not shown."""
    by_size = [int(k) for k in np.argsort(-count_K, kind="stable") if count_K[k]]
    if len(by_size) <= 3 * CLUSTERS:
        return {"all": by_size}
    rest = by_size[CLUSTERS:-CLUSTERS]
    drawn = np.random.Generator(np.random.PCG64(seed)).choice(rest, CLUSTERS, replace=False)
    return {"largest": by_size[:CLUSTERS], "smallest": by_size[-CLUSTERS:], "random": drawn.tolist()}


def _crops(
    clusters: Clusters, parts: Sequence[Sequence[SourceImage]], pieces: Sequence[Path], wanted: set[int]
) -> dict[int, list[Image.Image]]:
    """The first few regions of each cluster; images are in a random order, so these are a random draw."""
    crops: dict[int, list[Image.Image]] = {cluster: [] for cluster in wanted}
    missing = set(wanted)
    for number, (part, piece) in enumerate(zip(parts, pieces, strict=True)):
        labels = iter(clusters.labels(number)[:, 0].tolist())
        for source, found in zip(part, read_found(piece), strict=True):
            here = [(next(labels), proposal.box) for proposal in found.objects]
            here = [(cluster, box) for cluster, box in here if cluster in missing]
            if not here:
                continue
            try:
                image = load_image(source.path)
            except ImageError:
                continue
            for cluster, box in here:
                if len(crops[cluster]) < CROPS:
                    crops[cluster].append(_thumbnail(image, box))
            missing = {cluster for cluster in missing if len(crops[cluster]) < CROPS}
        if not missing:
            break
    return crops


def _thumbnail(image: Image.Image, box: Box) -> Image.Image:
    left, top = max(0, int(box[0])), max(0, int(box[1]))
    right, bottom = min(image.width, max(left + 1, round(box[2]))), min(image.height, max(top + 1, round(box[3])))
    crop = image.crop((left, top, right, bottom))
    scale = SIDE / max(crop.size)
    crop = crop.resize(
        (max(1, round(crop.width * scale)), max(1, round(crop.height * scale))), Image.Resampling.BICUBIC
    )
    framed = Image.new("RGB", (SIDE, SIDE), "white")
    framed.paste(crop, ((SIDE - crop.width) // 2, (SIDE - crop.height) // 2))
    return framed


def _sheet(cards: Sequence[Card]) -> Image.Image:
    """One row a cluster."""
    sheet = Image.new("RGB", (CROPS * (SIDE + 4), max(1, len(cards)) * (SIDE + 4)), "white")
    for row, card in enumerate(cards):
        for column, crop in enumerate(card.crops):
            sheet.paste(crop, (column * (SIDE + 4), row * (SIDE + 4)))
    return sheet


def _data_uri(image: Image.Image) -> str:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


_PAGE = Environment(autoescape=True).from_string(
    """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Clusters of regions</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #222; background: #fff }
table { border-collapse: collapse } td, th { text-align: left; padding: .1rem 1rem .1rem 0; font-weight: normal }
figure { margin: 0 0 .8rem } figcaption { color: #555; font-size: .85rem }
img { width: {{ side }}px; height: {{ side }}px; margin-right: 4px; border: 1px solid #ddd; box-sizing: border-box }
</style>
<h1>Clusters of regions</h1>
<table>
{% for key, value in manifest.counts.items() %}<tr><th>{{ key }}<td>{{ value }}</tr>
{% endfor %}{% for key, value in manifest.quality.items() %}<tr><th>{{ key }}<td>{{ value }}</tr>
{% endfor %}{% for key, value in manifest.providers.items() %}<tr><th>{{ key }}<td>{{ value }}</tr>
{% endfor %}</table>
{% for kind in kinds %}<h2>{{ kind }}</h2>
{% for card in cards if card.kind == kind %}<figure><figcaption>cluster {{ card.cluster }}, {{ card.regions }} regions</figcaption>
{% for picture in card.pictures %}<img src="{{ picture }}" alt="a region of cluster {{ card.cluster }}">{% endfor %}</figure>
{% endfor %}{% endfor %}</html>
"""
)
