"""The commands that a report tells, of runs and sweeps whose files may be broken."""

from pathlib import Path

import pytest

from engine.report.page import trained
from engine.report.read.collect import collect
from synthetic_runs import write_run


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
