"""Defines a small ResNet for colour images, with dropout and smoothed labels."""

from typing import Annotated, Unpack

from annotated_types import Le
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from engine import Count, Fraction, StepOptions, SupervisedModule


class ResNet(SupervisedModule):
    """Classifies images by a residual network (He et al. 2016, section 4.2), with dropout.

    x (N, 3, H, W) -> logits (N, num_classes); the shapes below are those of H = W = 32 and width
    16. 6 · blocks + 2 layers lie one behind the other; 78,042 parameters with ten classes.
    Cross-entropy averaged over the batch, with smoothed labels (Szegedy et al. 2016), targets (N,)
    int64.

    Args:
        num_classes: classes of the data.
        blocks: residual blocks of each of the three stages: 1 for ResNet-8, 3 for ResNet-20.
        width: channels of the first stage; the next stages have twice and four times as many.
        dropout: share of the features that a training step sets to zero.
        label_smoothing: share ε of the targets that goes to all classes alike. The target of the
            true class is 1 - ε + ε / num_classes then.
        step: options of `SupervisedModule`.
    """

    def __init__(
        self,
        num_classes: Count = 10,
        blocks: Annotated[Count, Le(1000)] = 1,  # each block is an object
        width: Count = 16,
        dropout: Fraction = 0.1,
        label_smoothing: Fraction = 0.1,
        **step: Unpack[StepOptions],
    ) -> None:
        network = nn.Sequential(
            nn.Conv2d(3, width, kernel_size=3, padding=1, bias=False),  # (N, 16, 32, 32)
            nn.BatchNorm2d(width),
            nn.ReLU(),
            stage(width, width, blocks, stride=1),  # (N, 16, 32, 32)
            stage(width, 2 * width, blocks, stride=2),  # (N, 32, 16, 16)
            stage(2 * width, 4 * width, blocks, stride=2),  # (N, 64, 8, 8)
            nn.AdaptiveAvgPool2d(1),  # (N, 64, 1, 1)
            nn.Flatten(),  # (N, 64)
            nn.Dropout(dropout),
            nn.Linear(4 * width, num_classes),  # (N, num_classes)
        )
        loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False)
        super().__init__(network, loss=loss, metrics={"acc": accuracy}, **step)


def stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """Returns residual blocks: x (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
    first = ResidualBlock(inputs, outputs, stride)
    return nn.Sequential(
        first, *(ResidualBlock(outputs, outputs, stride=1) for _ in range(blocks - 1))
    )


class ResidualBlock(nn.Module):
    """Adds two convolutions to a shortcut (He et al. 2016, fig. 2).

    x (N, inputs, H, W) -> ReLU(residual(x) + shortcut(x)) (N, outputs, H / stride, W / stride). The
    shortcut is x itself, or a 1×1 convolution where the shape changes (option B of section 4.1).
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential()  # x itself
        if (inputs, stride) != (outputs, 1):
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.residual(x)
        shortcut: Tensor = self.shortcut(x)
        return (residual + shortcut).relu()
