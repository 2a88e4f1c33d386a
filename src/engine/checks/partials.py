"""Checks that a module has used the choices that it was given."""

import logging
from collections.abc import Mapping

from engine.config.objects import Noted
from engine.config.resolved import Config, word_about
from engine.errors import UserError

log = logging.getLogger(__name__)

USES = {
    "optimizer": "Call self.optimizer(self.parameters()) in configure_optimizers",
    "scheduler": "Return self.scheduled(optimizer) from configure_optimizers of a SupervisedModule",
    "init": "Call self.init(self.network) in __init__",
}


def check_partials(partials: Mapping[str, Noted], config: Config, module: str) -> None:
    """Refuses a choice that the module takes and does not use, such as an optimiser.

    Args:
        partials: those that the module was given, by the names of its arguments.
        config: the run's.
        module: the name of the module's class.

    Raises:
        UserError: names the word of the command line.
    """
    for name in (name for name, own in partials.items() if not own.called):
        group = config.written.get(f"module.{name}", "").strip("${}")
        if word := word_about(group, config.overrides):
            raise UserError(
                f"{word}: {module} takes {name} and never calls it, so this would change "
                f"nothing.\n{USES.get(group, USES['optimizer'])}, or leave it out."
            )
        log.info("%s takes %s and never calls it", module, name)
