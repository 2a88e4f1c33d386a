"""What a user's own objects keep in attributes: found where it changes, and set anew.

That a killed run goes on with all of it exactly is shown in run/test_exact.py.
"""

import functools
import logging
import random
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from engine.kept import attributes, values
from engine.kept.attributes import Attributes
from fitting import plain_trainer
from kept_objects import Counts, Inner, Module, numbers, trainer_of


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
    strange = {
        key: [1, False, False, False] for key in ("Gone.count", "Module.forward", "Module.training")
    }
    attributes.restore(others, other, {**read, **strange})
    assert callable(other.forward)
    assert other.training is True
    assert (other._count, other.network.dropout.p) == (1, 0.1)
    assert other.inner.last == deque([2, 3], maxlen=2)
    assert other.inner.last.maxlen == 2
    assert other.inner.known == {1, 2}
    assert other.state == {"a": (1, "word"), "b": torch.ones(1)}
    assert torch.equal(other.network.passing, torch.ones(2))
    assert [own.count for own in others.callbacks[:2]] == [0, 7]  # type: ignore[attr-defined]


class Mixes:
    """Draws in a method."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)

    def mix(self, samples: Any) -> float:
        return self.rng.random()


def mixed(samples: Any, numbers: list[int], rng: np.random.Generator) -> float:
    numbers.append(len(numbers))
    return rng.random()


class Draws(Module):
    """Keeps numbers behind a method of another object, and in arguments of functions."""

    def __init__(self) -> None:
        super().__init__()
        self.method = Mixes().mix
        given = functools.partial(mixed, rng=np.random.default_rng(2))
        self.functions = [functools.partial(given, "samples", [])]
        self.numbers = 0

    def go_on(self) -> list[float]:
        return [self.method(None), self.functions[0]()]


def test_what_is_behind_a_method_or_a_partial_function_is_found(tmp_path: Path) -> None:
    """As it happened: a collate function that was one of them drew its first numbers again."""
    module, other = Draws(), Draws()
    trainer, others = trainer_of(tmp_path, module), trainer_of(tmp_path, other)
    found = Attributes(trainer, module)
    assert found.changed() == ({}, [])
    module.go_on()
    saved, lost = found.changed()
    assert lost == []
    assert attributes.restore(others, other, saved) == []
    assert other.go_on() == module.go_on()
    assert other.functions[0].args[1] == [0, 1]


class Hooked(Module):
    """Counts in an object whose method is a hook of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.layer.register_forward_hook(Counter().count)


class Counter:
    def __init__(self) -> None:
        self.calls = 0

    def count(self, *given: Any) -> None:
        self.calls += 1


def test_what_is_behind_a_hook_of_a_layer_is_found(tmp_path: Path) -> None:
    module = Hooked()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.layer(torch.zeros(1))
    saved, lost = found.changed()
    assert lost == []
    (path,) = saved
    assert path.startswith("Hooked.layer._forward_hooks[")
    assert path.endswith("].calls")


@dataclass(slots=True)
class Progress:
    """Keeps its attributes in slots."""

    steps: int = 0
    seen: list[int] = field(default_factory=list)
    last: Any = None


