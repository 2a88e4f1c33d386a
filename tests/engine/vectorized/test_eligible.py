"""Checks which jobs of a sweep train together, and what the log says of the others."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn
from torch import Tensor
from torch.optim import SGD

from commands import own_schedule, run_train
from engine.config.resolved import Config
from engine.fence.hydra import BasicLauncher
from engine.steps.updates import RULES
from engine.vectorized.eligible import common
from together import CURVE, folder, jobs, statuses, summary, sweep

FEW = ["logger=csv", "callbacks=default", "datamodule.steps_per_epoch=2", "seed=0,1"]

ADAM = ["optimizer=adam", "optimizer.fused=false"]


def test_groups_and_what_runs_one_by_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    callbacks = [
        "callbacks=default,[default,histograms]",
        "logger=csv",
        "datamodule.steps_per_epoch=4",
    ]
    made = sweep(tmp_path, *CURVE, *callbacks, "module.hidden=5,10", "seed=0,1")
    assert set(statuses(made).values()) == {"finished"}
    assert len(jobs(made)) == 8
    assert caplog.text.count("2 jobs together") == 2
    assert (
        "4 of 8 jobs one by one: callbacks.histograms: Histograms has no in_a_stack "
        "(docs/interface.md)\n"
    ) in caplog.text


class OneByOne(BaseException):
    """Says which jobs are to run one by one."""


@pytest.fixture
def until_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends a sweep where it comes to the jobs that it runs one by one."""

    def launch(self: BasicLauncher, jobs: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        raise OneByOne(jobs)

    monkeypatch.setattr(BasicLauncher, "launch", launch)


@pytest.mark.usefixtures("until_one_by_one")
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["trainer.gradient_clip_val=1"], "trainer.gradient_clip_val=1"),
        (["trainer.accumulate_grad_batches=2"], "trainer.accumulate_grad_batches=2"),
        (["datamodule.num_workers=1"], "datamodule.num_workers=1 gathers batches ahead"),
        (["experiment=two_layer_by_hand"], "TwoLayerByHand has a setup of its own"),
        (["module._target_=unlike.HasProperty"], "HasProperty has a loss of its own"),
        (["module._target_=unlike.HasClassMethod"], "HasClassMethod has a _loss of its own"),
        (["module._target_=unlike.HasPartialMethod"], "HasPartialMethod has a _loss of its own"),
        (["+optimizer.nesterov=true", "optimizer=sgd"], "optimizer.nesterov=True"),
        (["callbacks=[default,ema,grad_norm]"], "callbacks.ema"),
        # As it happened: nobody made such a callback.
        (
            ["+callbacks.mine._target_=unlike_callbacks.Misspelt"],
            'callbacks.mine: in_a_stack="each_job" is none of "each job", "once", "left out"',
        ),
        (["trainer.overfit_batches=1"], "trainer.overfit_batches=1"),
        (["optimizer=lbfgs", "optimizer.max_iter=2"], "optimizer LBFGS"),
        (
            ["module.augment={drop: {_target_: torch.nn.Dropout, p: 0.1}}"],
            "augment: each job's step draws random numbers",
        ),
        (
            ["scheduler=plateau", "scheduler.monitor=train/loss"],
            "scheduler: the learning rate of each job follows a metric of the job",
        ),
        (
            [
                "scheduler=step",
                *(f"~scheduler.{key}" for key in ("every", "factor", "interval", "frequency")),
                "scheduler._target_=unlike.follows",
            ],
            "scheduler: the learning rate of each job follows a metric of the job",
        ),
        (
            own_schedule("unlike.Waits"),
            "scheduler: Waits is no LRScheduler",  # as it happened: alone, Lightning refuses it
        ),
        # As it happened: only the losses and gradients of a step were tried.
        (
            ["module._target_=tried.HasLoss", "+module.kind=CountsEvaluations"],
            "HasLoss: its loss changes a buffer where it is evaluated",
        ),
        (
            ["module._target_=tried.HasLoss", "+module.kind=DrawsEvaluations"],
            "HasLoss: vmap: called random operation",
        ),
        # As it happened: they trained together, and all was thrown away.
        (["module._target_=counting.Fills"], "building a job changes counting.tables, which"),
        (["module._target_=tried.StaysInEval"], "StaysInEval has a layer that stays in eval mode"),
        (["module._target_=tried.IsDamped"], "Damped reads gradients"),
        (["module._target_=tried.IsComplex", *ADAM, "init=default"], "complex parameters"),
        ([*ADAM, "+optimizer.capturable=true"], "CurveMLP: If capturable=True, params and state"),
        (["scheduler=cosine,step", "seed=0"], "there is none to train it with"),
        (["module._target_=modules_of_tests.HooksGradients"], "HooksGradients has hooks on gra"),
        (
            ["datamodule._target_=modules_of_tests.CentredParabola"],
            "CentredParabola prepares the same inputs",
        ),
        (
            ["datamodule._target_=modules_of_tests.ParabolaWithValidation"],
            "ParabolaWithValidation has a val_data",
        ),
        (
            ["datamodule.folds=5", "datamodule.seed=0", "datamodule.fold=${seed}"],
            "there is none to train it with",
        ),
        (["datamodule.steps_per_epoch=${seed}", "seed=2,3"], "there is none to train it with"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_stacked(
    words: list[str], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    set_anew = {word.partition("=")[0] for word in words}
    few = [word for word in [*CURVE, *FEW] if word.partition("=")[0] not in set_anew]
    with pytest.raises(OneByOne) as jobs:
        run_train("-m", "hydra/launcher=vectorized", *few, *words, f"paths.log_dir={tmp_path}")
    assert f"2 of 2 jobs one by one: {reason}" in caplog.text
    assert len(jobs.value.args[0]) == 2


def test_jobs_whose_transforms_have_another_order_do_not_train_together() -> None:
    crop, flip = {"_target_": "project.Crop"}, {"_target_": "project.Flip"}
    one = Config({"augment": {"crop": crop, "flip": flip}})
    assert common(Config({"augment": {"crop": {**crop}, "flip": flip}})) == common(one)
    assert common(Config({"augment": {"flip": flip, "crop": crop}})) != common(one)


@pytest.mark.usefixtures("until_one_by_one")
def test_an_update_that_is_another_one_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The second step of SGD is the first with momentum."""
    caplog.set_level("INFO")
    rule = RULES[SGD]

    def update(parameter: Tensor, gradient: Tensor, state: Any, by: Any, flags: Any) -> None:
        rule.update(parameter, gradient, state, {**by, "momentum": 0.99 * by["momentum"]}, flags)

    monkeypatch.setitem(RULES, SGD, replace(rule, update=update))
    words = [*CURVE, *FEW, "optimizer=sgd", "optimizer.momentum=0.9", f"paths.log_dir={tmp_path}"]
    with pytest.raises(OneByOne):
        run_train("-m", "hydra/launcher=vectorized", *words)
    assert "2 of 2 jobs one by one: optimizer SGD gives other numbers in a stack" in caplog.text


@pytest.mark.usefixtures("until_one_by_one")
def test_optimisers_differ_only_in_numbers_that_a_stack_has_a_column_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with pytest.raises(OneByOne) as alone:
        sweep(tmp_path, *CURVE, *FEW, "optimizer=sgd", "+optimizer.dampening=0,0.5")
    (both,) = alone.value.args
    assert ["+optimizer.dampening=0.5" in words for words in both] == [True, True]
    assert caplog.text.count("2 jobs together") == 1
    assert "2 of 4 jobs one by one: optimizer.dampening=0.5" in caplog.text


def test_jobs_that_cannot_be_built_leave_the_others_together(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    targets = "modules_of_tests.CannotBeBuilt,project.modules.curve_mlp.CurveMLP"
    with pytest.raises(SystemExit):
        sweep(tmp_path, *CURVE, *FEW, f"module._target_={targets}")
    assert caplog.text.count("2 jobs together") == 1
    assert "2 of 4 jobs one by one: a mistake in the config or in the data" in caplog.text
    assert (
        sorted(summary(run_dir)["status"] for run_dir in jobs(folder(tmp_path)).values())
        == ["finished"] * 2
    )


def test_a_network_that_draws_random_numbers_runs_one_by_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    made = sweep(tmp_path, *CURVE, *FEW, "module._target_=modules_of_tests.WithDropout")
    reason = "vmap: called random operation while in randomness error mode"
    assert f"2 of 2 jobs one by one: WithDropout: {reason}" in caplog.text
    assert not any(math.isnan(summary(run_dir)["objective"]) for run_dir in jobs(made).values())
