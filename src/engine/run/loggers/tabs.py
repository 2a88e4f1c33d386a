"""Shows in TensorBoard what is neither a curve nor a picture: texts, and a job's row of HParams."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning.pytorch import Trainer

from engine import files
from engine.config.resolved import Config
from engine.fence.tensorboard import hparams_events
from engine.run import folders
from engine.run.folder_names import digest_of
from engine.run.loggers.events import content_of
from engine.run.loggers.tensorboard import tag_of, tensorboards
from engine.run.summaries import is_of_one_class

MOST_TESTS = 4  # metrics of the test in HParams: it shows five columns, the last is the objective


def log_start(trainer: Trainer, config: Config, door: str) -> None:
    """Shows the command and the config of a run that begins as texts.

    Args:
        trainer: the run's; only its loggers are looked at.
        config: the run's.
        door: the import path of the command.
    """
    step = config.get("parent.step") or 0
    texts = {
        "command": f"`{shlex.join(['python', '-m', door, *config.overrides])}`",
        "config": f"```yaml\n{config.yaml}```",
    }
    for logger in tensorboards(trainer):
        for tag, text in texts.items():
            logger.experiment.add_text(tag, text, step)


def log_end(
    trainer: Trainer,
    config: Config,
    run_dir: Path,
    metrics: Mapping[str, float],
    objective: tuple[str, float] | None,
    monitor: str,
) -> None:
    """Shows the final metrics of a run as a text, and a job of a sweep in HParams.

    Args:
        trainer: the run's.
        config: the run's.
        run_dir: the run's folder.
        metrics: the last value of each.
        objective: the name and the value that a sweep compares; None for a run that diverged.
        monitor: the metric that best.ckpt has the best value of; "" for none.
    """
    if not trainer.is_global_zero or not (loggers := tensorboards(trainer)):
        return
    compared = dict([objective] if objective else [])
    others = {_escaped(name): value for name, value in metrics.items()}
    named = {f"**objective: {_escaped(name)}**": value for name, value in compared.items()}
    rows = [f"| {name} | {value:.6g} |" for name, value in {**named, **others}.items()]
    for logger in loggers:
        text = "\n".join(["| metric | value |", "|---|---|", *rows])
        logger.experiment.add_text("result", text, trainer.global_step)
    if config.hash.startswith(digest_of(run_dir)):  # a job of a sweep
        tests = [
            name
            for name in metrics
            if name.startswith("test") and not is_of_one_class(name, metrics)
        ]
        same = [name for name in tests if name[len("test") :] == monitor.removeprefix("val")]
        shown = {tag_of(name, metrics): metrics[name] for name in (same or tests)[:MOST_TESTS]}
        # TensorBoard sorts the columns, and ★ comes after all letters.
        shown |= {f"★ {name}": value for name, value in compared.items()}
        words = folders.own_words(run_dir.parent, config.overrides)
        _save_hparams(run_dir, values_of(config, words), shown, trainer.global_step)


def _escaped(name: str) -> str:
    """Returns a name that Markdown shows as it is: a `|` would end its cell."""
    return re.sub(r"[^\w /,.-]|_", lambda sign: f"&#{ord(sign[0])};", name)


def values_of(config: Config, words: Sequence[str]) -> dict[str, bool | float | str]:
    """Returns the values of overrides by key: `{"init": "he", "optimizer.lr": 0.001}`.

    A choice, a list and null are words, as they were typed.
    """
    values: dict[str, bool | float | str] = {}
    for word in words:
        key, _, text = word.lstrip("+~").partition("=")
        value = config.flat.get(key)
        values[key] = value if isinstance(value, bool | int | float | str) else text
    return values


def _save_hparams(
    run_dir: Path,
    values: Mapping[str, bool | float | str],
    metrics: Mapping[str, float],
    step: int,
) -> None:
    """Writes a job's row of HParams into a folder of its own, which TensorBoard takes for a run.

    All scalars of a run, and of the folders below it, are columns of HParams; only five are shown.
    In a folder of its own, a job has no others than `metrics`.
    """
    path = run_dir / folders.HPARAMS
    files.make_folder(path.parent)
    name = f"{run_dir.parent.name}/{run_dir.name}"
    # TensorBoard reads every file with "tfevents" in its name, also a part that a kill has left.
    written = path.with_name("row")
    files.write_whole(written, content_of(hparams_events(name, values, metrics, step)))
    written.replace(path)
