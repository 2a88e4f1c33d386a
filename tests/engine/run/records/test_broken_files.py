"""Whatever has become of a run's files: each command names the file, or does without it."""

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from breaking import FILES, WAYS, break_file
from commands import only_run, run_evaluate, run_report, run_train
from engine.callbacks.checkpoints import Checkpoints
from identical import assert_bit_identical

# 10 steps an epoch, rows every 2 steps, last.ckpt every 3
RUN = [
    "experiment=linear",
    "accelerator=cpu",
    "logger=csv",
    "module._target_=ways.Small",
    "datamodule._target_=ways.Points",
    "datamodule.batch_size=5",
    "datamodule.steps_per_epoch=null",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=2",
    "callbacks.checkpoints.every_n_steps=3",
]
# What a run can do without: it says so, and ends as a run whose files are whole.
DONE_WITHOUT = {
    *(("summary.json", way) for way in WAYS if way != "a folder"),
    (".hydra/overrides.yaml", "removed"),
    (".hydra/made_of.json", "removed"),
}
NOBODY_MISSES = {("summary.json", "removed")}  # as after a kill
# Words for numbers make another list of words, and other digests: neither is broken.
HARMLESS = {
    (".hydra/overrides.yaml", "words for numbers"),
    (".hydra/made_of.json", "words for numbers"),
    (".hydra/config.yaml", "words for numbers"),
}
CASES = [(file, way) for file in FILES for way in WAYS if (file, way) not in HARMLESS]
NOT_MEASURED_BY = ("summary.json", "metrics.csv")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log_dir = tmp_path_factory.mktemp("whole")
    run_train(*RUN, f"paths.log_dir={log_dir}", draws=False)
    return only_run(log_dir)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that Ctrl-C has ended after step 15, of 20."""
    log_dir = tmp_path_factory.mktemp("interrupted")
    save = Checkpoints._save
    with pytest.MonkeyPatch.context() as patch:

        def stop(own: Checkpoints, trainer: Any, name: Path) -> None:
            save(own, trainer, name)
            if trainer.global_step == 15:
                raise KeyboardInterrupt

        patch.setattr(Checkpoints, "_save", stop)
        with pytest.raises(SystemExit):
            run_train(*RUN, f"paths.log_dir={log_dir}", draws=False)
    return only_run(log_dir)


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Path], Path]:
    return lambda run_dir: Path(shutil.copytree(run_dir, tmp_path / "run"))


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Returns warnings and errors so far; there must be no traceback among them."""
    caplog.set_level(logging.WARNING)

    def text() -> str:
        errors = capsys.readouterr().err
        assert len(errors.splitlines()) <= 2
        whole = caplog.text + errors
        assert "Traceback" not in whole
        return whole

    return text


def ended(command: Callable[..., None], *words: str) -> int:
    """Returns the exit code of a command."""
    try:
        command(*words, draws=False)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize(("file", "way"), CASES)
def test_a_run_is_resumed_or_refused(
    file: str,
    way: str,
    interrupted: Path,
    whole: Path,
    copy: Callable[[Path], Path],
    said: Callable[[], str],
) -> None:
    run_dir = copy(interrupted)
    break_file(run_dir / file, way)
    code = ended(run_train, f"resume={run_dir}")
    text = said()
    assert (file in text) == ((file, way) not in NOBODY_MISSES)
    if (file, way) in DONE_WITHOUT:
        assert code == 0
        assert_bit_identical(run_dir, whole)
        return
    assert code == 2
    if file == "metrics.csv":
        assert "rows are lost" in text
        assert ended(run_train, f"resume={run_dir}", "insist=true") == 0
        mine, others = (
            torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
            for folder in (run_dir, whole)
        )
        assert all(torch.equal(mine[name], others[name]) for name in others)
        (lost,) = json.loads((run_dir / ".hydra/made_of.json").read_text())["mixed"]
        assert "rows are lost" in lost


