"""The folder of a run: where it lies, what it is named, its config and its summary."""

import contextlib
import csv
import functools
import hashlib
import io
import json
import logging
import math
import pickle
import re
import subprocess
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import OmegaConfDumper

from project import files
from project.config import ROOT, Config, dotted, plain
from project.errors import UserError

log = logging.getLogger("project")

SUMMARY = "summary.json"
COMPLETE = ("finished", "diverged")  # as opposed to failed and interrupted
LAST, BEST = Path("checkpoints/last.ckpt"), Path("checkpoints/best.ckpt")
# What cannot change a run's result: where things lie, what is shown, and the names of devices.
IRRELEVANT = (
    "name", "paths", "sweep", "logger", "callbacks.progress_bar", "datamodule.cache_dir",
    "datamodule.num_workers", "trainer.accelerator", "trainer.devices", "trainer.strategy",
    "trainer.steps_per_call",
)  # fmt: skip


def config_hash(config: Config) -> str:
    """SHA-256 of the resolved config less what cannot change the result: equal hashes, equal runs."""
    return hashlib.sha256(json.dumps(relevant(dotted(plain(config))), sort_keys=True).encode()).hexdigest()


def relevant(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config by dotted key, less what cannot change the result."""
    ignored = tuple(f"{key}." for key in IRRELEVANT)
    kept = {key: value for key, value in config.items() if not f"{key}.".startswith(ignored)}
    if isinstance(folder := kept.get("datamodule.data_dir"), str):  # other data, wherever the project's data lie
        kept["datamodule.data_dir"] = folder.removeprefix(str(config.get("paths.data_dir")))
    return kept


def slug(overrides: list[str], longest: int = 80) -> str:
    """Overrides as the readable part of a folder's name, in `longest` bytes: `optimizer.lr=0.1` -> lr=0.1."""
    pairs = [word.lstrip("+~").partition("=") for word in overrides]
    name = ",".join(f"{key.rsplit('.', 1)[-1].rsplit('/', 1)[-1]}={value}" for key, _, value in pairs)
    return re.sub(r"[^\w.,=+-]+", "_", name).encode()[:longest].decode(errors="ignore") or "default"


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


def load_summary(run_dir: Path) -> dict[str, Any] | None:
    """What a run's summary.json says; nothing while it runs, or after it was killed."""
    path = run_dir / SUMMARY
    try:
        return json.loads(path.read_text()) if path.exists() else None
    except ValueError as error:
        log.warning("%s: left out, as it is broken: %s", path, error)
        return None


def save_summary(run_dir: Path, summary: Mapping[str, Any]) -> None:
    """Write summary.json whole or not at all; NaN and infinities become null, as JSON wants."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(inner) for key, inner in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    files.write_whole(run_dir / SUMMARY, json.dumps(plain(summary), indent=2, allow_nan=False) + "\n")


def objective(summary: Mapping[str, Any]) -> float:
    """What a sweep compares: NaN for a run without one, such as a diverged."""
    value = summary.get("objective")
    return math.nan if value is None else float(value)


def final_metrics(run_dir: Path) -> dict[str, float]:
    """The last value of every metric in metrics.csv."""
    path = run_dir / "metrics.csv"
    rows = csv.reader(io.StringIO(files.whole_lines(path) if path.exists() else ""))
    columns = next(rows, [])
    last: dict[str, str] = {}
    for row in rows:
        last |= {key: text for key, text in zip(columns, row, strict=False) if text}
    return {key: float(text) for key, text in last.items() if key not in ("epoch", "step", "lr")}


def table(metrics: Mapping[str, float]) -> str:
    """Metrics as lines of name and value, aligned."""
    width = max(map(len, metrics), default=0)
    return "\n".join(f"  {name:<{width}}  {value:.6g}" for name, value in metrics.items())


def verdict(summary: Mapping[str, Any], run_dir: Path) -> str:
    """One line: how a run ended, after what, and where it lies."""
    return f"{summary['status']} after {summary['steps']:,} steps, {summary['seconds']:.1f} s: {run_dir}"


@functools.cache
def git_commit() -> str | None:
    """The project's commit when this process first asked, with `+` if the working tree differed; None outside git."""
    try:
        described = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
        return subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
