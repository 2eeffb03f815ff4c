"""Processes that share out work. Ctrl-C reaches them too, and ends them without a word: their parent says it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children
from multiprocessing.context import SpawnContext, SpawnProcess


class _Worker(SpawnProcess):
    def start(self) -> None:
        """Started deaf to Ctrl-C: in the middle of its imports it would print where it was."""
        if threading.current_thread() is not threading.main_thread():
            super().start()
            return
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            super().start()
        finally:
            signal.signal(signal.SIGINT, before)


class _Spawn(SpawnContext):
    """New processes, not forks: a fork of one in which torch or faiss has started threads may hang."""

    Process = _Worker


@contextlib.contextmanager
def pool_of(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of `workers` processes, which are gone when the block ends."""
    with ProcessPoolExecutor(workers, mp_context=_Spawn(), initializer=_end_at_once) as pool:
        try:
            yield pool
        except KeyboardInterrupt:
            for child in active_children():  # those that were still deaf to it
                if isinstance(child, _Worker):
                    child.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _end_at_once() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
