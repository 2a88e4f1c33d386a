"""Commands that are killed at file events, or get a signal, end as if nothing had happened."""

import builtins
import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

import kill_storm
import made
import signal_storm
import storm
from engine.fence.tensorboard import hparams_events
from engine.files import OwnFile
from engine.run.loggers.events import content_of
from file_events import FileEvents, numbered
from stages import STAGES, VALIDATION

KILLS = 8  # of each case: 40 in all; benchmarks/kill_storm.py kills more


@pytest.mark.slow
@pytest.mark.parametrize("name", storm.CASES)
def test_killed_at_file_events_a_command_goes_on_and_ends_as_undisturbed(
    name: str, tmp_path: Path
) -> None:
    outcomes = kill_storm.storm(tmp_path, [name], KILLS)
    result = kill_storm.report(outcomes)[name]
    assert result["violations"] == []
    assert result["kills"] == result["as undisturbed"] == KILLS
    # What was done is not done again.
    assert kill_storm.storm(tmp_path, [name], KILLS) == outcomes


@pytest.mark.slow
def test_signals_in_all_stages_but_validation(tmp_path: Path) -> None:
    """benchmarks/signal_storm.py sends each case some in each of its stages."""
    outcomes = signal_storm.storm(tmp_path, len(STAGES))
    assert [one for one in outcomes if one["violation"]] == []
    assert {one["case"] for one in outcomes} == set(storm.CASES)
    assert {one["aimed at"] for one in outcomes} == set(STAGES) - {VALIDATION}
    assert signal_storm.report(outcomes)["digits"]["signals"] == 1


BROKEN = "Traceback (most recent call last):\nKeyboardInterrupt"
SAYS = "interrupted at step 3; go on with:\n  python -m project.train resume=there"
WITHOUT_WORDS = ["does not say how to go on"]


@pytest.mark.parametrize(
    ("stage", "code", "is_over", "printed", "has_begun", "is_whole", "wrong"),
    [
        ("training", 130, False, SAYS, True, False, []),
        ("composing", 130, False, "", False, False, []),
        ("training", 130, False, "", True, False, WITHOUT_WORDS),
        ("training", 130, False, SAYS + BROKEN, True, False, ["a traceback"]),
        ("training", 1, False, SAYS, True, False, ["exit code 1"]),
        # A signal is never lost: the run goes on to its end.
        ("training", 0, True, "", True, True, ["exit code 0"]),
        ("the end", 0, False, "", True, True, ["exit code 0"]),
        ("before", 0, True, "", True, True, ["exit code 0"]),
        # Python's own end, before the command begins and after it.
        ("before", -2, False, BROKEN, False, False, []),
        ("composing", -2, False, BROKEN, False, False, ["a traceback", "exit code -2"]),
        ("training", -2, False, BROKEN, True, True, ["a traceback", "exit code -2"]),
        ("the end", 0, True, "", True, True, []),
        ("over", -2, True, BROKEN, True, True, []),
        ("the end", -2, False, "", True, True, ["exit code -2"]),
    ],
)
def test_what_a_storm_calls_a_wrong_end(
    stage: str,
    code: int,
    is_over: bool,
    printed: str,
    has_begun: bool,
    is_whole: bool,
    wrong: list[str],
) -> None:
    end = signal_storm.End(stage, code, is_over, printed, has_begun, is_whole)
    assert end.wrong(signal.SIGINT, is_sweep=False) == wrong


def test_how_a_command_has_ended_is_found_in_its_files(tmp_path: Path) -> None:
    """A lost signal, and a run that says that it is running; one that dies at once has no stage."""
    case = signal_storm.Signals("curve_fit", storm.CASES["curve_fit"], tmp_path)
    case.__dict__["right"] = {"run/summary.json: status": "finished"}
    case.begin_anew()
    case.output.write_text("words")
    ended = SimpleNamespace(send_signal=lambda number: None, wait=lambda seconds: 0)
    assert case.answered(ended, 2) == ("before", 0, False, "words", False, False)
    run = case.log_dir / "runs" / "a" / "b"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "config.yaml").touch()
    (run / "summary.json").write_text('{"status": "running"}')
    begun = time.monotonic()
    case.notes.write_text(f"{begun} training\n")
    lost = SimpleNamespace(
        send_signal=lambda number: case.notes.write_text(f"{begun} training\n{begun + 100} over\n"),
        wait=lambda seconds: 0,
    )
    assert case.answered(lost, 2) == ("training", 0, False, "words", True, False)


