"""Serves batches, each as a function of (seed, number of the batch).

A batch is a slice of a permutation of the samples, gathered whole from tensors in memory or on
disk. So a resumed run gets the batches that it would have got, and each of several processes gets
its share of the same batch. Whole batches are prepared at once: no Python code runs per sample.
"""

import lazy_loader  # type: ignore[import-untyped]

# `engine.augment` is the module: it comes with its first use, whatever was imported before.
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["augment"])
