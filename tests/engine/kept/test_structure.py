"""What training makes of layers, hooks, weights and optimisers, where a resumed run has others.

Whether a state can be loaded is compared with PyTorch, which loads it or not.
"""

import logging
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, LearningRateFinder
from torch import nn
from torch.nn.utils import prune
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import LambdaLR, StepLR
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric, MetricTracker

from engine.callbacks.checkpoints import Checkpoints
from engine.errors import UserError
from engine.kept.attributes import looked_into
from engine.kept.structure import Structure
from engine.kept.values import make_room
from engine.run.checkpoint.file import WholeFileIO, refused_if_unlike
from engine.supervised import SupervisedModule
from fitting import Arrays, plain_trainer


class Net(LightningModule):
    """Has layers with weights and without, a metric, and a buffer that is None at first."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.ReLU())
        self.lazy = nn.LazyLinear(1)
        self.mean = MetricTracker(MeanMetric(), maximize=False)
        self.register_buffer("seen", None)

    def forward(self, inputs: torch.Tensor) -> Any:
        return self.lazy(self.net(inputs))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch).mean()

    def train_dataloader(self) -> Any:
        return DataLoader(torch.arange(8.0).view(4, 2), batch_size=2)  # type: ignore[arg-type]

    def configure_optimizers(self) -> Any:
        optimizer = Adam(self.net.parameters(), lr=0.1)
        return [optimizer], [LambdaLR(optimizer, lambda epoch: 1.0)]


def made(kind: type[LightningModule] = Net) -> tuple[Any, Any]:
    """Returns a module, and what Lightning has of its optimisers and schedules."""
    module: Any = kind()
    module.register_load_state_dict_pre_hook(make_room)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, barebones=True)
    module.trainer = trainer
    trainer.strategy.connect(module)
    trainer.strategy.setup_optimizers(trainer)
    return module, trainer


def replace(place: int, layer: nn.Module) -> Callable[[Any, Any], None]:
    return lambda module, _: module.net.__setitem__(place, layer)


def steps(module: Any, trainer: Any) -> None:
    """Does what is ordinary: nothing of it is named."""
    module(torch.zeros(4, 2))  # lazy layers know their sizes
    module.seen = torch.zeros(3)
    module.mean.increment()
    module.net[2].p = 0.1
    module.net[3] = nn.ReLU()  # as the one before
    module.net[0].requires_grad_(False)
    trainer.optimizers[0].param_groups[0]["lr"] = 0.5
    trainer.optimizers[0].add_param_group({"params": [*module.lazy.parameters()]})
    module.net[0].register_forward_hook(lambda *_: None).remove()


def hooks(module: Any, trainer: Any) -> None:
    module.net[0].register_forward_hook(steps)
    module.net[1].register_full_backward_hook(steps)
    module.net[0].weight.register_hook(lambda own: own)
    module.register_forward_pre_hook(steps)
    trainer.optimizers[0].register_step_pre_hook(steps)


def grow(module: Any, trainer: Any) -> None:
    module.net.insert(3, nn.Linear(3, 3))


def another_head(module: Any, trainer: Any) -> None:
    module.net[0] = nn.Linear(2, 3)  # which the optimiser does not know


def another_optimizer(module: Any, trainer: Any) -> None:
    trainer.strategy.optimizers = [SGD(module.parameters(), lr=0.1)]


def the_same_optimizer(module: Any, trainer: Any) -> None:
    trainer.strategy.optimizers = [Adam(module.net.parameters(), lr=0.1)]


CHANGES: dict[str, tuple[Any, list[str], list[str]]] = {
    "nothing": (lambda *_: None, [], []),
    "what is ordinary": (steps, [], []),
    "another layer": (replace(3, nn.Tanh()), ["Net.net.3 (another layer)"], []),
    "the same layer, of another rate": (
        replace(2, nn.Dropout(0.1)),
        ["Net.net.2 (another layer)"],
        [],
    ),
    "layers in a layer": (
        replace(3, nn.Sequential(nn.Tanh(), nn.ReLU())),
        ["Net.net.3 (another layer)"],
        [],
    ),
    "a layer less": (lambda own, _: own.net.pop(3), ["Net.net.3 (another layer)"], []),
    "a layer more": (lambda own, _: own.net.append(nn.Tanh()), ["Net.net.4 (another layer)"], []),
    "hooks": (
        hooks,
        [
            "Net (its hooks)",
            "Net.net.0 (its hooks)",
            "Net.net.0.weight (its hooks)",
            "Net.net.1 (its hooks)",
            "optimiser 0 (Adam) (its hooks)",
        ],
        [],
    ),
    "a hook less": (lambda own, _: own.handle.remove(), ["Net.net.0 (its hooks)"], []),
    "new weights": (another_head, ["an optimiser (weights that are not of Net)"], []),
    "an optimiser that no schedule knows": (
        the_same_optimizer,
        ["a learning rate (another schedule)"],
        [],
    ),
    "pruned": (
        lambda own, _: prune.l1_unstructured(own.net[0], "weight", amount=0.5),
        [],
        ["net.0.weight_orig", "net.0.weight_mask", "net.0.weight"],
    ),
    "grown": (grow, [], ["net.3.weight", "net.3.bias"]),
    "another shape": (
        replace(0, nn.Linear(4, 3)),
        [],
        ["net.0.weight"],
    ),
    "another optimiser": (another_optimizer, [], ["optimiser 0 (SGD)"]),
    "a group of weights of somebody else": (
        lambda _, trainer: trainer.optimizers[0].add_param_group(
            {"params": [nn.Parameter(torch.ones(1))]}
        ),
        [],
        ["optimiser 0 (Adam) (weights that are not of Net)"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_named_and_nothing_else(change: str) -> None:
    act, lost, unfit = CHANGES[change]
    module, trainer = made()
    structure = Structure(trainer, module)
    if change == "a hook less":  # of a hook of the start
        module.handle = module.net[0].register_forward_hook(steps)
        structure.begin()
    act(module, trainer)
    state = module.state_dict()
    assert structure.unfit(state) == unfit
    if not unfit:
        assert structure.lost(state) == lost
    others = [name for name in unfit if not name.startswith("optimiser ")]
    anew, _ = made()
    if others:
        with pytest.raises(RuntimeError, match=re.escape(others[0])):
            anew.load_state_dict(state)
    elif change != "what is ordinary":  # whose lazy layer has a state now
        anew.load_state_dict(state)


class MakesLayers(Net):
    """Makes what it lacks of a checkpoint, as its own business."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        pass


