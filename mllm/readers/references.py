"""What REFER's files say of one data set: references to objects, each with a few sentences, and the objects' masks.

    refs(unc).p, refs(umd).p      a pickle of Python 2: dictionaries, lists, texts and numbers, and nothing else is read
    instances.json                images and annotations in COCO's form
    *.parquet                     both in one, as jxu124/refcoco, refcocoplus and refcocog have them

A picture is found by its number in instances.json: the `file_name` of a reference (`..._16.jpg`) is no file.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rice_core.errors import MissingExtra, UserError, one_line

MIRRORED = (
    "is lmms-lab's copy of refCOCO, which mixes the splits and keeps one polygon of masks that have several; load REFER's own folders, "
    "or jxu124/refcoco, jxu124/refcocoplus and jxu124/refcocog from the hub"
)
"""What is said of it, behind its name."""
_COLUMNS = ("ref_id", "image_id", "split", "sentences", "raw_anns", "raw_image_info")


@dataclass(frozen=True)
class Reference:
    """One object that sentences refer to, as its file has it: nothing is checked yet."""

    told: Mapping[str, Any]
    """Its entry: ref_id, image_id, split, sentences."""
    image: Mapping[str, Any] | None
    """Of instances.json; None where there is none of its number."""
    annotation: Mapping[str, Any] | None


def read_references(refs: Path, instances: Path) -> Iterator[Reference]:
    """Of a pickle and the JSON beside it.

    Raises:
        UserError: one of them cannot be read, or is another file.
    """
    told = read_plain_pickle(refs)
    if not isinstance(told, list) or not all(isinstance(each, dict) for each in told):
        raise UserError(f"{refs} holds no list of references; unpack REFER's own archive again.")
    try:
        truth = json.loads(instances.read_bytes())
        images = {each["id"]: each for each in truth["images"]}
        annotations = {each["id"]: each for each in truth["annotations"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{instances} has no images and annotations in COCO's form ({one_line(error, 120)}); unpack REFER's own archive again."
        ) from None
    for each in told:
        yield Reference(each, _at(images, each.get("image_id")), _at(annotations, each.get("ann_id")))


def read_reference_tables(files: Sequence[Path]) -> Iterator[Reference]:
    """Of parquet files.

    Raises:
        UserError: one cannot be read, has other columns, or is of a mirror that mixes the splits. MissingExtra: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtra("a table of referring expressions", "mllm") from None
    for file in files:
        try:
            table = pyarrow.parquet.ParquetFile(file)
            names = table.schema_arrow.names
            if missing := [name for name in _COLUMNS if name not in names]:
                raise _other_columns(file, missing[0], names)
            for batch in table.iter_batches(1024, columns=list(_COLUMNS)):
                yield from map(_of_row, batch.to_pylist())
        except (OSError, ValueError) as error:
            raise UserError(f"{file} is no table of references ({one_line(error, 120)}); fetch it again.") from None


def read_plain_pickle(path: Path) -> Any:
    """What a pickle holds that names no class and no function. Whatever another one names is neither imported nor called.

    Raises:
        UserError: it names one, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="utf-8").load()
    except Exception as error:  # a broken pickle fails in any way
        raise UserError(
            f"{path} is no pickle of plain lists and texts ({one_line(error, 120)}), and nothing of it was run; unpack REFER's own archive again."
        ) from None


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _at(entries: Mapping[Any, Mapping[str, Any]], key: Any) -> Mapping[str, Any] | None:
    return entries.get(key) if isinstance(key, int | str) else None


def _of_row(row: dict[str, Any]) -> Reference:
    return Reference(row, json.loads(row["raw_image_info"]), json.loads(row["raw_anns"]))


def _other_columns(file: Path, missing: str, names: Iterable[str]) -> UserError:
    if {"question_id", "answer", "segmentation"} <= set(names):
        return UserError(f"{file} {MIRRORED}.")
    return UserError(
        f"{file} has no column {missing}, only {', '.join(names)}; fetch jxu124/refcoco, jxu124/refcocoplus or jxu124/refcocog."
    )
