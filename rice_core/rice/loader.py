"""Curated shards -> batches: streams divided among ranks and worker processes, put together in one order.

Every micro-batch takes the same number of samples from each of a rank's streams, in the order of the streams. Rank r of
w owns the streams r::w, worker k of n every n-th of those; so neither ranks nor workers change what a step sees.

Letters as in `Batch`; S streams of the rank, C samples of each a micro-batch, B = S*C.
"""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from rice_core.errors import UserError
from rice_core.ranks import Ranks
from rice_core.record import Skipped
from rice_core.rice.batch import Batch
from rice_core.rice.captions import caption_tokenizer
from rice_core.rice.config import ResolutionStage, TrainConfig
from rice_core.rice.regions import RegionManifest
from rice_core.rice.samples import Preparer, TrainingExample
from rice_core.rice.streams import START, DrawnSample, Position, Stream, check_shards

PREFETCH = 4
"""Parts that each worker holds ready."""


class RegionLoader:
    """Endless micro-batches of one stage for one rank.

    Args:
        start: stream -> position to go on from, as `Batch.positions` gave them (of all ranks or of this one's streams
            alone); None for the beginning.
        workers: processes that decode; 0 decodes in this one. Never more than the rank has streams.
        ranks: None is this process alone; on CUDA the batches' memory is pinned.

    Raises:
        UserError: streams, batch, ranks, shards and `start` do not fit together, a shard is missing, or there is no such
            tokenizer. Iterating raises one where a stream finds nothing usable in a whole epoch, or a worker dies.
    """

    def __init__(
        self,
        config: TrainConfig,
        manifest: RegionManifest,
        *,
        stage: ResolutionStage,
        ranks: Ranks | None = None,
        workers: int = 0,
        start: Mapping[int, Position] | None = None,
    ) -> None:
        ranks = ranks or Ranks(0, 1, torch.device("cpu"))
        _check_fit(config, len(manifest.shards), ranks.size)
        check_shards(config.data.path, manifest.shards)
        preparer = Preparer.of(config, manifest, stage.resolution)
        if preparer.captions:
            caption_tokenizer(config.objective.tokenizer)  # refused here, and loaded before the workers fork
        self._streams = _own_streams(config, manifest, ranks, start)
        each = config.batch // (config.data.streams * config.accumulate)
        self._source = _StreamDataset(self._streams, each, preparer)
        self._workers = min(workers, len(self._streams))
        self._pin = ranks.device.type == "cuda"

    def __iter__(self) -> Generator[Batch]:
        """Micro-batches in order, from `start`, without end. Closing the iterator ends the worker processes."""
        parts = iter(self._source) if not self._workers else self._processes()
        try:
            while True:
                found = [_next(parts) for _ in range(max(self._workers, 1))]
                for refusal in found:
                    if isinstance(refusal, UserError):
                        raise refusal
                yield _merged(cast(list[WorkerPart], found), len(self._streams), self._pin)
        finally:
            # Now, not when the garbage collector finds it (perhaps in another loader's worker): this ends the processes.
            del parts

    def _processes(self) -> Iterator[WorkerPart | UserError]:
        loader = DataLoader(
            self._source,
            batch_size=None,
            num_workers=self._workers,
            prefetch_factor=PREFETCH,
            collate_fn=_as_it_is,
            worker_init_fn=_prepare_worker,
            # Else it draws a seed from the global generator, and the number of resumes would change the training.
            generator=torch.Generator(),
        )
        return iter(loader)


@dataclass(frozen=True)
class WorkerPart:
    """What one worker adds to a micro-batch: the samples of its streams.

    Pixels go through shared memory, which costs a file descriptor and a millisecond a tensor; the small arrays are
    cheaper through the pipe (a quarter of the main process's time, measured at 32 images of 96 pixels).
    """

    pixels_B3HW: torch.Tensor
    arrays: dict[str, npt.NDArray[Any]]
    """The other tensors of a Batch by their names."""
    keys: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    positions: dict[int, Position]


class _StreamDataset(IterableDataset["WorkerPart | UserError"]):
    """The parts of this process: of all streams, or in a worker of every n-th one."""

    def __init__(self, streams: tuple[Stream, ...], each: int, preparer: Preparer) -> None:
        self.streams, self.each, self.preparer = streams, each, preparer

    def __iter__(self) -> Iterator[WorkerPart | UserError]:
        worker = get_worker_info()
        own = self.streams if worker is None else self.streams[worker.id :: worker.num_workers]
        draws = [stream.draw(self.preparer) for stream in own]
        while True:
            try:
                drawn_SC = [[next(draw) for _ in range(self.each)] for draw in draws]
            except UserError as error:
                # As a value: DataLoader would wrap a raised one in the worker's traceback.
                yield error
                return
            positions = {stream.number: drawn[-1].position for stream, drawn in zip(own, drawn_SC, strict=True)}
            yield _collated([drawn for drawn_C in drawn_SC for drawn in drawn_C], positions, self.preparer)


