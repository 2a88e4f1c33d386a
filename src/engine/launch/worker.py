"""A job of a sweep in another process: what a launcher sends there, and how the job comes to an end there."""

import os
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobStatus, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from engine import messages
from engine.config.place import register_resolvers
from engine.errors import SIGTERM, RunFailed, UserError, as_mistake

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission


@dataclass(frozen=True)
class Work:
    """A job, to be called in a process that can import this project.

    Args:
        context: Hydra's, which composes the job's config.
        config: the sweep's.
        overrides: the job's.
        number: its place among the jobs that were launched with it.
        state: Hydra's registries.
    """

    context: HydraContext
    config: DictConfig
    overrides: list[str]
    number: int
    state: dict[Any, Any] = field(default_factory=Singleton.get_state, repr=False)

    def __call__(self) -> float | Exception:
        """The job's objective, or what it failed with; only a signal leaves no answer."""
        prepare(threads=self.config.threads)
        Singleton.set_state(self.state)
        setup_globals()
        try:
            return self._run()
        except SystemExit as stop:
            if isinstance(stop.code, int) and not 0 <= stop.code < 128:
                raise  # a signal's: SIGTERM, or that of Slurm, after which submitit submits the job again
            return RunFailed(f"exit code {stop.code}")
        except Exception as error:
            told = as_mistake(error)
            if isinstance(told, UserError | RunFailed):
                return told
            return RunFailed(f"{type(error).__name__}: {error}")  # its class may not survive the way back

    def _run(self) -> float:
        from engine.run.run import hydra_main

        config = self.context.config_loader.load_sweep_config(self.config, self.overrides)
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{self.number}"
            config.hydra.job.num = self.number
        HydraConfig.instance().set_config(config)
        ended = run_job(
            hydra_context=self.context,
            task_function=hydra_main.__wrapped__,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if ended.status != JobStatus.COMPLETED:
            raise ended._return_value
        return float(ended.return_value)

    def checkpoint(self) -> "DelayedSubmission":
        """What submitit submits again when Slurm's time is up: the same job, which goes on from its checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def call(work: Work) -> float | Exception:
    """A work's answer, for launchers that want a function."""
    return work()


def prepare(threads: int) -> None:
    """Make this a process that runs jobs: quiet, with so many threads, and ended by SIGTERM."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)  # read when torch and NumPy are imported
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(SIGTERM))
    register_resolvers()
    messages.of_a_worker()






def cores(config: DictConfig) -> int:
    """The CPU cores that a job of this config keeps busy: its processes by their threads."""
    devices: Any = config.trainer.devices
    return int(config.threads) * (devices if isinstance(devices, int) else 1)
