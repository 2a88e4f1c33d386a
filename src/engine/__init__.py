"""The machine: a run, a sweep, a report, whatever is trained.

`__init__.pyi` beside this file lists the public interface; docs/interface.md explains it. All else
may change. Names are imported when they are first used, so that a command's `--help` and its
answers to mistakes need not wait for torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
