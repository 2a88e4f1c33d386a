"""The ResNet, against torch.nn.functional, torchvision's block and closed forms."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.resnet import BasicBlock

from identical import killed_and_resumed
from project.modules.resnet import ResidualBlock, ResNet

Weights = dict[str, Tensor]


def trained(module: torch.nn.Module) -> None:
    """Draws scales, shifts and statistics of batch normalisation, as training would change them."""
    numbers = torch.Generator().manual_seed(1)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for values in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                drawn = torch.rand(values.shape, generator=numbers, dtype=values.dtype)
                values.detach().copy_(0.5 + drawn)


def norm(x: Tensor, weights: Weights, name: str, training: bool) -> Tensor:
    names = ("running_mean", "running_var", "weight", "bias")
    mean, var, scale, shift = (weights[f"{name}.{each}"] for each in names)
    return F.batch_norm(x, mean.clone(), var.clone(), scale, shift, training=training)


def block(x: Tensor, weights: Weights, name: str, stride: int, training: bool) -> Tensor:
    shortcut = x
    if f"{name}.shortcut.0.weight" in weights:
        shortcut = F.conv2d(x, weights[f"{name}.shortcut.0.weight"], stride=stride)
        shortcut = norm(shortcut, weights, f"{name}.shortcut.1", training)
    x = F.conv2d(x, weights[f"{name}.residual.0.weight"], stride=stride, padding=1)
    x = F.relu(norm(x, weights, f"{name}.residual.1", training))
    x = F.conv2d(x, weights[f"{name}.residual.3.weight"], padding=1)
    return F.relu(norm(x, weights, f"{name}.residual.4", training) + shortcut)


def forward(x: Tensor, weights: Weights, dropout: float, training: bool) -> Tensor:
    """Computes a network of two blocks a stage."""
    x = F.conv2d(x, weights["0.weight"], padding=1)
    x = F.relu(norm(x, weights, "1", training))
    for stage, stride in ((3, 1), (4, 2), (5, 2)):
        x = block(x, weights, f"{stage}.0", stride, training)
        x = block(x, weights, f"{stage}.1", 1, training)
    x = F.dropout(x.mean(dim=(2, 3)), dropout, training)
    return F.linear(x, weights["9.weight"], weights["9.bias"])


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_forward(training: bool) -> None:
    module = ResNet(num_classes=7, blocks=2, width=4, dropout=0.5).double().train(training)
    trained(module)
    weights = {name: value.clone() for name, value in module.network.state_dict().items()}
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    torch.manual_seed(5)
    logits = module(x)
    assert logits.shape == (3, 7)
    torch.manual_seed(5)
    expected = forward(x, weights, dropout=0.5, training=training)
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(8, 8, 1), (8, 16, 2)])
def test_a_block_is_torchvisions(inputs: int, outputs: int, stride: int) -> None:
    ours = ResidualBlock(inputs, outputs, stride).double()
    trained(ours)
    theirs = BasicBlock(inputs, outputs, stride, downsample=ours.shortcut).double()
    of_ours = ("residual.0", "residual.1", "residual.3", "residual.4")
    for name, of_theirs in zip(of_ours, ("conv1", "bn1", "conv2", "bn2"), strict=True):
        theirs.get_submodule(of_theirs).load_state_dict(ours.get_submodule(name).state_dict())
    x = torch.randn(5, inputs, 8, 8, dtype=torch.float64)
    out = ours(x)
    assert out.shape == (5, outputs, 8 // stride, 8 // stride)
    torch.testing.assert_close(out, theirs(x), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours.residual[1].running_var, theirs.bn1.running_var)


@pytest.mark.parametrize(("blocks", "width", "classes"), [(1, 16, 10), (3, 16, 10), (2, 8, 4)])
def test_number_of_layers_and_parameters(blocks: int, width: int, classes: int) -> None:
    def convolution(inputs: int, outputs: int, side: int) -> int:
        return side**2 * inputs * outputs + 2 * outputs  # a scale and a shift for each channel

    expected = convolution(3, width, 3) + 2 * blocks * convolution(width, width, 3)
    for narrow in (width, 2 * width):
        wide = 2 * narrow
        expected += convolution(narrow, wide, 3) + convolution(narrow, wide, 1)
        expected += (2 * blocks - 1) * convolution(wide, wide, 3)
    expected += 4 * width * classes + classes
    module = ResNet(num_classes=classes, blocks=blocks, width=width)
    assert sum(p.numel() for p in module.parameters()) == expected
    if (blocks, width, classes) == (1, 16, 10):
        assert expected == 78_042  # as its docstring says
    weighty = [
        name
        for name, layer in module.named_modules()
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear) and "shortcut" not in name
    ]
    assert len(weighty) == 6 * blocks + 2


def test_shapes_are_those_of_the_comments() -> None:
    x = torch.zeros(2, 3, 32, 32)
    shapes = {}
    for name, layer in ResNet().network.named_children():
        x = layer(x)
        shapes[name] = tuple(x.shape)
    assert shapes["0"] == shapes["3"] == (2, 16, 32, 32)
    assert (shapes["4"], shapes["5"]) == ((2, 32, 16, 16), (2, 64, 8, 8))
    assert (shapes["6"], shapes["7"], shapes["9"]) == ((2, 64, 1, 1), (2, 64), (2, 10))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_smoothed_labels(smoothing: float) -> None:
    logits = torch.randn(6, 10, dtype=torch.float64)
    targets = torch.randint(10, (6,))
    smooth = torch.full((6, 10), smoothing / 10, dtype=torch.float64)
    smooth[torch.arange(6), targets] += 1 - smoothing
    log_shares = logits - logits.exp().sum(dim=1, keepdim=True).log()
    expected = -(smooth * log_shares).sum() / 6
    loss = ResNet(label_smoothing=smoothing).loss(logits, targets)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0.0)


@pytest.mark.slow
def test_killed_within_an_epoch_and_resumed(tmp_path: Path) -> None:
    """With the running statistics of batch normalisation, and with dropout."""
    words = [
        "experiment=resnet",
        "datamodule=digits",
        "datamodule.batch_size=8",
        "datamodule.eval_batch_size=20",
        "datamodule.steps_per_epoch=8",
        "module.width=4",
        "module.dropout=0.5",
        "accelerator=cpu",
        "trainer.max_epochs=2",
        "trainer.log_every_n_steps=3",
        "trainer.limit_val_batches=1",
        "trainer.limit_test_batches=1",
        "logger.tensorboard.log_graph=false",
        "callbacks.checkpoints.every_n_steps=3",
    ]
    killed = killed_and_resumed(words, tmp_path, kill_at="on_train_batch_end:13")
    weights = torch.load(killed / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert weights["network.1.num_batches_tracked"] == 16
    assert not torch.equal(weights["network.1.running_mean"], torch.zeros(4))
