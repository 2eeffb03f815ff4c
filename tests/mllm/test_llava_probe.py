"""The probes of Table 1: what a name and its settings stand for, which trainings they share, and what is refused before anything is trained."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from judged_tables import leave_answers

from mllm.assumed import assumptions
from mllm.evaluate import requirements
from mllm.evaluate.columns import BENCHMARKS, COLUMNS, columns_of
from mllm.evaluate.tables import TableQuestions
from mllm.llava.recipe import RECIPES
from mllm.probe import DocVqaBenchmark, LiveXivVqaBenchmark, LlavaNext, MmeBenchmark, OcrBenchV2Benchmark
from mllm.readers.llava import LlavaLayout
from rice_core.datasets import Dataset, open_dataset
from rice_core.datasets.nouns import Conversation
from rice_core.errors import NotApplicable, UserError
from rice_core.measure import config
from rice_core.measure.config import RunConfig, build_probes
from rice_core.measure.plan import Plan, plan_of
from rice_core.probe import Equipped, untaught
from rice_core.spec import EncoderSpec, ProbeRequest
from rice_core.stage import chain, request_of
from rice_core.store import Store
from rice_core.world.mini import World, draw

pytest.importorskip("pyarrow")
POINTS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["entry-points"]
PROBES = tuple(dict.fromkeys(column.probe for column in COLUMNS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = World(name="mini-llava", seed=0, train=12, val=8, size=48, layout="llava")
    return draw(world, tmp_path_factory.mktemp("worlds"))


@pytest.fixture
def dataset(folder: Path) -> Dataset:
    return open_dataset(folder, reader=LlavaLayout())


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probes of this repository's pyproject, whatever is installed."""
    group = "ricebench.probes"
    known = [importlib.metadata.EntryPoint(name, place, group) for name, place in POINTS[group].items()]
    monkeypatch.setattr(config, "probe_entry_points", lambda: {point.name: point for point in known})


def test_thirteen_names_are_installed_and_one_that_stands_for_them_all() -> None:
    for name in PROBES:
        kind = importlib.metadata.EntryPoint(name, POINTS["ricebench.probes"][name], "").load()
        assert kind.name == name
        assert kind.role == "llava"
    built = build_probes([ProbeRequest.parse("llava-next?recipe=mini&lm_rate=0.001")])
    assert [probe.name for probe in built] == list(PROBES)
    assert {probe.spec.recipe for probe in built} == {"mini"}
    assert all(probe.spec.params == {"lm_rate": 0.001} for probe in built)


def test_a_setting_that_the_recipe_has_already_is_no_other_measurement() -> None:
    assert DocVqaBenchmark(lm="Qwen/Qwen2.5-7B-Instruct", batch=128, epochs=1, at_once=8).spec.params == {}
    changed = DocVqaBenchmark(recipe="mini", lm="Qwen/Qwen2.5-0.5B-Instruct", batch=8, epochs=5, tiles="2x2", most=32)
    aligned = RECIPES["mini"].align.epochs
    assert changed.spec.params == {
        "lm": "Qwen/Qwen2.5-0.5B-Instruct",
        "batch": 8,
        "epochs": 5,
        "tiles": "2x2",
        "most": 32,
    }
    settings = changed.settings()
    assert (settings.align.batch, settings.instruct.batch, settings.align.epochs, settings.instruct.epochs) == (
        8,
        8,
        aligned,
        5,
    )
    assert (settings.asking.at_once, settings.asking.most) == (32, 32)


def test_a_recipe_reads_the_paper_only_where_its_settings_are_what_it_says() -> None:
    assert "Table 1" in DocVqaBenchmark(lm="Qwen/Qwen2.5-0.5B-Instruct", part=2, at_once=4, most=64).settings().reading
    for changed in ({"batch": 64}, {"tiles": "one"}, {"lm_rate": 0.1}, {"epochs": 2}, {"labels": "answer"}):
        assert DocVqaBenchmark(**changed).settings().reading == ""


def test_a_setting_that_one_of_two_trainings_has_already_is_another_measurement() -> None:
    """OneVision's first training has a batch of 128, its last one of 256."""
    assert DocVqaBenchmark(recipe="ov@1", batch=128).spec.params == {"batch": 128}
    assert DocVqaBenchmark(recipe="ov@1", batch=256).spec.params == {"batch": 256}
    assert DocVqaBenchmark(recipe="mini-croc", batch=16).spec.params == {}
    assert DocVqaBenchmark(recipe="mini-croc", batch=8).settings().croc.batch == 8  # type: ignore[union-attr]


