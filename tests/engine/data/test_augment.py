"""Transforms of training inputs: against a loop over samples, and within a run."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import v2

from commands import run_train
from engine.callbacks.step_seed import StepSeed
from engine.data.augment import Each, FlipCrop, try_out
from engine.errors import UserError
from engine.seeds import derive
from engine.supervised import SupervisedModule
from fitting import Arrays, columns, plain_trainer

SHAPES = [(5, 3, 6, 9), (1, 1, 4, 4), (64, 2, 8, 8)]
IMAGES = torch.arange(1.0, 1 + 12 * 2 * 5 * 5).view(12, 2, 5, 5)
LABELS = torch.arange(12.0)[:, None]
CROP: dict[str, Any] = {"crop": FlipCrop()}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("flip", "padding"), [(0.5, 4), (1.0, 1), (0.0, 2), (0.5, 0)])
def test_flip_crop_is_a_loop_over_images(flip: float, padding: int, shape: tuple[int, ...]) -> None:
    images = torch.randn(shape)
    number, _, height, width = shape
    torch.manual_seed(7)
    found = FlipCrop(flip, padding)(images)

    torch.manual_seed(7)
    flips = (torch.rand(number, 1) < flip).flatten().tolist()
    tops, lefts = torch.randint(2 * padding + 1, (2, number, 1)).flatten(1).tolist()
    for image, result, is_flipped, top, left in zip(images, found, flips, tops, lefts, strict=True):
        padded = np.pad(image.numpy(), ((0, 0), (padding, padding), (padding, padding)))
        expected = padded[:, top : top + height, left : left + width]
        np.testing.assert_array_equal(result, expected[:, :, ::-1] if is_flipped else expected)


def test_each_image_has_a_draw_of_its_own() -> None:
    """Of 81 places and 2 sides, each comes about as often as the others."""
    image = torch.arange(1.0, 65.0).view(1, 1, 8, 8)
    torch.manual_seed(0)
    found = FlipCrop()(image.expand(16_200, 1, 8, 8))
    kinds, counts = found.flatten(1).unique(dim=0, return_counts=True)
    assert len(kinds) == 2 * 81
    assert float(((counts - 100.0) ** 2 / 100).sum()) < 225  # chi² of 161: p = 0.001


def test_flip_crop_takes_an_empty_batch_and_images_only() -> None:
    assert FlipCrop()(torch.zeros(0, 3, 8, 8)).shape == (0, 3, 8, 8)
    with pytest.raises(ValueError, match="it takes images"):
        FlipCrop()(torch.zeros(3, 8))


def test_each_applies_a_transform_of_torchvision_to_sample_after_sample() -> None:
    rotation = v2.RandomRotation(90.0)
    torch.manual_seed(3)
    found = Each(rotation)(IMAGES)
    torch.manual_seed(3)
    assert torch.equal(found, torch.stack([rotation(image) for image in IMAGES]))
    torch.manual_seed(3)
    assert not torch.equal(found, rotation(IMAGES))


def halved(inputs: Tensor) -> Tensor:
    return inputs / 2


@pytest.mark.parametrize(
    ("transform", "is_said"),
    [
        (v2.RandomRotation(90.0), True),
        (v2.RandomHorizontalFlip(), True),
        (Each(v2.RandomHorizontalFlip()), False),
        (FlipCrop(), False),
        (nn.Dropout(0.1), False),
        (halved, False),
    ],
    ids=["v2 rotation", "v2 flip", "each v2 flip", "flip_crop", "dropout", "no draw"],
)
def test_a_transform_that_draws_once_for_a_batch_is_found_out(
    transform: Any, is_said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    try_out({"mine": transform}, IMAGES[:1])
    says = "augment.mine draws once for a whole batch; engine.augment.Each draws for each sample"
    assert (says in caplog.text) == is_said


def test_a_transform_that_does_not_take_the_inputs_is_named() -> None:
    with pytest.raises(UserError, match=r"^augment.b: does not take inputs \(16, 50\): it"):
        try_out({"a": nn.Flatten(), "b": FlipCrop()}, IMAGES[:1])


class Sees(SupervisedModule):
    """Notes the inputs that its network gets, in training and elsewhere."""

    def __init__(self, **options: Any) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(50, 1))
        super().__init__(network, nn.MSELoss(), **options)
        self.seen: dict[bool, list[Tensor]] = {True: [], False: []}
        network.register_forward_pre_hook(self._note)

    def _note(self, network: nn.Module, inputs: tuple[Tensor]) -> None:
        self.seen[network.training].append(inputs[0].clone())


def served() -> Arrays:
    splits = {"train": (IMAGES, LABELS), "val": (IMAGES, LABELS), "test": (IMAGES, LABELS)}
    return Arrays(splits, seed=4, batch_size=3)


def fit(module: SupervisedModule, folder: Path, **options: Any) -> Trainer:
    folder.mkdir(exist_ok=True)
    options = {"max_epochs": 2, "callbacks": [StepSeed(3)], "log_every_n_steps": 4, **options}
    trainer = plain_trainer(folder, **options)
    trainer.fit(module, served())
    return trainer


def test_a_step_draws_from_its_own_seed_and_only_training_does(tmp_path: Path) -> None:
    """Inputs of step k are those of the batch, changed by draws from the seed of step k."""
    module, plain = Sees(augment={**CROP, "none": None, "half": halved}), Sees()
    trainer = fit(module, tmp_path)
    fit(plain, tmp_path / "plain")
    assert len(module.seen[True]) == len(plain.seen[True]) == 8
    for step, (changed, batch) in enumerate(zip(module.seen[True], plain.seen[True], strict=True)):
        torch.manual_seed(derive(3, "step/0", step))
        assert torch.equal(changed, FlipCrop()(batch) / 2)
    trainer.test(module, served(), verbose=False)
    assert len(module.seen[False]) == 3
    assert all(torch.equal(inputs, IMAGES) for inputs in module.seen[False])


def test_rows_of_training_are_of_the_changed_samples(tmp_path: Path) -> None:
    sgd = partial(torch.optim.SGD, lr=0.0)
    module, plain = (Sees(augment=augment, optimizer=sgd) for augment in (CROP, None))
    fit(module, tmp_path / "changed", max_epochs=1)
    fit(plain, tmp_path / "plain", max_epochs=1)
    with torch.no_grad():
        predictions = module.network(torch.cat(module.seen[True]))
    numbers = (torch.cat(plain.seen[True])[:, 0, 0, 0] - 1) / 50  # as IMAGES count on
    expected = float(F.mse_loss(predictions, numbers[:, None]))
    loss = columns(tmp_path / "changed", "train/loss")[0]
    assert loss == pytest.approx([expected], rel=1e-5)
    assert loss != columns(tmp_path / "plain", "train/loss")[0]


def test_a_step_of_lbfgs_evaluates_the_same_inputs_again_and_again(tmp_path: Path) -> None:
    """Also where a transform writes into its input."""

    def noisy(inputs: Tensor) -> Tensor:
        return inputs.add_(torch.rand_like(inputs))

    lbfgs = partial(torch.optim.LBFGS, lr=1e-4, max_iter=4, tolerance_change=0.0)
    module = Sees(augment={**CROP, "noise": noisy}, optimizer=lbfgs)
    trainer = fit(module, tmp_path, max_epochs=1)
    assert trainer.global_step == 4
    seen = module.seen[True]
    assert len(seen) == 4 * 4
    steps = [seen[first : first + 4] for first in range(0, 16, 4)]
    assert all(torch.equal(inputs, step[0]) for step in steps for inputs in step)
    assert not torch.equal(steps[0][0], steps[1][0])


def test_a_step_of_ones_own_that_does_not_augment_is_refused(tmp_path: Path) -> None:
    class Own(Sees):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.loss(self.network(batch[0]), batch[1])

    class Calls(Sees):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return self.loss(self.network(self.augmented(batch[0])), batch[1])

    with pytest.raises(UserError, match=r"Own\.training_step changes no inputs by"):
        fit(Own(augment={"half": halved}), tmp_path)
    fit(Own(), tmp_path)
    calls = Calls(augment={"half": halved})
    fit(calls, tmp_path)
    assert float(calls.seen[True][0].max()) <= 300


class Counts(nn.Module):
    """Adds the number of its calls, which it has in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        return inputs + self.calls


