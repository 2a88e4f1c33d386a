"""What objects of a user's keep: found where it changes, in plain values, and put back.

It knows nothing of runs: a checkpoint asks it, and so does a loader about its sampler.
"""
