"""Measures the time per step: this project, hand-written loops and the usual template.

    OMP_NUM_THREADS=1 python benchmarks/step_time.py
    OMP_NUM_THREADS=1 python benchmarks/step_time.py --cases lenet-4 curve_fit --rounds 7
    OMP_NUM_THREADS=1 python benchmarks/step_time.py --accelerator gpu
    OMP_NUM_THREADS=1 python benchmarks/step_time.py --cases lenet-4 lenet-64 \
        --loops eager flip_crop each --against eager

Milliseconds per step, as the median over rounds in which the contestants take turns, of
  eager     this project as a user runs it: TensorBoard, metrics.csv, progress bar, checkpoints, all
            callbacks
  compiled  the same with compile=true, without the time that compiling takes
  single    eager with trainer.steps_per_call=1
  flip_crop eager with augment=flip_crop
  each      eager with flips of torchvision's, which are called for each image by itself
  hand      a plain PyTorch loop over tensors in memory, with a running loss: nothing else
  graph     on a GPU, a hand-written loop that replays a CUDA graph of its step
  tutorial  the 60-minute tutorial's loop: images decoded and transformed one by one, DataLoader
            with two workers
  template  an ordinary LightningModule as popular templates write it: the same data, DataLoader,
            torchmetrics, TensorBoard, progress bar and ModelCheckpoint
LeNet-5 logs rows as often as the experiment does on CIFAR-10. The regressors log a row every 100
steps, and draw no pictures; `rows` logs a row at every step. All loops run in one process. Writes
benchmarks/results/step_time.json, or step_time_gpu.json. A run of some of the cases or loops writes
….part.json.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, TensorDataset
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy
from torchvision import transforms

from engine import messages
from engine.config.resolved import Config
from engine.data.split import Split
from engine.run import build
from engine.steps.callback import StepCallback
from engine.steps.rows import steps_of_a_row
from measuring import in_turns, ratio, save, table
from project.datamodules.images import ImageDataModule
from project.train import train

CIFAR = 50_000  # images of training
IMAGES = 10_240  # whole batches of every size, as a shorter batch would be compiled once more
EACH = (
    "module.augment={each: {_target_: engine.augment.Each, "
    "transform: {_target_: torchvision.transforms.v2.RandomHorizontalFlip}}}"
)
WARM_UP = 50  # steps before the clock starts


def cifar_like() -> Split:
    """Draws random images of CIFAR-10's shape: speed does not depend on the pictures."""
    numbers = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=numbers)
    return Split(images, torch.randint(0, 10, (IMAGES,), generator=numbers))


class RandomImages(ImageDataModule):
    """Serves the random images as the project serves images."""

    class_names = [str(number) for number in range(10)]

    def load(self) -> dict[str, Split]:
        return {"train": cifar_like()}


@dataclass(frozen=True)
class Case:
    """Names a model and its data: an experiment, words that change it, and the steps of a round."""

    experiment: str
    steps: int
    words: tuple[str, ...] = ()
    batch_size: int | None = None  # of images; None: all the data in one batch


CASES = {
    **{
        f"lenet-{size}": Case("lenet", steps, batch_size=size)
        for size, steps in ((4, 1000), (64, 200), (512, 98))
    },
    "two_layer": Case("two_layer", 10_000, ("callbacks.progress_bar.line_every_n_steps=null",)),
    "curve_fit": Case(
        "curve_fit",
        10_000,
        ("callbacks.progress_bar.line_every_n_steps=null", "callbacks.curve=null"),
    ),
    "linear": Case("linear", 10_000),
}


def now() -> float:
    """Returns the clock's seconds, after waiting for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Clock(StepCallback):
    """Measures the seconds from the start of step `WARM_UP` to the end of the last step."""

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return step == WARM_UP

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        if trainer.global_step == WARM_UP:
            self.began = now()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.seconds = now() - self.began


class Terminal(TextIO):
    """Stands for a terminal: the progress bar is drawn, and its text is dropped."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


def config_of(case: Case, *words: str) -> Config:
    """Returns the case's resolved config; a case with images gets the random ones."""
    data = ["datamodule=digits"] if case.batch_size else []
    steps = f"datamodule.steps_per_epoch={case.steps + WARM_UP}"
    common = [f"experiment={case.experiment}", "trainer.log_every_n_steps=100", steps]
    with initialize_config_dir(str(train.conf), version_base="1.3"):
        config = compose("config", overrides=[*common, *data, *case.words, *words])
    if case.batch_size:
        of_an_epoch = math.ceil(CIFAR / case.batch_size)
        every = steps_of_a_row(of_an_epoch, config.trainer.max_epochs, max_steps=-1)
        config.trainer.log_every_n_steps = every
        config.datamodule = {
            "_target_": f"{__name__}.RandomImages",
            "seed": 0,
            "batch_size": case.batch_size,
            "steps_per_epoch": case.steps + WARM_UP,
        }
    config.trainer.max_epochs = 1
    return Config.resolve(config)