class Slotted(Module):
    """Counts in an object without a dictionary of attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = [Progress(), Progress(last=Progress())]

    def go_on(self) -> None:
        self.progress[0].steps += 1
        self.progress[1].last.seen.append(3)


def test_what_changes_in_slots_is_found_and_set_anew(tmp_path: Path) -> None:
    module, other = Slotted(), Slotted()
    trainer, others = trainer_of(tmp_path, module), trainer_of(tmp_path, other)
    found = Attributes(trainer, module)
    assert found.changed() == ({}, [])
    module.go_on()
    saved, lost = found.changed()
    assert (set(saved), lost) == (
        {"Slotted.progress[0].steps", "Slotted.progress[1].last.seen"},
        [],
    )
    seen = other.progress[1].last.seen
    assert attributes.restore(others, other, saved) == []
    assert other.progress == module.progress
    assert other.progress[1].last.seen is seen


class Everywhere(Module):
    """Writes attributes of any name, of its class and of a frozen object; deletes one."""

    total = 0
    rows: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.early = 1
        self.options = Options()
        self.inner.cache = None
        setattr(self, "rate_" + "a", 0.5)

    @functools.cached_property
    def scale(self) -> float:
        return 2.0

    def go_on(self) -> None:
        Everywhere.total += 1
        self.rows.append(1)
        setattr(self, "rate_" + "a", 0.1)
        setattr(self, "rate_" + "b", self.scale)
        object.__setattr__(self.options, "width", 3)
        del self.early, self.inner.cache


@dataclass(frozen=True)
class Options:
    width: int = 2


def test_what_is_written_by_any_name_in_a_class_or_deleted_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Everywhere, "total", 0)
    monkeypatch.setattr(Everywhere, "rows", [])
    module, other = Everywhere(), Everywhere()
    trainer, others = trainer_of(tmp_path, module), trainer_of(tmp_path, other)
    found = Attributes(trainer, module)
    assert found.changed() == ({}, [])
    module.go_on()
    saved, lost = found.changed()
    own = f"class {Everywhere.__module__}.Everywhere"
    assert lost == []
    assert set(saved) == {
        f"{own}.total",
        f"{own}.rows",
        "Everywhere.rate_a",
        "Everywhere.rate_b",
        "Everywhere.scale",
        "Everywhere.early",
        "Everywhere.inner.cache",
        "Everywhere.options.width",
    }
    Everywhere.total = 0
    Everywhere.rows.clear()
    assert attributes.restore(others, other, saved) == ["Everywhere.options.width"]  # it is frozen
    assert (Everywhere.total, Everywhere.rows) == (1, [1])
    mine: Any = other
    assert (mine.rate_a, mine.rate_b, vars(mine)["scale"]) == (0.1, 2.0, 2.0)
    assert not hasattr(other, "early")
    assert not hasattr(other.inner, "cache")
    assert attributes.restore(others, other, saved) == ["Everywhere.options.width"]


class LeavesOut(Module):
    """Leaves its backbone out of its state, as Lightning's documents show it, and trains it."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(2, 2)

    def state_dict(self, *args: Any, **options: Any) -> Any:
        state = super().state_dict(*args, **options)
        return {name: own for name, own in state.items() if not name.startswith("backbone")}


def test_weights_that_a_module_leaves_out_of_its_state_are_kept(tmp_path: Path) -> None:
    module, other = LeavesOut(), LeavesOut()
    other.backbone.load_state_dict(module.backbone.state_dict())
    found = Attributes(trainer_of(tmp_path, module), module)
    assert found.changed() == ({}, [])
    module.backbone.weight.data += 1
    saved, lost = found.changed()
    assert (list(saved), lost) == (["LeavesOut.backbone.weight"], [])
    weight = other.backbone.weight
    assert attributes.restore(trainer_of(tmp_path, other), other, saved) == []
    assert other.backbone.weight is weight
    assert torch.equal(weight, module.backbone.weight)
    assert weight.requires_grad


def changed_to(value: Any, folder: Path) -> tuple[dict[str, Any], list[str]]:
    module = Module()
    found = Attributes(trainer_of(folder, module), module)
    module.inner.path = value
    return found.changed()


@pytest.mark.parametrize(
    "value",
    [object(), [object()], {nn.Linear(1, 1), nn.Linear(1, 1)}, lambda: None, iter([1])],
    ids=["object", "in a list", "layers in a set", "function", "iterator"],
)
def test_what_no_checkpoint_can_have_is_named(value: Any, tmp_path: Path) -> None:
    assert changed_to(value, tmp_path) == ({}, ["Module.inner.path"])


class Opens(Module):
    """Says by flags that something is there which no checkpoint has."""

    is_registered = False
    is_open = False

    def go_on(self) -> None:
        self.file = (number for number in (1, 2))
        self.is_open = True
        self._count += 1
        Opens.is_registered = True


def test_a_resumed_run_does_not_believe_that_its_file_is_open(tmp_path: Path) -> None:
    """As it happened: a flag without the file beside it let the resumed run fail."""
    module = Opens()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.go_on()
    saved, lost = found.changed()
    Opens.is_registered = False
    assert list(saved) == ["Opens._count"]
    kind = f"class {Opens.__module__}.Opens.is_registered"
    assert sorted(lost) == ["Opens.file", "Opens.is_open", kind]


