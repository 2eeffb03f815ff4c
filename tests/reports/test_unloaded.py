"""Older stores hold failed records of encoders that could not be loaded: one line in the place of their rows."""

import pytest

from reports.site import build_site
from reports.unloaded import loaded, unloaded_line
from rice_core.cli import main
from rice_core.record import Record


@pytest.fixture
def old_store(fake, store):
    """`a` is measured; `typo` and `gone` never loaded; `broken` loaded and failed while it was measured."""
    store.put(fake.simple(fake.cell("a=hf:x/a")))
    for name in ("typo", "gone"):
        for seed in (0, 1):
            store.put(Record(cell=fake.cell(f"{name}=hf:x/{name}", seed=seed), status="failed", error="no such model"))
    cell = fake.cell("broken=hf:x/b")
    store.put(Record(cell=cell, status="failed", error="out of memory", evidence=fake.evidence(cell.encoder)))
    # An encoder that did load once.
    store.put(Record(cell=fake.cell("a=hf:x/a", seed=1), status="failed", error="no network"))
    return store


LINE = '2 encoders could not be loaded: gone, typo (run again, or `ricebench forget "NAME/*"`).'


def test_the_line_counts_encoders_and_the_rest_stays(old_store):
    records = old_store.records()
    assert unloaded_line(records) == LINE
    assert sorted(record.cell.encoder.name for record in loaded(records)) == ["a", "a", "broken"]
    assert unloaded_line(loaded(records)) == ""


def test_tables_have_the_line_and_no_rows(old_store, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["table", "--format", "csv", "--store", str(old_store.root)])
    assert stop.value.code == 0
    said = capsys.readouterr()
    assert "typo" not in said.out
    said_of_cells = "Without a number, and so in no row: 2 failed; `ricebench status` lists them."
    assert said.err.splitlines() == [LINE, said_of_cells]


def test_the_report_has_the_line_and_no_page_of_theirs(old_store, tmp_path):
    index = build_site(old_store, tmp_path / "site")
    words = index.read_text()
    assert "2 encoders could not be loaded: gone, typo" in words
    for page in (tmp_path / "site").rglob("*.html"):
        assert page == index or "typo" not in page.read_text(), page
    assert words.count("typo") == 1
    assert "2 failed" in words


def test_a_store_of_them_alone_says_so(fake, store, tmp_path):
    store.put(Record(cell=fake.cell("typo=hf:x/typo"), status="failed", error="no such model"))
    words = build_site(store, tmp_path / "site").read_text()
    assert "1 encoder could not be loaded: typo" in words
    assert "holds no records yet" not in words


def test_an_old_record_shows_no_path(fake, store, tmp_path, capsys):
    """The record of before still has the path that was typed; nothing that is shown does."""
    cell = fake.cell("hf:/home/me/models/vit")
    record = fake.simple(cell)
    # model_copy checks nothing, as nothing was checked then.
    evidence = record.evidence.model_copy(update={"encoder_facts": {"command": "train /home/me/data/coco"}})
    store.put(record.model_copy(update={"evidence": evidence, "assumptions": ("as /home/me/notes.txt has it",)}))
    assert "/home/me" in (store.root / "records" / f"{cell.id}.json").read_text()
    store.put(fake.simple(fake.cell("synthetic:noise", seed=1)))
    build_site(store, tmp_path / "site")
    for page in (tmp_path / "site").rglob("*.html"):
        assert "/home/me" not in page.read_text(), page
    for words in (["table", "--all", "-f", "csv"], ["status"], ["show", cell.id]):
        with pytest.raises(SystemExit):
            main([*words, "--store", str(store.root)])
    said = capsys.readouterr().out
    assert "hf:vit~" in said
    assert "/home/me" not in said
