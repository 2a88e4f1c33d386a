"""Commands that are killed at file events, or get a signal, end as if nothing had happened."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import kill_storm
import signal_storm
import storm
from file_events import FileEvents
from stages import STAGES, VALIDATION

KILLS = 8  # of each case: 40 in all; benchmarks/kill_storm.py kills more


@pytest.mark.slow
@pytest.mark.parametrize("name", storm.CASES)
def test_killed_at_file_events_a_command_goes_on_and_ends_as_undisturbed(
    name: str, tmp_path: Path
) -> None:
    outcomes = kill_storm.storm(tmp_path, [name], KILLS)
    assert [one for one in outcomes if one["violation"]] == []
    result = kill_storm.report(outcomes)[name]
    # Threads may change the number of events by a few.
    assert KILLS - 1 <= result["kills"] == result["as undisturbed"] <= KILLS
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
    case.__dict__["right"] = {"run: summary.json": {}}
    log_dir, notes = tmp_path / "0", tmp_path / "0.stages"
    storm.output(log_dir).write_text("words")
    ended = SimpleNamespace(send_signal=lambda number: None, wait=lambda seconds: 0)
    assert case.answered(ended, 2, notes, log_dir) == ("before", 0, False, "words", False, False)
    run = log_dir / "runs" / "a" / "b"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "config.yaml").touch()
    (run / "summary.json").write_text('{"status": "running"}')
    begun = time.monotonic()
    notes.write_text(f"{begun} training\n")
    lost = SimpleNamespace(
        send_signal=lambda number: notes.write_text(f"{begun} training\n{begun + 100} over\n"),
        wait=lambda seconds: 0,
    )
    assert case.answered(lost, 2, notes, log_dir) == ("training", 0, False, "words", True, False)


def test_every_change_of_a_file_is_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for what audit hooks see: those stay to the end of a process."""
    folder, notes = tmp_path / "folder", tmp_path / "notes"
    folder.mkdir()
    events = FileEvents(folder, 0, notes)
    file = events.opened(folder / "a", "w")
    with file:
        file.write("words")
        file.flush()
        monkeypatch.setattr(events, "fsync", lambda descriptor: None)
        events.synced(file.fileno())
    with events.opened(folder / "a"), events.opened(tmp_path / "elsewhere", "w") as other:
        other.write("no event")
    events.audit("open", (str(folder / "b"), "w", os.O_WRONLY))
    events.audit("open", (str(folder / "b"), "r", os.O_RDONLY))
    events.audit("os.rename", (folder / "a", folder / "b", -1, -1))
    events.audit("os.rename", (tmp_path / "notes", folder / "b", -1, -1))
    kinds = ["write a", "half a", "sync a", "open b", "rename a"]
    assert notes.read_text() == "".join(f"{n} {kind}\n" for n, kind in enumerate(kinds, 1))
    assert (folder / "a").read_text() == "words"


def test_a_comparison_finds_what_differs() -> None:
    ours = {"a": [1.0, float("nan")], "b": {"c": "word"}, "only ours": 1}
    theirs = {"a": [1.0 + 1e-6, float("nan")], "b": {"c": "word"}, "only theirs": 1}
    assert storm.different(ours, theirs, 0.0) == ["a", "only ours", "only theirs"]
    assert storm.different(ours, theirs, 1e-4) == ["only ours", "only theirs"]
    assert storm.different({"b": {"c": "word"}}, {"b": {"c": "other"}}, 1e-4) == ["b"]
