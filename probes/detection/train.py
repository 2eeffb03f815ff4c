"""Train detectors over a frozen encoder. Stopped at any moment, the same call goes on and ends with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from probes.detection.learner import Learner
from probes.detection.loader import training_batches
from probes.detection.recipe import TrainingConfig, side_of
from probes.detection.tokens import tokens_of
from probes.detection.truth import TruthImage
from probes.detection.views import SEED, Kept, rounded
from rice_core.errors import StoreError, UserError
from rice_core.features import Encoder, Informed
from rice_core.ranks import Ranks


class Progress(Protocol):
    """As `Work.progress`."""

    def __call__(self, sequence: Sequence[int], what: str) -> Iterator[int]: ...


def train(
    encoder: Encoder,
    learners: Sequence[Learner],
    images: Sequence[TruthImage],
    config: TrainingConfig,
    *,
    masks: bool,
    seed: int,
    progress: Progress,
    what: str,
    kept: Kept | None = None,
    workers: int = 0,
    ranks: Ranks | None = None,
) -> None:
    """Train in place; one pass of the encoder serves all learners.

    Each ends as it would have alone, and joins in where its checkpoint is. The first one's failure ends the training; any
    other that fails is left where it was, for its own turn to say why.

    Args:
        masks: whether masks are learnt.
        seed: draws the views and their order, where the recipe has no `views`.
        what: how the progress bar calls it.
        kept: features of the views, where they are kept.
        ranks: the ranks of the training; None is this process alone.

    Raises:
        UserError: a loss is no number, the features are not finite, no image can be read, or the batch does not divide.
        StoreError: a checkpoint cannot be written.
    """
    ranks = ranks or Ranks(0, 1, encoder.device)
    first = min(learner.done for learner in learners)
    batches = training_batches(
        images,
        config,
        side=side_of(config.side, encoder.patch),
        masks=masks,
        told=isinstance(encoder, Informed),
        seed=seed if config.views is None else SEED,
        first=first,
        rank=ranks.rank,
        world=ranks.size,
        kept=kept,
        workers=workers,
    )
    leader, lost = learners[0], set[Learner]()
    for iteration in progress(range(first, config.iterations), what):
        due = [learner for learner in learners if learner.done == iteration and learner not in lost]
        for part in range(config.accumulate):
            batch = next(batches)
            if not due:
                continue
            tokens_BCTU = tokens_of(encoder, batch, config.precision)
            if config.views is not None and kept is None:
                tokens_BCTU = rounded(tokens_BCTU)
            for learner in due:
                if learner not in lost:
                    _attempt(partial(learner.learn, tokens_BCTU, batch, part), learner, leader, lost)
        for learner in due:
            if learner not in lost:
                _attempt(learner.step, learner, leader, lost)


def _attempt(call: Callable[[], None], learner: Learner, leader: Learner, lost: set[Learner]) -> None:
    try:
        call()
    except StoreError:
        raise
    except UserError:
        if learner is leader:
            raise
        lost.add(learner)
