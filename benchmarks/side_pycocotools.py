"""pycocotools' side of `evaluate`: one process, as its own demonstration does it.

    python -m benchmarks.side_pycocotools TRUTH RESULTS bbox[,segm]

Prints its summaries, then the statistics of each kind as one JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def main(truth: str, results: str, kinds: str) -> None:
    """Judge by each kind."""
    coco, rows, stats = COCO(truth), json.loads(Path(results).read_bytes()), {}
    for kind in kinds.split(","):
        # With a box beside it, a mask's area would be the box's.
        beside = "segmentation" if kind == "bbox" else "bbox"
        found = coco.loadRes([{key: value for key, value in row.items() if key != beside} for row in rows])
        judge = COCOeval(coco, found, kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
        stats[kind] = judge.stats.tolist()
    print(json.dumps(stats))


if __name__ == "__main__":
    main(*sys.argv[1:])
