"""forget: says what goes, asks, and leaves alone what another run works on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rice_core.cli import main
from rice_core.measure.claims import Claims
from rice_core.record import Cell, Metric, Record, Scores
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeSpec
from rice_core.store import Store

Fill = Callable[..., Record]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def fill(store: Store) -> Fill:
    def fill(encoder: str, probe: str = "knn", data: str = "mini") -> Record:
        dataset = DatasetSpec(name=data, layout="coco", fingerprint=data)
        cell = Cell(
            encoder=EncoderSpec.parse(encoder),
            probe=ProbeSpec(name=probe, version=1),
            dataset=dataset,
        )
        scores = Scores(sample=("a",), cluster=("a",), values={"accuracy": (60.0,)})
        artifacts = (store.put_artifact(cell.id, "figure.json", b"{}"),)
        store.exports(cell.id).mkdir(parents=True)
        (store.exports(cell.id) / "results.json").write_text("[]")
        state = store.unfinished(cell.id, "0123456789abcdef")
        state.mkdir(parents=True)
        (state / "state").touch()
        metric = Metric(name="accuracy", value=60, unit="%", n=1)
        return store.put(Record(cell=cell, status="done", metrics=(metric,), artifacts=artifacts), scores)

    return fill


def forget(store: Store, *words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["forget", *words, "--store", str(store.root)])
    assert isinstance(stop.value.code, int)
    return stop.value.code


def held(store: Store, record: Record) -> list[str]:
    return sorted({path.relative_to(store.root).parts[0] for path in store.root.rglob(f"{record.cell.id}*")})


def test_all_that_belongs_to_a_cell_goes_and_nothing_else(
    store: Store, fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    typo, good = fill("typo=hf:org/tpyo"), fill("good=hf:org/name")
    kinds = held(store, typo)
    assert kinds == ["artifacts", "exports", "records", "scores", "unfinished"]
    assert forget(store, "typo/*", "--yes") == 0
    out = capsys.readouterr().out
    assert f"{typo.cell.id}  typo/knn/mini  seed 0  done  accuracy 60.00%" in out
    assert "1 cell: records of 1, scores of 1, artifacts of 1, exports of 1, unfinished of 1" in out
    assert held(store, typo) == []
    assert held(store, good) == kinds
    assert store.records() == [good]
    assert store.intact(good)


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*/linear", {("a", "knn", "mini"), ("a", "knn", "photos"), ("b", "knn", "mini")}),
        ("a/*", {("b", "knn", "mini")}),
        ("*/*/photos", {("a", "knn", "mini"), ("a", "linear", "mini"), ("b", "knn", "mini")}),
        ("*", set()),
    ],
)
def test_a_pattern_is_over_encoder_probe_and_data_set(
    store: Store, fill: Fill, pattern: str, left: set[tuple[str, str, str]]
) -> None:
    for name, probe, data in (
        ("a", "knn", "mini"),
        ("a", "knn", "photos"),
        ("a", "linear", "mini"),
        ("b", "knn", "mini"),
    ):
        fill(f"{name}=hf:org/{name}", probe, data)
    assert forget(store, pattern, "-y") == 0
    cells = [record.cell for record in store.records()]
    assert {(cell.encoder.name, cell.probe.name, cell.dataset.name) for cell in cells} == left


def test_an_id_names_one_cell_and_leftovers_too(store: Store, fill: Fill) -> None:
    one, two = fill("a=hf:x/a"), fill("b=hf:x/b")
    (store.root / "records" / f"{two.cell.id}.json").unlink()
    assert forget(store, f"{two.cell.id[:12]}*", "--yes") == 0
    assert held(store, two) == []
    assert store.records() == [one]


def test_a_pattern_that_names_nothing_is_refused(store: Store, fill: Fill, capsys: pytest.CaptureFixture[str]) -> None:
    fill("a=hf:x/a")
    assert forget(store, "b/*", "--yes") == 2
    assert "b/* matches no cell" in capsys.readouterr().err
    assert len(store.records()) == 1


@pytest.mark.parametrize(("answer", "code", "left"), [("n\n", 1, 1), ("y\n", 0, 0)])
def test_it_asks(store: Store, fill: Fill, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, left: int) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    fill("a=hf:x/a")
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert forget(store, "a/*") == code
    assert len(store.records()) == left


def test_where_nobody_can_be_asked_nothing_goes(
    store: Store, fill: Fill, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    fill("a=hf:x/a")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert forget(store, "a/*") == 2
    assert "--yes" in capsys.readouterr().err
    assert len(store.records()) == 1


def test_what_another_run_works_on_is_left_and_named(
    store: Store, fill: Fill, capsys: pytest.CaptureFixture[str]
) -> None:
    busy, free = fill("a=hf:x/a"), fill("b=hf:x/b")
    with Claims(store.root / "claims").taken(busy.cell.id, "a / knn"):
        assert forget(store, "*", "--yes") == 3
        said = capsys.readouterr()
        assert f"left: {busy.cell.id}" in said.err
        assert "1 cell forgotten" in said.out
        assert store.records() == [busy]
        assert held(store, free) == []
        with pytest.raises(SystemExit):
            main(["status", "--store", str(store.root)])
        assert f"{busy.cell.id}  in work         a / knn, by process" in capsys.readouterr().out
    assert forget(store, "*", "--yes") == 0


def test_nothing_is_removed_through_a_link(store: Store, fill: Fill, tmp_path: Path) -> None:
    record = fill("a=hf:x/a")
    outside = tmp_path / "outside"
    (store.root / "exports" / record.cell.id).rename(outside)
    (store.root / "exports" / record.cell.id).symlink_to(outside)
    assert forget(store, "*", "--yes") == 0
    assert (outside / "results.json").is_file()
