"""Makes up folders of runs like those that `project.train` leaves."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import plain_yaml
from engine.report.read.collect import collect
from engine.report.statistics.content import Content, compute
from engine.run.summaries import BEST_EPOCH, Objective

OPTIMIZERS = {
    "sgd": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.01, "momentum": 0.9},
    "adam": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.001, "betas": [0.9, 0.999]},
}
INITS: dict[str, dict[str, Any]] = {
    "default": {"_target_": "project.init.default", "_partial_": True},
    "he": {"_target_": "project.init.he", "_partial_": True, "seed": None, "gain": "relu"},
    "xavier": {
        "_target_": "project.init.xavier",
        "_partial_": True,
        "seed": None,
        "gain": "linear",
    },
}


def write_run(
    run_dir: Path,
    *,
    optimizer: str = "sgd",
    init: str = "he",
    seed: int = 0,
    metrics: Mapping[str, float] | None = None,
    status: str | None = "finished",
    error: str | None = None,
    seconds: float = 10.0,
    curve: Mapping[int, Mapping[str, float]] | None = None,
    changes: Mapping[str, Any] | None = None,
    objective: Objective | None = None,
    words: Sequence[str] = (),
) -> Path:
    """Writes a run's folder: config, metrics.csv, and summary.json if it has a status.

    Args:
        run_dir: the folder.
        optimizer: a key of `OPTIMIZERS`.
        init: a key of `INITS`.
        seed: the run's.
        metrics: of the summary.
        status: of the summary.
        error: of the summary.
        seconds: of the summary.
        curve: the metrics of metrics.csv by step.
        changes: values of the config by dotted key.
        objective: of the summary; None for that of an older version, which has none.
        words: of the command line.
    """
    seeds = {"seed": seed} if "seed" in INITS[init] else {}
    chosen = {"optimizer": {**OPTIMIZERS[optimizer]}, "init": {**INITS[init], **seeds}}
    config = {
        "module": {"_target_": "project.modules.lenet.LeNet5", **chosen},
        "datamodule": {
            "_target_": "project.datamodules.digits.DigitsDataModule",
            "seed": seed,
            "batch_size": 4,
            "data_dir": f"/data{seed}/digits",
            "cache_dir": f"/cache{seed}",
        },
        **chosen,
        "trainer": {"_target_": "engine.BlockTrainer", "max_epochs": 5, "steps_per_call": 1 + seed},
        "callbacks": {"step_seed": {"_target_": "engine.StepSeed", "seed": seed}},
        "logger": {"csv": {"_target_": "engine.MetricsCSV", "purge_step": seed}},
        "name": f"lenet{seed}",
        "seed": seed,
        "paths": {"data_dir": f"/data{seed}", "log_dir": str(run_dir.parent)},
    }
    for key, value in (changes or {}).items():
        *nodes, last = key.split(".")
        node: dict[str, Any] = config
        for name in nodes:
            node = node.setdefault(name, {})
        node[last] = value
    (run_dir / ".hydra").mkdir(parents=True)
    (run_dir / ".hydra" / "config.yaml").write_text(plain_yaml.dump(config), encoding="utf-8")
    (run_dir / ".hydra" / "overrides.yaml").write_text(
        plain_yaml.dump(list(words)), encoding="utf-8"
    )
    write_curve(run_dir, curve or {})
    if status is not None:
        summary = {
            "status": status,
            "error": error,
            "metrics": {k: v if math.isfinite(v) else None for k, v in (metrics or {}).items()},
            "seed": seed,
            "seconds": seconds,
            "device": "1 × cpu",
            "versions": {"torch": "2.15.0"},
            "git": "0123abc",
        }
        if objective:
            value = objective.value if math.isfinite(objective.value) else None
            named = {"metric": objective.metric, "taken": objective.taken, "mode": objective.mode}
            summary |= {"objective": value, "objective_of": named}
        (run_dir / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    return run_dir


def write_curve(run_dir: Path, curve: Mapping[int, Mapping[str, float]]) -> None:
    """Writes a metrics.csv; a metric that a step lacks has an empty cell."""
    names = list(dict.fromkeys(name for row in curve.values() for name in row))
    lines = [",".join(["epoch", "step", *names])]
    lines += [
        ",".join(["0", str(step), *(str(row.get(name, "")) for name in names)])
        for step, row in curve.items()
    ]
    (run_dir / "metrics.csv").write_text("\n".join(lines) + "\n")


def write_sweep(folder: Path) -> Path:
    """Writes runs of two optimisers, two schemes and three seeds; Adam is better by far."""
    rng = np.random.default_rng(0)
    for optimizer in ("sgd", "adam"):
        for init in ("he", "xavier"):
            for seed in range(3):
                acc = 0.5 + 0.2 * (optimizer == "adam") + 0.05 * rng.uniform()
                curve = {step: {"val/acc": acc * (step + 1) / 5} for step in range(5)}
                write_run(
                    folder / f"{optimizer}{init}{seed}",
                    optimizer=optimizer,
                    init=init,
                    seed=seed,
                    metrics={"val/acc": acc, "val/width": acc, "test/acc": acc - 0.01},
                    curve=curve,
                    objective=Objective("val/acc", BEST_EPOCH, "max", acc),
                    words=[f"optimizer={optimizer}", f"init={init}", f"seed={seed}"],
                )
    return folder


def content_of(folder: Path, **asked: Any) -> Content:
    """Computes the report on a folder."""
    return compute(folder, *collect(folder), command="python -m project.report", **asked)
