"""Claims: who works on a cell (or on a training), so that two processes never do the same work or write the same folder.

    claims/<id>.json    {"host", "pid", "started", "what"}: there while the work goes on, for people and for `status`

The claim is a lock on that file: a process that is killed gives it up, and the next one has it at once. The lock may not
reach other hosts (a network file system), and some file systems know none. Therefore the file counts too: while its
holder beats (its time is set anew every BEAT seconds) nobody else takes it, unless it is of this host and its process is
gone. A process killed on another host is thus waited for at most STALE seconds (rice_core.measure.claim_file).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rice_core.disk.files import refuse_links
from rice_core.errors import StoreError, UserError
from rice_core.measure.claim_file import HOST, Holder, Mine, is_file_of, read_holder, standing, take
from rice_core.record import now

__all__ = ["Claims", "Holder"]

BEAT = 30.0
"""Seconds between two signs of life."""
_PATIENCE = 0.5
"""Seconds between two looks at what others hold."""


@dataclass
class _Process:
    """What this process holds, by path: a lock does not keep a process out of its own claims."""

    mine: dict[Path, Mine] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    beating: threading.Thread | None = None


_PROCESS = _Process()
# A child has neither the locks nor the thread that beats.
os.register_at_fork(after_in_child=_PROCESS.__init__)  # type: ignore[misc]


class Claims:
    """The claims of one store.

    Args:
        folder: where their files are; made with the first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.parent.resolve() / folder.name  # the store may be a link, its folder of claims may not

    def take(self, name: str, what: str = "") -> bool:
        """Whether this process, and no other thread of it, holds the claim from now on. Never waits.

        Args:
            name: hex digits, as a cell's id. what: the work in words.

        Raises:
            StoreError: the folder cannot be written, or a link lies in the way.
        """
        path = self._path(name)
        with _PROCESS.lock:
            if path in _PROCESS.mine:
                return False
            holder = Holder(host=HOST, pid=os.getpid(), started=now(), what=what[:500])
            try:
                refuse_links(self._folder.parent, path).parent.mkdir(parents=True, exist_ok=True)
                taken = take(path, holder)
            except OSError as error:
                raise StoreError(
                    f"{self._folder} cannot be written ({error.strerror}); choose another --store."
                ) from error
            if taken is not None:
                _PROCESS.mine[path] = taken
                _beat()
            return taken is not None

    def give_back(self, name: str) -> None:
        """Let the next one have it; nothing where it is not this process's."""
        path = self._path(name)
        with _PROCESS.lock:
            mine = _PROCESS.mine.pop(path, None)
            if mine is None:
                return
            own = read_holder(path) == mine.holder if mine.descriptor is None else is_file_of(mine.descriptor, path)
            with contextlib.suppress(OSError):
                if own:
                    path.unlink()
            if mine.descriptor is not None:
                os.close(mine.descriptor)

    @contextlib.contextmanager
    def taken(self, name: str, what: str = "") -> Iterator[bool]:
        """Whether the claim is this process's while the block runs."""
        mine = self.take(name, what)
        try:
            yield mine
        finally:
            if mine:
                self.give_back(name)

    @contextlib.contextmanager
    def waited_for(self, name: str, what: str, say: Callable[[str], None]) -> Iterator[None]:
        """Held by this process while the block runs, as soon as nobody else holds it; `say` is told who that is."""
        while not self.take(name, what):
            self.first_free([[name]], say)
        try:
            yield
        finally:
            self.give_back(name)

    def holder(self, name: str) -> Holder | None:
        """Who holds it now, this process included; None where nobody does."""
        path = self._path(name)
        with _PROCESS.lock:
            if (mine := _PROCESS.mine.get(path)) is not None:
                return mine.holder
            return standing(path)

    def held(self) -> dict[str, Holder]:
        """All that are held, by name."""
        names = sorted(path.stem for path in self._folder.glob("*.json"))
        return {name: holder for name in names if (holder := self.holder(name)) is not None}

    def first_free(self, groups: Sequence[Sequence[str]], say: Callable[[str], None]) -> int:
        """Wait until nobody holds any claim of a group; returns the first such group's index.

        Args:
            say: told once who is waited for.
        """
        said: set[tuple[str, int]] = set()
        while True:
            for index, names in enumerate(groups):
                holder = next(filter(None, map(self.holder, names)), None)
                if holder is None:
                    return index
                if (holder.host, holder.pid) not in said:
                    said.add((holder.host, holder.pid))
                    say(f"another run ({holder.words}) works on {holder.what or names[0]}; waiting for it.")
            time.sleep(_PATIENCE)

    def _path(self, name: str) -> Path:
        if not name or not set(name) <= set("0123456789abcdef"):
            raise UserError(f"{name!r} is no id: write the hex digits that `ricebench status` shows.")
        return self._folder / f"{name}.json"


def _beat() -> None:
    """Set the time of all that this process holds, every BEAT seconds, until it holds nothing."""

    def beat() -> None:
        while True:
            time.sleep(BEAT)
            with _PROCESS.lock:
                if not _PROCESS.mine:
                    _PROCESS.beating = None
                    return
                for path in _PROCESS.mine:
                    with contextlib.suppress(OSError):
                        os.utime(path)

    if _PROCESS.beating is None:
        _PROCESS.beating = threading.Thread(target=beat, name="claims", daemon=True)
        _PROCESS.beating.start()
