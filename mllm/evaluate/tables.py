"""Tables of questions as `hf download` leaves a benchmark's repository, or `save_to_disk` a data set: where they are, and what a row says.

    FOLDER/lmms-lab-encoder/DocVQA/README.md, DocVQA/validation-*.parquet        the repository's own folder, under any of its names
    FOLDER/lmms-lab-encoder/DocVQA/validation/*.arrow                            or what `save_to_disk` wrote there

Rows are counted without being read; pictures are decoded by lmms-eval alone, in a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import yaml

from mllm.evaluate.columns import BENCHMARKS, IMAGE, Benchmark
from rice_core.datasets.nouns import Conversation
from rice_core.errors import MissingExtra, UserError, one_line

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

_ORGANISATIONS = {"lmms-lab-encoder": "lmms-lab"}
"""lmms-eval 0.7.3's name of one, and the older one of the same tables."""
_WRITTEN = ("dataset_info.json", "state.json")
"""What `save_to_disk` leaves beside a split."""
_SHARD = re.compile(r"(.*)-\d{5}-of-(\d{5})(?:-[0-9a-f]+)?\.parquet")
"""The hub's name of one file of several."""


@dataclass(frozen=True)
class TableQuestions(Sequence[Conversation]):
    """The questions of one benchmark, of which nothing is read until they are asked."""

    task: str
    files: tuple[Path, ...]
    counts: tuple[int, ...]
    """Rows of each file."""
    rows: range

    @classmethod
    def of(cls, task: str, files: Sequence[Path]) -> TableQuestions:
        """
        Raises:
            UserError: a file cannot be read. MissingExtra: pyarrow is not installed.
        """
        counts = tuple(map(_rows_in, files))
        return cls(task, tuple(files), counts, range(sum(counts)))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Conversation: ...

    @overload
    def __getitem__(self, place: slice) -> TableQuestions: ...

    def __getitem__(self, place: int | slice) -> Conversation | TableQuestions:
        if isinstance(place, slice):
            return TableQuestions(self.task, self.files, self.counts, self.rows[place])
        # With all files, so that a part of the questions still says how rows are counted.
        return Conversation(id=f"{self.task}/{self.rows[place]:05}", turns=(), source=self.files)


