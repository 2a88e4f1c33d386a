"""A run's own config with overrides applied, as for evaluation."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from commands import CONF, ROOT
from engine.config.overrides import changed
from engine.errors import UserError
from project.train import train


@pytest.fixture(scope="module")
def own() -> DictConfig:
    """The config of an earlier run."""
    train.open()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        own = compose(
            "config", overrides=["seed=3", "trainer.max_epochs=7", "datamodule.batch_size=5"]
        )
    return OmegaConf.create(OmegaConf.to_container(own, resolve=True))


class TestChanged:
    """A run's own config with overrides applied, as for evaluation."""

    def test_no_change(self, own: DictConfig) -> None:
        assert changed(own, [], CONF) == own

    def test_a_group_is_replaced_and_keeps_the_seed(self, own: DictConfig) -> None:
        made = changed(own, ["datamodule.batch_size=2", "datamodule=cifar10"], CONF)
        assert made.datamodule._target_ == "project.datamodules.cifar10.CIFAR10DataModule"
        assert made.datamodule.batch_size == 2  # the choice first, whatever the order
        assert made.datamodule.seed == 3
        assert made.datamodule.data_dir == f"{ROOT}/data/cifar10"
        assert own.datamodule.batch_size == 5  # the original is as it was

    def test_the_accelerator_changes_nothing_else_of_the_trainer(self, own: DictConfig) -> None:
        made = changed(own, ["accelerator=gpu"], CONF)
        assert made.trainer == {**own.trainer, "accelerator": "gpu", "devices": 1}
        assert made.trainer.max_epochs == 7

    def test_values(self, own: DictConfig) -> None:
        made = changed(own, ["trainer.limit_test_batches=3", "+trainer.max_time=00:00:00:09"], CONF)
        assert made.trainer.limit_test_batches == 3
        assert made.trainer.max_time == "00:00:00:09"

    @pytest.mark.parametrize(
        ("word", "says"),
        [
            ("trainer.max_steps=x", "trainer.max_steps=x: must be a whole number from 1, or -1."),
            (
                "datamodule=digitz",
                "datamodule=digitz: no such choice. Did you mean digits? datamodule is one of: ",
            ),
            (
                "datamodule.bach_size=3",
                "datamodule.bach_size: no such key. Did you mean datamodule.batch_size? ",
            ),
        ],
    )
    def test_mistakes(self, word: str, says: str, own: DictConfig) -> None:
        with pytest.raises(UserError) as refused:
            changed(own, [word], CONF)
        assert str(refused.value).startswith(says)
