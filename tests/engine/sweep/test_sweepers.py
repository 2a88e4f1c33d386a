"""What a sweep whose jobs were all refused leaves behind: nothing, or what is another process's."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from engine import locks
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
