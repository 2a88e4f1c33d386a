"""Gives every test one thread and a run's silenced warnings, and some a small CIFAR-10.

What takes long to import is imported in fixtures: the process that hands out the tests needs none.
"""

import atexit
import gc
import hashlib
import io
import logging
import os
import pickle
import signal
import tarfile
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import warm
from engine import messages
from engine.checks import imports

if TYPE_CHECKING:
    from browser import Browser

# Both are read when torch is imported. Which vector instructions a CPU has, the system says; on a
# machine where no step was ever compiled, PyTorch would take 6 s to ask the compiler, too.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TORCHINDUCTOR_VEC_ISA_OK"] = "1"


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell began this in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    warm.forget_the_disk()
    warm.look_at_packages_once()
    if not hasattr(config, "workerinput"):  # the workers are in their parent's session
        warm.begin(at_once=bool(config.getoption("numprocesses", None)))
    else:
        atexit.register(_end, os.getpid())


def _end(process: int) -> None:
    """Ends a process that tests were handed to: Python takes seconds to take down what they import.

    Functions for the end that were registered before are not called any more.
    """
    if os.getpid() == process:  # and no fork of it, which has an exit code of its own
        os._exit(0)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        warm.end()


# Whichever process gets one of these last is alone in the end, or both make its runs: they come
# first.
LONG = ("test_fuzz.py", "test_in_a_browser.py", "test_kill_storm.py", "test_ray_launcher.py")


def _turn(item: pytest.Item) -> int:
    """Tells when a test comes: what compiles steps first, all of it in one process.

    The first such process imports the compiler, and the first on a machine compiles PyTorch's
    headers, for which another one would wait.
    """
    name = item.nodeid.rpartition("/")[2]
    return 0 if "compile" in name else 1 if item.path.name in LONG else 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_turn)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    gc.disable()  # what is imported stays: no collection need look at it, now or later
    yield
    gc.collect()
    imports.freeze()
    gc.enable()
    warm.collect_seldom()


@pytest.fixture(scope="session", autouse=True)
def _kept_configs() -> Iterator[None]:
    import kept_configs

    with kept_configs.keeping():
        yield


@pytest.fixture(autouse=True)
def _as_in_a_run() -> Iterator[None]:
    from engine import SupervisedModule, TensorDataModule

    messages.silence_harmless()
    logging.getLogger("lightning").setLevel(logging.WARNING)  # a test that is no run has no filter
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    for kind in (SupervisedModule, TensorDataModule):
        for message, _ in kind.HARMLESS:
            warnings.filterwarnings("ignore", message=message)
    os.environ.pop("HYDRA_FULL_ERROR", None)  # set by a command that some fixture ran
    environment = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Browser"]:
    """Starts a browser, or skips the test where there is none. Its pages cost time until then."""
    import browser

    if browser.CHROMIUM is None:
        pytest.skip(browser.ABSENT)
    with browser.chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


@pytest.fixture
def small_cifar10(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Makes the files of a small CIFAR-10, whose md5s torchvision now takes for the real ones."""
    import numpy as np
    from torchvision.datasets import CIFAR10

    training = [f"data_batch_{number}" for number in range(1, 6)]
    rng = np.random.default_rng(0)
    contents = {
        name: pickle.dumps(
            {
                "data": rng.integers(0, 256, (40, 3072), dtype=np.uint8),
                "labels": rng.permutation(np.arange(40) % 10).tolist(),
            }
        )
        for name in [*training, "test_batch"]
    }
    contents["batches.meta"] = pickle.dumps({"label_names": [f"class {i}" for i in range(10)]})
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5(contents[name])] for name in training])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5(contents["test_batch"])]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(contents["batches.meta"])})
    return contents


@pytest.fixture
def small_cifar10_archive(
    small_cifar10: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> bytes:
    from torchvision.datasets import CIFAR10

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in small_cifar10.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(packed.getvalue()))
    return packed.getvalue()
