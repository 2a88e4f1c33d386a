"""The step-indexed data path, against permutations taken apart by hand."""

import random
import re
from collections.abc import Callable
from contextlib import nullcontext
from itertools import chain, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from engine.callbacks.checkpoints import Checkpoints
from engine.data.datamodule import TensorDataModule
from engine.data.sampler import StepSampler
from engine.data.split import Split
from engine.errors import UserError
from engine.seeds import generator, generator_states, seed_all
from engine.supervised import SupervisedModule
from fitting import Arrays, Crashes, plain_trainer


def order(sampler: StepSampler) -> list[list[int]]:
    return [batch.tolist() for batch in sampler]


@pytest.mark.parametrize(("size", "batch_size"), [(10, 4), (12, 4), (5, 4), (7, 1)])
def test_a_pass_is_the_permutation_of_its_seed_in_slices(size: int, batch_size: int) -> None:
    sampler = StepSampler(size, batch_size, seed=3, steps=3 * -(-size // batch_size))
    permutations = [
        torch.randperm(size, generator=generator(3, "order", number)).tolist()
        for number in range(3)
    ]
    slices = [
        p[start : start + batch_size] for p in permutations for start in range(0, size, batch_size)
    ]
    assert order(sampler) == slices
    assert len(sampler) == len(slices)
    assert all(sorted(p) == list(range(size)) for p in permutations)


@pytest.mark.parametrize(("size", "batch_size"), [(5, 5), (3, 7)])
def test_a_batch_of_all_samples_has_them_in_order(size: int, batch_size: int) -> None:
    assert order(StepSampler(size, batch_size, seed=3, steps=3)) == 3 * [list(range(size))]


def test_each_pass_and_each_seed_has_an_order_of_its_own() -> None:
    orders = [
        np.concatenate(
            order(StepSampler(50, 10, seed=seed, position=lambda number=number: 5 * number))
        ).tolist()
        for seed in range(3)
        for number in range(3)
    ]
    assert len({tuple(o) for o in orders}) == 9
    # Two random permutations of 50 agree in about one place. Two that are shifted against each
    # other would agree in none or in all.
    assert all(sum(a == b for a, b in zip(x, y, strict=True)) < 8 for x, y in pairwise(orders))


def test_an_epoch_is_one_pass_unless_told_otherwise() -> None:
    assert len(StepSampler(10, 4)) == 3
    assert len(StepSampler(10, 4, steps=7)) == 7


@pytest.mark.parametrize("position", [1, 3, 5, 100])
def test_from_a_position_it_goes_on_with_the_tail(position: int) -> None:
    uninterrupted = order(StepSampler(10, 4, seed=1, steps=position + 6))
    assert (
        order(StepSampler(10, 4, seed=1, steps=6, position=lambda: position))
        == uninterrupted[position:]
    )


def test_position_is_asked_at_each_epoch() -> None:
    done = iter([0, 4])
    sampler = StepSampler(10, 4, seed=1, steps=4, position=lambda: next(done))
    assert order(sampler) + order(sampler) == order(StepSampler(10, 4, seed=1, steps=8))


def test_a_batch_does_not_depend_on_what_was_asked_before() -> None:
    sampler, batches = StepSampler(10, 4, seed=1), order(StepSampler(10, 4, seed=1, steps=12))
    assert [sampler.indices(step).tolist() for step in (11, 0, 7, 7, 2)] == [
        batches[i] for i in (11, 0, 7, 7, 2)
    ]


@pytest.mark.parametrize("shuffle", [True, False], ids=["shuffled", "in order"])
@pytest.mark.parametrize(
    ("batch_size", "world_size", "smallest"),
    [(6, 2, 2), (6, 3, 1), (5, 3, 0), (3, 4, 0)],
    ids=[
        "two of 6",
        "three of 6",
        "an empty share of the last batch",
        "an empty share of every batch",
    ],
)
def test_ranks_share_each_batch(
    batch_size: int, world_size: int, smallest: int, shuffle: bool
) -> None:
    options = {"seed": 1, "steps": 8, "shuffle": shuffle}
    whole = order(StepSampler(17, batch_size, **options))
    # each process has a sampler of its own
    ranks = [
        order(StepSampler(17, batch_size, rank=r, world_size=world_size, **options))
        for r in range(world_size)
    ]
    for batch, *shares in zip(whole, *ranks, strict=True):
        assert sorted(chain(*shares)) == sorted(batch)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert min(len(share) for rank in ranks for share in rank) == smallest


def test_in_order_means_in_order() -> None:
    assert order(StepSampler(5, 2, shuffle=False, steps=4)) == [[0, 1], [2, 3], [4], [0, 1]]


def test_a_batch_is_gathered_whole() -> None:
    x, y = np.random.default_rng(0).integers(0, 256, (9, 3, 2, 2), dtype=np.uint8), np.arange(9)
    indices = torch.tensor([7, 0, 3])
    inputs, targets = Split(torch.from_numpy(x), torch.from_numpy(y))[indices]
    np.testing.assert_array_equal(inputs, x[[7, 0, 3]])
    assert inputs.dtype == torch.uint8
    assert targets.tolist() == [7, 0, 3]


X, Y = np.arange(11.0, dtype=np.float32)[:, None], np.arange(11)


@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)  # the workers only gather
@pytest.mark.parametrize("num_workers", [0, 2])
def test_train_dataloader_serves_the_order_whatever_the_workers(num_workers: int) -> None:
    data = Arrays(
        {"train": (X, Y)}, seed=4, batch_size=3, steps_per_epoch=6, num_workers=num_workers
    )
    served = list(data.train_dataloader())
    expected = order(StepSampler(11, 3, seed=4, steps=6))
    assert [targets.tolist() for _, targets in served] == expected
    assert [inputs.flatten().tolist() for inputs, _ in served] == expected


def test_training_sees_one_order_over_all_epochs(tmp_path: Path) -> None:
    class Sees(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            if x.requires_grad:
                seen.append(y.tolist())
            return (x * 0).sum()

    seen: list[list[int]] = []
    data = Arrays({"train": (X, Y), "val": (X, Y)}, seed=4, batch_size=3, steps_per_epoch=3)
    module = SupervisedModule(torch.nn.Linear(1, 1), Sees())
    plain_trainer(tmp_path, max_epochs=4, val_check_interval=2).fit(module, data)
    assert seen == order(StepSampler(11, 3, seed=4, steps=12))


@pytest.mark.parametrize("eval_batch_size", [1, 2, 4, 5, 10, 11, 1000])
def test_evaluation_serves_every_sample_once_and_in_order(eval_batch_size: int) -> None:
    data = Arrays(
        {"train": (X[:2], Y[:2]), "val": (X, Y), "test": (X[3:], Y[3:])},
        eval_batch_size=eval_batch_size,
    )
    for loader, expected in ((data.val_dataloader(), Y), (data.test_dataloader(), Y[3:])):
        sizes = [len(targets) for _, targets in loader]
        assert np.concatenate([targets for _, targets in loader]).tolist() == expected.tolist()
        assert max(sizes) <= eval_batch_size


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1000, [1000]), (1001, [1000, 1]), (1797, [1000, 797]), (2001, [1000, 1000, 1])],
)
def test_evaluation_batches_are_whole_but_for_the_last(size: int, expected: list[int]) -> None:
    data = Arrays(
        {"train": ([0.0], [0]), "val": (np.zeros(size), np.zeros(size))}, eval_batch_size=1000
    )
    assert [len(targets) for _, targets in data.val_dataloader()] == expected


