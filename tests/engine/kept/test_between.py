"""What a run changes for its whole process is put back at its end.

That the jobs of a sweep in one process are as alone is shown in sweep/test_one_after_another.py.
"""

import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import backends
from torch.backends import cudnn, mkldnn
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

from engine.kept import between
from engine.kept.between import put_back

SOURCE = """
import itertools

import torch

steps = 0
numbers = itertools.count()
seen = []
nested = {"rows": [1, 2], "words": {"a"}}
kinds = {"relu": torch.nn.ReLU}
rates = torch.ones(3)
drawn = torch.Generator().manual_seed(1)
many = list(range(20_000))


class Counter:
    total = 0
    last = None
    rows = [1]

    def __init__(self):
        self.count = 0

    def go_on(self):
        global steps, late
        steps += 1
        late = steps
        Counter.total += 1
        Counter.last = self
        Counter.best = 1.0
        Counter.rows.append(2)
        self.count += 1
        seen.append(steps)
        nested["rows"].append(3)
        nested["words"].clear()
        kinds["tanh"] = torch.nn.Tanh
        rates.mul_(2)
        torch.rand(1, generator=drawn)


counter = Counter()
"""


def forget() -> None:
    between._left.clear()
    between._back.clear()
    between._say.cache_clear()


@pytest.fixture
def file() -> Iterator[ModuleType]:
    """A file of a user's with globals; what other tests' runs have changed is forgotten."""
    forget()
    made = ModuleType("file_of_a_user")
    sys.modules[made.__name__] = made
    exec(SOURCE, vars(made))
    yield made
    del sys.modules[made.__name__]
    forget()


