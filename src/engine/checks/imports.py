"""Lets the first check of a config, which imports PyTorch and Lightning, import in less time."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from engine import signals


@contextmanager
def large(signals_wait: bool = True) -> Iterator[None]:
    """Collects no garbage within this context, in which PyTorch and Lightning are imported.

    They make half a million objects, which stay. Python would look at them for garbage several
    times meanwhile, which takes a seventh of the import, and again and again afterwards. What a
    process has before its first run is frozen: nobody looks at it any more. What its runs make is
    collected as ever. A report makes a million objects that stay, at which Python would look again
    and again, too, and so does a stack of hundreds of jobs.

    PyTorch's code in C++ calls Python while it is imported, and aborts the process where an
    exception comes out of that. So a signal waits for the end of the first import.

    Args:
        signals_wait: whether it does; a report does not import PyTorch.

    Raises:
        Interrupted: at the end, if a signal has come meanwhile.
    """
    is_first = "torch" not in sys.modules
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        if is_first and signals_wait:
            signals.let_steps_look(True, "the import of PyTorch")
        yield
    finally:
        if is_first:
            freeze()
        if was_enabled:
            gc.enable()
        if is_first and signals_wait:
            signals.let_steps_look(False)
            signals.heed()


def freeze() -> None:
    """Has Python look for no garbage among what this process has so far, until it ends."""
    gc.freeze()
    atexit.register(gc.unfreeze)  # libraries in C++ look whether all is freed in the end
