"""The attributes by which LaSOT and TNL2K divide their videos, from their toolkits' files: annos/att/."""

from __future__ import annotations

from pathlib import Path

from rice_core.datasets.videos.places import lines

LASOT = ("IV", "POC", "DEF", "MB", "CM", "ROT", "BC", "VC", "SV", "FOC", "FM", "OV", "LR", "ARC")
TNL2K = ("CM", "ROT", "DEF", "FOC", "IV", "OV", "POC", "VC", "SV", "BC", "MB", "ARC", "LR", "FM", "AS", "TC", "MS")
"""In the order of the numbers in a file (`att_fig_name` of the toolkits): illumination variation, partial occlusion, deformation,
motion blur, camera motion, rotation, background clutter, viewpoint change, scale variation, full occlusion, fast motion, out of view,
low resolution, aspect ratio change, adversarial samples, thermal crossover, modality switch."""


def subsets(folder: Path, file: str, names: tuple[str, ...]) -> dict[str, str]:
    """{"subsets": "IV,POC"}: those that a video is in; nothing where annos/att/ (or att/) is not in the data set's folder."""
    for place in (folder / "annos" / "att", folder / "att"):
        if numbers := " ".join(lines(place / file)).replace(",", " ").split():
            return {"subsets": ",".join(name for name, number in zip(names, numbers, strict=False) if number == "1")}
    return {}
