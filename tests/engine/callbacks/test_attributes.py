"""What a user's own objects keep in attributes: found where it changes, and set anew.

That a killed run goes on with all of it exactly is shown in run/test_exact.py.
"""

import threading
from collections import Counter, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from engine import SupervisedModule
from engine.callbacks import attributes
from engine.callbacks.attributes import Attributes
from fitting import plain_trainer


class Inner:
    """An object of a user's class."""

    def __init__(self) -> None:
        self.last = deque([1, 2], maxlen=2)
        self.known = {1}
        self.array = np.zeros(2)
        self.path = Path("a")

    def go_on(self) -> None:
        self.last.append(3)
        self.known.add(2)


class Net(nn.Module):
    """A layer with a buffer that no checkpoint has, and one that all have."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("passing", torch.zeros(2), persistent=False)
        self.register_buffer("lasting", torch.zeros(2))


class Module(SupervisedModule):
    """Keeps numbers, tensors and an object."""

    def __init__(self) -> None:
        super().__init__(Net(), nn.MSELoss())
        self._count = 0
        self.same = [1.0, float("nan")]
        self.state: dict[str, Any] = {"a": (1, "word"), "b": torch.zeros(1)}
        self.inner = Inner()

    def go_on(self) -> None:
        self._count += 1
        self.state["b"] += 1
        self.network.dropout.p = 0.1  # of a class that is not the user's
        self.network.passing += 1
        self.network.lasting += 1
        self.inner.go_on()


class Counts(Callback):
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    @property
    def setting(self) -> int:
        return self.count

    @setting.setter
    def setting(self, value: int) -> None:
        self.count = value


def trainer_of(folder: Path, module: Module) -> Trainer:
    trainer = plain_trainer(folder, callbacks=[Counts(), Counts()], logger=False)
    trainer.strategy.connect(module)
    return trainer


def test_what_changes_is_found_and_set_anew(tmp_path: Path) -> None:
    module, other = Module(), Module()
    trainer, others = trainer_of(tmp_path, module), trainer_of(tmp_path, other)
    found = Attributes(trainer, module)
    assert found.changed() == ({}, [])
    module.go_on()
    trainer.callbacks[1].count = 7  # type: ignore[attr-defined]
    saved, lost = found.changed()
    torch.save(saved, tmp_path / "saved")
    read = torch.load(tmp_path / "saved", weights_only=True)
    assert lost == []
    assert set(read) == {
        "Counts (2).count",
        "Module._count",
        "Module.inner.known",
        "Module.inner.last",
        "Module.network.dropout.p",
        "Module.network.passing",
        "Module.state",
    }
    # Somebody else may have made the checkpoint.
    strange = {key: [1, False] for key in ("Gone.count", "Module.forward", "Module.training")}
    Attributes(others, other).restore({**read, **strange})
    assert callable(other.forward)
    assert other.training is True
    assert (other._count, other.network.dropout.p) == (1, 0.1)
    assert other.inner.last == deque([2, 3], maxlen=2)
    assert other.inner.last.maxlen == 2
    assert other.inner.known == {1, 2}
    assert other.state == {"a": (1, "word"), "b": torch.ones(1)}
    assert torch.equal(other.network.passing, torch.ones(2))
    assert [own.count for own in others.callbacks[:2]] == [0, 7]  # type: ignore[attr-defined]


def changed_to(value: Any, folder: Path) -> tuple[dict[str, Any], list[str]]:
    module = Module()
    found = Attributes(trainer_of(folder, module), module)
    module.inner.path = value
    return found.changed()


@pytest.mark.parametrize(
    "value",
    [Path("a"), np.zeros(1), object(), [object()], {Path("a"): 1}, lambda: None],
    ids=["path", "array", "object", "in a list", "a key", "function"],
)
def test_what_no_checkpoint_can_have_is_named(value: Any, tmp_path: Path) -> None:
    assert changed_to(value, tmp_path) == ({}, ["Module.inner.path"])


def test_what_is_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "MOST", 100)
    large: list[Any] = [torch.zeros(30), list(range(20)), [[1.0]] * 20]
    for value in large:
        assert changed_to(value, tmp_path) == ({}, ["Module.inner.path"])
    assert changed_to(torch.zeros(20), tmp_path)[1] == []


def test_an_array_that_is_written_into_is_named(tmp_path: Path) -> None:
    module = Module()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.inner.array[0] = 1
    assert found.changed() == ({}, ["Module.inner.array"])


def test_a_tensor_is_known_by_its_numbers(tmp_path: Path) -> None:
    """Neither fused steps nor `.data` raise its version."""
    module = Module()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.state["b"] = torch.zeros(1)
    assert found.changed() == ({}, [])
    module.state["b"].data += 1
    assert list(found.changed()[0]) == ["Module.state"]


class Empty(Inner):
    """Has no length when it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[int] = []

    def __len__(self) -> int:
        return len(self.items)


