"""A signal is never lost, whatever runs when it comes."""

import csv
import gc
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import signal_storm
import storm
from commands import environment, only_run, run_train
from engine import messages, signals
from engine.errors import FULL_ERROR, exit_codes
from engine.launch import worker
from engine.run import run
from engine.run.checkpoint import file
from engine.run.records import read
from engine.vectorized import make
from engine.vectorized.module import StackedModule
from signalling import send

LINEAR = ["experiment=linear", "accelerator=cpu", "logger=csv"]
BOTH = (signal.SIGINT, signal.SIGTERM)
SWALLOWED = "ignore::pytest.PytestUnraisableExceptionWarning"
# How many random moments to try; by hand: RANDOM_SIGNALS=100 pytest tests/engine/test_signals.py
# tests/test_kill_storm.py has one in each stage.
MOMENTS = int(os.environ.get("RANDOM_SIGNALS", "1"))


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in BOTH]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_with_its_code(number: int, code: int) -> None:
    before = handlers()
    with pytest.raises(SystemExit) as stop, exit_codes(), exit_codes():
        os.kill(os.getpid(), number)
    assert stop.value.code == code
    assert handlers() == before


STUCK = """
import ctypes, os, signal, time
from engine import signals

signals.A_MOMENT = 0.1
with signals.heeded(signal.SIGINT, signal.SIGTERM), signals.counted_while_waiting():
    if not (forked := os.fork()):  # as a DataLoader's worker is
        time.sleep(0.3)
        os._exit(0)
    for _ in range(2):
        time.sleep(0.05)
        os.kill(forked, signal.SIGINT)
    os.waitpid(forked, 0)
    lock = ctypes.create_string_buffer(128)  # a pthread_mutex_t, which nobody gives back
    ctypes.CDLL(None).pthread_mutex_lock(lock)
    print("stuck", flush=True)
    ctypes.CDLL(None).pthread_mutex_lock(lock)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_ends_a_process_that_waits_for_others_in_c(
    number: int, code: int
) -> None:
    """As it happened: only SIGKILL ended two processes of which one waited for the other's batch.

    A signal that a worker gets counts for the worker alone.
    """
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", STUCK],  # Python warns of a fork beside threads
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        try:
            assert process.stdout.readline() == "stuck\n"
            while ") S " not in Path(f"/proc/{process.pid}/stat").read_text():
                time.sleep(0.01)
            process.send_signal(number)
            assert process.stderr.readline() == "\n"
            said = process.stderr.readline()
            assert said == "busy, or waiting for other processes; once more ends this one at once\n"
            assert process.poll() is None
            process.send_signal(number)
            assert process.wait(timeout=5) == code
        finally:
            process.kill()


def test_a_signal_that_comes_as_a_command_puts_its_variable_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it happened: the outer command had a variable to take back that was gone."""
    monkeypatch.delenv(FULL_ERROR, raising=False)

    class Environment(type(os.environ)):  # type: ignore[misc]
        def __setitem__(self, name: str, value: str) -> None:
            super().__setitem__(name, value)
            self.count("set")

        def __delitem__(self, name: str) -> None:
            super().__delitem__(name)
            self.count("removed")

        def count(self, change: str) -> None:
            changes.append(change)
            if len(changes) == 3:  # both commands have begun, and the inner one ends
                os.kill(os.getpid(), signal.SIGTERM)

    changes: list[str] = []
    monkeypatch.setattr(os.environ, "__class__", Environment)
    with pytest.raises(SystemExit) as stop, exit_codes(), exit_codes():
        pass
    assert (stop.value.code, changes) == (143, ["set", "set", "set", "removed"])
    assert FULL_ERROR not in os.environ


@pytest.mark.filterwarnings(SWALLOWED)
def test_a_swallowed_signal_comes_back() -> None:
    reached = []

    def run() -> None:
        send()
        reached.append("on")
        signals.heed()
        reached.append("too far")

    with pytest.raises(signals.Interrupted) as stop, signals.heeded(*BOTH):
        run()
    assert (stop.value.code, reached) == (130, ["on"])
    with pytest.raises(signals.Interrupted), signals.heeded(*BOTH):
        send()  # nobody looks before the end


class Fails:
    def __del__(self) -> None:
        raise RuntimeError("another error")


