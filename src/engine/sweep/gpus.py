"""Gives each process that runs jobs a GPU of its own, where a machine has several."""

import os
import tempfile
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock

from engine.locks import acquire

_claims: list[FileLock] = []  # this process's, which end with it


def visible() -> list[str]:
    """Returns the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    This does not start CUDA.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def takes_one(config: Mapping[str, Any]) -> bool:
    """Tells whether a run of this config computes on one GPU, if there is any."""
    trainer = config["trainer"]
    return trainer["accelerator"] in ("auto", "gpu", "cuda") and trainer["devices"] == 1


def claim(config: Mapping[str, Any]) -> None:
    """Takes one of several GPUs for this process until it ends, if its run computes on one.

    CUDA, which must not have started yet, will see no other. The GPU is the first of those that the
    fewest of the user's other processes have taken so: a GPU has places without end, each with a
    lock that dies with its process, and all first places come before the second ones.
    """
    gpus = visible() if takes_one(config) and not _claims else []
    if len(gpus) < 2:
        return
    folder = Path(tempfile.gettempdir()) / f"engine-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for place, gpu in ((place, gpu) for place in count() for gpu in gpus):
        name = gpu.replace("/", "-")  # of a part of a GPU: MIG-GPU-x/1/0
        if lock := acquire(folder / f"{name}.{place}.lock"):
            _claims.append(lock)
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            return
