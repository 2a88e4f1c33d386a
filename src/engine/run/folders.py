"""The folder of a run: where it lies, and its config there."""

import contextlib
import functools
import itertools
import logging
import os
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from engine import files
from engine.config.resolved import Config
from engine.errors import UserError
from engine.fence.omegaconf import represent_word
from engine.run.folder_names import job_name
from engine.run.records import read

log = logging.getLogger(__name__)

CONFIG = Path(".hydra/config.yaml")
OVERRIDES = Path(".hydra/overrides.yaml")
DOOR = Path(".hydra/door")  # the import path of the command, for the processes that join the run
LAST = Path("checkpoints/last.ckpt")
BEST = Path("checkpoints/best.ckpt")


def new_run_dir(config: Config) -> Path:
    """Makes `logs/runs/<name>/<timestamp>`, a folder that no other run has."""
    parent = Path(config["paths.log_dir"]).absolute() / "runs" / str(config["name"])
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    run_dir = parent / stamp
    number = 1
    with files.writing(parent):
        while True:
            try:
                run_dir.mkdir(parents=True)
                return run_dir
            except FileExistsError:
                number += 1
                run_dir = parent / f"{stamp}_{number}"


def go_on_from(parent: Path, run_dir: Path) -> None:
    """Copies what another run has so far, but for what says what and how that run was."""
    own = shutil.ignore_patterns(".hydra", "summary.json", "train.log", "evaluation", "figures")
    shutil.copytree(parent, run_dir, ignore=own, dirs_exist_ok=True)


def job_dir(config: Config, folder: Path, words: Sequence[str]) -> Path:
    """Returns `<folder>/<slug>-<hash>`, where a job of a sweep is to lie.

    The slug has the overrides by which the job differs: those that are not the sweep's own.
    """
    sweep = folder / "multirun.yaml"  # a sweep over experiments has none
    own = _overrides_of_sweep(sweep, sweep.stat().st_mtime_ns) if sweep.exists() else []
    return folder / job_name([word for word in words if word not in own], config.hash)


@functools.lru_cache(maxsize=8)
def _overrides_of_sweep(path: Path, written: int) -> list[str]:
    return _as_typed(OmegaConf.select(OmegaConf.load(path), "hydra.overrides.task"))


def _as_typed(words: Any) -> list[str]:
    """Returns overrides with `${…}` as the user typed it."""
    plain: Any = OmegaConf.to_container(words, resolve=False)
    return [str(word) for word in plain]


def set_aside(run_dir: Path) -> None:
    """Renames a run's folder to the first free `<folder>.1`, `<folder>.2`, …"""
    names = (f"{run_dir.name}.{number}" for number in itertools.count(1))
    run_dir.rename(next(path for path in map(run_dir.with_name, names) if not path.exists()))


def save_config(run_dir: Path, config: Config, door: str) -> None:
    """Writes the config, the overrides that made it and the door to `.hydra/`, if they are missing.

    The config of another trial, or of none, is written again: child processes read it there.

    Args:
        run_dir: the run's folder.
        config: the run's.
        door: the import path of the command.
    """
    files.make_folder((run_dir / CONFIG).parent)
    if not (run_dir / CONFIG).exists():
        files.write_whole(run_dir / OVERRIDES, as_yaml(config.overrides))
        files.write_whole(run_dir / DOOR, f"{door}\n")
    elif Config(read.config(run_dir / CONFIG)).get("sweep.trial") == config.get("sweep.trial"):
        return
    files.write_whole(run_dir / CONFIG, as_yaml(config.values_by_node))


class _Dumper(yaml.CSafeDumper):  # type: ignore[misc]
    """Writes YAML with libyaml: ten times as fast as OmegaConf, with the quotes of OmegaConf."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(str, represent_word)


def as_yaml(plain: Any) -> str:
    """Returns dicts, lists, numbers and words as `OmegaConf.to_yaml` writes them."""
    options = {"default_flow_style": False, "allow_unicode": True, "sort_keys": False}
    return str(yaml.dump(plain, Dumper=_Dumper, **options))


def load_config(run_dir: Path) -> Config:
    """Loads the config of an earlier run, with its overrides.

    Raises:
        UserError: if there is no run in that folder, or one of the two files is broken.
    """
    if not os.path.lexists(run_dir / CONFIG):
        raise UserError(f"{run_dir}: not a run's folder (it has no {CONFIG}).")
    read.config(run_dir / CONFIG)
    values: Any = OmegaConf.to_container(OmegaConf.load(run_dir / CONFIG), resolve=True)
    words = read.overrides(run_dir / OVERRIDES)
    if words is None:
        log.warning("%s: missing; the run goes on without it", run_dir / OVERRIDES)
    return Config(values, overrides=words or [])


def weights_file(source: Path) -> Path:
    """Returns the checkpoint that `init_from` names: a file, or the best or last of a run.

    Raises:
        UserError: if there is none.
    """
    files = [source, source / BEST, source / LAST]
    if found := [path for path in files if path.is_file()]:
        return found[0]
    raise UserError(f"init_from={source}: must be a checkpoint, or a run's folder that has one.")


def remove(run_dir: Path) -> None:
    """Takes back a run's folder with all that is in it, and the empty folders above it."""
    shutil.rmtree(run_dir, ignore_errors=True)  # a job's folder may not be there yet
    with contextlib.suppress(OSError):
        for folder in run_dir.parents[:2]:  # <log_dir>/runs/<name>/<timestamp>
            folder.rmdir()
