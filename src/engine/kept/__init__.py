"""Keeps for checkpoints what objects of a user's have in attributes, and puts it back.

It knows nothing of runs: a checkpoint asks it, and so does a loader about its sampler.
"""