def test_words_that_lack_whole_lines_are_not_this_users(
    interrupted: Path, whole: Path, copy: Callable[[Path], Path], said: Callable[[], str]
) -> None:
    """They are lost with the signature at the end, and a run goes on without them."""
    run_dir = copy(interrupted)
    words = run_dir / ".hydra/overrides.yaml"
    first, *others = words.read_bytes().splitlines(keepends=True)
    assert others
    words.write_bytes(first)
    assert ended(run_train, f"resume={run_dir}") == 0
    assert f"{words}: missing, or not written by you" in said()
    assert_bit_identical(run_dir, whole)


@pytest.mark.parametrize(
    ("file", "way"), [(file, way) for file, way in CASES if file not in NOT_MEASURED_BY]
)
def test_a_run_is_measured_or_refused(
    file: str, way: str, whole: Path, copy: Callable[[Path], Path], said: Callable[[], str]
) -> None:
    run_dir = copy(whole)
    break_file(run_dir / file, way)
    code = ended(run_evaluate, f"run={run_dir}")
    assert file in said()
    assert code == (0 if (file, way) in DONE_WITHOUT else 2)
    if code == 0:
        assert_measured(run_dir, whole)


@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_measured_whatever_its_summary_and_its_metrics_have(
    way: str, whole: Path, copy: Callable[[Path], Path], said: Callable[[], str]
) -> None:
    run_dir = copy(whole)
    for file in NOT_MEASURED_BY:
        break_file(run_dir / file, way)
    assert ended(run_evaluate, f"run={run_dir}") == 0
    assert not any(file in said() for file in NOT_MEASURED_BY)
    assert_measured(run_dir, whole)


def assert_measured(run_dir: Path, whole: Path) -> None:
    expected = json.loads((whole / "summary.json").read_text())["metrics"]
    measured = json.loads((run_dir / "evaluation/test.json").read_text())["metrics"]
    assert measured["test/loss"] == expected["test/loss"]


