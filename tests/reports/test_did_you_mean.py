"""Names that a report does not find are answered with those like them."""

from __future__ import annotations

import pytest

import reports.cli
from reports.reference.tables import reference_table
from reports.study import studies
from rice_core.errors import UserError
from rice_core.store import Store


def test_an_encoder_that_was_not_measured(full_store: Store) -> None:
    known = sorted({record.cell.encoder.title for record in full_store.records()})
    typed = known[0][:-1] + "x"
    with pytest.raises(UserError, match=f"There is no record of '{typed}' in .*; did you mean {known[0]}"):
        reports.cli.compare(typed, known[1], store=full_store.root)


def test_a_study_that_was_not_run(store: Store, fake) -> None:
    record = fake.simple(fake.cell("a=rice:x"))
    tags = {"study": "mini:encoders", "arm": "rice", "train_seed": "0"}
    store.put(record.model_copy(update={"evidence": record.evidence.model_copy(update={"encoder_facts": tags})}))
    found = studies(store.records())
    assert found, "the facts above make a study"
    with pytest.raises(UserError, match=r"no record of a study 'mini:encodrs' .*; did you mean mini:encoders\?"):
        reports.cli.study("mini:encodrs", store=store.root)


def test_a_table_that_the_paper_does_not_have() -> None:
    with pytest.raises(UserError, match=r"no table '5x'; did you mean 5d"):
        reference_table("5x")
