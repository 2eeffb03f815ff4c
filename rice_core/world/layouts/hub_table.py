"""A data set as a repository of the hub has it: tables in Parquet with pictures in them, and a README that says which file is what.

What `datasets` needs to read it without a network, and no more: `load_dataset(FOLDER, CONFIG, split=SPLIT)`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rice_core.digest import file_digest
from rice_core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

Feature = str | tuple[Any] | Mapping[str, Any]
"""A column: `string`, `int32`, `int64` or `image`; in a tuple of one, a list of it; several by name, a struct."""
Row = Mapping[str, Any]
"""A picture in it is the bytes of its file."""


@dataclass(frozen=True)
class HubTable:
    """One split of one configuration, in one file."""

    config: str
    split: str
    file: str
    """Below the repository's folder."""
    pattern: str
    """What the README calls it by."""
    features: Mapping[str, Feature]
    rows: Sequence[Row]


def write_repository(folder: Path, tables: Sequence[HubTable]) -> dict[str, str]:
    """All tables and the README; file -> sha256. The same tables give the same bytes with the same pyarrow.

    Raises:
        UserError: pyarrow is not installed.
    """
    names = [_write(folder, table) for table in tables]
    (folder / "README.md").write_text(_readme(folder, tables), encoding="utf-8")
    return {name: file_digest(folder / name) for name in [*names, "README.md"]}


def _write(folder: Path, table: HubTable) -> str:
    try:
        import pyarrow as pa
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError:
        raise UserError(
            'the miniature benchmarks are Parquet files, which need pyarrow: pip install "ricebench[mllm]".'
        ) from None
    told = {"info": {"features": {name: _told(feature) for name, feature in table.features.items()}}}
    schema = pa.schema(
        [(name, _arrow(feature)) for name, feature in table.features.items()],
        metadata={"huggingface": json.dumps(told)},
    )
    rows = [{name: _cell(feature, row[name]) for name, feature in table.features.items()} for row in table.rows]
    (folder / table.file).parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows, schema), folder / table.file)
    return table.file


def _cell(feature: Feature, value: Any) -> Any:
    return {"bytes": value, "path": None} if feature == "image" else value


def _arrow(feature: Feature) -> pa.DataType:
    import pyarrow as pa

    if isinstance(feature, tuple):
        return pa.list_(_arrow(feature[0]))
    if isinstance(feature, Mapping):
        return pa.struct([(name, _arrow(inner)) for name, inner in feature.items()])
    if feature == "image":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return {"string": pa.string(), "int32": pa.int32(), "int64": pa.int64()}[feature]


def _told(feature: Feature) -> dict[str, Any]:
    """As the file's own metadata has it."""
    if isinstance(feature, tuple):
        return {"feature": _told(feature[0]), "_type": "Sequence"}
    if isinstance(feature, Mapping):
        return {name: _told(inner) for name, inner in feature.items()}
    return {"_type": "Image"} if feature == "image" else {"dtype": feature, "_type": "Value"}


def _listed(feature: Feature) -> dict[str, Any]:
    """As the README has it."""
    if isinstance(feature, tuple):
        inner = _listed(feature[0])
        return {"sequence": inner.get("dtype", inner)}
    if isinstance(feature, Mapping):
        return {"struct": [{"name": name} | _listed(inner) for name, inner in feature.items()]}
    return {"dtype": feature}


def _readme(folder: Path, tables: Sequence[HubTable]) -> str:
    info = [
        {
            "config_name": table.config,
            "features": [{"name": name} | _listed(feature) for name, feature in table.features.items()],
            "splits": [
                {
                    "name": table.split,
                    "num_bytes": (folder / table.file).stat().st_size,
                    "num_examples": len(table.rows),
                }
            ],
        }
        for table in tables
    ]
    configs = [
        {"config_name": table.config, "data_files": [{"split": table.split, "path": table.pattern}]} for table in tables
    ]
    body = yaml.safe_dump({"configs": configs, "dataset_info": info}, sort_keys=False)
    return (
        f"---\n{body}---\n\nQuestions about the miniature world in the columns of this benchmark: not the benchmark.\n"
    )
