"""The files of a run, read and checked."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from engine.config import plain_yaml
from engine.config.nested import dotted
from engine.run.records import read
from engine.run.records.read import BrokenFile


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "its first line has no column step"),
        ("epoch,loss\n0,1\n", "its first line has no column step"),
        ("epoch,step,loss\n0,1\n", "line 2: 2 cells, not 3"),
        ("step,loss\n0,1\n1.5,2\n", "line 3: invalid literal for int() with base 10: '1.5'"),
        ("step,loss\n0,\n1,a\n", "line 3: could not convert string to float: 'a'"),
    ],
)
def test_a_broken_table_names_its_line(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    with pytest.raises(BrokenFile) as broken:
        read.rows(path)
    assert (broken.value.path, broken.value.reason) == (path, reason)
    assert str(broken.value) == (
        f"{path}: {reason}.\nPut it back, or remove it and go on without its rows: add insist=true"
    )


def test_rows_have_the_cells_that_are_not_empty_but_for_a_line_that_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert read.rows(path) == ([], [])
    path.write_text("epoch,step,a,b\n,0,1,\n0,1,,-inf\n0,2,0.1")
    assert read.rows(path) == (
        ["epoch", "step", "a", "b"],
        [{"step": "0", "a": "1"}, {"epoch": "0", "step": "1", "b": "-inf"}],
    )


@pytest.mark.parametrize("workers", ["two", [2], 1.5])
def test_a_number_of_workers_that_is_none_is_named(workers: object, tmp_path: Path) -> None:
    data = {"classes": [], "samples": {}, "digest": None, "files": None}
    made = {"data": data, "code": {}, "versions": {}}
    path = tmp_path / "made_of.json"
    path.write_text(json.dumps(made))
    assert read.made_of(path) == made
    path.write_text(json.dumps({**made, "data": {**data, "workers": workers}}))
    with pytest.raises(BrokenFile, match="workers: should be"):
        read.made_of(path)


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path / "missing/missing"):
        assert read.summary(path) is read.made_of(path) is read.overrides(path) is None
    (tmp_path / "file").touch()
    assert read.summary(tmp_path / "file/summary.json") is None


@pytest.mark.parametrize("reader", [read.summary, read.config, read.overrides, read.rows])
def test_a_device_is_not_read(reader: Callable[[Path], object], tmp_path: Path) -> None:
    """It may have no end, as a pipe that nobody writes to."""
    (tmp_path / "file").symlink_to("/dev/null")
    with pytest.raises(BrokenFile, match="not a file"):
        reader(tmp_path / "file")


def test_a_config_and_its_words_are_those_of_the_whole_file(tmp_path: Path) -> None:
    """They are read part by part; PyYAML reads them at once."""
    words = ["-a", "- b", "#c", "x\n- y", "", "'", "a: b", "[1, 2]", "1", "word " * 40, "ä"]
    path = tmp_path / "overrides.yaml"
    for some in (words, words[::-1], words[:1]):
        path.write_text(plain_yaml.dump(some) + "# signed\n")
        assert read.overrides(path) == yaml.safe_load(path.read_text()) == some
    path.write_text("[]\n")
    assert read.overrides(path) == []
    values = {"b": {"c": [1, {"d": 2}], "e": {}}, "names": words, "seed": 1}
    path.write_text(plain_yaml.dump({**values, "paths": {"log_dir": "/logs"}}))
    assert read.config(path) == dotted(yaml.safe_load(path.read_text()))
    with path.open("a") as file:
        file.write("b: {c: 1}\n")
    with pytest.raises(BrokenFile, match="duplicate key b"):
        read.config(path)


def test_a_config_has_the_same_values_for_a_run_and_for_a_report(tmp_path: Path) -> None:
    """PyYAML by itself reads 1e-3 as a word, and 2026-01-01 as a date; OmegaConf does not."""
    path = tmp_path / "config.yaml"
    path.write_text("lr: 1e-3\nday: 2026-01-01\nseed: 0\npaths: {log_dir: /logs}\n")
    values = {"lr": 0.001, "day": "2026-01-01", "seed": 0, "paths": {"log_dir": "/logs"}}
    assert read.written(path) == (values, path.read_text())
    assert read.config(path) == dotted(values)


SWEEP = "hydra:\n  overrides:\n    hydra: []\n    task:\n    - seed=1,2\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a mapping"),
        ("hydra: 1\n", "not a mapping"),
        (SWEEP.replace("[]", "{}"), "hydra: should be a list"),
        (SWEEP.replace("seed=1,2", "1"), "task: should be a valid string"),
        ("hydra:\n  overrides:\n    hydra: []\n", "has no task"),
    ],
)
def test_the_words_of_a_sweep(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "multirun.yaml"
    path.write_text(SWEEP)
    assert read.sweep(path) == {"task": ["seed=1,2"], "hydra": []}
    path.write_text(text)
    with pytest.raises(BrokenFile) as broken:
        read.sweep(path)
    assert broken.value.reason.startswith(reason)


def test_the_command_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "door"
    assert read.door(path) is None
    path.write_text("mine.train\n")
    assert read.door(path) == "mine.train"
    for text in ("", "mine.train", "mine train\n", "a.b\nc.d\n", "; rm x\n"):
        path.write_text(text)
        with pytest.raises(BrokenFile, match="not the import path of a command"):
            read.door(path)


def test_a_broken_file_can_be_told_of_by_another_process() -> None:
    again = pickle.loads(pickle.dumps(BrokenFile(Path("/run/summary.json"), "is no text")))
    assert str(again).startswith("/run/summary.json: is no text.\nPut it back, or remove it: ")