def test_every_change_of_a_file_is_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for what audit hooks see: those stay to the end of a process."""
    folder, notes = tmp_path / "folder", tmp_path / "notes"
    folder.mkdir()
    events = FileEvents(folder, "", notes)
    for name in (folder / "a", os.fsencode(folder / "events.out.tfevents.1.host.2")):
        with events.opened(name, "w") as file:
            file.write("words")
            file.flush()
    with events.opened(folder / "a"), events.opened(tmp_path / "elsewhere", "w") as other:
        other.write("no event")
    with monkeypatch.context() as patched:
        patched.setattr(builtins, "open", events.opened)
        own = OwnFile(folder / "table")
        own.append(b"words")
        own.append(b"words")
        own.close()
    events.audit("open", (str(folder / "b"), "w", os.O_WRONLY | os.O_CREAT))
    events.audit("open", (bytes(folder / "b"), "w", os.O_WRONLY | os.O_CREAT))
    events.audit("open", (str(folder / "a"), "w", os.O_WRONLY | os.O_TRUNC))
    events.audit("os.mkdir", (f"{folder / 'new'}/", 0o777, -1))
    events.audit("os.rename", (folder / "a", folder / ".b.123", -1, -1))
    events.audit("os.link", (folder / "a", folder / ".b.123", -1, -1))
    seen = notes.read_text().splitlines()
    assert numbered(seen) == [
        *["write a 1", "half a 1", "write events.out.tfevents 1", "half events.out.tfevents 1"],
        *["write table 1", "half table 1", "write table 2", "half table 2"],
        *["open b 1", "open b 2", "open a 1", "mkdir new 1", "rename a 1", "link .b.PID 1"],
    ]
    # Nothing changes: the file is there, it is read or written on; the folder is there.
    events.audit("open", (str(folder / "a"), "a", os.O_WRONLY | os.O_CREAT))
    events.audit("open", (str(folder / "a"), "r", os.O_RDONLY))
    events.audit("os.mkdir", (str(folder), 0o777, -1))
    events.audit("os.remove", (str(folder / "c"), -1))
    events.audit("os.rename", (tmp_path / "notes", folder / "b", -1, -1))
    assert notes.read_text().splitlines() == seen


def test_kinds_of_events_are_those_of_any_job() -> None:
    assert kill_storm.kinds(
        [
            "write sweeps/lenet/lr=0.01-seed=1-0123abcd/train.log 1",
            "write sweeps/linear/seed=2-4567abcd/train.log 12",
            "mkdir sweeps/linear 1",
            "open sweeps/linear/.locks/linear-3b91a144-0.lock 1",
            "open sweeps/lenet/.locks/3b91a144.lock 1",
            "open runs/lenet/TIME/figures/test_confusion_matrix.png 1",
        ]
    ) == {
        "write sweeps/NAME/JOB/train.log",
        "mkdir sweeps/NAME",
        "open sweeps/NAME/.locks/JOB.lock",
        "open runs/NAME/TIME/figures/FIGURE",
    }


def test_a_file_that_came_without_an_event_is_found(tmp_path: Path) -> None:
    for name in ("previous.ckpt", "config.yaml", "trained", "events.out.tfevents.1.host.2"):
        (tmp_path / name).touch()
    lines = ["open .last.ckpt", "open .config.yaml.PID", "open trained.new", "write config.yaml"]
    assert kill_storm.unseen(lines, tmp_path) == ["events.out.tfevents"]
    (tmp_path / "trained").write_text("words")
    assert kill_storm.unseen(lines, tmp_path) == ["events.out.tfevents", "trained"]
    assert kill_storm.unseen([*lines, "write trained.new"], tmp_path) == ["events.out.tfevents"]


def leave(folder: Path, changed: str) -> None:
    """Writes what a job of a sweep may leave, with another content of one of the parts."""

    def number(part: str) -> int:
        return 2 if part == changed else 1

    job = folder / "sweeps" / "a" / "seed=1-0123abcd"
    (job / ".hydra").mkdir(parents=True)
    (job / ".hydra" / "config.yaml").write_text(f"seed: {number('config')}")
    (job / "figure.png").write_bytes(bytes([number("figure")]))
    (job / "train.log").write_text(f"begun {number('log')} times")
    (job / f".part.{number('process')}").touch()
    (job / "metrics.csv").write_text(f"step,loss\n1,{number('row')}.5\n")
    summary = {"status": number("status"), "seconds": number("seconds")}
    (job / "summary.json").write_text(json.dumps(summary))
    saved = {"epoch": torch.tensor(number("checkpoint")), "loops": number("loops")}
    torch.save(saved, job / "last.ckpt")
    writer = SummaryWriter(job)
    writer.add_scalar("scalar", number("scalar"), 3)
    writer.add_text("text", f"loss {number('text')}.5", 3)
    writer.add_image("image", torch.full((1, 2, 2), number("image") / 2), 3)
    writer.add_histogram("histogram", torch.arange(4.0) * number("histogram"), number("step"))
    writer.close()
    row = hparams_events("a", {"seed": number("hparam")}, {"loss": number("metric")}, 1)
    (job / "hparams").mkdir()
    (job / "hparams" / "events.out.tfevents.0").write_bytes(content_of(row))


PARTS = {
    "config": "/.hydra/config.yaml: bytes",
    "figure": "/figure.png: bytes",
    "row": "/metrics.csv: rows",
    "status": "/summary.json: status",
    "checkpoint": "/last.ckpt: epoch",
    "scalar": ": scalars scalar",
    "text": ": text text/text_summary",
    "image": ": images image",
    "histogram": ": histograms histogram",
    "step": ": histograms histogram",
    "hparam": "/hparams: hparams _hparams_/session_start_info",
    "metric": "/hparams: scalars loss",
}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("left")
    for part in ("nothing", *PARTS, "log", "process", "seconds", "loops"):
        leave(folder / part, part)
    return folder


@pytest.mark.parametrize("part", PARTS)
def test_whatever_is_other_in_a_folder_is_found(part: str, left: Path) -> None:
    found = made.different(made.made(left / part), made.made(left / "nothing"), 0.0)
    assert found == [f"sweeps/a/seed=1-0123abcd{PARTS[part]}"]


@pytest.mark.parametrize("part", ["log", "process", "seconds", "loops"])
def test_what_may_be_other_in_a_folder(part: str, left: Path) -> None:
    assert made.different(made.made(left / part), made.made(left / "nothing"), 0.0) == []


def test_a_comparison_finds_what_differs() -> None:
    ours = {"a": [1.0, float("nan")], "b": {"c": "word"}, "only ours": 1}
    theirs = {"a": [1.0 + 1e-6, float("nan")], "b": {"c": "word"}, "only theirs": 1}
    assert made.different(ours, theirs, 0.0) == ["a", "only ours", "only theirs"]
    assert made.different(ours, theirs, 1e-4) == ["only ours", "only theirs"]
    assert made.different({"b": {"c": "word"}}, {"b": {"c": "other"}}, 1e-4) == ["b"]
