"""Handles signals: Ctrl-C and SIGTERM are never lost, and some processes get none."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

A_MOMENT = 1.0  # seconds in which a handler is called, unless this process waits for others


class Interrupted(SystemExit):
    """Ends what runs because a signal came; its code is the exit code, 130 or 143."""


class _Heeded:
    """Holds what this process knows of the signals that it handles."""

    handled: tuple[signal.Signals, ...] = ()
    process = 0  # the process that began to handle them
    came: int | None = None  # the first one that came
    steps_look = False  # whether each step looks at `came`, and the handler need not raise
    step = ""  # what is to end before somebody looks
    is_answered = False  # whether somebody records or tells now that it came


def _handle(number: int, frame: object) -> None:
    if os.getpid() != _Heeded.process:  # forked, such as a DataLoader's worker
        if number == signal.SIGTERM:
            os._exit(128 + number)
        return  # a terminal sends Ctrl-C to all processes; the first one ends the others
    if _Heeded.came is not None:
        os._exit(128 + number)
    _Heeded.came = number
    if not _Heeded.steps_look:
        heed()
    _say(f"stopping after {_Heeded.step}; once more ends the process at once")


def _say(text: str) -> None:
    """Writes a line of its own; of the processes of a run, the first one does."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        os.write(2, f"\n{text}\n".encode())


@contextmanager
def heeded(*numbers: signal.Signals) -> Iterator[None]:
    """Ends what runs inside when one of some signals comes, by `Interrupted`.

    The handler notes the signal, and raises `Interrupted`, except while steps look: an exception
    that a handler raises may be swallowed, by a destructor for example. So whoever takes steps asks
    `heed` at each, and the end of this context asks once more. A second signal ends the process.

    Signals that this process ignores stay ignored; an inner context of this kind changes nothing.
    Python does not show an `Interrupted` that was swallowed as an error, nor what a signal breaks
    in other threads.

    Raises:
        Interrupted: whatever the signal's own exception has become on its way.
    """
    before = {number: signal.getsignal(number) for number in numbers}
    mine = [number for number, own in before.items() if own not in (None, signal.SIG_IGN, _handle)]
    is_outermost = _handle not in before.values()
    show_swallowed, show_of_thread = sys.unraisablehook, threading.excepthook

    def show_others(swallowed: "sys.UnraisableHookArgs") -> None:
        if not isinstance(swallowed.exc_value, Interrupted):
            show_swallowed(swallowed)

    def show_unbroken(broken: threading.ExceptHookArgs) -> None:
        # A SummaryWriter of the user's has a thread that hands its error on to the code that logs.
        is_writers = type(broken.thread).__module__.startswith("tensorboard.")
        is_told = is_writers and isinstance(broken.exc_value, OSError)
        # joblib's threads are at work while its processes are stopped.
        if _Heeded.came is None and not is_told:
            show_of_thread(broken)

    if is_outermost:
        _Heeded.handled, _Heeded.process = tuple(mine), os.getpid()
        _forget()
    is_left = True
    try:
        for number in mine:
            signal.signal(number, _handle)
        sys.unraisablehook, threading.excepthook = show_others, show_unbroken
        yield
    except GeneratorExit:  # a signal broke the end of `with`, and its exception is on its way
        is_left = False
        raise
    finally:
        sys.unraisablehook, threading.excepthook = show_swallowed, show_of_thread
        for number in mine:
            signal.signal(number, before[number])
        try:
            if is_left:
                heed()
        finally:
            if is_outermost:
                _Heeded.handled = ()
                _forget()


def _forget() -> None:
    _Heeded.came, _Heeded.steps_look = None, False


def heed() -> None:
    """Raises `Interrupted` if a signal has come.

    Raises:
        Interrupted: then.
    """
    if _Heeded.came is not None:
        raise Interrupted(128 + _Heeded.came)


@contextmanager
def undisguised() -> Iterator[None]:
    """Tells what a signal has ended from what ends by itself.

    A signal's exception may break what runs, which then raises another one, or swallows it and
    raises one later. Whoever takes an error for the result of a run or of a job asks here first.
    A user's code may raise SystemExit without a signal, by `sys.exit()`: so its run has failed, and
    the process has other jobs to run.

    Raises:
        Interrupted: for whatever is raised inside after a signal has come.
        RuntimeError: for a SystemExit or a KeyboardInterrupt without a signal.
    """
    try:
        yield
    except Interrupted:
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        if not _Heeded.is_answered:
            heed()
        if isinstance(error, Exception):
            raise
        # Lightning makes an exit of a KeyboardInterrupt.
        is_made = isinstance(error.__context__, KeyboardInterrupt)
        own = error.__context__ if is_made and error.__context__ else error
        if isinstance(own, KeyboardInterrupt) and signal.SIGINT not in _Heeded.handled:
            raise  # it may be Ctrl-C, which nobody notes here
        text = f"the code would end the process: {type(own).__name__}: {own}".removesuffix(": ")
        raise RuntimeError(text).with_traceback(own.__traceback__) from None


@contextmanager
def answered() -> Iterator[None]:
    """Lets errors that are raised inside be what they are: it is known that the signal came."""
    before, _Heeded.is_answered = _Heeded.is_answered, True
    try:
        yield
    finally:
        _Heeded.is_answered = before


def let_steps_look(look: bool, step: str = "this step") -> None:
    """Says whether steps are taken now that ask `heed`; takes back handlers that others have set.

    Lightning's own handler of SIGTERM would let the processes of a run talk to each other.

    Args:
        look: whether they are.
        step: what a signal's line says it waits for.
    """
    _Heeded.steps_look, _Heeded.step = look, step
    for number in _Heeded.handled if look else ():
        signal.signal(number, _handle)


@contextmanager
def counted_while_waiting() -> Iterator[None]:
    """Lets the second signal end this process also while it waits for others in C++.

    Python calls a handler between two lines of the main thread. There are none while that thread
    is in a collective, and a process that never comes may keep it there. A thread of its own reads
    the numbers that Python writes as signals come.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def count() -> None:
        is_second = False
        while number := reader.recv(1):
            if number[0] not in _Heeded.handled:
                continue
            if is_second:
                os._exit(128 + number[0])
            is_second = True
            time.sleep(A_MOMENT)
            if _Heeded.came is None:
                _say("busy, or waiting for other processes; once more ends this one at once")
        reader.close()

    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=count, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writer.close()


def _count_no_more() -> None:
    """Takes a forked process, such as a DataLoader's worker, from what its parent counts."""
    signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_count_no_more)


@contextmanager
def out_of_reach_of_ctrl_c() -> Iterator[None]:
    """Keeps Ctrl-C from processes that are started inside: this process gets it and stops them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # children inherit the mask
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent(grace: float = 0.0, parent: int | None = None) -> None:
    """Ends this process within a second of its parent, even if the parent was killed.

    Args:
        grace: seconds more, for what this process is about to end by itself.
        parent: the number of the process that has started this one; None: whichever it is now.
    """
    parent = os.getppid() if parent is None else parent

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        time.sleep(grace)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
