"""Sweeps: a folder per job, one bad job does not stop the others, and nothing is run twice."""

import errno
import json
import re
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hydra import compose, initialize_config_dir
from hydra.core.utils import JobReturn, JobStatus

from commands import run_train, train_in_process
from engine.config.resolved import Config
from engine.errors import RunFailed, UserError
from engine.run import folders, identity
from engine.run.summaries import save
from engine.sweep.jobs import Job, conclude, run_all, table
from project.train import train

LINEAR = ["-m", "experiment=linear", "accelerator=cpu", "logger=csv", "trainer.max_steps=3"]
FAILING = ["datamodule=random_regression", "+callbacks.fails._target_=ways.FailsOnColumns"]


def sweep(log_dir: Path, *words: str) -> Path:
    """Start a sweep; its folder."""
    run_train(*LINEAR, *words, f"paths.log_dir={log_dir}")
    return folder(log_dir)


def folder(log_dir: Path) -> Path:
    return log_dir / "sweeps" / "linear"


def summaries(sweep_dir: Path) -> dict[str, dict[str, Any]]:
    """What each job's summary.json says, by the readable part of its folder's name."""
    return {
        path.parent.name.rpartition("-")[0]: json.loads(path.read_text())
        for path in sorted(sweep_dir.glob("*/summary.json"))
    }


def written(sweep_dir: Path) -> dict[str, int]:
    """Every job's files, and when they were last written."""
    jobs = sweep_dir.glob("*-????????/**/*")
    return {str(path): path.stat().st_mtime_ns for path in jobs if path.is_file()}


@pytest.mark.slow
def test_a_grid_has_a_folder_per_job_and_runs_no_job_twice(tmp_path: Path) -> None:
    sweep_dir = sweep(tmp_path, "optimizer=sgd,adam", "init=zero,randn")
    names = {path.name for path in sweep_dir.iterdir()}
    assert {"multirun.yaml", ".locks"} < names
    jobs = sorted(names - {"multirun.yaml", ".locks"})
    assert [re.sub("-[0-9a-f]{8}$", "-HASH", name) for name in jobs] == [
        f"optimizer={optimizer}-init={init}-HASH"
        for optimizer in ("adam", "sgd")
        for init in ("randn", "zero")
    ]
    for name in jobs:
        config = folders.load_config(sweep_dir / name)
        summary = summaries(sweep_dir)[name.rpartition("-")[0]]
        assert (summary["status"], summary["steps"]) == ("finished", 3)
        assert summary["config_hash"] == config.hash
        assert name.endswith(f"-{summary['config_hash'][:8]}")
        assert f"optimizer={config['optimizer._target_'].rpartition('.')[2].lower()}-" in name
        assert f"init={config['init._target_'].rpartition('.')[2]}-" in name
    assert len(list(tmp_path.rglob(".hydra/config.yaml"))) == 4  # none elsewhere

    before = written(sweep_dir)
    sweep(tmp_path, "init=zero,randn,he", "optimizer=sgd")  # in another order, and one job more
    after = written(sweep_dir)
    assert before.items() <= after.items()
    new = {
        Path(path).relative_to(sweep_dir).parts[0].rpartition("-")[0]
        for path in after.keys() - before.keys()
    }
    assert new == {"init=he"}

    run_train(*LINEAR[1:], "init=randn", "optimizer=sgd", f"paths.log_dir={tmp_path / 'alone'}")
    (alone,) = tmp_path.glob("alone/runs/linear/*/metrics.csv")
    (job,) = sweep_dir.glob("optimizer=sgd-init=randn-*/metrics.csv")
    assert job.read_text() == alone.read_text()


