"""How a stack gathers its jobs' samples; test_vectorized.py has the rest."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule

from project.datamodules.tensors import Split, StepSampler
from project.stacked_module import StackedModule


@pytest.mark.parametrize("shares", [True, False])
def test_each_job_gets_the_samples_it_has_chosen(shares: bool) -> None:
    """Against samples taken one by one, from splits of 5 samples."""
    splits = [Split(torch.randn(5, 2, 3), torch.arange(5) + 10 * job) for job in range(1 if shares else 3)]
    own = splits * 3 if shares else splits
    chosen = torch.tensor([[4, 0], [1, 1], [2, 3]])
    inputs, targets = stack_of(own, shares).gather("train", chosen)
    for job in range(3):
        for place in range(2):
            assert torch.equal(inputs[job, place], own[job].inputs[chosen[job, place]])
            assert targets[job, place] == own[job].targets[chosen[job, place]]


def test_jobs_with_unequal_numbers_of_samples_are_no_stack() -> None:
    own = [Split(torch.zeros(size, 2), torch.zeros(size)) for size in (5, 4)]
    with pytest.raises(RuntimeError, match="equal size"):
        stack_of(own, shares=False).gather("train", torch.zeros(2, 3, dtype=torch.int64))


def test_one_batch_for_all_steps_is_gathered_again_if_a_network_has_written_into_it() -> None:
    splits = [Split(torch.ones(4, 2), torch.zeros(4)) for _ in range(2)]
    stack = stack_of(splits, shares=False)
    for member in stack.members:
        member.sampler = StepSampler(4, 4)
    seen = []
    for inputs, _ in stack._batches(0, steps=4):
        assert torch.equal(inputs, torch.ones(2, 4, 2))
        seen.append(inputs.data_ptr())
        if len(seen) == 2:
            inputs.sub_(1)
    assert seen[0] == seen[1]
    assert seen[2] == seen[3]


def stack_of(splits: list[Split], shares: bool) -> Any:
    """As much of a StackedModule as gathers samples."""
    made: Any = StackedModule.__new__(StackedModule)
    LightningModule.__init__(made)
    kept = {"prepare_inputs": lambda inputs: inputs}
    made.members = [SimpleNamespace(data=SimpleNamespace(splits={"train": split}, **kept)) for split in splits]
    made._splits, made._shares, made._whole_batch = {}, shares, None
    plugin = SimpleNamespace(convert_input=lambda batch: batch)
    made._trainer = SimpleNamespace(precision_plugin=plugin)
    return made
