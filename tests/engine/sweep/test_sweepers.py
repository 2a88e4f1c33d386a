"""What a sweep whose jobs were all refused leaves behind: nothing, or what is another process's."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from commands import run_train
from engine import locks
from engine.run import folders
from engine.sweep.sweepers import GridSweeper


def nobody(sweep_dir: Path) -> None:
    pass


def makes_a_job(sweep_dir: Path) -> None:
    (sweep_dir / "seed=1-01234567").mkdir()


def makes_a_lock(sweep_dir: Path) -> ExitStack:
    (stack := ExitStack()).enter_context(FileLock(locks.of_job(sweep_dir, "76543210")).acquire())
    return stack


@pytest.mark.parametrize(
    ("another", "left"),
    [
        (nobody, []),
        (makes_a_job, ["multirun.yaml", "seed=1-01234567", ".locks/01234567.lock"]),
        (makes_a_lock, ["multirun.yaml", ".locks/76543210.lock"]),
    ],
)
def test_what_another_process_has_made_stays(
    another: Callable[[Path], object], left: list[str], tmp_path: Path
) -> None:
    sweeper = GridSweeper()
    sweeper.config = OmegaConf.create({})
    sweep_dir = tmp_path / "sweeps" / "x"
    with sweeper.begun([sweep_dir]):
        (sweep_dir / locks.LOCKS).mkdir()
        locks.of_job(sweep_dir, "01234567").touch()
        held = another(sweep_dir)
    for name in left:
        assert (sweep_dir / name).exists()
    assert sweep_dir.exists() == bool(left)
    assert (tmp_path / "sweeps").exists() == bool(left)
    assert isinstance(held, ExitStack | None)
    if held:
        held.close()


@pytest.mark.parametrize("name", ["logs", "o'clock, x=1"])
def test_a_sweep_makes_no_folder_beside_its_own(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: `~` was the home for jobs, and a folder's name for Hydra."""
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    written = "~/" + name.replace("'", "\\'")
    words = ["experiment=linear", "accelerator=cpu", "callbacks=default", "logger=csv", "seed=0,1"]
    run_train("-m", *words, f"paths.log_dir='{written}'", draws=False)
    assert [*here.iterdir()] == []
    (made,) = (home / name / "sweeps").iterdir()
    assert len([*made.glob("seed=?-*/summary.json")]) == 2
    assert OmegaConf.load(made / folders.SWEEP).hydra.sweep.dir == f"~/{name}/sweeps/linear"
