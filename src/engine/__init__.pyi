# ruff: noqa: I001
# The public interface of the engine, said once: type checkers read this file, and so does
# `__init__.py`, which imports each name from where it is said to be. docs/interface.md explains it.

# Commands
from .door import command as command
from .evaluation import evaluate as evaluate
from .report.report import report as report
from .run.run import Run as Run

# Models and data
from .data.datamodule import TensorDataModule as TensorDataModule
from .data.of_module import LoadersOfModule as LoadersOfModule
from .data.download import download as download
from .data.image_cache import ImageCache as ImageCache
from .data.image_cache import ImageFile as ImageFile
from .data.image_files import FoundImages as FoundImages
from .data.image_files import find_images as find_images
from .data.image_files import fold_of_files as fold_of_files
from .data.split import Split as Split
from .data.validation import carve_validation as carve_validation
from .data import augment as augment
from . import schedules as schedules
from .seeds import derive as derive
from .seeds import generator as generator
from .supervised import StepOptions as StepOptions
from .supervised import SupervisedModule as SupervisedModule
from .supervised import leaves_all as leaves_all

# Callbacks and what they draw
from . import figures as figures
from .pictures import classified as classified
from .pictures import looks as looks
from .callbacks.checkpoints import Checkpoints as Checkpoints
from .callbacks.divergence import StopOnDivergence as StopOnDivergence
from .callbacks.grad_norm import GradNorm as GradNorm
from .callbacks.progress_bar import StepProgressBar as StepProgressBar
from .callbacks.step_seed import StepSeed as StepSeed
from .fence.lightning import logged_step as logged_step
from .search.pruning import Pruning as Pruning
from .steps.callback import StepCallback as StepCallback
from .steps.callback import own_gradients as own_gradients
from .steps.callback import own_parameters as own_parameters
from .steps.callback import reached as reached

# The Trainer and the loggers
from .run.loggers.table import MetricsCSV as MetricsCSV
from .run.loggers.tensorboard import TensorBoard as TensorBoard
from .steps.trainer import BlockTrainer as BlockTrainer

# Mistakes of the user's, what arguments may be, and files
from .config.ranges import Count as Count
from .config.ranges import CountOrZero as CountOrZero
from .config.ranges import Fraction as Fraction
from .config.ranges import NotNegative as NotNegative
from .config.ranges import Positive as Positive
from .config.ranges import Seed as Seed
from .errors import UserError as UserError
from .errors import nearest as nearest
from .files import write_whole as write_whole
