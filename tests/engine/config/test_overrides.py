"""The command line: what is refused, in which words, and what passes."""

import contextlib
import functools
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from commands import CONF, ROOT, run_train
from engine import errors
from engine.config import overrides
from engine.config.overrides import check_values
from engine.config.resolved import Config
from engine.door import Door
from engine.errors import UserError
from engine.run import summaries
from project.train import train

SGD = "optimizer has: _target_, _partial_, lr, momentum, weight_decay, fused."
EXPERIMENTS, CALLBACKS, OPTIMIZERS, SCHEMES, LOGGERS = (
    ", ".join(sorted(path.stem for path in CONF.glob(f"{group}/*.yaml")))
    for group in ("experiment", "callbacks", "optimizer", "init", "logger")
)
OF_SEED = (
    "\nIt is a word: leave its quotes out, or write 'seed=\"${oc.decode:${oc.env:NAME}}\"' "
    "for a variable."
)
REFUSED = {
    # unknown keys
    "optimizer.lrr=1": (f"optimizer.lrr: no such key. Did you mean optimizer.lr? {SGD}"),
    "callbacks.mine._target_=engine.GradNorm": (
        "callbacks.mine._target_: no such key.\n"
        "If the class takes it, add it: +callbacks.mine._target_=engine.GradNorm"
    ),
    "+module.opts={a:1} module.opts.b=2": (
        "module.opts.b: no such key. module.opts has: a.\n"
        "If the class takes it, add it: +module.opts.b=2"
    ),
    "+callbacks.mine={_target_:a.B,steps:1} callbacks.mine.step=2": (
        "callbacks.mine.step: no such key. Did you mean callbacks.mine.steps? callbacks.mine has: "
        "_target_, steps."
    ),
    "module.optimzer.lr=1": "module.optimzer.lr: no such key. Did you mean optimizer.lr?",
    "+module.optimzer.lr=1": (
        "module.optimzer: LeNet5 takes no such argument. Did you mean optimizer? It takes "
        "num_classes, optimizer, scheduler, augment, init.\n"
        "The command says: +module.optimzer.lr=1"
    ),
    "+datamodule.folds.b=1": (
        "datamodule.folds.b: datamodule.folds has no keys; write datamodule.folds={b: VALUE}."
    ),
    "callbacks=histograms callbacks.checkpoints.monitor=val/acc": (
        "callbacks.checkpoints.monitor: no such key."
    ),
    "~seed": "~seed: every run needs it; give it another value.",
    "~trainer.max_epochs": "~trainer.max_epochs: every run needs it; give it another value.",
    "~paths": "~paths: every run needs it; give it another value.",
    "trainer.max_epoch=3": "trainer.max_epoch: no such key. Did you mean trainer.max_epochs?",
    "trainer.reload_dataloaders_every_n_epochs=1": (
        "trainer.reload_dataloaders_every_n_epochs: no such key. "
        "Did you mean trainer.check_val_every_n_epoch?\n"
        "If the class takes it, add it: +trainer.reload_dataloaders_every_n_epochs=1"
    ),
    "lr=0.1": "lr: no such key. Did you mean optimizer.lr?",
    "deterministic=3": "deterministic: no such key. Did you mean trainer.deterministic?",
    "optimiser=adam": "optimiser: no such key. Did you mean optimizer?",
    "+typo=1": (
        "typo: no such key.\nA key of your own has its place in a file of conf/experiment."
    ),
    "++typo=1": (
        "typo: no such key.\nA key of your own has its place in a file of conf/experiment."
    ),
    "+paths.x=1": "paths.x: no such key. paths has: root, data_dir, log_dir.",
    "~optimizer.lrr": f"optimizer.lrr: no such key. Did you mean optimizer.lr? {SGD}",
    "optimizer=adam optimizer.momentum=0.5": (
        "optimizer.momentum: no such key. "
        "optimizer has: _target_, _partial_, lr, betas, weight_decay, fused.\n"
        "If the class takes it, add it: +optimizer.momentum=0.5"
    ),
    "init.scale=2": (
        "init.scale: no such key. init has: _target_, _partial_.\n"
        "If the class takes it, add it: +init.scale=2"
    ),
    # wrong types
    "trainer.max_epochs=two": "trainer.max_epochs=two: must be a whole number from 1 or null.",
    "trainer.max_epochs=2.5": "trainer.max_epochs=2.5: must be a whole number from 1 or null.",
    "compile=3": "compile=3: must be true or false.",
    "sweep.wait=[1]": "sweep.wait=[1]: must be true or false.",
    "paths=x": "paths=x: must be a mapping, like {'root': '${root:}', 'data_dir': "
    "'${paths.root}/data', "
    "'log_dir': '${paths.root}/logs'}.",
    "name=[a,b]": (
        "name=['a', 'b']: must be the name of a folder below paths.log_dir; "
        "it may not lead out of it."
    ),
    # out of range
    "seed=-1": "seed=-1: must be a whole number from 0 to 4294967295.",
    "seed=4294967296": "seed=4294967296: must be a whole number from 0 to 4294967295.",
    "trainer.devices=0": "trainer.devices=0: must be a whole number from 1 to 1024 or auto.",
    "++threads=0": "threads=0: must be a whole number from 1 to 1024.",
    "threads=10000000000000": "threads=10000000000000: must be a whole number from 1 to 1024.",
    "trainer.gradient_clip_val=nan": (
        "trainer.gradient_clip_val=nan: must be a number from 0 or null."
    ),
    "trainer.gradient_clip_val=-1": (
        "trainer.gradient_clip_val=-1: must be a number from 0 or null."
    ),
    "paths.log_dir=2026": "paths.log_dir=2026: must be a path, such as ./2026.",
    "paths.root=null": "paths.root=null: must be a path, such as ./2026.",
    # of KEY=$UNSET in a shell
    "paths.root=": "paths.root=: must be a path, such as ./2026.",
    "paths.log_dir=": "paths.log_dir=: must be a path, such as ./2026.",
    "'paths.data_dir=${oc.env:UNSET_OF_TESTS,\"\"}'": (
        "paths.data_dir=: must be a path, such as ./2026."
    ),
    "-m 'init_from=null,\"\"'": "init_from=: must be a path, such as ./2026 or null.",
    "datamodule=cifar10 datamodule.data_dir=": (
        "datamodule.data_dir=: must be a path, such as ./2026."
    ),
    "datamodule=image_folder datamodule.data_dir=x datamodule.cache_dir=": (
        "datamodule.cache_dir=: must be a path, such as ./2026."
    ),
    "-m seed=1 hydra.sweep.dir=": "hydra.sweep.dir=: must be a path, such as ./2026.",
    # choices
    "experiment=lenett": (
        "experiment=lenett: no such choice. Did you mean lenet? experiment is one of: "
        f"{EXPERIMENTS}."
    ),
    "optimizer=adamm": (
        f"optimizer=adamm: no such choice. Did you mean adam? optimizer is one of: {OPTIMIZERS}."
    ),
    "optimizer=null": f"optimizer=null: no such choice. optimizer is one of: {OPTIMIZERS}.",
    "optimizer=torch.optim.Adagrad": (
        f"optimizer=torch.optim.Adagrad: no such choice. optimizer is one of: {OPTIMIZERS}.\n"
        "To choose a class of your own, write conf/optimizer/adagrad.yaml with the lines "
        "`_target_: torch.optim.Adagrad`, `_partial_: true`, `ARGUMENT: VALUE`, and then "
        "optimizer=adagrad."
    ),
    "optimizer=torch.optim.RMSprop": (
        f"optimizer=torch.optim.RMSprop: no such choice. optimizer is one of: {OPTIMIZERS}.\n"
        "To choose this class, write optimizer=rmsprop."
    ),
    "callbacks=lightning.pytorch.callbacks.EarlyStopping": (
        "callbacks=lightning.pytorch.callbacks.EarlyStopping: no such choice. "
        f"callbacks is one of: {CALLBACKS}.\n"
        'To choose this class, write "callbacks=[default,early_stopping]".'
    ),
    "callbacks=engine.Checkpoints": (
        f"callbacks=engine.Checkpoints: no such choice. callbacks is one of: {CALLBACKS}.\n"
        "To choose this class, write callbacks=default."
    ),
    "optimizer=torch.optim.rmsprop.RMSprop": (
        "optimizer=torch.optim.rmsprop.RMSprop: no such choice. "
        f"optimizer is one of: {OPTIMIZERS}.\nTo choose this class, write optimizer=rmsprop."
    ),
    "optimizer=mine.RMSprop": (
        f"optimizer=mine.RMSprop: no such choice. optimizer is one of: {OPTIMIZERS}.\n"
        "To choose a class of your own, write conf/optimizer/my_rmsprop.yaml with the lines "
        "`_target_: mine.RMSprop`, `_partial_: true`, `ARGUMENT: VALUE`, and then "
        "optimizer=my_rmsprop."
    ),
    "logger=lightning.pytorch.loggers.CSVLogger": (
        f"logger=lightning.pytorch.loggers.CSVLogger: no such choice. logger is one of: {LOGGERS}."
        "\nTo choose a class of your own, write conf/logger/csvlogger.yaml with the "
        "lines `csvlogger:`, `  _target_: lightning.pytorch.loggers.CSVLogger`, "
        "`  ARGUMENT: VALUE`, and then logger=csvlogger."
    ),
    "accelerator=x.y": "accelerator=x.y: no such choice. accelerator is one of: auto, cpu, gpu.",
    "accelerator=tpu": (
        "accelerator=tpu: no such choice. Did you mean gpu? accelerator is one of: auto, cpu, gpu."
    ),
    "callbacks=[classification,histogram]": (
        "callbacks=histogram: no such choice. Did you mean histograms? "
        f"callbacks is one of: {CALLBACKS}."
    ),
    "~optimizer": f"~optimizer: a run needs one of: {OPTIMIZERS}.",
    # the form
    "lenet": "lenet: not an override; write key=value, such as experiment=lenet.",
    "experiment = lenet": "experiment = lenet: write experiment=lenet, without blanks.",
    "seed=1 experiment = lenet": "experiment = lenet: write experiment=lenet, without blanks.",
    "seed=1 experiment =lenet": "experiment =lenet: write experiment=lenet, without blanks.",
    "-m init=zero, he": "init=zero, he: write init=zero,he, without blanks.",
    "-m init=zero ,he, randn": "init=zero ,he, randn: write init=zero,he,randn, without blanks.",
    "experiment= lenet seed=1": "experiment= lenet: write experiment=lenet, without blanks.",
    "seed=1 lenet": "lenet: not an override; write key=value, such as experiment=lenet.",
    "seed=0,1": ("seed=0,1: has several values; add -m for a sweep. A list is written seed=[0,1]."),
    "optimizer=adam,sgd": "optimizer=adam,sgd: has several values; add -m for a sweep.",
    "logger=csv,tensorboard": (
        "logger=csv,tensorboard: has several values; add -m for a sweep. "
        "A list is written logger=[csv,tensorboard]."
    ),
    "optimizer=[adam,sgd]": "optimizer=[adam,sgd]: a run has one optimizer; choose one.",
    "seed=range(1,3)": "seed=range(1,3): has several values; add -m for a sweep.",
    "optimizer=adam optimizer.betas=[0.9, 0.99]": (
        "optimizer.betas=[0.9, 0.99]: has blanks, so it needs quotes: 'optimizer.betas=[0.9, 0.99]'"
    ),
    "optimizer=adam optimizer.betas=[0.9, seed": (
        "seed: not an override; write key=value, such as experiment=lenet."
    ),
    "=1": "=1: not an override; write key=value, such as experiment=lenet.",
    "''": "'': not an override; write key=value, such as experiment=lenet.",
    "datamodule.data_dir=/x/a=b": (
        "datamodule.data_dir=/x/a=b: Hydra cannot read this value (mismatched input '=' expecting "
        "<EOF>).\nIf it is a word, quote it: 'datamodule.data_dir=\"/x/a=b\"'"
    ),
    "'datamodule.data_dir=/x/my photos (1)'": (
        "datamodule.data_dir=/x/my photos (1): Hydra cannot read this value (mismatched input ' (' "
        "expecting <EOF>).\nIf it is a word, quote it: "
        "'datamodule.data_dir=\"/x/my photos (1)\"'"
    ),
    # other ways to write it
    "--experiment lenet": "--experiment: write experiment=lenet, without dashes.",
    "--lr 0.1": "--lr: write lr=0.1, without dashes. Did you mean optimizer.lr?",
    "--lr=0.1": "--lr=0.1: write lr=0.1, without dashes. Did you mean optimizer.lr?",
    "--experiment=lenet": "--experiment=lenet: write experiment=lenet, without dashes.",
    "--experimental-rerun=x": "--experimental-rerun: write resume=RUN_DIR.",
    "--experimental-rerun config": "--experimental-rerun: write resume=RUN_DIR.",
    "--config-path config": (
        "--config-path: the command has its own conf/; choose from it, such as experiment=lenet."
    ),
    "--batch-size": (
        "--batch-size: write batch_size=VALUE, without dashes. Did you mean datamodule.batch_size?"
    ),
    "seed=1 -m ' '": "' ': write options, such as -m, before all overrides.",
    "seed=1 -m name=x": "name=x: write options, such as -m, before all overrides.",
    "-m -c job": "--multirun and --cfg: give one of them.",
    "--resolve": "--resolve: needs --cfg job, whose output it resolves.",
    # any job of a sweep
    "-m seed=0,1,-1": "seed=-1: must be a whole number from 0 to 4294967295.",
    "-m seed=range(-1,3)": "seed=-1: must be a whole number from 0 to 4294967295.",
    "--multirun trainer.max_epochs=choice(1,abc)": (
        "trainer.max_epochs=abc: must be a whole number from 1 or null."
    ),
    '-m \'optimizer="sgd","adamm"\'': (
        f"optimizer=adamm: no such choice. Did you mean adam? optimizer is one of: {OPTIMIZERS}."
    ),
    '-m \'callbacks=["default"],["nothing_like_it"]\'': (
        f"callbacks=nothing_like_it: no such choice. callbacks is one of: {CALLBACKS}."
    ),
    "-m 'seed=\"1 \",2'": f"seed='1 ': must be a whole number from 0 to 4294967295.{OF_SEED}",
    "'seed=\"3\"'": f"seed='3': must be a whole number from 0 to 4294967295.{OF_SEED}",
    "'optimizer.lr=\"0.1\"'": (
        "optimizer.lr='0.1': must be a valid number or an instance of Tensor, by the signature of "
        f"SGD.{OF_SEED.replace('seed', 'optimizer.lr')}"
    ),
    "-m init=he,hee": (f"init=hee: no such choice. Did you mean he? init is one of: {SCHEMES}."),
    "-m optimizer=sgd,adam optimizer.momentum=0.5": (
        "optimizer.momentum: no such key. "
        "optimizer has: _target_, _partial_, lr, betas, weight_decay, fused.\n"
        "If the class takes it, add it: +optimizer.momentum=0.5"
    ),
    "-m seed=range(0,1000000000000)": (
        "seed=range(0,1000000000000): a sweep has 1 to 100,000 jobs."
    ),
    "hydra.mode=RUN seed=1,2": "seed=1,2: has several values; add -m for a sweep. "
    "A list is written seed=[1,2].",
    "-m seed=glob(*)": "seed=glob(*): a sweep has 1 to 100,000 jobs.",
    "+trainer.x=${.}": (
        "+trainer.x=${.}: extraneous input '}' expecting {INTER_OPEN, BRACKET_OPEN, ID, '.', "
        "INTER_KEY}."
    ),
    "-m 'seed=range(0,1,0)'": "seed=range(0,1,0): range() arg 3 must not be zero",
    "~callbacks=[default]": "~callbacks=[default]: write ~callbacks.",
    "@=1": "@=1: not an override; write key=value, such as experiment=lenet.",
    "callbacks.checkpoints=[]": "callbacks.checkpoints=[]: must be a mapping, like "
    "{'_target_': 'engine.Checkpoints', 'every_n_steps': 1000, "
    "'monitor': 'val/acc', 'mode': 'max'}.",
    "trainer.accumulate_grad_batches=0": (
        "trainer.accumulate_grad_batches=0: must be a whole number from 1."
    ),
    "trainer.val_check_interval=2.5": (
        "trainer.val_check_interval=2.5: must be a share such as 0.5, a whole number from 1, "
        "a time such as 00:00:30:00 or null."
    ),
    "trainer.limit_train_batches=0": (
        "trainer.limit_train_batches=0: must be a share such as 0.5, a whole number from 1 or null."
    ),
    f"seed={'[' * 400}{']' * 400}": f"seed={'[' * 195}…: is nested too deeply.",
    # Hydra's options and keys
    "hydra.run.dir=there": "hydra.run.dir=there: the engine makes the folder of a run; "
    "choose it by paths.log_dir=DIR and name=NAME.",
    "--config-dir=there experiment=ext": (
        "--config-dir: files of your own have their place in conf/, such as "
        "conf/experiment/NAME.yaml."
    ),
    "hydra.searchpath=[there] experiment=ext": (
        "hydra.searchpath=[there]: files of your own have their place in conf/, such as "
        "conf/experiment/NAME.yaml."
    ),
    "hydra/job_logging=default": (
        "hydra/job_logging=default: must be none; the engine shows and writes it."
    ),
    "~hydra/hydra_logging": "~hydra/hydra_logging: must be none; the engine shows and writes it.",
    "hydra.run={dir:there}": "hydra.run={dir:there}: the engine makes the folder of a run; "
    "choose it by paths.log_dir=DIR and name=NAME.",
    "+hydra.callbacks.x.y=1": (
        "+hydra.callbacks.x.y=1: Hydra's callbacks are chosen in conf/config.yaml."
    ),
    "hydra.job={x:1}": "hydra.job.x: Key 'x' not in 'JobConf'",
    "-m name=${oc.select:[]}": (
        "name: its ${…} cannot be resolved: 'list' object has no attribute 'startswith'"
    ),
    "--config-name=experiment/lenet": (
        "--config-name: must be config; choose from it, such as experiment=lenet."
    ),
    "--config-path=there": (
        "--config-path: the command has its own conf/; choose from it, such as experiment=lenet."
    ),
    "--shell-completion install=bash": ("--shell-completion: there is none for `python -m`."),
    "--hydra-help": "--hydra-help: write it alone; --help is about this command.",
    "init_from=${hydra:[1]}": (
        "init_from: its ${…} cannot be resolved: 'list' object has no attribute 'startswith'"
    ),
    "seed=${oc.env:NO_SUCH_NAME}": (
        "${oc.env:NO_SUCH_NAME}: there is no such environment variable; datamodule.seed needs it."
    ),
    # a plus too many, and keys of Hydra's that another choice has
    "+datamodule=digits": "+datamodule=digits: datamodule has a choice; write datamodule=digits.",
    "++debug=fast": "++debug=fast: debug has a choice; write debug=fast.",
    "+callbacks=histograms": "+callbacks=histograms: callbacks has a choice; "
    'write callbacks=histograms, or both: "callbacks=[classification,histograms]".',
    "experiment=curve_fit +callbacks=histograms": "+callbacks=histograms: callbacks has a choice; "
    'write callbacks=histograms, or both: "callbacks=[curve_fit,histograms]".',
    "-m experiment=linear,curve_fit +callbacks=histograms": (
        "+callbacks=histograms: callbacks has a choice; write callbacks=histograms."
    ),
    "-m +callbacks=histograms,ema": (
        "+callbacks=histograms,ema: callbacks has a choice; write callbacks=histograms,ema."
    ),
    "+callbacks=[histograms,ema]": "+callbacks=[histograms,ema]: callbacks has a choice; "
    'write callbacks=[histograms,ema], or both: "callbacks=[classification,histograms,ema]".',
    "+augment=flip_crop": "+augment=flip_crop: augment has a choice; write augment=flip_crop.",
    "++callbacks@more=histograms": (
        "++callbacks@more=histograms: write +callbacks@more=histograms."
    ),
    "+seed=6": "+seed=6: seed has a value already; write seed=6",
    "-m hydra.launcher.n_jobs=2": (
        "hydra.launcher.n_jobs: no such key of hydra/launcher=basic. "
        "Choose one that has it: hydra/launcher=joblib or submitit_local."
    ),
    "-m hydra/launcher=joblib hydra.launcher.n_job=2": (
        "hydra.launcher.n_job: no such key of hydra/launcher=joblib. "
        "Did you mean hydra.launcher.n_jobs?"
    ),
    "-m hydra/launcher=submitit_slurm hydra.launcher.slurm_qos=x": (
        "hydra.launcher.slurm_qos: no such key of hydra/launcher=submitit_slurm. "
        "Did you mean hydra.launcher.slurm_setup?\n"
        "If the class takes it, add it: +hydra.launcher.slurm_qos=x"
    ),
    "hydra.jbo.chdir=true": "hydra.jbo.chdir: no such key. Did you mean hydra.job.chdir?",
    "hydra.job.env_copy=[NO_SUCH_NAME]": "KeyError: 'NO_SUCH_NAME'\n"
    "HYDRA_FULL_ERROR=1 shows the traceback.",
    "-m hydra.sweeper._target_=builtins.dict": "Invalid plugin 'builtins.dict': "
    "not the hydra_plugins package",
    "+init@=randn": "+init@=randn: write init=CHOICE, or a place behind the @.",
    "optimizer.fused=[{1:2,a:3}]": ("optimizer.fused.0={1, a: …}: its keys must be of one kind."),
    # no value
    "seed=???": "seed: has no value (???); write seed=VALUE",
    "name=???": "name: has no value (???); write name=VALUE",
    "-m name=a,???": "name: has no value (???); write name=VALUE",
    "-m seed=0,???": "seed: has no value (???); write seed=VALUE",
    "scheduler=cosine scheduler.floor=???": (
        "scheduler.floor: has no value (???); write scheduler.floor=VALUE"
    ),
    "optimizer=adam optimizer.betas=[0.9,???]": (
        "optimizer.betas.1: has no value (???); write optimizer.betas=VALUE"
    ),
    "+module.groups=[{lr:???}]": (
        "module.groups.0.lr: has no value (???); write module.groups=VALUE"
    ),
    "-m hydra.sweeper.params=[1]": (
        "hydra.sweeper.params=[1]: must be a mapping, such as {seed: '1,2'}."
    ),
    "-m hydra.sweeper.params={1:2}": "hydra.sweeper.params: Hydra cannot read 1=2\n"
    "See https://hydra.cc/docs/1.2/advanced/override_grammar/basic for details",
    """'seed=a\\"'""": 'seed=a\\": Hydra cannot read this value.\n'
    """If it is a word, quote it: 'seed="a\\\\\\""'""",
    "'seed=a\nb'": "'seed=a\\nb': Hydra cannot read this value.",
    "logger.tensorboard.version=../../x": (
        "logger.tensorboard.version=../../x: must be the name of a folder that lies in the run's "
        "own, or empty, by the signature of TensorBoard."
    ),
    f"logger.tensorboard.name={'x' * 256}": (
        f"logger.tensorboard.name={'x' * 200}…: must be the name of a folder that lies in the "
        "run's own, or empty, by the signature of TensorBoard."
    ),
    "-m 'seed=1,choice(2,3)'": (
        "seed=1,choice(2,3): values to sweep over stand alone, as in seed=1,2; "
        "not in a list, a mapping, or among other values."
    ),
    "-m 'optimizer.betas=[[range(1,2)],2]'": (
        "optimizer.betas=[[range(1,2)],2]: values to sweep over stand alone, as in seed=1,2; "
        "not in a list, a mapping, or among other values."
    ),
    "-m 'module.x={a:interval(1,2)}'": (
        "module.x={a:interval(1,2)}: values to sweep over stand alone, as in seed=1,2; "
        "not in a list, a mapping, or among other values."
    ),
    "-m seed=1,2 hydra/sweeper=grid,basic": (
        "hydra/sweeper=basic: no such choice. hydra/sweeper is one of: grid, optuna."
    ),
    "-m seed=1,glob(*)": (
        "seed=1,glob(*): values to sweep over stand alone, as in seed=1,2; "
        "not in a list, a mapping, or among other values."
    ),
    "name=${=": ("name=${=: Hydra cannot read this value (mismatched input '{' expecting <EOF>)."),
    "'~a\nb'": "'~a\\nb': Hydra cannot read 'a\\nb' as a key.\n"
    "Write key=value, +key=value or ~key, such as seed=1 or ~debug.",
    "-m hydra.overrides.task=[a]": (
        "hydra.overrides.task=[a]: Hydra itself notes there what the command says."
    ),
    "hydra.runtime.output_dir=x": (
        "hydra.runtime.output_dir=x: Hydra itself notes there what it has found."
    ),
    "'~a b'": "'~a b': Hydra cannot read 'a b' as a key.\n"
    "Write key=value, +key=value or ~key, such as seed=1 or ~debug.",
    "~01": "'~01': Hydra cannot read '01' as a key.\n"
    "Write key=value, +key=value or ~key, such as seed=1 or ~debug.",
    "~optimizer._target_": (
        "module.optimizer={'_partial_': True, 'lr': 0.001, 'momentum': 0.9, 'weight_decay': 0.0, "
        "'fused': True}: must be callable, by the signature of LeNet5. It has _partial_, and no "
        "_target_."
    ),
    "resume=a resume=/b": "resume=a resume=/b: a command goes on with one run; give one.",
    "resume=": "resume=: write resume=RUN_DIR, with the folder of a run.",
    "-m seed=interval(0,3)": "seed=interval(0,3): a grid needs values, such as 1,2 or range(1,4).",
}