@pytest.mark.parametrize(
    ("file", "way", "code"),
    [
        (".hydra/lock", "binary", 0),
        (".hydra/lock", "a folder", 2),
        (".hydra/door", "binary", 0),
        (".hydra/trained", "a folder", 0),
        ("train.log", "binary", 0),
        ("train.log", "a folder", 2),
        ("checkpoints/previous.ckpt", "a folder", 1),
    ],
)
def test_any_other_file_of_a_run_is_named_or_written_anew(
    file: str,
    way: str,
    code: int,
    interrupted: Path,
    whole: Path,
    copy: Callable[[Path], Path],
    said: Callable[[], str],
) -> None:
    run_dir = copy(interrupted)
    break_file(run_dir / file, way)
    assert ended(run_train, f"resume={run_dir}") == code
    if code:
        assert f"{run_dir / file}: cannot be written: Is a directory." in said()
    else:
        assert_bit_identical(run_dir, whole)


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_may_not_be_read(
    file: str,
    interrupted: Path,
    copy: Callable[[Path], Path],
    said: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By an error in its place, as whoever runs the tests may be allowed everything."""
    run_dir = copy(interrupted)
    open_file = Path.open

    def refuse(path: Path, *args: Any, **options: Any) -> Any:
        if path == run_dir / file:
            raise PermissionError(13, "Permission denied", str(path))
        return open_file(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    assert ended(run_train, f"resume={run_dir}") == (0 if file == "summary.json" else 2)
    assert f"{run_dir / file}: " in (text := said())
    assert "cannot be read: Permission denied" in text


@pytest.mark.parametrize("way", ["truncated", "removed"])
def test_files_that_break_during_the_run(
    way: str, whole: Path, tmp_path: Path, said: Callable[[], str]
) -> None:
    """The run ends with the same weights, and says which rows are left."""
    breaks = f"_target_: breaking.Breaks, way: {way}, step: 12, file:"
    words = [f"+callbacks.b{n}={{{breaks} {file}}}" for n, file in enumerate(FILES[1:])]
    assert ended(run_train, *RUN, *words, f"paths.log_dir={tmp_path}") == 0
    (summary,) = tmp_path.glob("runs/*/*/summary.json")
    run_dir = summary.parent
    assert json.loads(summary.read_text())["status"] == "finished"
    mine, others = (
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for folder in (run_dir, whole)
    )
    assert all(torch.equal(mine[name], others[name]) for name in others)
    table = run_dir / "metrics.csv"
    assert f"{table}: somebody else has changed it" in said()
    steps = [line.split(",")[1] for line in table.read_text().splitlines()[1:]]
    assert steps[-1] == "20"  # the test's row
    assert len(steps) < len((whole / "metrics.csv").read_text().splitlines()) - 1
    assert ended(run_train, f"resume={run_dir}") == 2  # the next command says so
    assert ".hydra/config.yaml" in said()


@pytest.mark.parametrize("way", ["truncated", "removed"])
def test_the_events_of_tensorboard_are_changed_during_the_run(
    way: str, tmp_path: Path, said: Callable[[], str]
) -> None:
    """What comes later can be read."""
    words = [word for word in RUN if word != "logger=csv"]
    breaks = ["_target_=breaking.Breaks", "file=events*", f"way={way}", "step=12"]
    words += [*(f"+callbacks.breaks.{word}" for word in breaks), f"paths.log_dir={tmp_path}"]
    assert ended(run_train, *words) == 0
    run_dir = only_run(tmp_path)
    (changed,) = re.findall(r"(\S*/events\S+): somebody else has changed it", said())
    assert (way == "truncated") == Path(changed).exists()
    shown = EventAccumulator(str(run_dir)).Reload()
    later = [event.step for event in shown.Scalars("loss/train") if event.step >= 12]
    assert later == [13, 15, 17, 19]


@pytest.mark.slow
def test_a_sweep_and_a_report_name_each_broken_job_and_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sweep, with a job for each way in which each file breaks."""
    caplog.set_level(logging.INFO)
    words = ["-m", "experiment=linear", "accelerator=cpu", "logger=csv", "trainer.max_steps=3"]
    words += [f"seed=range({len(CASES) + 3})", "hydra/launcher=vectorized"]
    words += [f"paths.log_dir={tmp_path}"]
    assert ended(run_train, *words) == 0
    jobs = {}
    for seed, case in enumerate([None, None, None, *CASES]):
        (jobs[seed, case],) = tmp_path.glob(f"sweeps/linear/seed={seed}-????????")
    for (_, case), folder in jobs.items():
        if case:
            break_file(folder / case[0], case[1])

    run_report(f"{tmp_path}/sweeps/linear")
    printed = (tmp_path / "sweeps/linear/report.md").read_text().replace("\\", "")
    unnamed = [
        case
        for (_, case), folder in jobs.items()
        if case and f"{folder.name}/{case[0]}" not in printed
    ]
    assert unnamed == [("summary.json", "removed")]  # it counts as interrupted
    assert "Traceback" not in capsys.readouterr().err

    caplog.clear()
    assert ended(run_train, *words) == 1
    table = caplog.records[-2].getMessage()
    broken = {
        case
        for (_, case), folder in jobs.items()
        if re.search(rf"broken +{re.escape(folder.name)}", table)
    }
    assert broken == {
        ("summary.json", "a folder"),
        *((file, way) for file, way in CASES if file.endswith("made_of.json") and way != "removed"),
    }
    for (_, case), folder in jobs.items():
        if case == (".hydra/made_of.json", "removed"):
            assert f"finished (no made_of.json)  {folder.name}" in table
        if case in broken:
            assert f"{folder / case[0]}:" in table
        elif case and case[0] == "summary.json":  # what it had is made anew
            assert json.loads((folder / case[0]).read_text())["status"] == "finished"
            assert case[1] == "removed" or f"{folder / case[0]}: left out" in caplog.text
    assert "Traceback" not in caplog.text

    # With what is left of them put aside, the broken ones are done again.
    assert ended(run_train, *words, "sweep.retry=failed") == 0
