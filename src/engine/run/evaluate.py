"""A run's metrics once more: `python -m project.evaluate run=RUN_DIR [split=test|val|train] [datamodule=…]`."""

import json
import logging
import math
import sys
from pathlib import Path
from typing import Any

from engine import files, messages
from engine.config.overrides import changed
from engine.config.place import register_resolvers
from engine.errors import UserError, exit_codes, nearest
from engine.run import folders, summaries, versions

log = logging.getLogger("project")

USAGE = """\
Evaluate a run: rebuild its model and data from its own config, load its best checkpoint (the last, where it had no
validation), and measure.

  python -m project.evaluate run=RUN_DIR                       on its test split
  python -m project.evaluate run=RUN_DIR split=val             on another: test, val, train
  python -m project.evaluate run=RUN_DIR datamodule=digits     on other data; any datamodule.KEY=VALUE, too
  python -m project.evaluate run=RUN_DIR accelerator=cpu       on another device; any trainer.KEY=VALUE, too

Prints the metrics; writes them to RUN_DIR/evaluation/SPLIT.json, and the figures to RUN_DIR/evaluation/figures/."""
OWN = ("run", "split")
GROUPS = ("datamodule", "accelerator", "trainer")
TAKEN = [*OWN, *GROUPS]


def main() -> None:
    """The command line."""
    with exit_codes():
        register_resolvers()
        words = sys.argv[1:]
        if not words or {"-h", "--help"} & set(words):
            print(USAGE)
            return
        own = {key: value for key, _, value in (word.partition("=") for word in words) if key in OWN}
        others = [word for word in words if word.partition("=")[0] not in (*OWN, "hydra.run.dir")]
        if "run" not in own:
            raise UserError("run: missing; write run=RUN_DIR, the folder of a run.")
        evaluate(Path(own["run"]).absolute(), own.get("split", "test"), others)


def evaluate(run_dir: Path, split: str, overrides: list[str]) -> dict[str, float]:
    """Measure the run in `run_dir` on a split: metrics by name, such as {"test/acc": 0.97}.

    Raises:
        UserError: if there is no such run, split or checkpoint, or an override is wrong.
    """
    messages.to_terminal()
    for key in (word.lstrip("+").partition("=")[0] for word in overrides):
        if key.partition(".")[0] not in GROUPS:
            raise UserError(f"{key}: not for evaluation.{nearest(key, TAKEN)} It takes {', '.join(TAKEN)}.")
    config = changed(folders.load_config(run_dir), overrides)
    checkpoint = next((run_dir / path for path in (folders.BEST, folders.LAST) if (run_dir / path).exists()), None)
    if checkpoint is None:
        raise UserError(f"{run_dir}: has no checkpoint yet.")
    if split not in ("train", "val", "test"):
        raise UserError(f"split={split}: must be test, val or train.")
    from engine.run import build

    messages.silence_harmless()
    data: Any = build.datamodule(config)
    splits = getattr(data, "splits", ["test"])  # a plain LightningDataModule can be asked for its test split only
    if split not in splits:
        raise UserError(f"split={split}: {type(data).__name__} has only: {', '.join(splits)}.")
    data.test_split = split
    model = build.module(config, data)
    folder = run_dir / "evaluation"
    trainer = build.trainer(config, folder, logs=False)
    build.cast(trainer, model)
    measured = trainer.test(model, data, ckpt_path=checkpoint, verbose=False, weights_only=True)
    if not measured:
        raise UserError("trainer.limit_test_batches=0: leaves nothing to measure.")
    metrics = {f"{split}/{name.removeprefix('test/')}": value for name, value in measured[0].items()}
    if trainer.is_global_zero:
        folder.mkdir(exist_ok=True)
        report = {
            "run": str(run_dir),
            "checkpoint": str(checkpoint.relative_to(run_dir)),
            "overrides": overrides,
            "metrics": {name: value if math.isfinite(value) else None for name, value in metrics.items()},
            "device": versions.device(trainer),
        }
        files.write_whole(folder / f"{split}.json", json.dumps(report, indent=2) + "\n")
        log.info("%s\n%s on %s: %s", summaries.table(metrics), checkpoint.name, split, folder)
    return metrics


if __name__ == "__main__":
    main()