def test_a_swallowed_signal_is_no_error_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda one: shown.append(one.exc_type))
    before = sys.unraisablehook

    def run() -> None:
        thing = Fails()
        del thing
        send()

    with pytest.raises(signals.Interrupted), signals.heeded(*BOTH):
        run()
    assert shown == [RuntimeError]
    assert sys.unraisablehook is before


def test_what_a_signal_breaks_in_a_thread_is_no_error_to_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it happened: joblib's thread lost its work, and showed a traceback."""
    shown: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda one: shown.append(one.exc_type))
    before = threading.excepthook

    def breaks() -> None:
        thread = threading.Thread(target=lambda: {}[1])  # type: ignore[misc]
        thread.start()
        thread.join()

    def run() -> None:
        breaks()
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            breaks()

    with pytest.raises(signals.Interrupted), signals.heeded(*BOTH):
        run()
    assert shown == [KeyError]
    assert threading.excepthook is before


@pytest.mark.filterwarnings(SWALLOWED)
def test_what_a_swallowed_signal_breaks_counts_as_the_signal() -> None:
    def run() -> None:
        send(signal.SIGTERM)
        raise RuntimeError("a worker is gone")

    with pytest.raises(SystemExit) as stop, exit_codes():
        run()
    assert stop.value.code == 143


def test_an_error_is_a_signal_only_where_one_has_come() -> None:
    with pytest.raises(RuntimeError, match="its own"), signals.heeded(*BOTH), signals.undisguised():
        raise RuntimeError("its own")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SystemExit(), "SystemExit"),
        (SystemExit(3), "SystemExit: 3"),
        (SystemExit("no data here"), "SystemExit: no data here"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_an_exit_without_a_signal_is_an_error_of_the_code(error: BaseException, says: str) -> None:
    """As it happened: a module that called sys.exit() ended the whole sweep, with code 0."""

    def leaves() -> None:
        raise error

    with (
        signals.heeded(*BOTH),
        pytest.raises(RuntimeError, match=f"would end the process: {says}$") as failed,
        signals.undisguised(),
    ):
        leaves()
    assert [entry.name for entry in failed.traceback][-1] == "leaves"


@pytest.mark.filterwarnings(SWALLOWED)
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_an_exit_after_a_signal_is_the_signal(error: BaseException) -> None:
    def run() -> None:
        send()
        raise error

    with (
        pytest.raises(signals.Interrupted) as stop,
        signals.heeded(*BOTH),
        signals.undisguised(),
    ):
        run()
    assert stop.value.code == 130


def test_ctrl_c_is_one_where_nobody_handles_it() -> None:
    """In a worker, Python's own handler raises; Lightning makes an exit of that."""
    with pytest.raises(KeyboardInterrupt), signals.heeded(signal.SIGTERM), signals.undisguised():
        raise KeyboardInterrupt

    def exits() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    with pytest.raises(SystemExit), signals.heeded(signal.SIGTERM), signals.undisguised():
        exits()


def test_while_steps_look_the_handler_does_not_raise(capfd: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        signals.let_steps_look(True)
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("on")
        signals.heed()
        reached.append("too far")

    reached: list[str] = []
    with pytest.raises(signals.Interrupted), signals.heeded(*BOTH):
        run()
    assert reached == ["on"]
    assert "stopping after this step" in capfd.readouterr().err
    with signals.heeded(*BOTH):  # what came before is over
        signals.heed()


def test_what_a_process_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as for a job in the background
    try:
        with signals.heeded(*BOTH):
            os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


TWICE = """
signals.let_steps_look(True)
os.kill(os.getpid(), signal.SIGINT)
time.sleep(0.1)
os.kill(os.getpid(), signal.{second})
time.sleep(60)
"""
FORKED = """
if not (child := os.fork()):
    time.sleep(60)
os.kill(child, signal.SIGINT)
time.sleep(0.1)
assert os.waitpid(child, os.WNOHANG) == (0, 0)
os.kill(child, signal.SIGTERM)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143
"""


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        pytest.param(TWICE.format(second="SIGINT"), 130, id="the second ends the process"),
        pytest.param(TWICE.format(second="SIGTERM"), 143, id="any second does"),
        pytest.param(FORKED, 0, id="a forked process leaves Ctrl-C to its parent"),
    ],
)
def test_in_a_process_of_its_own(lines: str, code: int) -> None:
    head = "import os, signal, time\nfrom engine import signals\n"
    script = f"{head}with signals.heeded(signal.SIGINT, signal.SIGTERM):\n"
    words = [sys.executable, "-c", script + textwrap.indent(lines, "    ")]
    ended = subprocess.run(words, capture_output=True, env=environment(), timeout=50)
    assert (ended.returncode, ended.stderr.count(b"Traceback")) == (code, 0)


