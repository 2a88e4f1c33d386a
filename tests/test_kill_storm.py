"""Commands that are killed at file events, or get a signal, end as if nothing had happened."""

import os
from pathlib import Path

import pytest

import kill_storm
import signal_storm
import storm
from file_events import FileEvents

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
def test_signals_in_each_stage(tmp_path: Path) -> None:
    outcomes = signal_storm.storm(tmp_path, 5)
    assert [one for one in outcomes if one["violation"]] == []
    assert [one["case"] for one in outcomes] == list(storm.CASES)
    assert signal_storm.report(outcomes)["digits"]["signals"] == 1


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