def test_a_split_that_is_not_there_has_no_loader() -> None:
    data = Arrays({"train": (X, Y)})
    assert data.val_dataloader() == []
    assert data.test_dataloader() == []


def test_testing_can_read_another_split() -> None:
    data = Arrays({"train": (X, Y), "val": (X[:3], Y[:3]), "test": (X[5:], Y[5:])})
    data.test_split = "val"
    assert [targets.tolist() for _, targets in data.test_dataloader()] == [[0, 1, 2]]


def test_inputs_are_prepared_as_a_whole_batch_and_loaded_once() -> None:
    class Doubled(TensorDataModule):
        loads = 0

        def load(self) -> dict[str, Split]:
            self.loads += 1
            return {"train": Split(torch.from_numpy(X), torch.from_numpy(Y))}

        def prepare_inputs(self, inputs: torch.Tensor) -> torch.Tensor:
            return 2 * inputs

    data = Doubled(seed=0, batch_size=4)
    (inputs, targets), *_ = (
        data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()
    )
    assert inputs.flatten().tolist() == (2 * targets).tolist()
    assert data.example().tolist() == [[0.0]]
    assert data.on_after_batch_transfer(example := torch.ones(1, 1), 0) is example
    assert data.loads == 1


class Drawing(Arrays):
    """Prepares inputs with random numbers of some kind."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__({"train": (np.ones((8, 3), np.float32), np.ones(8, np.float32))})
        self.draw = draw

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        return inputs + self.draw()


@pytest.mark.parametrize(
    "draw",
    [
        random.random,
        lambda: float(np.random.rand()),
        lambda: torch.rand(1).item(),
        lambda: 0 * torch.rand(1).item(),
        np.random.default_rng(0).random,
    ],
    ids=["Python", "NumPy", "torch", "drawn for nothing", "a generator of its own"],
)
def test_preparing_inputs_with_random_numbers_is_refused(draw: Callable[[], float]) -> None:
    """Covers draws that would depend on the block's length: a block is prepared before seeding."""
    with pytest.raises(UserError, match=r"^Drawing\.prepare_inputs draws random numbers, "):
        Drawing(draw).example()