def test_only_tensorboard_s_thread_keeps_to_itself_what_the_system_refuses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    told: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.thread.name))
    theirs = type("_AsyncWriterThread", (threading.Thread,), {"__module__": "tensorboard.summary"})
    with signals.heeded(signal.SIGTERM):
        for thread in (theirs(target=fail, name="theirs"), threading.Thread(None, fail, "mine")):
            thread.start()
            thread.join()
    assert told == ["mine"]


def test_a_signal_that_breaks_the_end_of_its_context_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it happened: Python told it once more when it collected what was left of the context."""
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    before = signal.getsignal(signal.SIGTERM)
    context: Any = signals.heeded(*BOTH)
    context.__enter__()
    with pytest.raises(signals.Interrupted):
        signal.raise_signal(signal.SIGTERM)
    del context
    gc.collect()
    assert told == []
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.filterwarnings(SWALLOWED)
@pytest.mark.parametrize("step", [0, 3])
def test_a_run_stops_after_the_step_and_says_how_to_go_on(
    step: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    callback = ["+callbacks.signals._target_=signalling.Signals", f"+callbacks.signals.step={step}"]
    with pytest.raises(SystemExit) as stop:
        run_train(*LINEAR, *callback, f"paths.log_dir={tmp_path}")
    assert stop.value.code == 130
    run_dir = only_run(tmp_path)
    summary = json.loads((run_dir / "summary.json").read_text())
    # A signal before training is found after the first step.
    assert (summary["status"], summary["steps"]) == ("interrupted", step or 1)
    assert caplog.messages[-1] == (
        f"interrupted at step {step or 1}; go on with:\n  python -m project.train resume={run_dir}"
    )


@pytest.mark.filterwarnings(SWALLOWED)
@pytest.mark.parametrize(
    ("word", "choice"),
    [
        ("callbacks=grad_norm", '"callbacks=[default,grad_norm]"'),
        ("callbacks=[grad_norm,swa]", '"callbacks=[default,grad_norm,swa]"'),
        ("callbacks=[]", "callbacks=default"),
    ],
)
def test_a_run_without_checkpoints_says_so_before_it_is_lost(
    word: str, choice: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A choice of callbacks replaces the default ones."""
    caplog.set_level("INFO")
    callback = [word, "+callbacks.signals._target_=signalling.Signals", "+callbacks.signals.step=3"]
    with pytest.raises(SystemExit):
        run_train(*LINEAR, *callback, f"paths.log_dir={tmp_path}")
    run_dir = only_run(tmp_path)
    assert caplog.messages[-1] == (
        "interrupted at step 3; begin anew, as it has no checkpoint, with:\n"
        f"  python -m project.train resume={run_dir}"
    )
    said = "no callbacks.checkpoints: if it is interrupted, this run begins anew, and it has no "
    advice = f"To keep the default callbacks, write {choice}"
    assert f"{said}best.ckpt.\n{advice}" in caplog.messages
    words = [*LINEAR, "callbacks=grad_norm", "+callbacks.checkpoints=null"]
    caplog.clear()
    run_train(*words, f"paths.log_dir={tmp_path}", draws=False)
    assert said not in caplog.text


