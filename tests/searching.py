"""Makes options of searches, runs searches of a small model, and reads what they have left."""

import json
import re
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from engine.search import study
from engine.search.study import Options

LINEAR = ["-m", "hydra/sweeper=optuna", "experiment=linear", "accelerator=cpu", "logger=csv"]
SPACE = ["optimizer.lr=tag(log,interval(0.001,0.05))", "trainer.max_steps=range(1,6)"]
FAILING = ["datamodule=random_regression", "+callbacks.fails._target_=ways.FailsOnColumns"]
COMPLETE = TrialState.COMPLETE
FAIL = TrialState.FAIL


def command(log_dir: Path, *words: str) -> list[str]:
    options = [
        f"hydra.sweeper.{word}"
        if re.match(r"(n_|seed|sampler|pruner|storage|study|dir)", word)
        else word
        for word in words
    ]
    return [*LINEAR, *options, f"paths.log_dir={log_dir}"]


def folder(log_dir: Path) -> Path:
    return log_dir / "sweeps" / "linear"


def trials(log_dir: Path) -> list[FrozenTrial]:
    """The trials of the only study in a sweep's folder."""
    storage = study.opened(str(folder(log_dir) / "study.log"))
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


def told(log_dir: Path) -> list[tuple[dict[str, Any], TrialState, float | None]]:
    return [(trial.params, trial.state, trial.value) for trial in trials(log_dir)]


def summaries(log_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in folder(log_dir).glob("*/summary.json")]


def logs(log_dir: Path) -> list[str]:
    return [path.read_text() for path in folder(log_dir).glob("*/train.log")]


def options(**given: Any) -> Options:
    """Returns the options of a search: the config file's with fewer random trials, or as given."""
    defaults = {
        "n_trials": 30,
        "n_jobs": 1,
        "direction": None,
        "sampler": "tpe",
        "seed": 0,
        "random_trials": 3,
        "pruner": "none",
        "pruner_trials": 5,
        "pruner_steps": 0,
        "pruner_keeps": 4,
        "storage": None,
        "study_name": None,
    }
    return Options(**{**defaults, **given})