class Tolerant(Net):
    """Takes what there is."""

    @property
    def strict_loading(self) -> bool:
        return False

    @strict_loading.setter
    def strict_loading(self, value: bool) -> None:
        pass


class LoadsItself(Net):
    """Makes what it lacks as it loads a state."""

    def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state, prefix, *rest)


def test_what_a_hook_of_the_start_makes_of_optimisers_is_made_in_each_run() -> None:
    """As it happened: a run that replaces its optimiser in on_train_start was not resumed."""
    module, trainer = made()
    structure = Structure(trainer, module)
    another_optimizer(module, trainer)
    schedule = StepLR(trainer.optimizers[0], 1)
    trainer.lr_scheduler_configs.append(SimpleNamespace(scheduler=schedule))
    structure.begin()
    assert (structure.unfit(module.state_dict()), structure.lost(module.state_dict())) == ([], [])
    assert structure.optimizers() == ["optimiser 0 (Adam)"]  # which takes the states first
    trainer.optimizers = [torch.optim.RMSprop(module.parameters())]
    assert structure.optimizers() == structure.unfit(module.state_dict())
    assert structure.optimizers() == ["optimiser 0 (RMSprop)"]


class Slow:
    """Takes every second step of another optimiser; it is none of torch's."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.param_groups, self.state = inner.param_groups, inner.state


def test_an_optimiser_of_ones_own_need_not_be_one_of_torchs() -> None:
    """As it happened: a run ended before its first step."""
    module, trainer = made()
    trainer.optimizers = [Slow(trainer.optimizers[0])]
    structure = Structure(trainer, module)
    assert structure.optimizers() == ["optimiser 0 (Slow)"]
    assert structure.lost(module.state_dict()) == []


@pytest.mark.parametrize("kind", [MakesLayers, LoadsItself, Tolerant])
def test_a_module_that_loads_a_state_with_more_in_it_is_believed(kind: type[Any]) -> None:
    module, trainer = made(kind)
    structure = Structure(trainer, module)
    module.more = nn.Linear(1, 1)
    state = module.state_dict()
    assert structure.unfit(state) == []
    is_made = kind is not Tolerant
    assert structure.lost(state) == ([] if is_made else ["Tolerant.more (another layer)"])


class Changes(Callback):
    """Changes a module as its second batch starts."""

    def __init__(self, change: str) -> None:
        self.act = CHANGES[change][0]

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 1:
            self.act(module, trainer)


def fit(folder: Path, *callbacks: Callback, last: Path | None = None) -> None:
    kept = Checkpoints(every_n_steps=1, monitor="val/loss", mode="min")
    trainer = plain_trainer(
        folder,
        callbacks=[*callbacks, kept],
        plugins=[WholeFileIO()],
        enable_checkpointing=True,
        logger=False,
        max_epochs=2,
    )
    with refused_if_unlike(trainer):
        trainer.fit(Net(), ckpt_path=last, weights_only=True)


REFUSED = {
    "pruned": "does not fit Net, whose layers training or changed code has made otherwise: "
    "net.0.weight_orig, net.0.weight_mask, net.0.weight.",
    "another optimiser": "has the states of optimiser 0 (SGD), and this run begins with optimiser "
    "0 (Adam).",
}


@pytest.mark.parametrize("change", REFUSED)
def test_a_run_that_nobody_can_resume_says_so_once_and_is_refused(
    change: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: nothing was said, and the resumed run failed with a traceback."""
    with caplog.at_level(logging.WARNING, "engine.callbacks.checkpoints"):
        fit(tmp_path, Changes(change))
    (said,) = [one.getMessage() for one in caplog.records if "no run can be" in one.getMessage()]
    names = ", ".join(CHANGES[change][2])
    assert said == (
        f"no run can be resumed from here: training makes what Net does not begin with: {names}"
    )
    last = tmp_path / "checkpoints/last.ckpt"
    with pytest.raises(UserError) as refused:
        fit(tmp_path, last=last)
    first, second = str(refused.value).splitlines()
    assert first == f"{last}: {REFUSED[change]}"
    assert second == (
        "Take the code of then, begin a new run, or make in on_load_checkpoint what training has "
        "made."
    )


