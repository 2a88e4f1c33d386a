"""Where a machine has several GPUs: which of them a process that runs jobs takes for itself."""

import os
import tempfile
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock

from engine.locks import take

_claims: list[FileLock] = []  # this process's, which end with it


def visible() -> list[str]:
    """The GPUs that this process may use, as in CUDA_VISIBLE_DEVICES; does not start CUDA."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def takes_one(config: Mapping[str, Any]) -> bool:
    """Whether a run of this config computes on one GPU, if there is any."""
    trainer = config["trainer"]
    return trainer["accelerator"] in ("auto", "gpu", "cuda") and trainer["devices"] == 1


def claim(config: Mapping[str, Any]) -> None:
    """Take one of several GPUs for this process until it ends, if its run wants one.

    It is the one that the fewest of the user's other processes have taken so, and the only one that CUDA, which must
    not have started yet, will see.
    """
    if takes_one(config) and not _claims and len(gpus := visible()) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = _least_taken(gpus)


def _least_taken(gpus: list[str]) -> str:
    """The first GPU with a free place, the first places before the second; its lock dies with this process."""
    folder = Path(tempfile.gettempdir()) / f"engine-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for place in count():
        for gpu in gpus:
            if lock := take(folder / f"{gpu}.{place}.lock"):
                _claims.append(lock)
                return gpu
    raise AssertionError("places without end")
