"""`ricebench plan table:1` and `run table:1`: a table of the paper in the place of its probes, and --lm for those that have one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from reports.beside import mappings
from rice_core.cli import main
from rice_core.cli.options import Asked
from rice_core.errors import UserError
from rice_core.measure import config, paper_tables
from rice_core.spec import ProbeRequest


def test_a_table_stands_for_the_probes_that_fill_its_columns() -> None:
    """In their order, so that what is run is what the report's table beside the paper asks for."""
    assert {f"table:{mapping.table}": mapping.probes for mapping in mappings()} == paper_tables.PROBES


def test_what_is_no_table_that_probes_fill_is_told() -> None:
    with pytest.raises(
        UserError, match=r"table:5a is no table .* choose from table:1, table:3, table:4\. .* --scale smoke"
    ):
        paper_tables.probes_of("table:5a")


@dataclass(frozen=True)
class Speaking:
    lm: str | None = None
    name: ClassVar[str] = "docvqa"


@dataclass(frozen=True)
class Silent:
    k: int = 20
    name: ClassVar[str] = "knn"


@pytest.fixture
def kinds(monkeypatch):
    kinds = {"docvqa": Speaking, "knn": Silent}
    monkeypatch.setattr(config, "probe_kind", lambda name, files=False: kinds[name])


def test_the_language_model_is_of_the_probes_that_have_one(kinds) -> None:
    asked = Asked(probes=["docvqa?recipe=mini,knn?k=5"], lm="Qwen/Qwen2.5-0.5B-Instruct").requests()
    assert asked == (
        ProbeRequest(name="docvqa", params={"recipe": "mini", "lm": "Qwen/Qwen2.5-0.5B-Instruct"}),
        ProbeRequest(name="knn", params={"k": 5}),
    )


@pytest.mark.parametrize(
    ("asked", "table", "says"),
    [
        (Asked(probes=["knn"], lm="X"), "", "none of these has one"),
        (Asked(probes=["docvqa?lm=Y"], lm="X"), "", "said twice"),
        (Asked(probes=["knn"]), "table:1", "leave out --probes, or the table"),
    ],
)
def test_what_is_said_twice_or_for_nothing_is_told(kinds, asked, table, says) -> None:
    with pytest.raises(UserError, match=says):
        asked.requests(table)


def test_one_probe_with_two_settings_keeps_both(kinds) -> None:
    asked = Asked(probes=["docvqa?recipe=mini,docvqa?recipe=smoke"], lm="X").requests()
    assert [each.params["recipe"] for each in asked] == ["mini", "smoke"]


def test_a_table_makes_a_configuration_of_its_probes() -> None:
    config = Asked(encoders=["noise"], data=["FOLDER"]).run_config("table:4")
    assert [each.name for each in config.probe_requests()] == ["lasot", "trackingnet", "got10k", "tnl2k"]


def test_without_data_a_table_is_priced_where_its_published_size_is_known() -> None:
    requests = tuple(ProbeRequest(name=name) for name in paper_tables.PROBES["table:3"])
    with pytest.raises(UserError, match="coco-det can be priced with its data alone; add --data FOLDER"):
        paper_tables.published_plan(["noise"], requests, (0,))


def test_table_1_is_priced_before_anything_is_there(capsys, tmp_path) -> None:
    """A training once, however many benchmarks are asked; at the size that the encoder was published at."""
    pytest.importorskip("lmms_eval")
    ricebench("plan", "table:1", "-e", "rice-l14-560", "--lm", "Qwen/Qwen2.5-7B-Instruct", "--store", str(tmp_path))
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert "LLaVA-Pretrain 28 GB" in said
    assert sum("to be measured" in line for line in lines) == 13
    assert "lm=" not in said, "it is the recipe's own"
    assert sum("/ llava-align, for 12 cells: to be trained, once" in line for line in lines) == 1
    assert sum("/ llava-instruct, for 12 cells: to be trained, once" in line for line in lines) == 1
    (instruct,) = [line for line in lines if "llava-instruct: 779,289 samples in 6,089 steps" in line]
    assert "about 15 to 32 h of 8 H100 by arithmetic" in instruct
    assert "memory over all ranks: 112 GB" in instruct
    assert "disk: 168 GB" in instruct
    assert "docvqa_val: 5,349 questions" in said
    assert "its own align and instruct split" in said


def test_another_language_model_is_priced_as_itself(capsys, tmp_path) -> None:
    pytest.importorskip("lmms_eval")
    ricebench("plan", "-e", "rice-l14-560", "--lm", "Qwen/Qwen2.5-0.5B-Instruct", "table:1", "--store", str(tmp_path))
    said = capsys.readouterr().out
    assert said.count("lm=Qwen/Qwen2.5-0.5B-Instruct") == 13
    assert "about 1.1 to 2.3 h of 8 H100" in said


def ricebench(*words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words])
    assert ended.value.code == 0
