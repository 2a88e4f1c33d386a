"""Signals: who handles which, and which processes get none."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def exits_on_sigterm(code: int) -> Iterator[None]:
    """Inside, SIGTERM raises SystemExit with an exit code: Lightning would end with 0."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(code))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def keeps_sigterm() -> Iterator[None]:
    """Put this process's SIGTERM handler back at the end: a library sets one of its own inside."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def out_of_reach_of_ctrl_c() -> Iterator[None]:
    """Start processes that do not get the terminal's Ctrl-C: this process gets it, and stops them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit the mask
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """End this process within a second of its parent, even if the parent was killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
