"""Time per LeNet-5 training step at batch 4: this project beside hand-written loops, in one process run.

    OMP_NUM_THREADS=1 python benchmarks/step_time.py

Prints, per round and as the median over rounds, milliseconds per step of
  project   experiment=lenet as a user runs it: TensorBoard, metrics.csv, progress bar, checkpoints, all callbacks
  hand      (a) a plain PyTorch loop over a uint8 tensor in memory, with a running loss
  tutorial  (b) the 60-minute tutorial's loop: PIL images, torchvision transforms, DataLoader with two workers
and the ratio project / hand. The three take turns, so that a machine whose speed drifts slows all of them.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from project import build, hparams, messages
from project.config import CONF, register_resolvers
from project.datamodules.images import ImageDataModule
from project.datamodules.tensors import Split
from project.modules.lenet import LeNet5

BATCH, IMAGES, WARM_UP = 4, 10_000, 50


def cifar_like() -> Split:
    """Random images of CIFAR-10's shape: speed does not depend on what they show."""
    numbers = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=numbers)
    return Split(images, torch.randint(0, 10, (IMAGES,), generator=numbers))


class RandomImages(ImageDataModule):
    """The random images as the project serves images."""

    class_names = [str(number) for number in range(10)]

    def load(self) -> dict[str, Split]:
        return {"train": cifar_like()}


class Clock(Callback):
    """Seconds from the start of step `WARM_UP` to the end of the last."""

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: object, batch_idx: int) -> None:
        if batch_idx == WARM_UP:
            self.began = time.perf_counter()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.seconds = time.perf_counter() - self.began


def project_loop(steps: int) -> float:
    """Seconds per step of the project, built as project.train builds it."""
    options = ["experiment=lenet", "datamodule=digits", "accelerator=cpu", "trainer.max_epochs=1"]
    with initialize_config_dir(str(CONF), version_base="1.3"), tempfile.TemporaryDirectory() as folder:
        config = compose("config", overrides=[*options])
        config.datamodule = {
            "_target_": f"{__name__}.RandomImages", "seed": 0, "batch_size": BATCH, "steps_per_epoch": steps + WARM_UP
        }  # fmt: skip
        data = build.datamodule(config)
        module = build.module(config, data)
        trainer = build.trainer(config, Path(folder))
        trainer.callbacks.append(clock := Clock())
        hparams.log_start(trainer, config, ["objective"])
        trainer.fit(module, data)
    return clock.seconds / steps


def hand_loop(steps: int) -> float:
    """(a) Seconds per step of a plain loop over tensors in memory."""
    data, network, optimizer, loss_of = cifar_like(), *_learner()
    began, running = 0.0, 0.0
    order = torch.randperm(IMAGES)
    for step in range(steps + WARM_UP):
        if step == WARM_UP:
            began = time.perf_counter()
        chosen = order[step * BATCH % IMAGES : step * BATCH % IMAGES + BATCH]
        inputs, targets = data.inputs[chosen].float().div(255).sub(0.5).div(0.5), data.targets[chosen]
        running += _step(network, optimizer, loss_of, inputs, targets)
    return (time.perf_counter() - began) / steps


class PILImages(Dataset[tuple[Tensor, int]]):
    """The random images one by one, as torchvision's data sets give them."""

    def __init__(self) -> None:
        split = cifar_like()
        self.images, self.targets = split.inputs.permute(0, 2, 3, 1).numpy(), split.targets.tolist()
        normalize = transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.transform = transforms.Compose([transforms.ToTensor(), normalize])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.targets[index]


def tutorial_loop(steps: int) -> float:
    """(b) Seconds per step of the tutorial's loop."""
    network, optimizer, loss_of = _learner()
    loader = DataLoader(PILImages(), batch_size=BATCH, shuffle=True, num_workers=2)
    began, running = 0.0, 0.0
    for step, (inputs, targets) in enumerate(loader):
        if step == WARM_UP:
            began = time.perf_counter()
        if step == steps + WARM_UP:
            break
        running += _step(network, optimizer, loss_of, inputs, targets)
    return (time.perf_counter() - began) / steps


def _learner() -> tuple[nn.Module, torch.optim.Optimizer, nn.Module]:
    torch.manual_seed(0)
    network = LeNet5().network
    return network, torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9), nn.CrossEntropyLoss()


def _step(
    network: nn.Module, optimizer: torch.optim.Optimizer, loss_of: nn.Module, inputs: Tensor, targets: Tensor
) -> float:
    optimizer.zero_grad()
    loss = loss_of(network(inputs), targets)
    loss.backward()
    optimizer.step()
    return float(loss.item())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--without-tutorial", action="store_true", help="time only project and hand")
    arguments = parser.parse_args()
    register_resolvers()
    messages.silence_harmless()
    loops: dict[str, Callable[[int], float]] = {"project": project_loop, "hand": hand_loop}
    if not arguments.without_tutorial:
        loops["tutorial"] = tutorial_loop
    threads = f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}, {torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {threads}, {arguments.steps} steps a round, ms per step")
    times: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(arguments.rounds):
        for name, loop in loops.items():
            times[name].append(1000 * loop(arguments.steps))
        row = "  ".join(f"{name} {values[-1]:6.3f}" for name, values in times.items())
        print(f"round {number + 1}: {row}  project/hand {times['project'][-1] / times['hand'][-1]:.2f}", flush=True)
    ratios = [ours / theirs for ours, theirs in zip(times["project"], times["hand"], strict=True)]
    medians = "  ".join(f"{name} {statistics.median(values):6.3f}" for name, values in times.items())
    spread = f"(from {min(ratios):.2f} to {max(ratios):.2f})"
    print(f"median:  {medians}  project/hand {statistics.median(ratios):.2f} {spread}")


if __name__ == "__main__":
    main()
