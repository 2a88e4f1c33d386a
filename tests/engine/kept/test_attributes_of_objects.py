"""Objects in containers, those of libraries, and files: what goes on of them, or is named."""

import contextlib
import gzip
import random
import subprocess
import sys
import tempfile
import wave
import weakref
import zipfile
from collections import ChainMap
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics import MetricTracker
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.wrappers import ClasswiseWrapper, LambdaInputTransformer

from engine.kept import attributes
from engine.kept.attributes import Attributes
from kept_objects import Meter, Module, numbers, trainer_of


class Stage(Enum):
    TRAIN = "train"


HELD: dict[str, Callable[[Any], Any]] = {
    "by a tuple": lambda one: {("train", "acc"): one},
    "by an enum": lambda one: {Stage.TRAIN: one},
    "by None": lambda one: {None: one},
    "by a number": lambda one: {0.5: one},
    "three deep": lambda one: {"train": {"acc": {"cat": one}}},
    "in lists": lambda one: [[[(one,)]]],
    "in a set": lambda one: {one},
    "in a frozen set": lambda one: [frozenset([one])],
    "in an array": lambda one: np.array([[None], [one]], dtype=object),
    "a key": lambda one: {"a": {one: "word"}},
}


@pytest.mark.parametrize(
    "make",
    [
        Meter,
        lambda: random.Random(1),
        lambda: np.random.default_rng(1),
        lambda: torch.Generator().manual_seed(1),
    ],
    ids=["object", "random", "numpy", "torch"],
)
@pytest.mark.parametrize("held", HELD)
def test_what_is_in_a_container_goes_on_whatever_it_is_known_by(
    held: str, make: Callable[[], Any], tmp_path: Path
) -> None:
    """As it happened: only words and whole numbers were keys, two deep, and no line said so."""
    if held == "a key":
        make = Meter  # some generators are no keys
    module, other = Module(), Module()
    one, its_own = make(), make()
    for own, kept in ((module, one), (other, its_own)):
        own.inner.path = HELD[held](kept)
    found = Attributes(trainer_of(tmp_path, module), module)
    assert found.changed() == ({}, [])
    numbers(one)
    saved, lost = found.changed()
    assert lost == []
    torch.save(saved, tmp_path / "saved")
    read = torch.load(tmp_path / "saved", weights_only=True)
    assert attributes.restore(trainer_of(tmp_path, other), other, read) == []
    assert numbers(its_own) == numbers(one)


def test_two_keys_have_two_places(tmp_path: Path) -> None:
    """As it happened: a generator went on with the numbers of another one."""
    keys = ["a.b", "a_b", "a\\x2eb", 1, "1", True, ("a.b",), ("a_b",), 1.5, "1.5", "#0"]
    module, other = Module(), Module()
    for own in (module, other):
        own.inner.path = {key: random.Random(number) for number, key in enumerate(keys)}  # type: ignore[assignment]
    found = Attributes(trainer_of(tmp_path, module), module)
    for generator in module.inner.path.values():  # type: ignore[attr-defined]
        numbers(generator)
    saved, _ = found.changed()
    assert len(saved) == len(keys) - 1  # True is 1
    attributes.restore(trainer_of(tmp_path, other), other, saved)
    mine, others = (list(map(numbers, own.inner.path.values())) for own in (module, other))  # type: ignore[attr-defined]
    assert mine == others