def test_an_iterator_that_goes_on_is_named(tmp_path: Path) -> None:
    module = Module()
    module.inner.path = iter(DataLoader([1, 2]))  # type: ignore[arg-type,assignment]
    found = Attributes(trainer_of(tmp_path, module), module)
    assert found.changed() == ({}, [])
    next(module.inner.path)  # type: ignore[call-overload]
    assert found.changed() == ({}, ["Module.inner.path"])


def test_what_is_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "MOST", 1000)
    large: list[Any] = [torch.zeros(300), list(range(20)), [[1.0]] * 20]
    for value in large:
        assert changed_to(value, tmp_path) == ({}, ["Module.inner.path"])
    assert changed_to(torch.zeros(20), tmp_path)[1] == []


def test_an_array_that_is_written_into_is_filled(tmp_path: Path) -> None:
    module, other = Module(), Module()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.inner.array[0] = 1
    array = other.inner.array
    attributes.restore(trainer_of(tmp_path, other), other, found.changed()[0])
    assert other.inner.array is array
    assert array.tolist() == [1, 0]


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
    assert lost == []
    assert "Refers.weights" not in saved
    attributes.restore(trainer_of(tmp_path, other), other, saved)
    assert all(one is two for one, two in zip(other.weights, other.layer.parameters(), strict=True))
    assert other.alias is other.items
    assert other.items == [3]
    assert other.meters["a.b"].items == [4]
    assert other.meters["c"].items == []
    assert other.copy.layer.weight.item() == 5
    assert (other.leaf.item(), other.leaf.is_leaf, other.leaf.requires_grad) == (1, True, True)


def test_a_list_that_became_a_dict_is_one(tmp_path: Path) -> None:
    module, other = Module(), Module()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.same = {"a": 1}  # type: ignore[assignment]
    attributes.restore(trainer_of(tmp_path, other), other, found.changed()[0])
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


def test_what_is_too_large_is_looked_at_here_and_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "MOST", 50)
    monkeypatch.setattr(values, "SAMPLED", 5)
    module = Refers()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.map[1] = 1  # of 80 bytes
    assert found.changed() == ({}, [])
    module.map[2] = 1
    assert found.changed() == ({}, ["Refers.map"])
    module.map = np.zeros(10)
    assert found.changed() == ({}, ["Refers.map"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.Generator().manual_seed(1),
        lambda: np.random.default_rng(1),
        lambda: np.random.Generator(np.random.MT19937(1)),
        lambda: np.random.RandomState(1),
        lambda: random.Random(1),
    ],
)
def test_generators_go_on_wherever_they_are(make: Any, tmp_path: Path) -> None:
    """In a layer of PyTorch's and in a list, too."""
    module, other = Module(), Module()
    for own in (module, other):
        own.inner.path = make()
        vars(own.network.dropout)["noise"] = make()
        own.same = [make()]
    found = Attributes(trainer_of(tmp_path, module), module)
    assert found.changed() == ({}, [])
    for generator in (module.inner.path, vars(module.network.dropout)["noise"], *module.same):
        numbers(generator)
    torch.save(found.changed()[0], tmp_path / "saved")
    read = torch.load(tmp_path / "saved", weights_only=True)
    assert len(read) == 3
    attributes.restore(trainer_of(tmp_path, other), other, read)
    assert numbers(other.inner.path) == numbers(module.inner.path)
    assert numbers(other.same[0]) == numbers(module.same[0])
    noises = [numbers(vars(own.network.dropout)["noise"]) for own in (module, other)]
    assert noises[0] == noises[1]


class Begins(Module):
    """Sets something when training starts, and makes data."""

    def on_train_start(self) -> None:
        self.reference = torch.ones(1)
        self.opened = object()


def test_what_the_start_sets_is_kept_but_not_named(tmp_path: Path) -> None:
    """As it happened: a copy of the first weights was one of those that training went on from."""
    module = Begins()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.on_train_start()
    found.begin()
    saved, lost = found.changed()
    assert (list(saved), lost) == (["Begins.reference"], [])
    module.opened = object()
    assert found.changed()[1] == ["Begins.opened"]


def test_what_was_restored_stays_in_later_checkpoints(tmp_path: Path) -> None:
    module = Module()
    found = Attributes(trainer_of(tmp_path, module), module, ["Module._count"])
    assert list(found.changed()[0]) == ["Module._count"]


