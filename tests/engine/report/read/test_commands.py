"""The commands that a report tells, of runs and sweeps whose files may be broken."""

from pathlib import Path

import pytest

from engine.report.page import trained
from engine.report.read.collect import collect
from synthetic_runs import write_run


def test_a_command_of_one_sweep_stands_not_for_others_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "multirun.yaml").write_text("hydra: {overrides: {task: ['seed=0,1'], hydra: []}}")
    write_run(tmp_path / "a", words=["seed=0"])
    write_run(tmp_path / "b", words=["seed=1", "sweep.retry=stale"])
    runs, _ = collect(tmp_path)
    command = "python -m mine.train -m seed=0,1"
    assert trained.of_sweeps(runs, "mine.train") == [("The sweep", command)]
    for name, study in (("c", {}), ("d", {"sweep.trial.study": "x"})):
        write_run(tmp_path / name, words=["seed=0", "init.gain=2"], changes=study)
        last = collect(tmp_path)[0][-1:]
        told = trained.of_sweeps([*runs, *last], "mine.train")
        assert told == [("The last of several sweeps", command)]


def test_a_broken_file_is_named_and_its_command_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_run(tmp_path / "a", words=["seed=1"])
    (tmp_path / "multirun.yaml").write_text("hydra: [")
    (door := tmp_path / "a/.hydra/door").write_bytes(b"\xff")
    runs, _ = collect(tmp_path)
    assert trained.of_sweeps(runs, "mine.train") == []
    assert trained.of_run(runs[0], "mine.train") == "python -m mine.train seed=1"
    said = caplog.messages
    assert f"{door}: is no text" in said
    assert any(text.startswith(f"{tmp_path / 'multirun.yaml'}: is no YAML: ") for text in said)
