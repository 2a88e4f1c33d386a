"""How a run ends: which folders are kept, what summary.json says, and what the user is told."""

import errno
import logging
import os
import pickle
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import CONF, composed, only_run
from engine import longer, messages, signals
from engine.errors import RunFailed, Stopped, UserError, WorkerLost, as_mistake
from engine.run import folders, identity, summaries
from engine.run.loggers import tensorboard
from engine.run.run import Run
from project.train import train

WORDS = [
    "experiment=linear",
    "accelerator=cpu",
    "logger=tensorboard",
    "logger.tensorboard.log_graph=false",
    "module._target_=ways.Small",
    "datamodule._target_=ways.Points",
    "datamodule.batch_size=25",
    "trainer.max_epochs=1",
]


def begun(log_dir: Path) -> Run:
    messages.silence_harmless()
    return Run(composed([*WORDS, f"paths.log_dir={log_dir}"]), None, train.module)


def trained(run: Run) -> float:
    data = run.datamodule()
    module = run.module(data)
    run.fit(run.trainer(), module, data)
    return 0.5


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log_dir = tmp_path_factory.mktemp("whole")
    begun(log_dir).execute(trained)
    return only_run(log_dir)


@pytest.mark.parametrize(
    ("error", "kind"), [(UserError("no"), UserError), (RuntimeError("no"), RunFailed)]
)
def test_what_another_trainer_has_trained_is_kept(
    error: Exception, kind: type[Exception], tmp_path: Path
) -> None:
    """As in a process of `ddp_spawn`, the Trainer that is looked at has taken no step."""

    def train_twice(run: Run) -> float:
        trained(run)
        assert run.trainer().global_step == 0
        raise error

    with pytest.raises(kind):
        begun(tmp_path).execute(train_twice)
    assert (only_run(tmp_path) / folders.LAST).exists()
    assert (summaries.load(only_run(tmp_path)) or {})["status"] == "failed"


@pytest.mark.parametrize("error", [UserError("no"), RuntimeError("no")])
def test_a_longer_run_that_took_no_step_leaves_no_copy(error: Exception, whole: Path) -> None:
    def refuse(run: Run) -> float:
        run.trainer()
        assert folders.has_trained(run.folder)
        raise error

    config = longer.config_of(whole, folders.load_config(whole), ["trainer.max_epochs=2"], CONF)
    with pytest.raises(UserError):
        Run(config, None, train.module).execute(refuse)
    assert list(whole.parent.iterdir()) == [whole]


def test_a_signal_that_a_library_makes_a_mistake_of_interrupts(tmp_path: Path) -> None:
    def interrupted(run: Run) -> float:
        run.trainer()
        with pytest.raises(signals.Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
        raise UserError("what a library makes of it")

    with pytest.raises(signals.Interrupted), signals.heeded(signal.SIGINT):
        begun(tmp_path).execute(interrupted)
    assert (summaries.load(only_run(tmp_path)) or {})["status"] == "interrupted"


@pytest.mark.parametrize(
    ("code", "says"), [(None, "SystemExit"), ("no data here", "SystemExit: no data here")]
)
def test_a_run_whose_code_calls_for_the_process_s_end_has_failed(
    code: str | None, says: str, tmp_path: Path
) -> None:
    """As it happened: it counted as interrupted, and "no data here" was lost."""

    def leaves(run: Run) -> float:
        trained(run)
        sys.exit(code)

    with pytest.raises(RunFailed):
        begun(tmp_path).execute(leaves)
    summary = summaries.load(only_run(tmp_path)) or {}
    error = f"RuntimeError: the code would end the process: {says}"
    assert (summary["status"], summary["error"]) == ("failed", error)


def test_lost_rows_are_recorded_where_the_trainer_is_made_first(
    whole: Path, tmp_path: Path
) -> None:
    def the_other_way_round(run: Run) -> float:
        data = run.datamodule()
        trainer = run.trainer()
        run.fit(trainer, run.module(data), data)
        return 0.5

    shutil.copytree(whole, run_dir := tmp_path / "run")
    (run_dir / summaries.SUMMARY).unlink()
    (run_dir / summaries.METRICS).unlink()
    config = folders.load_config(run_dir)
    Run(config, run_dir, train.module, insists=True).execute(the_other_way_round)
    (lost,) = identity.mixture(run_dir)
    assert "rows are lost" in lost


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def spoils_its_rows(run: Run) -> float:
    trained(run)
    (run.folder / summaries.METRICS).write_text("binary")
    return 0.5


def fails(run: Run) -> float:
    trained(run)
    raise RuntimeError("no")


def test_a_run_that_fails_as_a_further_process_was_killed_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: its job counted as failed with a traceback, and was skipped for ever."""

    def loses(run: Run) -> float:
        trained(run)
        raise RuntimeError("Connection reset by peer")

    caplog.set_level(logging.INFO)
    monkeypatch.setattr("engine.fence.lightning.kill_children", lambda trainer, patience: [1])
    with pytest.raises(WorkerLost) as lost:
        begun(tmp_path).execute(loses)
    run_dir = only_run(tmp_path)
    assert summaries.load(run_dir)["status"] == "interrupted"  # type: ignore[index]
    said = [record.getMessage() for record in caplog.records[-2:]]
    assert said[0] == "process 1 of the run was killed (SIGKILL)" == str(lost.value)
    assert re.match(r"interrupted at step \d+; go on with:\n.* resume=", said[1])
    assert not any(record.exc_info for record in caplog.records)
    # A launcher's other process answers with it, and the launcher has the job go on.
    answer = pickle.loads(pickle.dumps(as_mistake(lost.value)))
    assert (type(answer), str(answer)) == (WorkerLost, said[0])


@pytest.mark.parametrize(
    ("of", "name", "way", "kind", "says"),
    [
        (tensorboard, "close", trained, Stopped, "go on with:\n  python -m project.train resume="),
        (summaries, "save", spoils_its_rows, Stopped, "go on with:\n  python -m project.train"),
        (summaries, "save", fails, RunFailed, "left on device. So the run has no summary.json."),
    ],
    ids=["events", "broken rows", "a failed run"],
)
def test_a_disk_that_is_full_at_the_end(
    of: Any,
    name: str,
    way: Callable[[Run], float],
    kind: type[Exception],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    with monkeypatch.context() as patch:
        patch.setattr(of, name, full)
        with pytest.raises(kind):
            begun(tmp_path).execute(way)
    assert not (only_run(tmp_path) / summaries.SUMMARY).exists()
    assert says in caplog.records[-1].getMessage()
