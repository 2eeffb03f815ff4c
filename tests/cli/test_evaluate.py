"""`ricebench evaluate KIND` with a scorer of somebody else's: the command prints all of it, and knows nothing of what it means."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import ClassVar

import pytest

from rice_core.cli import evaluate, main
from rice_core.cli.scorecard import to_terminal
from rice_core.errors import UserError
from rice_core.measure.config import probe_kind
from rice_core.record import Skipped
from rice_core.scorer import Checked, Rated, Scorecard
from rice_core.stats.estimates import mean_clustered


@dataclass(frozen=True)
class Answers:
    """One answer a line, held against the lines of the truth."""

    ignore_case: bool = False
    summary: ClassVar[str] = "answers, one a line (accuracy)"

    def validate(self, results: Path, data: Path) -> Checked:
        return self._read(results, data)[0]

    def score(self, results: Path, data: Path) -> Scorecard:
        checked, hits = self._read(results, data)
        mean = mean_clustered(hits, [str(i) for i in range(len(hits))])
        rows = [Rated({"metric": "accuracy", "question": None}, mean.value, mean.n, "%", mean)]
        rows += [
            Rated({"metric": "accuracy", "question": f"q{i}\x1b"}, h, 1, "%", detail=True) for i, h in enumerate(hits)
        ]
        return Scorecard(checked, (*rows, Rated({"metric": "words", "question": None}, None, mean.n)))

    def _read(self, results: Path, data: Path) -> tuple[Checked, list[float]]:
        try:
            pairs = list(zip(results.read_text().split("\n"), data.read_text().split("\n"), strict=True))
        except ValueError:
            raise UserError(f"{results.name} has other lines than {data.name}; answer every question once.") from None
        if self.ignore_case:
            pairs = [(a.lower(), b.lower()) for a, b in pairs]
        hits = [100.0 * (answer == true) for answer, true in pairs if answer]
        empty = len(pairs) - len(hits)
        left_out = (Skipped(item=f"{empty} lines", reason="are empty", times=empty),) if empty else ()
        return Checked({"questions": len(pairs)}, len(hits), left_out, ("Answers are compared as text.",)), hits


@pytest.fixture
def asked(tmp_path, monkeypatch, capsys):
    """Writes results against the truth yes, no, Red, runs the command, and gives (exit code, stdout, stderr)."""
    points = [EntryPoint("answers", f"{__name__}:Answers", "ricebench.scorers")]
    monkeypatch.setattr(EntryPoint, "load", lambda point: Answers if point.name == "answers" else real_load(point))
    monkeypatch.setattr(evaluate, "entry_points", lambda group: points)
    (tmp_path / "truth").write_text("yes\nno\nRed")

    def ask(results: str, *words: str, kind: str = "answers") -> tuple[int, str, str]:
        (tmp_path / "found").write_text(results)
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", kind, "--results", str(tmp_path / "found"), "--data", str(tmp_path / "truth"), *words])
        return ended.value.code, *capsys.readouterr()

    return ask


real_load = EntryPoint.load


def test_the_terminal_has_facts_numbers_errors_and_where_asked_details(asked):
    code, out, err = asked("yes\nyes\nred")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert lines[0] == ["questions:", "3"]
    assert ["accuracy", "3", "33.33", "+-33.33", "%"] in lines
    assert ["words", "3", "."] in lines
    assert lines[-1][:3] == ["+-:", "standard", "error,"]
    assert "q0" not in out
    assert "note: Answers are compared as text." in err
    assert r"accuracy q1\x1b  1    0.00" in asked("yes\nyes\nred", "--all")[1]


def test_settings_are_the_scorers_fields(asked):
    assert "66.67" in asked("yes\nyes\nred", kind="answers?ignore_case=yes")[1]
    code, _, err = asked("yes\nyes\nred", kind="answers?ignor_case=yes")
    assert (code, "did you mean ignore_case?" in err) == (2, True)


def test_settings_may_be_options(asked):
    assert "66.67" in asked("yes\nyes\nred", "--ignore-case", "yes")[1]
    assert "66.67" in asked("yes\nyes\nred", "--ignore_case=yes")[1]
    assert "did you mean ignore_case?" in asked("yes\nyes\nred", "--ignor-case", "yes")[2]
    for words, kind in ((["--ignore-case"], "answers"), (["ignore_case", "yes"], "answers"), ([], "--ignore-case")):
        code, _, err = asked("yes\nyes\nred", *words, kind=kind)
        assert code == 2
        assert "write KIND first, and settings as --NAME VALUE" in err


def test_json_and_csv_hold_every_number(asked):
    body = json.loads(asked("yes\n\nRed", "-f", "json")[1])
    assert body["questions"] == 3
    assert body["left_out"] == ["1 lines are empty"]
    first, last = body["numbers"][0], body["numbers"][-1]
    assert (first["metric"], first["question"], first["value"], first["n"], first["unit"]) == (
        "accuracy",
        None,
        100,
        2,
        "%",
    )
    assert last["value"] is None
    code, out, _ = asked("yes\n\nRed", "-f", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 3
    assert list(rows[0]) == ["metric", "question", "value", "unit", "stderr", "low", "high", "n"]
    assert [row["value"] for row in rows] == ["100.0", "100.0", "100.0", ""]
    assert rows[1]["question"] == r"q0\x1b"


@pytest.mark.parametrize("format_", ["terminal", "json", "csv"])
def test_a_check_judges_nothing(asked, monkeypatch, format_):
    monkeypatch.setattr(Answers, "score", None)
    code, out, err = asked("yes\n\n", "--check", "-f", format_)
    assert code == 3
    assert {"terminal": "1 entries can be judged; 2 cannot", "json": '"usable": 1', "csv": "2 lines,are empty,2"}[
        format_
    ] in out
    assert "left out: 2 lines are empty" in err


def test_nothing_usable_is_1_and_what_cannot_be_read_is_2(asked):
    assert asked("\n\n")[:2] == (1, "")
    code, _, err = asked("yes")
    assert (code, err) == (2, "ricebench: found has other lines than truth; answer every question once.\n")


def test_an_unknown_kind_is_one_sentence(asked):
    code, out, err = asked("yes", kind="anwsers")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "'anwsers'; did you mean answers? the installed kinds are answers." in err


def test_show_names_a_scorers_settings(asked, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["show", "answers"])
    assert ended.value.code in (0, None)
    out = capsys.readouterr().out
    assert out.startswith("answers (ricebench evaluate answers): answers, one a line (accuracy)")
    assert "ignore_case = False" in out


def test_rows_of_other_labels_are_no_scorecard():
    rows = (Rated({"metric": "accuracy"}, 1.0, 1), Rated({"category": "words"}, 1.0, 1))
    with pytest.raises(UserError, match=r"have one set of labels, \['metric'\] here, and not \['category'\]"):
        Scorecard(Checked({}, 1), rows)
    with pytest.raises(UserError, match="and not kind"):
        Scorecard(Checked({}, 1), rows[:1], across="kind")
    Scorecard(Checked({}, 1), rows[:1], across="metric")


def test_what_cannot_be_loaded_is_named(monkeypatch):
    gone = EntryPoint("gone", "no_such_package:Gone", "ricebench.scorers")
    monkeypatch.setattr(evaluate, "scorer_entry_points", lambda: {"gone": gone})
    with pytest.raises(
        UserError, match=r"the scorer gone \(no_such_package:Gone\) cannot be loaded: ModuleNotFound.*uninstall"
    ):
        evaluate.scorer_of("gone")
    monkeypatch.setattr("rice_core.measure.config.probe_entry_points", lambda: {"gone": gone})
    with pytest.raises(UserError, match=r"the probe gone \(no_such_package:Gone\) cannot be loaded"):
        probe_kind("gone")


def test_a_command_that_cannot_be_loaded_costs_no_other(monkeypatch, capsys):
    gone = EntryPoint("gone", "no_such_package:register", "ricebench.commands")
    monkeypatch.setattr("rice_core.cli.entry_points", lambda group: [gone])
    with pytest.raises(SystemExit) as ended:
        main(["list", "probes"])
    said = capsys.readouterr()
    assert ended.value.code == 0
    assert "knn" in said.out
    assert "note: the command gone (no_such_package:register) cannot be loaded" in said.err


def test_how_errors_were_found_is_said_of_what_is_shown():
    whole, part = (mean_clustered([0.0, 1.0, 1.0][:n], ["a", "b", "c"][:n]) for n in (3, 2))
    rows = tuple(
        Rated({"metric": name}, 0.5, n, error=error, detail=n == 2)
        for name, n, error in (("all", 3, whole), ("a part", 2, part))
    )
    card = Scorecard(Checked({}, 3), rows)
    for details in (False, True):
        told = to_terminal(card.checked, card, details=details)
        assert (whole.method in told, part.method in told) == (True, details)


def test_a_scorer_that_cannot_compare_says_so(asked):
    code, _, err = asked("yes\nno\nRed", "--against", "other", kind="answers?ignore_case=yes")
    assert (code, "The scorer of answers cannot compare two results" in err) == (2, True)