@pytest.mark.slow
def test_a_failing_and_a_diverging_job_do_not_stop_the_others(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        sweep(tmp_path, "module=two_layer,linear", "optimizer.lr=1e30,0.01", *FAILING)
    assert stop.value.code == 1
    endings = {
        name: (job["status"], job["error"] is None)
        for name, job in summaries(folder(tmp_path)).items()
    }
    assert endings == {
        "module=two_layer-lr=1e+30": ("failed", False),
        "module=two_layer-lr=0.01": ("failed", False),
        "module=linear-lr=1e+30": ("diverged", True),
        "module=linear-lr=0.01": ("finished", True),
    }

    before = written(folder(tmp_path))
    sweep(
        tmp_path, "module=linear", "optimizer.lr=1e30", *FAILING
    )  # diverged: done, and no failure
    assert written(folder(tmp_path)) == before
    with pytest.raises(SystemExit) as stop:
        sweep(
            tmp_path, "module=two_layer", "optimizer.lr=0.01", *FAILING
        )  # failed: reported once more
    assert stop.value.code == 1
    assert written(folder(tmp_path)) == before
    with pytest.raises(SystemExit) as stop:
        sweep(tmp_path, "module=two_layer", "optimizer.lr=0.01", *FAILING, "sweep.retry=failed")
    assert stop.value.code == 1
    again = {path for path, time in written(folder(tmp_path)).items() if time != before.get(path)}
    changed = {Path(path).name for path in again}  # not the config: a retry is the same run
    assert changed == {"metrics.csv", "summary.json", "train.log"}


@pytest.mark.slow
def test_a_mistake_that_only_the_data_can_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "datamodule=digits",
        "callbacks=default",
        "module=lenet",
        "trainer.limit_val_batches=0",
    ]
    with pytest.raises(SystemExit) as stop:
        sweep(tmp_path, *words, "module.num_classes=7,10")
    assert stop.value.code == 2
    says = (
        "error: module.num_classes=7: DigitsDataModule has 10 classes; set module.num_classes=10."
    )
    assert says in capsys.readouterr().err.splitlines()
    assert {name: job["status"] for name, job in summaries(folder(tmp_path)).items()} == {
        "num_classes=10": "finished"
    }


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


def test_another_folder_for_a_sweep(tmp_path: Path) -> None:
    sweep(tmp_path / "logs", "seed=1", f"hydra.sweep.dir={tmp_path}/mine")
    assert (tmp_path / "mine" / "multirun.yaml").exists()
    assert {name: job["status"] for name, job in summaries(tmp_path / "mine").items()} == {
        "default": "finished"
    }
    assert not folder(tmp_path / "logs").exists()


def test_dry_run_lists_the_jobs_and_touches_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sweep(tmp_path, "seed=1,2,3")
    (one, two, three) = sorted(folder(tmp_path).glob("seed=*"))
    (two / "summary.json").unlink()  # as after a kill
    save(three, {"status": "failed", "error": "OSError: disk full\nand more", "seconds": 1.25})
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    caplog.clear()
    sweep(tmp_path, "seed=1,2,3,4", "sweep.dry_run=true")
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before
    (listed,) = [record.message for record in caplog.records]
    plain = re.sub(r"\x1b\[\d*m", "", listed)
    assert re.sub(r" +\d+(\.\d+)? +\d+\.\d s", " NUMBERS", plain).splitlines() == [
        f"  status       {'job':<15}" + f"{'train/loss, last value':>24}{'time':>10}",
        f"  finished     {one.name} NUMBERS",
        f"  interrupted  {two.name}",
        f"  failed       {three.name}" + f"{'':>24}{'1.2 s':>10}",
        "    OSError: disk full",
        f"    {three / 'train.log'}",
        "  new          seed=4",
        "4 jobs: 1 finished, 1 interrupted, 1 failed, 1 new",
    ]


def test_force_runs_again_and_keeps_what_was(tmp_path: Path) -> None:
    for words in ([], ["sweep.force=true"], ["sweep.force=true"], []):
        sweep(tmp_path, "seed=1,2", *words)
    (one,) = folder(tmp_path).glob("seed=1-????????")
    copies = [one, one.with_name(f"{one.name}.1"), one.with_name(f"{one.name}.2")]
    assert sorted(folder(tmp_path).glob("seed=1-*")) == copies
    assert len({(copy / "summary.json").stat().st_mtime_ns for copy in copies}) == 3
    assert len({(copy / "metrics.csv").read_text() for copy in copies}) == 1


