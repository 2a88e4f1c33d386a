"""Makes other people's loaders exact: a batch is a function of (seed, epoch, its number).

A DataLoader over a data set that has a length is served so that a run may go on within an epoch. Of
another loader, its own state is kept, if it has one. Without a state, the run says at its start
that it goes on from the end of an epoch only. A validation is whole, and needs no state.
"""

from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from engine.data.datamodule import StepLoader
from engine.data.exact_loader import COMPARED, ExactLoader, Order, same
from engine.data.served_loader import EpochLoader, Served, StatefulLoader, generators_of
from engine.fence.lightning import Place
from engine.fence.torch import iterates_itself


def exact(loader: Any, seed: int, place: Place, rank: int, say: Callable[[str], None]) -> Any:
    """Returns a loader whose batches depend on (seed, epoch, number of the batch), if it can be.

    A loader of training without `state_dict` comes back where a run cannot go on within an epoch.
    Each pass of one of validation is whole, and depends on the place.

    Args:
        loader: any iterable.
        seed: the run's.
        place: tells how far training is.
        rank: number of this process.
        say: is told what the user has to know: what will not be exact, or is not as it was given.
    """
    # Ours, or served already by another training of the Trainer.
    if isinstance(loader, StepLoader) or issubclass(type(loader), Served):
        return loader
    if not place.is_of_training and isinstance(loader, list):  # which stands for no loader
        return loader
    name = type(loader).__name__
    if generators_of(loader):
        say(
            f"{name}: its torch.Generator is seeded by the run's seed and the number of the epoch. "
            "The seed that it was given changes nothing."
        )
    reason = why_not(loader, seed)
    if reason is None:
        return ExactLoader(loader, seed, place, rank, say)
    if not place.is_of_training:
        return EpochLoader(loader, seed, place)
    if hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict"):
        say(
            f"{name}: {reason}. Within an epoch, a resumed run goes on by the loader's "
            "state_dict(). That is exact if the state has all: neither random numbers of workers "
            "nor what the loader keeps from one epoch to the next are saved."
        )
        return StatefulLoader(loader, seed, place, say)
    say(
        f"{name}: {reason}. A resumed run continues from the end of the last whole epoch: "
        "last.ckpt is written there only. That is exact if the loader keeps nothing from one epoch "
        "to the next.\nTo continue within an epoch, the loader needs state_dict() and "
        "load_state_dict()."
    )
    return EpochLoader(loader, seed, place, say)


def why_not(loader: Any, seed: int) -> str | None:
    """Returns why the batches of a loader cannot be found by their numbers, if so."""
    if not isinstance(loader, DataLoader):
        return "it is no DataLoader of PyTorch's"
    kind = type(loader)
    # torchdata's StatefulDataLoader makes the same batches as a DataLoader.
    if iterates_itself(loader) and not kind.__module__.startswith("torchdata."):
        return "it has an __iter__ of its own"
    if isinstance(loader.dataset, IterableDataset):
        return f"{type(loader.dataset).__name__} is iterable and has no numbers of samples"
    order = Order(loader, seed)
    name = type(order.inner).__name__
    try:
        len(order)
    except (TypeError, NotImplementedError):  # also of a sampler within a BatchSampler
        return f"{name} has no length"
    order.leaves(loader)
    first, again = (order.draw("first") for _ in range(2))
    if len(first) != len(again) or not same(first[:COMPARED], again[:COMPARED]):
        return f"{name} draws another order each time, whatever the seed"
    return None
