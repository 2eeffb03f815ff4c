"""What TrackingNet's devkit makes of the material: `python record_trackingnet.py CHECKOUT` where numpy < 2.4 and pandas < 2.

CHECKOUT is of SilvioGiancola/TrackingNet-devkit (recorded at 79783f2, with numpy 1.26.4 and pandas 1.5.3).
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from material import HERE, load


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    from metrics import evaluate

    videos = [video for video in load() if not video["id"].endswith("truth-nan")]
    found = {"all": judged(evaluate, videos), "videos": {video["id"]: judged(evaluate, [video]) for video in videos}}
    (HERE / "trackingnet.json").write_text(json.dumps(found) + "\n", encoding="utf-8")


def judged(evaluate: Any, videos: list[dict[str, Any]]) -> list[float]:
    """Success, precision, normalised precision in percent."""
    with tempfile.TemporaryDirectory() as name:
        for kind in ("truth", "boxes"):
            with zipfile.ZipFile(Path(name, kind), "w") as archive:
                for video in videos:
                    rows = [",".join(map(repr, row)) for row in video[kind]]
                    archive.writestr(f"{video['id']}.txt", "\n".join(rows) + "\n")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            _, success, precision, normalised = evaluate(Path(name, "truth"), Path(name, "boxes"))
    return [success, precision, normalised]


if __name__ == "__main__":
    main()