def project_loop(case: Case, *words: str) -> float:
    """Returns the milliseconds per step of the project, built as project.train builds a run."""
    config = config_of(case, *words)
    with tempfile.TemporaryDirectory() as folder:
        data = build.datamodule(config)
        module = build.module(config, data)
        trainer = build.trainer(config, Path(folder))
        trainer.callbacks.append(clock := Clock())  # type: ignore[attr-defined]
        trainer.fit(module, data)
    return 1000 * clock.seconds / case.steps


def learner(config: Config, **more: bool) -> tuple[nn.Module, torch.optim.Optimizer, nn.Module]:
    """Returns the case's network, optimiser and loss.

    The optimiser is as torch makes it, without options for speed.
    """
    torch.manual_seed(0)
    module: Any = instantiate(config["module"])
    options = {
        key: value
        for key, value in config["optimizer"].items()
        if key not in ("_partial_", "fused")
    }
    made = instantiate(options, params=module.network.parameters())
    if more.get("capturable") and "capturable" in made.defaults:
        made = instantiate(
            {**options, "capturable": True}, params=module.network.cuda().parameters()
        )
    return module.network, made, module.loss


def hand_loop(case: Case, device: str = "cpu") -> float:
    """Returns the milliseconds per step of a plain loop over tensors in memory."""
    config = config_of(case)
    network, optimizer, loss_of = learner(config)
    network.to(device)
    began, running, size = 0.0, 0.0, case.batch_size or 0
    data = cifar_like() if size else instantiate(config["datamodule"]).splits["train"]
    all_inputs, all_targets = data.inputs.to(device), data.targets.to(device)
    order = torch.randperm(len(data)).to(device)
    for step in range(case.steps + WARM_UP):
        if step == WARM_UP:
            began = now()
        if size:
            start = step * size % (len(data) - size)
            chosen = order[start : start + size]
            inputs = all_inputs[chosen].float().div(255).sub(0.5).div(0.5)
            targets = all_targets[chosen]
        else:
            inputs, targets = all_inputs, all_targets
        optimizer.zero_grad()
        loss = loss_of(network(inputs), targets)
        loss.backward()
        optimizer.step()
        running += loss.item()
    return 1000 * (now() - began) / case.steps


