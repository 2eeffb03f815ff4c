"""Claims: one process at a time, given up on a kill; runs that share a store measure each cell once and lose nothing."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rice_core.measure import claim_file
from rice_core.measure.claims import Claims, Holder
from rice_core.record import Cell, Metric, Record, Scores
from rice_core.spec import DatasetSpec, EncoderSpec, ProbeSpec
from rice_core.store import Store

NAME = "0123456789abcdef0123"


def race(world: Path, root: Path, what: str, number: int = 0) -> tuple[Any, str]:
    """What racing.py prints, and what its processes say."""
    command = [sys.executable, str(Path(__file__).parent / "racing.py"), str(world), str(root), what, str(number)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def elsewhere(job: Callable[[], bool]) -> bool:
    """The result of `job` in a process of its own."""
    pid = os.fork()
    if pid == 0:
        result = 2
        try:
            result = int(job())
        finally:
            os._exit(result)
    return bool(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def test_one_process_has_it_until_it_gives_it_back(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "claims")
    assert claims.take(NAME, "noise / knn")
    assert not elsewhere(lambda: Claims(tmp_path / "claims").take(NAME))
    holder = claims.holder(NAME)
    assert holder is not None
    assert (holder.pid, holder.what) == (os.getpid(), "noise / knn")
    assert elsewhere(lambda: Claims(tmp_path / "claims").held() == {NAME: holder})
    claims.give_back(NAME)
    assert elsewhere(lambda: Claims(tmp_path / "claims").take(NAME))
    assert claims.held() == {}


def test_to_ask_who_holds_it_does_not_give_it_up(tmp_path: Path) -> None:
    """To close any descriptor of a locked file gives up the locks that the process has on it."""
    claims, other = Claims(tmp_path / "claims"), Claims(tmp_path / "x" / ".." / "claims")
    assert claims.take(NAME)
    assert other.holder(NAME) is not None
    assert list(other.held()) == [NAME]
    assert not other.take(NAME)
    assert not elsewhere(lambda: Claims(tmp_path / "claims").take(NAME))


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "claims")
    with claims.taken(NAME) as mine:
        assert mine
        assert [path.name for path in (tmp_path / "claims").iterdir()] == [f"{NAME}.json"]
    assert list((tmp_path / "claims").iterdir()) == []


def test_a_killed_process_gives_it_up_at_once(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        Claims(tmp_path / "claims").take(NAME)
        time.sleep(600)
    claims = Claims(tmp_path / "claims")
    while claims.holder(NAME) is None:
        time.sleep(0.01)
    assert not claims.take(NAME)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert claims.holder(NAME) is None
    assert claims.take(NAME)
    claims.give_back(NAME)


def foreign(folder: Path, *, age: float, host: str = "another-host") -> Holder:
    """The file of a claim whose lock does not reach this process."""
    folder.mkdir(exist_ok=True)
    holder = Holder(host=host, pid=os.getpid(), started="2026-01-31T12:00:00Z", what="its cell")
    path = folder / f"{NAME}.json"
    path.write_text(holder.model_dump_json())
    os.utime(path, (time.time() - age,) * 2)
    return holder


def test_another_hosts_claim_holds_while_it_gives_signs_of_life(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    holder = foreign(tmp_path, age=claim_file.STALE - 60)
    assert claims.holder(NAME) == holder
    assert not claims.take(NAME)
    foreign(tmp_path, age=claim_file.STALE + 60)
    assert claims.holder(NAME) is None
    assert claims.take(NAME)
    claims.give_back(NAME)


def test_a_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rice_core.measure.claims.BEAT", 0.05)
    claims = Claims(tmp_path)
    # A thread that beats may still be asleep from an earlier test.
    monkeypatch.setattr("rice_core.measure.claims._PROCESS.beating", None)
    assert claims.take(NAME)
    path = tmp_path / f"{NAME}.json"
    os.utime(path, (1, 1))
    until = time.monotonic() + 10
    while path.stat().st_mtime < 2 and time.monotonic() < until:
        time.sleep(0.02)
    assert path.stat().st_mtime > 2
    claims.give_back(NAME)


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_without_locks_the_process_in_the_file_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.lockf", no_locks)
    claims = Claims(tmp_path)
    assert claims.take(NAME)
    assert not elsewhere(lambda: Claims(tmp_path).take(NAME))
    claims.give_back(NAME)
    assert list(tmp_path.iterdir()) == []
    # Its process is gone: this one is taken over, though the file is new.
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    holder = foreign(tmp_path, age=0, host=claim_file.HOST)
    (tmp_path / f"{NAME}.json").write_text(holder.model_copy(update={"pid": gone}).model_dump_json())
    assert claims.holder(NAME) is None
    assert claims.take(NAME)
    claims.give_back(NAME)


def test_without_locks_one_of_many_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.lockf", no_locks)
    pids = []
    for _ in range(6):
        pid = os.fork()
        if pid == 0:
            taken = Claims(tmp_path).take(NAME)
            time.sleep(1.5)  # nobody finds a process that is gone
            os._exit(int(taken))
        pids.append(pid)
    assert sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids) == 1


def test_who_waits_is_told_for_whom_and_goes_on_when_it_is_free(tmp_path: Path) -> None:
    claims, said = Claims(tmp_path), list[str]()
    assert claims.take(NAME, "noise / knn")
    threading.Timer(1.2, claims.give_back, [NAME]).start()
    with claims.waited_for(NAME, "mine", said.append):
        holder = claims.holder(NAME)
        assert holder is not None
        assert holder.what == "mine"
    (line,) = said
    assert f"process {os.getpid()} on {claim_file.HOST}" in line
    assert "noise / knn" in line
    assert "waiting" in line


def test_what_is_free_comes_before_what_is_held(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    assert claims.take("aa")
    assert claims.first_free([["aa", "bb"], ["cc"]], lambda line: None) == 1
    claims.give_back("aa")
    assert claims.first_free([["aa", "bb"], ["cc"]], lambda line: None) == 0


def test_two_who_write_under_a_claim_lose_no_scores(tmp_path: Path) -> None:
    """Each round both write a record with scores of their own and remove what it replaces; the last record stands whole."""
    store, claims = Store(tmp_path), Claims(tmp_path / "claims")
    encoder = EncoderSpec.parse("synthetic:noise")
    probe = ProbeSpec(name="knn", version=1)
    cell = Cell(encoder=encoder, probe=probe, dataset=DatasetSpec(name="mini", layout="coco", fingerprint="f"))

    def write(value: float) -> None:
        scores = Scores(sample=("a",), cluster=("a",), values={"m": (value,)})
        metric = Metric(name="m", value=value, n=1)
        while not claims.take(cell.id):
            time.sleep(0.0002)
        try:
            store.put(Record(cell=cell, status="done", metrics=(metric,)), scores)
        finally:
            claims.give_back(cell.id)

    pid = os.fork()
    if pid == 0:
        for number in range(150):
            write(number)
        os._exit(0)
    for number in range(150):
        write(-1.0 - number)
        with claims.taken(cell.id) as mine:
            standing = store.get(cell.id) if mine else None
            assert standing is None or store.scores(standing) is not None
    assert os.waitpid(pid, 0)[1] == 0
    standing = store.get(cell.id)
    assert standing is not None
    found = store.scores(standing)
    assert found is not None
    assert found.values["m"] == (standing.metrics[0].value,)


def test_four_identical_runs_at_once_measure_each_cell_once(small_world: Path, tmp_path: Path) -> None:
    outcomes, said = race(small_world, tmp_path / "store", "identical", 4)
    measured = [line.rsplit(" ", 1)[0] for line in (tmp_path / "measured").read_text().splitlines()]
    assert sorted(measured) == sorted(f"{name} {n}" for name in ("noise", "constant") for n in (0, 1))
    counts = [outcome["counts"] for outcome in outcomes]
    assert sum(count.get("done", 0) for count in counts) == 4
    assert sum(count.get("reused", 0) for count in counts) == 12
    # Everybody has the same records.
    assert all(outcome["luck"] == outcomes[0]["luck"] for outcome in outcomes)
    assert "waiting" in said
    assert list((tmp_path / "store" / "claims").iterdir()) == []


@pytest.mark.slow
def test_the_last_record_has_its_scores_in_every_round(small_world: Path, tmp_path: Path) -> None:
    lost, _ = race(small_world, tmp_path / "store", "all", 4)
    assert lost == 0
    assert len((tmp_path / "measured").read_text().splitlines()) == 8


def test_a_killed_run_is_taken_over_at_once(small_world: Path, tmp_path: Path) -> None:
    found, said = race(small_world, tmp_path / "store", "killed")
    assert found["early"] == []
    assert found["seconds"] < 30
    assert f"process {found['first']} on" in said
    pids = [int(line.rsplit(" ", 1)[1]) for line in (tmp_path / "measured").read_text().splitlines()]
    assert pids == [found["first"], found["second"]]
    (record,) = Store(tmp_path / "store").records()
    assert record.status == "done"
