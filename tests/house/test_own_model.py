"""A user's own model, put in by adding two files: its own limits hold, and no others."""

from pathlib import Path

import pytest

from house.copies import copied, python

MODULE = """
from typing import Annotated, Literal, Unpack

from annotated_types import Ge, Interval
from torch import nn

from engine import StepOptions, SupervisedModule


class Mine(SupervisedModule):
    def __init__(
        self,
        width: Annotated[float, Interval(gt=0, le=4)] = 1.0,
        hidden: list[Annotated[int, Ge(1)]] | int = 8,
        depth: list[int] | None = None,
        activation: Literal["silu", "elu"] = "elu",
        **step: Unpack[StepOptions],
    ) -> None:
        assert isinstance(hidden, list) and type(hidden) is list, type(hidden)
        sizes = [3 * 32 * 32, *(int(width * size) for size in hidden)]
        layers = [nn.Flatten()]
        for inputs, outputs in zip(sizes, sizes[1:]):
            layers += [nn.Linear(inputs, outputs), nn.SiLU() if activation == "silu" else nn.ELU()]
        network = nn.Sequential(*layers, nn.Linear(sizes[-1], 10))
        super().__init__(network, nn.CrossEntropyLoss(), **step)
"""
CONFIG = """
_target_: project.modules.mine.Mine
width: 0.75
hidden: [256, 128]
depth: [2, 2, 6, 2]
activation: silu
optimizer: ${optimizer}
init: ${init}
"""
SHORT = ["module=mine", "callbacks=default", "trainer.max_steps=2", "accelerator=cpu", "logger=csv"]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copied(tmp_path_factory.mktemp("copy"))
    (folder / "src/project/modules/mine.py").write_text(MODULE)
    (folder / "conf/module/mine.yaml").write_text(CONFIG)
    return folder


def test_it_trains(copy: Path) -> None:
    ended = python(
        copy, "-m", "project.train", *SHORT, "module.hidden=[64,32,16]", "module.width=0.5"
    )
    assert ended.returncode == 0, ended.stderr
    assert "finished after 2 steps" in ended.stdout
    (run_dir,) = (copy / "logs/runs/lenet").iterdir()
    network = "(1): Linear(in_features=3072, out_features=32, bias=True)"
    assert network in (run_dir / "train.log").read_text()


def test_it_is_refused_with_its_own_limits(copy: Path, tmp_path: Path) -> None:
    """Checks one value; tests/engine/config/test_objects.py has others of the kind."""
    log_dir = f"paths.log_dir={tmp_path / 'logs'}"
    ended = python(copy, "-m", "project.train", *SHORT, "module.activation=silo", log_dir)
    says = "must be 'silu' or 'elu', by the signature of Mine. Did you mean silu?"
    assert ended.returncode == 2
    assert ended.stderr == f"error: module.activation=silo: {says}\n"
    assert list(tmp_path.iterdir()) == []  # no folder was made