def test_what_files_classes_and_their_objects_have_is_put_back(
    file: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    names = "steps", "seen", "nested", "kinds", "rates", "drawn", "counter"
    objects = [vars(file)[name] for name in names[1:]]
    begun = file.drawn.get_state()
    for _ in range(2):
        with put_back([file.__name__, "nosuch"]):
            file.counter.go_on()
            file.counter.go_on()
            assert (file.steps, file.late, file.Counter.total, file.counter.count) == (2, 2, 2, 2)
            assert (file.seen, file.Counter.rows) == ([1, 2], [1, 2, 2])
        assert (file.steps, file.Counter.total, file.counter.count) == (0, 0, 0)
        assert (file.seen, file.Counter.rows, file.Counter.last) == ([], [1], None)
        assert file.nested == {"rows": [1, 2], "words": {"a"}}
        assert file.kinds == {"relu": torch.nn.ReLU}
        assert file.rates.tolist() == [1, 1, 1]
        assert torch.equal(file.drawn.get_state(), begun)
        assert not hasattr(file, "late")
        assert not hasattr(file.Counter, "best")
    # Others may refer to them.
    assert all(vars(file)[n] is own for n, own in zip(names[1:], objects, strict=True))
    with put_back([file.__name__]):
        pass
    # Who gathers results over the jobs of a sweep in a list looks for them in vain: it is said.
    (said,) = caplog.messages
    kept = ("Counter.best", "Counter.last", "Counter.rows", "Counter.total", "counter.count")
    kept += ("drawn", "kinds", "late", "nested", "rates", "seen", "steps")
    assert said.partition("its own: ")[2] == ", ".join(f"file_of_a_user.{name}" for name in kept)


def test_the_file_of_the_command_is_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ModuleType("__main__")
    command.__spec__ = ModuleSpec("my_project.train", None)
    vars(command).update(count=0, results=[])
    monkeypatch.setitem(sys.modules, "__main__", command)
    for files in (["my_project.train"], ["other"]):
        with put_back(files):
            vars(command)["count"] += 1
            command.results.append(1.0)
        left = files == ["other"]
        assert (command.count, command.results) == (left, [1.0] * left)


def test_what_an_error_leaves_is_put_back(file: ModuleType) -> None:
    def fail() -> None:
        with put_back([file.__name__]):
            file.counter.go_on()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (file.steps, file.seen) == (0, [])


def test_a_class_that_lets_nothing_go_hides_no_error_of_the_run(
    file: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    class Kept(type):
        def __delattr__(cls, name: str) -> None:
            raise AttributeError(name)

    def fail() -> None:
        with put_back([file.__name__]):
            vars(file)["Held"].best = 1.0
            raise ZeroDivisionError

    vars(file)["Held"] = Kept("Held", (), {"__module__": file.__name__})
    with pytest.raises(ZeroDivisionError):
        fail()
    with put_back([]):
        pass
    assert "have changed file_of_a_user.Held.best" in caplog.text


def test_what_nobody_can_put_back_is_said_at_the_next_run(
    file: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    with put_back([file.__name__]):
        file.many.append(1)
        next(file.numbers)
    assert not caplog.text
    with put_back([file.__name__]):
        pass
    names = "file_of_a_user.many, file_of_a_user.numbers"
    assert f"runs before this one have changed {names}" in caplog.text


def test_what_a_try_changes_is_put_back_without_a_word(
    file: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    with put_back([file.__name__], is_try=True):
        file.counter.go_on()
    assert (file.steps, file.seen) == (0, [])
    with put_back([file.__name__]):
        pass
    assert not caplog.text
    with put_back([file.__name__], is_try=True):
        next(file.numbers)
    assert "a try before training has changed file_of_a_user.numbers, and" in caplog.text
    with put_back([file.__name__]):  # it was said
        pass
    assert len(caplog.messages) == 1


def test_a_try_within_a_run_leaves_what_objects_of_the_run_may_know(
    file: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    begun = file.drawn.get_state()
    vars(file)["is_first"] = True
    with put_back([file.__name__], is_within=True):
        file.Counter.total = file.steps = file.late = 3
        torch.rand(1, generator=file.drawn)
    assert (file.Counter.total, file.steps, hasattr(file, "late")) == (0, 0, False)
    assert torch.equal(file.drawn.get_state(), begun)
    assert not caplog.text
    caplog.set_level("INFO")
    changes: dict[str, Callable[[], Any]] = {
        "seen": lambda: file.seen.append(1),
        "rates": lambda: file.rates.mul_(2),
        "Counter.last": lambda: setattr(file.Counter, "last", file.counter),
        "Counter.best": lambda: setattr(file.Counter, "best", [1.0]),
        "is_first": lambda: setattr(file, "is_first", False),
    }
    text = "a try before training has changed {}, and training begins with that"
    for number, (name, change) in enumerate(changes.items(), 1):
        caplog.clear()
        with put_back([file.__name__], is_within=True):
            file.Counter.total = file.steps = number
            change()
        assert (file.Counter.total, file.steps) == (number, number)
        numbers = "file_of_a_user.Counter.total, file_of_a_user.steps"
        assert [(one.levelname, one.message) for one in caplog.records] == [
            ("WARNING", text.format(numbers)),
            ("INFO", text.format(f"file_of_a_user.{name}")),
        ]
    assert (file.seen, file.rates.tolist(), file.Counter.best) == ([1], [2, 2, 2], [1.0])
    assert (file.Counter.last, file.is_first) == (file.counter, False)


def test_an_import_is_no_change_and_what_it_brings_may_change_later(file: ModuleType) -> None:
    before = between.marks(["late", file.__name__])
    late = sys.modules["late"] = ModuleType("late")
    try:
        vars(late)["table"] = [1]
        assert between.changed(before, ["late", file.__name__]) is None
        now = between.marks(["late", file.__name__])
        late.table.append(2)
        assert between.changed(now, ["late", file.__name__]) == "late.table"
    finally:
        del sys.modules["late"]
    file.steps += 1
    assert between.changed(before, ["late", file.__name__]) == "file_of_a_user.steps"


@pytest.mark.parametrize("is_try", [False, True])
def test_a_file_with_a_flag_is_put_back_as_a_whole_or_not_at_all(
    is_try: bool, file: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: the table was empty, and the flag said that it was made."""
    vars(file)["is_ready"] = False
    with put_back([file.__name__], is_try=is_try):
        file.counter.go_on()
        vars(file)["is_ready"] = True
    assert (file.steps, file.seen, file.Counter.total, file.late) == (1, [1], 1, 1)
    with put_back([file.__name__]):
        pass
    kept = ["Counter.best", "Counter.last", "Counter.rows", "Counter.total", "counter.count"]
    kept += ["drawn", *["is_ready"] * (not is_try), "kinds", "late", "nested", "rates", "seen"]
    names = ", ".join(f"file_of_a_user.{name}" for name in [*kept, "steps"])
    (said,) = caplog.messages
    assert f"changed {names}" in said


def test_a_table_that_stays_is_not_emptied_where_another_file_has_imported_it(
    file: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: the table was emptied by its other name, and the next job found no width."""
    sys.modules["other"] = other = ModuleType("other")
    vars(other).update(seen=file.seen, steps=5)
    vars(file)["is_ready"] = False
    try:
        with put_back([file.__name__, "other"]):
            file.seen.append(3)
            vars(file)["is_ready"] = True
            vars(other)["steps"] = 6
        assert file.seen == [3]
        assert other.steps == 5
        with put_back([file.__name__, "other"]):
            pass
    finally:
        del sys.modules["other"]
    names = "file_of_a_user.is_ready, file_of_a_user.seen, other.seen"
    assert f"runs before this one have changed {names}" in caplog.text


def test_what_a_process_does_once_by_a_flag_is_not_done_again(
    file: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: the second job of a sweep registered a resolver once more, and failed."""
    vars(file)["is_ready"] = vars(file)["Counter"].is_open = False
    with put_back([file.__name__]):
        vars(file)["is_ready"] = file.Counter.is_open = True
    assert file.is_ready
    assert file.Counter.is_open
    with put_back([file.__name__]):
        pass
    names = "file_of_a_user.Counter.is_open, file_of_a_user.is_ready"
    assert f"runs before this one have changed {names}" in caplog.text


class Registry(dict[str, Any]):
    """Takes no name twice."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self:
            raise KeyError(f"{name} is registered already")
        super().__setitem__(name, value)


def test_a_dict_that_takes_no_name_twice_is_put_back(file: ModuleType) -> None:
    registry = vars(file)["registry"] = Registry(mse=1)
    with put_back([file.__name__]):
        registry["mae"] = 2
    assert file.registry is registry
    assert registry == {"mse": 1}


def test_what_a_library_makes_on_the_way_is_no_file_of_a_users(file: ModuleType) -> None:
    """As it happened: settings stayed where a first job had imported scikit-learn."""
    file.__file__ = "/code/file_of_a_user.py"
    made = [ModuleType("_cython_3"), ModuleType("kernel")]
    made[1].__file__ = "/tmp/cache/kernel.py"
    before = torch.get_float32_matmul_precision()
    try:
        with put_back([file.__name__]):
            sys.modules.update({one.__name__: one for one in made})
            torch.set_float32_matmul_precision("high")
            file.seen.append(1)
        assert (torch.get_float32_matmul_precision(), file.seen) == (before, [])
    finally:
        torch.set_float32_matmul_precision(before)
        for one in made:
            del sys.modules[one.__name__]


def test_what_a_file_has_imported_from_a_library_is_left_alone(
    file: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    late = ModuleType("torch.late")
    exec("from sys import modules", vars(file))
    try:
        with put_back([file.__name__]):
            sys.modules[late.__name__] = late
        assert sys.modules[late.__name__] is late
        with put_back([file.__name__]):
            pass
    finally:
        del sys.modules[late.__name__]
    assert not caplog.text


def test_what_a_file_does_that_is_imported_on_the_way_stays(
    file: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    late = ModuleType("late_file_of_a_user")
    file.__file__, late.__file__ = "/code/file_of_a_user.py", "/code/late.py"
    before = torch.get_float32_matmul_precision()
    try:
        with put_back([file.__name__]):  # a name that is made on the way is in no list
            sys.modules[late.__name__] = late
            file.kinds["late"] = late
            torch.set_float32_matmul_precision("high")
            file.steps = 5
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
        del sys.modules[late.__name__]
    assert file.kinds == {"relu": torch.nn.ReLU, "late": late}
    assert file.steps == 0
    assert not caplog.text
    for _ in range(2):
        with put_back([file.__name__]):
            pass
    assert caplog.text.count("have changed file_of_a_user.kinds") == 1


def test_settings_of_the_process_are_put_back() -> None:
    before = [ask() for ask, _ in between.SETTINGS]
    try:
        with put_back([]):
            torch.set_default_dtype(torch.float64)
            torch.set_default_device("meta")
            torch.set_float32_matmul_precision("high")
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.set_grad_enabled(False)
            torch.autograd.set_detect_anomaly(True)
            torch.set_flush_denormal(True)
            mkldnn.enabled = not mkldnn.enabled
            cudnn.enabled = not cudnn.enabled
            cudnn.conv.fp32_precision = "ieee"
            cudnn.benchmark = not cudnn.benchmark
            cudnn.deterministic = not cudnn.deterministic
            np.seterr(all="raise")
            register_module_forward_hook(lambda *args: None)
            register_optimizer_step_post_hook(lambda *args: None)
            changed = [between._asked(ask) for ask, _ in between.SETTINGS]
            assert not any(a == b for a, b in zip(before, changed, strict=True))
        assert [ask() for ask, _ in between.SETTINGS] == before
        assert torch.ones(1).device.type == "cpu"
        # By the newer way, after which PyTorch does not say what the older one has set.
        with put_back([]):
            backends.cuda.matmul.fp32_precision = "tf32"
        assert [ask() for ask, _ in between.SETTINGS] == before
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
