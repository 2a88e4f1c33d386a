"""Lets the first check of a config, which imports PyTorch and Lightning, import in less time."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from engine import signals


@contextmanager
def large(has_torch: bool = True) -> Iterator[None]:
    """Collects no garbage within this context, in which PyTorch and Lightning are imported.

    They make half a million objects, which stay. Python would look at them for garbage several
    times meanwhile, which takes a seventh of the import, and again and again afterwards. What a
    process has before its first run is frozen: nobody looks at it any more. What its runs make is
    collected as ever. A report makes a million objects that stay, at which Python would look again
    and again, too, and so does a stack of hundreds of jobs.

    Args:
        has_torch: whether PyTorch is imported within; a report does not need it.

    Raises:
        Interrupted: if a signal has come while PyTorch was imported.
    """
    is_first = "torch" not in sys.modules
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        if is_first and has_torch:
            _import_torch()
        yield
    finally:
        if is_first:
            freeze()
        if was_enabled:
            gc.enable()


def _import_torch() -> None:
    """Imports PyTorch; a signal waits until that is done.

    PyTorch's code in C++ calls Python meanwhile, and aborts the process where an exception comes
    out of that. What else is imported, such as a user's own module, a signal ends at once.
    """
    signals.let_steps_look(True, "the import of PyTorch")
    try:
        import torch.distributed  # noqa: F401
    finally:
        signals.let_steps_look(False)
    signals.heed()


def freeze() -> None:
    """Has Python look for no garbage among what this process has so far, until it ends."""
    gc.freeze()
    atexit.register(gc.unfreeze)  # libraries in C++ look whether all is freed in the end
