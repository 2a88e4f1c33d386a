"""Holds the callbacks that every run has: checkpoints, divergence, progress bar and step seed.

Each callback says which steps it watches, so that the other steps can be taken together. Each says,
too, what happens to it where jobs train together. What a result depends on is in the checkpoint, so
that a resumed run ends as if it had never stopped.
"""