def _collated(
    drawn: Sequence[DrawnSample[TrainingExample]], positions: dict[int, Position], preparer: Preparer
) -> WorkerPart:
    examples = [one.value for one in drawn]
    length = preparer.config.objective.text_tokens if preparer.captions else 0
    arrays = {
        "visible_BNP": np.stack([example.visible_NP for example in examples]),
        "type_BN": np.stack([example.type_N for example in examples]),
        "labels_BNM": _padded([row for example in examples for row in example.labels]).reshape(
            len(examples), preparer.places, -1
        ),
        "weight_BN": np.stack([example.weight_N for example in examples]),
        "image_objects_BL": _padded([example.objects for example in examples]),
        "image_tokens_BL": _padded([example.tokens for example in examples]),
        "image_clusters_BL": _padded([example.clusters for example in examples], int("image" in preparer.classes)),
        "caption_BL": np.array([example.caption for example in examples], dtype=np.int64).reshape(
            len(examples), length
        ),
    }
    return WorkerPart(
        pixels_B3HW=torch.from_numpy(np.stack([example.pixels_3SS for example in examples])),
        arrays=arrays,
        keys=tuple(example.key for example in examples),
        skipped=tuple(skip for one in drawn for skip in one.skipped),
        positions=positions,
    )


def _padded(rows: Sequence[Sequence[int]], least: int = 1) -> npt.NDArray[np.int64]:
    """(rows, width of the longest, at least `least`), padded with -1."""
    padded = np.full((len(rows), max(least, *map(len, rows))), -1, dtype=np.int64)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return padded


def _merged(parts: Sequence[WorkerPart], streams: int, pin: bool) -> Batch:
    """The parts of workers 0 to n - 1 as one batch, in the order of the streams."""
    tensors = {name: [torch.from_numpy(part.arrays[name]) for part in parts] for name in parts[0].arrays}
    tensors["pixels_B3HW"] = [part.pixels_B3HW for part in parts]
    keys_S: list[tuple[str, ...]] = [()] * streams
    for number, part in enumerate(parts):
        C = len(part.keys) // len(part.positions)
        keys_S[number :: len(parts)] = [part.keys[at : at + C] for at in range(0, len(part.keys), C)]
    positions = {stream: position for part in parts for stream, position in part.positions.items()}
    return Batch(
        **{name: _interleaved(each, streams, pin) for name, each in tensors.items()},
        keys=tuple(key for keys in keys_S for key in keys),
        # Sorted, because which worker met them says nothing.
        skipped=tuple(
            sorted((skip for part in parts for skip in part.skipped), key=lambda skip: (skip.item, skip.reason))
        ),
        positions=dict(sorted(positions.items())),
    )


def _interleaved(parts: Sequence[torch.Tensor], streams: int, pin: bool) -> torch.Tensor:
    """Stream s is part s % n's: its rows come s-th. Narrow last dimensions (of labels) are padded with -1."""
    if len(parts) == 1:
        return parts[0].pin_memory() if pin else parts[0]
    width, rows = max(part.shape[-1] for part in parts), sum(map(len, parts))
    out = torch.empty((rows, *parts[0].shape[1:-1], width), dtype=parts[0].dtype, pin_memory=pin)
    if any(part.shape[-1] < width for part in parts):
        out.fill_(-1)
    C = rows // streams
    out_SC = out.view(streams, C, *out.shape[1:])
    for number, part in enumerate(parts):
        out_SC[number :: len(parts), ..., : part.shape[-1]] = part.view(len(part) // C, C, *part.shape[1:])
    return out


def _next(parts: Iterator[WorkerPart | UserError]) -> WorkerPart | UserError:
    try:
        return next(parts)
    except (RuntimeError, ConnectionError, EOFError) as error:
        # The others are how a batch ends whose process dies while it is handed over.
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UserError(
            f"a process that loads images died ({reason}); it may have run out of memory or of "
            "shared memory (/dev/shm): try fewer workers, or 0."
        ) from error


def _as_it_is(part: Any) -> Any:
    return part


def _prepare_worker(worker: int) -> None:
    torch.set_num_threads(1)
    # torchrun and cluster schedulers signal the whole process group; the training still needs its images to end the step.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _own_streams(
    config: TrainConfig, manifest: RegionManifest, ranks: Ranks, start: Mapping[int, Position] | None
) -> tuple[Stream, ...]:
    data, count = config.data, config.data.streams
    own = range(ranks.rank, count, ranks.size)
    if start is not None and not set(own) <= set(start) <= set(range(count)):
        raise UserError(
            f"the training stopped with other data streams ({len(start)} positions) than the configuration's {count}; "
            "write its number of streams again."
        )
    places = {stream: START if start is None else start[stream] for stream in own}
    return tuple(
        Stream(data.path, manifest.shards, stream, count, config.seed, place) for stream, place in places.items()
    )


def _check_fit(config: TrainConfig, shards: int, world: int) -> None:
    streams, accumulate = config.data.streams, config.accumulate
    fitting = [n for n in range(1, shards + 1) if n % world == 0 and config.batch % (n * accumulate) == 0]
    advice = (
        f"write data.streams: {fitting[-1]}"
        if fitting
        else f"no number of streams fits {shards} shards, {world} ranks and {accumulate} parts of a batch of {config.batch}: "
        "curate into more shards, or change the batch"
    )
    if streams > shards:
        raise UserError(
            f"{config.data.path} has {shards} shards for {streams} streams, and each stream needs one; {advice}."
        )
    if streams % world:
        raise UserError(f"{streams} data streams cannot be divided among {world} ranks; {advice}.")
    if config.batch % (streams * accumulate):
        raise UserError(
            f"a batch of {config.batch} in {accumulate} parts is no multiple of {streams} data streams a part; {advice}."
        )
