"""Large imports look for no garbage, and what they leave is never looked at."""

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
    with pytest.raises(KeyboardInterrupt), imports.large():
        raise KeyboardInterrupt
    assert frozen == ["frozen", gc.unfreeze]
    assert gc.isenabled()


@pytest.mark.parametrize("waits", [True, False])
def test_a_signal_waits_for_the_first_import(
    waits: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As it happened: its exception came out of Python under C++, and the process aborted."""
    reached: list[str] = []
    monkeypatch.setattr(imports, "freeze", lambda: reached.append("the end"))
    monkeypatch.delitem(sys.modules, "torch")

    def loads() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append("on")

    with (
        pytest.raises(signals.Interrupted) as stop,
        signals.heeded(signal.SIGTERM),
        imports.large(*([] if waits else [False])),
    ):
        loads()
    assert stop.value.code == 143
    assert reached == (["on", "the end"] if waits else ["the end"])
    says = "\nstopping after the import of PyTorch; once more ends the process at once\n"
    assert capfd.readouterr().err == (says if waits else "")


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
