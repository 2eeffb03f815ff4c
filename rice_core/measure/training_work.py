"""TrainingWork: the `StageWork` that is handed to a stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from rice_core.budget import Budget, budget_of
from rice_core.encoders.private import private
from rice_core.features import Encoder
from rice_core.measure.child import run_child
from rice_core.record import Skipped
from rice_core.spec import EncoderSpec
from rice_core.stage import Companion

if TYPE_CHECKING:  # handed in, and no part of what weights are made of (rice_core.measure.closure)
    from rice_core.bundle import Bundle
    from rice_core.measure.extract import Extractor
    from rice_core.measure.run import Engine
    from rice_core.ranks import Ranks

E = TypeVar("E", bound=Encoder)


class TrainingWork:
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
        self.ranks, self.workers, self.folder, self.companions = ranks, engine.settings.workers, folder, companions
        self.skipped: dict[tuple[str, str], Skipped] = {}
        """What was left out."""
        self._encoder, self._made_from, self._engine, self._extractor = encoder, made_from, engine, extractor

    def skip(self, item: str, reason: str) -> None:
        self.skipped[item, reason] = Skipped(item=item, reason=reason)

    def progress(self, sequence: Sequence[Any], what: str) -> Iterator[Any]:
        return self._engine.progress.track(sequence, what)

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

    def private(self, encoder: E) -> E:
        return private(encoder)

    def child(self, module: ModuleType, request: Any, *, cwd: Path | None = None, timeout: float | None = None) -> Any:
        say = self._engine.progress.say
        return run_child(module, request, cwd=cwd or self.folder / "child", timeout=timeout, say=say)

    @property
    def _features(self) -> Extractor:
        if self._extractor is None:
            raise ValueError("a rank that only helps with a training has no cached features")
        return self._extractor

    def _key(self, about: Mapping[str, Any]) -> str:
        return self._features.key_of({"about": dict(about), "made_from": self._made_from})
