"""LeNet-5, against a forward and a training loop written by hand in plain PyTorch."""

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.seeds import generator
from fitting import columns, plain_trainer
from project.datamodules.digits import DigitsDataModule
from project.modules.lenet import LeNet5

SHAPES = [
    (6, 3, 5, 5), (6,), (16, 6, 5, 5), (16,), (120, 400), (120,), (84, 120), (84,), (10, 84), (10,)
]  # fmt: skip


def forward(x: Tensor, parameters: list[Tensor]) -> Tensor:
    w1, b1, w2, b2, w3, b3, w4, b4, w5, b5 = parameters
    x = F.max_pool2d(F.conv2d(x, w1, b1).relu(), 2)
    x = F.max_pool2d(F.conv2d(x, w2, b2).relu(), 2).flatten(1)
    x = F.linear(F.linear(x, w3, b3).relu(), w4, b4).relu()
    return F.linear(x, w5, b5)


def test_has_62006_parameters_and_the_forward_by_hand() -> None:
    module = LeNet5()
    parameters = list(module.parameters())
    assert [tuple(p.shape) for p in parameters] == SHAPES
    assert sum(p.numel() for p in parameters) == 62_006
    x = torch.randn(5, 3, 32, 32)
    logits = module(x)
    assert logits.shape == (5, 10)
    torch.testing.assert_close(logits, forward(x, parameters), rtol=1e-5, atol=1e-6)


def test_num_classes_is_the_width_of_the_last_layer() -> None:
    module = LeNet5(num_classes=7)
    assert module(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert sum(p.numel() for p in module.parameters()) == 62_006 - 3 * 85


def test_training_is_bit_identical_to_a_loop_by_hand(tmp_path: Path) -> None:
    sgd = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
    torch.manual_seed(0)
    module = LeNet5(optimizer=sgd)
    parameters = [p.detach().clone().requires_grad_() for p in module.parameters()]
    data = DigitsDataModule(seed=5, batch_size=200, steps_per_epoch=3)
    plain_trainer(tmp_path, max_epochs=3, limit_val_batches=0).fit(module, data)

    train = data.splits["train"]  # 1,221 samples: six batches of 200 and one of 21
    orders = [
        torch.randperm(len(train), generator=generator(5, "order", number)) for number in range(2)
    ]
    batches = [batch for order in orders for batch in order.split(200)][:9]
    assert [len(batch) for batch in batches] == [200] * 6 + [21] + [200] * 2
    optimizer, expected, right = sgd(parameters), [], []
    for batch in batches:
        inputs, targets = data.prepare_inputs(train.inputs[batch]), train.targets[batch]
        logits = forward(inputs, parameters)
        loss = F.cross_entropy(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
        right.append((logits.argmax(1) == targets).float().mean().item())
    losses, accuracies = columns(tmp_path, "train/loss", "train/acc")
    assert losses == expected
    assert accuracies == right
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(module.parameters(), parameters, strict=True)
    )
