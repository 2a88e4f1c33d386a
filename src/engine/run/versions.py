"""engine.run.versions"""

import functools
import platform
import subprocess
from importlib.metadata import version

import torch
from lightning.pytorch import Trainer

from engine.config.place import ROOT


def device(made: Trainer) -> str:
    """What a Trainer computes on, in words: `2 × cpu (x86_64, 2 threads)`, `1 × NVIDIA H200`."""
    kind = made.strategy.root_device.type
    words = f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"
    if kind == "cuda":
        words = torch.cuda.get_device_name(made.strategy.root_device)
    elif kind != "cpu":
        words = kind
    return f"{made.world_size} × {words}"


@functools.cache
def versions() -> dict[str, str]:
    """The versions that a run's numbers depend on."""
    return {"python": platform.python_version(), "torch": torch.__version__, "lightning": version("lightning")}


@functools.cache
def git_commit() -> str | None:
    """The project's commit when this process first asked, with `+` if the working tree differed; None outside git."""
    try:
        described = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
        return subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
