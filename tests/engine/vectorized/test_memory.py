"""Checks how many jobs train at once."""

import os

import pytest
import torch
from torch import nn
from torchmetrics import MeanSquaredError

from engine.supervised import SupervisedModule
from engine.vectorized import memory
from fitting import Arrays

CONFIG = {"trainer": {"accelerator": "cpu", "log_every_n_steps": 50}}


def job(samples: int = 40, batch_size: int = 10, width: int = 8) -> tuple[Arrays, SupervisedModule]:
    data = Arrays(
        {"train": (torch.zeros(samples, 3), torch.zeros(samples, 2))}, batch_size=batch_size
    )
    network = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))
    return data, SupervisedModule(network, loss=nn.MSELoss(), optimizer=torch.optim.SGD)


def test_a_job_takes_its_samples_its_weights_and_what_a_step_keeps() -> None:
    """By differences, so that what does not grow drops out; a number has 4 bytes."""
    least = memory.bytes_of_a_job(CONFIG, *job())
    assert memory.bytes_of_a_job(CONFIG, *job(samples=140)) - least == 2 * 4 * 100 * (3 + 2)
    weights = 4 * ((3 + 1) * 1000 + 1000 * 2)
    kept = 4 * 10 * 1000  # Tanh's outputs, which the layer after it keeps, too
    grown = memory.bytes_of_a_job(CONFIG, *job(width=1008)) - least
    assert 8 * weights + 3 * kept <= grown <= 8 * weights + 3 * (2 * kept + weights)


def test_a_job_takes_what_its_metrics_will_look_at() -> None:
    """Counts predictions and targets of the steps between two rows, and a copy of them."""
    data, module = job()
    least = memory.bytes_of_a_job(CONFIG, data, module)
    module.train_metrics.add_metrics({"error": MeanSquaredError()})
    often = {"trainer": {"accelerator": "cpu", "log_every_n_steps": 3}}
    assert memory.bytes_of_a_job(often, data, module) - least == 2 * 4 * (2 + 2) * 3 * 10
    assert (
        memory.bytes_of_a_job(CONFIG, data, module) - least == 2 * 4 * (2 + 2) * 40
    )  # an epoch: 4 steps


@pytest.mark.parametrize(("jobs", "size"), [(0, 1), (5, 5), (255, 255), (10**6, 256)])
def test_jobs_fill_half_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, jobs: int, size: int
) -> None:
    data, module = job()
    free = 2 * jobs * memory.bytes_of_a_job(CONFIG, data, module) + 1
    monkeypatch.setattr(memory, "_free_bytes", lambda config: free)
    assert memory.chunk_size(CONFIG, data, module) == size


def test_free_memory_is_more_than_nobody_uses_and_less_than_there_is() -> None:
    """Expects about the pages that nobody uses, at least; Linux counts its caches as free, too."""
    page = os.sysconf("SC_PAGE_SIZE")
    least, most = page * os.sysconf("SC_AVPHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES")
    assert 0.5 * least < memory._free_bytes(CONFIG) < most
