"""Cut the photographs that scikit-learn and scikit-image carry into tiles: a folder-per-class set without a download.

    python examples/photographs.py photos
    ricebench run --encoders hf:PATH,timm:NAME --probes knn,linear,tokens --data photos

The question it asks, "which photograph is this tile from?", is easy for colour and texture alone; it shows that real input
works and how a run looks, and says little about an encoder.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

PHOTOGRAPHS = {
    "skimage.data": ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "retina.jpg"],
    "sklearn.datasets": ["images/china.jpg", "images/flower.jpg"],
}
TILE = 96


def main(folder: str) -> None:
    """Write `folder`/train and `folder`/val; neighbouring columns of tiles alternate between the two."""
    if find_spec("skimage") is None:
        sys.exit("scikit-image is not installed; run: .venv/bin/uv pip install -c constraints.txt scikit-image")
    written = 0
    for package, names in PHOTOGRAPHS.items():
        for name in names:
            with files(package).joinpath(name).open("rb") as file:
                photo = Image.open(file).convert("RGB")
            photo.thumbnail((600, 600))
            for row in range(photo.height // TILE):
                for column in range(photo.width // TILE):
                    target = Path(folder) / ("val" if column % 2 else "train") / Path(name).stem
                    target.mkdir(parents=True, exist_ok=True)
                    box = (column * TILE, row * TILE, (column + 1) * TILE, (row + 1) * TILE)
                    photo.crop(box).save(target / f"{row}-{column}.jpg", quality=95)
                    written += 1
    print(f"{written} tiles of {sum(map(len, PHOTOGRAPHS.values()))} photographs in {folder}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/photographs.py FOLDER")
    main(sys.argv[1])
