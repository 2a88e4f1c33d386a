"""The options of a search, and where its study lies."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner
from sqlalchemy.pool import NullPool

from engine.errors import UserError
from engine.search import study
from searching import options

REFUSED = {
    "sampler=tpr": "must be one of: tpe, random, grid. Did you mean tpe?",
    "pruner=medien": "must be one of: none, median, halving. Did you mean median?",
    "direction=maximise": "must be one of: null, minimize, maximize. Did you mean maximize?",
    "n_trials=0": "must be a whole number from 1.",
    "n_jobs=1.5": "must be a whole number from 1.",
    "pruner_keeps=1": "must be a whole number from 2.",
    "storage=": "must be a path, such as ./2026 or null.",
    "study_name=": "must be a name or null.",
}


@pytest.mark.parametrize(("word", "says"), REFUSED.items(), ids=list(REFUSED))
def test_refused(word: str, says: str) -> None:
    key, _, text = word.partition("=")
    value: Any = text if text.isalpha() or not text else float(text) if "." in text else int(text)
    with pytest.raises(UserError) as error:
        options(**{key: value})
    assert str(error.value) == f"hydra.sweeper.{word}: {says}"


def test_pruners_get_their_numbers() -> None:
    median, halving = study.pruner("median", 3, 20, 2), study.pruner("halving", 3, 20, 2)
    assert isinstance(median, MedianPruner)
    assert (median._n_startup_trials, median._n_warmup_steps) == (3, 20)
    assert isinstance(halving, SuccessiveHalvingPruner)
    assert (halving._min_resource, halving._reduction_factor) == (20, 2)
    assert isinstance(study.pruner("none", 3, 20, 2), NopPruner)
    assert (
        options(pruner="median", pruner_steps=7).pruner_word
        == "{kind:median,trials:5,steps:7,keeps:4}"
    )
    assert options().pruner_word == "null"


@pytest.mark.parametrize("name", ["x.log", "sqlite.log", "sqlite:///x.db"])
def test_a_storage_is_opened_and_read_by_optuna_itself(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    absolute = study.absolute(name)
    assert not study.exists(absolute)
    optuna.create_study(study_name="s", storage=study.opened(absolute)).enqueue_trial({"lr": 0.5})
    assert study.exists(absolute)
    monkeypatch.chdir("/")
    if name.endswith(".log"):
        assert absolute == str(tmp_path / name)
        backend = optuna.storages.journal.JournalFileBackend(absolute)
        storage: Any = optuna.storages.JournalStorage(backend)
    else:
        assert absolute == f"sqlite:///{tmp_path / 'x.db'}"
        storage = optuna.storages.RDBStorage(absolute, engine_kwargs={"poolclass": NullPool})
    (trial,) = optuna.load_study(study_name="s", storage=storage).trials
    assert trial.system_attrs["fixed_params"] == {"lr": 0.5}


@pytest.mark.parametrize("name", ["study.db", "sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_storage_that_is_no_file_is_refused(name: str) -> None:
    with pytest.raises(UserError) as error:
        study.absolute(name)
    says = f"hydra.sweeper.storage={name}: must be a path that ends in .log, or sqlite:///PATH."
    assert str(error.value) == says


def test_a_wrong_storage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^hydra.sweeper.storage=nosuch://x: [^\n]+$"):
        study.opened("nosuch://x")
    with pytest.raises(UserError, match=r"unable to open database file"):
        study.opened(f"sqlite:///{tmp_path}/none/x.db")


HOLDER = """
import sys, time
from engine.search import study
study.opened(sys.argv[1])._backend._lock.acquire()
print(1, flush=True)
time.sleep(60)
"""


def test_a_killed_writer_holds_nobody_up(tmp_path: Path) -> None:
    path = str(tmp_path / "study.log")
    made = optuna.create_study(study_name="s", storage=study.opened(path))
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"1\n"
        holder.kill()
    began = time.monotonic()
    made.ask()
    assert time.monotonic() - began < 10  # with Optuna's own lock, 30 s


@pytest.mark.parametrize("part", ["", '{"op_code":', "\xff"])
def test_a_line_that_was_cut_is_left_out(part: str, tmp_path: Path) -> None:
    path = tmp_path / "study.log"
    optuna.create_study(study_name="s", storage=study.opened(str(path)))
    before = path.read_bytes()
    path.write_bytes(before + part.encode("latin-1"))
    study.load(str(path), "s").enqueue_trial({"lr": 0.5})
    assert path.read_bytes().startswith(before + b"{")
    (trial,) = study.load(str(path), "s").trials
    assert trial.system_attrs["fixed_params"] == {"lr": 0.5}


@pytest.mark.parametrize("content", [b"\xff\xfe\n\n", b"[1]\n", b"{}\n", b'{"op_code": "o"}\n'])
def test_a_broken_storage_is_refused(content: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "study.log").write_bytes(content)
    with pytest.raises(UserError, match=r"^hydra.sweeper.storage=.*study.log: [^\n]+$"):
        study.opened(str(path))


def test_samplers_are_what_they_are_called() -> None:
    kinds = {
        name: type(study.sampler(options(sampler=name), {}, 0)).__name__
        for name in ("tpe", "random", "grid")
    }
    assert kinds == {"tpe": "TPESampler", "random": "RandomSampler", "grid": "GridSampler"}
