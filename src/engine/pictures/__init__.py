"""Draws: what every picture looks like, and the pictures that any classifier has.

Colours, sizes and margins are said here once. Nothing here knows Lightning, a run or the report.
"""

import lazy_loader  # type: ignore[import-untyped]

# The report needs the colours, and need not wait for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["classified", "looks"])