@pytest.mark.parametrize("moment", ["joinable", "outcome"], ids=["begins", "records its end"])
def test_a_run_that_is_stopped_while_it(
    moment: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: it had a folder, and did not say how to go on."""

    def stop(*_: object) -> None:
        raise signals.Interrupted(143)

    caplog.set_level("INFO")
    monkeypatch.setattr(run, moment, stop)
    with pytest.raises(SystemExit) as stopped:
        run_train(*LINEAR, "trainer.max_steps=1", f"paths.log_dir={tmp_path}", draws=False)
    assert stopped.value.code == 143
    says = f"interrupted; go on with:\n  python -m project.train resume={only_run(tmp_path)}"
    assert caplog.messages[-1] == says


@pytest.mark.filterwarnings(SWALLOWED)
def test_a_sweep_shows_its_table_and_how_to_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    callback = ["+callbacks.signals._target_=signalling.Signals", "+callbacks.signals.step=3"]
    words = ["-m", *LINEAR, *callback, "seed=1,2", f"paths.log_dir={tmp_path}"]
    with pytest.raises(SystemExit) as stop:
        run_train(*words)
    assert stop.value.code == 130
    lines = re.sub(r"\x1b\[\d*m", "", caplog.messages[-1]).splitlines()
    assert [line.split()[:2] for line in lines[2:4]] == [
        ["interrupted", only_run(tmp_path).name],
        ["new", "seed=2"],
    ]
    assert lines[4:] == [
        "2 jobs: 1 interrupted, 1 new",
        "interrupted; the same command goes on:",
        f"  python -m project.train {' '.join(words)}",
    ]


def interrupts(call: Any, swallowed: bool, came: list[str]) -> Any:
    """Returns a function that gets Ctrl-C the first time, and then calls another one."""

    def interrupted(*arguments: Any, **options: Any) -> Any:
        if not came:
            came.append("it")
            if not swallowed:
                os.kill(os.getpid(), signal.SIGINT)
            send()
            raise ValueError("broken by the signal")
        return call(*arguments, **options)

    return interrupted


FAILS = ["+callbacks.fails._target_=signalling.Fails", "+callbacks.fails.full=true"]


@pytest.mark.filterwarnings(SWALLOWED)
@pytest.mark.parametrize(
    ("owner", "name", "swallowed", "words"),
    [
        pytest.param(run, "has_diverged", True, [], id="the end is found out"),
        pytest.param(read.csv, "reader", True, [], id="the table is read"),
        pytest.param(messages, "redacted", False, FAILS[:1], id="an error is told"),
        pytest.param(run.files, "cannot_write", False, FAILS, id="a full disk is told"),
    ],
)  # fmt: skip
def test_a_run_that_gets_a_signal_when_it_is_over_has_not_failed(
    owner: Any,
    name: str,
    swallowed: bool,
    words: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its end is known only when all of it is: it goes on, and ends as it would have."""
    came = ["not yet"]
    monkeypatch.setattr(owner, name, interrupts(getattr(owner, name), swallowed, came))
    last = "fit" if words else "objective"  # what `train` does last
    does = getattr(run.Run, last)

    def do_last(*arguments: Any) -> Any:
        try:
            return does(*arguments)
        finally:
            came.clear()

    monkeypatch.setattr(run.Run, last, do_last)
    with pytest.raises(SystemExit) as stop:
        run_train(*LINEAR, *words, "trainer.max_steps=4", f"paths.log_dir={tmp_path}", draws=False)
    monkeypatch.undo()
    assert stop.value.code == 130
    assert "broken by the signal" not in caplog.text
    run_dir = only_run(tmp_path)
    if (path := run_dir / "summary.json").exists():
        assert json.loads(path.read_text())["status"] == "interrupted"
    if words:  # the error comes again
        with pytest.raises(SystemExit) as stop:
            run_train(f"resume={run_dir}", draws=False)
        assert stop.value.code == 1
    else:
        run_train(f"resume={run_dir}", draws=False)
        assert json.loads(path.read_text())["status"] == "finished"


@pytest.mark.filterwarnings(SWALLOWED)
def test_a_checkpoint_that_a_signal_kept_from_being_read_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for a damaged one, put aside, and the run went on from the one before."""
    callback = ["+callbacks.signals._target_=signalling.Signals", "+callbacks.signals.step=7"]
    words = [*LINEAR, *callback, "callbacks.checkpoints.every_n_steps=3"]
    with pytest.raises(SystemExit):
        run_train(*words, f"paths.log_dir={tmp_path}", draws=False)
    kept = only_run(tmp_path) / "checkpoints"
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    monkeypatch.setattr(file.torch, "load", interrupts(file.torch.load, True, []))
    with pytest.raises(SystemExit) as stop:
        run_train(f"resume={kept.parent}", draws=False)
    assert stop.value.code == 130
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    assert {"last.ckpt", "previous.ckpt"} <= set(before)


@pytest.mark.filterwarnings(SWALLOWED)
def test_what_is_wrong_with_a_file_is_told_where_the_signal_is_known(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text("{")
    reached = []

    def run() -> None:
        send()
        with signals.answered(), pytest.raises(read.BrokenFile):
            read.summary(path)
        reached.append("on")
        read.summary(path)
        reached.append("too far")

    with pytest.raises(signals.Interrupted), signals.heeded(*BOTH):
        run()
    assert reached == ["on"]


@pytest.mark.parametrize("swallowed", [False, True])
@pytest.mark.filterwarnings(SWALLOWED)
def test_a_job_of_slurms_ends_at_a_step_and_then_submitit_has_its_signal(
    swallowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its handler raised an error in the midst of a run, which then had failed."""
    handled: list[int] = []

    def submits_again(number: int, frame: object) -> None:
        handled.append(number)
        sys.exit(-1)

    def job(work: worker.Work) -> float:
        if swallowed:
            send(signal.SIGUSR2)
            raise AttributeError("broken by the signal")
        signals.let_steps_look(True)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert not handled
        signals.heed()
        return 0.0

    for name in ("take_over", "setup_globals"):
        monkeypatch.setattr(worker, name, lambda *_: None)
    monkeypatch.setattr(worker.Work, "_run", job)
    work = worker.Work(Any, OmegaConf.create({"threads": 1}), "mine", [], 0, None, {}, False)
    before = signal.signal(signal.SIGUSR2, submits_again)
    try:
        with pytest.raises(SystemExit) as stop:
            work()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert (stop.value.code, handled) == (-1, [signal.SIGUSR2])


@pytest.mark.filterwarnings(SWALLOWED)
@pytest.mark.parametrize("owner", [make, StackedModule], ids=["are built", "train"])
def test_what_a_signal_breaks_while_jobs_together(
    owner: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object, **__: object) -> None:
        if not came:
            came.append("it")
            send()
        raise AttributeError("broken by the signal")

    came: list[str] = []
    caplog.set_level("INFO")
    monkeypatch.setattr(owner, "module" if owner is make else "on_train_start", breaks)
    words = [*LINEAR, "logger.csv=null", "hydra/launcher=vectorized", "seed=1,2"]
    with pytest.raises(SystemExit) as stop:
        run_train("-m", *words, f"paths.log_dir={tmp_path}")
    assert stop.value.code == 130
    assert "broken by the signal" not in caplog.text
    assert "failed" not in caplog.text
    statuses = [json.loads(path.read_text())["status"] for path in tmp_path.rglob("summary.json")]
    assert statuses == ([] if owner is make else ["interrupted"] * 2)


@pytest.mark.slow
@pytest.mark.parametrize("number", BOTH, ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_signals_at_random_moments(kind: str, number: int, tmp_path: Path) -> None:
    """Composing, building, training, validating: the exit code is right, and the run goes on."""
    moments = random.Random(f"{kind} {number}")
    length = ["datamodule.steps_per_epoch=2000", "trainer.max_epochs=1000"]
    sweep = ["-m", "seed=1,2"] if kind == "sweep" else []
    for moment in range(MOMENTS):
        log_dir, notes = tmp_path / str(moment), tmp_path / f"{moment}.stages"
        output = tmp_path / f"{moment}.out"
        words = [*sweep, *LINEAR, *length, f"paths.log_dir={log_dir}"]
        with storm.start(output, "stages", str(log_dir), str(notes), *words) as process:
            time.sleep(moments.uniform(0.1, 1.5))
            stage = signal_storm.stage_of(notes)
            process.send_signal(number)
            code = storm.exit_code(process)
        printed = output.read_text()
        has_begun = any(log_dir.rglob("config.yaml"))
        end = signal_storm.End(stage, code, False, printed, has_begun, is_whole=False)
        assert end.wrong(number, kind == "sweep") == [], printed
        for path in tmp_path.glob(f"{moment}/**/summary.json"):
            assert json.loads(path.read_text())["status"] == "interrupted"
            if (table := path.parent / "metrics.csv").exists():
                steps = [int(row["step"]) for row in csv.DictReader(io.StringIO(table.read_text()))]
                assert steps == sorted(set(steps))