class Refers(Module):
    """Refers to weights, to an object twice, to objects in a list, and to itself in a ring."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.weights = list(self.layer.parameters())
        self.items: list[int] = []
        self.alias = self.items
        self.meters = {"a.b": Empty(), "c": Empty()}
        self.copy = Copy()
        self.leaf = torch.zeros(1, requires_grad=True)
        self.ring: dict[str, Any] = {"kids": []}
        self.ring["kids"].append({"parent": self.ring})
        self.map = np.zeros(10)


class Copy:
    """Keeps a layer of its own, as a mean of the weights is kept."""

    def __init__(self) -> None:
        self.layer = nn.Linear(1, 1)


def test_what_is_referred_to_stays_itself(tmp_path: Path) -> None:
    """As it happened: lists of weights became lists of copies, which nobody trained."""
    module, other = Refers(), Refers()
    found = Attributes(trainer_of(tmp_path, module), module)
    for parameter in module.layer.parameters():
        parameter.data += 1
    module.items.append(3)
    module.meters["a.b"].items.append(4)
    module.copy.layer.weight.data.fill_(5)
    module.leaf.data += 1
    saved, lost = found.changed()
    assert lost == ["Refers.leaf"]
    assert "Refers.weights" not in saved
    Attributes(trainer_of(tmp_path, other), other).restore(saved)
    assert all(one is two for one, two in zip(other.weights, other.layer.parameters(), strict=True))
    assert other.alias is other.items
    assert other.items == [3]
    assert other.meters["a.b"].items == [4]
    assert other.meters["c"].items == []
    assert other.copy.layer.weight.item() == 5


@pytest.mark.parametrize(
    "made", [lambda: deque([1], 2), lambda: {1}, lambda: Counter("a"), lambda: nn.Linear(1, 1)]
)
def test_what_is_made_on_the_way_and_has_to_be_filled_is_named(made: Any, tmp_path: Path) -> None:
    """A resumed run has nothing to fill: a deque would be a list without its length."""
    assert changed_to(made(), tmp_path) == ({}, ["Module.inner.path"])


def test_a_list_that_became_a_dict_is_one(tmp_path: Path) -> None:
    module, other = Module(), Module()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.same = {"a": 1}  # type: ignore[assignment]
    Attributes(trainer_of(tmp_path, other), other).restore(found.changed()[0])
    assert other.same == {"a": 1}


class Asks:
    """Answers a question for any attribute by an error."""

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


ODD = {
    "sparse": lambda: torch.sparse_coo_tensor([[0]], [1.0], (3,), check_invariants=True),
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(1)], layout=torch.jagged),
    "meta": lambda: torch.zeros(2, device="meta"),
    "lazy": lambda: nn.LazyLinear(3),
    "asks": Asks,
    "a generator": lambda: iter([1]),
    "a lock": threading.Lock,
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.filterwarnings("ignore:.*(Lazy modules|Sparse|prototype)")
def test_an_odd_object_ends_no_run(odd: str, tmp_path: Path) -> None:
    module = Module()
    module.inner.path = ODD[odd]()  # type: ignore[assignment,operator]
    found = Attributes(trainer_of(tmp_path, module), module)
    assert found.changed() == ({}, [])
    module.inner.path = ODD[odd]()  # type: ignore[assignment,operator]
    assert found.changed() == ({}, ["Module.inner.path"])


def test_what_is_too_large_is_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attributes, "MOST", 50)
    module = Refers()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.map[0] = 1  # of 80 bytes
    assert found.changed() == ({}, [])
    module.map = np.zeros(10)
    assert found.changed() == ({}, ["Refers.map"])
