"""Registers the engine with Hydra: launchers, sweepers and the place of their config files."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from engine.launch import joblib_launcher, ray_launcher, submitit_launcher
from engine.search import sweeper as search_sweeper
from engine.sweep import sweepers
from engine.vectorized import launcher


class EngineConfigs(SearchPathPlugin):
    """Appends the engine's config files after the user's, which may shadow them."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("engine", "pkg://engine.conf")


class GridSweeper(sweepers.GridSweeper):
    """Answers to `hydra/sweeper=grid`."""


class OptunaSweeper(search_sweeper.OptunaSweeper):
    """Answers to `hydra/sweeper=optuna`."""


class JoblibLauncher(joblib_launcher.JoblibLauncher):
    """Answers to `hydra/launcher=joblib`."""


class RayLauncher(ray_launcher.RayLauncher):
    """Answers to `hydra/launcher=ray`."""


class SubmititLauncher(submitit_launcher.SubmititLauncher):
    """Answers to `hydra/launcher=submitit_local` and `hydra/launcher=submitit_slurm`."""


class VectorizedLauncher(launcher.VectorizedLauncher):
    """Answers to `hydra/launcher=vectorized`."""
