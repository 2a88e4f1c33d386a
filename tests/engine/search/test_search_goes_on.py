"""Searches that were stopped, or that share a study: no trial is lost or run twice."""

import errno
import gc
import itertools
import pickle
import re
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from commands import run_train, train_in_process, train_twice_at_once
from engine.callbacks.checkpoints import Checkpoints
from engine.config.resolved import Config
from engine.door import Door
from engine.errors import Stopped, as_mistake
from engine.files import CannotWrite
from engine.run import build
from engine.run.identity import Changed
from engine.search import study
from engine.search.search import Search
from engine.sweep.jobs import State
from searching import (
    COMPLETE,
    SPACE,
    command,
    logs,
    summaries,
    told,
    trials,
)
from signalling import send


def exit_code(*words: str) -> int:
    try:
        run_train(*words, draws=False)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log_dir = tmp_path_factory.mktemp("undisturbed")
    run_train(*command(log_dir, *SPACE, "n_trials=3"), draws=False)
    return log_dir


@pytest.mark.parametrize("write", [1, 9, 22, "a checkpoint"])
def test_a_search_on_a_full_disk_goes_on_when_there_is_space(
    write: int | str,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The disk is full at one of the study's writes, of which it takes a part, or in a trial."""
    append = JournalFileBackend.append_logs
    count = itertools.count(1)

    def write_a_part(journal: study._Journal, logs: Any) -> None:
        if next(count) == write:
            with open(journal.path, "ab") as file:
                file.write(b'{"op_code"')
            raise OSError(errno.ENOSPC, "No space left on device")
        append(journal, logs)

    def save(trainer: Any, name: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    words = command(tmp_path, *SPACE, "n_trials=3")
    with monkeypatch.context() as patch:
        patch.setattr(JournalFileBackend, "append_logs", write_a_part)
        if write == "a checkpoint":
            patch.setattr(Checkpoints, "_save", staticmethod(save))
        assert exit_code(*words) == (1 if write == "a checkpoint" else 2)
    said = capsys.readouterr().err + caplog.text
    assert "cannot be written: No space left on device." in said
    assert "Traceback" not in said
    gc.collect()  # the locks of the process that has ended
    assert exit_code(*words) == 0
    assert told(tmp_path) == told(undisturbed)


@pytest.mark.parametrize("error", [Stopped("full"), as_mistake(CannotWrite(28, "full", "/a"))])
def test_a_study_is_not_told_of_a_full_disk_by_another_process_either(error: Exception) -> None:
    unused: Any = None
    job: Any = SimpleNamespace(error=pickle.loads(pickle.dumps(error)))
    job.state = lambda: State("failed", None, {}, Changed(), True, True, False)
    with pytest.raises(type(error), match=re.escape(str(error))):
        Search._tell(unused, unused, 0, job)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("owner", "name"),
    [(Config, "resolve"), (Door, "do"), (build, "datamodule"), (build, "trainer")],
    ids=["composes", "begins", "builds", "has a Trainer"],
)
def test_what_a_signal_breaks_while_a_job(
    owner: Any,
    name: str,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As it happened: OmegaConf raised an error of its own, and the trial counted as failed."""

    def breaks(*_: Any, **__: Any) -> Any:
        if any(tmp_path.rglob("study.log")) and not came:
            came.append(name)
            send()
            raise AttributeError("'NoneType' object has no attribute '_invalidate_flags_cache'")
        return call(*_, **__)

    came: list[str] = []
    call = getattr(owner, name)
    words = command(tmp_path, *SPACE, "n_trials=3")
    monkeypatch.setattr(owner, name, breaks)
    assert exit_code(*words) == 130
    assert "'NoneType'" not in caplog.text
    assert [trial.state for trial in trials(tmp_path)] == [TrialState.RUNNING]
    gc.collect()  # the locks of the process that has ended
    assert exit_code(*words) == 0
    assert told(tmp_path) == told(undisturbed)


@pytest.mark.slow
def test_a_killed_search_goes_on_and_ends_as_if_it_had_not_been(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")  # of which train.log has no less
    words = [
        *SPACE,
        "n_trials=6",
        "callbacks.checkpoints.every_n_steps=1",
        "hydra.sweeper.random_trials=3",
    ]
    a, b = tmp_path / "a", tmp_path / "b"
    killed = 0
    for kill_at in ("on_train_batch_end:3", "on_train_batch_end:5", "on_train_epoch_end:4"):
        killed += train_in_process(command(a, *words), kill_at=kill_at) == -signal.SIGKILL
    assert killed == 3
    assert TrialState.RUNNING in [trial.state for trial in trials(a)]
    run_train(*command(a, *words))
    run_train(*command(b, *words))
    assert told(a) == told(b)
    assert [state for _, state, _ in told(a)] == [COMPLETE] * 6
    assert [len(summaries(log_dir)) for log_dir in (a, b)] == [6, 6]
    assert sum(log.count("finished after") for log in logs(a)) == 6
    assert (
        sum(log.count("run folder") for log in logs(a)) == 6 + killed
    )  # each killed one once more


@pytest.mark.slow
def test_processes_share_a_study(tmp_path: Path) -> None:
    words = [
        *SPACE,
        "n_trials=5",
        "datamodule.steps_per_epoch=100",
        "trainer.max_steps=range(50,100)",
    ]
    assert train_twice_at_once(command(tmp_path, *words)) == [0, 0]
    assert [state for _, state, _ in told(tmp_path)] == [COMPLETE] * 5
    assert len(summaries(tmp_path)) == 5
    assert [(log.count("run folder"), log.count("finished after")) for log in logs(tmp_path)] == [
        (1, 1)
    ] * 5
