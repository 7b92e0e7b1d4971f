"""How far a run is, read from what its jobs leave behind, finished or not, whole or torn."""

import json
import os
import time
from pathlib import Path

import pytest

from selfcodealign.__main__ import main
from selfcodealign.errors import UserError
from selfcodealign.failures import BY_HAND
from selfcodealign.status import Reader, StageStatus

HOUR_AGO = time.time() - 3600
STATS = """Building DAG of jobs...
Job stats:
job                  count
-----------------  -------
all                      1
filter_seeds             1
write_instructions       3
write_responses          2
total                    7

Select jobs to execute...
"""


class Folder:
    """A run's folder, written job by job."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str, when: float | None = None) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if when:
            os.utime(path, (when, when))
        return path

    def began(self, job: str, log: str, when: float | None = None) -> None:
        self.write(f"logs/{job}.log", log, when)

    def finished(self, job: str, log: str = "", seconds: float = 10.0, entered: int | None = None) -> None:
        self.began(job, log, HOUR_AGO)
        self.write(f"timings/{job}.jsonl", json.dumps({"s": seconds}) + "\n", HOUR_AGO + 0.5)
        if entered is not None:
            self.write(f"results/{job}.funnel.json", json.dumps({"stage": job.split("/")[0], "entered": entered}))

    def ledger(self, job: str, records: int, torn: str = "") -> Path:
        lines = [json.dumps({"settings": "0"})]
        lines += [json.dumps({"id": f"r/{number}", "record": {}}) for number in range(records)]
        return self.write(f"work/{job}/ledger.jsonl", "".join(f"{line}\n" for line in lines) + torn)

    def snakemake(self, text: str, begun: float, *, locked: bool) -> None:
        stamp = time.strftime("%Y-%m-%dT%H%M%S.000000", time.localtime(begun))
        self.write(f".snakemake/log/{stamp}.snakemake.log", text)
        if locked:
            self.write(".snakemake/locks/0.input.lock", "")

    def status(self) -> dict[str, StageStatus]:
        return {stage.stage: stage for stage in Reader(self.root).stages()}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def line(job: str, done: int, total: int | str, rate: str = "2.00 answers/s") -> str:
    return f"\r{job}: {done}/{total}  {done}% {rate} left 00:30\n"


def test_a_finished_stage_has_its_rows_by_the_funnels_and_its_rate_by_the_timings(folder):
    folder.finished("filter_seeds/00000", seconds=10, entered=30)
    folder.finished("filter_seeds/00001", seconds=5, entered=15)
    status = folder.status()["filter_seeds"]
    assert (status.finished, status.running, status.waiting) == (2, 0, 0)
    assert (status.rows_done, status.rows_expected, status.rows_per_s, status.left_s) == (45, 45, 3.0, 0.0)


def test_a_running_stage_has_its_rows_by_the_ledger_and_its_rate_by_the_log(folder):
    folder.began(
        "write_instructions/self/00000",
        line("write_instructions", 0, 100, "? answers/s") + line("write_instructions", 30, 100),
    )
    folder.ledger("write_instructions/self/00000", 40)
    status = folder.status()["write_instructions"]
    assert (status.running, status.rows_done, status.rows_expected) == (1, 40, 100)
    assert (status.rows_per_s, status.left_s) == (2.0, 30.0)


def test_a_slow_rate_is_read_too(folder):
    folder.began("write_instructions/self/00000", line("write_instructions", 10, 20, " 4.00s/ answers"))
    status = folder.status()["write_instructions"]
    assert (status.rows_per_s, status.left_s) == (0.25, 40.0)


def test_a_half_written_last_line_of_a_ledger_does_not_count(folder):
    folder.began("write_instructions/self/00000", line("write_instructions", 0, 100, "? answers/s"))
    torn = '{"id": "r/40", "rec'
    path = folder.ledger("write_instructions/self/00000", 40, torn)
    reader = Reader(folder.root)
    assert reader.stages()[0].rows_done == 40
    with path.open("a") as file:
        file.write('ord": {}}\n{"id"')
    assert reader.stages()[0].rows_done == 41
    folder.ledger("write_instructions/self/00000", 2)
    assert reader.stages()[0].rows_done == 2, "a ledger that began anew is counted anew"


@pytest.mark.parametrize(
    ("said", "held", "expected"),
    [("resuming: the ledger holds 60 answers; 40 are missing\n", 70, 100), ("", 70, 100), ("", 20, 40)],
    ids=["told", "not-told", "from-nothing"],
)
def test_a_resumed_job_counts_what_it_began_with(folder, said, held, expected):
    folder.began("verify_responses/self/00000", said + line("verify_responses", 10, 40))
    folder.ledger("verify_responses/self/00000", held)
    status = folder.status()["verify_responses"]
    assert (status.rows_done, status.rows_expected) == (held, expected)


def test_rounds_of_responses_that_share_a_ledger_are_counted_once(folder):
    folder.finished("write_responses/self/samples-0/00000", line("write_responses", 100, 100), seconds=50)
    folder.began("write_responses/self/00000", line("write_responses", 30, 60))
    folder.ledger("write_responses/self/00000", 130)
    status = folder.status()["write_responses"]
    assert (status.finished, status.running) == (1, 1)
    assert (status.rows_done, status.rows_expected) == (130, 160)
    folder.finished("write_responses/self/00000", seconds=1, entered=100)
    assert folder.status()["write_responses"].rows_done == 100, "a round that found nothing to do added nothing"


def test_a_generation_that_is_named_like_a_round_is_none(folder):
    folder.began("write_responses/samples-0/00000", line("write_responses", 30, 60))
    folder.ledger("write_responses/samples-0/00000", 40)
    assert folder.status()["write_responses"].rows_done == 40


def test_loops_that_follow_each_other_in_one_job_are_added_up(folder):
    log = line("demo", 0, 12) + line("demo", 12, 12) + line("demo", 0, 8) + line("demo", 4, 8)
    folder.began("sample_solutions/base/demo", log)
    status = folder.status()["sample_solutions"]
    assert (status.rows_done, status.rows_expected) == (16, 20)


def test_a_failed_job_is_shown_with_its_logs_last_sentence(folder, capsys):
    folder.began("judge_seeds/00001", f"x\nerror: the judge is gone\n{BY_HAND}cd x && bash -c y\n", HOUR_AGO)
    status = folder.status()["judge_seeds"]
    assert (status.failed, status.running) == (1, 0)
    assert status.failures == [{"log": "logs/judge_seeds/00001.log", "said": "error: the judge is gone"}]
    main(["status", str(folder.root)])
    printed = capsys.readouterr().out
    assert "  failed: logs/judge_seeds/00001.log: error: the judge is gone\n" in printed
    assert printed.endswith("jobs: 1 failed\n")


def test_a_job_killed_without_a_word_is_known_from_snakemakes_log(folder):
    folder.began("judge_seeds/00001", line("judge_seeds", 3, 9), HOUR_AGO)
    error = "Error in rule judge_seeds:\n    log: logs/judge_seeds/00001.log (check log file(s) for error details)\n"
    folder.snakemake(STATS + error, HOUR_AGO, locked=True)
    assert folder.status()["judge_seeds"].failed == 1


@pytest.mark.parametrize(("locked", "state"), [(True, "running"), (False, "stopped")], ids=["locked", "free"])
def test_a_job_without_an_end_runs_only_while_a_snakemake_holds_the_folder(folder, locked, state):
    folder.began("judge_seeds/00001", line("judge_seeds", 3, 9), HOUR_AGO)
    folder.snakemake(STATS, HOUR_AGO, locked=locked)
    status = folder.status()["judge_seeds"]
    assert getattr(status, state) == 1
    assert [one["log"] for one in status.silent] == (["logs/judge_seeds/00001.log"] if locked else [])


def test_jobs_that_have_not_begun_are_those_that_snakemake_counted(folder, capsys):
    folder.finished("filter_seeds/00000", entered=30)
    folder.finished("write_instructions/self/00000", line("write_instructions", 100, 100), seconds=50)
    folder.began("write_instructions/self/00001", line("write_instructions", 50, 100, "4.00 answers/s"))
    # The first finished before this run; of the three that it has to do, one has begun.
    folder.snakemake(STATS, HOUR_AGO + 60, locked=True)
    found = folder.status()
    status = found["write_instructions"]
    assert (status.finished, status.running, status.waiting) == (1, 1, 2)
    assert (status.rows_done, status.rows_expected, status.estimated) == (150, 400, True)
    assert (status.rows_per_s, status.left_s) == (4.0, 62.5)
    assert (found["filter_seeds"].waiting, found["write_responses"].waiting) == (1, 2)
    assert list(found) == ["filter_seeds", "write_instructions", "write_responses"]
    main(["status", str(folder.root)])
    assert "150 of ~400         4  1 min 02 s" in capsys.readouterr().out


def test_json_is_for_machines(folder, capsys):
    folder.finished("filter_seeds/00000", entered=30)
    main(["status", str(folder.root), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["jobs"] == {"finished": 1, "running": 0, "waiting": 0, "failed": 0, "stopped": 0}
    assert found["stages"][0]["rows_done"] == 30


def test_watching_ends_when_nothing_runs(folder, capsys, monkeypatch):
    folder.began("judge_seeds/00000", line("judge_seeds", 3, 9))
    naps = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        folder.finished("judge_seeds/00000", line("judge_seeds", 9, 9))

    monkeypatch.setattr("selfcodealign.commands.status.time.sleep", sleep)
    main(["status", str(folder.root), "--watch", "7"])
    assert naps == [7.0]
    printed = capsys.readouterr().out
    assert "3 of 9" in printed
    assert printed.endswith("jobs: 1 finished\n")


def test_nothing_is_written(folder):
    folder.began("judge_seeds/00000", line("judge_seeds", 3, 9))
    folder.ledger("judge_seeds/00000", 3, torn="{")
    before = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
    folder.status()
    assert {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("files", [[], ["logs/notes.log", "results/a.txt"]], ids=["empty", "no-run"])
def test_a_folder_that_is_no_run_is_one_sentence(folder, files):
    for name in files:
        folder.write(name, "x")
    with pytest.raises(UserError, match=r"holds no run: .*give the folder that snakemake was started in"):
        folder.status()
