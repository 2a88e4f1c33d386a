"""The folder of a run: where it lies, what it is named, its config and its summary."""

import contextlib
import functools
import logging
import pickle
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import OmegaConfDumper

from engine import files
from engine.config.resolved import Config, plain
from engine.errors import UserError
from engine.run.identity import slug

log = logging.getLogger("project")

LAST, BEST = Path("checkpoints/last.ckpt"), Path("checkpoints/best.ckpt")








def new_run_dir(config: DictConfig) -> Path:
    """Make `logs/runs/<name>/<timestamp>`: a folder that no other run has, even one started in the same second."""
    parent: Path = Path(config.paths.log_dir).absolute() / "runs" / str(config.name)
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for count in range(1, 1000):
        run_dir = parent / (stamp if count == 1 else f"{stamp}_{count}")
        try:
            run_dir.mkdir(parents=True)
        except FileExistsError:
            continue
        return run_dir
    raise AssertionError("a thousand runs in one second")


def job_dir(digest: str, folder: Path, overrides: list[str]) -> Path:
    """`<folder>/<slug>-<digest>`: where a sweep's job is to lie.

    The slug tells what the sweep varies: those overrides of the job that are not the sweep's own, word for word.
    """
    sweep = folder / "multirun.yaml"  # a sweep over experiments keeps it in the folder of none of them
    own = _overrides_of_sweep(sweep, sweep.stat().st_mtime_ns) if sweep.exists() else []
    return folder / f"{slug([word for word in overrides if word not in own])}-{digest}"


@functools.lru_cache(maxsize=8)
def _overrides_of_sweep(path: Path, written: int) -> list[str]:
    sweep: Any = OmegaConf.select(OmegaConf.load(path), "hydra.overrides.task")
    words: Any = OmegaConf.to_container(sweep, resolve=False)  # ${…} as typed
    return [str(word) for word in words]


def set_aside(run_dir: Path) -> None:
    """Rename a run's folder to the first free of `<folder>.1`, `<folder>.2`, …, for the job to be run again."""
    number = 1
    while (aside := run_dir.with_name(f"{run_dir.name}.{number}")).exists():
        number += 1
    run_dir.rename(aside)


def save_config(run_dir: Path, config: Config, overrides: list[str]) -> None:
    """Write the resolved config, and the overrides that made it, to `.hydra/`, unless they are there.

    The config is written again for another search's trial, or for none: processes of further devices read it there.
    """
    folder = run_dir / ".hydra"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.yaml").exists():
        files.write_whole(folder / "overrides.yaml", _yaml(overrides))
    elif _trial(load_config(run_dir)) == _trial(config):
        return
    files.write_whole(folder / "config.yaml", as_yaml(config))


def _trial(config: Config) -> Any:
    return (plain(config).get("sweep") or {}).get("trial")


class _Dumper(yaml.CSafeDumper):  # type: ignore[misc]
    """Quotes the words that YAML would read as something else, like OmegaConf's own, which is ten times as slow."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(str, OmegaConfDumper.str_representer)


def as_yaml(config: Config) -> str:
    """A config, resolved, as `OmegaConf.to_yaml` writes it."""
    return "".join(_entry(pickle.dumps(entry)) for entry in plain(config).items()) or _yaml({})


@functools.lru_cache(maxsize=1000)
def _entry(pickled: bytes) -> str:
    """A key and its value, most of which the jobs of a sweep have in common."""
    return _yaml(dict([pickle.loads(pickled)]))


def _yaml(plain: Any) -> str:
    return str(yaml.dump(plain, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False))


def load_config(run_dir: Path) -> DictConfig:
    """The config of an earlier run.

    Raises:
        UserError: if there is no run in that folder.
    """
    path = run_dir / ".hydra" / "config.yaml"
    if not path.is_file():
        raise UserError(f"{run_dir}: not a run's folder (it has no .hydra/config.yaml).")
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    return config


def remove_empty(run_dir: Path) -> None:
    """Take back a folder that nothing was written to, and those made for it."""
    with contextlib.suppress(OSError):
        for folder in (run_dir, *run_dir.parents[:2]):  # <log_dir>/runs/<name>/<timestamp>
            folder.rmdir()


def load_overrides(run_dir: Path) -> list[str]:
    """The overrides that made an earlier run's config."""
    words: Any = OmegaConf.to_container(OmegaConf.load(run_dir / ".hydra" / "overrides.yaml"), resolve=False)
    return [str(word) for word in words]














