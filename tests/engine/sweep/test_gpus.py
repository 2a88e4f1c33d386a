"""One of several GPUs for each process, told by CUDA_VISIBLE_DEVICES; no GPU is needed to tell."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.config.resolved import Config
from engine.sweep import gpus

CLAIM = """
import os, sys
from engine.sweep import gpus
gpus.claim({"trainer": {"accelerator": "gpu", "devices": 1}})
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


def config(accelerator: str, devices: int = 1) -> Config:
    return Config({"trainer": {"accelerator": accelerator, "devices": devices}})


@contextmanager
def claiming(folder: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Start a process that claims one of three GPUs, for this context; yield which one it has."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "4,5,6", "TMPDIR": str(folder)}
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def test_each_process_has_its_own_until_there_are_none_left(tmp_path: Path) -> None:
    with (
        claiming(tmp_path) as (one, _),
        claiming(tmp_path) as (two, dies),
        claiming(tmp_path) as (three, _),
    ):
        assert [one, two, three] == ["4", "5", "6"]
        dies.kill()
        dies.wait()
        with (
            claiming(tmp_path) as (four, _),
            claiming(tmp_path) as (five, _),
            claiming(tmp_path) as (six, _),
        ):
            assert four == "5"  # its owner is dead
            assert sorted(Counter([one, four, three, five, six]).values()) == [1, 2, 2]


@pytest.mark.parametrize(
    ("wanted", "visible"),
    [
        (config("cpu"), "0,1"),
        (config("gpu", devices=2), "0,1"),
        (config("gpu"), "1"),
        (config("auto"), ""),
    ],
)
def test_nothing_is_claimed_where_nothing_needs_to(
    wanted: Config, visible: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gpus.claim(wanted)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible
    assert not list(tmp_path.iterdir())


def test_a_part_of_a_gpu_has_a_name_with_slashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-x/1/0, MIG-GPU-x/2/0")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(gpus, "_claims", [])
    gpus.claim(config("gpu"))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "MIG-GPU-x/1/0"
    assert [path.name for path in tmp_path.glob("*/*")] == ["MIG-GPU-x-1-0.0.lock"]
