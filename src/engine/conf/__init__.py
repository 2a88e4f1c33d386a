"""Holds the config files of the engine's launchers and sweepers.

Hydra searches the user's conf/ first, so a file of the same name there takes the place of one of
these. Each key is an argument of the class that the file names.
"""
