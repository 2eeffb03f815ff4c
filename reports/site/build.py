"""build_site: one pass over the records into a folder beside the old site, then a swap."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from reports.board import boards, probe_names
from reports.groups import Group, groups
from reports.site.beside_page import write_beside
from reports.site.facts import write_assumptions, write_cells, write_missing, write_paper, write_provenance
from reports.site.pen import Pen
from reports.site.pictures import Pictures
from reports.site.record_page import write_records
from reports.site.results import BoardView, CompareSection, view_board
from reports.site.study_page import write_studies
from reports.unloaded import loaded, unloaded_line
from rice_core.disk.temporaries import beside, is_abandoned, sweep_beside, temporaries_of
from rice_core.errors import UserError
from rice_core.record import Record
from rice_core.store import Store

MARKER = ".ricebench-site"


class Tracker(Protocol):
    """What shows progress; `rice_core.progress.Progress` is one."""

    def track(self, sequence: Sequence[Any], what: str) -> Iterator[Any]:
        """Iterate over something of known length."""


def build_site(
    store: Store, out: Path, *, title: str = "Vision encoders, probed", progress: Tracker | None = None
) -> Path:
    """Write the site into the folder `out`, which belongs to it, and return its index.html.

    The new site is written beside the old one and swapped in when it is whole, so an interruption leaves the old one.
    The same records give the same bytes.

    Raises:
        UserError: `out` holds something else than a site, or cannot be written.
    """
    out = Path(out).resolve()
    _refuse_foreign(out)
    _clear_up(out)
    fresh = beside(out)
    try:
        fresh.mkdir(parents=True)
        _write(store, Pen(fresh, title), progress)
        _swap(fresh, out)
    except OSError as error:
        raise UserError(
            f"The report could not be written to {out} ({error.strerror}); free some space or choose another folder."
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return out / "index.html"


def _refuse_foreign(out: Path) -> None:
    """The folder is replaced as a whole, so it must be ours."""
    if out.exists() and not (out / MARKER).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} holds other files, which a report would replace; choose a new or empty folder.")


def _clear_up(out: Path) -> None:
    """After killed builds: put back an old site that was caught between two renames, remove what else they left."""
    for left in filter(is_abandoned, temporaries_of(out, "old")):
        with contextlib.suppress(OSError):
            if (left / MARKER).is_file() and not left.is_symlink() and not out.exists():
                left.rename(out)
            else:
                shutil.rmtree(left)
    sweep_beside(out)


def _swap(fresh: Path, out: Path) -> None:
    old = beside(out, "old")
    moved = out.exists()
    if moved:
        out.rename(old)
    try:
        fresh.rename(out)
    except OSError:
        if moved:
            old.rename(out)
        raise
    with contextlib.suppress(OSError):
        shutil.rmtree(old)


def _write(store: Store, pen: Pen, progress: Tracker | None) -> None:
    def track(sequence: Sequence[Any], what: str) -> Iterable[Any]:
        return progress.track(sequence, what) if progress else sequence

    everything = store.records()
    records = loaded(everything)
    found = groups(records)
    pictures = Pictures(store, pen)
    views: list[BoardView] = []
    sections: list[CompareSection] = []
    for board in boards(found):
        view, compared = view_board(board, store, pen, pictures, track)
        views.append(view)
        sections += compared
    pen.static()
    studied = write_studies(pen, records, track)
    beside = write_beside(pen, records, store)
    summary = _summary(records, found)
    unloaded = unloaded_line(everything)
    pen.page(
        "index.html", "index.html.j2", views=views, studies=studied, beside=beside, summary=summary, unloaded=unloaded
    )
    pen.page("compare.html", "compare.html.j2", sections=sections)
    write_cells(pen, boards(found))
    write_missing(pen, boards(found))
    write_assumptions(pen, found)
    write_provenance(pen, found)
    write_paper(pen)
    write_records(pen, found, pictures, track)
    pen.file(MARKER, b"A report of ricebench. This folder is replaced as a whole by the next one.\n")


def _summary(records: Sequence[Record], found: Sequence[Group]) -> str:
    encoders = {entry.key for group in found for entry in group.entries}
    status = Counter(record.status for record in records)
    tainted = sum(1 for record in records if record.taints)
    parts = [
        _count(len(encoders), "encoder"),
        _count(len(set(probe_names(found).values())), "probe"),
        _count(len({(g.dataset.name, g.dataset.fingerprint) for g in found}), "data set"),
        _count(status["done"], "finished cell"),
    ]
    parts += [f"{status['failed']} failed"] if status["failed"] else []
    parts += [f"{status['not_applicable']} not applicable"] if status["not_applicable"] else []
    parts += [f"{tainted} tainted"] if tainted else []
    return " · ".join(parts)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"
