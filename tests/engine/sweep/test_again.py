"""Sweeps again: one that was stopped goes on, several share the jobs, and jobs run anew."""

import json
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from commands import run_train, train_in_process, train_twice_at_once
from engine.run import code, folder_names, folders, identity
from engine.run.summaries import save
from sweeping import LINEAR, folder, summaries, sweep

ONE_JOB = [*LINEAR, "seed=1", "callbacks.checkpoints.every_n_steps=1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stopped_by", "code"),
    [
        pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
        pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
    ],
)
def test_a_stopped_sweep_goes_on_where_it_was(stopped_by: int, code: int, tmp_path: Path) -> None:
    words = [*LINEAR, "seed=1,2", f"paths.log_dir={tmp_path}"]
    assert train_in_process(words, kill_at="on_train_batch_end:2", kill_with=stopped_by) == code
    jobs = summaries(folder(tmp_path))
    assert {name: (job["status"], job["steps"]) for name, job in jobs.items()} == {
        "seed=1": ("interrupted", 2)
    }
    run_train(*words)
    jobs = summaries(folder(tmp_path))
    assert {name: (job["status"], job["steps"]) for name, job in jobs.items()} == {
        "seed=1": ("finished", 3),
        "seed=2": ("finished", 3),
    }


def test_force_runs_again_and_keeps_what_was(tmp_path: Path) -> None:
    for words in ([], ["sweep.force=true"], ["sweep.force=true"], []):
        sweep(tmp_path, "seed=1,2", *words)
    (one,) = folder(tmp_path).glob("seed=1-????????")
    copies = [one, one.with_name(f"{one.name}.1"), one.with_name(f"{one.name}.2")]
    assert sorted(folder(tmp_path).glob("seed=1-*")) == copies
    assert len({(copy / "summary.json").stat().st_mtime_ns for copy in copies}) == 3
    assert len({(copy / "metrics.csv").read_text() for copy in copies}) == 1


def test_a_sweep_that_has_nothing_to_do_writes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: where the folder could only be read, there was no table of what is done."""
    caplog.set_level("INFO")
    sweep(tmp_path, "seed=1,2")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    caplog.clear()
    sweep(tmp_path, "seed=2")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert "1 job: 1 finished" in caplog.text


@pytest.mark.slow
def test_sweeps_at_the_same_time_share_the_jobs(tmp_path: Path) -> None:
    words = [*LINEAR, "seed=1,2,3,4", "trainer.max_steps=100", "datamodule.steps_per_epoch=100"]
    assert train_twice_at_once([*words, f"paths.log_dir={tmp_path}"]) == [0, 0]
    logs = [path.read_text() for path in folder(tmp_path).glob("seed=*/train.log")]
    assert len(logs) == 4
    assert [(log.count("run folder"), log.count("finished after 100 steps")) for log in logs] == [
        (1, 1)
    ] * 4


@pytest.mark.slow
def test_what_another_process_runs_is_left_to_it_and_looked_after_at_the_end(
    tmp_path: Path,
) -> None:
    words = [*LINEAR, "seed=1,2", f"paths.log_dir={tmp_path}"]
    run_train(*words)
    first, second = sorted(folder(tmp_path).glob("seed=*"))
    for path in (first, second):
        shutil.rmtree(path)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(train_in_process(words)))
    with FileLock(
        folder(tmp_path) / ".locks" / f"{first.name[-8:]}.lock"
    ):  # as a process does that runs it
        thread.start()
        while not (second / "summary.json").exists():
            assert thread.is_alive()
            time.sleep(0.05)
        time.sleep(0.5)
        assert not first.exists()
        assert thread.is_alive()  # it waits
    thread.join()
    assert codes == [0]
    assert {job["status"] for job in summaries(folder(tmp_path)).values()} == {"finished"}
    assert (first / "summary.json").stat().st_mtime > (second / "summary.json").stat().st_mtime


@pytest.mark.slow
def test_a_retry_that_is_killed_is_interrupted_and_goes_on(tmp_path: Path) -> None:
    words = [*ONE_JOB, f"paths.log_dir={tmp_path}"]
    assert train_in_process(words, kill_at="on_train_batch_end:2") == -9
    (run_dir,) = folder(tmp_path).glob("default-????????")
    save(run_dir, {"status": "failed", "error": "OSError: disk full"})
    with pytest.raises(SystemExit):
        run_train(*words)  # told of, not run
    assert train_in_process([*words, "sweep.retry=failed"], kill_at="on_train_batch_end:3") == -9
    assert not (run_dir / "summary.json").exists()
    run_train(*words)
    assert {job["status"] for job in summaries(folder(tmp_path)).values()} == {"finished"}


@pytest.mark.slow
def test_force_begins_an_interrupted_job_anew(tmp_path: Path) -> None:
    words = [*ONE_JOB, f"paths.log_dir={tmp_path}"]
    assert train_in_process(words, kill_at="on_train_batch_end:2") == -9
    run_train(*words, "sweep.force=true")
    assert sorted(path.name[-2:] == ".1" for path in folder(tmp_path).glob("default-*")) == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([], id="one by one"),
        pytest.param(["hydra/launcher=vectorized", "sweep.wait=true"], id="together, waiting"),
    ],
)
def test_jobs_whose_hashes_begin_alike_are_two_jobs(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_names, "DIGITS", 1)  # of 17 jobs, two have the same digit
    rates = [0.01 + number / 10**6 for number in range(17)]  # of which a name has 4 digits
    asked = ["optimizer.lr=" + ",".join(map(str, rates)), *words]
    sweep(tmp_path, *asked)
    before = {path: path.stat().st_mtime_ns for path in folder(tmp_path).glob("*/summary.json")}
    assert len({path.parent.name[-1] for path in before}) < 17
    configs = [folders.as_written(path.parent) for path in before]
    assert sorted(config["optimizer.lr"] for config in configs) == rates
    hashes = [json.loads(path.read_text())["config_hash"] for path in before]
    assert hashes == [config.hash for config in configs]

    lost = next(iter(before))
    lost.unlink()
    sweep(tmp_path, *asked)  # the one that has no summary runs again, in its own folder
    after = {path: path.stat().st_mtime_ns for path in folder(tmp_path).glob("*/summary.json")}
    assert after.keys() == before.keys()
    assert [path for path in after if after[path] != before[path]] == [lost]


MODEL = """
from pathlib import Path

from project.modules.linear import LinearRegressor

FACTOR = 1


class {name}(LinearRegressor):
    def on_train_start(self):
        super().on_train_start()
        for file in Path(__file__).parent.glob("second_of_*.py"):
            file.write_text(file.read_text().replace("FACTOR = 1", "FACTOR = 2"))
"""


def test_code_that_changes_while_other_jobs_run_is_not_what_a_job_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: a job ran what was imported, and its record had the file as it was later."""
    monkeypatch.syspath_prepend(tmp_path)
    files = {name: tmp_path / f"{name}.py" for name in ("first_of_two", "second_of_two")}
    for name, file in files.items():
        file.write_text(MODEL.format(name=name.title().replace("_", "")))
    before, _ = code.source("second_of_two")
    code.source.cache_clear()
    logs = tmp_path / "logs"
    sweep(logs, "module._target_=first_of_two.FirstOfTwo,second_of_two.SecondOfTwo")
    code.source.cache_clear()
    assert "FACTOR = 2" in files["second_of_two"].read_text()
    assert code.source("second_of_two")[0] != before
    (job,) = folder(logs).glob("*second_of_two*")
    made_of = json.loads((job / identity.MADE_OF).read_text())
    assert made_of["code"]["second_of_two"] == before
