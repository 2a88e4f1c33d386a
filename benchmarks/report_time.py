"""Measures what looking at 1,000 runs costs: the report, and TensorBoard's HParams.

    OMP_NUM_THREADS=1 python benchmarks/report_time.py [--rounds 5] [--runs 1000]

The runs are made up, as a sweep leaves them: 10 learning rates × 10 numbers of epochs × 10 seeds of
experiment=lenet datamodule=digits, each with 100 rows of training metrics. In seconds:
  report   python -m project.report FOLDER, the whole process with its imports: of the clock, and of
           the processor
  hparams  from the start of TensorBoard's server until it has a row for each run; then one answer
           with all columns and all rows. With its data server (fast) and without
Writes benchmarks/results/report_time.json.
"""

import argparse
import json
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from board import Server
from engine.config import objects, plain_yaml
from engine.config.resolved import Config
from engine.fence.tensorboard import hparams_events
from engine.run import folders, identity, summaries
from engine.run.loggers.events import content_of
from engine.run.loggers.tensorboard import TensorBoard, close
from measuring import save, table
from project.train import train

WORDS = ["experiment=lenet", "datamodule=digits"]
STEPS = 1800
OBJECTIVE = summaries.Objective("val/acc", summaries.BEST_EPOCH, "max")


def composed() -> Config:
    """Returns the config that the runs have but for learning rate, epochs and seed."""
    train.open()
    with initialize_config_dir(str(train.conf), version_base="1.3"):
        return Config.resolve(compose("config", overrides=WORDS), WORDS)


def curves() -> dict[int, dict[str, float]]:
    """Returns 100 rows of training, and five of validation, by step."""
    rows = {step: {"train/loss": 2 - step / STEPS} for step in range(17, STEPS, 18)}
    for step in range(STEPS // 5, STEPS + 1, STEPS // 5):
        rows[step - 1] = {**rows[step - 1], "val/loss": 2 - step / STEPS, "val/acc": step / 2000}
    return rows


def events(folder: Path) -> bytes:
    """Returns what a run's file of events holds."""
    logger = TensorBoard(folder, name="", version="")
    for step, row in curves().items():
        logger.log_metrics(row, step)
    close(logger)
    (path,) = folder.glob("events.out.tfevents.*")
    return path.read_bytes()


class Runs:
    """Writes the folders of finished runs, their accuracies drawn at random.

    Args:
        sweep: the folder that they go to.
    """

    def __init__(self, sweep: Path) -> None:
        self.sweep = sweep
        config = composed()
        self.config = config.yaml
        data = objects.build(config["datamodule"], "datamodule")
        self.made_of = json.dumps(identity.record(config, data, train.module), indent=2)
        names = ["train/loss", "val/loss", "val/acc"]
        rows = [
            ",".join(["0", str(step), *(str(row.get(name, "")) for name in names)])
            for step, row in curves().items()
        ]
        self.metrics = "\n".join([",".join(["epoch", "step", *names]), *rows, ""])
        with tempfile.TemporaryDirectory() as folder:
            self.events = events(Path(folder))

    def write(self, number: int) -> None:
        """Writes a run."""
        lr, epochs, seed = (1 + number // 10 % 10) / 1000, 1 + number // 100, number % 10
        name = f"optimizer.lr={lr}-trainer.max-epochs={epochs}-seed={seed}-{number:08x}"
        words = [f"optimizer.lr={lr}", f"trainer.max_epochs={epochs}", f"seed={seed}"]
        text = self.config.replace("\n  lr: 0.001\n", f"\n  lr: {lr}\n")
        text = text.replace("\n    lr: 0.001\n", f"\n    lr: {lr}\n")
        text = text.replace("max_epochs: 5\n", f"max_epochs: {epochs}\n")
        text = re.sub(r"\bseed: 0\n", f"seed: {seed}\n", text)  # not that of the splits
        run_dir = self.sweep / name
        values = {"optimizer.lr": lr, "trainer.max_epochs": epochs, "seed": seed}
        metrics = {"train/loss": 1.0, "val/acc": random.random(), "test/acc": random.random()}
        shown = {"test/acc": metrics["test/acc"], f"★ {OBJECTIVE.name}": metrics["val/acc"]}
        contents: dict[Path, str | bytes] = {
            folders.CONFIG: text,
            folders.OVERRIDES: plain_yaml.dump([*WORDS, *words]),
            identity.MADE_OF: self.made_of,
            Path("metrics.csv"): self.metrics,
            Path(summaries.SUMMARY): json.dumps(summary(metrics, seed), indent=2),
            Path("events.out.tfevents.0.made.up"): self.events,
            folders.HPARAMS: content_of(
                hparams_events(f"{self.sweep.name}/{name}", values, shown, STEPS)
            ),
        }
        for path, content in contents.items():
            (run_dir / path).parent.mkdir(parents=True, exist_ok=True)
            data = content.encode() if isinstance(content, str) else content
            (run_dir / path).write_bytes(data)


def summary(metrics: dict[str, float], seed: int) -> dict[str, Any]:
    """Returns the summary of a finished run."""
    named = {"metric": OBJECTIVE.metric, "taken": OBJECTIVE.taken, "mode": OBJECTIVE.mode}
    ended = {"status": "finished", "seed": seed, "seconds": 1.0, "device": "1 × cpu"}
    return {**ended, "metrics": metrics, "objective": metrics["val/acc"], "objective_of": named}


def report_seconds(folder: Path) -> tuple[float, float]:
    """Returns the seconds that a report takes: of the clock, and of the processor."""
    began = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "project.report", str(folder)]
    subprocess.run(command, check=True, capture_output=True, cwd=train.root)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - began, used


def hparams_seconds(logs: Path, runs: int, fast: str) -> tuple[float, float]:
    """Returns the seconds until TensorBoard has all rows, and those of one answer after that."""
    began = time.perf_counter()
    server = Server(logs, load_fast=fast)
    while len(server.hparams()[2]) < runs:
        time.sleep(0.5)
    loaded = time.perf_counter()
    infos, metrics, _ = server.hparams()
    answered = time.perf_counter()
    assert {info["name"] for info in infos} == {"optimizer.lr", "trainer.max_epochs", "seed"}
    assert metrics == ["test/acc", f"★ {OBJECTIVE.name}"]
    return loaded - began, answered - loaded


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=1000)
    options = parser.parse_args()
    random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder) / "sweeps" / "lenet"
        runs = Runs(sweep)
        for number in range(options.runs):
            runs.write(number)
        reports = [report_seconds(sweep) for _ in range(options.rounds)]
        answers = {
            name: hparams_seconds(Path(folder), options.runs, fast)
            for name, fast in {"fast": "true", "plain": "false"}.items()
        }
    clock, processor = ([pair[i] for pair in reports] for i in (0, 1))
    rows = [
        [f"report, {name}", f"{statistics.median(own):.2f}", f"{min(own):.2f}–{max(own):.2f}"]
        for name, own in {"clock": clock, "processor": processor}.items()
    ]
    for name, (loaded, answered) in answers.items():
        rows += [[f"hparams, {name}, loaded", f"{loaded:.2f}", ""]]
        rows += [[f"hparams, {name}, an answer", f"{answered:.2f}", ""]]
    print(table([f"{options.runs:,} runs", "seconds", "min–max"], rows))
    result = {"clock": clock, "processor": processor, "hparams": answers}
    save("report_time", {"runs": options.runs, **result})


if __name__ == "__main__":
    main()
