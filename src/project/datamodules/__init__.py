"""Holds the data sets: one file for each, with a config file of the same name in conf/datamodule/.

A data module returns its splits as tensors; `engine.TensorDataModule` makes batches of them. A data
module knows neither the model, nor Hydra, nor train.py.
"""