def graph_loop(case: Case) -> float:
    """Returns the milliseconds per step of a loop on a GPU that replays a CUDA graph.

    The loss is read once, at the end.
    """
    config = config_of(case)
    network, optimizer, loss_of = learner(config, capturable=True)
    network.to("cuda")
    size = case.batch_size or 0
    data = cifar_like() if size else instantiate(config["datamodule"]).splits["train"]
    inputs = data.inputs[: size or None].float().cuda()
    targets = data.targets[: size or None].cuda()

    def step() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = loss_of(network(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step()
    began, order = now(), torch.randperm(len(data)).cuda()
    all_inputs, all_targets = data.inputs.cuda(), data.targets.cuda()
    for number in range(case.steps):
        if size:
            chosen = order[number * size % (len(data) - size) :][:size]
            inputs.copy_(all_inputs[chosen].float().div_(255).sub_(0.5).div_(0.5))
            targets.copy_(all_targets[chosen])
        graph.replay()
    loss.item()
    return 1000 * (now() - began) / case.steps


class PILImages(Dataset[tuple[Tensor, int]]):
    """Gives the random images one by one, as torchvision's data sets do."""

    def __init__(self) -> None:
        split = cifar_like()
        self.images, self.targets = split.inputs.permute(0, 2, 3, 1).numpy(), split.targets.tolist()
        normalize = transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        self.transform = transforms.Compose([transforms.ToTensor(), normalize])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.targets[index]


def tutorial_loop(case: Case) -> float:
    """Returns the milliseconds per step of the tutorial's loop, over all images at most once."""
    network, optimizer, loss_of = learner(config_of(case))
    loader = DataLoader(PILImages(), batch_size=case.batch_size, shuffle=True, num_workers=2)
    steps = min(case.steps, len(loader) - WARM_UP) if len(loader) > WARM_UP else len(loader) - 1
    warm_up = len(loader) - steps if len(loader) <= WARM_UP else WARM_UP
    began, running = 0.0, 0.0
    for step, (inputs, targets) in enumerate(loader):
        if step == warm_up:
            began = time.perf_counter()
        if step == steps + warm_up:
            break
        optimizer.zero_grad()
        loss = loss_of(network(inputs), targets)
        loss.backward()
        optimizer.step()
        running += loss.item()
    return 1000 * (time.perf_counter() - began) / steps


class TemplateModule(LightningModule):
    """Trains as popular templates do: metric objects are updated and logged at every step."""

    def __init__(
        self, network: nn.Module, loss: nn.Module, optimizer: torch.optim.Optimizer, classes: bool
    ) -> None:
        super().__init__()
        self.net, self.criterion, self.optimizer = network, loss, optimizer
        self.train_loss = MeanMetric()
        self.train_acc = MulticlassAccuracy(10, average="micro") if classes else None

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net(inputs)  # type: ignore[no-any-return]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        inputs, targets = batch
        outputs = self.forward(inputs)
        loss: Tensor = self.criterion(outputs, targets)
        self.train_loss(loss)
        self.log("train/loss", self.train_loss, on_step=False, on_epoch=True, prog_bar=True)
        if self.train_acc is not None:
            self.train_acc(outputs.argmax(dim=1), targets)
            self.log("train/acc", self.train_acc, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer}


def template_loop(case: Case) -> float:
    """Returns the milliseconds per step of a LightningModule with all that a template turns on."""
    config = config_of(case)
    network, optimizer, loss_of = learner(config)
    if case.batch_size:
        dataset: Dataset[Any] = PILImages()
        loader = DataLoader(dataset, batch_size=case.batch_size, shuffle=True, drop_last=True)
    else:
        data = instantiate(config["datamodule"]).splits["train"]
        samples = TensorDataset(data.inputs, data.targets)
        # All steps are in one epoch.
        sampler = RandomSampler(samples, num_samples=(case.steps + WARM_UP) * len(data))
        loader = DataLoader(samples, batch_size=len(data), sampler=sampler)
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        trainer = Trainer(
            max_steps=case.steps + WARM_UP,
            accelerator="cpu",
            devices=1,
            default_root_dir=folder,
            logger=TensorBoardLogger(folder),
            callbacks=[TQDMProgressBar(), ModelCheckpoint(save_last=True), clock],
            enable_model_summary=False,
        )
        trainer.fit(
            TemplateModule(network, loss_of, optimizer, classes=bool(case.batch_size)), loader
        )
    return 1000 * clock.seconds / case.steps


def contestants(
    case: Case, names: list[str], accelerator: str = "cpu"
) -> dict[str, Callable[[], float]]:
    """Returns the loops that a case has, by name."""
    there = f"accelerator={accelerator}"
    loops: dict[str, Callable[[], float]] = {
        "hand": partial(hand_loop, case, "cuda" if accelerator == "gpu" else "cpu"),
        "eager": partial(project_loop, case, there),
        "compiled": partial(project_loop, case, there, "compile=true"),
        "single": partial(project_loop, case, there, "trainer.steps_per_call=1"),
    }
    if accelerator == "gpu":
        return {
            name: loop
            for name, loop in {**loops, "graph": partial(graph_loop, case)}.items()
            if name in names
        }
    loops["template"] = partial(template_loop, case)
    if case.batch_size:
        loops["tutorial"] = partial(tutorial_loop, case)
        loops["flip_crop"] = partial(project_loop, case, there, "augment=flip_crop")
        loops["each"] = partial(project_loop, case, there, EACH)
    else:
        loops["rows"] = partial(project_loop, case, there, "trainer.log_every_n_steps=1")
    return {name: loop for name, loop in loops.items() if name in names}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = ["hand", "eager", "compiled", "single", "rows", "template", "tutorial", "graph"]
    augmented = ["flip_crop", "each"]
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--loops", nargs="*", default=every, choices=[*every, *augmented])
    parser.add_argument("--against", default="hand", choices=["hand", "eager"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--accelerator", default="cpu", choices=["cpu", "gpu"])
    arguments = parser.parse_args()
    base = arguments.against
    train.open()
    messages.silence_harmless()
    rows, results = [], {}
    terminal, sys.stdout = sys.stdout, Terminal()
    for name in arguments.cases:
        times = in_turns(
            contestants(CASES[name], [base, *arguments.loops], arguments.accelerator),
            arguments.rounds,
        )
        results[name] = {"ms_per_step": times}
        results[name][f"ratio_to_{base}"] = {
            loop: ratio(values, times[base]) for loop, values in times.items()
        }
        for loop, values in times.items():
            against = results[name][f"ratio_to_{base}"][loop]
            spread = f"{against['min']:.2f}–{against['max']:.2f}"
            rows.append(
                [name, loop, f"{statistics.median(values):.4f}", f"{against['median']:.2f}", spread]
            )
            print("  ".join(rows[-1]), file=terminal, flush=True)
    sys.stdout = terminal
    print("\n" + table(["case", "loop", "ms/step", f"× {base}", "min–max"], rows))
    is_whole = (len(results), len(set(arguments.loops))) == (len(CASES), len(every))
    name = "step_time_gpu" if arguments.accelerator == "gpu" else "step_time"
    save(name, {"rounds": arguments.rounds, "cases": results}, is_whole)


if __name__ == "__main__":
    main()
