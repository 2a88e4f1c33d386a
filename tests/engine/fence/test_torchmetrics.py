"""What is relied on of torchmetrics beyond its documentation."""

from pathlib import Path

import torch
from torchmetrics import CatMetric, MeanMetric
from torchmetrics.classification import BinaryAUROC

from engine.fence import torchmetrics as fence


def test_a_metric_goes_on_with_the_state_of_another(tmp_path: Path) -> None:
    """By a checkpoint that is read with `weights_only`; states may be lists."""
    for kind in (MeanMetric, CatMetric, BinaryAUROC):
        first, second, whole = kind(), kind(), kind()
        batches = [torch.tensor([0.1, 0.7]), torch.tensor([0.4, 0.9, 0.2])]
        for metric, batch in ((first, batches[0]), (whole, batches[0]), (whole, batches[1])):
            metric.update(batch, *((batch > 0.3).long() for _ in range(kind is BinaryAUROC)))
        torch.save(fence.state_of(first), tmp_path / "state")
        fence.resume(second, torch.load(tmp_path / "state", weights_only=True))
        assert second.update_count == 1
        second.update(batches[1], *((batches[1] > 0.3).long() for _ in range(kind is BinaryAUROC)))
        assert torch.equal(second.compute(), whole.compute())
