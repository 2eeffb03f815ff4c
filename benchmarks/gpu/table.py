"""One JSON and one Markdown table of a run, named after the card."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results" / "gpu"


def write(folder: Path, machine: dict[str, Any], measured: dict[str, Any]) -> tuple[Path, Path]:
    """FOLDER/CARD.json and FOLDER/CARD.md; a tiny run is called so.

    What was measured before with the same libraries on such a card, and is not measured now (not asked for, or left out),
    stays, with its date.
    """
    name = "tiny-cpu" if machine["tiny"] else re.sub(r"[^a-z0-9]+", "-", machine["device"].lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / f"{name}.json", folder / f"{name}.md"
    before = json.loads(written[0].read_text(encoding="utf-8")) if written[0].is_file() else {}
    kept = before["measured"] if before.get("machine") == machine else {}
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    new = {name: {"date": today, **row} for name, row in measured.items() if "left_out" not in row or name not in kept}
    result = {"machine": machine, "measured": kept | new}
    written[0].write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    written[1].write_text(_markdown(result), encoding="utf-8")
    return written


def _markdown(result: dict[str, Any]) -> str:
    machine = result["machine"]
    libraries = ", ".join(f"{key} {value}" for key, value in machine.items() if key not in ("device", "tiny") and value)
    lines = [f"# {machine['device']}", "", f"{libraries}.", ""]
    if machine["tiny"]:
        lines += ["**On a CPU at sizes that say nothing: this shows that the code runs, and no speed.**", ""]
    lines += ["| what | found | seconds | on |", "|---|---|---|---|"]
    for name, found in result["measured"].items():
        said = list(found.get("claims", ()))
        said += [f"**failed**: {found['error']}"] if "error" in found else []
        said += [f"left out: {found['left_out']}"] if "left_out" in found else []
        text = "<br>".join(said).replace("|", "/")
        lines.append(f"| {name} | {text} | {found.get('seconds', '')} | {found['date']} |")
    return "\n".join(lines) + "\n"