@pytest.mark.parametrize(
    ("size", "processes", "batches"),
    [(33, 2, [9, 9, 9, 6]), (1, 2, [1]), (2, 4, [2]), (32, 2, [8, 8, 8, 8]), (34, 3, [9, 9, 9, 7])],
)
def test_processes_that_measure_have_a_sample_of_each_batch_where_there_are_so_many(
    size: int, processes: int, batches: list[int]
) -> None:
    samples = np.zeros((size, 1), np.float32)
    data = Arrays({"train": (samples, samples), "val": (samples, samples)}, eval_batch_size=8)
    device = SimpleNamespace(root_device=torch.device("cpu"))
    found = []
    for rank in range(processes):
        options = {"world_size": processes, "global_rank": rank, "strategy": device}
        data.trainer = SimpleNamespace(**options)  # type: ignore[assignment]
        loader: Any = data.val_dataloader()
        found.append([len(batch) for batch in loader.sampler])
    assert [sum(shares) for shares in zip(*found, strict=True)] == batches


class Noisy(TensorDataModule):
    """Draws its samples from Python's, NumPy's and torch's generators."""

    def load(self) -> dict[str, Split]:
        inputs = torch.rand(9, 3) + random.random() + float(np.random.rand())
        return {"train": Split(inputs, inputs)}


