"""Names the versions, the device and the commit that a run's numbers depend on."""

import functools
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch
from lightning.pytorch import Trainer
from omegaconf import OmegaConf

from engine.config.keys import ROOT
from engine.messages import counted

_ROOT = OmegaConf.create({"root": ROOT})  # resolved whenever it is read


def device(made: Trainer) -> str:
    """Names what a Trainer computes on: `2 × cpu (x86_64, 2 threads)`, `1 × NVIDIA H200`."""
    kind = made.strategy.root_device.type
    words = f"cpu ({platform.machine()}, {counted(torch.get_num_threads(), 'thread')})"
    if kind == "cuda":
        words = torch.cuda.get_device_name(made.strategy.root_device)
    elif kind != "cpu":
        words = kind
    return f"{made.world_size} × {words}"


@functools.cache
def versions() -> dict[str, str]:
    """Returns the versions that a run's numbers depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": version("lightning"),
    }


def root() -> Path:
    """Returns the folder of the project whose command runs.

    A received config may name another one as `paths.root`, and git runs commands that a repository
    names.
    """
    return Path(_ROOT["root"])


@functools.cache
def git_commit(root: Path) -> str | None:
    """Returns the commit of a working tree when this process first asked; None outside git.

    A `+` follows where the tree differed from the commit.
    """
    described = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        ended = subprocess.run(described, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return ended.stdout.strip()
