"""docs/mllm.md says of each column what is measured: the map itself, and recipes that there are."""

from __future__ import annotations

import re
from pathlib import Path

from mllm.evaluate.columns import BENCHMARKS, COLUMNS
from mllm.llava.recipe import RECIPES
from mllm.published import SIZES
from reports.reference.paper import printed_tables

PAGE = (Path(__file__).parents[2] / "docs/mllm.md").read_text(encoding="utf-8")


def rows_below(heading: str) -> list[list[str]]:
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_the_table_of_columns_is_the_map() -> None:
    labels = {column.key: column.label for column in printed_tables()[0].columns}
    written = []
    for column in COLUMNS:
        first, last = column.tasks[0], column.tasks[-1]
        task = first if first == last else f"{first} to {last.rpartition('_')[2]}"
        repository = BENCHMARKS[first].repository
        written.append([labels[column.key], column.probe, task, repository, column.metric.split(",")[0], column.unit])
    assert rows_below("Columns") == written


def test_every_recipe_for_a_user_is_there() -> None:
    named = {row[0] for row in rows_below("Recipes")}
    assert named == set(RECIPES)


def test_sizes_are_those_that_plan_prices() -> None:
    assert {int(each.replace(",", "")) for each in re.findall(r"\d{3},\d{3}", PAGE)} == {
        SIZES["align"],
        SIZES["instruct"],
    }
