"""Tells how many jobs fit in memory at once."""

import os
from pathlib import Path

import torch
from torch import Tensor

from engine.config.resolved import Config
from engine.data.datamodule import TensorDataModule
from engine.steps import rows
from engine.supervised import SupervisedModule
from engine.vectorized.eligible import training_batch

MOST = 256  # jobs: each writes its files at the same times


def chunk_size(config: Config, data: TensorDataModule, module: SupervisedModule) -> int:
    """Returns how many jobs like this fit in half the free memory: `MOST` at most, 1 at least."""
    return max(1, min(MOST, _free_bytes(config) // 2 // bytes_of_a_job(config, data, module)))


def bytes_of_a_job(config: Config, data: TensorDataModule, module: SupervisedModule) -> int:
    """Estimates the bytes that a job adds to the memory of a stack while it trains."""
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    inputs, targets = training_batch(data)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        predictions = module.network(inputs)
        module.loss(predictions, targets)
    # Metrics look at the predictions and targets of all steps between two rows.
    options, steps = config["trainer"], len(data.train_dataloader())
    every = options["log_every_n_steps"]
    if every == "auto":
        every = rows.steps_of_a_row(steps, options["max_epochs"], options["max_steps"])
    steps = min(steps, every)
    samples = data.eval_batch_size + (steps * data.batch_size if module.train_metrics else 0)
    bytes_of_a_sample = (predictions.nbytes + targets.nbytes) / len(targets)
    weights = sum(parameter.nbytes for parameter in module.parameters())
    splits = sum(split.inputs.nbytes + split.targets.nbytes for split in data.splits.values())
    of_a_step = 3 * kept + 3 * inputs.nbytes
    return int(8 * weights + of_a_step + 2 * splits + 2 * bytes_of_a_sample * samples)


def _free_bytes(config: Config) -> int:
    """Returns the free memory of the device that the config asks for."""
    if torch.cuda.is_available() and config["trainer"]["accelerator"] != "cpu":
        return int(torch.cuda.mem_get_info()[0])
    table = Path("/proc/meminfo")  # only Linux has this file
    for line in table.read_text().splitlines() if table.exists() else []:
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
