"""A GPU is used, gives the CPU's numbers up to rounding, and a killed run goes on exactly."""

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from commands import only_run, run_train, train_in_process
from engine import StepCallback, SupervisedModule, seeds
from engine.run import folders
from fitting import Arrays, plain_trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
LENET = [
    "experiment=lenet",
    "datamodule=digits",
    "trainer.max_epochs=1",
    "trainer.log_every_n_steps=1",
]


def trained(log_dir: Path, *words: str) -> Path:
    run_train(*LENET, *words, f"paths.log_dir={log_dir}")
    return only_run(log_dir)


def losses(run_dir: Path) -> list[float]:
    with open(run_dir / "metrics.csv", newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


@pytest.mark.parametrize("accelerator", ["gpu", "auto"])
def test_is_used_and_gives_the_losses_of_the_cpu(accelerator: str, tmp_path: Path) -> None:
    on_gpu = trained(
        tmp_path / "gpu", f"accelerator={accelerator}", "datamodule.steps_per_epoch=50"
    )
    on_cpu = trained(tmp_path / "cpu", "accelerator=cpu", "datamodule.steps_per_epoch=50")
    summary = json.loads((on_gpu / "summary.json").read_text())
    assert summary["device"] == f"1 × {torch.cuda.get_device_name()}"
    assert losses(on_gpu) == pytest.approx(losses(on_cpu), rel=1e-2)
    assert losses(on_gpu)[:5] == pytest.approx(losses(on_cpu)[:5], rel=1e-4)


@pytest.mark.parametrize("gradients", ["numpy", "manual", "autograd"])
def test_gradients_by_hand(gradients: str, tmp_path: Path) -> None:
    words = [
        "experiment=two_layer_by_hand",
        f"module.gradients={gradients}",
        "datamodule.steps_per_epoch=50",
    ]
    for accelerator in ("gpu", "cpu"):
        run_train(*words, f"accelerator={accelerator}", f"paths.log_dir={tmp_path / accelerator}")
    ours, theirs = (losses(only_run(tmp_path / accelerator)) for accelerator in ("gpu", "cpu"))
    assert len(ours) == 50
    assert ours == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_compiled_step_is_captured_and_gives_the_losses_of_the_eager_one(
    optimizer: str, tmp_path: Path
) -> None:
    words = [
        "accelerator=gpu",
        f"optimizer={optimizer}",
        "datamodule.steps_per_epoch=350",  # with a short batch at the end of each pass
    ]
    eager = trained(tmp_path / "eager", *words)
    compiled = trained(tmp_path / "compiled", *words, "compile=true")
    assert "the steps are not compiled" not in (compiled / "train.log").read_text()
    assert losses(compiled)[:10] == pytest.approx(losses(eager)[:10], rel=1e-4)
    assert losses(compiled)[-1] != losses(eager)[-1]  # rounding tells them apart
    singly = trained(tmp_path / "singly", *words, "compile=true", "trainer.steps_per_call=1")
    assert losses(singly) == losses(compiled)


class Masked(nn.Linear):
    """Has a tensor that is no buffer."""

    def __init__(self) -> None:
        super().__init__(6, 2)
        self.mask = torch.ones(2, device="cuda")

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.mask


class Masks(StepCallback):
    """Puts another tensor in its place at the start of each epoch."""

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        module.network.mask = torch.tensor([1.0, 0.2 * trainer.current_epoch], device="cuda")


def test_a_captured_step_reads_another_tensor_of_a_layer(tmp_path: Path) -> None:
    """A graph has the address of the one before."""
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(32, n)).astype(np.float32) for n in (6, 2))
    states = []
    for is_compiled in (True, False):
        torch.manual_seed(0)
        module = SupervisedModule(Masked(), nn.MSELoss(), optimizer=partial(SGD, lr=0.1))
        folder = tmp_path / str(is_compiled)
        folder.mkdir()
        options = {"accelerator": "gpu", "compiled": is_compiled, "max_epochs": 4}
        trainer = plain_trainer(folder, callbacks=[Masks()], **options)
        trainer.fit(module, Arrays({"train": (x, y)}, batch_size=8))
        states.append(module.network.weight.detach())
    torch.testing.assert_close(*states, rtol=1e-4, atol=1e-6)


def test_blocks_of_any_size_give_the_same_bits(tmp_path: Path) -> None:
    words = [*LENET, "accelerator=gpu", "trainer.log_every_n_steps=50"]
    tables = []
    for steps in (1, 7, 1000):
        run_train(
            *words, f"trainer.steps_per_call={steps}", f"paths.log_dir={tmp_path / str(steps)}"
        )
        tables.append((only_run(tmp_path / str(steps)) / "metrics.csv").read_text())
    assert len(set(tables)) == 1


@pytest.mark.parametrize("more", [[], ["compile=true"]], ids=["eager", "compiled"])
def test_a_killed_run_goes_on_exactly(more: list[str], tmp_path: Path) -> None:
    words = [*LENET, "accelerator=gpu", "callbacks.checkpoints.every_n_steps=100", *more]
    whole = trained(tmp_path / "whole", *words)
    assert (
        train_in_process(
            [*words, f"paths.log_dir={tmp_path / 'killed'}"], kill_at="on_train_batch_end:250"
        )
        == -9
    )
    killed = only_run(tmp_path / "killed")
    run_train(f"resume={killed}")
    ours, theirs = (
        torch.load(run / folders.LAST, weights_only=True, map_location="cpu")
        for run in (killed, whole)
    )
    for name, weight in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], weight), name
    assert (killed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def test_a_vectorised_sweep_is_as_good_as_one_by_one(tmp_path: Path) -> None:
    words = [
        "-m",
        *LENET,
        "accelerator=gpu",
        "datamodule.steps_per_epoch=50",
        "seed=0,1",
        "optimizer.lr=0.01,0.001",
    ]
    run_train(*words, "hydra/launcher=vectorized", f"paths.log_dir={tmp_path / 'together'}")
    run_train(*words, f"paths.log_dir={tmp_path / 'alone'}")
    runs_alone = {path.name: path for path in tmp_path.glob("alone/sweeps/lenet/*-????????")}
    together = list(tmp_path.glob("together/sweeps/lenet/*-????????"))
    assert len(together) == len(runs_alone) == 4
    for run_dir in together:
        assert losses(run_dir) == pytest.approx(losses(runs_alone[run_dir.name]), rel=1e-2)
        assert losses(run_dir)[:5] == pytest.approx(losses(runs_alone[run_dir.name])[:5], rel=1e-4)
        assert (run_dir / folders.BEST).exists()
        ours, theirs = (
            json.loads((run / "summary.json").read_text())
            for run in (run_dir, runs_alone[run_dir.name])
        )
        assert (ours["status"], ours["device"]) == ("finished", theirs["device"])


def test_generators_of_gpus_go_on_where_their_states_were_read(tmp_path: Path) -> None:
    devices = range(torch.cuda.device_count())

    def draw() -> list[float]:
        return [torch.rand((), device=f"cuda:{device}").item() for device in devices]

    torch.cuda.manual_seed_all(5)
    draw()
    torch.save(seeds.generator_states(), tmp_path / "states")
    drawn = draw()
    torch.cuda.manual_seed_all(1)
    assert draw() != drawn
    seeds.restore_generators(torch.load(tmp_path / "states", weights_only=True))
    assert draw() == drawn
