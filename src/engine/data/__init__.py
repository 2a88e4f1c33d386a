"""Serves batches, each as a function of (seed, number of the batch).

A batch is a slice of a permutation of the samples, gathered whole from tensors in memory or on
disk. So a resumed run gets the batches that it would have got, and each of several processes gets
its share of the same batch. Whole batches are prepared at once: no Python code runs per sample.
"""
