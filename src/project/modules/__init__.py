"""Holds the models: one file for each, with a config file of the same name in conf/module/.

A model states a network, a loss and metrics; `engine.SupervisedModule` has the training step. The
annotations of a constructor say which values its arguments may have. A model knows neither its
data, nor Hydra, nor train.py.
"""
