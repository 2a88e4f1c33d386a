"""How many jobs of a sweep fit in memory when they train at once."""

import os
from pathlib import Path

import torch
from torch import Tensor

from engine.config.resolved import Config
from engine.data.datamodule import TensorDataModule
from engine.supervised import SupervisedModule
from engine.vectorized.eligible import first_batch

MOST = 256  # jobs: each writes its files at the same times


def chunk_size(config: Config, data: TensorDataModule, module: SupervisedModule) -> int:
    """As many jobs like this as fit in half the memory that is free, `MOST` at most, one at least."""
    return max(1, min(MOST, _free_bytes(config) // 2 // bytes_of_a_job(config, data, module)))


def bytes_of_a_job(config: Config, data: TensorDataModule, module: SupervisedModule) -> int:
    """About what a job adds to the memory of a stack, while it trains."""
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    inputs, targets = first_batch(data)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        predictions = module.network(inputs)
        module.loss(predictions, targets)
    seen = (predictions.nbytes + targets.nbytes) / len(
        targets
    )  # of a sample, which metrics look at later
    steps = (
        min(config["trainer"]["log_every_n_steps"], len(data.train_dataloader()))
        if module.train_metrics
        else 0
    )
    remembered = 2 * seen * (steps * data.batch_size + data.eval_batch_size)
    weights = sum(parameter.nbytes for parameter in module.parameters())
    samples = sum(split.inputs.nbytes + split.targets.nbytes for split in data.splits.values())
    return int(8 * weights + 3 * kept + 2 * samples + 3 * inputs.nbytes + remembered)


def _free_bytes(config: Config) -> int:
    """Of the device that the config asks for."""
    if torch.cuda.is_available() and config["trainer"]["accelerator"] != "cpu":
        return int(torch.cuda.mem_get_info()[0])
    lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else []
    available = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    return (
        available[0] if available else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    )
