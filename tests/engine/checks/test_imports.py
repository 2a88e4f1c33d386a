"""Large imports look for no garbage, and what they leave is never looked at."""

import builtins
import gc
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from commands import run_train
from engine import signals
from engine.checks import imports


@pytest.fixture
def collections() -> Iterator[list[str]]:
    """Gives the phases of all collections from now on."""
    found: list[str] = []

    def note(phase: str, about: object) -> None:
        found.append(phase)

    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)


class Link:
    """Is garbage that only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


def some() -> list[Any]:
    return [Link() for _ in range(10 * gc.get_threshold()[0])]


def test_nothing_is_collected_while_large_libraries_are_imported(collections: list[str]) -> None:
    some()
    assert collections  # as ever
    collections.clear()
    with imports.large():
        some()
        meanwhile = [*collections]
    assert meanwhile == []
    some()
    assert collections


def test_only_what_is_there_before_the_first_run_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[str] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append("frozen"))
    monkeypatch.setattr(imports.atexit, "register", frozen.append)
    with imports.large():  # PyTorch has been imported
        pass
    assert frozen == []
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(imports, "_import_torch", lambda: None)
    with pytest.raises(KeyboardInterrupt), imports.large():
        raise KeyboardInterrupt
    assert frozen == ["frozen", gc.unfreeze]
    assert gc.isenabled()


@pytest.mark.parametrize("of", ["torch", "user"])
def test_a_signal_waits_for_the_import_of_pytorch_and_for_no_other(
    of: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As it happened: its exception came out of Python under C++, and the process aborted."""
    reached: list[str] = []
    real = builtins.__import__

    def imported(name: str, *args: Any, **options: Any) -> Any:
        if name == "torch.distributed":
            return comes("torch")
        return real(name, *args, **options)

    def comes(during: str) -> None:
        if during == of:
            os.kill(os.getpid(), signal.SIGTERM)
        reached.append(f"{during} is there")

    monkeypatch.setattr(imports, "freeze", lambda: None)
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(builtins, "__import__", imported)
    with (
        pytest.raises(signals.Interrupted) as stop,
        signals.heeded(signal.SIGTERM),
        imports.large(),
    ):
        comes("user")
    assert stop.value.code == 143
    assert reached == ["torch is there"]
    says = "\nstopping after the import of PyTorch; once more ends the process at once\n"
    assert capfd.readouterr().err == says * (of == "torch")


def test_a_report_imports_no_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "freeze", lambda: None)
    monkeypatch.delitem(sys.modules, "torch")
    with imports.large(has_torch=False):
        assert "torch" not in sys.modules


def test_who_collects_nothing_is_not_made_to() -> None:
    gc.disable()
    try:
        with imports.large():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_command_that_is_refused_leaves_the_collector_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run_train("experiment=curve_fit", "module.hidden=0")
    assert "module.hidden=0: must be greater than or equal to 1" in capsys.readouterr().err
    assert gc.isenabled()
