"""Writes the metrics of a run to TensorBoard and to metrics.csv, a table of the same numbers.

Each row is in both files when the call returns; jobs that train together hold their rows for a
while. A run that goes on writes each row once more, and none twice. A file that has another size
than it was left with is noticed.
"""
