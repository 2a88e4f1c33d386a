"""CIFAR-10, from a server on this machine with a small archive in the real one's layout."""

import multiprocessing
import os
import pickle
import re
import signal
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pooch.core
import pytest
import torch
from tqdm.auto import tqdm

from engine.errors import UserError
from project.datamodules.cifar10 import CIFAR10DataModule

BATCHES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
IMAGES = 40  # of each batch, in conftest's small_cifar10
# The children here only download and unpack; no thread of the parent holds a lock that they need.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

Reply = Callable[[BaseHTTPRequestHandler, bytes], None]


class Server(ThreadingHTTPServer):
    """Answers with one of `replies` after the other, and on with the last."""

    def __init__(self, archive: bytes) -> None:
        self.archive, self.replies, self.gets, self.half_sent, self.go_on = (
            archive,
            [whole],
            0,
            *events(2),
        )
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/cifar-10-python.tar.gz"

    def handle_error(self, *_: object) -> None:
        """The client went away: some tests do that."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        reply = self.server.replies[min(self.server.gets, len(self.server.replies) - 1)]
        self.server.gets += 1
        reply(self, self.server.archive)

    def log_message(self, *_: object) -> None:
        pass


def events(number: int) -> list[threading.Event]:
    return [threading.Event() for _ in range(number)]


def start(request: BaseHTTPRequestHandler, size: int) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(size))
    request.end_headers()


def whole(request: BaseHTTPRequestHandler, archive: bytes) -> None:
    start(request, len(archive))
    request.wfile.write(archive)


def fails(request: BaseHTTPRequestHandler, archive: bytes) -> None:
    request.send_error(503)


def truncated(request: BaseHTTPRequestHandler, archive: bytes) -> None:
    start(request, len(archive))
    request.wfile.write(archive[:-100])


def other(request: BaseHTTPRequestHandler, archive: bytes) -> None:
    start(request, 5)
    request.wfile.write(b"other")


def silent(request: BaseHTTPRequestHandler, archive: bytes) -> None:
    request.server.go_on.wait(10)


def stops_half_way(request: BaseHTTPRequestHandler, archive: bytes) -> None:
    start(request, len(archive))
    request.wfile.write(archive[: len(archive) // 2])
    request.server.half_sent.set()
    request.server.go_on.wait(10)


def slow(request: BaseHTTPRequestHandler, archive: bytes) -> None:
    start(request, len(archive))
    for piece in np.array_split(np.frombuffer(archive, np.uint8), 6):
        time.sleep(0.1)
        request.wfile.write(piece.tobytes())


@pytest.fixture
def server(small_cifar10_archive: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(
        pooch.core, "time", SimpleNamespace(sleep=lambda _: None)
    )  # between two attempts
    with Server(small_cifar10_archive) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.go_on.set()
        server.shutdown()


def datamodule(
    folder: Path, url: str = "http://127.0.0.1:9/", **options: float
) -> CIFAR10DataModule:
    return CIFAR10DataModule(
        str(folder), url=url, **{"seed": 0, "batch_size": 4, "timeout": 5.0, **options}
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


INSTALLED = ["cifar-10-batches-py", "cifar-10-python.tar.gz"]


def test_images_and_targets_are_those_of_the_pickles(
    tmp_path: Path, server: Server, small_cifar10: dict[str, bytes]
) -> None:
    data = datamodule(tmp_path / "new" / "folder", server.url)
    data.prepare_data()
    assert list(data.splits) == ["train", "test"]
    for split, batches in (("train", BATCHES[:5]), ("test", BATCHES[5:])):
        pickles = [pickle.loads(small_cifar10[name]) for name in batches]
        inputs, targets = data.splits[split].inputs, data.splits[split].targets
        assert (inputs.dtype, targets.dtype, inputs.is_contiguous()) == (
            torch.uint8,
            torch.int64,
            True,
        )
        assert inputs.shape == (IMAGES * len(batches), 3, 32, 32)
        np.testing.assert_array_equal(
            inputs.flatten(1), np.concatenate([p["data"] for p in pickles])
        )
        assert targets.tolist() == [label for p in pickles for label in p["labels"]]


def test_classes_are_in_the_order_of_the_targets() -> None:
    assert (
        ", ".join(CIFAR10DataModule.class_names)
        == "plane, car, bird, cat, deer, dog, frog, horse, ship, truck"
    )


def test_validation_samples_are_stratified_and_do_not_depend_on_the_seed(
    tmp_path: Path, server: Server
) -> None:
    splits = []
    for seed in (0, 1):
        data = datamodule(tmp_path, server.url, val_fraction=0.25, seed=seed)
        data.prepare_data()
        splits.append(data.splits)
    counts = {name: split.targets.bincount().tolist() for name, split in splits[0].items()}
    assert counts == {"train": [15] * 10, "val": [5] * 10, "test": [4] * 10}
    assert torch.equal(splits[0]["val"].inputs, splits[1]["val"].inputs)


def test_what_is_there_is_not_fetched_again(tmp_path: Path, server: Server) -> None:
    for _ in range(2):
        datamodule(tmp_path, server.url).prepare_data()
    assert server.gets == 1
    assert names(tmp_path) == INSTALLED


@pytest.mark.parametrize(
    "bad", [fails, truncated, other], ids=["error 503", "truncated", "wrong md5"]
)
def test_a_failed_attempt_is_made_again(tmp_path: Path, server: Server, bad: Reply) -> None:
    server.replies = [bad, bad, whole]
    datamodule(tmp_path, server.url).prepare_data()
    assert server.gets == 3
    assert names(tmp_path) == INSTALLED


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (fails, "503 Server Error: Service Unavailable for url: .*"),
        (truncated, r"IncompleteRead\(.*"),
        (other, "MD5 hash of downloaded file .* does not match the known hash: .*"),
        (silent, r"no answer in 0\.2 s \(datamodule\.timeout\)"),
    ],
    ids=["error 503", "truncated", "wrong md5", "silent"],
)
def test_a_download_that_keeps_failing_names_the_ways_on(
    tmp_path: Path, server: Server, bad: Reply, reason: str
) -> None:
    server.replies = [bad]
    began = time.monotonic()
    with pytest.raises(UserError) as raised:
        datamodule(tmp_path, server.url, timeout=0.2).prepare_data()
    assert time.monotonic() - began < 2
    first, second = str(raised.value).split("\n")
    stem = (
        f"datamodule.data_dir={tmp_path}: holds no intact CIFAR-10; "
        f"getting it from {server.url} failed: "
    )
    assert re.fullmatch(re.escape(stem) + reason + r"\.", first)
    assert not first.endswith("..")
    assert second == (
        f"Put the archive at {tmp_path}/cifar-10-python.tar.gz, or use datamodule=image_folder "
        "datamodule.data_dir=FOLDER, or datamodule=digits."
    )
    server.go_on.set()
    while names(tmp_path):  # a thread that was given up tidies up when it ends
        assert time.monotonic() - began < 10
        time.sleep(0.05)


def test_a_refused_connection_says_so(tmp_path: Path, server: Server) -> None:
    with socket.socket() as bound:  # bound, but not listening: nobody answers at this port
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match=r"failed: \[Errno \d+\] Connection refused\.\n"):
            datamodule(tmp_path, f"http://127.0.0.1:{bound.getsockname()[1]}/").prepare_data()


def test_a_name_server_that_does_not_answer_is_given_up(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: server.go_on.wait(10) and [])
    with pytest.raises(UserError, match=r"no answer in 0\.2 s"):
        datamodule(tmp_path, "http://cifar.invalid/", timeout=0.2).prepare_data()


def test_a_slow_download_is_not_cut_off(tmp_path: Path, server: Server) -> None:
    server.replies = [slow]  # 0.6 s, a piece each 0.1 s
    datamodule(tmp_path, server.url, timeout=0.25).prepare_data()
    assert server.gets == 1
    assert names(tmp_path) == INSTALLED


def test_an_archive_put_there_by_hand_is_used(tmp_path: Path, small_cifar10_archive: bytes) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(small_cifar10_archive)
    data = datamodule(tmp_path)
    data.prepare_data()
    assert len(data.splits["train"]) == 5 * IMAGES


def test_a_damaged_archive_is_named_where_no_other_can_be_had(
    tmp_path: Path, server: Server
) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"damaged")
    server.replies = [fails]
    with pytest.raises(UserError) as raised:
        datamodule(tmp_path, server.url).prepare_data()
    assert f"data_dir={tmp_path}: holds a damaged cifar-10-python.tar.gz (wrong md5); " in str(
        raised.value
    )
    server.replies = [whole]
    datamodule(tmp_path, server.url).prepare_data()
    assert names(tmp_path) == INSTALLED


def test_a_changed_batch_is_found_and_replaced(
    tmp_path: Path, server: Server, small_cifar10: dict[str, bytes]
) -> None:
    data = datamodule(tmp_path, server.url)
    data.prepare_data()
    batch = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:-1] + b"?")
    with pytest.raises(
        UserError, match=re.escape(f"datamodule.data_dir={tmp_path}: holds no intact CIFAR-10.")
    ):
        data.load()
    data.prepare_data()
    assert batch.read_bytes() == small_cifar10["data_batch_3"]
    assert names(tmp_path) == INSTALLED


def test_two_processes_download_once(tmp_path: Path, server: Server) -> None:
    server.replies = [slow]
    processes = [in_another_process(tmp_path, server) for _ in range(2)]
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0, 0]
    assert server.gets == 1
    assert names(tmp_path) == INSTALLED


def test_a_kill_during_the_download_leaves_nothing_half_done(
    tmp_path: Path, server: Server
) -> None:
    server.replies = [stops_half_way, whole]
    process = in_another_process(tmp_path, server)
    assert server.half_sent.wait(20)
    process.kill()
    process.join()
    (left,) = names(tmp_path)
    assert left.startswith(".cifar-10-python.tar.gz.")
    datamodule(tmp_path, server.url).prepare_data()
    assert names(tmp_path) == INSTALLED


def test_a_kill_during_the_unpacking_leaves_nothing_half_done(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as unpacking:
        unpacking.setattr(tarfile.TarFile, "extractall", unpack_one_file_and_die)
        process = in_another_process(tmp_path, server)
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in tmp_path.glob(".partial/*/*")] == ["data_batch_1"]
    assert names(tmp_path) == [".partial", "cifar-10-python.tar.gz"]
    datamodule(tmp_path, server.url).prepare_data()
    assert server.gets == 1
    assert names(tmp_path) == INSTALLED


def in_another_process(folder: Path, server: Server) -> multiprocessing.context.ForkProcess:
    def prepare() -> None:
        # All processes forked from this one share tqdm's lock. A child that is killed while it has
        # the lock would keep the lock for good.
        tqdm.set_lock(threading.RLock())
        datamodule(folder, server.url).prepare_data()

    process = multiprocessing.get_context("fork").Process(target=prepare)
    process.start()
    return process


def unpack_one_file_and_die(tar: tarfile.TarFile, folder: Path, **_: object) -> None:
    tar.extract(tar.getmembers()[0], folder, filter="data")
    os.kill(os.getpid(), signal.SIGKILL)
