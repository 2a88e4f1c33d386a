"""Draws what these models do: curves, confusion matrices, histograms, layers, the depth study.

Each callback says which steps it watches, so that a run stays fast in between. Pictures go to
TensorBoard, and the final ones to figures/ in the run's folder.
"""
