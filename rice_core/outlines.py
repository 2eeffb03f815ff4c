"""Frames around things in pictures that are seen on any picture: a line on a pale, wider one, solid or dashed."""

from __future__ import annotations

import numpy as np
from PIL import ImageDraw

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""
SOLID, DASHED = (1, 0), (6, 4)
"""Pixels of a dash and of the gap behind it."""
HALO = (255, 255, 255)


def framed(
    pen: ImageDraw.ImageDraw, box: Box, ink: tuple[int, int, int], line: tuple[int, int] = SOLID, *, halo: bool = True
) -> None:
    """Draw a frame; of a box without size a point.

    Args:
        halo: whether on a pale frame, which hides others that are near.
    """
    x0, y0, x1, y1 = box[0], box[1], max(box[0], box[2]), max(box[1], box[3])
    if halo:
        pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=HALO, width=4)
    dash, gap = line
    for (ax, ay), (bx, by) in (((x0, y0), (x1, y0)), ((x0, y1), (x1, y1)), ((x0, y0), (x0, y1)), ((x1, y0), (x1, y1))):
        if not gap:
            pen.line((ax, ay, bx, by), fill=ink, width=2)
            continue
        long = max(bx - ax, by - ay)
        for start in np.arange(0, long, dash + gap).tolist():
            end = min(start + dash, long)
            along = (
                ((ax + start, ay, ax + end, by) if by == ay else (ax, ay + start, bx, ay + end))
                if long
                else (ax, ay, bx, by)
            )
            pen.line(along, fill=ink, width=2)