def test_what_load_draws_is_a_function_of_the_seed() -> None:
    """As it happened: each process had other samples."""
    made = []
    for number in range(3):
        seed_all(number)
        before = generator_states()
        made.append(Noisy(seed=number // 2, batch_size=3).splits["train"].inputs)
        assert generator_states() == before
    assert torch.equal(made[0], made[1])
    assert not torch.isclose(made[1], made[2]).any()


class Scaling(Arrays):
    """Scales inputs by something."""

    def __init__(self, scale: Callable[[Tensor], Tensor]) -> None:
        inputs = np.random.default_rng(0).random((40, 3), np.float32)
        super().__init__({"train": (inputs, np.ones(40, np.float32))})
        self.scale = scale

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        return self.scale(inputs)


@pytest.mark.parametrize(
    "scale",
    [
        lambda x: x - x.mean(),
        lambda x: (x - x.mean(0)) / (x.std(0, correction=0) + 1e-6),
        lambda x: x / x.amax(),
        lambda x: x.argsort(0),
        lambda x: x > x.mean(),
        lambda x: x.flip(0),
        lambda x: x.squeeze(),
        lambda x: x[x.sum(1) > 1.5],
        lambda x: x[:, : 1 + int((x > 0.9).sum(1).max())],
        lambda x: torch.where(x > 0.5, torch.inf, x - x.mean()),
        lambda x: torch.fft.rfft(x - x.mean()),
    ],
    ids=[
        *("mean", "standardised", "maximum", "ranks", "mask", "another order", "squeezed"),
        *("fewer", "cut to the longest", "infinite", "complex"),
    ],
)
def test_preparing_a_sample_by_others_is_refused(scale: Callable[[Tensor], Tensor]) -> None:
    """Covers what would depend on the block's length, and on the size of a batch in validation."""
    with pytest.raises(UserError, match=r"^Scaling\.prepare_inputs gives a sample other numbers "):
        Scaling(scale).example()


@pytest.mark.parametrize(
    "scale",
    [
        lambda x: x / x.amax(1, keepdim=True),
        lambda x: x @ torch.linalg.qr(torch.arange(9.0).view(3, 3).cos())[0],
        lambda x: (x > 0.5).long(),
        lambda x: torch.where(x > 0.5, x, torch.nan),
        lambda x: 1 / (x > 0.5),
        lambda x: torch.nn.functional.interpolate(x.unsqueeze(1), 7, mode="linear"),
        lambda x: (x.half() @ torch.ones(3, 5).half()).float(),
        lambda x: torch.fft.rfft(x),
    ],
    ids=[
        *("each sample's maximum", "rotated", "whole numbers", "NaN", "infinite"),
        *("resized", "half precision", "complex"),
    ],
)
def test_preparing_each_sample_by_itself_is_not(scale: Callable[[Tensor], Tensor]) -> None:
    data = Scaling(scale)
    expected = scale(data.splits["train"].inputs[:1])
    assert torch.allclose(data.example(), expected, equal_nan=True)


def test_preparing_with_a_gradients_history_is_refused() -> None:
    """As a layer of an encoder gives it: the second step of a block failed in its backward pass."""
    layer = torch.nn.Linear(3, 2)
    with pytest.raises(UserError, match=r"^Scaling\.prepare_inputs gives inputs with a gradient's"):
        Scaling(layer).example()
    assert Scaling(torch.no_grad()(layer)).example().shape == (1, 2)


def test_preparing_inputs_without_random_numbers_is_not() -> None:
    assert torch.equal(Drawing(lambda: 1.0).example(), torch.full((1, 3), 2.0))


class Ordinary(LightningDataModule):
    """Has a DataLoader as Lightning's own documents write it."""

    def train_dataloader(self) -> DataLoader[Any]:
        x = torch.from_numpy(X[:10])
        return DataLoader(TensorDataset(x, x), batch_size=2, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.train_dataloader()


@pytest.mark.parametrize("ours", [True, False])
def test_only_a_loader_of_the_users_own_is_warned_of_when_a_run_is_resumed_within_an_epoch(
    ours: bool, tmp_path: Path
) -> None:
    own = Arrays({"train": (X[:10], X[:10])}, seed=4, batch_size=2)
    for last in (None, tmp_path / "checkpoints/last.ckpt"):
        crash = [Crashes(4)] if last is None else []
        options: dict[str, Any] = {
            "callbacks": [Checkpoints(3, "val/loss", "min"), *crash],
            "max_epochs": 1,
        }
        module = SupervisedModule(torch.nn.Linear(1, 1), torch.nn.MSELoss())
        options |= {"precision": "64-true", "limit_val_batches": 0, "logger": False}
        trainer = plain_trainer(tmp_path, enable_checkpointing=True, **options)
        expected: Any = pytest.warns(PossibleUserWarning, match="dataloader is not resumable")
        if last is None:
            expected = pytest.raises(RuntimeError, match="crash")
        with nullcontext() if last and ours else expected:
            data = own if ours else Ordinary()
            trainer.fit(module, data, ckpt_path=last, weights_only=True)


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        ({"val": (X, Y)}, 'Arrays.load returns no split "train"; it returns: val.'),
        ({}, 'Arrays.load returns no split "train"; it returns: none.'),
        ({"train": (X, Y[:-1])}, 'Arrays.load: "train" has 11 inputs and 10 targets.'),
        ({"train": (X, Y), "val": (X[:0], Y[:0])}, 'Arrays.load: the split "val" has no samples.'),
        ({"train": (X[:0], Y[:0])}, 'Arrays.load: the split "train" has no samples.'),
        (
            {"train": (X, Y), "valid": (X, Y)},
            'Arrays.load returns a split "valid": a validation reads "val".',
        ),
    ],
    ids=["no train", "nothing", "lengths", "empty val", "empty train", "valid"],
)
@pytest.mark.parametrize("folds", [None, 2])
def test_splits_that_cannot_be_trained_on(
    folds: int | None, splits: dict[str, Any], says: str
) -> None:
    data = Arrays({"train": (X, Y)}, batch_size=2, folds=folds)
    data.given = splits
    with pytest.raises(UserError) as raised:
        _ = data.splits
    assert str(raised.value) == says


class AsGiven(Arrays):
    """Loads whatever it is given."""

    def load(self) -> Any:
        return self.given


ONES, ROWS = torch.ones(4, 2), torch.ones(4)
IS = 'AsGiven.load: "train" is a'
HAS = 'AsGiven.load: "train" has'
ORDINARY = "must be an ordinary tensor."
NO_SPLITS: dict[str, tuple[Any, str]] = {
    "a list": ([Split(ONES, ROWS)], "AsGiven.load returns a list; must be a dict of splits."),
    "a tuple": ({"train": (ONES, ROWS)}, f"{IS} tuple; must be a Split(inputs, targets)."),
    "a data set": (
        {"train": TensorDataset(ONES, ROWS)},
        f"{IS} torch.utils.data.dataset.TensorDataset; must be a Split(inputs, targets).",
    ),
    "NumPy's": (
        {"train": Split(ONES.numpy(), ROWS)},  # type: ignore[arg-type]
        f"{HAS} inputs of numpy.ndarray; must be a tensor (torch.from_numpy).",
    ),
    "numbers of Python": (
        {"train": Split(ONES, ROWS.tolist())},  # type: ignore[arg-type]
        f"{HAS} targets of list; must be a tensor (torch.tensor).",
    ),
    "sparse": (
        {"train": Split(ONES.to_sparse(), ROWS)},
        f"{HAS} inputs that are torch.sparse_coo; {ORDINARY}",
    ),
    "nested": (
        lambda: {"train": Split(ONES, torch.nested.nested_tensor([ROWS, ROWS[:2]]))},
        f"{HAS} targets that are nested; {ORDINARY}",
    ),
    "meta": (
        {"train": Split(ONES.to("meta"), ROWS)},
        f"{HAS} inputs that are meta; {ORDINARY}",
    ),
    "without columns": (
        {"train": Split(ONES[:, :0], ROWS)},
        f"{HAS} inputs (4, 0); a sample must have a number.",
    ),
    "a number": (
        {"train": Split(ONES, torch.tensor(1))},
        f"{HAS} targets that are one number; must have a dimension of samples.",
    ),
    "a gradient's": (
        {"train": Split(2 * torch.ones(4, 2, requires_grad=True), ROWS)},
        f"{HAS} inputs with a gradient's history; must be without (.detach()).",
    ),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
@pytest.mark.parametrize("kind", NO_SPLITS)
def test_what_is_no_split_of_tensors_is_refused_by_its_name(kind: str) -> None:
    """As it happened: such mistakes were blamed on the module, by an attribute that it lacks.

    With a gradient's history, the second step of a block was one of "backward a second time".
    """
    given, says = NO_SPLITS[kind]
    data = AsGiven({"train": (X, Y)}, batch_size=2)
    data.given = given() if callable(given) else given
    with pytest.raises(UserError) as raised:
        _ = data.splits
    assert str(raised.value) == says


@pytest.mark.parametrize(
    ("size", "says"),
    [(11, []), (12, ["batch_size=12: a batch has all 11 training samples"])],
)
def test_a_batch_that_is_larger_than_the_data_is_said(size: int, says: list[str]) -> None:
    assert Arrays({"train": (X, Y)}, batch_size=size).remarks() == says


class KeepsMore(Arrays):
    """Keeps something of its own in checkpoints."""

    seen = 0

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.seen = state["seen"]


class PicksColumns(KeepsMore):
    """Gives the network some columns."""

    columns = (1, 2)

    def prepare_inputs(self, inputs: Tensor) -> Tensor:
        return inputs[:, list(self.columns)]


@pytest.mark.parametrize("kind", [KeepsMore, PicksColumns])
def test_a_data_module_may_add_to_its_state(
    kind: type[KeepsMore], caplog: pytest.LogCaptureFixture
) -> None:
    splits = {"train": (np.zeros((3, 4), np.float32), np.zeros(3, np.float32))}
    data, again = (kind(splits=splits, batch_size=1) for _ in range(2))
    data.seen = 5
    again.load_state_dict(data.state_dict())
    assert again.seen == 5
    assert caplog.messages == []


def test_samples_that_cannot_be_prepared_any_more_end_no_evaluation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As it happened in a draft: columns that the samples of training lack were an IndexError."""
    splits = {"train": (np.zeros((3, 4), np.float32), np.zeros(3, np.float32))}
    data, again = (PicksColumns(splits=splits, batch_size=1) for _ in range(2))
    again.columns = (7, 9)
    again.load_state_dict(data.state_dict())
    (text,) = caplog.messages
    assert text.startswith("PicksColumns.prepare_inputs gives a sample other numbers than in")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a", 5.5], 'has 5.5; must be a list of words, such as ["cat", "dog"].'),
        (["a", True], "has True; must be a list of words"),
        (["a", None], "has None; must be a list of words"),
        (np.array([["a"], ["b"]]), "has ['a']; must be a list of words"),
        ({"a": 0, "b": 1}, 'is a dict; must be a list of words, such as ["cat", "dog"].'),
        ("ab", "is a str; must be a list of words"),
        (["a", "b\nc"], "has 'b\\nc'; must be a list of words"),  # a line of metrics.csv
        (["a", "b\n"], "has 'b\\n'; must be a list of words"),
        (["a", "\udce9"], "has '\\udce9'; must be a list of words"),  # of a folder in Latin-1
        (["a", "b", "a"], 'has "a" twice; each class needs its own.'),
        (["", ""], 'has "" twice; each class needs its own.'),
        (("a", "b"), None),
        (np.array(["a", "b"]), None),
        (np.unique([3, 7]), None),
        ([], None),
    ],
)
def test_class_names_are_words_one_for_each_class(names: Any, says: str | None) -> None:
    """As it happened: numbers ended a run in its last figure; of two equal names one was shown."""
    data = Arrays({"train": (np.ones((3, 2)), np.array([0, 1, 0]))})
    data.class_names = names
    if says is None:
        assert len(data.splits["train"]) == 3
        return
    with pytest.raises(UserError, match=re.escape(f"Arrays.class_names: {says}")):
        _ = data.splits
