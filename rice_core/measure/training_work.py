"""TrainingWork: the `StageWork` that is handed to a stage; and what it has in common with the `Work` of a probe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rice_core.budget import Budget, budget_of
from rice_core.encoders.private import private
from rice_core.measure.child import run_child
from rice_core.record import Skipped
from rice_core.spec import EncoderSpec
from rice_core.stage import Companion, E

if TYPE_CHECKING:  # handed in, and no part of what weights are made of (rice_core.measure.closure)
    from rice_core.bundle import Bundle
    from rice_core.measure.extract import Extractor
    from rice_core.measure.run import Engine
    from rice_core.ranks import Ranks


class AnyWork:
    """See `rice_core.stage.Handle`."""

    folder: Path

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.workers = engine.settings.workers

    def progress(self, sequence: Sequence[Any], what: str) -> Iterator[Any]:
        return self._engine.progress.track(sequence, what)

    def private(self, encoder: E) -> E:
        return private(encoder)

    def child(self, module: ModuleType, request: Any, *, cwd: Path | None = None, timeout: float | None = None) -> Any:
        own, shown = cwd or self.folder / "child", self._engine.progress
        return run_child(module, request, cwd=own, timeout=timeout, say=shown.say, track=shown.track)


class TrainingWork(AnyWork):
    """Cache, progress and files of one training; see `rice_core.stage.StageWork`.

    Args:
        folder: for checkpoints. made_from: digest of what it is made from, part of the key of what it keeps.
        extractor: of cached features; None in a rank that only helps.
    """

    def __init__(
        self,
        encoder: EncoderSpec,
        folder: Path,
        made_from: str,
        engine: Engine,
        ranks: Ranks,
        companions: tuple[Companion, ...],
        *,
        extractor: Extractor | None = None,
    ) -> None:
        super().__init__(engine)
        self.ranks, self.folder, self.companions = ranks, folder, companions
        self.skipped: dict[tuple[str, str], Skipped] = {}
        """What was left out."""
        self._encoder, self._made_from, self._extractor = encoder, made_from, extractor

    def skip(self, item: str, reason: str, times: int = 1) -> None:
        self.skipped[item, reason] = Skipped(item=item, reason=reason, times=times)

    def budget(self) -> Budget:
        return budget_of(self._encoder, self._engine.store.records(), self._features.cache.space())

    def has(self, about: Mapping[str, Any]) -> bool:
        return self._features.cache.has(self._key(about))

    def find(self, about: Mapping[str, Any]) -> Path | None:
        key = self._key(about)
        return self._features.cache.path(key) if self._features.cache.get(key) is not None else None

    def keep(self, about: Mapping[str, Any], shard: Bundle) -> Path:
        key = self._key(about)
        self._features.cache.put(key, shard)
        return self._features.cache.path(key)

    @property
    def _features(self) -> Extractor:
        if self._extractor is None:
            raise ValueError("a rank that only helps with a training has no cached features")
        return self._extractor

    def _key(self, about: Mapping[str, Any]) -> str:
        return self._features.key_of({"about": dict(about), "made_from": self._made_from})
