"""Measures `python -m project.report` on 1,000 runs: 100 groups of 10 seeds, 500 rows each.

    OMP_NUM_THREADS=1 python benchmarks/report_time.py

The seconds are those of a whole process, with its imports.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from engine.run import summaries
from project.train import train

ROWS = "".join(f"0,{step},{2 - step / 500}\n" for step in range(500))


def write(folder: Path, number: int, config: str) -> None:
    """Writes a finished run's folder, its accuracy drawn at random."""
    run_dir = folder / f"run-{number:08x}"
    (run_dir / ".hydra").mkdir(parents=True)
    (run_dir / ".hydra/config.yaml").write_text(config)
    (run_dir / "metrics.csv").write_text(f"epoch,step,train/loss\n{ROWS}")
    metrics = {"train/loss": 1.0, "val/acc": random.random()}
    (run_dir / summaries.SUMMARY).write_text(
        json.dumps({"status": "finished", "metrics": metrics, "seconds": 1.0})
    )


def main() -> None:
    train.open()
    random.seed(0)
    with initialize_config_dir(str(train.conf), version_base="1.3"):
        base = OmegaConf.to_yaml(compose("config"), resolve=True)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1000):
            changed = base.replace("lr: 0.01", f"lr: {0.01 * (1 + number // 10 % 10)}")
            changed = changed.replace("max_epochs: 5", f"max_epochs: {1 + number // 100}")
            write(Path(folder), number, changed.replace("\nseed: 0", f"\nseed: {number % 10}"))
        for _ in range(3):
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "project.report", folder],
                capture_output=True,
                text=True,
                check=True,
            )
            print(f"{time.monotonic() - began:.1f} s: {done.stdout.partition(';')[0]}")


if __name__ == "__main__":
    main()
