"""Train a model: `python -m project.train experiment=NAME`, `-m` for a sweep, `resume=RUN_DIR` to go on with a run."""

import logging
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from engine import messages
from engine.config import help
from engine.config.overrides import check_command_line, check_config
from engine.config.place import CONF, register_resolvers
from engine.config.resolved import Config, settle, settled
from engine.errors import FAILED, Pruned, RunFailed, UserError, exit_codes
from engine.run import folders, identity, summaries, versions
from engine.run.children import joinable
from engine.sweep.jobs import Job

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer

log = logging.getLogger("project")


def main() -> None:
    """The command line."""
    with exit_codes():
        register_resolvers()
        words = sys.argv[1:]
        if resumed := [word.partition("=")[2] for word in words if word.startswith("resume=")]:
            # hydra.* is what Lightning adds to the command of the processes that it starts
            resume(resumed[0], [word for word in words if not word.startswith(("resume=", "hydra."))])
        else:
            check_command_line(words)
            if help.asked_for(words):
                print(help.text(words))
            else:
                hydra_main()


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def hydra_main(config: DictConfig) -> float:
    """One run, or one job of a sweep, in a folder of its own."""
    job = HydraConfig.get()
    overrides: Any = OmegaConf.to_container(job.overrides.task, resolve=False)  # ${…} as typed
    if job.mode == RunMode.MULTIRUN:
        return Job(settled(config, job.sweep.dir), overrides).run(train)
    with exit_codes():  # here already: Hydra would add a line of its own
        settle(config)
        if asked := [key for key in ("dry_run", "force", "retry") if config.sweep[key]]:
            raise UserError(f"sweep.{asked[0]}: is for sweeps; add -m.")
        return train(config, None, overrides)


def resume(folder: str, others: list[str]) -> float:
    """Go on with the run in `folder`, with its own config."""
    if others:
        raise UserError(f"{others[0]}: resume= goes on with the run's own config and takes nothing else.")
    run_dir = Path(folder).absolute()
    return train(folders.load_config(run_dir), run_dir, overrides=[])


def train(config: DictConfig, run_dir: Path | None, overrides: list[str]) -> float:
    """One run, start to finish; returns the objective that a sweep compares, NaN if it diverged.

    Where `run_dir` has a checkpoint, the run goes on from it. Nothing is written before config and data are found
    right.
    """
    messages.to_terminal()
    check_config(config)
    if run_dir and (done := summaries.load_summary(run_dir)) and done["status"] in summaries.COMPLETE:
        log.info("%s already, nothing to do: %s", done["status"], run_dir)
        return summaries.objective(done)
    from engine.run import build

    messages.silence_harmless()
    data = build.datamodule(config)
    module = build.module(config, data)
    run_dir = run_dir or folders.new_run_dir(config)
    checkpoint = run_dir / folders.LAST if (run_dir / folders.LAST).exists() else None
    try:
        trainer = build.trainer(config, run_dir, resumes_at=build.step_of(checkpoint) if checkpoint else 0)
    except Exception:
        folders.remove_empty(run_dir)
        raise
    folders.save_config(run_dir, config, overrides)
    with messages.to_file(run_dir / "train.log"):
        return run(config, run_dir, trainer, module, data, checkpoint)


def run(
    config: DictConfig,
    run_dir: Path,
    trainer: "Trainer",
    module: "LightningModule",
    data: "LightningDataModule",
    checkpoint: Path | None,
) -> float:
    """Fit, test and record, with what a user sees of it; returns the objective."""
    from engine.run import build
    from engine.run.loggers import TensorBoard

    try:
        with joinable(run_dir), recorded(config, run_dir, trainer) as summary:
            log.info("%s\nrun folder: %s", OmegaConf.to_yaml(config, resolve=True), run_dir)
            log.info("%s", build.describe(trainer, module, data))
            fit_and_test(config, trainer, module, data, checkpoint)
    finally:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoard):
                logger.close()
    log.info("\n%s\n%s", summaries.table(summary["metrics"]), summaries.verdict(summary, run_dir))
    return summaries.objective(summary)


def fit_and_test(
    config: DictConfig, trainer: "Trainer", module: "LightningModule", data: "LightningDataModule", last: Path | None
) -> None:
    """Train; then test the best weights by validation, or the last ones where there is no validation."""
    from engine.run import build, hparams

    values = hparams.hyperparameters(config, folders.load_overrides(Path(trainer.default_root_dir)))
    hparams.log_start(trainer, values, ["objective", *getattr(module, "test_metrics", ())])
    build.cast(trainer, module)
    trainer.fit(module, data, ckpt_path=last, weights_only=True)
    if not has_diverged(trainer) and build.has_test(data):
        best = Path(trainer.default_root_dir) / folders.BEST
        trainer.test(module, data, ckpt_path=best if best.exists() else None, verbose=False, weights_only=True)


def has_diverged(trainer: "Trainer") -> bool:
    """Whether training was stopped for, or ended with, a loss that is no number."""
    stopped = any(getattr(callback, "diverged", False) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    return stopped or not math.isfinite(trainer.callback_metrics.get("train/loss", 0.0))


@contextmanager
def recorded(config: DictConfig, run_dir: Path, trainer: "Trainer") -> Iterator[dict[str, Any]]:
    """Write summary.json, however the run inside ends, short of SIGKILL."""
    began = time.monotonic()
    summary: dict[str, Any] = {"status": "failed", "error": None}
    try:
        yield summary
        summary["status"] = "diverged" if has_diverged(trainer) else "finished"
    except Pruned:
        summary |= {"status": "pruned", "study": config.sweep.trial.study}
    except (KeyboardInterrupt, SystemExit) as stop:
        summary["status"] = "interrupted"
        if isinstance(stop, SystemExit) and stop.code == FAILED:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from None
        raise
    except UserError as mistake:  # found no earlier; no traceback
        summary["error"] = str(mistake)
        raise
    except Exception as exception:
        summary["error"] = f"{type(exception).__name__}: {exception}"
        log.exception("run failed: %s", run_dir)
        raise RunFailed(summary["error"]) from exception
    finally:
        summary |= outcome(config, run_dir, trainer, finished=summary["status"] == "finished")
        summary["seconds"] = round(time.monotonic() - began, 3)
        if trainer.is_global_zero:
            summaries.save_summary(run_dir, summary)


def outcome(config: Config, run_dir: Path, trainer: "Trainer", finished: bool) -> dict[str, Any]:
    """What summary.json says besides status and error; the HParams view learns of it, too."""
    from engine.run import hparams

    metrics = summaries.final_metrics(run_dir)
    objective = None
    if finished:
        best = getattr(trainer.checkpoint_callback, "best_score", None)
        objective = metrics.get("train/loss") if best is None else best
        tests = list(getattr(trainer.lightning_module, "test_metrics", ()))  # its own `in` knows no prefixes
        tested = {name: value for name, value in metrics.items() if name in tests}
        hparams.log_final(trainer, {"objective": math.nan if objective is None else objective, **tested})
    return {
        "objective": objective,
        "metrics": metrics,
        "config_hash": identity.config_hash(config),
        "seed": config["seed"],
        "steps": trainer.global_step,
        "device": versions.device(trainer),
        "versions": versions.versions(),
        "git": versions.git_commit(),
    }


if __name__ == "__main__":
    main()