def find_tables(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The files of every benchmark that a folder has, by task; opened is none.

    Raises:
        UserError: a repository is there and not the split that is asked, or is there twice.
    """
    found = {}
    for task, benchmark in BENCHMARKS.items():
        there = [place for place in _places(folder, benchmark.repository) if place.is_dir()]
        # LiveXiv/LiveXiv lies in LiveXiv, which is none.
        places = [place for place in there if not any(place in other.parents for other in there)]
        if len(places) > 1:
            raise UserError(f"{places[0]} and {places[1]} would both be {task}; keep one of them in the folder.")
        if places and (files := _files(places[0], benchmark)):
            found[task] = files
    return found


def _places(folder: Path, repository: str) -> Iterator[Path]:
    """Where a repository may have been put: by its name, its older name, and as the hub's cache calls it."""
    organisation, name = repository.split("/")
    for known in filter(None, (organisation, _ORGANISATIONS.get(organisation))):
        yield folder / known / name
        yield from sorted(folder.glob(f"datasets--{known}--{name}/snapshots/*"))
    yield folder / name


def _files(place: Path, benchmark: Benchmark) -> tuple[Path, ...]:
    """Of one split, in the order of their rows; none where this configuration was not fetched.

    Raises:
        UserError: some of them are not there.
    """
    if saved := _saved(place, benchmark):
        return saved
    names = {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*.parquet"))}
    patterns = _patterns(place / "README.md", benchmark) or (
        f"{benchmark.config or 'data'}/{benchmark.split}-*",
        f"{benchmark.split}-*",
    )
    files = tuple(path for name, path in names.items() if any(fnmatch(name, pattern) for pattern in patterns))
    there = Counter(shard.groups() for file in files if (shard := _SHARD.fullmatch(file.name)))
    for (_, of), n in there.items():
        if n != int(of):
            raise UserError(f"{place} holds {n} of the {int(of)} files of {benchmark.task}; fetch it again.")
    return files


def _saved(place: Path, benchmark: Benchmark) -> tuple[Path, ...]:
    """What `save_to_disk` wrote of this split."""
    of_config = place / (benchmark.config or "")
    for folder, whole in (
        (of_config / benchmark.split, True),
        (place / benchmark.split, True),
        (of_config, False),
        (place, False),
    ):
        if not all((folder / name).is_file() for name in _WRITTEN):
            continue
        info, state = (json.loads((folder / name).read_text(encoding="utf-8")) for name in _WRITTEN)
        # A folder that is not called as its split or configuration may hold another one.
        other_split = not whole and state.get("_split") not in (None, benchmark.split)
        other_config = benchmark.config and info.get("config_name") not in (None, "default", benchmark.config)
        if not other_split and not other_config:
            return tuple(folder / each["filename"] for each in state["_data_files"])
    return ()


def _patterns(readme: Path, benchmark: Benchmark) -> tuple[str, ...]:
    """What the README says of the split; nothing where it has no front matter.

    Raises:
        UserError: its front matter is no YAML.
    """
    try:
        _, told, _ = readme.read_text(encoding="utf-8").split("---\n", 2)
        configs = (yaml.safe_load(told) or {}).get("configs", [])
    except (OSError, ValueError):
        return ()
    except yaml.YAMLError as error:
        raise UserError(f"{readme} is no README of a data set ({one_line(error, 120)}); fetch it again.") from None
    named = [config for config in configs if benchmark.config in (None, config.get("config_name"))]
    if benchmark.config is None:  # as `datasets` chooses
        named = [each for each in named if each.get("default") or each.get("config_name") == "default"] or named
    found = [
        each["path"]
        for config in named
        for each in config.get("data_files", ())
        if isinstance(each, dict) and each.get("split") == benchmark.split
    ]
    return tuple(path for each in found for path in ([each] if isinstance(each, str) else each))


def _rows_in(file: Path) -> int:
    if file.suffix == ".parquet":
        return int(_parquet(file).metadata.num_rows)
    return sum(batch.num_rows for batch in _batches(file, ()))


@dataclass(frozen=True)
class AskedRow:
    """What is known of a question beside its answer."""

    cluster: str
    """Its document or figure."""
    kind: str
    """As the benchmark divides its questions; empty where it does not."""


def asked_rows(questions: TableQuestions) -> list[AskedRow]:
    """Of every row of its files.

    Raises:
        UserError: a column is not there, or a file cannot be read.
    """
    benchmark = BENCHMARKS[questions.task]
    names = [benchmark.cluster, *([benchmark.kind] if benchmark.kind else [])]
    found = []
    for file in questions.files:
        for batch in _batches(file, names):
            clusters = map(_cluster, batch[benchmark.cluster])
            kinds = batch[benchmark.kind].to_pylist() if benchmark.kind else [""] * batch.num_rows
            found += [AskedRow(cluster, _kind(kind)) for cluster, kind in zip(clusters, kinds, strict=True)]
    return found


def picture_bytes(questions: TableQuestions, doc: int) -> bytes:
    """The file of a question's picture.

    Raises:
        UserError: a file cannot be read.
    """
    for file, count in zip(questions.files, questions.counts, strict=True):
        if doc < count:
            for batch in _batches(file, [IMAGE]):
                if doc < batch.num_rows:
                    return bytes(batch[IMAGE][doc].as_py()["bytes"] or b"")
                doc -= batch.num_rows
        doc -= count
    raise IndexError(doc)


def _cluster(value: Any) -> str:
    """A name; of a picture a digest of its file."""
    found = value.as_py()
    return hashlib.sha256(found["bytes"] or b"").hexdigest()[:16] if isinstance(found, dict) else str(found)


def _kind(value: Any) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _batches(file: Path, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """A file in pieces.

    Args:
        names: columns; of an Arrow file all are there.

    Raises:
        UserError: it cannot be read, or a column is not there.
    """
    try:
        if file.suffix == ".parquet":
            table = _parquet(file)
            _check_columns(file, table.schema_arrow.names, names)
            yield from table.iter_batches(256, columns=list(names))
            return
        pa = _arrow()
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
            _check_columns(file, stream.schema.names, names)
            yield from stream
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from None


def _check_columns(file: Path, there: Sequence[str], names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in there]:
        raise UserError(
            f"{file} has no column {missing[0]}, only {', '.join(there)}; fetch the repository that lmms-eval names."
        )


def _parquet(file: Path) -> Any:
    _arrow()
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        return pyarrow.parquet.ParquetFile(file)
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> UserError:
    return UserError(f"{file} is no table of questions ({one_line(error, 120)}); fetch it again.")


@cache
def _arrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise MissingExtra("a table of questions", "mllm") from None
    return pyarrow
