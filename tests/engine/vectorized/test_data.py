"""Checks how a stack gathers its jobs' samples; test_together.py has the rest."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.data.sampler import BLOCK_BYTES
from engine.vectorized.data import BlockSizes, StackedData
from fitting import Arrays, plain_trainer


def stack_of(folder: Path, data: list[Arrays]) -> StackedData:
    made = StackedData(data)
    made.trainer = plain_trainer(folder, logger=False)
    return made


@pytest.mark.parametrize("shares", [True, False])
def test_each_job_gets_the_samples_it_has_chosen(tmp_path: Path, shares: bool) -> None:
    """Against samples taken one by one, from splits of 5 samples."""
    own = [
        Arrays({"train": (torch.randn(5, 2, 3), torch.arange(5) + 10 * job)}) for job in range(3)
    ]
    if shares:
        for data in own:
            data.splits = own[0].splits
    chosen = torch.tensor([[4, 0], [1, 1], [2, 3]])
    inputs, targets = stack_of(tmp_path, own).gather("train", chosen)
    for job in range(3):
        for place in range(2):
            assert torch.equal(
                inputs[job, place], own[job].splits["train"].inputs[chosen[job, place]]
            )
            assert targets[job, place] == own[job].splits["train"].targets[chosen[job, place]]


def test_jobs_with_unequal_numbers_of_samples_are_no_stack(tmp_path: Path) -> None:
    own = [Arrays({"train": (torch.zeros(size, 2), torch.zeros(size))}) for size in (5, 4)]
    with pytest.raises(RuntimeError, match="equal size"):
        stack_of(tmp_path, own).gather("train", torch.zeros(2, 3, dtype=torch.int64))


def test_the_batches_of_several_steps_are_those_of_each_jobs_order(tmp_path: Path) -> None:
    """Compares with each job's own loader: of 9 samples, the third batch of 4 is short."""
    own = [of_numbers(9, batch_size=4, seed=seed, steps_per_epoch=6) for seed in range(2)]
    alone = [list(data.train_dataloader()) for data in own]
    stack = stack_of(tmp_path, own)
    batches = [
        batch for step, steps in ((0, 2), (2, 1), (3, 3)) for batch in stack.batches(step, steps)
    ]
    assert [len(targets[0]) for _, targets in batches] == [4, 4, 1, 4, 4, 1]
    for number, (inputs, targets) in enumerate(batches):
        for job in range(2):
            assert torch.equal(inputs[job], alone[job][number][0])
            assert torch.equal(targets[job], alone[job][number][1])


def test_one_batch_for_all_steps_is_gathered_again_if_a_network_has_written_into_it(
    tmp_path: Path,
) -> None:
    own = [Arrays({"train": (torch.ones(4, 2), torch.zeros(4))}) for _ in range(2)]
    seen: list[Tensor] = []
    for inputs, _ in stack_of(tmp_path, own).batches(0, steps=4):
        assert torch.equal(inputs, torch.ones(2, 4, 2))
        seen.append(inputs)
        if len(seen) == 2:
            inputs.sub_(1)
    assert seen[0] is seen[1]
    assert seen[1] is not seen[2]
    assert seen[2] is seen[3]


@pytest.mark.parametrize(("batch_size", "most"), [(4, 2), (3, BLOCK_BYTES // (8 * 2 * 3))])
def test_a_block_ends_with_a_short_batch_or_where_sample_numbers_fill_it(
    tmp_path: Path, batch_size: int, most: int
) -> None:
    """From batch 1 on, of 9 samples; the Trainer takes as many steps as there can be."""
    stack = stack_of(
        tmp_path, [of_numbers(9, batch_size=batch_size, seed=seed) for seed in range(2)]
    )
    trainer = SimpleNamespace(
        fit_loop=SimpleNamespace(total_batch_idx=0), next_block=lambda most: most
    )
    assert next(iter(BlockSizes(stack.samplers[0], trainer))) == most


def of_numbers(size: int, **options: Any) -> Arrays:
    return Arrays({"train": (torch.randn(size, 2), torch.arange(size))}, **options)
