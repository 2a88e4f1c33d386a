"""A job in another process is the one that was composed and checked, in an edited copy, too."""

import json
from pathlib import Path

import pytest

from house.copies import copied, python

SHORT = ["experiment=linear", "callbacks=default", "logger=csv", "accelerator=cpu"]
SWEEP = ["-m", "project.train", "-m", *SHORT, "trainer.max_steps=2", "paths.log_dir=logs"]
RESOLVERS = """
from omegaconf import OmegaConf

OmegaConf.register_new_resolver("NAME", lambda number: 2 * number)
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return copied(tmp_path)


def append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_resolvers_that_the_user_s_files_register(launcher: str, copy: Path) -> None:
    """As it happened: "resolver 'mul' is already registered", of each job in another process."""
    door = copy / "src/project/train.py"
    registers = RESOLVERS.replace("NAME", "mul")
    door.write_text(door.read_text().replace("\n@command", f"{registers}\n\n@command"))
    # It is imported when the configs of the jobs have been composed.
    append(copy / "src/project/modules/linear.py", RESOLVERS.replace("NAME", "late"))
    words = [f"hydra/launcher={launcher}", "optimizer.lr='${mul:0.01}'", "seed=1,2"]
    done = python(copy, *SWEEP, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 jobs: 2 finished" in done.stdout
    summaries = [json.loads(path.read_text()) for path in copy.glob("logs/sweeps/*/*/summary.json")]
    assert sorted(summary["seed"] for summary in summaries) == [1, 2]
    configs = [path.read_text() for path in copy.glob("logs/sweeps/*/*/.hydra/config.yaml")]
    assert all("lr: 0.02\n" in config for config in configs)