def test_a_device_is_this_machines(tmp_path: Path) -> None:
    """A run may go on where there is no GPU."""
    assert changed_to(torch.device("cuda:0"), tmp_path) == ({}, [])
    assert changed_to(logging.getLogger("another"), tmp_path) == ({}, [])


class Shares(Module):
    """Has one list and one tensor under two names, of which one is given another."""

    def __init__(self) -> None:
        super().__init__()
        self.items = self.first_items = [1]
        self.hidden = self.first_hidden = torch.zeros(1)

    def go_on(self) -> None:
        self.items = [*self.items, 2]
        self.hidden = self.hidden + 1


def test_what_another_one_took_the_place_of_is_left_alone(tmp_path: Path) -> None:
    """As it happened: the first hidden state was overwritten by the last one."""
    module, other = Shares(), Shares()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.go_on()
    attributes.restore(trainer_of(tmp_path, other), other, found.changed()[0])
    assert (other.items, other.first_items) == ([1, 2], [1])
    assert (other.hidden.item(), other.first_hidden.item()) == (1, 0)


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def counting(self: Any) -> Any:
        self.calls = getattr(self, "calls", 0) + 1
        return function(self)

    return counting


def count_beside(module: Any) -> None:
    module.beside = 1


class Indirect(Module):
    """Has attributes that a decorator and a function of this file write."""

    @decorated
    def go_on(self) -> None:
        count_beside(self)


def test_decorators_and_functions_of_the_file_write_too(tmp_path: Path) -> None:
    module = Indirect()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.go_on()
    assert set(found.changed()[0]) == {"Indirect.calls", "Indirect.beside"}


helpers = SimpleNamespace()  # a module in the tests below