def test_other_searches_than_a_run_began_with_are_refused(tmp_path: Path) -> None:
    """As it happened: one more was a ValueError of `zip`."""
    fit(tmp_path)
    last = tmp_path / "checkpoints/last.ckpt"
    with pytest.raises(UserError) as refused:
        fit(tmp_path, LearningRateFinder(), last=last)
    assert str(refused.value) == (
        f"{last}: this run begins with other callbacks that search for a batch size or a rate.\n"
        "Take the code of then, or begin a new run."
    )


def test_a_layer_that_is_replaced_on_the_way_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: a resumed run had the old one, and no line said so."""
    with caplog.at_level(logging.WARNING, "engine.callbacks.checkpoints"):
        fit(tmp_path, Changes("another layer"))
    said = [one.getMessage() for one in caplog.records if "Net" in one.getMessage()]
    assert said == [
        "not exact: training changes what no checkpoint can have: Net.net.3 (another layer)"
    ]


def test_only_what_a_user_puts_on_a_trainer_is_looked_at(tmp_path: Path) -> None:
    """Blocks set attributes of the Trainer as training begins, and loops of Lightning's do."""
    data = Arrays({"train": (np.ones((8, 2), np.float32), np.ones((8, 1), np.float32))})
    trainer = plain_trainer(tmp_path, max_epochs=2)
    optimizer = partial(SGD, lr=0.1)
    module = SupervisedModule(nn.Linear(2, 1), nn.MSELoss(), optimizer=optimizer)
    trainer.fit(module, datamodule=data)
    assert looked_into(trainer) == {}
    trainer.seen = 1
    assert looked_into(trainer) == {"seen": 1}


def test_a_state_of_an_optimiser_with_other_groups_is_refused(tmp_path: Path) -> None:
    """As it happened: a traceback of PyTorch's."""
    fit(tmp_path)
    last = tmp_path / "checkpoints/last.ckpt"
    saved = torch.load(last, weights_only=True)
    saved["optimizer_states"][0]["param_groups"] *= 2
    torch.save(saved, last)
    with pytest.raises(UserError, match=r"last.ckpt: its states of optimisers do not fit Adam: "):
        fit(tmp_path, last=last)