@pytest.mark.slow
def test_sweeps_at_the_same_time_share_the_jobs(tmp_path: Path) -> None:
    words = [*LINEAR, "seed=1,2,3,4,5,6", "trainer.max_steps=200", "datamodule.steps_per_epoch=200"]
    codes: list[int] = []
    both = [
        threading.Thread(
            target=lambda: codes.append(train_in_process([*words, f"paths.log_dir={tmp_path}"]))
        )
        for _ in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert codes == [0, 0]
    logs = [path.read_text() for path in folder(tmp_path).glob("seed=*/train.log")]
    assert len(logs) == 6
    assert [(log.count("run folder"), log.count("finished after 200 steps")) for log in logs] == [
        (1, 1)
    ] * 6


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


class Workers:
    """A launcher whose workers die of some jobs.

    With them goes what they were given, from the first such job on.
    """

    def __init__(
        self, sweep_dir: Path, deadly: Sequence[str] = (), wrong: Sequence[str] = ()
    ) -> None:
        self.sweep_dir, self.deadly, self.wrong = sweep_dir, deadly, wrong
        self.launched: list[list[str]] = []

    def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        self.launched.append([words[0] for words in jobs])
        returns = []
        for words in jobs:
            (own,) = made(self.sweep_dir, words[0])
            if words[0] in self.wrong:
                returns.append(
                    JobReturn(
                        status=JobStatus.FAILED, overrides=words, _return_value=UserError("no")
                    )
                )
                continue
            run_dir = folders.job_dir(own.config, self.sweep_dir, [words[0]])
            folders.save_config(run_dir, own.config, "project.train")
            if words[0] in self.deadly:
                raise RuntimeError("a worker is gone")
            save(run_dir, {"status": "finished", "objective": 0.5})
            returns.append(
                JobReturn(status=JobStatus.COMPLETED, overrides=words, _return_value=0.5)
            )
        return returns


def made(sweep_dir: Path, *words: str) -> list[Job]:
    train.open()
    with initialize_config_dir(str(train.conf), version_base="1.3"):
        configs = [Config.resolve(compose("config", overrides=[word]), [word]) for word in words]
    return [Job(config, sweep_dir, config.overrides) for config in configs]


def test_a_job_that_kills_its_worker_takes_no_other_with_it(tmp_path: Path) -> None:
    jobs = made(tmp_path, "seed=1", "seed=2", "seed=3", "seed=4")
    workers = Workers(tmp_path, deadly=["seed=2"])
    run_all(jobs, workers)
    assert workers.launched == [
        ["seed=1", "seed=2", "seed=3", "seed=4"],
        ["seed=3", "seed=4"],
        ["seed=2"],
    ]
    assert [job.status for job in jobs] == ["finished", "failed", "finished", "finished"]
    assert [str(job.error) for job in jobs if job.error] == ["its process was killed"]
    with pytest.raises(RunFailed):
        conclude(jobs, "mine.train")


def test_the_config_of_a_run_does_not_say_how_its_sweep_treats_it(tmp_path: Path) -> None:
    """A job whose worker was killed is launched again, and waits: its run is the same."""
    forced, waits = made(tmp_path, "sweep.force=true", "sweep.wait=true")
    assert (forced.treated["force"], waits.treated["wait"]) == (True, True)
    assert forced.config.values_by_node == waits.config.values_by_node
    assert forced.hash == waits.hash


def test_a_job_with_a_wrong_config_is_told_of_after_the_others(tmp_path: Path) -> None:
    jobs = made(tmp_path, "seed=1", "seed=2")
    run_all(jobs, Workers(tmp_path, wrong=["seed=1"]))
    assert [job.status for job in jobs] == ["failed", "finished"]
    with pytest.raises(UserError, match=r"^no$"):
        conclude(jobs, "mine.train")


class FullLauncher(Workers):
    """A launcher that finds no space for its own files."""

    def launch(self, jobs: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        raise OSError(errno.ENOSPC, "No space left on device", "/dev/shm/x")


def test_a_launcher_that_finds_no_space(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    jobs = made(tmp_path / "taken back", "seed=1", "seed=2")
    run_all(jobs, FullLauncher(tmp_path))
    with pytest.raises(UserError, match=r"^/dev/shm/x: cannot be written: No space left on"):
        conclude(jobs, "mine.train")
    assert "its process was killed" not in caplog.text
    assert "tensorboard --logdir" not in caplog.text  # of a folder that is not there


def test_a_broken_summary_is_no_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = made(tmp_path, "seed=1")
    (run_dir := folders.job_dir(job.config, tmp_path, job.overrides)).mkdir()
    (run_dir / "summary.json").write_text('{"status": "fin')
    assert job.status == "interrupted"
    assert f"{run_dir / 'summary.json'}: left out, as it is broken" in caplog.text
    assert re.sub(r"\x1b\[\d*m", "", table([job])).splitlines()[1:] == [
        f"  interrupted  {run_dir.name}",
        "1 job: 1 interrupted",
    ]
    with monkeypatch.context() as patch:
        patch.delattr(identity, "changed")
        assert job.summary == {}  # without a comparison of code and data
    assert len(caplog.records) == 1


def test_the_sweep_s_own_keys_make_no_other_job(tmp_path: Path) -> None:
    (job,) = made(tmp_path, "seed=1")
    other = {**job.config, "sweep": {"retry": "failed", "wait": True}, "name": "other"}
    assert Config(other).hash == job.config.hash
    assert Config({**other, "seed": 2}).hash != job.config.hash


def test_a_job_whose_objects_cannot_be_made_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        sweep(tmp_path, "seed=1,2", "+module.foo=1")
    assert stop.value.code == 2
    says = "module.foo: LinearRegressor takes no such argument. It takes in_features, "
    assert capsys.readouterr().err.startswith(f"error: {says}")
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.slow
def test_a_retry_that_is_killed_is_interrupted_and_goes_on(tmp_path: Path) -> None:
    words = [
        *LINEAR,
        "seed=1",
        "callbacks.checkpoints.every_n_steps=1",
        f"paths.log_dir={tmp_path}",
    ]
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
    words = [
        *LINEAR,
        "seed=1",
        "callbacks.checkpoints.every_n_steps=1",
        f"paths.log_dir={tmp_path}",
    ]
    assert train_in_process(words, kill_at="on_train_batch_end:2") == -9
    run_train(*words, "sweep.force=true")
    assert sorted(path.name[-2:] == ".1" for path in folder(tmp_path).glob("default-*")) == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sweep.dry_run=true"], "sweep.dry_run: is for sweeps; add -m."),
        (["sweep.retry=failed"], "sweep.retry: is for sweeps; add -m."),
        (
            ["-m", "hydra/sweeper=basic", "seed=1,2", "sweep.dry_run=true"],
            "sweep.dry_run=true: works with hydra/sweeper=grid and hydra/sweeper=optuna only; "
            "another sweeper would run the jobs.",
        ),
    ],
)
def test_what_sweeps_only_can_do(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train(*words, *LINEAR[1:], f"paths.log_dir={tmp_path}")
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {says}"
    assert list(tmp_path.rglob("metrics.csv")) == []


@pytest.mark.slow
def test_a_sweep_over_experiments_names_its_jobs_by_them(tmp_path: Path) -> None:
    run_train(
        "-m",
        "experiment=linear,curve_fit",
        "name=both",
        "accelerator=cpu",
        "logger=csv",
        "callbacks=default",
        "trainer.max_steps=3",
        f"paths.log_dir={tmp_path}",
    )
    names = {path.parent.name[:-9] for path in tmp_path.glob("sweeps/both/*/summary.json")}
    assert names == {"experiment=linear", "experiment=curve_fit"}