@pytest.mark.parametrize(
    ("name", "file", "is_found"),
    [
        (f"{__name__.partition('.')[0]}.helpers", None, True),
        ("helpers", str(Path(__file__).with_name("helpers.py")), True),
        ("helpers", "/elsewhere/helpers.py", False),
        ("helpers", None, False),
    ],
)
def test_functions_of_a_users_files_that_are_imported_write_too(
    name: str,
    file: str | None,
    is_found: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = ModuleType(name)
    made.__file__ = file
    exec("def count_elsewhere(module):\n    module.elsewhere = 1", vars(made))
    monkeypatch.setitem(globals(), "helpers", made)

    class Helped(Module):
        def go_on(self) -> None:
            helpers.count_elsewhere(self)

    assert ("elsewhere" in attributes.written_by(Helped)) is is_found


DEEPER = """
def _inc(one):
    one.count += 1
"""
BESIDE = """
from package_of_a_user.deeper import _inc
others = 0

def fill(one, **given):
    for name, value in given.items():
        setattr(one, name, value)

def bump(one):
    global others
    others += 1
    _inc(one)

class Helper:
    @staticmethod
    def mark(one):
        one.is_marked = True
"""
OWN = """
from lightning.pytorch import Callback
from package_of_a_user.beside import Helper, bump, fill

class Far(Callback):
    filled = 0.0
    count = 0
    is_marked = False

    def go_on(self):
        bump(self)
        Helper.mark(self)
        fill(self, filled=0.5, _hidden=0.25)
        self.__dict__["_inside"] = 4
"""
WRITTEN = {"filled": 0.5, "count": 1, "is_marked": True, "_hidden": 0.25, "_inside": 4}


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A callback's class in a package, whose functions are imported by name."""
    for name, source in {"deeper": DEEPER, "beside": BESIDE, "own": OWN}.items():
        made = ModuleType(f"package_of_a_user.{name}")
        monkeypatch.setitem(sys.modules, made.__name__, made)
        exec(source, vars(made))
    return made.Far


def test_what_functions_write_that_are_imported_by_name_goes_on(far: Any, tmp_path: Path) -> None:
    """As it happened: private names, and what a function in a third file writes, began anew."""
    module = Module()
    trainer, others = trainer_of(tmp_path, module), trainer_of(tmp_path, module)
    for own in (trainer, others):
        own.callbacks.append(far())  # type: ignore[attr-defined]
    found = Attributes(trainer, module)
    assert found.changed() == ({}, [])
    trainer.callbacks[-1].go_on()  # type: ignore[attr-defined]
    saved, lost = found.changed()
    file = "file package_of_a_user.beside.others"
    assert (set(saved), lost) == ({file, *(f"Far.{name}" for name in WRITTEN)}, [])
    sys.modules["package_of_a_user.beside"].others = 0  # type: ignore[attr-defined]
    assert attributes.restore(others, module, saved) == []
    assert vars(others.callbacks[-1]) == WRITTEN  # type: ignore[attr-defined]
    assert sys.modules["package_of_a_user.beside"].others == 1  # type: ignore[attr-defined]


class SetsByName(Callback):
    """Sets attributes of the module, whose own code writes none."""

    def go_on(self, module: Any, names: list[str]) -> None:
        for name in names:
            setattr(module, name, 0.5)


def test_what_another_object_writes_by_any_name_goes_on(tmp_path: Path) -> None:
    class Read(Module):
        rate = 1.0
        _rate = 1.0

    module, other = Read(), Read()
    trainer = trainer_of(tmp_path, module)
    trainer.callbacks.append(SetsByName())  # type: ignore[attr-defined]
    found = Attributes(trainer, module)
    trainer.callbacks[-1].go_on(module, ["rate", "_rate", "val/rate"])  # type: ignore[attr-defined]
    saved, lost = found.changed()
    assert (set(saved), lost) == ({"Read.rate", "Read._rate", "Read.val/rate"}, [])
    trainer = trainer_of(tmp_path, other)
    trainer.callbacks.append(SetsByName())  # type: ignore[attr-defined]
    assert attributes.restore(trainer, other, saved) == []
    assert (other.rate, other._rate, vars(other)["val/rate"]) == (0.5, 0.5, 0.5)


def test_a_frozen_dataclass_writes_no_attribute_by_any_name() -> None:
    """Else any attribute of a run would be one that a user's code may write."""
    assert attributes.ANY_NAME.isdisjoint(attributes._stored_by(vars(Options).values()))


class OfThread(Module):
    """Counts for each thread."""

    def __init__(self) -> None:
        super().__init__()
        self.local = threading.local()
        self.local.n = 0

    def go_on(self) -> None:
        self.local.n += 1


def test_what_the_thread_that_trains_keeps_goes_on(tmp_path: Path) -> None:
    module, other = OfThread(), OfThread()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.go_on()
    saved, lost = found.changed()
    assert (set(saved), lost) == ({"OfThread.local.n"}, [])
    assert attributes.restore(trainer_of(tmp_path, other), other, saved) == []
    assert other.local.n == 1


class Trained(LightningModule):
    """Is trained in the plainest way, and writes attributes of any name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        vars(self)["_steps"] = self.global_step + 1
        loss = self.layer(batch[0]).mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


def test_what_lightning_writes_is_not_found_where_code_writes_by_any_name(tmp_path: Path) -> None:
    found: list[Any] = []

    class Looks(Callback):
        def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
            found.append(Attributes(trainer, module))

        def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
            found.append(found[0].changed())

    trainer = plain_trainer(tmp_path, max_epochs=2, callbacks=[Looks(), Counts()], logger=False)
    trainer.fit(Trained(), DataLoader(TensorDataset(torch.ones(4, 1))))
    names = [(set(saved), lost) for saved, lost in found[1:]]
    assert names == [({"Trained._steps"}, [])] * 2


class WritesInto(Module):
    """Writes into what objects of libraries have."""

    def __init__(self) -> None:
        super().__init__()
        self.sampler = WeightedRandomSampler([1.0, 1.0], 2)
        self.options = SimpleNamespace(weights=[1.0])
        self.array = np.zeros(4, np.float32)
        self.view = torch.zeros(3)

    def go_on(self) -> None:
        self.sampler.weights[0] = 3
        self.options.weights[0] *= 2
        self.array = self.array.reshape(2, 2)
        self.view = torch.zeros(1_000_000)[:3]


def test_what_is_written_into_is_found_too(tmp_path: Path) -> None:
    """As it happened: samples that a callback drew more often, by their weights, were not."""
    module, other = WritesInto(), WritesInto()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.go_on()
    saved, lost = found.changed()
    assert lost == []
    torch.save(saved, tmp_path / "saved")
    assert (tmp_path / "saved").stat().st_size < 10_000  # a view has no more than its numbers
    attributes.restore(trainer_of(tmp_path, other), other, saved)
    assert other.sampler.weights.tolist() == [3, 1]
    assert other.options.weights == [2]
    assert other.array.shape == (2, 2)


def test_two_classes_of_one_name_keep_apart(tmp_path: Path) -> None:
    module = Module()
    trainer = trainer_of(tmp_path, module)
    callback = type("Module", (Counts,), {})()
    trainer.callbacks.append(callback)  # type: ignore[attr-defined]
    found = Attributes(trainer, module)
    module.go_on()
    callback.count = 5
    assert {"Module._count", "Module (2).count"} < set(found.changed()[0])


def test_a_folder_that_the_start_has_set_is_left_alone(tmp_path: Path) -> None:
    """As it happened: the copy of a run wrote into the folder of the first one."""
    module = Begins()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.reference = Path("here")  # type: ignore[assignment]
    found.begin()
    assert found.changed() == ({}, [])


def test_an_optimiser_of_the_trainers_is_no_attribute(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    assert changed_to(LightningOptimizer(optimizer), tmp_path) == ({}, [])


def test_what_is_not_there_yet_is_made(tmp_path: Path) -> None:
    """A run that is killed in its test does not begin to train, where the list is made."""
    module, other = Begins(), Begins()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.reference = []  # type: ignore[assignment]
    found.begin()
    module.reference.append(1)  # type: ignore[attr-defined]
    assert attributes.restore(trainer_of(tmp_path, other), other, found.changed()[0]) == []
    assert other.reference == [1]


class Refuses:
    """Takes a value once."""

    def __init__(self) -> None:
        self.count = 0

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self):
            raise AttributeError(name)
        super().__setattr__(name, value)


def test_an_object_that_takes_no_value_is_named(tmp_path: Path) -> None:
    module, other = Module(), Module()
    for own in (module, other):
        own.inner.path = Refuses()  # type: ignore[assignment]
    found = Attributes(trainer_of(tmp_path, module), module)
    vars(module.inner.path)["count"] = 1
    refused = attributes.restore(trainer_of(tmp_path, other), other, found.changed()[0])
    assert refused == ["Module.inner.path.count"]


def test_of_a_long_list_it_is_known_which_objects_it_has(tmp_path: Path) -> None:
    """As it happened: a full buffer was not saved, as it had the length of before."""
    module = Module()
    rows = [[index, "path"] for index in range(30_000)]
    module.same = deque(rows, maxlen=len(rows))  # type: ignore[assignment]
    found = Attributes(trainer_of(tmp_path, module), module)
    rows[3][1] = "other"  # not looked at: that costs time in each checkpoint
    assert found.changed() == ({}, [])
    module.same.append([0, "path"])  # type: ignore[arg-type]
    assert list(found.changed()[0]) == ["Module.same"]
    module.same = list(range(300_000))  # type: ignore[assignment]
    assert found.changed() == ({}, ["Module.same"])


@pytest.mark.parametrize("slots", [False, True])
@pytest.mark.parametrize("group", [list, lambda many: dict(enumerate(many))], ids=["list", "dict"])
def test_objects_in_a_long_list_are_named_where_some_of_them_change(
    group: Any, slots: bool, tmp_path: Path
) -> None:
    """As it happened: a weight of each of 2,000 samples was lost without a word."""
    module = Module()
    made = [Progress() if slots else Inner() for _ in range(2000)]
    module.same = group(made)
    found = Attributes(trainer_of(tmp_path, module), module)
    assert found.changed() == ({}, [])
    for one in made:
        one.steps = 7  # type: ignore[union-attr]
    assert found.changed() == ({}, ["Module.same"])


def test_a_layer_that_is_hidden_from_pytorch_is_kept(tmp_path: Path) -> None:
    module, other = Module(), Module()
    for own in (module, other):
        vars(own)["teacher"] = nn.Linear(1, 1)
    found = Attributes(trainer_of(tmp_path, module), module)
    module.teacher.weight.data.fill_(5)  # type: ignore[union-attr,operator]
    saved, lost = found.changed()
    assert (list(saved), lost) == (["Module.teacher"], [])
    attributes.restore(trainer_of(tmp_path, other), other, saved)
    assert other.teacher.weight.item() == 5  # type: ignore[union-attr,operator]