def test_a_language_model_of_a_folder_is_told_by_its_bytes_and_never_by_its_path(tmp_path: Path) -> None:
    def told(folder: Path, weights: bytes) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(weights)
        return str(DocVqaBenchmark(lm=str(folder)).spec.params["lm"])

    one = told(tmp_path / "here/qwen", b"one")
    assert re.fullmatch("qwen:[0-9a-f]{20}", one)
    assert told(tmp_path / "there/qwen", b"one") == one
    assert told(tmp_path / "here/qwen", b"another") != one
    recipe = DocVqaBenchmark(lm=str(tmp_path / "there/qwen")).settings()
    said = assumptions(
        recipe,
        columns_of("docvqa"),
        [SimpleNamespace(task="docvqa_val", told={"lmms_eval": "0.7.3", "generation": {}})],
    )  # type: ignore[list-item]
    assert any(sentence.startswith(f"{one} reads patch tokens") for sentence in said)
    assert not any(str(tmp_path) in sentence for sentence in said)


@pytest.mark.parametrize("name", [field.name for field in fields(DocVqaBenchmark) if field.name != "recipe"])
def test_every_setting_reaches_the_recipe(name: str) -> None:
    value: Any = {
        "lm": "x",
        "layer": -3,
        "tiles": "one",
        "square": "crop",
        "labels": "answer",
        "precision": "fp32",
    }.get(name)
    value = value or (0.5 if name.endswith("rate") else 17)
    own = DocVqaBenchmark().settings()
    assert DocVqaBenchmark(**{name: value}).settings() != own
    assert DocVqaBenchmark(**{name: value}).spec.params == {name: value}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"recipe": "mni"}, "docvqa: there is no recipe 'mni'; did you mean mini.*paper@1"),
        ({"tiles": "3x3"}, "docvqa: tiles: Input should be '2x2', '6x6' or 'one'"),
        ({"most": 0}, "docvqa: most: Input should be greater than or equal to 1"),
        ({"layer": 0}, "docvqa: layer: Input should be less than or equal to -1"),
    ],
)
def test_a_setting_that_cannot_be_is_a_sentence_before_anything_is_loaded(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        DocVqaBenchmark(**settings)


def test_all_tasks_are_asked_of_one_model_that_knows_none_of_them(dataset: Dataset) -> None:
    stages = [
        stage
        for probe in build_probes([ProbeRequest.parse("llava-next?recipe=mini")])
        for stage in probe.stages(dataset)
    ]
    assert sorted(stage.task for stage in stages) == sorted(BENCHMARKS)
    assert [each.spec.name for each in chain(stages[0])] == ["llava-answers", "llava-instruct", "llava-align"]
    encoder = EncoderSpec.parse("synthetic:random-weights")
    assert len({request_of(stage, encoder, 0).after.id for stage in stages}) == 1  # type: ignore[union-attr]
    assert all(stage.shares_with(stages[0]) for stage in stages)
    assert [set(stage.data[0].splits) for stage in stages[:2]] == [{stages[0].task}, {stages[1].task}]
    (other,) = DocVqaBenchmark(recipe="mini", most=8).stages(dataset)
    assert not other.shares_with(stages[0])
    assert request_of(other, encoder, 0).after == request_of(stages[0], encoder, 0).after


def test_versions_of_livexiv_that_are_not_here_are_not_asked(dataset: Dataset) -> None:
    splits = {name: items for name, items in dataset.splits.items() if name not in ("livexiv_vqa_v2", "livexiv_vqa_v5")}
    tasks = [stage.task for stage in LiveXivVqaBenchmark(recipe="mini").stages(replace(dataset, splits=splits))]
    assert tasks == [f"livexiv_vqa_v{k}" for k in (1, 3, 4, 6)]


def test_what_the_model_is_trained_on_may_be_of_another_folder(dataset: Dataset) -> None:
    probe = DocVqaBenchmark(recipe="mini")
    asked = replace(dataset, splits={"docvqa_val": dataset.splits["docvqa_val"]})
    assert untaught(probe, asked)
    assert not untaught(probe, dataset)
    assert probe.learns_from(dataset)
    assert not probe.learns_from(asked)
    assert probe.stages(replace(asked, learnt_from=(dataset,))) == probe.stages(dataset)
    with pytest.raises(
        NotApplicable, match=r"learns from one data set, not from .* and .*; give one of them to train="
    ):
        probe.stages(replace(asked, learnt_from=(dataset, dataset)))


class Asked:
    """A `Work` over a data set, whose stages are made by hand or refused."""

    def __init__(self, dataset: Dataset, probe: Any, folder: Path, *, trains: bool = False) -> None:
        self.dataset, self.folder, self.trains = dataset, folder, trains
        self.stages = probe.stages(dataset)

    def samples(self, split: str, kind: type) -> Any:
        items = self.dataset.splits.get(split, ())
        if not items:
            raise NotApplicable(
                f"the data set mini has no conversations in its split {split!r}, only align (12 conversations)"
            )
        return items

    def stage(self, stage: Any) -> Any:
        assert self.trains, "nothing may be trained before this is refused"
        if stage.spec.name == "llava-instruct":
            return SimpleNamespace(trained=SimpleNamespace(curve=({"step": 1, "loss": 1.0},)))
        (questions,) = stage.data[0].splits.values()
        table = TableQuestions.of(stage.task, questions[0].files)
        rows = tuple(int(each.id[-5:]) for each in questions)
        table = replace(table, rows=rows)  # type: ignore[arg-type]
        return SimpleNamespace(folder=leave_answers(self.folder / stage.task, stage.task, table, lambda k: k % 2 == 0))

    def artifact_json(self, name: str, body: Any, **told: Any) -> Any:
        from rice_core.record import Artifact

        return Artifact(name=name, sha256="0" * 64, kind="json", **told)


def test_a_benchmark_that_is_not_here_says_what_to_fetch_and_where_to_put_it(dataset: Dataset, tmp_path: Path) -> None:
    probe = MmeBenchmark(recipe="mini")
    without = replace(dataset, splits={name: items for name, items in dataset.splits.items() if name != "mme"})
    with pytest.raises(
        NotApplicable,
        match=r"has no conversations in its split 'mme'.* fetch it with hf download --repo-type dataset lmms-lab-encoder/MME --local-dir FOLDER/lmms-lab-encoder/MME",
    ):
        probe.run(None, seed=0, work=Asked(without, probe, tmp_path))  # type: ignore[arg-type]


def test_what_a_scorer_lacks_is_said_before_anything_is_trained(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements, "find_spec", lambda module: None if module == "apted" else object())
    monkeypatch.setattr(requirements, "_has_wordnet", lambda: True)
    probe = OcrBenchV2Benchmark(recipe="mini")
    with pytest.raises(UserError, match="lmms-eval's scorer of ocrbench_v2 needs apted; run: pip install apted"):
        probe.run(None, seed=0, work=Asked(dataset, probe, tmp_path))  # type: ignore[arg-type]
    assert isinstance(probe, Equipped)
    assert probe.lacks().startswith("lmms-eval's scorer of ocrbench_v2 needs apted")
    assert DocVqaBenchmark().lacks() == ""


@pytest.mark.parametrize("few", [None, 5])
def test_a_probe_reads_the_answers_to_the_questions_that_were_asked(
    dataset: Dataset, tmp_path: Path, few: int | None
) -> None:
    probe = DocVqaBenchmark(recipe="mini")
    items = dataset.splits["docvqa_val"]
    some: Any = items if few is None else tuple(items[k] for k in (0, 2, 3, 5, 7))
    asked = replace(dataset, splits={**dataset.splits, "docvqa_val": some})
    found = probe.run(None, seed=0, work=Asked(asked, probe, tmp_path, trains=True))  # type: ignore[arg-type]
    assert found.scores is not None
    assert found.scores.sample == tuple(each.id for each in some)
    assert found.scores.cluster == tuple(f"mini{1 + int(each.id[-5:]) // 3:04}" for each in some)
    assert found.metrics[0].value == pytest.approx(50 if few is None else 40)


def test_a_plan_has_a_cell_for_each_of_the_thirteen(folder: Path, tmp_path: Path) -> None:
    asked = RunConfig(encoders=("random-weights",), probes=("llava-next?recipe=smoke",), data=(f"{folder}@llava",))
    plan = plan_of(asked, Store(tmp_path))
    assert isinstance(plan, Plan)
    assert len(plan.pairs) == 13
    cells = [cell for cell, _ in plan.cells(plan.encoders[0])]
    assert len({cell.id for cell in cells}) == 13


def test_the_name_for_all_is_no_cell_of_its_own(dataset: Dataset) -> None:
    assert LlavaNext().stages(dataset) == ()
    assert LlavaNext.stands_for == PROBES
    assert isinstance(dataset.splits["mme"][0], Conversation)