def test_buffers_of_a_transform_are_in_checkpoints() -> None:
    module = Sees(augment={"counts": Counts()})
    module.augmented(IMAGES)
    saved = copy.deepcopy(module.state_dict())
    assert [float(value) for key, value in saved.items() if key.endswith("calls")] == [1]
    other = Sees(augment={"counts": Counts()})
    other.load_state_dict(saved)
    assert torch.equal(other.augmented(IMAGES), IMAGES + 2)


DIGITS = ["experiment=lenet", "datamodule=digits", "accelerator=cpu", "logger=csv"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["augment=flip_crop", "augment.flip_crop.padding=-1"],
            "augment.flip_crop.padding=-1: must be greater than or equal to 0, by the signature of",
        ),
        (
            ["augment=flip_crop", "augment.flip_crop.padding=1.5"],
            "augment.flip_crop.padding=1.5: must be a valid integer, by the signature of FlipCrop",
        ),
        (
            ["augment=flip_crop", "augment.flip_crop.flip=1.1"],
            "augment.flip_crop.flip=1.1: must be less than or equal to 1, by the signature of",
        ),
        (
            ["augment=flip_crop", "augment.flip_crop.flips=1"],
            "augment.flip_crop.flips: no such key. Did you mean augment.flip_crop.flip?",
        ),
        (
            ["augment=flip"],
            "augment=flip: no such choice. Did you mean flip_crop? augment is one of: flip_crop, ",
        ),
        (
            ["augment=flip_crop", "+augment._target_=engine.augment.FlipCrop"],
            "augment._target_=engine.augment.FlipCrop: each object of augment has a name; in "
            "conf/augment/NAME.yaml, write `NAME:` and, below it, `_target_:` and its arguments.",
        ),
        (
            ["augment=flip_crop", "experiment=curve_fit", "datamodule=parabola"],
            "augment.flip_crop: does not take inputs (16, 1): it takes images (B, C, H, W)",
        ),
        (
            ["augment=flip_crop", "module._target_=odd_modules.Plain", "~module.augment"],
            "augment=flip_crop: no part of this run refers to augment, so this would change",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_are_refused_before_there_is_a_folder(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train(*DIGITS, *words, f"paths.log_dir={tmp_path}")
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {says}")
    assert list(tmp_path.iterdir()) == []


class Centres(nn.Module):
    """Takes the mean of its first batch away, as layers do that begin with the data."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.mean = 0, torch.zeros(())

    def forward(self, inputs: Tensor) -> Tensor:
        if self.calls == 0:
            self.mean = inputs.mean()
        self.calls += 1
        return inputs - self.mean


def test_a_try_changes_no_transform() -> None:
    """As it happened: a transform had seen 64 copies of one sample before training began."""
    transform = Centres()
    try_out({"centres": transform}, torch.ones(1, 3))
    assert (transform.calls, float(transform.mean)) == (0, 0)