@pytest.mark.parametrize(
    "hold",
    [
        set,
        lambda many: {"a": [many]},
        lambda many: [[[one]] for one in many],
        lambda many: [many[:9], many[9:]],
    ],
    ids=["set", "long", "many lists", "many objects"],
)
@pytest.mark.parametrize("make", [Meter, lambda: random.Random(1)], ids=["object", "generator"])
def test_what_has_no_place_is_named_where_it_changes(
    make: Callable[[], Any],
    hold: Callable[[Any], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some are kept, perhaps; that not all are is said."""
    monkeypatch.setattr(attributes, "MOST_OBJECTS", 10)
    monkeypatch.setattr(attributes, "MOST_OWNERS", 30)
    made = [make() for _ in range(15)]
    module = Module()
    module.inner.path = hold(made)
    found = Attributes(trainer_of(tmp_path, module), module)
    assert found.changed() == ({}, [])
    for one in made:
        numbers(one)
    saved, lost = found.changed()
    assert lost == ["Module.inner.path"] or len(saved) == len(made)


class Samples:
    """Keeps objects that change its samples."""

    def __init__(self) -> None:
        self.augs = {("train", "noise"): Meter()}
        self.many = {Meter(), Meter()}


def test_samples_of_workers_are_known_by_what_objects_with_any_key_keep() -> None:
    """As it happened: a persistent worker went on with the noise of the first epoch."""
    samples = Samples()
    before = attributes.marks_of(samples)
    assert attributes.marks_of(samples) == before
    for own in (samples.augs["train", "noise"], *samples.many):
        own.random()
        now = attributes.marks_of(samples)
        assert now != before
        before = now


def test_a_set_that_comes_back_in_another_order_is_kept_and_named(tmp_path: Path) -> None:
    module, other = Module(), Module()
    module.inner.known = set(range(0, 1000, 7))
    found = Attributes(trainer_of(tmp_path, module), module)
    for number in range(0, 1000, 14):
        module.inner.known.discard(number)
    saved, lost = found.changed()
    assert lost == ["Module.inner.known (the order of a set)"]
    attributes.restore(trainer_of(tmp_path, other), other, saved)
    assert other.inner.known == module.inner.known
    assert list(other.inner.known) != list(module.inner.known)


def test_a_generator_in_a_dict_of_a_class_goes_on(tmp_path: Path) -> None:
    """No code writes that attribute; it reads it."""

    class Draws(Module):
        generators: ClassVar[dict[str, Any]] = {"a": random.Random(1)}

        def go_on(self) -> None:
            self.generators["a"].random()

    module = Draws()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.go_on()
    then = module.generators["a"].getstate()
    saved, lost = found.changed()
    module.go_on()
    assert (len(saved), lost) == (1, [])
    assert attributes.restore(trainer_of(tmp_path, module), module, saved) == []
    assert module.generators["a"].getstate() == then


LIBRARYS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "sobol": (
        lambda: torch.quasirandom.SobolEngine(1, scramble=True, seed=3),
        lambda one: one.draw(3).tolist(),
    ),
    "chain": (lambda: ChainMap({"n": 0.0}), lambda one: one.update(n=one["n"] + 1) or one["n"]),
    "of a user": (
        lambda: type("Own", (torch.quasirandom.SobolEngine,), {})(2),
        lambda one: one.draw().tolist(),
    ),
}


@pytest.mark.parametrize("name", LIBRARYS)
def test_what_a_librarys_object_keeps_goes_on(name: str, tmp_path: Path) -> None:
    """As it happened: a sequence of PyTorch's began anew."""
    make, go_on = LIBRARYS[name]
    module, other = Module(), Module()
    for own in (module, other):
        own.inner.path = make()
    found = Attributes(trainer_of(tmp_path, module), module)
    assert found.changed() == ({}, [])
    go_on(module.inner.path)
    saved, lost = found.changed()
    assert lost == []
    torch.save(saved, tmp_path / "saved")
    read = torch.load(tmp_path / "saved", weights_only=True)
    assert attributes.restore(trainer_of(tmp_path, other), other, read) == []
    assert go_on(other.inner.path) == go_on(module.inner.path)


def _sounds(file: Any) -> None:
    file.setparams((1, 1, 8000, 0, "NONE", "not compressed"))
    file.writeframes(b"more")


def _written(path: Path) -> Any:
    with gzip.open(path, "wb") as file:
        file.write(b"before")
    return gzip.open(path, "ab")


FILES: dict[str, tuple[Callable[[Path], Any], Callable[[Any], Any]]] = {
    "gzip": (_written, lambda file: file.write(b"more")),
    "wave": (lambda path: wave.Wave_write(str(path)), _sounds),
    "zip": (
        lambda path: zipfile.ZipFile(path, "a"),
        lambda file: file.writestr("a", "b"),
    ),
    "spooled": (
        lambda path: tempfile.SpooledTemporaryFile(max_size=2),  # noqa: SIM115
        lambda file: file.write(b"more"),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_open_files_are_those_of_a_process(name: str, tmp_path: Path) -> None:
    """As it happened: a file that a resumed run opened anew had the counts of the one before."""
    make, write = FILES[name]
    module = Module()
    module.inner.path = file = make(tmp_path / "file")
    found = Attributes(trainer_of(tmp_path, module), module)
    found.begin()
    write(file)
    assert found.changed() == ({}, [])
    file.close()


def test_a_hook_that_is_put_on_anew_can_be_taken_off(tmp_path: Path) -> None:
    """A handle has a number, and so have others: a resumed run got that of another process."""
    module = Module()
    module.inner.path = [nn.ReLU().register_forward_hook(print)]  # type: ignore[assignment]
    found = Attributes(trainer_of(tmp_path, module), module)
    found.begin()
    module.inner.path[0].id += 1  # type: ignore[index]
    assert found.changed() == ({}, [])


def test_a_weak_dict_that_changes_is_named_and_keeps_nothing_alive(tmp_path: Path) -> None:
    module = Module()
    keys = [nn.ReLU(), nn.ReLU()]
    module.inner.path = weakref.WeakKeyDictionary()  # type: ignore[assignment]
    kept: Any = module.inner.path
    kept[keys[0]] = 0
    kept[keys[1]] = meter = Meter()
    found = Attributes(trainer_of(tmp_path, module), module)
    assert found.changed() == ({}, [])
    meter.random()
    assert found.changed() == ({"Module.inner.path.data[#1].count": [1, False, False, False]}, [])
    meter.count = 0
    kept[keys[0]] += 1
    assert found.changed() == ({}, ["Module.inner.path.data"])
    del keys[0]
    assert len(kept) == 1
    assert found.changed()[1] == ["Module.inner.path.data"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]),
        lambda: DataLoader([1, 2], num_workers=0),  # type: ignore[arg-type]
        lambda: subprocess.Popen([sys.executable, "-c", "0"]),
    ],
    ids=["profiler", "loader", "process"],
)
def test_a_tool_has_no_state_of_training(make: Callable[[], Any], tmp_path: Path) -> None:
    module = Module()
    tool: Any = make()
    module.inner.path = tool
    found = Attributes(trainer_of(tmp_path, module), module)
    with tool if hasattr(tool, "__enter__") else contextlib.nullcontext():
        getattr(tool, "step", lambda: list(tool) if isinstance(tool, DataLoader) else None)()
    assert found.changed() == ({}, [])


class Measures(Module):
    """Has a metric that makes metrics, one that writes what all metrics have, and a `setattr`."""

    def __init__(self) -> None:
        super().__init__()
        self.each = ClasswiseWrapper(MulticlassAccuracy(2, average=None))
        halved = LambdaInputTransformer(MulticlassAccuracy(2), lambda values: values // 2)
        self.tracked = MetricTracker(halved, maximize=True)

    def go_on(self) -> None:
        self.tracked.increment()
        setattr(self, "_count", 1)  # noqa: B010


def test_what_all_metrics_have_is_saved_elsewhere(tmp_path: Path) -> None:
    """As it happened: a metric that another one made was named for options of its constructor."""
    module = Measures()
    found = Attributes(trainer_of(tmp_path, module), module)
    module.go_on()
    saved, lost = found.changed()
    assert lost == []
    assert {path: own[0] for path, own in saved.items()} == {
        "Measures._count": 1,
        "Measures.tracked._increment_called": True,
    }


class Steps(Module):
    """Has an attribute of the name that a schedule writes into an optimiser."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0


def test_what_a_schedule_puts_around_a_step_is_no_change_of_a_user_s(tmp_path: Path) -> None:
    """As it happened: with SWA, whose schedule comes late, a run was not exact by SGD.step."""
    module = Steps()
    trainer = trainer_of(tmp_path, module)
    optimizers = [torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1) for _ in "ab"]
    trainer.strategy.optimizers = [*optimizers]
    found = Attributes(trainer, module)
    torch.optim.lr_scheduler.ConstantLR(optimizers[0])
    assert found.changed() == ({}, [])
    optimizers[1].step = print  # type: ignore[assignment]
    assert found.changed() == ({}, ["SGD (2).step"])
