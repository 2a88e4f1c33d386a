"""Train a model: the way of one run, in one function that you may edit.

    python -m project.train experiment=lenet                one run; --help lists the choices
    python -m project.train -m experiment=lenet seed=0,1,2  a sweep
    python -m project.train resume=RUN_DIR                  go on with an interrupted run

The engine composes the config from conf/ and the words of the command line, checks it, and calls
`train` once for each run. What `run` builds is what the config names: the nodes `datamodule`,
`module` and `trainer`.
"""

from engine import Run, command


@command(conf="conf")
def train(run: Run) -> float:
    """Do one run; return the number by which a sweep compares it.

    Nothing is written before `run.trainer()`: a mistake in the config leaves no folder behind. From
    there on, whatever happens is recorded in the run's folder.
    """
    # A LightningDataModule, its data on disk: src/project/datamodules/, conf/datamodule/.
    data = run.datamodule()
    # A LightningModule, its weights drawn from the seed: src/project/modules/, conf/module/.
    module = run.module(data)
    # Lightning's Trainer with the run's callbacks and loggers: conf/trainer/, conf/callbacks/.
    trainer = run.trainer()
    # Train; a run that was interrupted goes on from its checkpoint.
    run.fit(trainer, module, data)
    # Test the best weights by validation, or the last ones where there is no validation.
    run.test(trainer, module, data)
    # The best validation metric, or the training loss of the last pass; NaN for a diverged run.
    return run.objective(trainer)


if __name__ == "__main__":
    train()
