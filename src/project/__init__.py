"""Holds what you read, copy and change: models, data, pictures, and the commands.

`train.py` has the way of one run, in one function. A model or a data set is one file here and one
file of the same name in conf/. Of the engine, this package imports only the names that `engine`
exports; `engine` never imports this package.
"""