@pytest.fixture(scope="module")
def composed() -> Callable[..., DictConfig]:
    return functools.cache(
        lambda *overrides, **more: compose("config", overrides=list(overrides), **more)
    )


@pytest.fixture
def _quick(composed: Callable[..., DictConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose each set of choices once for all commands: it takes 0.2 s."""
    monkeypatch.setattr(
        overrides, "compose", lambda name, overrides, **more: composed(*overrides, **more)
    )


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize(("command", "says"), REFUSED.items(), ids=list(REFUSED))
def test_refused(
    command: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(command)
    # Hydra wants all overrides in one place.
    place = 0 if "-" not in words[0][:1] else len(words)
    words.insert(place, f"paths.log_dir={tmp_path / 'logs'}")
    with pytest.raises(SystemExit) as stop:
        run_train(*words)
    assert stop.value.code == errors.WRONG_USE
    assert capsys.readouterr() == ("", f"error: {says}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["MULTIRUN", "RUN"])
def test_an_experiment_may_be_a_sweep_without_an_option(mode: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = f"# @package _global_\nhydra: {{mode: {mode}}}\n"
    (tmp_path / "experiment/many.yaml").write_text(text)
    (tmp_path / "config.yaml").write_text("defaults: [_self_, experiment: null]\nseed: 0\n")
    is_sweep = mode == "MULTIRUN"
    with contextlib.nullcontext() if is_sweep else pytest.raises(UserError, match="add -m"):
        overrides.check_command_line(["experiment=many", "seed=1,2"], tmp_path)


def test_a_search_tries_a_few_values_of_a_long_range() -> None:
    overrides.check_command_line(["-m", "hydra/sweeper=optuna", "seed=range(0,200000)"], CONF)


class Recorder(list[dict[str, Any]]):
    """In place of `Door.do`: keeps the resolved config of every run."""

    def __call__(self, config: Config, run_dir: Path | None, insists: bool = False) -> float:
        check_values(config)
        self.append({**config, "run_dir": run_dir, "overrides": config.overrides})
        if run_dir:  # of a sweep, which asks what became of its job
            run_dir.mkdir(parents=True)
            summaries.save(run_dir, {"status": "finished"})
        return 0.0


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(Door, "do", recorder)
    return recorder


MISSING = "(missing)"
PASSES = {
    "values": (
        (
            "seed=7 optimizer.lr=1 optimizer.momentum=0 trainer.limit_train_batches=10 "
            "datamodule.mean=[0,0,0] name=3"
        ),
        {
            "seed": 7,
            "optimizer.lr": 1,
            "module.optimizer.lr": 1,
            "trainer.limit_train_batches": 10,
            "name": 3,
        },
    ),
    "values for null, and null": (
        (
            "trainer.gradient_clip_val=0.5 datamodule.steps_per_epoch=3 "
            "trainer.max_epochs=null callbacks.checkpoints=null"
        ),
        {
            "trainer.gradient_clip_val": 0.5,
            "datamodule.steps_per_epoch": 3,
            "trainer.max_epochs": None,
            "callbacks.checkpoints": None,
        },
    ),
    "words": (
        "trainer.devices=auto accelerator=gpu",
        {"trainer.devices": "auto", "trainer.accelerator": "gpu"},
    ),
    "more of a class's arguments": (
        "+trainer.max_time=00:01:00:00 ++trainer.fast_dev_run=true +optimizer.nesterov=true",
        {
            "trainer.max_time": "00:01:00:00",
            "trainer.fast_dev_run": True,
            "module.optimizer.nesterov": True,
        },
    ),
    "one callback less": (
        "~callbacks.classification",
        {"callbacks.classification": MISSING, "callbacks.checkpoints.mode": "max"},
    ),
    "callbacks of one's own": (
        "+callbacks.mine._target_=a.B +callbacks.mine.n=3 +callbacks.yours={_target_:c.D}",
        {"callbacks.mine": {"_target_": "a.B", "n": 3}, "callbacks.yours": {"_target_": "c.D"}},
    ),
    "words that build on an earlier one": (
        "+module.opts={a:1} module.opts.a=2 +module.opts.b.c=3 "
        "+callbacks.mine={_target_:a.B,n:1} callbacks.mine.n=2 "
        "+module.make_opt._target_=torch.optim.SGD +module.make_opt._partial_=true",
        {
            "module.opts": {"a": 2, "b": {"c": 3}},
            "module.make_opt": {"_target_": "torch.optim.SGD", "_partial_": True},
            "callbacks.mine": {"_target_": "a.B", "n": 2},
        },
    ),
    "two choices of a group": (
        "callbacks=[classification,histograms]",
        {"callbacks.histograms.every_n_steps": 100, "callbacks.classification.grid_images": 16},
    ),
    "none of a group": ("callbacks=[] ~logger", {"callbacks": MISSING, "logger": MISSING}),
    "interpolations": (
        "seed=3 datamodule.split_seed=${seed} datamodule.batch_size=${.eval_batch_size}",
        {"datamodule.split_seed": 3, "datamodule.batch_size": 1000},
    ),
    "a value over an experiment's": (
        "optimizer.lr=0.5 experiment=linear",
        {"name": "linear", "optimizer.lr": 0.5, "module.optimizer.lr": 0.5, "seed": 2},
    ),
    "a value that only one choice has": (
        "init=randn init.scale=0.01",
        {"module.init.scale": 0.01, "module.init._target_": "project.init.randn"},
    ),
    "hydra's own": ("hydra.job.chdir=false hydra.verbose=false", {"seed": 0}),
    "a sweep of one job": ("-m seed=5", {"seed": 5}),
}


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize(("command", "expected"), PASSES.values(), ids=list(PASSES))
def test_passes(command: str, expected: dict[str, Any], trained: Recorder, tmp_path: Path) -> None:
    run_train(*command.split(), f"paths.log_dir={tmp_path}")
    (run,) = trained
    created = OmegaConf.create(
        {key: value for key, value in run.items() if key not in ("run_dir", "overrides")}
    )
    assert {key: OmegaConf.select(created, key, default=MISSING) for key in expected} == expected
    assert run["overrides"] == [
        word for word in command.split() if not word.startswith(("-", "hydra."))
    ] + [f"paths.log_dir={tmp_path}"]


def test_every_job_of_a_sweep(trained: Recorder, tmp_path: Path) -> None:
    run_train("-m", "init=glob(h*)", "seed=range(1,3)", f"hydra.sweep.dir={tmp_path}/mine")
    jobs = [(job["init"]["_target_"].rpartition(".")[2], job["seed"]) for job in trained]
    assert jobs == [("he", 1), ("he", 2)]
    assert {job["run_dir"].parent for job in trained} == {tmp_path / "mine"}
    assert len({job["run_dir"] for job in trained}) == 2


def test_choices_of_a_sweep_may_have_quotes(trained: Recorder, tmp_path: Path) -> None:
    run_train("-m", """optimizer="sgd",'adam'""", f"hydra.sweep.dir={tmp_path}/mine")
    targets = [job["optimizer"]["_target_"] for job in trained]
    assert targets == ["torch.optim.SGD", "torch.optim.Adam"]


def test_a_variable_is_a_word_unless_it_is_decoded(
    trained: Recorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SEED_OF_TESTS", "3")
    with pytest.raises(SystemExit):
        run_train("seed=${oc.env:SEED_OF_TESTS}", f"paths.log_dir={tmp_path}")
    assert capsys.readouterr().err == (
        f"error: seed='3': must be a whole number from 0 to 4294967295.{OF_SEED}\n"
    )
    run_train('seed="${oc.decode:${oc.env:SEED_OF_TESTS}}"', f"paths.log_dir={tmp_path}")
    assert [run["seed"] for run in trained] == [3]


def test_values_of_the_config_files_are_checked_too() -> None:
    train.open()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        chosen = compose("config")
    check_values(Config.resolve(chosen))
    chosen.trainer.max_steps = 1.5
    with pytest.raises(
        UserError, match=r"^trainer\.max_steps=1\.5: must be a whole number from 1, or -1\.$"
    ):
        check_values(Config.resolve(chosen))


@pytest.mark.parametrize("key", ["name", "threads", "seed", "paths.log_dir", "sweep.retry"])
def test_a_key_that_conf_has_lost_is_named(key: str) -> None:
    """As it happened: a run lay in logs/runs/None, and each job of a sweep failed by itself."""
    train.open()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        kept: Any = OmegaConf.to_container(compose("config"), resolve=True)
    check_values(Config(kept))
    above, _, name = key.rpartition(".")
    (kept[above] if above else kept).pop(name)
    with pytest.raises(UserError, match=rf"^{key}: missing; conf/config\.yaml needs it\.$"):
        check_values(Config(kept))


def test_where_things_lie(
    trained: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_train("seed=1")
    run_train("-m", "seed=1", "name=mine", "paths.log_dir=there")
    assert trained[0]["paths"] == {
        "root": str(ROOT),
        "data_dir": f"{ROOT}/data",
        "log_dir": f"{ROOT}/logs",
    }
    assert trained[0]["run_dir"] is None
    assert trained[1]["run_dir"].parent == tmp_path / "there" / "sweeps" / "mine"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        pytest.param(
            ["--help"],
            [
                "python -m project.train resume=RUN_DIR",
                f"  optimizer   {OPTIMIZERS}",
                "  trainer.max_epochs=5 ",
            ],
            id="--help",
        ),
        pytest.param(["--cfg", "job"], ["  lr: 0.001", "  momentum: 0.9"], id="--cfg job"),
        pytest.param(
            ["optimizer=adam", "-c", "job"], ["  lr: 0.001", "  betas:"], id="-c job, changed"
        ),
        pytest.param(["--config-name=config", "-c", "job"], ["  lr: 0.001"], id="--config-name"),
    ],
)
def test_shows(
    words: list[str], shown: list[str], trained: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        run_train(*words)
        code: object = 0
    except SystemExit as stop:
        code = stop.code
    assert code == 0
    printed, complaints = capsys.readouterr()
    assert [line for line in shown if line not in printed] == []
    assert complaints == ""
    assert trained == []


def test_a_part_of_the_config_that_is_not_there_is_wrong_use(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train("--cfg", "job", "--package", "nosuch")
    assert stop.value.code == errors.WRONG_USE
    assert capsys.readouterr() == ("", "package 'nosuch' not found in config\n")


@pytest.mark.parametrize(
    ("command", "code"),
    [("--help", 0), ("optimizer.lrr=1", 2), ("-m seed=0,-1", 2), ("resume=nowhere", 2)],
)
def test_answers_without_importing_torch(command: str, code: int) -> None:
    words = [sys.executable, "-X", "importtime", "-m", "project.train", *command.split()]
    without = {**os.environ, "HYDRA_FULL_ERROR": ""}
    ended = subprocess.run(words, capture_output=True, text=True, env=without, timeout=60)
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert ended.returncode == code
    assert "hydra" in imported
    assert (
        imported & {"torch", "lightning", "numpy", "matplotlib", "tensorboard", "sklearn"} == set()
    )
